//! The KMS protocol under load, beside a token called directly, in turns.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use crate::client::Connection;
use crate::quantiles::{LatencyMs, median};
use crate::target::Target;
use crate::token;

#[derive(Args)]
pub(crate) struct KmsArguments {
    /// The file written by `strongroom dev --ready-file`.
    #[arg(long)]
    ready_file: PathBuf,
    /// The SoftHSM module that is called directly.
    #[arg(long, default_value = "/usr/lib/softhsm/libsofthsm2.so")]
    module: PathBuf,
    /// How many connections work at the same time.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// How many times each is measured; the median of the ratios is given.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each single measurement lasts, in seconds.
    #[arg(long, default_value_t = 2.0)]
    duration_s: f64,
}

/// The outcome for one operation.
#[derive(Serialize)]
struct Comparison {
    operation: &'static str,
    concurrency: usize,
    /// Of the key service over HTTP.
    operations_per_s: Option<f64>,
    /// Of the token, called directly by one thread.
    token_calls_per_s: Option<f64>,
    ratio_median: Option<f64>,
    ratios: Vec<f64>,
    latency_ms: LatencyMs,
}

/// A request that is sent again and again.
struct Load {
    operation: &'static str,
    body: Bytes,
    /// What the token does for it.
    token: fn(&token::Rates) -> f64,
    /// Operations per second of the service and calls per second of the token, by round.
    pairs: Vec<(f64, f64)>,
    latencies: Vec<Duration>,
}

impl Load {
    fn new(operation: &'static str, body: &Value, token: fn(&token::Rates) -> f64) -> Self {
        Self {
            operation,
            body: body.to_string().into(),
            token,
            pairs: Vec::new(),
            latencies: Vec::new(),
        }
    }
}

pub(crate) async fn run(arguments: KmsArguments) -> anyhow::Result<()> {
    let target = Arc::new(Target::from_ready_file(&arguments.ready_file)?);
    let url = target
        .api_url
        .clone()
        .context("the ready file names no HTTP API")?;
    let mut connection = Connection::to(&target, &url, "kms").await?;
    let mut ask = async |operation: &str, body: Value| -> anyhow::Result<Value> {
        let answer = connection.call(operation, body.to_string().into()).await?;
        Ok(serde_json::from_slice(&answer)?)
    };
    let made = ask("CreateKey", json!({"Description": "benchmark"})).await?;
    let context = json!({"bucket": "records", "object": "one"});
    let wanted = json!({
        "KeyId": made["KeyMetadata"]["KeyId"], "KeySpec": "AES_256", "EncryptionContext": context,
    });
    let data_key = ask("GenerateDataKey", wanted.clone()).await?;
    let opened =
        json!({"CiphertextBlob": data_key["CiphertextBlob"], "EncryptionContext": context});
    let mut loads = [
        Load::new("GenerateDataKey", &wanted, |rates| rates.seal_per_s),
        Load::new("Decrypt", &opened, |rates| rates.open_per_s),
    ];
    // The first round warms up and is not counted.
    for round in 0..=arguments.rounds {
        let (module, duration_s) = (arguments.module.clone(), arguments.duration_s);
        let rates =
            tokio::task::spawn_blocking(move || token::measure(&module, duration_s)).await??;
        for load in &mut loads {
            let (per_s, latencies) = measure(&target, &url, load, &arguments).await?;
            if round > 0 {
                load.pairs.push((per_s, (load.token)(&rates)));
                load.latencies.extend(latencies);
            }
        }
    }
    for load in loads {
        let ratios: Vec<f64> = load
            .pairs
            .iter()
            .map(|(http, token)| http / token)
            .collect();
        let comparison = Comparison {
            operation: load.operation,
            concurrency: arguments.concurrency,
            operations_per_s: median(load.pairs.iter().map(|pair| pair.0).collect()),
            token_calls_per_s: median(load.pairs.iter().map(|pair| pair.1).collect()),
            ratio_median: median(ratios.clone()),
            ratios,
            latency_ms: LatencyMs::of(load.latencies),
        };
        println!("{}", serde_json::to_string(&comparison)?);
    }
    Ok(())
}

async fn measure(
    target: &Arc<Target>,
    url: &str,
    load: &Load,
    arguments: &KmsArguments,
) -> anyhow::Result<(f64, Vec<Duration>)> {
    let started = Instant::now();
    let deadline = started + Duration::from_secs_f64(arguments.duration_s);
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..arguments.concurrency {
        let mut connection = Connection::to(target, url, "kms").await?;
        let (operation, body) = (load.operation, load.body.clone());
        workers.spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < deadline {
                let begun = Instant::now();
                connection.call(operation, body.clone()).await?;
                latencies.push(begun.elapsed());
            }
            Ok::<_, anyhow::Error>(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(worker) = workers.join_next().await {
        latencies.extend(worker.context("a worker panicked")??);
    }
    Ok((
        latencies.len() as f64 / started.elapsed().as_secs_f64(),
        latencies,
    ))
}
