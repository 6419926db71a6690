//! The audit log, for the auditor.

use serde_json::{Value, json};
use strongroom_audit::{Checkpoint, LeafIndex};

use super::Asked;
use crate::problem::Problem;

pub(super) fn checkpoint(asked: &Asked<'_>) -> Result<Value, Problem> {
    match asked.state.config.log.checkpoint() {
        Some(checkpoint) => Ok(shown(asked, &checkpoint)),
        None => Err(Problem::not_found("no checkpoint has been published yet")),
    }
}

/// Publishes a checkpoint over everything that is on the log now.
pub(super) async fn publish(asked: &Asked<'_>) -> Result<Value, Problem> {
    let published = asked
        .state
        .config
        .log
        .publish()
        .await
        .map_err(Problem::unavailable)?;
    Ok(shown(asked, &published))
}

pub(super) fn proof(asked: &Asked<'_>, index: &str) -> Result<Value, Problem> {
    let index: u64 = index
        .parse()
        .map_err(|_| Problem::invalid("an entry is named by its place in the log, from 0"))?;
    let proof = asked
        .state
        .config
        .log
        .tlog_proof(LeafIndex(index))
        .map_err(Problem::not_found)?;
    Ok(json!({ "index": index, "proof": proof }))
}

pub(super) fn events(asked: &Asked<'_>) -> Result<Value, Problem> {
    let from = asked.query.number("from")?.unwrap_or(0);
    let until = from.saturating_add(asked.query.limit()? as u64);
    let log = &asked.state.config.log;
    let size = log.size();
    let entries = log.entries(from..until).map_err(Problem::internal)?;
    let events: Vec<Value> = (from..)
        .zip(&entries)
        .map(|(index, entry)| {
            let event = serde_json::from_slice(entry)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(entry).into_owned()));
            json!({ "index": index, "event": event })
        })
        .collect();
    let reached = from + events.len() as u64;
    Ok(json!({
        "events": events,
        "size": size,
        "next": (reached < size && reached > from).then_some(reached),
    }))
}

fn shown(asked: &Asked<'_>, checkpoint: &Checkpoint) -> Value {
    json!({
        "size": checkpoint.size(),
        "root": checkpoint.root().to_string(),
        "note": checkpoint.text(),
        "verifier_key": asked.state.config.log.verifier_key(),
    })
}
