//! `strongroom fsck` and `strongroom scrub`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use strongroom_blobs::{BlobStore, MemoryBlobs};

use super::output;
use crate::failure::advised;
use crate::remote::{RemoteArguments, path_segment};
use crate::{data_dir, engines};

/// Memory for metadata pages while they are checked, in bytes.
const CACHE_BYTES: usize = 64 << 20;

#[derive(Args)]
pub(crate) struct FsckArguments {
    /// The data directory of a daemon that is not running.
    #[arg(long, default_value = "./strongroom-data")]
    data: PathBuf,
}

pub(super) async fn run(arguments: FsckArguments, json_asked: bool) -> anyhow::Result<()> {
    let metadata = arguments.data.join(data_dir::METADATA);
    if !metadata.exists() {
        return Err(advised(
            anyhow!(
                "{} is not a data directory: it holds no {}",
                arguments.data.display(),
                data_dir::METADATA
            ),
            "name the data directory of a stopped daemon with --data",
        ));
    }
    let meta = Arc::new(engines::open_metadata(&metadata, CACHE_BYTES)?);
    // Opening the volumes would make them anew where they are gone.
    engines::check_volumes(&arguments.data, &*meta).await?;
    let blobs: Arc<dyn BlobStore> = if arguments.data.join(data_dir::VOLUMES).exists() {
        Arc::new(engines::open_volumes(&arguments.data)?)
    } else {
        // A key daemon has none.
        Arc::new(MemoryBlobs::default())
    };
    let checking = output::progress("checking rows against each other and against stored bytes");
    let checked = strongroom_store::check(meta, blobs).await?;
    drop(checking);
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
    )?;
    if findings.is_empty() {
        return Ok(());
    }
    Err(advised(
        anyhow!("the store has findings, which are listed above"),
        "keep the data directory as it is, and put back what is lost from a backup",
    ))
}

/// Goes through all versions of a running daemon, page by page.
pub(super) async fn scrub(remote: RemoteArguments, json_asked: bool) -> anyhow::Result<()> {
    let remote = remote.connect()?;
    let looking = output::progress("looking for the stored bytes of every version");
    let mut whole = 0;
    let mut damaged: Vec<String> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let path = match &cursor {
            None => "/v1/scrub".to_owned(),
            Some(cursor) => format!("/v1/scrub?cursor={}", path_segment(cursor)),
        };
        let page: Page = serde_json::from_value(remote.post(&path, json!({})).await?)
            .context("the daemon's answer is not a page of a scrub")?;
        looking.done(page.whole + page.damaged.len() as u64);
        whole += page.whole;
        damaged.extend(page.damaged);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    drop(looking);
    let mut lines = damaged.clone();
    lines.push(format!(
        "{whole} versions have all their stored bytes; {} findings",
        damaged.len()
    ));
    output::lines(
        json_asked,
        &json!({ "whole": whole, "damaged": damaged }),
        &lines,
    )?;
    if damaged.is_empty() {
        return Ok(());
    }
    Err(advised(
        anyhow!("stored bytes are missing, as listed above"),
        "put the volumes back from a backup, or write these objects again",
    ))
}

/// What one request of a scrub found.
#[derive(Deserialize)]
struct Page {
    whole: u64,
    damaged: Vec<String>,
    next: Option<String>,
}
