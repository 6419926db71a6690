//! `strongroom fsck` and `strongroom scrub`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use strongroom_blobs::{LocalBlobs, LocalBlobsConfig};
use strongroom_meta::RedbStore;

use super::output;
use crate::data_dir;
use crate::remote::RemoteArguments;

#[derive(Args)]
pub(crate) struct FsckArguments {
    /// The data directory of a daemon that is not running.
    #[arg(long, default_value = "./strongroom-data")]
    data: PathBuf,
}

pub(super) async fn run(arguments: FsckArguments, json_asked: bool) -> anyhow::Result<()> {
    let metadata = arguments.data.join(data_dir::METADATA);
    if !metadata.exists() {
        bail!("{} is not a data directory", arguments.data.display());
    }
    let meta = RedbStore::open(&metadata, 64 << 20).with_context(|| {
        "the metadata cannot be opened; is the daemon still running?".to_owned()
    })?;
    let blobs = LocalBlobs::open(
        &arguments.data.join(data_dir::VOLUMES),
        LocalBlobsConfig::default(),
    )?;
    let checked = strongroom_store::check(Arc::new(meta), Arc::new(blobs)).await?;
    let findings: Vec<String> = checked.findings.iter().map(ToString::to_string).collect();
    let mut lines = findings.clone();
    lines.push(format!(
        "{} versions and {} payloads checked, {} findings",
        checked.versions,
        checked.payloads,
        findings.len()
    ));
    output::lines(
        json_asked,
        &json!({
            "versions": checked.versions,
            "payloads": checked.payloads,
            "findings": findings,
        }),
        &lines,
    );
    if !findings.is_empty() {
        bail!("the store has findings; they are listed above");
    }
    Ok(())
}

pub(super) async fn scrub(remote: RemoteArguments, json_asked: bool) -> anyhow::Result<()> {
    let report = remote.connect()?.post("/v1/scrub", json!({})).await?;
    let damaged = report["damaged"].as_array().cloned().unwrap_or_default();
    let mut lines: Vec<String> = damaged
        .iter()
        .map(|found| found.as_str().unwrap_or_default().to_owned())
        .collect();
    lines.push(format!(
        "{} payloads are there and whole, {} are not",
        report["whole"],
        damaged.len()
    ));
    output::lines(json_asked, &report, &lines);
    if !damaged.is_empty() {
        bail!("stored bytes are missing or damaged; they are listed above");
    }
    Ok(())
}
