//! The keys of the rows: they order as the names they are made of.
//!
//! A bucket name holds no zero byte, so one ends it. An object key may hold any UTF-8; where
//! something follows it, `00` within it is written as `00 FF` and `00 01` ends it, which keeps the
//! order of the bytes and makes no key a prefix of another.

use strongroom_environment::Timestamp;
use strongroom_meta::Table;

use crate::names::{micros_of_ordered, ordered_micros};
use crate::{BucketName, ObjectKey, PartNumber, PayloadId, UploadId, VersionId, VersionName};

/// Bucket name to bucket.
pub(crate) const BUCKETS: Table = Table::new("buckets");
/// Bucket and key to the current version.
pub(crate) const OBJECTS: Table = Table::new("objects");
/// Bucket, key and version to a noncurrent version, newest first.
pub(crate) const VERSIONS: Table = Table::new("versions");
/// Payload id to payload.
pub(crate) const PAYLOADS: Table = Table::new("payloads");
/// Payload id, copy and segment to a run of the parts of a payload of several.
pub(crate) const PAYLOAD_PARTS: Table = Table::new("payload_parts");
/// Bucket, key and upload to an upload under way.
pub(crate) const UPLOADS: Table = Table::new("uploads");
/// Payload id and part number to a part of an upload under way.
pub(crate) const PARTS: Table = Table::new("parts");
/// Blobs that nothing refers to and that are to be deleted.
pub(crate) const GARBAGE: Table = Table::new("garbage");
/// Bucket, day of commit, key and version: what lifecycle rules look through.
pub(crate) const AGE: Table = Table::new("age");
/// Versions that were written as archived and are not in the cold tier yet.
pub(crate) const ARCHIVES: Table = Table::new("archives");
/// Versions that are being restored.
pub(crate) const RESTORES: Table = Table::new("restores");
/// End of a restored copy's time, bucket, key and version.
pub(crate) const RESTORE_ENDS: Table = Table::new("restore_ends");
/// Payload id to a cold copy that nothing refers to.
pub(crate) const COLD_GARBAGE: Table = Table::new("cold_garbage");

/// What begins the keys of all rows of a bucket.
pub(crate) fn bucket_prefix(bucket: &BucketName) -> Vec<u8> {
    let mut key = Vec::with_capacity(bucket.as_str().len() + 1);
    key.extend_from_slice(bucket.as_str().as_bytes());
    key.push(0);
    key
}

/// The row of a current version, or where a listing goes on from `key`, which need be no whole key.
pub(crate) fn object(bucket: &BucketName, key: &str) -> Vec<u8> {
    let name = bucket.as_str();
    let mut row = Vec::with_capacity(name.len() + 1 + key.len());
    row.extend_from_slice(name.as_bytes());
    row.push(0);
    row.extend_from_slice(key.as_bytes());
    row
}

/// The object key of a row of [`OBJECTS`] that begins with the prefix of its bucket.
pub(crate) fn object_key(bucket: &BucketName, row: &[u8]) -> Option<ObjectKey> {
    let key = row.get(bucket.as_str().len() + 1..)?;
    ObjectKey::new(std::str::from_utf8(key).ok()?).ok()
}

/// Writes the bytes of a key so that something may follow.
fn push_escaped(row: &mut Vec<u8>, key: &str) {
    for byte in key.bytes() {
        row.push(byte);
        if byte == 0 {
            row.push(0xFF);
        }
    }
}

const END_OF_KEY: [u8; 2] = [0x00, 0x01];

/// Where the rows of keys that begin with `prefix` begin, in a table where something follows the
/// key.
pub(crate) fn escaped_prefix(bucket: &BucketName, prefix: &str) -> Vec<u8> {
    let mut row = bucket_prefix(bucket);
    push_escaped(&mut row, prefix);
    row
}

/// What begins the rows of one key, in a table where something follows the key.
pub(crate) fn of_key(bucket: &BucketName, key: &str) -> Vec<u8> {
    let mut row = escaped_prefix(bucket, key);
    row.extend_from_slice(&END_OF_KEY);
    row
}

/// Takes an escaped key from the front of `row`.
fn take_key(row: &[u8]) -> Option<(ObjectKey, &[u8])> {
    let mut key = Vec::with_capacity(row.len());
    let mut rest = row;
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        if *byte != 0 {
            key.push(*byte);
            continue;
        }
        let (escape, after) = rest.split_first()?;
        rest = after;
        match escape {
            0xFF => key.push(0),
            0x01 => break,
            _ => return None,
        }
    }
    Some((ObjectKey::new(String::from_utf8(key).ok()?).ok()?, rest))
}

fn take_bucket(row: &[u8]) -> Option<(BucketName, &[u8])> {
    let end = row.iter().position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(&row[..end]).ok()?;
    Some((BucketName::new(name).ok()?, &row[end + 1..]))
}

/// The row of a noncurrent version: those of a key stand newest first.
pub(crate) fn version(bucket: &BucketName, key: &ObjectKey, version: VersionId) -> Vec<u8> {
    let mut row = of_key(bucket, key.as_str());
    row.extend_from_slice(&(!version.sequence()).to_be_bytes());
    row.extend_from_slice(&version.binding());
    row
}

/// The key and the version of a row of [`VERSIONS`].
pub(crate) fn version_of(bucket: &BucketName, row: &[u8]) -> Option<(ObjectKey, VersionId)> {
    let (key, rest) = take_key(row.get(bucket.as_str().len() + 1..)?)?;
    let bytes: &[u8; VersionId::LEN_BYTES] = rest.try_into().ok()?;
    let inverted = VersionId::from_bytes(bytes);
    Some((
        key,
        VersionId::new(!inverted.sequence(), inverted.binding()),
    ))
}

/// A row that stands for one version, in the tables of work that is waiting.
pub(crate) fn named(name: &VersionName) -> Vec<u8> {
    let mut row = of_key(&name.bucket, name.key.as_str());
    row.extend_from_slice(&name.version.to_bytes());
    row
}

/// Takes back [`named`].
pub(crate) fn name_of(row: &[u8]) -> Option<VersionName> {
    let (bucket, rest) = take_bucket(row)?;
    let (key, rest) = take_key(rest)?;
    Some(VersionName {
        bucket,
        key,
        version: VersionId::from_bytes(rest.try_into().ok()?),
    })
}

/// The row of a version in the index by age.
///
/// The day is that of the commit, which the version's id tells. It is never before the day of
/// creation, and a day that has passed gets no more rows, so that whoever has looked a day through
/// has missed none of it.
pub(crate) fn age(name: &VersionName) -> Vec<u8> {
    let committed = i64::try_from(name.version.sequence()).unwrap_or(i64::MAX);
    let mut row = age_day(&name.bucket, Timestamp::from_micros(committed).day());
    push_escaped(&mut row, name.key.as_str());
    row.extend_from_slice(&END_OF_KEY);
    row.extend_from_slice(&name.version.to_bytes());
    row
}

/// What begins the rows of versions that were committed on a day.
pub(crate) fn age_day(bucket: &BucketName, day: i64) -> Vec<u8> {
    let mut row = bucket_prefix(bucket);
    row.extend_from_slice(&ordered_micros(day).to_be_bytes());
    row
}

/// The version that a row of [`AGE`] stands for.
pub(crate) fn aged(bucket: &BucketName, row: &[u8]) -> Option<VersionName> {
    let rest = row.get(bucket.as_str().len() + 1 + 8..)?;
    let (key, rest) = take_key(rest)?;
    Some(VersionName {
        bucket: bucket.clone(),
        key,
        version: VersionId::from_bytes(rest.try_into().ok()?),
    })
}

/// The row of the end of a restored copy's time.
pub(crate) fn restore_end(until: Timestamp, name: &VersionName) -> Vec<u8> {
    let mut row = ordered_micros(until.micros()).to_be_bytes().to_vec();
    row.extend_from_slice(&named(name));
    row
}

/// Takes back [`restore_end`].
pub(crate) fn restore_end_of(row: &[u8]) -> Option<(Timestamp, VersionName)> {
    let (until, rest) = row.split_first_chunk::<8>()?;
    let until = Timestamp::from_micros(micros_of_ordered(u64::from_be_bytes(*until)));
    Some((until, name_of(rest)?))
}

/// A segment of the parts of a copy of a payload.
pub(crate) fn segment(payload: PayloadId, copy: u32, segment: u16) -> Vec<u8> {
    let mut row = payload.0.to_vec();
    row.extend_from_slice(&copy.to_be_bytes());
    row.extend_from_slice(&segment.to_be_bytes());
    row
}

/// The payload and the copy that a row of [`PAYLOAD_PARTS`] belongs to.
pub(crate) fn segment_of(row: &[u8]) -> Option<(PayloadId, u32)> {
    let (payload, rest) = row.split_first_chunk::<16>()?;
    let (copy, segment) = rest.split_first_chunk::<4>()?;
    (segment.len() == 2).then_some((PayloadId(*payload), u32::from_be_bytes(*copy)))
}

/// The row of an upload.
pub(crate) fn upload(bucket: &BucketName, key: &ObjectKey, upload: UploadId) -> Vec<u8> {
    let mut row = of_key(bucket, key.as_str());
    row.extend_from_slice(&upload.to_bytes());
    row
}

/// The key and the upload of a row of [`UPLOADS`].
pub(crate) fn upload_of(bucket: &BucketName, row: &[u8]) -> Option<(ObjectKey, UploadId)> {
    let (key, rest) = take_key(row.get(bucket.as_str().len() + 1..)?)?;
    Some((key, UploadId::from_bytes(rest.try_into().ok()?)))
}

/// Takes back [`upload`].
pub(crate) fn upload_name(row: &[u8]) -> Option<(BucketName, ObjectKey, UploadId)> {
    let (bucket, _) = take_bucket(row)?;
    let (key, upload) = upload_of(&bucket, row)?;
    Some((bucket, key, upload))
}

/// The row of a part of an upload.
pub(crate) fn part(payload: PayloadId, number: PartNumber) -> Vec<u8> {
    let mut row = payload.0.to_vec();
    row.extend_from_slice(&number.get().to_be_bytes());
    row
}

/// The number of a row of [`PARTS`].
pub(crate) fn part_of(row: &[u8]) -> Option<(PayloadId, PartNumber)> {
    let (payload, number) = row.split_first_chunk::<16>()?;
    let number = u16::from_be_bytes(number.try_into().ok()?);
    Some((PayloadId(*payload), PartNumber::new(number.into()).ok()?))
}

/// The payload that a row belongs to whose key begins with its id.
pub(crate) fn payload_of(row: &[u8]) -> Option<PayloadId> {
    row.first_chunk::<16>().copied().map(PayloadId)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(key: &str, sequence: u64) -> VersionName {
        VersionName {
            bucket: BucketName::new("bucket").expect("a good name"),
            key: ObjectKey::new(key).expect("a good key"),
            version: VersionId::new(sequence, [7; 16]),
        }
    }

    proptest! {
        #[test]
        fn rows_order_as_their_names_and_are_read_back(
            one in "[\\x00-\\x02a-cé]{1,5}",
            two in "[\\x00-\\x02a-cé]{1,5}",
            newer in 1_u64..9,
            older in 1_u64..9,
        ) {
            let (one, two) = (name(&one, newer), name(&two, older));
            let by_name = (&one.key, &one.version).cmp(&(&two.key, &two.version));
            prop_assert_eq!(named(&one).cmp(&named(&two)), by_name);
            let by_recency = one.key.cmp(&two.key)
                .then(two.version.sequence().cmp(&one.version.sequence()));
            prop_assert_eq!(
                version(&one.bucket, &one.key, one.version)
                    .cmp(&version(&two.bucket, &two.key, two.version)),
                by_recency
            );
            prop_assert_eq!(name_of(&named(&one)), Some(one.clone()));
            prop_assert_eq!(
                version_of(&one.bucket, &version(&one.bucket, &one.key, one.version)),
                Some((one.key.clone(), one.version))
            );
            let moment = Timestamp::from_seconds(-3);
            prop_assert_eq!(aged(&one.bucket, &age(&one)), Some(one.clone()));
            prop_assert_eq!(
                restore_end_of(&restore_end(moment, &one)),
                Some((moment, one.clone()))
            );
            prop_assert!(named(&one).starts_with(&escaped_prefix(&one.bucket, one.key.as_str())));
        }
    }

    #[test]
    fn a_row_of_a_longer_key_is_not_a_row_of_the_shorter() {
        let (short, long) = (name("a", 1), name("a\0b", 1));
        assert!(!named(&long).starts_with(&of_key(&short.bucket, "a")));
        assert!(named(&short) < named(&long));
    }

    #[test]
    fn damaged_row_keys_are_refused_without_panic() {
        let good = named(&name("a\0b", 1));
        for len in 0..good.len() {
            assert_eq!(name_of(&good[..len]), None, "{len} bytes");
        }
        assert_eq!(part_of(&[0; 18]), None);
        assert_eq!(payload_of(&[0; 15]), None);
    }
}
