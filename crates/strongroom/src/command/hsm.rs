//! `strongroom hsm`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Subcommand;
use strongroom_pkcs11::conformance;

use super::output;
use crate::config::Config;
use crate::daemon;
use crate::failure::advised;

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
    let config = daemon::hsm_config(&token)?;
    let testing = output::progress("testing the token");
    let report = conformance::run(&config).await?;
    drop(testing);
    output::lines(json, &serde_json::to_value(&report)?, &[report.to_string()])?;
    if !report.passed {
        return Err(advised(
            anyhow!("the token fails a required check and will be refused"),
            "see the failed checks above; hsm/README.md says what is asked of a token",
        ));
    }
    Ok(())
}
