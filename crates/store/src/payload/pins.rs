//! Payloads that are being read, and whose blobs are therefore left alone for now.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::PayloadId;

/// Which payloads are being read by this process.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    readers: Mutex<HashMap<PayloadId, Readers>>,
    /// Told when garbage that had to wait for a reader may be collected.
    released: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Readers {
    count: usize,
    /// The collector came by meanwhile.
    awaited: bool,
}

impl Pins {
    pub(crate) fn new(released: Arc<Notify>) -> Self {
        Self {
            readers: Mutex::default(),
            released,
        }
    }

    /// Keeps the blobs of `payload` from being deleted until the pin is dropped.
    pub(crate) fn pin(self: &Arc<Self>, payload: PayloadId) -> Pin {
        self.readers.lock().entry(payload).or_default().count += 1;
        Pin {
            pins: Arc::clone(self),
            payload,
        }
    }

    /// Whether a payload is being read; if so, the collector is told when that is over.
    pub(crate) fn is_pinned(&self, payload: PayloadId) -> bool {
        match self.readers.lock().get_mut(&payload) {
            Some(readers) => {
                readers.awaited = true;
                true
            }
            None => false,
        }
    }
}

/// A payload is being read.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Arc<Pins>,
    payload: PayloadId,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut readers = self.pins.readers.lock();
        let Some(entry) = readers.get_mut(&self.payload) else {
            return;
        };
        entry.count -= 1;
        if entry.count == 0 {
            let awaited = entry.awaited;
            readers.remove(&self.payload);
            if awaited {
                self.pins.released.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_payload_is_pinned_until_its_last_reader_is_gone_and_then_says_so() {
        let released = Arc::new(Notify::new());
        let pins = Arc::new(Pins::new(Arc::clone(&released)));
        let payload = PayloadId([1; 16]);
        let (one, two) = (pins.pin(payload), pins.pin(payload));
        assert!(pins.is_pinned(payload));
        assert!(!pins.is_pinned(PayloadId([2; 16])));
        drop(one);
        assert!(pins.is_pinned(payload));
        drop(two);
        assert!(!pins.is_pinned(payload));
        released.notified().await;
    }
}
