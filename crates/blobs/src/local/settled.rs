//! What the caller has looked at, kept across restarts: see `docs/format/volumes.md`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::record::{PAGE_BYTES, VolumeId};

const FILE_NAME: &str = "settled";
const FILE_NAME_WHILE_WRITTEN: &str = "settled.new";
const MAGIC: [u8; 4] = *b"SRse";
const VERSION: u8 = 1;
const PREFIX_LEN_BYTES: usize = 24;
const ENTRY_LEN_BYTES: usize = 16;
const SUM_LEN_BYTES: usize = 4;

/// Up to where each volume is settled.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Settled {
    /// Volumes before this one are settled whole.
    pub(super) below: u64,
    /// Of the others, those that are settled up to an offset, which is [`u64::MAX`] for the whole.
    pub(super) up_to: BTreeMap<VolumeId, u64>,
}

impl Settled {
    /// Where the unsettled part of a volume begins; `None` where there is none.
    pub(super) fn unsettled_from(&self, volume: VolumeId) -> Option<u64> {
        if volume.0 < self.below {
            return None;
        }
        match self.up_to.get(&volume) {
            Some(&u64::MAX) => None,
            Some(offset) => Some(*offset),
            None => Some(PAGE_BYTES),
        }
    }

    /// Raises `below` past the volumes that are settled whole, of all that there are.
    pub(super) fn shorten(&mut self, volumes: impl IntoIterator<Item = VolumeId>) {
        // Numbers without a volume are of volumes that are gone, and none will have them again.
        let existing: Vec<VolumeId> = volumes.into_iter().collect();
        let unsettled = existing
            .iter()
            .filter(|volume| self.unsettled_from(**volume).is_some());
        let first = unsettled.min().or_else(|| existing.iter().max());
        self.below = self.below.max(first.map_or(0, |volume| volume.0));
        let below = self.below;
        self.up_to
            .retain(|volume, _| volume.0 >= below && existing.contains(volume));
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(
            PREFIX_LEN_BYTES + ENTRY_LEN_BYTES * self.up_to.len() + SUM_LEN_BYTES,
        );
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, 0, 0, 0]);
        bytes.extend_from_slice(&self.below.to_be_bytes());
        bytes.extend_from_slice(&(self.up_to.len() as u64).to_be_bytes());
        for (volume, offset) in &self.up_to {
            bytes.extend_from_slice(&volume.0.to_be_bytes());
            bytes.extend_from_slice(&offset.to_be_bytes());
        }
        let sum = crc_fast::crc32_iscsi(&bytes);
        bytes.extend_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<SUM_LEN_BYTES>()?;
        if crc_fast::crc32_iscsi(body).to_be_bytes() != *sum {
            return None;
        }
        let (prefix, entries) = body.split_first_chunk::<PREFIX_LEN_BYTES>()?;
        if prefix[..4] != MAGIC || prefix[4] != VERSION {
            return None;
        }
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
        let below = number(&prefix[8..16])?;
        let count = usize::try_from(number(&prefix[16..24])?).ok()?;
        if count.checked_mul(ENTRY_LEN_BYTES)? != entries.len() {
            return None;
        }
        let mut up_to = BTreeMap::new();
        for entry in entries.chunks_exact(ENTRY_LEN_BYTES) {
            let offset = number(&entry[8..])?;
            let possible = offset == u64::MAX || offset.is_multiple_of(PAGE_BYTES);
            up_to.insert(VolumeId(number(&entry[..8])?), possible.then_some(offset)?);
        }
        Some(Self { below, up_to })
    }

    /// What the file in `directory` says.
    ///
    /// A missing or damaged file says that nothing is settled: the caller then looks at more than
    /// it has to, which is safe.
    pub(super) fn load(directory: &Path) -> io::Result<Self> {
        match std::fs::remove_file(directory.join(FILE_NAME_WHILE_WRITTEN)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match std::fs::read(directory.join(FILE_NAME)) {
            Ok(bytes) => Ok(Self::decode(&bytes).unwrap_or_else(|| {
                tracing::warn!("the record of settled blobs is damaged; all are looked at again");
                Self::default()
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the file in `directory`. A crash leaves the old file or the new one.
    pub(super) fn save(&self, directory: &Path) -> io::Result<()> {
        let new = directory.join(FILE_NAME_WHILE_WRITTEN);
        let mut file = File::create(&new)?;
        file.write_all(&self.encode())?;
        file.sync_all()?;
        // The commit point.
        std::fs::rename(&new, directory.join(FILE_NAME))?;
        File::open(directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Settled {
        Settled {
            below: 2,
            up_to: BTreeMap::from([(VolumeId(3), 0x2000)]),
        }
    }

    #[test]
    fn it_comes_back_and_damage_settles_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Settled::load(directory.path()).unwrap(), Settled::default());
        example().save(directory.path()).unwrap();
        assert_eq!(Settled::load(directory.path()).unwrap(), example());

        let path = directory.path().join(FILE_NAME);
        let good = std::fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Settled::decode(&bad), None, "bit {bit}");
        }
        for len in 0..good.len() {
            assert_eq!(Settled::decode(&good[..len]), None, "{len} bytes");
        }
        std::fs::write(&path, &good[..10]).unwrap();
        assert_eq!(Settled::load(directory.path()).unwrap(), Settled::default());
    }

    #[test]
    fn a_crash_before_the_rename_keeps_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        example().save(directory.path()).unwrap();
        let half = directory.path().join(FILE_NAME_WHILE_WRITTEN);
        std::fs::write(&half, b"half").unwrap();
        assert_eq!(Settled::load(directory.path()).unwrap(), example());
        assert!(!half.exists());
    }

    #[test]
    fn whole_volumes_at_the_beginning_are_told_by_one_number() {
        let volumes = [1, 2, 5, 7].map(VolumeId);
        let mut settled = Settled {
            below: 0,
            up_to: BTreeMap::from([
                (VolumeId(1), u64::MAX),
                (VolumeId(2), u64::MAX),
                (VolumeId(4), u64::MAX),
                (VolumeId(5), 0x3000),
                (VolumeId(7), u64::MAX),
            ]),
        };
        settled.shorten(volumes);
        assert_eq!(settled.below, 5);
        let unsettled = volumes.map(|volume| settled.unsettled_from(volume));
        assert_eq!(unsettled, [None, None, Some(0x3000), None]);
        assert_eq!(settled.unsettled_from(VolumeId(8)), Some(PAGE_BYTES));
        assert_eq!(settled.up_to.len(), 2);
    }

    /// The worked example of the format's page.
    #[test]
    fn the_documented_example_decodes() {
        let page = include_str!("../../../../docs/format/volumes.md");
        let hex = page
            .split("```settled")
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .expect("the page has the example");
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).unwrap();
        assert_eq!(Settled::decode(&bytes), Some(example()));
        assert_eq!(example().encode(), bytes);
    }
}
