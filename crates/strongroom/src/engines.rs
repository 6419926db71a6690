//! Opens the engines over a data directory, and refuses to begin anew where one of them is missing.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use strongroom_audit::{self as audit, CheckpointSigner, Log, LogConfig};
use strongroom_blobs::{LocalBlobs, LocalBlobsConfig};
use strongroom_environment::Clock;
use strongroom_lifecycle::cold::{DirectoryTier, TierSettings};
use strongroom_meta::{MetaStore, OpenError, RedbStore, Scan, Table};

use crate::config::Config;
use crate::data_dir;
use crate::failure::{Advise as _, advised};

const PUT_BACK: &str =
    "put it back, or mount what holds it; what is left is not touched until then";

/// Refuses to begin a second log where the first one is missing.
pub(crate) fn check_audit(data_dir: &Path) -> anyhow::Result<()> {
    let (log, key) = (
        data_dir.join(data_dir::AUDIT),
        data_dir.join(data_dir::VERIFIER_KEY),
    );
    let is_gone =
        std::fs::read_dir(&log).is_ok_and(|mut files| files.next().is_none()) || !log.exists();
    if is_gone && key.exists() {
        return Err(advised(
            anyhow!(
                "the audit log is missing: {} belongs to one, and {} is empty or not there",
                key.display(),
                log.display()
            ),
            "put the log back; to begin a new one, move the key away as well",
        ));
    }
    Ok(())
}

pub(crate) fn open_log(
    config: LogConfig,
    signer: Arc<dyn CheckpointSigner>,
    data_dir: &Path,
) -> anyhow::Result<Log> {
    match Log::open(config, signer) {
        Err(audit::OpenError::Locked { .. }) => Err(in_use(data_dir)),
        Err(error @ audit::OpenError::Disk(_)) => {
            Err(error).context("the audit log cannot be opened")
        }
        opened => opened.context("the audit log cannot be opened").advise(
            "keep it as it is: `strongroom audit verify` tells how far it holds; put the damaged \
             file back from a copy",
        ),
    }
}

/// Refuses to begin with no rows where there were some: without them, stored bytes would look
/// like garbage.
pub(crate) fn check_metadata(path: &Path, is_begun: Option<String>) -> anyhow::Result<()> {
    let is_gone = std::fs::metadata(path).map_or(true, |found| found.len() == 0);
    match is_begun {
        Some(begun) if is_gone => Err(advised(
            anyhow!(
                "the metadata is missing: {} is empty or not there, but {begun}",
                path.display()
            ),
            PUT_BACK,
        )),
        _ => Ok(()),
    }
}

/// Opens the metadata of a data directory.
pub(crate) fn open_metadata(path: &Path, cache_bytes: usize) -> anyhow::Result<RedbStore> {
    match RedbStore::open(path, cache_bytes) {
        Err(OpenError::AlreadyOpen) => Err(in_use(path.parent().unwrap_or(path))),
        opened @ Err(OpenError::Corrupt { .. } | OpenError::UnknownVersion { .. }) => opened
            .with_context(|| format!("{} cannot be opened", path.display()))
            .advise("keep it as it is, and put the file back from a backup"),
        opened => opened.with_context(|| format!("{} cannot be opened", path.display())),
    }
}

/// Refuses to go on without the volumes where rows refer to what was in them.
pub(crate) async fn check_volumes(data_dir: &Path, meta: &dyn MetaStore) -> anyhow::Result<()> {
    let volumes = data_dir.join(data_dir::VOLUMES);
    if was_open(data_dir) {
        return Ok(());
    }
    let payloads = meta
        .scan(Table::new("payloads"), Scan::prefix(&[], 1))
        .await
        .context("the metadata cannot be read")?;
    if payloads.is_empty() {
        return Ok(());
    }
    Err(advised(
        anyhow!(
            "the volumes are missing: {} is not what was there when objects were written",
            volumes.display()
        ),
        PUT_BACK,
    ))
}

/// Opens the volumes of a data directory.
pub(crate) fn open_volumes(data_dir: &Path) -> anyhow::Result<LocalBlobs> {
    LocalBlobs::open(
        &data_dir.join(data_dir::VOLUMES),
        LocalBlobsConfig::default(),
    )
    .context("the blob volumes cannot be opened")
}

fn in_use(data_dir: &Path) -> anyhow::Error {
    advised(
        anyhow!("{} is in use by another process", data_dir.display()),
        "end the daemon that serves it, or use another data directory",
    )
}

/// Writes the verifier key of the log at first; refuses to go on with another one later.
pub(crate) fn keep_verifier_key(path: &Path, key: &str) -> anyhow::Result<()> {
    match std::fs::read_to_string(path) {
        Ok(kept) if kept.trim() == key => Ok(()),
        Ok(_) => Err(advised(
            anyhow!(
                "{} is the verifier key of another log: the key that signs it or `audit.origin` \
                 has changed",
                path.display()
            ),
            "put the right token, key daemon or origin back; to begin a new log, move the old one and its key \
             away",
        )),
        Err(_) => data_dir::write_private(path, format!("{key}\n").as_bytes()),
    }
}

/// Opens the cold tier. It is opened before the store, so that a store which was once open has one:
/// where it is missing then, going on with an empty one would write what a mount covers later.
pub(crate) fn open_tier(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<DirectoryTier> {
    let directory = &config.cold_directory;
    if was_open(&config.data_dir) && !directory.join(data_dir::COLD_TIER_MARK).exists() {
        return Err(advised(
            anyhow!(
                "the cold tier is missing: {} is not one, and this store has one",
                directory.display()
            ),
            "mount it, or put it back; to have it elsewhere, move all files of the old directory \
             there",
        ));
    }
    data_dir::make(directory)?;
    DirectoryTier::open(directory, TierSettings::default(), clock)
        .with_context(|| format!("the cold tier in {} cannot be opened", directory.display()))
        .advise("see that it is mounted and may be written, and that no other daemon uses it")
}

/// Whether objects were once served from a data directory; see `docs/format/volumes.md`.
fn was_open(data_dir: &Path) -> bool {
    data_dir.join(data_dir::VOLUMES).join("settled").exists()
}
