//! One volume's file: reads, writes, deletions, and the flush that waiting tasks share.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;
use tokio::sync::oneshot;

use super::record::{
    PAGE_BYTES, Place, RECORD_HEADER_LEN_BYTES, Record, VolumeHeader, VolumeId,
    parse_volume_header, volume_header,
};
use crate::buffers::BufferPool;
use crate::store::BlobError;

/// The most buffers that the system takes in one write (`IOV_MAX`).
const WRITE_BUFFERS_MAX: usize = 1024;

/// A volume whose file is open.
pub(super) struct Volume {
    pub(super) id: VolumeId,
    pub(super) file: File,
    /// Set when a flush failed: what the file holds is then not known, and nothing more is
    /// written to it.
    failed: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    steps: Vec<(Step, oneshot::Sender<Result<(), BlobError>>)>,
    /// Whether a thread is taking steps off the list.
    running: bool,
}

/// What is done to a volume before a flush makes it durable.
pub(super) enum Step {
    /// Everything is written already.
    Flush,
    /// A record, or the last of it.
    Write {
        /// Where the first of `parts` goes.
        offset: u64,
        /// Written in order, without gaps.
        parts: Parts,
        /// The whole record, erased again when it can't be written.
        place: Place,
    },
    /// A finished blob goes.
    Delete(Place),
    /// What was written of an unfinished blob goes.
    Erase(Place),
}

/// Bytes on their way to a volume.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) header: Option<[u8; RECORD_HEADER_LEN_BYTES]>,
    pub(super) buffers: Vec<BytesMut>,
}

impl Parts {
    pub(super) fn len_bytes(&self) -> u64 {
        let header = self.header.map_or(0, |header| header.len());
        let buffers: usize = self.buffers.iter().map(BytesMut::len).sum();
        (header + buffers) as u64
    }

    /// Writes all parts to `file`, one after the other from `offset`.
    pub(super) fn write_to(&self, file: &File, mut offset: u64) -> io::Result<()> {
        let header = self.header.iter().map(<[u8; _]>::as_slice);
        let buffers = self.buffers.iter().map(|buffer| &**buffer);
        let mut slices: Vec<IoSlice<'_>> = header.chain(buffers).map(IoSlice::new).collect();
        let mut rest = slices.as_mut_slice();
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let some = &rest[..rest.len().min(WRITE_BUFFERS_MAX)];
            match rustix::io::pwritev(file, some, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives the buffers back to the pool.
    pub(super) fn release(self, pool: &BufferPool) {
        for buffer in self.buffers {
            pool.give(buffer);
        }
    }
}

/// What an answer of the system means to the caller.
pub(super) fn failed(doing: &'static str, error: impl Into<io::Error>) -> BlobError {
    let source = error.into();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            BlobError::Full
        }
        _ => BlobError::Io { doing, source },
    }
}

impl Volume {
    fn new(id: VolumeId, file: File) -> Arc<Self> {
        Arc::new(Self {
            id,
            file,
            failed: AtomicBool::new(false),
            waiting: Mutex::default(),
        })
    }

    /// Makes the file of a new volume, with a durable name.
    pub(super) fn make(directory: &Path, id: VolumeId) -> Result<Arc<Self>, BlobError> {
        let path = directory.join(id.file_name());
        let make = || -> io::Result<File> {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)?;
            // The first flush of a record makes this header durable too.
            file.write_all_at(&volume_header(id), 0)?;
            File::open(directory)?.sync_all()?;
            Ok(file)
        };
        match make() {
            Ok(file) => Ok(Self::new(id, file)),
            Err(error) => {
                // It holds no blob; what cannot be removed now is removed at the next start.
                let _ = std::fs::remove_file(&path);
                Err(failed("made a volume", error))
            }
        }
    }

    /// Opens the file of an existing volume; `None` when there is none.
    pub(super) fn open(directory: &Path, id: VolumeId) -> Result<Option<Arc<Self>>, BlobError> {
        let path = directory.join(id.file_name());
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("opened a volume", error)),
        };
        let mut header = [0; 32];
        read_to_end_of(&file, &mut header, 0).map_err(|error| failed("read a volume", error))?;
        match parse_volume_header(&header) {
            VolumeHeader::Known(found) if found == id => {}
            VolumeHeader::Newer { version } => {
                return Err(BlobError::Corrupt {
                    reason: format!("volume {id} has the unknown format version {version}"),
                });
            }
            VolumeHeader::Known(_) | VolumeHeader::Damaged => {
                tracing::warn!(volume = %id, "the header of a volume is damaged");
            }
        }
        Ok(Some(Self::new(id, file)))
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The end of the file, in whole pages.
    pub(super) fn end_offset(&self) -> io::Result<u64> {
        let len_bytes = self.file.metadata()?.len();
        Ok(len_bytes
            .checked_next_multiple_of(PAGE_BYTES)
            .unwrap_or(len_bytes))
    }

    /// Writes the header of a record and reserves its disk space, so that it lies together and
    /// cannot run out.
    pub(super) fn reserve(&self, place: &Place) -> Result<(), BlobError> {
        // The header first: what is reserved is then found again after a crash.
        self.file
            .write_all_at(&place.header(), place.offset)
            .map_err(|error| failed("wrote the header of a blob", error))?;
        let keep_size = FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, keep_size, place.offset, place.span_bytes()) {
            // Where the file system cannot reserve, the write finds out.
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(failed("reserved room for a blob", error)),
        }
    }

    /// Gives the disk space of a record back; what is read there from now on is zeros.
    fn punch(&self, place: &Place) -> io::Result<()> {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.file, mode, place.offset, place.span_bytes())?;
        Ok(())
    }

    /// What lies where `offset` says, and [`Record::Nothing`] past the end of the file.
    pub(super) fn record_at(&self, offset: u64) -> io::Result<Record> {
        let mut header = [0; RECORD_HEADER_LEN_BYTES];
        read_to_end_of(&self.file, &mut header, offset)?;
        Ok(Place::parse_header(self.id, offset, &header))
    }

    /// Deletes the blob at `place`, if it is still there.
    fn delete(&self, place: &Place) -> io::Result<()> {
        match self.record_at(place.offset)? {
            Record::Blob(found) if found != *place => return Ok(()),
            Record::Blob(_) => {}
            // The header is gone or damaged. A deletion that a crash cut short may have left some
            // of the bytes; they are taken unless another record lies among them, in which case
            // the reference is not of this volume at all.
            Record::Nothing | Record::Other => {
                let walk = self.walk(place.offset, place.offset + place.span_bytes(), &|_| None)?;
                if !walk.places.is_empty() || walk.is_empty() {
                    return Ok(());
                }
            }
        }
        self.punch(place)
    }

    /// Does `step`, and makes it and all that was written to the volume before it durable.
    ///
    /// Steps of one volume are done in the order of these calls, and those that wait together
    /// share one flush. Dropping the future does not undo the step.
    pub(super) async fn submit(
        self: &Arc<Self>,
        step: Step,
        pool: &BufferPool,
    ) -> Result<(), BlobError> {
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            waiting.steps.push((step, answer));
            if !waiting.running {
                waiting.running = true;
                let run = Run {
                    volume: Arc::clone(self),
                    ended: false,
                };
                let pool = pool.clone();
                tokio::task::spawn_blocking(move || run.run(&pool));
            }
        }
        answered.await.unwrap_or_else(|_| {
            Err(BlobError::OutcomeUnknown {
                reason: "the flush was abandoned".to_owned(),
            })
        })
    }

    /// Does one step, without a flush.
    fn perform(&self, step: Step, pool: &BufferPool) -> Result<(), BlobError> {
        match step {
            Step::Flush => self.check_usable(),
            Step::Write {
                offset,
                parts,
                place,
            } => {
                self.check_usable()?;
                let written = parts.write_to(&self.file, offset);
                parts.release(pool);
                written.map_err(|error| {
                    // Nothing of it is to stay. Where that fails too, the next start lists it.
                    let _ = self.punch(&place);
                    failed("wrote a blob", error)
                })
            }
            Step::Delete(place) => self
                .delete(&place)
                .map_err(|error| failed("deleted a blob", error)),
            Step::Erase(place) => self
                .punch(&place)
                .map_err(|error| failed("erased an unfinished blob", error)),
        }
    }

    fn check_usable(&self) -> Result<(), BlobError> {
        match self.has_failed() {
            true => Err(unknown("an earlier flush of the volume failed")),
            false => Ok(()),
        }
    }

    /// Makes all that was written durable, or says why it is not known to be.
    fn flush(&self) -> Result<(), String> {
        rustix::fs::fdatasync(&self.file).map_err(|error| {
            self.failed.store(true, Ordering::Release);
            let error = io::Error::from(error);
            tracing::error!(volume = %self.id, %error, "a flush failed; the volume is retired");
            error.to_string()
        })
    }

    /// Finds the records between two page offsets, skipping what `skip` gives a span for.
    pub(super) fn walk(
        &self,
        from: u64,
        to: u64,
        skip: &dyn Fn(u64) -> Option<u64>,
    ) -> io::Result<Walk> {
        let mut walk = Walk::default();
        let mut offset = from;
        loop {
            // Holes are stepped over whole; a file system with small blocks may find data in the
            // middle of a page.
            offset = match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
                Ok(data) => offset.max(data - data % PAGE_BYTES),
                Err(Errno::NXIO) => return Ok(walk),
                Err(error) => return Err(error.into()),
            };
            if offset >= to {
                return Ok(walk);
            }
            offset += match skip(offset) {
                Some(span_bytes) => span_bytes,
                None => match self.record_at(offset)? {
                    Record::Blob(place) => {
                        walk.places.push(place);
                        place.span_bytes()
                    }
                    Record::Nothing => {
                        walk.blank_pages += 1;
                        PAGE_BYTES
                    }
                    Record::Other => {
                        walk.stray_pages += 1;
                        PAGE_BYTES
                    }
                },
            };
        }
    }
}

/// What a walk over a volume met.
#[derive(Default, Debug)]
pub(super) struct Walk {
    /// The records, in order.
    pub(super) places: Vec<Place>,
    /// Pages that begin with zeros and belong to no record.
    pub(super) blank_pages: u64,
    /// Pages that hold something and belong to no record: what loss of power left of a blob whose
    /// header was not durable yet, or damage.
    pub(super) stray_pages: u64,
}

impl Walk {
    fn is_empty(&self) -> bool {
        self.places.is_empty() && self.blank_pages == 0 && self.stray_pages == 0
    }
}

/// The right to take steps off a volume's list. However it ends, the next step may begin anew.
struct Run {
    volume: Arc<Volume>,
    ended: bool,
}

impl Run {
    fn run(mut self, pool: &BufferPool) {
        loop {
            let steps = {
                let mut waiting = self.volume.waiting.lock();
                if waiting.steps.is_empty() {
                    waiting.running = false;
                    self.ended = true;
                    return;
                }
                std::mem::take(&mut waiting.steps)
            };
            let mut unflushed = Vec::with_capacity(steps.len());
            for (step, answer) in steps {
                let needs_flush = !matches!(step, Step::Erase(_));
                let done = self.volume.perform(step, pool);
                if done.is_ok() && needs_flush {
                    unflushed.push(answer);
                } else {
                    // Whoever no longer waits does not hear it.
                    let _ = answer.send(done);
                }
            }
            if unflushed.is_empty() {
                continue;
            }
            // The commit point of every step in the group.
            let flushed = self.volume.flush();
            metrics::counter!("strongroom_volume_flushes_total").increment(1);
            for answer in unflushed {
                let _ = answer.send(flushed.as_ref().copied().map_err(|reason| unknown(reason)));
            }
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.ended {
            // The runtime stopped before the thread ran, or the thread panicked: those who wait
            // are told that the outcome is not known.
            let mut waiting = self.volume.waiting.lock();
            waiting.running = false;
            let abandoned = std::mem::take(&mut waiting.steps);
            drop(waiting);
            drop(abandoned);
        }
    }
}

fn unknown(reason: &str) -> BlobError {
    BlobError::OutcomeUnknown {
        reason: reason.to_owned(),
    }
}

/// Reads until `buffer` is full or the file ends, and says how much it read.
pub(super) fn read_to_end_of(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
