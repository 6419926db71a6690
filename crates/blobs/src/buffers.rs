//! Buffers that are used again.

use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::Mutex;

/// A bounded stock of large empty buffers, shared by all who hold a clone of it.
///
/// A fresh buffer of a megabyte costs a page fault for every 4 KiB when it is first filled, which
/// is more than sealing them costs; so streams pass the same few buffers around.
#[derive(Clone)]
pub struct BufferPool {
    shared: Arc<Shared>,
}

struct Shared {
    buffer_len_bytes: usize,
    buffers_max: usize,
    buffers: Mutex<Vec<BytesMut>>,
}

impl BufferPool {
    /// An empty pool that makes buffers with room for `buffer_len_bytes` and keeps at most
    /// `buffers_max` of them.
    #[must_use]
    pub fn new(buffer_len_bytes: usize, buffers_max: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                buffer_len_bytes,
                buffers_max,
                buffers: Mutex::default(),
            }),
        }
    }

    /// The room in a buffer of this pool, in bytes.
    #[must_use]
    pub fn buffer_len_bytes(&self) -> usize {
        self.shared.buffer_len_bytes
    }

    /// An empty buffer, a new one if none is in stock.
    #[must_use]
    pub fn take(&self) -> BytesMut {
        self.take_used()
            .unwrap_or_else(|| BytesMut::with_capacity(self.shared.buffer_len_bytes))
    }

    /// An empty buffer, if one is in stock.
    #[must_use]
    pub fn take_used(&self) -> Option<BytesMut> {
        self.shared.buffers.lock().pop()
    }

    /// Gives a buffer back. What is in it is forgotten, not wiped; one that is smaller than those
    /// of the pool, or more than it keeps, is freed.
    pub fn give(&self, mut buffer: BytesMut) {
        buffer.clear();
        if !buffer.try_reclaim(self.shared.buffer_len_bytes) {
            return;
        }
        let mut buffers = self.shared.buffers.lock();
        if buffers.len() < self.shared.buffers_max {
            buffers.push(buffer);
        }
    }
}

impl Default for BufferPool {
    /// Up to 32 buffers of 1 MiB and the 2 KiB that sealing adds.
    fn default() -> Self {
        Self::new(1024 * 1024 + 2048, 32)
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("buffer_len_bytes", &self.shared.buffer_len_bytes)
            .field("in_stock", &self.shared.buffers.lock().len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_no_more_are_kept_than_allowed() {
        let pool = BufferPool::new(100, 2);
        assert!(pool.take_used().is_none());
        for _ in 0..3 {
            let mut buffer = BytesMut::with_capacity(100);
            buffer.extend_from_slice(b"used");
            pool.give(buffer);
        }
        pool.give(BytesMut::with_capacity(10));
        for _ in 0..2 {
            let buffer = pool.take_used().unwrap();
            assert!(buffer.is_empty());
            assert!(buffer.capacity() >= 100);
        }
        assert!(pool.take_used().is_none());
    }
}
