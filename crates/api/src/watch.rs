//! Metrics and health.

use std::sync::OnceLock;

use http::StatusCode;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use serde_json::json;
use strongroom_keys::KeyCustody as _;
use warp::reply::{Reply as _, Response};

use crate::{Custody, State};

/// The recorder of metrics could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be recorded: {0}")]
pub struct MetricsError(#[from] BuildError);

/// Seconds, from a lookup that is in memory to a body that takes a minute.
const DURATION_BUCKETS_S: [f64; 14] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0,
];

/// The metrics of this process.
#[derive(Clone)]
pub(crate) struct Metrics(PrometheusHandle);

impl Metrics {
    /// Installs the recorder of the process, or takes the one that is installed.
    pub(crate) fn install() -> Result<Self, MetricsError> {
        static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
        if let Some(handle) = INSTALLED.get() {
            return Ok(Self(handle.clone()));
        }
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(
                Matcher::Suffix("_duration_seconds".to_owned()),
                &DURATION_BUCKETS_S,
            )?
            .install_recorder()?;
        Ok(Self(INSTALLED.get_or_init(|| handle).clone()))
    }

    /// All metrics in the text format of Prometheus.
    pub(crate) fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }
}

/// Whether requests would be served: the token answers, or the key daemon is heard of, and the log
/// takes entries.
pub(crate) async fn readiness(state: &State) -> Response {
    let log = state.config.log.stopped();
    let (keys, told_of_keys) = match &state.config.custody {
        Custody::Here(kms) => {
            let health = kms.health().await;
            ("token", health.err().map(|error| error.to_string()))
        }
        Custody::Apart(custody) => {
            let heard = custody.heard();
            ("key_daemon", heard.err().map(|error| error.to_string()))
        }
    };
    let ready = told_of_keys.is_none() && log.is_none();
    let mut told = json!({
        "ready": ready,
        keys: told_of_keys.as_deref().unwrap_or("ready"),
        "audit": log.as_deref().unwrap_or("ready"),
    });
    if let Custody::Apart(custody) = &state.config.custody {
        let status = custody.status();
        let urls = status.urls.iter().map(ToString::to_string);
        told["link"] = json!({
            "urls": urls.collect::<Vec<_>>(),
            "url": status.url.map(|url| url.to_string()),
            "silence_ms": status.silence.map(|silence| silence.as_millis()),
            "trouble": status.trouble,
        });
    }
    if let Some(tokens) = &state.config.tokens {
        told["tokens"] = tokens();
    }
    let mut response = warp::reply::json(&told).into_response();
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}
