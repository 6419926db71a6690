//! A disk in memory for tests: it remembers every write, fails when told to, and can lose power.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;
use strongroom_environment::SeededEntropy;

/// What the writer asked of the disk.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    events: Vec<Event>,
    /// Syncs and writes that fail, counted from now.
    fail_syncs: BTreeSet<usize>,
    /// No write may reach past this many bytes in total.
    fail_writes_after: Option<usize>,
}

impl Disk {
    /// A disk that holds `bytes`.
    pub(super) fn holding(bytes: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.state.lock().bytes = bytes;
        disk
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.state.lock().bytes.clone()
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.state.lock().events.clone()
    }

    pub(super) fn event_count(&self) -> usize {
        self.state.lock().events.len()
    }

    pub(super) fn sync_count(&self) -> usize {
        let state = self.state.lock();
        let syncs = state
            .events
            .iter()
            .filter(|event| matches!(event, Event::Sync));
        syncs.count()
    }

    /// Fails the sync that comes after `after` others.
    pub(super) fn fail_sync(&self, after: usize) {
        self.state.lock().fail_syncs.insert(after);
    }

    /// Has no room for writes after `after` others.
    pub(super) fn fail_writes(&self, after: usize) {
        self.state.lock().fail_writes_after = Some(after);
    }
}

/// What a disk holds that was given `events` and then lost power: everything up to the last sync,
/// and of what came after it any part, in sectors.
pub(super) fn after_power_loss(events: &[Event], chance: &SeededEntropy) -> Vec<u8> {
    const SECTOR_BYTES: usize = 512;
    let synced = events
        .iter()
        .rposition(|event| matches!(event, Event::Sync));
    let mut bytes = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let certain = synced.is_some_and(|synced| at < synced);
        match event {
            Event::Sync => {}
            Event::SetLen(len) => {
                if certain || chance.next_u64().is_multiple_of(2) {
                    bytes.resize(usize::try_from(*len).unwrap(), 0);
                }
            }
            Event::Write(offset, data) => {
                for (sector, piece) in data.chunks(SECTOR_BYTES).enumerate() {
                    if certain || chance.next_u64().is_multiple_of(2) {
                        let start = usize::try_from(*offset).unwrap() + sector * SECTOR_BYTES;
                        let end = start + piece.len();
                        if bytes.len() < end {
                            bytes.resize(end, 0);
                        }
                        bytes[start..end].copy_from_slice(piece);
                    }
                }
            }
        }
    }
    bytes
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let found = start
            .checked_add(out.len())
            .and_then(|end| state.bytes.get(start..end));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.events.push(Event::SetLen(len));
        let len = usize::try_from(len).map_err(io::Error::other)?;
        state.bytes.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.fail_syncs.contains(&0) {
            state.fail_syncs.clear();
            return Err(io::Error::other("a scheduled failure"));
        }
        state.fail_syncs = state.fail_syncs.iter().map(|after| after - 1).collect();
        state.events.push(Event::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        match &mut state.fail_writes_after {
            Some(0) => return Err(io::ErrorKind::StorageFull.into()),
            Some(after) => *after -= 1,
            None => {}
        }
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start + data.len();
        if state.bytes.len() < end {
            state.bytes.resize(end, 0);
        }
        state.bytes[start..end].copy_from_slice(data);
        state.events.push(Event::Write(offset, data.to_vec()));
        Ok(())
    }
}
