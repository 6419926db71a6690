//! All volumes of a store: which take new records, which are open, which are removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use super::record::{PAGE_BYTES, Place, VolumeId};
use super::settled::Settled;
use super::volume::{Volume, failed};
use crate::store::{BlobError, BlobOwner, UnsettledBlob};

/// A sealed volume that takes no more of the disk than this is looked through for records.
const ALLOCATED_WHEN_EMPTY_BYTES_MAX: u64 = 1024 * 1024;

/// The volumes in one directory.
pub(super) struct Volumes {
    directory: PathBuf,
    volume_bytes: u64,
    leases_idle_max: usize,
    state: Mutex<State>,
    /// Held while the shared volume is replaced, so that one task makes the new one.
    rolling: tokio::sync::Mutex<()>,
    /// Open files of sealed volumes.
    sealed: Mutex<LruCache<VolumeId, Arc<Volume>>>,
}

struct State {
    /// The number of the next volume.
    next: u64,
    /// Numbers given out to volumes that are not among `active` yet.
    making: BTreeSet<VolumeId>,
    /// Volumes that may get further records, or have unfinished ones. All others are sealed.
    active: BTreeMap<VolumeId, Active>,
    /// The volume in which small blobs lie together.
    shared: Option<VolumeId>,
    /// Volumes for large blobs that no writer has at the moment.
    idle: Vec<VolumeId>,
}

struct Active {
    volume: Arc<Volume>,
    /// Where the next record goes.
    tail: u64,
    /// Whether one writer has the volume to itself.
    leased: bool,
    /// The records under creation: where each begins, and how many bytes it spans.
    unfinished: BTreeMap<u64, u64>,
}

/// A place for a new record, and the volume it is in.
pub(super) struct Reserved {
    pub(super) volume: Arc<Volume>,
    pub(super) place: Place,
}

impl State {
    /// Whether `id` may get a record of `span_bytes`.
    fn has_room(&self, id: VolumeId, span_bytes: u64, volume_bytes: u64) -> bool {
        self.active.get(&id).is_some_and(|active| {
            let end = active.tail.checked_add(span_bytes);
            // A record longer than a volume has one to itself.
            let fits = active.tail == PAGE_BYTES || end.is_some_and(|end| end <= volume_bytes);
            fits && !active.volume.has_failed()
        })
    }

    fn reserve(&mut self, id: VolumeId, owner: BlobOwner, len_bytes: u64) -> Option<Reserved> {
        let span_bytes = Place::span_of(len_bytes)?;
        let active = self.active.get_mut(&id)?;
        let offset = active.tail;
        active.tail += span_bytes;
        active.unfinished.insert(offset, span_bytes);
        Some(Reserved {
            volume: Arc::clone(&active.volume),
            place: Place {
                volume: id,
                offset,
                len_bytes,
                owner,
            },
        })
    }

    fn begin(&mut self, volume: Arc<Volume>, leased: bool) {
        self.making.remove(&volume.id);
        let active = Active {
            tail: PAGE_BYTES,
            leased,
            unfinished: BTreeMap::new(),
            volume,
        };
        self.active.insert(active.volume.id, active);
    }
}

impl Volumes {
    /// The volumes that are in `directory`, all sealed: what a crash left at the end of one is
    /// never mixed with new records.
    pub(super) fn load(
        directory: PathBuf,
        settled: &Settled,
        volume_bytes: u64,
        leases_idle_max: usize,
        files_open_max: NonZeroUsize,
    ) -> Result<Self, BlobError> {
        let volumes = Self {
            directory,
            volume_bytes,
            leases_idle_max,
            state: Mutex::new(State {
                next: 1,
                making: BTreeSet::new(),
                active: BTreeMap::new(),
                shared: None,
                idle: Vec::new(),
            }),
            rolling: tokio::sync::Mutex::default(),
            sealed: Mutex::new(LruCache::new(files_open_max)),
        };
        let existing = volumes.list()?;
        let last = existing.iter().map(|id| id.0).max().unwrap_or(0);
        volumes.state.lock().next = last.checked_add(1).ok_or_else(|| BlobError::Corrupt {
            reason: "a volume has the last number there is".to_owned(),
        })?;
        for id in existing {
            if settled.unsettled_from(id).is_some() {
                volumes.trim(id)?;
            }
            volumes.remove_if_empty(id)?;
        }
        Ok(volumes)
    }

    /// Gives back what a crash left reserved past the end of a volume.
    fn trim(&self, id: VolumeId) -> Result<(), BlobError> {
        let trimmed = || -> std::io::Result<File> {
            let path = self.directory.join(id.file_name());
            let file = OpenOptions::new().write(true).open(path)?;
            // The same length again frees the blocks that lie past it.
            file.set_len(file.metadata()?.len())?;
            Ok(file)
        };
        trimmed()
            .map(drop)
            .map_err(|error| failed("trimmed a volume", error))
    }

    /// The numbers of all volumes, in no order.
    pub(super) fn list(&self) -> Result<Vec<VolumeId>, BlobError> {
        let listing = |error| failed("listed the volumes", error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(listing)? {
            let name = entry.map_err(listing)?.file_name();
            found.extend(name.to_str().and_then(VolumeId::of_file_name));
        }
        Ok(found)
    }

    /// A place in the volume that small blobs share.
    pub(super) async fn reserve_shared(
        self: &Arc<Self>,
        owner: BlobOwner,
        len_bytes: u64,
        span_bytes: u64,
    ) -> Result<Reserved, BlobError> {
        if let Some(reserved) = self.try_reserve_shared(owner, len_bytes, span_bytes) {
            return Ok(reserved);
        }
        let _rolling = self.rolling.lock().await;
        if let Some(reserved) = self.try_reserve_shared(owner, len_bytes, span_bytes) {
            return Ok(reserved);
        }
        let volume = self.make().await?;
        let id = volume.id;
        let (reserved, full) = {
            let mut state = self.state.lock();
            state.begin(volume, false);
            let full = state.shared.replace(id);
            (state.reserve(id, owner, len_bytes), full)
        };
        if let Some(full) = full {
            self.seal_if_done(full);
        }
        reserved.ok_or(BlobError::Full)
    }

    fn try_reserve_shared(
        &self,
        owner: BlobOwner,
        len_bytes: u64,
        span_bytes: u64,
    ) -> Option<Reserved> {
        let mut state = self.state.lock();
        let id = state
            .shared
            .filter(|id| state.has_room(*id, span_bytes, self.volume_bytes))?;
        state.reserve(id, owner, len_bytes)
    }

    /// A place in a volume that nobody else writes to until the blob is finished.
    pub(super) async fn reserve_leased(
        self: &Arc<Self>,
        owner: BlobOwner,
        len_bytes: u64,
        span_bytes: u64,
    ) -> Result<Reserved, BlobError> {
        {
            let mut state = self.state.lock();
            let idle = state
                .idle
                .iter()
                .position(|id| state.has_room(*id, span_bytes, self.volume_bytes));
            if let Some(at) = idle {
                let id = state.idle.swap_remove(at);
                if let Some(active) = state.active.get_mut(&id) {
                    active.leased = true;
                }
                return state.reserve(id, owner, len_bytes).ok_or(BlobError::Full);
            }
        }
        let volume = self.make().await?;
        let id = volume.id;
        let mut state = self.state.lock();
        state.begin(volume, true);
        state.reserve(id, owner, len_bytes).ok_or(BlobError::Full)
    }

    async fn make(self: &Arc<Self>) -> Result<Arc<Volume>, BlobError> {
        let id = {
            let mut state = self.state.lock();
            let id = VolumeId(state.next);
            state.next += 1;
            state.making.insert(id);
            id
        };
        let volumes = Arc::clone(self);
        blocking(move || {
            let made = Volume::make(&volumes.directory, id);
            if made.is_err() {
                volumes.state.lock().making.remove(&id);
            }
            made
        })
        .await
    }

    /// Says that the record at `place` is finished, or will never be. Its volume takes further
    /// records, or is sealed.
    pub(super) fn release(&self, place: &Place) {
        {
            let mut state = self.state.lock();
            let has_room = state.has_room(place.volume, PAGE_BYTES, self.volume_bytes);
            let may_idle = has_room && state.idle.len() < self.leases_idle_max;
            let Some(active) = state.active.get_mut(&place.volume) else {
                return;
            };
            active.unfinished.remove(&place.offset);
            if active.leased {
                active.leased = false;
                if may_idle {
                    state.idle.push(place.volume);
                }
            }
        }
        self.seal_if_done(place.volume);
    }

    /// Seals a volume that gets no further record and has no unfinished one.
    fn seal_if_done(&self, id: VolumeId) {
        let sealed = {
            let mut state = self.state.lock();
            let wanted = state.shared == Some(id) || state.idle.contains(&id);
            let done = state
                .active
                .get(&id)
                .is_some_and(|active| !active.leased && active.unfinished.is_empty());
            if wanted || !done {
                return;
            }
            state.active.remove(&id)
        };
        if let Some(active) = sealed {
            self.sealed.lock().put(id, active.volume);
        }
    }

    /// The volume `id`, if its file is open.
    fn of_open(&self, id: VolumeId) -> Option<Arc<Volume>> {
        let active = {
            let state = self.state.lock();
            state
                .active
                .get(&id)
                .map(|active| Arc::clone(&active.volume))
        };
        active.or_else(|| self.sealed.lock().get(&id).map(Arc::clone))
    }

    /// The volume `id`; `None` when there is none.
    pub(super) async fn volume(
        self: &Arc<Self>,
        id: VolumeId,
    ) -> Result<Option<Arc<Volume>>, BlobError> {
        if let Some(volume) = self.of_open(id) {
            return Ok(Some(volume));
        }
        let volumes = Arc::clone(self);
        blocking(move || volumes.open(id)).await
    }

    fn open(&self, id: VolumeId) -> Result<Option<Arc<Volume>>, BlobError> {
        if let Some(volume) = self.of_open(id) {
            return Ok(Some(volume));
        }
        let volume = Volume::open(&self.directory, id)?;
        if let Some(volume) = &volume {
            self.sealed.lock().put(id, Arc::clone(volume));
        }
        Ok(volume)
    }

    /// Whether a deletion may have left the volume empty, so that it is worth a look.
    ///
    /// The volume with the highest number stays, so that its number is not given out again after a
    /// restart.
    pub(super) fn may_be_empty(&self, id: VolumeId) -> bool {
        let is_sealed = {
            let state = self.state.lock();
            let is_taken = state.active.contains_key(&id) || state.making.contains(&id);
            !is_taken && id.0.saturating_add(1) < state.next
        };
        // `stat` counts in units of 512 bytes, whatever the file system's block is.
        let allocated_bytes = || {
            let file = std::fs::metadata(self.directory.join(id.file_name())).ok()?;
            Some(file.blocks().saturating_mul(512))
        };
        is_sealed && allocated_bytes().is_some_and(|bytes| bytes <= ALLOCATED_WHEN_EMPTY_BYTES_MAX)
    }

    /// Removes a sealed volume in which no record is left.
    pub(super) fn remove_if_empty(&self, id: VolumeId) -> Result<(), BlobError> {
        let doing = "looked for empty volumes";
        if !self.may_be_empty(id) {
            return Ok(());
        }
        let Some(volume) = self.open(id)? else {
            return Ok(());
        };
        let end = volume.end_offset().map_err(|error| failed(doing, error))?;
        let walk = volume
            .walk(PAGE_BYTES, end, &|_| None)
            .map_err(|error| failed(doing, error))?;
        // What cannot be explained is left for someone to look at.
        if !walk.places.is_empty() || walk.stray_pages > 0 {
            return Ok(());
        }
        self.sealed.lock().pop(&id);
        match std::fs::remove_file(self.directory.join(id.file_name())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed("removed an empty volume", error))
            }
            // Should loss of power bring it back, the next start removes it.
            _ => Ok(()),
        }
    }

    /// All blobs that are not settled, and what will be settled when they have been looked at.
    pub(super) fn unsettled(
        &self,
        settled: &Settled,
    ) -> Result<(Vec<UnsettledBlob>, Settled), BlobError> {
        let doing = "looked for unsettled blobs";
        // Taken first: what is begun after this is not settled, whether it is listed or not.
        let (seen, making, next) = {
            let state = self.state.lock();
            let seen: BTreeMap<VolumeId, Seen> = state
                .active
                .iter()
                .map(|(id, active)| (*id, Seen::of(active)))
                .collect();
            (seen, state.making.clone(), state.next)
        };
        let mut existing = self.list()?;
        existing.retain(|id| id.0 < next && !making.contains(id));
        existing.sort_unstable();
        let mut listed = Vec::new();
        let mut after = settled.clone();
        for id in &existing {
            let Some(from) = settled.unsettled_from(*id) else {
                continue;
            };
            let seen = match seen.get(id) {
                Some(seen) => seen,
                None => match self.open(*id)? {
                    Some(volume) => &Seen::sealed(volume).map_err(|e| failed(doing, e))?,
                    None => continue,
                },
            };
            let walk = seen
                .volume
                .walk(from, seen.tail, &|at| seen.unfinished.get(&at).copied())
                .map_err(|error| failed(doing, error))?;
            if walk.stray_pages > 0 {
                tracing::warn!(volume = %id, pages = walk.stray_pages, "pages of no record");
            }
            listed.extend(walk.places.iter().map(|place| UnsettledBlob {
                blob: place.reference(),
                owner: place.owner,
            }));
            after.up_to.insert(*id, seen.settled_up_to);
        }
        after.shorten(existing.iter().chain(&making).copied());
        Ok((listed, after))
    }
}

/// A volume at one moment.
struct Seen {
    volume: Arc<Volume>,
    /// Where its records end.
    tail: u64,
    unfinished: BTreeMap<u64, u64>,
    /// Where what is not settled begins, once all finished records have been looked at.
    settled_up_to: u64,
}

impl Seen {
    fn of(active: &Active) -> Self {
        let first_unfinished = active.unfinished.keys().next();
        Self {
            volume: Arc::clone(&active.volume),
            tail: active.tail,
            settled_up_to: first_unfinished.map_or(active.tail, |offset| *offset),
            unfinished: active.unfinished.clone(),
        }
    }

    fn sealed(volume: Arc<Volume>) -> std::io::Result<Self> {
        Ok(Self {
            tail: volume.end_offset()?,
            unfinished: BTreeMap::new(),
            settled_up_to: u64::MAX,
            volume,
        })
    }
}

/// Runs what may wait for the disk where it may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(BlobError::Io {
                doing: "ran on a thread of its own",
                source: std::io::Error::other(error),
            })
        })
}
