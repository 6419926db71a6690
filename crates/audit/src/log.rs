//! The log that serves: appending, publishing, reading.

use std::fs::{self, File, TryLockError};
use std::future::Future;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::RwLock;

use crate::disk::{Disk, DiskError, FileSystem, INCOMING, Placing, read_if_there, sync_dir};
use crate::journal::{Flusher, Journal, JournalError, last_full_bundle_end};
use crate::note::{
    Checkpoint, CheckpointError, Origin, VerifierKey, VerifierKeyError, checkpoint_body,
    signed_note, unfit_to_certify, verify_note,
};
use crate::proof::tlog_proof;
use crate::reader::{CHECKPOINT, ReadError, Reader};
use crate::seam::{
    AppendError, AuditLog, Certified, CertifyError, CheckpointSigner, LeafIndex, SignError,
};
use crate::sequencer::{IntegrateError, Sequencer};
use crate::tile::push_entry;
use crate::tile_files::{TileError, TileFiles};
use crate::tree::{Edge, TreeHash, consistency, inclusion};

/// What an acknowledged entry survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// The death of the process. A loss of power may take the entries since the last checkpoint.
    #[default]
    Process,
    /// A loss of power too: `append` returns after an fdatasync, which concurrent appends share.
    Sync,
}

/// Where a log is and how it is kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogConfig {
    /// The log's directory; made when it is not there.
    pub dir: PathBuf,
    /// The log's name. It is in every checkpoint and must never change.
    pub origin: Origin,
    /// What an acknowledged entry survives.
    pub durability: Durability,
    /// A journal segment longer than this, bytes, is closed at the next publication.
    pub segment_len_bytes_max: u64,
}

impl LogConfig {
    /// The log `origin` in `dir`, with process durability and segments of 8 MiB.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, origin: Origin) -> Self {
        Self {
            dir: dir.into(),
            origin,
            durability: Durability::default(),
            segment_len_bytes_max: 8 << 20,
        }
    }
}

/// Why a log cannot be opened. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another `Log`, has it open.
    #[error("the audit log in {} is open elsewhere", dir.display())]
    Locked {
        /// The log's directory.
        dir: PathBuf,
    },
    /// The signer's public key is unusable.
    #[error("the signer's public key: {0}")]
    PublicKey(#[from] VerifierKeyError),
    /// The published checkpoint is not one of this log under this key.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// There are tiles but no checkpoint: it has been removed, and going on would be to sign
    /// another history without knowing of the first.
    #[error("the audit log has tiles but no checkpoint")]
    NoCheckpoint,
    /// The tiles do not add up to the root that was signed.
    #[error("the tree of {size} entries has the root {found}, but {signed} was signed for it")]
    Forked {
        /// The size of the published tree.
        size: u64,
        /// The root that the tiles give.
        found: TreeHash,
        /// The root in the checkpoint.
        signed: TreeHash,
    },
    /// The journal holds another entry than the tree does.
    #[error("entry {index} in the journal is not the one in the tree")]
    JournalDiffers {
        /// The entry.
        index: u64,
    },
    /// A tile or bundle.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The system.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why no new checkpoint is published. The one before it stands, and no entry is lost; unless the
/// log is stopped, publishing may be tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The signer did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The signer returned something that is not its signature.
    #[error("the signer's signature: {0}")]
    BadSignature(#[from] CheckpointError),
    /// The journal cannot be read back.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file could not be written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The log is stopped and has to be opened again.
    #[error("the audit log is stopped: {reason}")]
    Stopped {
        /// What went wrong.
        reason: String,
    },
}

impl From<IntegrateError> for PublishError {
    fn from(error: IntegrateError) -> Self {
        match error {
            IntegrateError::Journal(error) => Self::Journal(error),
            IntegrateError::Disk(error) => Self::Disk(error),
        }
    }
}

/// An append-only transparency log in a directory.
///
/// Cloning gives another handle on the same log. Everything but `append` and `publish` reads
/// files in place: call it where blocking is allowed.
#[derive(Clone, Debug)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: LogConfig,
    disk: Arc<dyn Disk>,
    signer: Arc<dyn CheckpointSigner>,
    verifier: VerifierKey,
    journal: Arc<Journal>,
    flusher: Option<Flusher>,
    sequencer: Arc<tokio::sync::Mutex<Sequencer>>,
    published: RwLock<Option<Checkpoint>>,
    /// The directory, locked as long as this is open.
    _lock: File,
}

impl Log {
    /// Opens the log, or makes a new one.
    ///
    /// The tiles of the right edge must give the root of the published checkpoint, and the
    /// journal must hold the entries of the last bundle, and go on from there. So whatever is
    /// signed next extends what was signed last.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: LogConfig, signer: Arc<dyn CheckpointSigner>) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(FileSystem), config, signer)
    }

    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        config: LogConfig,
        signer: Arc<dyn CheckpointSigner>,
    ) -> Result<Self, OpenError> {
        let verifier = VerifierKey::new(config.origin.clone(), &signer.public_key())?;
        let dir = config.dir.as_path();
        make_root(disk.as_ref(), dir)?;
        let lock = lock_dir(dir)?;
        let incoming = dir.join(INCOMING);
        match disk.remove_file(&incoming) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DiskError::new("removing", &incoming, error).into());
            }
            _ => {}
        }

        let published = read_checkpoint(dir, &verifier)?;
        let edge = match &published {
            Some(checkpoint) => {
                let edge = TileFiles::new(dir, checkpoint.size()).edge()?;
                if edge.root() != checkpoint.root() {
                    return Err(OpenError::Forked {
                        size: checkpoint.size(),
                        found: edge.root(),
                        signed: checkpoint.root(),
                    });
                }
                edge
            }
            // The first checkpoint is published before the first tile is written.
            None if read_dir_exists(&dir.join("tile"))? => return Err(OpenError::NoCheckpoint),
            None => Edge::empty(),
        };

        let in_bundle = last_full_bundle_end(edge.size());
        let mut bundle = Vec::new();
        let opened = Journal::open(
            dir,
            Arc::clone(&disk),
            published.as_ref().map(Checkpoint::size),
            |index, entry| {
                if index < edge.size() {
                    let place = (index - in_bundle) as usize;
                    if edge.partial(0).get(place) != Some(&TreeHash::of_entry(entry)) {
                        return Err(OpenError::JournalDiffers { index });
                    }
                    push_entry(&mut bundle, entry);
                }
                Ok(())
            },
        )?;
        let journal = Arc::new(opened.journal);
        let flusher = match config.durability {
            Durability::Process => None,
            Durability::Sync => Some(
                Flusher::start(Arc::clone(&journal))
                    .map_err(|error| DiskError::new("starting the flusher of", dir, error))?,
            ),
        };
        let sequencer = Sequencer::new(edge, bundle, opened.unpublished);
        Ok(Self {
            shared: Arc::new(Shared {
                disk,
                signer,
                verifier,
                journal,
                flusher,
                sequencer: Arc::new(tokio::sync::Mutex::new(sequencer)),
                published: RwLock::new(published),
                _lock: lock,
                config,
            }),
        })
    }

    /// The number of entries, those not yet under a checkpoint included.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.journal.size()
    }

    /// Why the log takes no entry any more, if so: for a readiness check.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        self.shared.journal.stopped()
    }

    /// The latest published checkpoint; `None` before the first publication.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.shared.published.read().clone()
    }

    /// The key by which checkpoints are verified, as text (C2SP signed-note).
    #[must_use]
    pub fn verifier_key(&self) -> String {
        self.shared.verifier.to_string()
    }

    /// Publishes a checkpoint over all entries written so far, and returns it.
    ///
    /// When nothing was written since the last one, that one is returned and nothing is signed.
    /// The work goes on to its end when the caller stops waiting.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish(&self) -> Result<Checkpoint, PublishError> {
        let shared = Arc::clone(&self.shared);
        let outcome = match tokio::spawn(shared.publish()).await {
            Ok(outcome) => outcome,
            Err(error) => Err(self.shared.stop(format!("publishing broke off: {error}"))),
        };
        match &outcome {
            Ok(_) => {}
            Err(_) => metrics::counter!("strongroom_audit_publish_failures_total").increment(1),
        }
        outcome
    }

    /// Publishes whenever the log has grown, at most once every `every`, and a last time when
    /// `shutdown` is over. A failure is logged and tried again; the last one is returned.
    ///
    /// # Errors
    /// [`PublishError`] of the last publication.
    pub async fn publish_until(
        &self,
        every: Duration,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Checkpoint, PublishError> {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return self.publish().await,
                () = tokio::time::sleep(every) => {
                    if let Err(error) = self.publish().await {
                        tracing::error!(%error, "no audit checkpoint could be published");
                    }
                }
            }
        }
    }

    /// The entries of `range`, as far as there are any. All are held in memory: ask for pages.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entries(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, ReadError> {
        // Without the cut, an entry could be seen that is still being acknowledged.
        let end = range.end.min(self.size());
        self.reader_here().entries(range.start.min(end)..end)
    }

    /// The audit path of an entry in the published tree of `size` entries or a smaller one
    /// (RFC 6962, section 2.1.1).
    ///
    /// # Errors
    /// [`ReadError::Beyond`] when the entry or the tree is not under the checkpoint.
    pub fn inclusion_proof(&self, index: LeafIndex, size: u64) -> Result<Vec<TreeHash>, ReadError> {
        let published = self.published_size();
        if size > published || index.0 >= size {
            return Err(ReadError::Beyond {
                asked: size.max(index.0),
                size: size.min(published),
            });
        }
        let mut tiles = TileFiles::new(&self.shared.config.dir, published);
        Ok(inclusion(&mut tiles, index.0, size)?)
    }

    /// The proof that the tree of `new` entries extends that of `old`
    /// (RFC 6962, section 2.1.2).
    ///
    /// # Errors
    /// [`ReadError::Beyond`] when `new` is beyond the checkpoint; [`ReadError::BadSizes`].
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<TreeHash>, ReadError> {
        let published = self.published_size();
        if new > published {
            return Err(ReadError::Beyond {
                asked: new,
                size: published,
            });
        }
        if old == 0 || old > new {
            return Err(ReadError::BadSizes { old, new });
        }
        let mut tiles = TileFiles::new(&self.shared.config.dir, published);
        Ok(consistency(&mut tiles, old, new)?)
    }

    /// The proof that an entry is under the published checkpoint, as a `c2sp.org/tlog-proof@v1`
    /// text that [`crate::verify_tlog_proof`] checks offline.
    ///
    /// # Errors
    /// [`ReadError::Beyond`] when the entry is not under the checkpoint yet.
    pub fn tlog_proof(&self, index: LeafIndex) -> Result<String, ReadError> {
        let Some(checkpoint) = self.checkpoint() else {
            return Err(ReadError::Beyond {
                asked: index.0,
                size: 0,
            });
        };
        let path = self.inclusion_proof(index, checkpoint.size())?;
        Ok(tlog_proof(index.0, &path, &checkpoint))
    }

    /// The bytes of a published file, for serving the log as C2SP tlog-tiles: `checkpoint` or
    /// `tile/…`. `None` for any other path, however it is spelled, and for files not there.
    ///
    /// # Errors
    /// [`ReadError::Disk`].
    pub fn published_file(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
        self.reader_here().published_file(path)
    }

    /// A reader of the log in `dir`, for when no process serves it, or another one does.
    #[must_use]
    pub fn reader(dir: impl Into<PathBuf>) -> Reader {
        Reader::new(dir)
    }

    fn reader_here(&self) -> Reader {
        Reader::new(&self.shared.config.dir)
    }

    fn published_size(&self) -> u64 {
        self.shared.published_size()
    }
}

#[async_trait]
impl AuditLog for Log {
    fn identity(&self) -> String {
        self.verifier_key()
    }

    async fn append(&self, entry: Vec<u8>) -> Result<LeafIndex, AppendError> {
        let written = self.shared.journal.append(&entry);
        let outcome = match (written, &self.shared.flusher) {
            (Ok(index), Some(flusher)) => flusher.wait(index).await.map(|()| index),
            (written, _) => written,
        };
        match &outcome {
            Ok(_) => metrics::counter!("strongroom_audit_entries_total").increment(1),
            Err(_) => metrics::counter!("strongroom_audit_append_failures_total").increment(1),
        }
        outcome.map(LeafIndex)
    }

    async fn certify(&self, index: LeafIndex, text: &str) -> Result<Certified, CertifyError> {
        let unavailable = |error: &dyn std::fmt::Display| CertifyError::Unavailable {
            reason: error.to_string(),
        };
        let shared = &self.shared;
        if let Some(rule) = unfit_to_certify(text, &shared.config.origin) {
            return Err(CertifyError::Refused { rule });
        }
        let signature = shared.signer.sign(text.as_bytes()).await;
        let signature = signature.map_err(|error| unavailable(&error))?;
        let note = signed_note(text, &signature, &shared.verifier);
        verify_note(&note, &shared.verifier).map_err(|error| unavailable(&error))?;
        if self.published_size() <= index.0 {
            self.publish().await.map_err(|error| unavailable(&error))?;
        }
        let log = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let entry = log.entries(index.0..index.0 + 1)?.pop();
            let entry = entry.ok_or(ReadError::Beyond {
                asked: index.0,
                size: log.size(),
            })?;
            Ok::<_, ReadError>((entry, log.tlog_proof(index)?))
        });
        let read = read.await.map_err(|error| unavailable(&error))?;
        let (entry, proof) = read.map_err(|error| unavailable(&error))?;
        Ok(Certified { note, entry, proof })
    }
}

impl Shared {
    fn published_size(&self) -> u64 {
        self.published.read().as_ref().map_or(0, Checkpoint::size)
    }

    fn stop(&self, reason: String) -> PublishError {
        self.journal.stop(reason.clone());
        PublishError::Stopped { reason }
    }

    /// An error of the disk, after which the log may or may not go on.
    fn failed(&self, error: PublishError) -> PublishError {
        match error {
            PublishError::Disk(error) if error.leaves_doubt() => self.stop(error.to_string()),
            other => other,
        }
    }

    /// The one way from journal to checkpoint, after a crash as on any other day.
    async fn publish(self: Arc<Self>) -> Result<Checkpoint, PublishError> {
        let mut sequencer = Arc::clone(&self.sequencer).lock_owned().await;
        // The checkpoint of nothing comes before the first tile, so that tiles without a
        // checkpoint always mean that it was taken away.
        let first = self.published.read().is_none();
        if first {
            self.sign_and_commit(sequencer.edge()).await?;
        }

        let shared = Arc::clone(&self);
        sequencer = in_blocking(move || {
            let size = shared.journal.sync().map_err(|error| match error {
                AppendError::Stopped { reason } => PublishError::Stopped { reason },
                other => PublishError::Stopped {
                    reason: other.to_string(),
                },
            })?;
            sequencer
                .integrate(shared.disk.as_ref(), &shared.config.dir, size)
                .map_err(|error| shared.failed(error.into()))?;
            Ok(sequencer)
        })
        .await?;

        if sequencer.edge().size() > self.published_size() {
            self.sign_and_commit(sequencer.edge()).await?;
        }

        let shared = Arc::clone(&self);
        in_blocking(move || {
            let _sequencer = sequencer;
            shared.tidy();
            shared
                .published
                .read()
                .clone()
                .ok_or_else(|| PublishError::Stopped {
                    reason: "no checkpoint after one was published".to_owned(),
                })
        })
        .await
    }

    async fn sign_and_commit(self: &Arc<Self>, edge: &Edge) -> Result<(), PublishError> {
        let body = checkpoint_body(&self.config.origin, edge.size(), edge.root());
        let signature = self.signer.sign(body.as_bytes()).await?;
        let checkpoint = Checkpoint::seal(&body, &signature, &self.verifier)?;
        let shared = Arc::clone(self);
        in_blocking(move || shared.commit(checkpoint)).await
    }

    fn commit(&self, checkpoint: Checkpoint) -> Result<(), PublishError> {
        let dir = self.config.dir.as_path();
        let path = dir.join(CHECKPOINT);
        let before = self.published.read().clone();
        // Nobody else may have published: two histories must not come under one key.
        let on_disk = read_if_there(&path)?;
        if on_disk.as_deref() != before.as_ref().map(|before| before.text().as_bytes()) {
            return Err(self.stop("the checkpoint file was changed from outside".to_owned()));
        }
        let mut placing = Placing::new(self.disk.as_ref(), dir);
        placing
            .place(&path, checkpoint.text().as_bytes())
            .map_err(|error| self.failed(error.into()))?;
        // Commit point: from the rename on, the tree is what the checkpoint says. Should the
        // name not become durable, it is not known which checkpoint a restart will find.
        placing
            .sync_dirs()
            .map_err(|error| self.stop(error.to_string()))?;
        metrics::counter!("strongroom_audit_checkpoints_total").increment(1);
        metrics::gauge!("strongroom_audit_published_entries").set(checkpoint.size() as f64);
        *self.published.write() = Some(checkpoint);
        Ok(())
    }

    /// Gives back journal space. A failure here takes nothing from the checkpoint.
    fn tidy(&self) {
        let tidied = self
            .journal
            .prune(self.published_size())
            .and_then(|()| self.journal.rotate(self.config.segment_len_bytes_max));
        if let Err(error) = tidied {
            tracing::warn!(%error, "the audit journal could not be tidied");
        }
    }
}

async fn in_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PublishError> + Send + 'static,
) -> Result<T, PublishError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(cancelled) => Err(PublishError::Stopped {
                reason: format!("publishing broke off: {cancelled}"),
            }),
        },
    }
}

fn make_root(disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(|error| DiskError::new("making directory", dir, error))?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(disk, parent),
        _ => Ok(()),
    }
}

pub(crate) fn lock_dir(dir: &Path) -> Result<File, OpenError> {
    let lock = File::open(dir).map_err(|error| DiskError::new("opening", dir, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            dir: dir.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(DiskError::new("locking", dir, error).into()),
    }
}

fn read_dir_exists(path: &Path) -> Result<bool, DiskError> {
    path.try_exists()
        .map_err(|error| DiskError::new("looking for", path, error))
}

pub(crate) fn read_checkpoint(
    dir: &Path,
    verifier: &VerifierKey,
) -> Result<Option<Checkpoint>, OpenError> {
    let Some(bytes) = read_if_there(&dir.join(CHECKPOINT))? else {
        return Ok(None);
    };
    let text =
        String::from_utf8(bytes).map_err(|_| CheckpointError::Malformed("it is not UTF-8 text"))?;
    Ok(Some(Checkpoint::verify(&text, verifier)?))
}
