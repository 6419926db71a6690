//! `strongroom serve` and `strongroom keyd`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use strongroom_environment::SystemClock;

use crate::config::Config;
use crate::daemon::{Daemon, Scope, Start};
use crate::{logging, process};

#[derive(Args)]
pub(crate) struct ServeArguments {
    /// The configuration file (TOML). Each setting can be given by environment too;
    /// `strongroom config reference` lists them.
    #[arg(long)]
    config: PathBuf,
}

pub(super) fn run(arguments: &ServeArguments, scope: Scope) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config)?;
    logging::start(&config.log)?;
    process::harden()?;
    let runtime = process::runtime()?;
    let ended = runtime.block_on(async {
        let start = Start {
            scope,
            clock: Arc::new(SystemClock::new()),
            simulated: None,
        };
        let daemon = Daemon::start(&config, start).await?;
        tracing::info!(
            s3 = daemon.s3_url,
            api = daemon.api_url,
            link = daemon.link_url,
            "serving"
        );
        process::asked_to_end().await?;
        daemon.close().await;
        anyhow::Ok(())
    });
    runtime.shutdown_timeout(process::POOL_END_MAX);
    ended
}
