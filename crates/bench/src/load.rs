//! One server under a closed loop of PUT or GET.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::Method;
use serde::Serialize;

use crate::client::Connection;
use crate::quantiles::LatencyMs;
use crate::target::{Encryption, SizeBytes, Target, TargetArguments};

/// What is done to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Operation {
    /// Write objects, each under a key of its own.
    Put,
    /// Read objects that were written beforehand.
    Get,
}

#[derive(Args)]
pub(crate) struct LoadArguments {
    #[command(flatten)]
    target: TargetArguments,
    /// What to measure; may be given more than once.
    #[arg(long = "operation", value_enum, default_values = ["put", "get"])]
    operations: Vec<Operation>,
    /// The encryption that requests ask for; may be given more than once.
    #[arg(long = "encryption", value_enum, default_values = ["none", "sse-c"])]
    encryptions: Vec<Encryption>,
    #[command(flatten)]
    shape: Shape,
}

/// The shape of the load.
#[derive(Args, Clone, Debug)]
pub(crate) struct Shape {
    /// The bucket to use; it is created when it is not there.
    #[arg(long, default_value = "bench")]
    pub(crate) bucket: String,
    /// The size of each object.
    #[arg(long, default_value = "4KiB")]
    pub(crate) size: SizeBytes,
    /// How many connections work at the same time.
    #[arg(long, default_value_t = 32)]
    pub(crate) concurrency: usize,
    /// How long each measurement lasts, in seconds.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) duration_s: f64,
    /// How many different objects GET reads.
    #[arg(long, default_value_t = 64)]
    pub(crate) objects: u64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measurement {
    pub(crate) operation: Operation,
    pub(crate) encryption: &'static str,
    pub(crate) size_bytes: usize,
    pub(crate) concurrency: usize,
    pub(crate) operations: u64,
    pub(crate) seconds: f64,
    pub(crate) operations_per_s: f64,
    pub(crate) megabytes_per_s: f64,
    pub(crate) latency_ms: LatencyMs,
}

pub(crate) async fn run(arguments: LoadArguments) -> anyhow::Result<()> {
    let target = arguments.target.target()?;
    create_bucket(&target, &arguments.shape.bucket).await?;
    for encryption in arguments.encryptions {
        for operation in &arguments.operations {
            let measured = measure(&target, &arguments.shape, *operation, encryption).await?;
            println!("{}", serde_json::to_string(&measured)?);
        }
    }
    Ok(())
}

/// Creates the bucket; that it is there already is what was wanted.
pub(crate) async fn create_bucket(target: &Target, bucket: &str) -> anyhow::Result<()> {
    let mut connection = Connection::open(target).await?;
    let path = format!("/{bucket}");
    if connection
        .send(Method::HEAD, &path, &[], Bytes::new())
        .await
        .is_err()
    {
        let mut connection = Connection::open(target).await?;
        connection
            .send(Method::PUT, &path, &[], Bytes::new())
            .await?;
    }
    Ok(())
}

/// Runs one measurement. For GET the objects are written first, outside the measured time.
pub(crate) async fn measure(
    target: &Target,
    shape: &Shape,
    operation: Operation,
    encryption: Encryption,
) -> anyhow::Result<Measurement> {
    let label = match encryption {
        Encryption::None => "none",
        Encryption::SseC => "sse-c",
    };
    let headers = Arc::new(encryption.headers());
    let body = Bytes::from(pattern(shape.size.0));
    let prefix = format!("/{}/{label}-{}", shape.bucket, shape.size.0);
    if operation == Operation::Get {
        let mut connection = Connection::open(target).await?;
        for number in 0..shape.objects {
            connection
                .send(
                    Method::PUT,
                    &format!("{prefix}/read-{number}"),
                    &headers,
                    body.clone(),
                )
                .await?;
        }
    }
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let deadline = started + Duration::from_secs_f64(shape.duration_s);
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..shape.concurrency {
        let mut connection = Connection::open(target).await?;
        let (headers, body, prefix, next) =
            (headers.clone(), body.clone(), prefix.clone(), next.clone());
        let objects = shape.objects;
        let size_bytes = shape.size.0 as u64;
        workers.spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < deadline {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let begun = Instant::now();
                match operation {
                    Operation::Put => {
                        let path = format!("{prefix}/write-{number}");
                        connection
                            .send(Method::PUT, &path, &headers, body.clone())
                            .await?;
                    }
                    Operation::Get => {
                        let path = format!("{prefix}/read-{}", number % objects);
                        let read = connection
                            .send(Method::GET, &path, &headers, Bytes::new())
                            .await?;
                        anyhow::ensure!(read == size_bytes, "{path} came back short");
                    }
                }
                latencies.push(begun.elapsed());
            }
            Ok::<_, anyhow::Error>(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(worker) = workers.join_next().await {
        latencies.extend(worker.context("a worker panicked")??);
    }
    let seconds = started.elapsed().as_secs_f64();
    let operations = latencies.len() as u64;
    Ok(Measurement {
        operation,
        encryption: label,
        size_bytes: shape.size.0,
        concurrency: shape.concurrency,
        operations,
        seconds,
        operations_per_s: operations as f64 / seconds,
        megabytes_per_s: operations as f64 * shape.size.0 as f64 / seconds / 1e6,
        latency_ms: LatencyMs::of(latencies),
    })
}

/// Bytes that no disk or wire compresses away.
fn pattern(len_bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(len_bytes + 8);
    while bytes.len() < len_bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len_bytes);
    bytes
}
