//! `strongroom hsm`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Subcommand;
use strongroom_pkcs11::conformance;

use super::output;
use crate::config::Config;
use crate::daemon;

#[derive(Subcommand)]
pub(crate) enum HsmCommand {
    /// Test whether a token does what it must: keys that are not extractable stay inside,
    /// mechanisms round-trip, errors are told apart. Leaves nothing behind on the token.
    Test {
        /// The configuration of the daemon that is to use the token.
        #[arg(long, conflicts_with = "data")]
        config: Option<PathBuf>,
        /// The data directory of `strongroom dev`, to test its SoftHSM token.
        #[arg(long, default_value = "./strongroom-data")]
        data: PathBuf,
    },
}

pub(super) async fn run(command: HsmCommand, json: bool) -> anyhow::Result<()> {
    let HsmCommand::Test { config, data } = command;
    let token = match config {
        Some(path) => Config::load(&path)?.token,
        None => super::dev::token_settings(&data, None)?,
    };
    let report = conformance::run(&daemon::hsm_config(&token)?).await?;
    output::lines(json, &serde_json::to_value(&report)?, &[report.to_string()]);
    if !report.passed {
        bail!("the token fails a required check and will be refused; see the report above");
    }
    Ok(())
}
