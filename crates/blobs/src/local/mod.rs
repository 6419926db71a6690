//! The engine for one machine: blobs in large volume files.

mod read;
mod record;
mod settled;
mod volume;
mod volumes;
mod writer;

use std::fmt;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

use crate::buffers::BufferPool;
use crate::store::{BlobError, BlobOwner, BlobRef, BlobStore, BlobWriter, UnsettledBlob};
use record::{PAGE_BYTES, Place};
use settled::Settled;
use volume::{Step, failed};
use volumes::{Volumes, blocking};
use writer::LocalWriter;

/// How a [`LocalBlobs`] is run. The defaults suit a server with its own disk.
#[derive(Clone, Debug)]
pub struct LocalBlobsConfig {
    /// A volume gets no further blob that would make its file longer than this, in bytes. A blob
    /// that is longer has a volume to itself.
    pub volume_bytes: u64,
    /// Blobs up to this length share a volume and its flushes; a longer one has a volume to itself
    /// while it is written. In bytes.
    pub small_blob_bytes_max: u64,
    /// New blobs are refused when less than this would stay free on the file system, so that what
    /// has to be written in order to delete has room. In bytes.
    pub reserve_bytes: u64,
    /// How many sealed volumes are kept open.
    pub files_open_max: NonZeroUsize,
    /// How many volumes wait for the next large blob. With more writers than this at once, some
    /// volumes are sealed before they are full.
    pub leases_idle_max: usize,
    /// Where written buffers go and new ones come from.
    pub buffers: BufferPool,
}

impl Default for LocalBlobsConfig {
    fn default() -> Self {
        Self {
            volume_bytes: 4 * 1024 * 1024 * 1024,
            // An object of 1 MiB, sealed, is a little longer than that.
            small_blob_bytes_max: 1024 * 1024 + 4096,
            reserve_bytes: 128 * 1024 * 1024,
            // 256 is not 0.
            files_open_max: NonZeroUsize::new(256).unwrap_or(NonZeroUsize::MIN),
            leases_idle_max: 64,
            buffers: BufferPool::default(),
        }
    }
}

/// A [`BlobStore`] in a directory of this machine. `docs/format/volumes.md` describes the files.
///
/// - Blobs are records in large append-only files, the volumes. Small blobs of all writers go to
///   one volume and are made durable by one flush for all that wait; a large blob has a volume to
///   itself while it is written, so that small ones do not wait for its bytes.
/// - A deletion gives whole pages back to the file system, and is as durable as a blob. A volume
///   without a blob is removed.
/// - Reads are served on the calling task where the page cache has the bytes, and on a thread that
///   may wait where it has not.
///
/// Its methods must run within a tokio runtime.
pub struct LocalBlobs {
    engine: Arc<Engine>,
}

struct Engine {
    /// The directory, locked for as long as this is open.
    directory: File,
    path: Box<Path>,
    small_blob_bytes_max: u64,
    reserve_bytes: u64,
    buffers: BufferPool,
    volumes: Arc<Volumes>,
    settling: Mutex<Settling>,
    reads: read::Reads,
}

struct Settling {
    settled: Settled,
    /// What the next `settle` settles.
    listed: Option<Settled>,
}

impl LocalBlobs {
    /// Opens the store in `directory`, which is made when there is none.
    ///
    /// # Errors
    /// [`BlobError::Io`] when the directory cannot be used: it is open already, it cannot be
    /// written, or its file system cannot punch holes (ext4, XFS, Btrfs, ZFS and tmpfs can).
    /// [`BlobError::Corrupt`] when it was written by a later version.
    pub fn open(directory: &Path, config: LocalBlobsConfig) -> Result<Self, BlobError> {
        std::fs::create_dir_all(directory).map_err(|e| failed("made the directory", e))?;
        let opened = File::open(directory).map_err(|e| failed("opened the directory", e))?;
        rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| failed("locked the directory, which is open already", error))?;
        if let Some(parent) = directory
            .parent()
            .filter(|path| !path.as_os_str().is_empty())
        {
            File::open(parent)
                .and_then(|parent| parent.sync_all())
                .map_err(|error| failed("made the directory durable", error))?;
        }
        probe_holes(directory)?;
        let settled =
            Settled::load(directory).map_err(|error| failed("read what is settled", error))?;
        let volumes = Volumes::load(
            directory.to_owned(),
            &settled,
            config.volume_bytes,
            config.leases_idle_max,
            config.files_open_max,
        )?;
        Ok(Self {
            engine: Arc::new(Engine {
                directory: opened,
                path: directory.into(),
                small_blob_bytes_max: config.small_blob_bytes_max,
                reserve_bytes: config.reserve_bytes,
                buffers: config.buffers,
                volumes: Arc::new(volumes),
                settling: Mutex::new(Settling {
                    settled,
                    listed: None,
                }),
                reads: read::Reads::default(),
            }),
        })
    }

    /// The buffers of the configuration, for those who fill them.
    #[must_use]
    pub fn buffers(&self) -> &BufferPool {
        &self.engine.buffers
    }
}

/// Tells at once that space could never be given back here.
fn probe_holes(directory: &Path) -> Result<(), BlobError> {
    let path = directory.join("probe");
    let probed = (|| {
        let file = File::create(&path)?;
        file.set_len(PAGE_BYTES)?;
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, mode, 0, PAGE_BYTES)?;
        Ok::<(), std::io::Error>(())
    })();
    let removed = std::fs::remove_file(&path);
    probed
        .and(removed)
        .map_err(|error| failed("punched a hole into a file to try it", error))
}

impl Engine {
    /// Refuses what would use up the room that is kept free.
    fn check_room(&self, span_bytes: u64) -> Result<(), BlobError> {
        let free_bytes = match rustix::fs::fstatvfs(&self.directory) {
            Ok(room) => room.f_bavail.saturating_mul(room.f_frsize),
            // A file system that cannot say is asked by writing.
            Err(Errno::NOSYS | Errno::OPNOTSUPP) => return Ok(()),
            Err(error) => return Err(failed("asked for free room", error)),
        };
        match free_bytes.saturating_sub(self.reserve_bytes) < span_bytes {
            true => Err(BlobError::Full),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for LocalBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalBlobs")
            .field("directory", &self.engine.path)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl BlobStore for LocalBlobs {
    async fn create(
        &self,
        owner: BlobOwner,
        len_bytes: u64,
    ) -> Result<Box<dyn BlobWriter>, BlobError> {
        let engine = &self.engine;
        // Longer than any file is certainly longer than the room there is.
        let span_bytes = Place::span_of(len_bytes).ok_or(BlobError::Full)?;
        engine.check_room(span_bytes)?;
        let volumes = &engine.volumes;
        Ok(Box::new(if len_bytes <= engine.small_blob_bytes_max {
            let reserved = volumes.reserve_shared(owner, len_bytes, span_bytes).await?;
            LocalWriter::of_small(Arc::clone(engine), reserved)
        } else {
            let reserved = volumes.reserve_leased(owner, len_bytes, span_bytes).await?;
            LocalWriter::of_large(Arc::clone(engine), reserved).await?
        }))
    }

    async fn read(
        &self,
        blob: &BlobRef,
        offset: u64,
        buffer: BytesMut,
    ) -> Result<BytesMut, BlobError> {
        let engine = &self.engine;
        let place = Place::of_reference(blob).ok_or(BlobError::NotFound)?;
        let end = offset.saturating_add(buffer.len() as u64);
        if end > place.len_bytes {
            return Err(BlobError::Length {
                expected: place.len_bytes,
                actual: end,
            });
        }
        let volume = engine.volumes.volume(place.volume).await?;
        let volume = volume.ok_or(BlobError::NotFound)?;
        let buffer = engine.reads.read(volume, place, offset, buffer).await?;
        metrics::counter!(crate::READ_BYTES).increment(buffer.len() as u64);
        Ok(buffer)
    }

    async fn delete(&self, blob: &BlobRef) -> Result<(), BlobError> {
        let engine = &self.engine;
        let Some(place) = Place::of_reference(blob) else {
            return Ok(());
        };
        let Some(volume) = engine.volumes.volume(place.volume).await? else {
            return Ok(());
        };
        volume.submit(Step::Delete(place), &engine.buffers).await?;
        let id = place.volume;
        if engine.volumes.may_be_empty(id) {
            let volumes = Arc::clone(&engine.volumes);
            if let Err(error) = blocking(move || volumes.remove_if_empty(id)).await {
                // The blob is deleted all the same.
                tracing::warn!(volume = %id, %error, "an empty volume stays until the next start");
            }
        }
        Ok(())
    }

    async fn unsettled(&self) -> Result<Vec<UnsettledBlob>, BlobError> {
        let engine = Arc::clone(&self.engine);
        blocking(move || {
            let settled = engine.settling.lock().settled.clone();
            let (listed, after) = engine.volumes.unsettled(&settled)?;
            engine.settling.lock().listed = Some(after);
            Ok(listed)
        })
        .await
    }

    async fn settle(&self) -> Result<(), BlobError> {
        let engine = Arc::clone(&self.engine);
        blocking(move || {
            let mut settling = engine.settling.lock();
            let Some(listed) = settling.listed.take() else {
                return Ok(());
            };
            listed
                .save(&engine.path)
                .map_err(|error| failed("wrote what is settled", error))?;
            settling.settled = listed;
            Ok(())
        })
        .await
    }
}
