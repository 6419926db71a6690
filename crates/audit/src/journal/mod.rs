//! The journal: where an entry is the moment it is acknowledged.
//!
//! Entries go to the end of one segment file, framed so that damage shows ([`record`]). The
//! sequencer reads them back from there to build the tree, closes a segment when it has grown
//! long, and removes it when full entry bundles hold all that is in it.

mod flusher;
mod reading;
mod record;

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, DiskError, Placing, sync_dir, sync_file};
use crate::seam::AppendError;
use crate::tile::ENTRY_LEN_BYTES_MAX;
use crate::tree::TILE_WIDTH;

pub(crate) use flusher::Flusher;
pub use reading::JournalError;
pub(crate) use reading::{JOURNAL_DIR, JournalReader, Next, Position, list_segments, segment_path};
use record::{Chain, SEGMENT_HEADER_LEN_BYTES, SegmentHeader, encode_close, encode_entry};

/// The entries of the journal from the last full bundle on must be there for the next bundle.
pub(crate) fn last_full_bundle_end(published: u64) -> u64 {
    published - published % TILE_WIDTH as u64
}

/// The end of the journal, open for writing.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Writer {
    file: Arc<File>,
    path: PathBuf,
    end: Position,
    /// The first indices of the segments that are there; the last one is being written.
    segments: Vec<u64>,
    /// Reused for each record.
    record: Vec<u8>,
    stopped: Option<String>,
}

/// The journal as it was found.
pub(crate) struct Opened {
    pub(crate) journal: Journal,
    /// The place of the first entry that is not under a checkpoint.
    pub(crate) unpublished: Position,
}

impl Journal {
    /// Reads the journal through, drops a record whose writing was cut short, and opens its end.
    ///
    /// `visit` is shown every entry that is not in a full bundle of the `published` ones.
    pub(crate) fn open<E: From<JournalError>>(
        dir: &Path,
        disk: Arc<dyn Disk>,
        published: Option<u64>,
        mut visit: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<Opened, E> {
        if published.is_none() && !journal_exists(dir)? {
            Self::create(dir, disk.as_ref())?;
        }
        let published = published.unwrap_or(0);
        let segments = list_segments(dir)?;
        let needed = last_full_bundle_end(published);
        let Some(first) = segments.first().copied().filter(|first| *first <= needed) else {
            return Err(JournalError::Missing {
                path: segment_path(dir, needed),
            }
            .into());
        };

        let mut reader = JournalReader::at_segment(dir, first)?;
        let mut unpublished = None;
        let torn_len_bytes = loop {
            let before = reader.position();
            if before.next == published {
                unpublished = Some(before);
            }
            match reader.advance()? {
                Next::Entry if before.next >= needed => visit(before.next, reader.entry())?,
                Next::Entry => {}
                Next::End { torn_len_bytes } => break torn_len_bytes,
            }
        };
        let mut end = reader.position();
        reader.account_for(&segments)?;
        let unpublished = unpublished.ok_or(JournalError::Short {
            end: end.next,
            published,
        })?;

        let (mut file, mut path) = open_for_writing(dir, end.segment)?;
        if torn_len_bytes > 0 {
            tracing::warn!(
                segment = %path.display(),
                torn_len_bytes,
                "dropped the end of the audit journal: a record whose writing was cut short"
            );
            disk.set_len(&file, &path, end.offset)
                .map_err(|error| JournalError::from(DiskError::new("cutting", &path, error)))?;
            sync_file(disk.as_ref(), &file, &path).map_err(JournalError::from)?;
        }
        // A segment was made to follow this one, and this one was not closed any more.
        if segments.last() == Some(&end.next) && end.next != end.segment {
            close_segment(disk.as_ref(), &file, &path, end).map_err(JournalError::from)?;
            end = Position {
                segment: end.next,
                offset: SEGMENT_HEADER_LEN_BYTES as u64,
                ..end
            };
            (file, path) = open_for_writing(dir, end.segment)?;
        }
        Ok(Opened {
            journal: Self {
                dir: dir.to_owned(),
                disk,
                writer: Mutex::new(Writer {
                    file: Arc::new(file),
                    path,
                    end,
                    segments,
                    record: Vec::new(),
                    stopped: None,
                }),
            },
            unpublished,
        })
    }

    fn create(dir: &Path, disk: &dyn Disk) -> Result<(), JournalError> {
        let mut placing = Placing::new(disk, dir);
        let header = SegmentHeader {
            first: 0,
            seed: Chain::default(),
        };
        placing.place(&segment_path(dir, 0), &header.encode())?;
        placing.sync_dirs()?;
        Ok(())
    }

    /// Writes an entry at the end, and returns its index.
    pub(crate) fn append(&self, entry: &[u8]) -> Result<u64, AppendError> {
        if entry.len() > ENTRY_LEN_BYTES_MAX {
            return Err(AppendError::TooLong {
                len_bytes: entry.len(),
            });
        }
        let mut writer = self.writer.lock();
        let writer = &mut *writer;
        if let Some(reason) = &writer.stopped {
            return Err(AppendError::Stopped {
                reason: reason.clone(),
            });
        }
        let end = writer.end;
        let chain = encode_entry(&mut writer.record, end.chain, end.next, entry);
        if let Err(error) =
            self.disk
                .write_at(&writer.file, &writer.path, &writer.record, end.offset)
        {
            return Err(self.refuse(writer, error));
        }
        writer.end = Position {
            segment: end.segment,
            offset: end.offset + writer.record.len() as u64,
            next: end.next + 1,
            chain,
        };
        Ok(end.next)
    }

    /// After a failed write: takes back what part of the record was written. A full volume is then
    /// no reason to stop; any other error, or a record that cannot be taken back, is.
    fn refuse(&self, writer: &mut Writer, error: std::io::Error) -> AppendError {
        let error = DiskError::new("writing", &writer.path, error);
        let taken_back = self
            .disk
            .set_len(&writer.file, &writer.path, writer.end.offset);
        match taken_back {
            Ok(()) if error.is_full() => AppendError::Full,
            _ => stop(writer, error.to_string()),
        }
    }

    /// The number of entries written.
    pub(crate) fn size(&self) -> u64 {
        self.writer.lock().end.next
    }

    /// Takes no entry any more.
    pub(crate) fn stop(&self, reason: String) {
        stop(&mut self.writer.lock(), reason);
    }

    /// Why no entry is taken, if so.
    pub(crate) fn stopped(&self) -> Option<String> {
        self.writer.lock().stopped.clone()
    }

    /// Makes all that is written durable, and returns the number of entries that then are.
    pub(crate) fn sync(&self) -> Result<u64, AppendError> {
        let (file, path, size) = {
            let writer = self.writer.lock();
            if let Some(reason) = &writer.stopped {
                return Err(AppendError::Stopped {
                    reason: reason.clone(),
                });
            }
            (
                Arc::clone(&writer.file),
                writer.path.clone(),
                writer.end.next,
            )
        };
        // Earlier segments were synced when they were closed.
        sync_file(self.disk.as_ref(), &file, &path)
            .map_err(|error| stop(&mut self.writer.lock(), error.to_string()))?;
        Ok(size)
    }

    /// Goes on in a new segment when this one is longer than `len_bytes_max`.
    ///
    /// Order: the new segment, durable and without records; the mark that closes the old one,
    /// durable; only then records in the new one. So a closed segment always has a successor,
    /// and one that was taken away is missed.
    pub(crate) fn rotate(&self, len_bytes_max: u64) -> Result<(), DiskError> {
        let mut writer = self.writer.lock();
        let end = writer.end;
        let is_new = end.next == end.segment;
        if end.offset <= len_bytes_max || is_new || writer.stopped.is_some() {
            return Ok(());
        }
        let path = segment_path(&self.dir, end.next);
        let header = SegmentHeader {
            first: end.next,
            seed: end.chain,
        };
        let mut placing = Placing::new(self.disk.as_ref(), &self.dir);
        let file = match placing.place(&path, &header.encode()) {
            Ok(file) => file,
            Err(error) => {
                if error.leaves_doubt() {
                    stop(&mut writer, error.to_string());
                }
                return Err(error);
            }
        };
        // From here on a record in the old segment would be one too many.
        let closed = placing
            .sync_dirs()
            .and_then(|()| close_segment(self.disk.as_ref(), &writer.file, &writer.path, end));
        if let Err(error) = closed {
            stop(&mut writer, error.to_string());
            return Err(error);
        }
        writer.file = Arc::new(file);
        writer.path = path;
        writer.segments.push(end.next);
        writer.end = Position {
            segment: end.next,
            offset: SEGMENT_HEADER_LEN_BYTES as u64,
            ..end
        };
        Ok(())
    }

    /// Removes the segments whose entries are all in full bundles of the `published` ones.
    ///
    /// Only the sequencer calls this, one call at a time.
    pub(crate) fn prune(&self, published: u64) -> Result<(), DiskError> {
        let needed = last_full_bundle_end(published);
        loop {
            let covered = match self.writer.lock().segments[..] {
                [covered, next, ..] if next <= needed => covered,
                _ => return Ok(()),
            };
            let path = segment_path(&self.dir, covered);
            self.disk
                .remove_file(&path)
                .map_err(|error| DiskError::new("removing", &path, error))?;
            // One after the other: a gap must not come out of a loss of power.
            sync_dir(self.disk.as_ref(), &self.dir.join(JOURNAL_DIR))?;
            self.writer.lock().segments.remove(0);
        }
    }
}

fn stop(writer: &mut Writer, reason: String) -> AppendError {
    if writer.stopped.is_none() {
        tracing::error!(reason, "the audit log is stopped");
    }
    let reason = writer.stopped.get_or_insert(reason).clone();
    AppendError::Stopped { reason }
}

fn close_segment(
    disk: &dyn Disk,
    file: &File,
    path: &Path,
    end: Position,
) -> Result<(), DiskError> {
    let mut record = Vec::new();
    encode_close(&mut record, end.chain, end.next);
    disk.write_at(file, path, &record, end.offset)
        .map_err(|error| DiskError::new("closing", path, error))?;
    sync_file(disk, file, path)
}

fn journal_exists(dir: &Path) -> Result<bool, JournalError> {
    let path = dir.join(JOURNAL_DIR);
    let exists = path
        .try_exists()
        .map_err(|error| DiskError::new("looking for", &path, error))?;
    // A first start may have died between making the directory and its first segment.
    Ok(exists && !list_segments(dir)?.is_empty())
}

fn open_for_writing(dir: &Path, segment: u64) -> Result<(File, PathBuf), JournalError> {
    let path = segment_path(dir, segment);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|error| DiskError::new("opening", &path, error))?;
    Ok((file, path))
}

#[cfg(test)]
mod tests;
