//! How a blob lies in a volume, and how it is named: see `docs/format/volumes.md`.

use std::fmt;

use crate::store::{BlobOwner, BlobRef};

/// Records begin at multiples of this, so that a deleted one leaves whole pages.
pub(super) const PAGE_BYTES: u64 = 4096;
/// The header before a blob's bytes.
pub(super) const RECORD_HEADER_LEN_BYTES: usize = 64;

const RECORD_MAGIC: [u8; 4] = *b"SRrc";
const RECORD_VERSION: u8 = 1;
const VOLUME_MAGIC: [u8; 4] = *b"SRvo";
const VOLUME_VERSION: u8 = 1;
const VOLUME_HEADER_LEN_BYTES: usize = 32;
const REF_VERSION: u8 = 1;
const REF_LEN_BYTES: usize = 1 + 8 + 8 + 8 + 16 + 4;

/// The number of a volume. No number is used twice in a store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct VolumeId(pub(super) u64);

impl VolumeId {
    /// The name of the volume's file.
    pub(super) fn file_name(self) -> String {
        format!("{:016x}.volume", self.0)
    }

    /// The volume whose file has this name.
    pub(super) fn of_file_name(name: &str) -> Option<Self> {
        let digits = name.strip_suffix(".volume")?;
        let id = Self(u64::from_str_radix(digits, 16).ok()?);
        (id.file_name() == name).then_some(id)
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The page that begins a volume's file.
pub(super) fn volume_header(id: VolumeId) -> Vec<u8> {
    let mut page = vec![0; VOLUME_HEADER_LEN_BYTES];
    page[..4].copy_from_slice(&VOLUME_MAGIC);
    page[4] = VOLUME_VERSION;
    page[8..16].copy_from_slice(&id.0.to_be_bytes());
    let sum = crc_fast::crc32_iscsi(&page[..28]);
    page[28..].copy_from_slice(&sum.to_be_bytes());
    page
}

/// What the first bytes of a volume's file say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum VolumeHeader {
    /// A volume of this layout, with this number.
    Known(VolumeId),
    /// A whole header of a layout that this code does not know.
    Newer { version: u8 },
    /// Not what was written. The records say for themselves where they belong, so they can be read
    /// all the same.
    Damaged,
}

/// Reads the header of a volume.
pub(super) fn parse_volume_header(bytes: &[u8]) -> VolumeHeader {
    let Some(header) = bytes.first_chunk::<VOLUME_HEADER_LEN_BYTES>() else {
        return VolumeHeader::Damaged;
    };
    let sum = crc_fast::crc32_iscsi(&header[..28]).to_be_bytes();
    if header[..4] != VOLUME_MAGIC || header[28..] != sum {
        return VolumeHeader::Damaged;
    }
    match header[4] {
        VOLUME_VERSION => VolumeHeader::Known(VolumeId(be_u64(header, 8))),
        version => VolumeHeader::Newer { version },
    }
}

/// Where a blob lies and whose it is: what its record's header and its reference both say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) volume: VolumeId,
    /// Of the record's header, in bytes from the beginning of the file; a multiple of
    /// [`PAGE_BYTES`] other than 0.
    pub(super) offset: u64,
    /// Of the blob, without its header.
    pub(super) len_bytes: u64,
    pub(super) owner: BlobOwner,
}

/// What lies where a record's header is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Record {
    /// Nothing was written, or it was deleted.
    Nothing,
    /// A record.
    Blob(Place),
    /// Something else: bytes of a blob, or damage.
    Other,
}

impl Place {
    /// How many bytes of the file the record of a blob of `len_bytes` takes, in whole pages;
    /// `None` for a blob longer than any file.
    pub(super) fn span_of(len_bytes: u64) -> Option<u64> {
        len_bytes
            .checked_add(RECORD_HEADER_LEN_BYTES as u64)?
            .checked_next_multiple_of(PAGE_BYTES)
            .filter(|span| *span <= i64::MAX as u64)
    }

    /// How many bytes of the file the record takes.
    pub(super) fn span_bytes(&self) -> u64 {
        // Places come from `create` and from `checked`, which both know the span to exist.
        Self::span_of(self.len_bytes).unwrap_or(PAGE_BYTES)
    }

    /// Where the blob's own bytes begin in the file.
    pub(super) fn data_offset(&self) -> u64 {
        self.offset + RECORD_HEADER_LEN_BYTES as u64
    }

    /// The place, if there can be such a one.
    fn checked(self) -> Option<Self> {
        let end = Self::span_of(self.len_bytes)?.checked_add(self.offset)?;
        let possible = self.offset != 0
            && self.offset.is_multiple_of(PAGE_BYTES)
            && i64::try_from(end).is_ok();
        possible.then_some(self)
    }

    /// The header that is written before the blob's bytes.
    pub(super) fn header(&self) -> [u8; RECORD_HEADER_LEN_BYTES] {
        let mut header = [0; RECORD_HEADER_LEN_BYTES];
        header[..4].copy_from_slice(&RECORD_MAGIC);
        header[4] = RECORD_VERSION;
        header[8..16].copy_from_slice(&self.volume.0.to_be_bytes());
        header[16..24].copy_from_slice(&self.offset.to_be_bytes());
        header[24..32].copy_from_slice(&self.len_bytes.to_be_bytes());
        header[32..48].copy_from_slice(&self.owner.0);
        let sum = crc_fast::crc32_iscsi(&header[..60]);
        header[60..].copy_from_slice(&sum.to_be_bytes());
        header
    }

    /// What `header`, found at `offset` of `volume`, is.
    pub(super) fn parse_header(
        volume: VolumeId,
        offset: u64,
        header: &[u8; RECORD_HEADER_LEN_BYTES],
    ) -> Record {
        if header.iter().all(|byte| *byte == 0) {
            return Record::Nothing;
        }
        let sum = crc_fast::crc32_iscsi(&header[..60]).to_be_bytes();
        if header[..4] != RECORD_MAGIC || header[4] != RECORD_VERSION || header[60..] != sum {
            return Record::Other;
        }
        let mut owner = [0; 16];
        owner.copy_from_slice(&header[32..48]);
        let place = Self {
            volume: VolumeId(be_u64(header, 8)),
            offset: be_u64(header, 16),
            len_bytes: be_u64(header, 24),
            owner: BlobOwner(owner),
        };
        match place.checked() {
            Some(place) if (place.volume, place.offset) == (volume, offset) => Record::Blob(place),
            _ => Record::Other,
        }
    }

    /// The reference by which the caller knows the blob.
    pub(super) fn reference(&self) -> BlobRef {
        let mut bytes = [0; REF_LEN_BYTES];
        bytes[0] = REF_VERSION;
        bytes[1..9].copy_from_slice(&self.volume.0.to_be_bytes());
        bytes[9..17].copy_from_slice(&self.offset.to_be_bytes());
        bytes[17..25].copy_from_slice(&self.len_bytes.to_be_bytes());
        bytes[25..41].copy_from_slice(&self.owner.0);
        let sum = crc_fast::crc32_iscsi(&bytes[..41]);
        bytes[41..].copy_from_slice(&sum.to_be_bytes());
        BlobRef::from_bytes(&bytes)
    }

    /// The place that a reference names; `None` for one that this engine did not make.
    pub(super) fn of_reference(blob: &BlobRef) -> Option<Self> {
        let bytes: &[u8; REF_LEN_BYTES] = blob.as_bytes().try_into().ok()?;
        let sum = crc_fast::crc32_iscsi(&bytes[..41]).to_be_bytes();
        if bytes[0] != REF_VERSION || bytes[41..] != sum {
            return None;
        }
        let mut owner = [0; 16];
        owner.copy_from_slice(&bytes[25..41]);
        Self {
            volume: VolumeId(be_u64(bytes, 1)),
            offset: be_u64(bytes, 9),
            len_bytes: be_u64(bytes, 17),
            owner: BlobOwner(owner),
        }
        .checked()
    }
}

/// The eight bytes at `at`, which the caller knows to be within `bytes`.
fn be_u64(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8]
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        volume: VolumeId(3),
        offset: 0x2000,
        len_bytes: 5,
        owner: BlobOwner(*b"sixteen bytes id"),
    };

    #[test]
    fn headers_and_references_come_back() {
        let header = PLACE.header();
        let found = Place::parse_header(PLACE.volume, PLACE.offset, &header);
        assert_eq!(found, Record::Blob(PLACE));
        assert_eq!(Place::of_reference(&PLACE.reference()), Some(PLACE));
        assert_eq!(
            parse_volume_header(&volume_header(VolumeId(3))),
            VolumeHeader::Known(VolumeId(3))
        );
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = PLACE.header();
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            let found = Place::parse_header(PLACE.volume, PLACE.offset, &bad);
            assert_eq!(found, Record::Other, "bit {bit}");
        }
        let good = PLACE.reference();
        for bit in 0..REF_LEN_BYTES * 8 {
            let mut bad = good.as_bytes().to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Place::of_reference(&BlobRef::from_bytes(&bad)), None);
        }
        let good = volume_header(VolumeId(3));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_volume_header(&bad), VolumeHeader::Damaged);
        }
    }

    #[test]
    fn a_header_found_elsewhere_is_no_record() {
        let header = PLACE.header();
        let other_offset = Place::parse_header(PLACE.volume, 0x3000, &header);
        let other_volume = Place::parse_header(VolumeId(4), PLACE.offset, &header);
        assert_eq!(other_offset, Record::Other);
        assert_eq!(other_volume, Record::Other);
        let zeros = [0; RECORD_HEADER_LEN_BYTES];
        assert_eq!(
            Place::parse_header(PLACE.volume, 0x3000, &zeros),
            Record::Nothing
        );
    }

    #[test]
    fn impossible_places_are_refused() {
        for (offset, len_bytes) in [(0, 5), (1, 5), (0x2000, u64::MAX), (1 << 63, 5)] {
            let place = Place {
                offset,
                len_bytes,
                ..PLACE
            };
            assert_eq!(Place::of_reference(&place.reference()), None);
        }
    }

    #[test]
    fn a_span_is_whole_pages() {
        assert_eq!(Place::span_of(0), Some(4096));
        assert_eq!(Place::span_of(4032), Some(4096));
        assert_eq!(Place::span_of(4033), Some(8192));
        assert_eq!(Place::span_of(u64::MAX), None);
        assert_eq!(Place::span_of(i64::MAX as u64), None);
    }

    #[test]
    fn file_names_are_exact() {
        assert_eq!(VolumeId(10).file_name(), "000000000000000a.volume");
        for name in [
            "000000000000000A.volume",
            "a.volume",
            "x",
            "+00000000000000a.volume",
        ] {
            assert_eq!(VolumeId::of_file_name(name), None, "{name}");
        }
    }

    /// The worked examples of the format's page.
    #[test]
    fn the_documented_examples_decode() {
        let page = include_str!("../../../../docs/format/volumes.md");
        let examples: Vec<Vec<u8>> = page
            .split("```hex")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .map(|hex| {
                let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
                data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).unwrap()
            })
            .collect();
        let [volume, record, reference] = examples.as_slice() else {
            panic!("the page has {} examples", examples.len());
        };
        assert_eq!(volume, &volume_header(VolumeId(3)));
        assert_eq!(record.as_slice(), PLACE.header());
        assert_eq!(reference.as_slice(), PLACE.reference().as_bytes());
    }
}
