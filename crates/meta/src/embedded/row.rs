//! How a row's value lies in the file: see `docs/format/metadata.md`.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};

use crate::store::{Revision, Row, Table};

/// The version of the row format that this code writes, and the only one it reads.
pub(super) const ROW_VERSION: u8 = 1;

/// Why a stored value cannot be what was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum RowError {
    #[error("a row of {0} bytes is shorter than its prefix")]
    Short(usize),
    #[error("a row has the unknown format version {0}")]
    Version(u8),
    #[error("a row does not match its checksum")]
    Checksum,
}

/// Writes the stored form of a row over `out`.
pub(super) fn encode(
    table: Table,
    key: &[u8],
    revision: Revision,
    value: &[u8],
    out: &mut Vec<u8>,
) {
    out.clear();
    out.push(ROW_VERSION);
    out.extend_from_slice(&revision.number().to_be_bytes());
    out.extend_from_slice(&checksum(table, key, revision, value).to_be_bytes());
    out.extend_from_slice(value);
}

/// The row in `stored`, if it was written under this table and key.
pub(super) fn decode(table: Table, key: &[u8], stored: &[u8]) -> Result<Row, RowError> {
    let (revision, value) = checked(table, key, stored)?;
    Ok(Row {
        value: Bytes::copy_from_slice(value),
        revision,
    })
}

/// The value of the row in `stored`, where it lies.
pub(super) fn value<'s>(table: Table, key: &[u8], stored: &'s [u8]) -> Result<&'s [u8], RowError> {
    checked(table, key, stored).map(|(_, value)| value)
}

fn checked<'s>(
    table: Table,
    key: &[u8],
    stored: &'s [u8],
) -> Result<(Revision, &'s [u8]), RowError> {
    let (revision, sum, value) = split(stored)?;
    if checksum(table, key, revision, value) != sum {
        return Err(RowError::Checksum);
    }
    Ok((revision, value))
}

/// The revision in `stored`, without a look at the value.
pub(super) fn revision(stored: &[u8]) -> Result<Revision, RowError> {
    split(stored).map(|(revision, _, _)| revision)
}

fn split(stored: &[u8]) -> Result<(Revision, u32, &[u8]), RowError> {
    let short = RowError::Short(stored.len());
    let (version, rest) = stored.split_first().ok_or(short)?;
    if *version != ROW_VERSION {
        return Err(RowError::Version(*version));
    }
    let (revision, rest) = rest.split_first_chunk::<8>().ok_or(short)?;
    let (sum, value) = rest.split_first_chunk::<4>().ok_or(short)?;
    let revision = Revision::new(u64::from_be_bytes(*revision));
    Ok((revision, u32::from_be_bytes(*sum), value))
}

/// CRC-32C over everything that makes the row this row: a page of another table, or a value moved
/// to another key, is noticed as well as a flipped bit.
fn checksum(table: Table, key: &[u8], revision: Revision, value: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&[ROW_VERSION]);
    digest.update(&revision.number().to_be_bytes());
    digest.update(table.name().as_bytes());
    digest.update(&[0]);
    digest.update(&(key.len() as u64).to_be_bytes());
    digest.update(key);
    digest.update(value);
    // A 32-bit algorithm leaves the upper half of the result zero.
    u32::try_from(digest.finalize()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Table = Table::new("objects");

    fn stored(value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(TABLE, b"key", Revision::new(7), value, &mut out);
        out
    }

    #[test]
    fn a_row_comes_back_as_it_was_written() {
        for value in [b"".as_slice(), b"v", &[0xFF; 5_000]] {
            let row = decode(TABLE, b"key", &stored(value)).unwrap();
            assert_eq!(row.value, value);
            assert_eq!(row.revision, Revision::new(7));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = stored(b"a value");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(TABLE, b"key", &bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let good = stored(b"a value");
        for len in 0..good.len() {
            assert!(decode(TABLE, b"key", &good[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_row_of_another_place_is_noticed() {
        let good = stored(b"a value");
        assert_eq!(decode(TABLE, b"kez", &good), Err(RowError::Checksum));
        let other = Table::new("versions");
        assert_eq!(decode(other, b"key", &good), Err(RowError::Checksum));
    }

    #[test]
    fn an_unknown_version_is_named() {
        let mut row = stored(b"a value");
        row[0] = 2;
        assert_eq!(decode(TABLE, b"key", &row), Err(RowError::Version(2)));
    }

    /// The worked example of the format's page.
    #[test]
    fn the_documented_example_decodes() {
        let page = include_str!("../../../../docs/format/metadata.md");
        let hex = page
            .split("```hex")
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .expect("the page has a hex block");
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let row = decode(Table::new("buckets"), b"photos", &bytes).unwrap();
        assert_eq!(row.revision, Revision::new(1_048_577));
        assert_eq!(row.value, b"hello".as_slice());
        let mut again = Vec::new();
        encode(
            Table::new("buckets"),
            b"photos",
            row.revision,
            &row.value,
            &mut again,
        );
        assert_eq!(again, bytes);
    }
}
