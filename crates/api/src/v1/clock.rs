//! The clock that rules and restores go by.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Asked;
use crate::problem::Problem;

/// The furthest one step may go, in seconds: a hundred years.
const STEP_S_MAX: u64 = 100 * 366 * 86_400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    seconds: u64,
}

pub(super) fn read(asked: &Asked<'_>) -> Result<Value, Problem> {
    Ok(json!({
        "now": asked.state.config.clock.now().to_string(),
        "simulated": asked.state.config.simulated_clock.is_some(),
    }))
}

pub(super) fn advance(asked: &Asked<'_>) -> Result<Value, Problem> {
    let step: Step = asked.read()?;
    let clock = asked.state.config.simulated_clock.as_ref().ok_or_else(|| {
        Problem::conflict("the clock is real; start with `--clock simulated` to advance it")
    })?;
    if step.seconds > STEP_S_MAX {
        return Err(Problem::invalid(format!(
            "`seconds` is at most {STEP_S_MAX}"
        )));
    }
    let now = clock.advance(Duration::from_secs(step.seconds));
    Ok(json!({ "now": now.to_string(), "simulated": true }))
}
