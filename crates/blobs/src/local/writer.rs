//! A blob under creation.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::Engine;
use super::record::{Place, RECORD_HEADER_LEN_BYTES};
use super::volume::{Parts, Step, Volume, failed};
use super::volumes::Reserved;
use crate::store::{BlobError, BlobRef, BlobWriter};

/// A blob up to this length is written by the thread that flushes it, so that it costs one change
/// of threads. A longer one is written while it arrives, in pieces of at least this.
const WRITE_LEN_BYTES_MIN: u64 = 128 * 1024;
/// A piece has at most this many buffers.
const WRITE_BUFFERS_MAX: usize = 256;
/// Buffers shorter than this are copied together.
const BUFFER_LEN_BYTES_MIN: usize = 4096;

/// Writes one record. One piece may be on its way to the file while the next is filled.
pub(super) struct LocalWriter {
    engine: Arc<Engine>,
    volume: Arc<Volume>,
    place: Place,
    /// How many of the blob's bytes were appended.
    appended_bytes: u64,
    /// What is not on its way yet.
    held: Parts,
    /// Where in the file `held` goes.
    held_offset: u64,
    flying: Option<JoinHandle<Result<(), BlobError>>>,
    /// Whether something of the record may be in the file.
    touched: bool,
    settled: bool,
    /// Where unfinished business is done after a drop.
    runtime: Handle,
}

impl LocalWriter {
    /// A writer for a record whose header is yet to be written.
    pub(super) fn of_small(engine: Arc<Engine>, reserved: Reserved) -> Self {
        let mut writer = Self::new(engine, reserved);
        writer.held.header = Some(writer.place.header());
        writer
    }

    /// A writer for a record whose header is written and whose room is reserved.
    pub(super) async fn of_large(
        engine: Arc<Engine>,
        reserved: Reserved,
    ) -> Result<Self, BlobError> {
        let mut writer = Self::new(engine, reserved);
        writer.held_offset += RECORD_HEADER_LEN_BYTES as u64;
        writer.touched = true;
        let (volume, place) = (Arc::clone(&writer.volume), writer.place);
        writer.flying = Some(tokio::task::spawn_blocking(move || volume.reserve(&place)));
        writer.land().await?;
        Ok(writer)
    }

    fn new(engine: Arc<Engine>, reserved: Reserved) -> Self {
        Self {
            engine,
            held_offset: reserved.place.offset,
            volume: reserved.volume,
            place: reserved.place,
            appended_bytes: 0,
            held: Parts::default(),
            flying: None,
            touched: false,
            settled: false,
            runtime: Handle::current(),
        }
    }

    /// Waits for the piece that is on its way.
    async fn land(&mut self) -> Result<(), BlobError> {
        // The handle stays in its place until it is done, so that a drop in between knows of it.
        let Some(flying) = self.flying.as_mut() else {
            return Ok(());
        };
        let landed = flying.await;
        self.flying = None;
        landed.unwrap_or_else(|error| {
            Err(BlobError::Io {
                doing: "wrote a blob on a thread of its own",
                source: std::io::Error::other(error),
            })
        })
    }

    /// Sends what is held on its way.
    async fn send(&mut self) -> Result<(), BlobError> {
        self.land().await?;
        let parts = std::mem::take(&mut self.held);
        let offset = self.held_offset;
        self.held_offset += parts.len_bytes();
        self.touched = true;
        let volume = Arc::clone(&self.volume);
        let pool = self.engine.buffers.clone();
        self.flying = Some(tokio::task::spawn_blocking(move || {
            let written = parts.write_to(&volume.file, offset);
            parts.release(&pool);
            written.map_err(|error| failed("wrote a blob", error))
        }));
        Ok(())
    }

    fn hold(&mut self, bytes: BytesMut) -> Option<BytesMut> {
        match self.held.buffers.last_mut() {
            Some(last) if bytes.len() < BUFFER_LEN_BYTES_MIN => {
                last.extend_from_slice(&bytes);
                Some(bytes)
            }
            _ => {
                self.held.buffers.push(bytes);
                None
            }
        }
    }
}

#[async_trait]
impl BlobWriter for LocalWriter {
    async fn append(&mut self, mut bytes: BytesMut) -> Result<BytesMut, BlobError> {
        let len_bytes = bytes.len() as u64;
        let actual = self.appended_bytes.saturating_add(len_bytes);
        if actual > self.place.len_bytes {
            return Err(BlobError::Length {
                expected: self.place.len_bytes,
                actual,
            });
        }
        if bytes.is_empty() {
            bytes.clear();
            return Ok(bytes);
        }
        self.appended_bytes = actual;
        metrics::counter!(crate::WRITTEN_BYTES).increment(len_bytes);
        let copied = self.hold(bytes);
        let is_piece = self.place.len_bytes > WRITE_LEN_BYTES_MIN
            && (self.held.len_bytes() >= WRITE_LEN_BYTES_MIN
                || self.held.buffers.len() >= WRITE_BUFFERS_MAX);
        if is_piece {
            self.send().await?;
        }
        if let Some(mut copied) = copied {
            copied.clear();
            return Ok(copied);
        }
        // After the last byte no buffer is needed, but one in stock may serve the next blob.
        let is_last = self.appended_bytes == self.place.len_bytes;
        let next = self.engine.buffers.take_used();
        Ok(match next {
            Some(next) => next,
            None if is_last => BytesMut::new(),
            None => self.engine.buffers.take(),
        })
    }

    async fn finish(mut self: Box<Self>) -> Result<BlobRef, BlobError> {
        if self.appended_bytes != self.place.len_bytes {
            return Err(BlobError::Length {
                expected: self.place.len_bytes,
                actual: self.appended_bytes,
            });
        }
        self.land().await?;
        let parts = std::mem::take(&mut self.held);
        let step = if parts.len_bytes() == 0 {
            Step::Flush
        } else {
            self.touched = true;
            Step::Write {
                offset: self.held_offset,
                parts,
                place: self.place,
            }
        };
        self.volume.submit(step, &self.engine.buffers).await?;
        self.settled = true;
        self.engine.volumes.release(&self.place);
        Ok(self.place.reference())
    }
}

impl Drop for LocalWriter {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        for buffer in std::mem::take(&mut self.held.buffers) {
            self.engine.buffers.give(buffer);
        }
        if !self.touched {
            self.engine.volumes.release(&self.place);
            return;
        }
        // What is in the file goes, after all that is still on its way there. Until then nobody
        // else gets the volume. Should the process end first, the next start lists the blob.
        let flying = self.flying.take();
        let (engine, volume, place) = (
            Arc::clone(&self.engine),
            Arc::clone(&self.volume),
            self.place,
        );
        self.runtime.spawn(async move {
            if let Some(flying) = flying {
                let _ = flying.await;
            }
            if let Err(error) = volume.submit(Step::Erase(place), &engine.buffers).await {
                tracing::warn!(%error, "an unfinished blob stays until the next start");
            }
            engine.volumes.release(&place);
        });
    }
}
