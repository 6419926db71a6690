//! One question to a key daemon, and its answer.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use strongroom_keys::{Home, KeyError};
use zeroize::Zeroizing;

use crate::answer::{self, Refusal};
use crate::wire::{ANSWER_LEN_BYTES_MAX, EPOCH, Epoch, Operation, TARGET};

/// Where the key daemon is, and how long it is waited for and believed.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// The addresses of the key daemon, such as `https://keyd.example:9101`, the preferred one
    /// first. All are of one key daemon, or of another that takes its place with the same keys.
    pub urls: Vec<Uri>,
    /// Whom to trust, and the store's own certificate.
    pub tls: rustls::ClientConfig,
    /// The region and account of the keys, as the key daemon has them too.
    pub home: Home,
    /// How long one question may take.
    pub call_time_max: Duration,
    /// How long what was opened may be used without news of the key daemon.
    pub silence_max: Duration,
    /// How long a permission, and what an alias names, is remembered.
    pub decision_age_max: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The key daemon refuses. Asking again gives the same.
    Refused(KeyError),
    /// The question or its answer was lost, or went to whom it was not meant for. It may be asked
    /// again.
    Broken(String),
}

/// The connections to the addresses of a key daemon.
#[derive(Debug)]
pub(crate) struct Connections {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    pub(crate) urls: Vec<Uri>,
    home: Home,
}

impl Connections {
    pub(crate) fn new(config: &LinkConfig) -> Self {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.set_connect_timeout(Some(config.call_time_max));
        http.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config.tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            // Less than the key daemon waits for the next question.
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Self {
            client,
            urls: config.urls.clone(),
            home: config.home.clone(),
        }
    }

    /// Asks the key daemon at the address number `at`, in at most `time_max`.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        at: usize,
        operation: Operation,
        epoch: Option<Epoch>,
        body: Bytes,
        time_max: Duration,
    ) -> Result<T, CallError> {
        let asked = self.ask_and_wait(at, operation, epoch, body);
        match tokio::time::timeout(time_max, asked).await {
            Ok(answered) => answered,
            Err(_) => Err(CallError::Broken(format!(
                "{} does not answer within {} ms",
                self.urls[at],
                time_max.as_millis()
            ))),
        }
    }

    async fn ask_and_wait<T: DeserializeOwned>(
        &self,
        at: usize,
        operation: Operation,
        epoch: Option<Epoch>,
        body: Bytes,
    ) -> Result<T, CallError> {
        let url = &self.urls[at];
        let broken = |why: String| CallError::Broken(format!("{url}: {why}"));
        let mut parts = url.clone().into_parts();
        parts.path_and_query = operation.path().parse().ok();
        let uri = Uri::from_parts(parts).map_err(|error| broken(error.to_string()))?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(http::header::CONTENT_TYPE, "application/x-amz-json-1.1");
        if let Some(target) = operation.target() {
            request = request.header(TARGET, target);
        }
        if let Some(epoch) = epoch {
            request = request.header(EPOCH, epoch.to_string());
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| broken(error.to_string()))?;
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| broken(whole(&error)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_LEN_BYTES_MAX);
        let body = body
            .collect()
            .await
            .map_err(|error| broken(format!("the answer broke off: {error}")))?;
        let body = Zeroizing::new(body.to_bytes().to_vec());
        if status == StatusCode::OK {
            return serde_json::from_slice(&body)
                .map_err(|_| broken("the answer is not one of a key daemon".into()));
        }
        let told: Refusal = serde_json::from_slice(&body).map_err(|_| {
            broken(format!(
                "what answers is not the link of a key daemon ({status})"
            ))
        })?;
        match status {
            StatusCode::MISDIRECTED_REQUEST | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                Err(broken(told.message))
            }
            _ => Err(CallError::Refused(answer::error(told, &self.home))),
        }
    }
}

/// The body of a question, wiped when it was sent.
pub(crate) fn body<T: Serialize>(asked: &T) -> Bytes {
    let text = serde_json::to_vec(asked).expect("strings and numbers always serialise");
    Bytes::from_owner(Zeroizing::new(text))
}

/// An error and what it comes from.
fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}
