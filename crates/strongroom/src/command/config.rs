//! `strongroom config`.

use std::path::PathBuf;

use clap::Subcommand;

use super::output;
use crate::config::{Config, SETTINGS};

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check a configuration file; every fault is named with its line.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Print every setting with its default, its environment variable and its meaning.
    Reference,
}

pub(super) fn run(command: ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check { file } => {
            Config::load(&file)?;
            output::line(format_args!("{} is valid", file.display()))?;
        }
        ConfigCommand::Reference => {
            for setting in SETTINGS {
                let default = match (setting.default, setting.required, setting.unless) {
                    (Some(default), _, _) => format!("default {default}"),
                    (None, true, None) => "required".to_owned(),
                    (None, true, Some(other)) => format!("required without {other}"),
                    (None, false, _) => "no default".to_owned(),
                };
                output::line(format_args!(
                    "{}\n    {default}; {}\n    {}",
                    setting.name,
                    setting.variable(),
                    setting.meaning
                ))?;
            }
        }
    }
    Ok(())
}
