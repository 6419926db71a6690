//! `strongroom lifecycle`.

use clap::Subcommand;
use serde_json::json;

use super::{WithRemote, output};

#[derive(Subcommand)]
pub(crate) enum LifecycleCommand {
    /// Do everything that is due now, and say what was done.
    Run,
    /// List the jobs that are under way.
    Jobs,
}

pub(super) async fn run(
    asked: WithRemote<LifecycleCommand>,
    json_asked: bool,
) -> anyhow::Result<()> {
    let remote = asked.remote.connect()?;
    match asked.what {
        LifecycleCommand::Run => {
            let running = output::progress("doing what is due");
            let report = remote.post("/v1/lifecycle/run", json!({})).await?;
            drop(running);
            let lines: Vec<String> = report
                .as_object()
                .into_iter()
                .flatten()
                .map(|(what, count)| format!("{:<28} {count}", what.replace('_', " ")))
                .collect();
            output::lines(json_asked, &report, &lines)?;
        }
        LifecycleCommand::Jobs => {
            let jobs = remote.get("/v1/lifecycle/jobs").await?;
            let rows = jobs["jobs"].as_array().cloned().unwrap_or_default();
            output::rows(
                json_asked,
                &jobs,
                &rows,
                &[
                    ("BUCKET", "bucket"),
                    ("KEY", "key"),
                    ("VERSION", "version_id"),
                    ("CLASS", "storage_class"),
                    ("ORIGIN", "origin"),
                    ("DUE", "due"),
                    ("FAILURES", "failures"),
                    ("LAST ERROR", "last_error"),
                ],
            )?;
        }
    }
    Ok(())
}
