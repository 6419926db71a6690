//! The rows are what the format's page says.

use serde::Serialize;
use serde::de::DeserializeOwned;
use strongroom_environment::Timestamp;
use strongroom_keys::KeyEnvelope;

use super::*;
use crate::{
    BucketName, Checksum, ChecksumAlgorithm, ChecksumType, ColdCopy, ColdLocator,
    DefaultEncryption, ETag, ObjectChecksum, ObjectKey, ObjectMetadata, PartId, PartNumber,
    PayloadId, StorageClass, UploadId, VersionId, VersionName, Versioning,
};

const PAGE: &str = include_str!("../../../../docs/format/store-rows.md");

/// The bytes of the hexadecimal example of the page that begins with `title`.
fn example(title: &str) -> Vec<u8> {
    let (_, after) = PAGE
        .split_once(&format!("```hex\n{title}\n"))
        .unwrap_or_else(|| panic!("the page has no example {title:?}"));
    let (hex, _) = after.split_once("```").expect("the example ends");
    let digits: String = hex.split_whitespace().collect();
    data_encoding::HEXLOWER
        .decode(digits.as_bytes())
        .expect("the example is hexadecimal")
}

/// That a value is written as in the example, and read back from it.
fn assert_value<R>(title: &str, row: &R)
where
    R: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let bytes = example(title);
    assert_eq!(encode(row), bytes, "{title}");
    let read: R = decode(keys::OBJECTS, &bytes).expect(title);
    assert_eq!(read, *row, "{title}");
    for len in 0..bytes.len() {
        decode::<R>(keys::OBJECTS, &bytes[..len]).expect_err("it is cut short");
    }
    let mut other = bytes;
    other[0] += 1;
    decode::<R>(keys::OBJECTS, &other).expect_err("it is of another version");
    other[0] -= 1;
    other.push(0);
    decode::<R>(keys::OBJECTS, &other).expect_err("it is too long");
}

const PAYLOAD: PayloadId = PayloadId([2; 16]);
const PART: PartId = PartId([3; 16]);
const SECOND: Timestamp = Timestamp::from_seconds(1);

fn bucket() -> BucketName {
    BucketName::new("photos").expect("it is a name")
}

fn object_key() -> ObjectKey {
    ObjectKey::new("a\0b").expect("it is a key")
}

fn name() -> VersionName {
    VersionName {
        bucket: bucket(),
        key: object_key(),
        version: VersionId::new(7, [1; 16]),
    }
}

fn envelope() -> KeyEnvelope {
    let bytes = [&[1, 1][..], &[5; 32], &[6; 32], &[7; 32], &[1], &[8; 60]];
    KeyEnvelope::from_bytes(&bytes.concat()).expect("it is of the form of one")
}

fn checksum() -> Checksum {
    // The bytes 10 to 17.
    Checksum::from_base64(ChecksumAlgorithm::Crc64Nvme, "EBESExQVFhc=").expect("eight bytes")
}

fn part(id: PartId, plain_len_bytes: u64, blob: &[u8]) -> Part {
    Part {
        id,
        plain_len_bytes,
        checksum: Some(checksum()),
        blob: blob.to_vec(),
    }
}

fn cold(class: StorageClass) -> ColdCopy {
    ColdCopy {
        class,
        locator: ColdLocator(b"cold".to_vec()),
    }
}

#[test]
fn keys_are_as_documented() {
    let (bucket, key, name) = (bucket(), object_key(), name());
    let other = VersionId::new(3, [4; 16]);
    let part = PartNumber::new(3).expect("it is a number");
    for (title, row_key) in [
        ("bucket key", bucket.as_str().as_bytes().to_vec()),
        ("object key", keys::object(&bucket, key.as_str())),
        ("version key", keys::version(&bucket, &key, other)),
        ("payload key", PAYLOAD.0.to_vec()),
        ("segment key", keys::segment(PAYLOAD, 1, 0)),
        (
            "upload key",
            keys::upload(&bucket, &key, UploadId::new(SECOND, [1; 16])),
        ),
        ("part key", keys::part(PAYLOAD, part)),
        ("garbage key", [&PAYLOAD.0[..], &[0x0A; 8]].concat()),
        ("age key", keys::age(&name)),
        ("archives key", keys::named(&name)),
        ("restore ends key", keys::restore_end(SECOND, &name)),
    ] {
        assert_eq!(row_key, example(title), "{title}");
    }
}

#[test]
fn versions_are_as_documented() {
    let content = Content {
        size_bytes: 5,
        etag: ETag::whole([9; 16]),
        class: StorageClass::Standard,
        archive_pending: false,
        metadata: ObjectMetadata {
            content_type: Some("text/plain".to_owned()),
            user: vec![("a".to_owned(), "b".to_owned())],
            ..ObjectMetadata::default()
        },
        checksum: Some(ObjectChecksum {
            checksum: checksum(),
            checksum_type: ChecksumType::FullObject,
            part_count: None,
        }),
        part_count: None,
        envelope: envelope(),
        payload: PAYLOAD,
        whole: Some(WholePart {
            part: PART,
            blob: b"blob".to_vec(),
        }),
        restore: None,
    };
    let current = VersionRow {
        version: name().version,
        is_null: false,
        created: SECOND,
        noncurrent_since_micros: None,
        content: Some(Box::new(content)),
    };
    // A version stands behind the version byte as it stands in the row of an object.
    let row = ObjectRow {
        current,
        noncurrent_null: Some(VersionId::new(3, [4; 16])),
    };
    assert_value("object value", &row);
    let marker = VersionRow {
        version: VersionId::new(3, [4; 16]),
        is_null: true,
        created: SECOND,
        noncurrent_since_micros: Some(2_000_000),
        content: None,
    };
    assert_value("version value", &marker);
}

#[test]
fn buckets_payloads_and_uploads_are_as_documented() {
    let row = BucketRow {
        created: SECOND,
        owner: "ann".to_owned(),
        region: "eu-west-1".to_owned(),
        versioning: Versioning::Enabled,
        default_encryption: Some(DefaultEncryption::Kms {
            key: None,
            bucket_key: true,
        }),
        customer_keys_blocked: false,
        configs: [("lifecycle".to_owned(), b"{}".to_vec())].into(),
        being_deleted: false,
    };
    assert_value("bucket value", &row);

    let one = PayloadRow {
        parts: Parts::One(part(PART, 5, b"blob")),
        is_warm: true,
        copy: 0,
        cold: Some(cold(StorageClass::Glacier)),
        holds_warm: 1,
        holds_cold: 2,
    };
    assert_value("payload value", &one);
    let several = PayloadRow {
        parts: Parts::Segments(vec![SegmentIndex {
            part_count: 2,
            plain_len_bytes: 5_242_885,
        }]),
        is_warm: false,
        copy: 1,
        cold: Some(cold(StorageClass::DeepArchive)),
        holds_warm: 0,
        holds_cold: 1,
    };
    assert_value("payload of parts value", &several);
    let segment = SegmentRow {
        parts: vec![part(PART, 5_242_880, b""), part(PartId([4; 16]), 5, b"")],
    };
    assert_value("segment value", &segment);

    let upload = UploadRow {
        payload: PAYLOAD,
        envelope: envelope(),
        metadata: ObjectMetadata::default(),
        class: StorageClass::Standard,
        checksum: Some((ChecksumAlgorithm::Sha256, ChecksumType::Composite)),
        initiator: "ann".to_owned(),
        being_closed: false,
    };
    assert_value("upload value", &upload);
    let uploaded = UploadedPartRow {
        part: part(PART, 5, b"blob"),
        etag: ETag::whole([9; 16]),
        modified: SECOND,
    };
    assert_value("part value", &uploaded);
}

#[test]
fn garbage_is_as_documented() {
    let listed = GarbageRow {
        payload: PAYLOAD,
        blobs: GarbageBlobs::Listed(vec![b"blob".to_vec()]),
    };
    assert_value("garbage value", &listed);
    let copy = GarbageRow {
        payload: PAYLOAD,
        blobs: GarbageBlobs::Copy {
            copy: 1,
            segments: 2,
        },
    };
    assert_value("garbage of a copy value", &copy);
    let row = ColdGarbageRow {
        cold: cold(StorageClass::Glacier),
    };
    assert_value("cold garbage value", &row);
    assert_eq!(encode(&PendingRow), [1]);
}

#[test]
fn the_longest_key_is_within_the_limit_of_the_store() {
    let name = VersionName {
        bucket: BucketName::new(&"b".repeat(BucketName::LEN_BYTES_MAX)).expect("it is a name"),
        key: ObjectKey::new("\0".repeat(ObjectKey::LEN_BYTES_MAX)).expect("it is a key"),
        version: VersionId::new(7, [1; 16]),
    };
    let longest = keys::restore_end(SECOND, &name);
    assert_eq!(longest.len(), 2_146);
    assert!(longest.len() <= strongroom_meta::Batch::KEY_LEN_BYTES_MAX);
    assert_eq!(keys::age(&name).len(), longest.len());
}
