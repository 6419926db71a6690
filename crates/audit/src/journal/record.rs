//! The bytes of a journal segment: its header and its records.

use crc_fast::{CrcAlgorithm, Digest};

/// The version of the segment format, its first byte.
const VERSION: u8 = 1;

const MAGIC: &[u8; 7] = b"journal";

/// Version, magic, first index (u64), seed (u32), CRC-32C of those 20 bytes; big-endian.
pub(crate) const SEGMENT_HEADER_LEN_BYTES: usize = 24;

/// Kind (u8), length of the entry (u16), head check (u32).
pub(crate) const RECORD_HEAD_LEN_BYTES: usize = 7;

/// The check (u32) after the entry.
pub(crate) const RECORD_CHECK_LEN_BYTES: usize = 4;

const KIND_ENTRY: u8 = 1;
const KIND_CLOSE: u8 = 2;

/// CRC-32C (RFC 3720) over the pieces, one after the other.
fn crc32c(pieces: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for piece in pieces {
        digest.update(piece);
    }
    // The engine widens every CRC to 64 bits; the upper half of a CRC-32 is zero.
    digest.finalize() as u32
}

/// What ties a record to all that went before it: the check of the record before it, 0 at the
/// start of the log. A record taken out, put in or moved breaks the tie of the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Chain(pub(crate) u32);

/// The start of a segment file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    /// The index of the segment's first entry.
    pub(crate) first: u64,
    /// The chain value before that entry.
    pub(crate) seed: Chain,
}

impl SegmentHeader {
    pub(crate) fn encode(self) -> [u8; SEGMENT_HEADER_LEN_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_LEN_BYTES];
        bytes[0] = VERSION;
        bytes[1..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.first.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.seed.0.to_be_bytes());
        let check = crc32c(&[&bytes[..20]]);
        bytes[20..].copy_from_slice(&check.to_be_bytes());
        bytes
    }

    /// `None` unless the bytes are a whole header of the known version.
    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER_LEN_BYTES]) -> Option<Self> {
        let header = Self {
            first: u64::from_be_bytes(*bytes[8..].first_chunk()?),
            seed: Chain(u32::from_be_bytes(*bytes[16..].first_chunk()?)),
        };
        (header.encode() == *bytes).then_some(header)
    }
}

/// What follows in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Head {
    /// An entry of so many bytes.
    Entry { len_bytes: usize },
    /// Nothing more here; the journal goes on in the next segment.
    Close,
}

/// The first bytes of a record, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordHead {
    pub(crate) head: Head,
    check: u32,
}

fn head_check(chain: Chain, index: u64, kind: u8, len: [u8; 2]) -> u32 {
    crc32c(&[&chain.0.to_be_bytes(), &index.to_be_bytes(), &[kind], &len])
}

impl RecordHead {
    /// `None` when these are not the first bytes of record `index` after `chain`.
    pub(crate) fn decode(
        bytes: &[u8; RECORD_HEAD_LEN_BYTES],
        chain: Chain,
        index: u64,
    ) -> Option<Self> {
        let [kind, len @ .., c0, c1, c2, c3] = *bytes;
        let check = u32::from_be_bytes([c0, c1, c2, c3]);
        if check != head_check(chain, index, kind, len) {
            return None;
        }
        let len_bytes = usize::from(u16::from_be_bytes(len));
        let head = match (kind, len_bytes) {
            (KIND_ENTRY, _) => Head::Entry { len_bytes },
            (KIND_CLOSE, 0) => Head::Close,
            _ => return None,
        };
        Some(Self { head, check })
    }

    /// The chain value after the record, or `None` when entry and check do not belong together.
    pub(crate) fn close(self, entry: &[u8], check: [u8; RECORD_CHECK_LEN_BYTES]) -> Option<Chain> {
        let expected = crc32c(&[&self.check.to_be_bytes(), entry]);
        (u32::from_be_bytes(check) == expected).then_some(Chain(expected))
    }
}

/// Writes record `index` to `out`, in place of what was there, and returns the chain value after it.
///
/// The caller has checked the entry's length.
pub(crate) fn encode_entry(out: &mut Vec<u8>, chain: Chain, index: u64, entry: &[u8]) -> Chain {
    encode(out, chain, index, KIND_ENTRY, entry)
}

/// Writes to `out` the record that ends a segment before entry `index`.
pub(crate) fn encode_close(out: &mut Vec<u8>, chain: Chain, index: u64) {
    encode(out, chain, index, KIND_CLOSE, &[]);
}

fn encode(out: &mut Vec<u8>, chain: Chain, index: u64, kind: u8, entry: &[u8]) -> Chain {
    let len = (entry.len() as u16).to_be_bytes();
    let head = head_check(chain, index, kind, len).to_be_bytes();
    let check = crc32c(&[&head, entry]);
    out.clear();
    out.push(kind);
    out.extend_from_slice(&len);
    out.extend_from_slice(&head);
    out.extend_from_slice(entry);
    out.extend_from_slice(&check.to_be_bytes());
    Chain(check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_of_the_check_string_is_the_published_one() {
        assert_eq!(crc32c(&[b"1234", b"56789"]), 0xE306_9283);
    }

    #[test]
    fn a_record_is_known_only_in_its_place() {
        let mut bytes = Vec::new();
        let after = encode_entry(&mut bytes, Chain(7), 5, b"entry");
        let head = bytes.first_chunk().unwrap();
        let record = RecordHead::decode(head, Chain(7), 5).unwrap();
        assert_eq!(record.head, Head::Entry { len_bytes: 5 });
        let check = bytes.last_chunk().unwrap();
        assert_eq!(record.close(b"entry", *check), Some(after));
        assert_eq!(record.close(b"other", *check), None);
        assert_eq!(RecordHead::decode(head, Chain(7), 6), None);
        assert_eq!(RecordHead::decode(head, Chain(8), 5), None);
    }

    #[test]
    fn no_changed_byte_of_a_header_is_accepted() {
        let header = SegmentHeader {
            first: 300,
            seed: Chain(9),
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        for at in 0..bytes.len() {
            let mut damaged = bytes;
            damaged[at] ^= 0x10;
            assert_eq!(SegmentHeader::decode(&damaged), None, "byte {at}");
        }
    }
}
