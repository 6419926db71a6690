//! Two servers under the same load, alternately, in one run.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::load::{Operation, Shape, create_bucket, measure};
use crate::quantiles::median;
use crate::target::{Encryption, SizeBytes, Target};

#[derive(Args)]
pub(crate) struct CompareArguments {
    /// The ready file of the server that is the measure.
    #[arg(long)]
    baseline_ready_file: PathBuf,
    /// The ready file of the server that is measured against it.
    #[arg(long)]
    candidate_ready_file: PathBuf,
    /// How many times each pair is measured; the median of the pairs' ratios is given.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long each single measurement lasts, in seconds.
    #[arg(long, default_value_t = 3.0)]
    duration_s: f64,
    /// The encryption that requests ask of both servers.
    #[arg(long, value_enum, default_value = "sse-c")]
    encryption: Encryption,
    /// Sizes and connections to measure, as SIZExCONNECTIONS.
    #[arg(long = "load", default_values = ["4KiBx32", "1MiBx8", "64MiBx4"])]
    loads: Vec<String>,
}

/// The outcome for one operation and size.
#[derive(Serialize)]
struct Comparison {
    operation: Operation,
    size_bytes: usize,
    concurrency: usize,
    baseline_operations_per_s: Option<f64>,
    candidate_operations_per_s: Option<f64>,
    baseline_megabytes_per_s: Option<f64>,
    candidate_megabytes_per_s: Option<f64>,
    ratio_median: Option<f64>,
    ratios: Vec<f64>,
}

pub(crate) async fn run(arguments: CompareArguments) -> anyhow::Result<()> {
    let baseline = Target::from_ready_file(&arguments.baseline_ready_file)?;
    let candidate = Target::from_ready_file(&arguments.candidate_ready_file)?;
    for load in &arguments.loads {
        let (size, concurrency) = load
            .rsplit_once('x')
            .ok_or_else(|| anyhow::anyhow!("a load is SIZExCONNECTIONS, such as 4KiBx32"))?;
        let size: SizeBytes = size.parse()?;
        let shape = Shape {
            bucket: "bench".to_owned(),
            size,
            concurrency: concurrency.parse()?,
            duration_s: arguments.duration_s,
            // A working set that stays in the page cache: the medium is not what is compared.
            objects: (256 * 1024 * 1024 / size.0.max(1) as u64).clamp(4, 256),
        };
        for target in [&baseline, &candidate] {
            create_bucket(target, &shape.bucket).await?;
        }
        for operation in [Operation::Put, Operation::Get] {
            let mut pairs = Vec::new();
            for round in 0..=arguments.rounds {
                // Which server goes first alternates too, so that neither always inherits the
                // other's dirty pages. The first round warms both up and is not counted.
                let (first, second) = if round % 2 == 0 {
                    (&baseline, &candidate)
                } else {
                    (&candidate, &baseline)
                };
                let one = measure(first, &shape, operation, arguments.encryption).await?;
                let other = measure(second, &shape, operation, arguments.encryption).await?;
                if round > 0 {
                    pairs.push(if round % 2 == 0 {
                        (one, other)
                    } else {
                        (other, one)
                    });
                }
            }
            let ratios: Vec<f64> = pairs
                .iter()
                .map(|(baseline, candidate)| candidate.operations_per_s / baseline.operations_per_s)
                .collect();
            let middle = |pick: fn(&crate::load::Measurement) -> f64, candidate: bool| {
                median(
                    pairs
                        .iter()
                        .map(|pair| pick(if candidate { &pair.1 } else { &pair.0 }))
                        .collect(),
                )
            };
            let comparison = Comparison {
                operation,
                size_bytes: shape.size.0,
                concurrency: shape.concurrency,
                baseline_operations_per_s: middle(|m| m.operations_per_s, false),
                candidate_operations_per_s: middle(|m| m.operations_per_s, true),
                baseline_megabytes_per_s: middle(|m| m.megabytes_per_s, false),
                candidate_megabytes_per_s: middle(|m| m.megabytes_per_s, true),
                ratio_median: median(ratios.clone()),
                ratios,
            };
            println!("{}", serde_json::to_string(&comparison)?);
        }
    }
    Ok(())
}
