//! The lifecycle: what is due, what is under way, and rehearsals of a policy.

use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_lifecycle::JobOrigin;
use strongroom_lifecycle::simulate::{Scenario, simulate as rehearse};

use super::Asked;
use crate::problem::Problem;

/// The seed of a rehearsal that names none; the command line has the same.
const SEED_DEFAULT: u64 = 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rehearsal {
    scenario: Scenario,
    #[serde(default)]
    seed: Option<u64>,
}

/// Does everything that is due now.
pub(super) async fn run(asked: &Asked<'_>) -> Result<Value, Problem> {
    let report = asked.objects()?.lifecycle.run_once().await?;
    serde_json::to_value(&report).map_err(Problem::internal)
}

/// The moves that are to be made, and why each has not been made yet.
pub(super) async fn jobs(asked: &Asked<'_>) -> Result<Value, Problem> {
    let limit = asked.query.limit()?;
    let jobs = asked.objects()?.lifecycle.jobs(None, limit).await?;
    let shown: Vec<Value> = jobs
        .iter()
        .map(|job| {
            json!({
                "bucket": job.name.bucket.as_str(),
                "key": job.name.key.as_str(),
                "version_id": job.name.version.to_string(),
                "storage_class": job.class.as_str(),
                "origin": match &job.origin {
                    JobOrigin::Rule(rule) => format!("rule {rule}"),
                    JobOrigin::Request => "request".to_owned(),
                    JobOrigin::Write => "write".to_owned(),
                },
                "created": job.created.to_string(),
                "due": job.due.to_string(),
                "failures": job.failures,
                "last_error": job.last_error,
            })
        })
        .collect();
    // There may be more than a page: the jobs are worked off, so the first are those that matter.
    Ok(json!({ "jobs": shown, "is_truncated": jobs.len() == limit }))
}

/// Rehearses a scenario on virtual time. Nothing of the store is read or changed.
pub(super) async fn simulate(asked: &Asked<'_>) -> Result<Value, Problem> {
    let Rehearsal { scenario, seed } = asked.read()?;
    // It may compute for seconds, so it leaves the threads that serve alone.
    let report =
        tokio::task::spawn_blocking(move || rehearse(&scenario, seed.unwrap_or(SEED_DEFAULT)))
            .await
            .map_err(Problem::internal)?
            .map_err(Problem::invalid)?;
    serde_json::to_value(&report).map_err(Problem::internal)
}
