//! Whether the volume has room for a batch, asked before redb is.
//!
//! redb cannot go on after a write that found no room: the file has to be opened again. So the
//! engine looks first, and keeps a reserve. Batches that delete rows may use most of it, so that a
//! full store can be emptied.

use std::fmt;
use std::path::Path;

use crate::store::Batch;

/// Kept free of batches that only add.
const RESERVE_BYTES: u64 = 64 * 1024 * 1024;
/// Kept free of all batches.
const RESERVE_FOR_DELETIONS_BYTES: u64 = 8 * 1024 * 1024;
/// What a written row may cost beyond its own bytes: the path of 4 KiB pages from the root.
const PATH_BYTES: u64 = 6 * 4096;

/// The room that is left on the volume.
pub(super) struct Room {
    free_bytes: Box<dyn Fn() -> Option<u64> + Send>,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

impl Room {
    /// The room of the volume that holds `path`.
    pub(super) fn of_volume(path: &Path) -> Self {
        let path = path.to_owned();
        Self::of(move || {
            // A volume that cannot say how much is free is asked by writing to it.
            let volume = rustix::fs::statvfs(&path).ok()?;
            Some(volume.f_bavail.saturating_mul(volume.f_frsize))
        })
    }

    /// The room that `free_bytes` tells, `None` where it is not known.
    pub(super) fn of(free_bytes: impl Fn() -> Option<u64> + Send + 'static) -> Self {
        Self {
            free_bytes: Box::new(free_bytes),
        }
    }

    /// Looks at the volume once, for a group of batches.
    pub(super) fn look(&self) -> Budget {
        Budget {
            left_bytes: (self.free_bytes)().unwrap_or(u64::MAX),
        }
    }
}

/// What a group may still use of the room seen at its beginning.
pub(super) struct Budget {
    left_bytes: u64,
}

impl Budget {
    /// Takes the room that `batch` needs, if it is there.
    pub(super) fn take(&mut self, batch: &Batch) -> bool {
        let deletes = batch.writes.iter().any(|write| write.value.is_none());
        let reserve = if deletes {
            RESERVE_FOR_DELETIONS_BYTES
        } else {
            RESERVE_BYTES
        };
        let needed = batch.writes.iter().fold(0_u64, |sum, write| {
            let value = write.value.as_ref().map_or(0, Vec::len);
            sum + PATH_BYTES + 2 * (write.key.len() + value) as u64
        });
        if self.left_bytes.saturating_sub(reserve) < needed {
            return false;
        }
        self.left_bytes -= needed;
        true
    }
}
