//! The load generator: S3 PUT and GET with and without SSE-C, in operations per second, bytes
//! and latency quantiles.
//!
//! It is a closed loop: each of a fixed number of connections sends its next request when the
//! answer to the last one has been read to its end. `load` measures one server; `compare`
//! measures two servers alternately in one run, which is the only honest way to state a ratio on
//! a machine whose speed drifts. `kms` measures the KMS protocol beside a token of the same kind
//! that is called directly.
#![allow(
    clippy::disallowed_methods,
    reason = "a load generator measures the time of the machine itself"
)]
#![allow(clippy::print_stdout, reason = "the report goes to standard output")]

mod client;
mod compare;
mod kms;
mod load;
mod quantiles;
mod target;
mod token;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "strongroom-bench",
    version,
    about = "Measures an S3 server, and its key service, under load"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure one server and print one JSON object for each operation.
    Load(load::LoadArguments),
    /// Measure two servers alternately and print the ratio candidate / baseline.
    Compare(compare::CompareArguments),
    /// Measure GenerateDataKey and Decrypt over HTTP beside a SoftHSM token called directly.
    Kms(kms::KmsArguments),
    /// Call a SoftHSM token directly, for `kms`, which starts this as a process of its own.
    #[command(hide = true)]
    Token(token::TokenArguments),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Load(arguments) => load::run(arguments).await,
        Command::Compare(arguments) => compare::run(arguments).await,
        Command::Kms(arguments) => kms::run(arguments).await,
        Command::Token(arguments) => token::run(&arguments),
    }
}
