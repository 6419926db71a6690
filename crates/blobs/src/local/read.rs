//! Reading a blob: from the page cache on the calling task, from the disk on another thread.

use std::fs::File;
use std::io::IoSliceMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;
use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};

use super::record::{Place, RECORD_HEADER_LEN_BYTES, Record};
use super::volume::{Volume, failed, read_to_end_of};
use super::volumes::blocking;
use crate::store::BlobError;

/// A read from the disk of at least this is taken for one of a stream.
const STREAM_READ_BYTES_MIN: usize = 64 * 1024;

/// How far behind such a read the system is told to fetch ahead.
const READ_AHEAD_BYTES: u64 = 1024 * 1024;

/// Reads of all volumes of a store.
#[derive(Default)]
pub(super) struct Reads {
    /// Set once the file system has refused to read without waiting.
    always_waits: AtomicBool,
}

/// How far a read came on the calling task.
struct Progress {
    header: [u8; RECORD_HEADER_LEN_BYTES],
    header_filled: usize,
    data_filled: usize,
}

impl Reads {
    /// Fills `buffer` from `offset` bytes into the blob at `place`, whose end the caller has
    /// checked.
    pub(super) async fn read(
        &self,
        volume: Arc<Volume>,
        place: Place,
        offset: u64,
        mut buffer: BytesMut,
    ) -> Result<BytesMut, BlobError> {
        let mut progress = Progress {
            header: [0; RECORD_HEADER_LEN_BYTES],
            header_filled: 0,
            data_filled: 0,
        };
        if !self.always_waits.load(Ordering::Relaxed) {
            match progress.without_waiting(&volume.file, &place, offset, &mut buffer) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP) => self.always_waits.store(true, Ordering::Relaxed),
                Err(error) => return Err(failed("read a blob", error)),
            }
        }
        if !progress.is_done(buffer.len()) {
            return blocking(move || {
                progress.with_waiting(&volume.file, &place, offset, &mut buffer)?;
                Ok(buffer)
            })
            .await;
        }
        progress.check(&place)?;
        Ok(buffer)
    }
}

impl Progress {
    fn is_done(&self, len_bytes: usize) -> bool {
        self.header_filled == RECORD_HEADER_LEN_BYTES && self.data_filled == len_bytes
    }

    /// Reads what the page cache has.
    fn without_waiting(
        &mut self,
        file: &File,
        place: &Place,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), Errno> {
        if offset == 0 {
            // The header lies before the data: one call gets both.
            let mut slices = [IoSliceMut::new(&mut self.header), IoSliceMut::new(buffer)];
            let read = read_cached(file, &mut slices, place.offset)?;
            self.header_filled = read.min(RECORD_HEADER_LEN_BYTES);
            self.data_filled = read - self.header_filled;
            return Ok(());
        }
        let mut header = [IoSliceMut::new(&mut self.header)];
        self.header_filled = read_cached(file, &mut header, place.offset)?;
        if self.header_filled == RECORD_HEADER_LEN_BYTES {
            let mut data = [IoSliceMut::new(buffer)];
            self.data_filled = read_cached(file, &mut data, place.data_offset() + offset)?;
        }
        Ok(())
    }

    /// Reads what is left.
    fn with_waiting(
        &mut self,
        file: &File,
        place: &Place,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), BlobError> {
        let read = |buffer: &mut [u8], filled: &mut usize, at: u64| {
            let rest = &mut buffer[*filled..];
            *filled += read_to_end_of(file, rest, at + *filled as u64)
                .map_err(|error| failed("read a blob", error))?;
            Ok::<(), BlobError>(())
        };
        let data_offset = place.data_offset() + offset;
        let len_bytes = buffer.len();
        read(&mut self.header, &mut self.header_filled, place.offset)?;
        read(buffer, &mut self.data_filled, data_offset)?;
        self.check(place)?;
        if self.data_filled < len_bytes {
            return Err(BlobError::Corrupt {
                reason: format!("volume {} ends within a blob", place.volume),
            });
        }
        let end = data_offset + len_bytes as u64;
        let left = (place.data_offset() + place.len_bytes).saturating_sub(end);
        let ahead = std::num::NonZero::new(left.min(READ_AHEAD_BYTES));
        if let Some(ahead) = ahead.filter(|_| len_bytes >= STREAM_READ_BYTES_MIN) {
            // Only a hint: without it the next read waits longer.
            let _ = rustix::fs::fadvise(file, end, Some(ahead), Advice::WillNeed);
        }
        Ok(())
    }

    /// Whether what was read is the blob's.
    fn check(&self, place: &Place) -> Result<(), BlobError> {
        let corrupt = |reason: &str| {
            Err(BlobError::Corrupt {
                reason: format!("{reason} in volume {} at {}", place.volume, place.offset),
            })
        };
        match Place::parse_header(place.volume, place.offset, &self.header) {
            Record::Blob(found) if found == *place => Ok(()),
            Record::Nothing => Err(BlobError::NotFound),
            Record::Blob(_) => corrupt("another blob lies"),
            Record::Other => corrupt("no blob begins"),
        }
    }
}

/// One read that does not wait for the disk; 0 when all of it would have to.
fn read_cached(file: &File, slices: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize, Errno> {
    match rustix::io::preadv2(file, slices, offset, ReadWriteFlags::NOWAIT) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        outcome => outcome,
    }
}
