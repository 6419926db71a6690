//! Drives that retrievals wait for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use strongroom_environment::Timestamp;

use super::scenario::DriveSettings;

/// A few drives, and when each is free.
#[derive(Debug)]
pub(super) struct Drives {
    settings: DriveSettings,
    free: BinaryHeap<Reverse<Timestamp>>,
}

impl Drives {
    pub(super) fn new(settings: DriveSettings) -> Self {
        Self {
            settings,
            free: (0..settings.count)
                .map(|_| Reverse(Timestamp::from_micros(i64::MIN)))
                .collect(),
        }
    }

    /// Books the drive that is free first, and says when it has read the archive.
    pub(super) fn book(&mut self, now: Timestamp, len_bytes: u64) -> Timestamp {
        let reading = len_bytes.div_ceil(self.settings.bytes_per_second.max(1));
        let service = Duration::from_secs(self.settings.mount_seconds.saturating_add(reading));
        let Some(Reverse(free)) = self.free.pop() else {
            return now + service;
        };
        let done = free.max(now) + service;
        self.free.push(Reverse(done));
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retrievals_wait_for_a_free_drive_in_their_order() {
        let mut drives = Drives::new(DriveSettings {
            count: 2,
            mount_seconds: 10,
            bytes_per_second: 100,
        });
        let at = Timestamp::from_seconds;
        assert_eq!(drives.book(at(0), 1_000), at(20));
        assert_eq!(drives.book(at(0), 0), at(10));
        assert_eq!(drives.book(at(1), 1), at(21));
        assert_eq!(drives.book(at(1), 0), at(30));
        assert_eq!(drives.book(at(1_000), 101), at(1_012));
    }
}
