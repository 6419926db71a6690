//! Reading entries from the log's directory, with or without a process that writes to it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::disk::{DiskError, read_if_there};
use crate::journal::{JournalError, JournalReader, Next, list_segments};
use crate::note::size_of_unverified;
use crate::tile::TilePath;
use crate::tile_files::{TileError, TileFiles};
use crate::tree::TILE_WIDTH;

/// The name of the checkpoint in the log's directory.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// How often reading starts over because a running log moved entries in the meantime.
pub(crate) const ATTEMPTS_MAX: u32 = 10;

/// Why entries, proofs or files cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The asked-for entry or tree is beyond what is there.
    #[error("the log has {size} entries; {asked} is beyond them")]
    Beyond {
        /// The entry index or tree size that was asked for.
        asked: u64,
        /// How many entries there are, or are under the checkpoint.
        size: u64,
    },
    /// The two tree sizes cannot stand in a consistency proof.
    #[error("a consistency proof needs 0 < old <= new, not {old} and {new}")]
    BadSizes {
        /// The older size.
        old: u64,
        /// The newer size.
        new: u64,
    },
    /// The checkpoint file holds no checkpoint.
    #[error("the checkpoint file holds no checkpoint")]
    Checkpoint,
    /// A tile or bundle.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The system could not read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Reads a log's directory. It takes no lock and checks no signature: see
/// [`crate::verify::verify_dir`] for that.
#[derive(Clone, Debug)]
pub struct Reader {
    dir: PathBuf,
}

impl Reader {
    /// A reader of the log in `dir`. Nothing is read yet.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The published checkpoint, as it is in its file; `None` before the first one.
    ///
    /// # Errors
    /// [`ReadError::Disk`]; [`ReadError::Checkpoint`] when the file is not text.
    pub fn checkpoint(&self) -> Result<Option<String>, ReadError> {
        read_if_there(&self.dir.join(CHECKPOINT))?
            .map(|bytes| String::from_utf8(bytes).map_err(|_| ReadError::Checkpoint))
            .transpose()
    }

    /// The number of entries under the published checkpoint.
    ///
    /// # Errors
    /// [`ReadError::Disk`], [`ReadError::Checkpoint`].
    pub fn published_size(&self) -> Result<u64, ReadError> {
        match self.checkpoint()? {
            Some(text) => size_of_unverified(&text).ok_or(ReadError::Checkpoint),
            None => Ok(0),
        }
    }

    /// The number of entries, those not yet under a checkpoint included.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn size(&self) -> Result<u64, ReadError> {
        let mut reader = match list_segments(&self.dir)?.last() {
            Some(last) => JournalReader::at_segment(&self.dir, *last)?,
            None => return Ok(0),
        };
        while reader.advance()? == Next::Entry {}
        Ok(reader.position().next)
    }

    /// The entries of `range`, as far as there are any. All are held in memory: ask for pages.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entries(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, ReadError> {
        let mut attempt = 1;
        loop {
            // While a log is being written, a segment may go after the look at the checkpoint, or
            // after the look at the names. Its entries are in bundles then.
            match self.entries_given(self.published_size()?, range.clone()) {
                Err(ReadError::Journal(JournalError::Missing { .. })) if attempt < ATTEMPTS_MAX => {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn entries_given(&self, published: u64, range: Range<u64>) -> Result<Vec<Vec<u8>>, ReadError> {
        let mut entries = Vec::new();
        let mut next = range.start;
        let tiles = TileFiles::new(&self.dir, published);
        while next < range.end.min(published) {
            let number = next / TILE_WIDTH as u64;
            let start = number * TILE_WIDTH as u64;
            let bundle = tiles.entries(number)?;
            let width = bundle.len() as u64;
            entries.extend(
                bundle
                    .into_iter()
                    .skip((next - start) as usize)
                    .take((range.end - next) as usize),
            );
            next = range.end.min(start + width);
        }
        if next < range.end {
            self.read_journal(next..range.end, &mut entries)?;
        }
        Ok(entries)
    }

    fn read_journal(&self, range: Range<u64>, entries: &mut Vec<Vec<u8>>) -> Result<(), ReadError> {
        let segments = list_segments(&self.dir)?;
        let Some(segment) = segments.iter().rev().find(|first| **first <= range.start) else {
            return match segments.first() {
                None => Ok(()),
                Some(_) => Err(JournalError::Missing {
                    path: crate::journal::segment_path(&self.dir, range.start),
                }
                .into()),
            };
        };
        let mut reader = JournalReader::at_segment(&self.dir, *segment)?;
        while reader.position().next < range.end && reader.advance()? == Next::Entry {
            if reader.position().next > range.start {
                entries.push(reader.entry().to_vec());
            }
        }
        Ok(())
    }

    /// The bytes of a published file: `checkpoint`, or a tile by its path in C2SP tlog-tiles.
    /// `None` for any other path, however it is spelled, and for files that are not there.
    ///
    /// # Errors
    /// [`ReadError::Disk`].
    pub fn published_file(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
        let file: &Path = match TilePath::parse(path) {
            Some(tile) => &tile.in_dir(&self.dir),
            None if path == CHECKPOINT => &self.dir.join(CHECKPOINT),
            None => return Ok(None),
        };
        Ok(read_if_there(file)?)
    }
}
