//! `strongroom simulate`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use strongroom_lifecycle::simulate::{Scenario, simulate};

use super::output;
use crate::failure::Advise as _;

const CORRECT_IT: &str =
    "correct the scenario; docs/examples/hospital-archive.toml shows everything that it may say";

#[derive(Args)]
pub(crate) struct SimulateArguments {
    /// The scenario: population, rules, restore demand (TOML; see docs/examples).
    file: PathBuf,
    /// The seed. The same seed and scenario give the same report to the byte.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the plot here, as SVG.
    #[arg(long)]
    svg: Option<PathBuf>,
}

pub(super) fn run(arguments: &SimulateArguments, json: bool) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&arguments.file)
        .with_context(|| format!("cannot read {}", arguments.file.display()))?;
    let scenario = Scenario::from_toml(&text)
        .with_context(|| format!("{} is not a scenario", arguments.file.display()))
        .advise(CORRECT_IT)?;
    let rehearsing = output::progress("rehearsing");
    let report = simulate(&scenario, arguments.seed)
        .with_context(|| format!("{} cannot be rehearsed", arguments.file.display()))
        .advise(CORRECT_IT)?;
    drop(rehearsing);
    if let Some(path) = &arguments.svg {
        std::fs::write(path, report.to_svg())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if json {
        output::line(report.to_json())?;
    } else {
        output::line(report.to_table())?;
    }
    Ok(())
}
