//! PUT, GET, HEAD and DELETE, in every mode of encryption.

use bytes::Bytes;
use futures::StreamExt;
use md5::{Digest, Md5};
use strongroom_blobs::{BlobStore, Call, Fault};
use strongroom_environment::Timestamp;
use strongroom_keys::{EncryptionMode, KeyError};
use strongroom_store::{
    Body, BodyChecks, BodyError, BucketName, ByteRange, Checksum, ChecksumAlgorithm,
    DefaultEncryption, ETag, ETagCondition, ObjectMetadata, PartNumber, PutRequest, ReadConditions,
    ReadRequest, Span, StoreError, VersionSelector, WriteConditions,
};

use crate::world::{
    START_SECONDS, World, by_customer, by_kms, caller, customer_key, in_pieces, pattern,
};

#[tokio::test]
async fn what_is_put_is_got_at_every_length_around_a_chunk_and_a_run() {
    let world = World::new().await;
    for len in [
        0,
        1,
        100,
        16_383,
        16_384,
        16_385,
        32 * 16_384,
        64 * 16_384,
        64 * 16_384 + 1,
        3_000_000,
    ] {
        let bytes = pattern(len);
        let written = world.put("object", bytes.clone()).await;
        assert_eq!(written.size_bytes, len as u64);
        assert_eq!(written.encryption, EncryptionMode::Managed);
        assert_eq!(written.version, None);
        assert!(
            world.get("object").await.expect("it is there") == bytes,
            "{len} bytes"
        );
    }
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn a_customers_object_opens_with_that_key_only_and_refusals_give_nothing() {
    let world = World::new().await;
    let bytes = pattern(40_000);
    let request = PutRequest {
        protection: by_customer(1),
        ..world.put_request("secret", bytes.clone())
    };
    let written = world.store.put(request, &caller()).await.expect("a PUT");
    assert!(matches!(
        written.encryption,
        EncryptionMode::CustomerKey { .. }
    ));
    assert_ne!(
        written.etag.digest(),
        &<[u8; 16]>::from(Md5::digest(&bytes))
    );

    let with = |key: Option<u8>| ReadRequest {
        customer_key: key.map(customer_key),
        ..world.read_request("secret")
    };
    assert!(world.read(with(Some(1))).await.expect("the right key") == bytes);
    assert!(matches!(
        world.read(with(None)).await,
        Err(StoreError::Key(KeyError::CustomerKeyRequired))
    ));
    assert!(matches!(
        world.read(with(Some(2))).await,
        Err(StoreError::Key(KeyError::CustomerKeyMismatch))
    ));
    assert!(matches!(
        world.store.head(with(Some(2)), &caller()).await,
        Err(StoreError::Key(KeyError::CustomerKeyMismatch))
    ));
    assert!(matches!(
        world.store.head(with(None), &caller()).await,
        Err(StoreError::Key(KeyError::CustomerKeyRequired))
    ));
    let head = world
        .store
        .head(with(Some(1)), &caller())
        .await
        .expect("the right key");
    assert_eq!(
        (head.object.size_bytes, head.object.etag),
        (40_000, written.etag)
    );

    world.put("plain", "x").await;
    let with_key = ReadRequest {
        customer_key: Some(customer_key(1)),
        ..world.read_request("plain")
    };
    assert!(matches!(
        world.read(with_key).await,
        Err(StoreError::Key(KeyError::CustomerKeyNotApplicable))
    ));
}

#[tokio::test]
async fn an_object_is_protected_as_asked_or_as_its_bucket_says() {
    let world = World::new().await;
    for bucket_key in [true, false] {
        let request = PutRequest {
            protection: by_kms(bucket_key),
            ..world.put_request("kms", "bytes")
        };
        let written = world.store.put(request, &caller()).await.expect("a PUT");
        assert!(matches!(
            written.encryption,
            EncryptionMode::Kms { bucket_key: through, .. } if through == bucket_key
        ));
        assert_eq!(world.get("kms").await.expect("it opens"), b"bytes");
    }
    let default = Some(DefaultEncryption::Kms {
        key: None,
        bucket_key: true,
    });
    world
        .store
        .set_default_encryption(&world.bucket, default, &caller())
        .await
        .expect("the bucket is there");
    let written = world.put("default", "bytes").await;
    assert!(matches!(written.encryption, EncryptionMode::Kms { .. }));

    world
        .store
        .set_customer_keys_blocked(&world.bucket, true, &caller())
        .await
        .expect("the bucket is there");
    let request = PutRequest {
        protection: by_customer(1),
        ..world.put_request("blocked", "bytes")
    };
    assert!(matches!(
        world.store.put(request, &caller()).await,
        Err(StoreError::CustomerKeysBlocked)
    ));
}

#[tokio::test]
async fn ranges_give_the_bytes_they_name_wherever_they_begin_and_end() {
    let world = World::new().await;
    let bytes = pattern(70 * 16_384 + 5);
    let len = bytes.len() as u64;
    world.put("object", bytes.clone()).await;
    for (first, last) in [
        (0, 0),
        (0, len - 1),
        (16_383, 16_384),
        (16_384, 16_384),
        (31 * 16_384, 33 * 16_384 - 1),
        (32 * 16_384 - 1, 32 * 16_384),
        (len - 1, len - 1),
        (len - 6, len + 100),
        (17, 1_000_000),
    ] {
        let request = ReadRequest {
            span: Span::Range(ByteRange::FromTo { first, last }),
            ..world.read_request("object")
        };
        let wanted = &bytes[first as usize..=(last.min(len - 1)) as usize];
        assert!(
            world.read(request).await.expect("a range") == wanted,
            "{first}-{last}"
        );
    }
    let request = ReadRequest {
        span: Span::Range(ByteRange::From { first: len }),
        ..world.read_request("object")
    };
    assert!(matches!(
        world.read(request).await,
        Err(StoreError::InvalidRange { size_bytes }) if size_bytes == len
    ));
    for (number, expected) in [(1, true), (2, false)] {
        let request = ReadRequest {
            span: Span::Part(PartNumber::new(number).expect("a number")),
            ..world.read_request("object")
        };
        assert_eq!(world.read(request).await.is_ok(), expected, "part {number}");
    }
}

#[tokio::test]
async fn damage_at_the_beginning_is_an_error_and_in_the_middle_breaks_the_stream() {
    let world = World::new().await;
    let bytes = pattern(3 << 20);
    world.put("object", bytes.clone()).await;
    world.blobs.fail(Call::Read, 0, Fault::Corrupt);
    assert!(matches!(
        world.get("object").await,
        Err(StoreError::Damaged { .. })
    ));
    for fault in [Fault::Corrupt, Fault::Io] {
        world.blobs.fail(Call::Read, 3, fault);
        let request = world.read_request("object");
        let answer = world
            .store
            .get(request, &caller())
            .await
            .expect("the first piece is well");
        let pieces: Vec<_> = answer.body.collect().await;
        let (last, before) = pieces.split_last().expect("there were pieces");
        assert!(last.is_err(), "{fault:?}");
        let mut given = 0;
        for piece in before {
            let piece = piece.as_ref().expect("an error is the last of a stream");
            assert!(piece == &bytes[given..given + piece.len()]);
            given += piece.len();
        }
        assert!(given < bytes.len());
    }
    assert!(world.get("object").await.expect("it is well again") == bytes);
}

#[tokio::test]
async fn a_body_must_be_what_its_sender_says_it_is() {
    let world = World::new().await;
    let bytes = Bytes::from(pattern(20_000));
    let world = &world;
    let put = |body: Body, checks: BodyChecks| {
        let request = PutRequest {
            body,
            checks,
            ..world.put_request("object", "")
        };
        async move { world.store.put(request, &caller()).await }
    };
    let declared = |len| Body::new(in_pieces(bytes.clone(), 999), len);
    assert!(matches!(
        put(declared(20_001), BodyChecks::default()).await,
        Err(StoreError::IncompleteBody {
            declared: 20_001,
            received: 20_000
        })
    ));
    assert!(matches!(
        put(declared(19_999), BodyChecks::default()).await,
        Err(StoreError::BodyTooLong { declared: 19_999 })
    ));
    assert!(matches!(
        put(declared((5 << 30) + 1), BodyChecks::default()).await,
        Err(StoreError::EntityTooLarge { .. })
    ));
    let broken = futures::stream::iter([Ok(bytes.slice(..5_000)), Err(BodyError::Timeout)]);
    assert!(matches!(
        put(Body::new(broken, 20_000), BodyChecks::default()).await,
        Err(StoreError::Body(BodyError::Timeout))
    ));
    let wrong_md5 = BodyChecks {
        content_md5: Some([0; 16]),
        ..BodyChecks::default()
    };
    assert!(matches!(
        put(declared(20_000), wrong_md5).await,
        Err(StoreError::Md5Mismatch)
    ));
    for algorithm in ChecksumAlgorithm::ALL {
        let zeros = data_encoding::BASE64.encode(&vec![0; algorithm.len_bytes()]);
        let wrong = Checksum::from_base64(algorithm, &zeros).expect("a checksum");
        let before = BodyChecks {
            algorithm: Some(algorithm),
            checksum: Some(wrong.clone()),
            ..BodyChecks::default()
        };
        let after = BodyChecks {
            algorithm: Some(algorithm),
            trailer: Some(Box::new(move || Ok(Some(wrong)))),
            ..BodyChecks::default()
        };
        let absent = BodyChecks {
            algorithm: Some(algorithm),
            trailer: Some(Box::new(|| Ok(None))),
            ..BodyChecks::default()
        };
        for checks in [before, after, absent] {
            assert!(matches!(
                put(declared(20_000), checks).await,
                Err(StoreError::ChecksumMismatch { algorithm: which }) if which == algorithm
            ));
        }
    }
    assert!(matches!(
        world.get("object").await,
        Err(StoreError::NoSuchKey {
            delete_marker: None
        })
    ));
    assert_eq!(world.blobs.inner().stored_bytes(), 0);

    let right = BodyChecks {
        content_md5: Some(Md5::digest(&bytes).into()),
        ..BodyChecks::default()
    };
    let written = put(declared(20_000), right).await.expect("all is right");
    assert_eq!(written.etag, ETag::whole(Md5::digest(&bytes).into()));
    let checksum = written.checksum.expect("one is always computed").checksum;
    assert_eq!(checksum.algorithm(), ChecksumAlgorithm::Crc64Nvme);
    let again = BodyChecks {
        algorithm: Some(ChecksumAlgorithm::Crc64Nvme),
        trailer: Some(Box::new(move || Ok(Some(checksum)))),
        ..BodyChecks::default()
    };
    put(declared(20_000), again)
        .await
        .expect("the trailer is right");
}

#[tokio::test]
async fn conditions_are_those_of_rfc_9110() {
    let world = World::new().await;
    let etag = world.put("object", "bytes").await.etag;
    let other = ETag::whole([9; 16]);
    let at = |seconds: i64| Some(Timestamp::from_seconds(START_SECONDS + seconds));
    let one_of = |tag| Some(ETagCondition::OneOf(vec![tag]));
    #[derive(Debug, PartialEq)]
    enum Outcome {
        Read,
        Failed,
        NotModified,
    }
    let none = ReadConditions::default;
    for (conditions, expected) in [
        (
            ReadConditions {
                if_match: one_of(etag),
                ..none()
            },
            Outcome::Read,
        ),
        (
            ReadConditions {
                if_match: Some(ETagCondition::Any),
                ..none()
            },
            Outcome::Read,
        ),
        (
            ReadConditions {
                if_match: one_of(other),
                ..none()
            },
            Outcome::Failed,
        ),
        (
            ReadConditions {
                if_none_match: one_of(etag),
                ..none()
            },
            Outcome::NotModified,
        ),
        (
            ReadConditions {
                if_none_match: one_of(other),
                ..none()
            },
            Outcome::Read,
        ),
        (
            ReadConditions {
                if_modified_since: at(0),
                ..none()
            },
            Outcome::NotModified,
        ),
        (
            ReadConditions {
                if_modified_since: at(-1),
                ..none()
            },
            Outcome::Read,
        ),
        (
            ReadConditions {
                if_unmodified_since: at(0),
                ..none()
            },
            Outcome::Read,
        ),
        (
            ReadConditions {
                if_unmodified_since: at(-1),
                ..none()
            },
            Outcome::Failed,
        ),
        // The tag decides where both are given.
        (
            ReadConditions {
                if_match: one_of(etag),
                if_unmodified_since: at(-1),
                ..none()
            },
            Outcome::Read,
        ),
        (
            ReadConditions {
                if_none_match: one_of(etag),
                if_modified_since: at(-1),
                ..none()
            },
            Outcome::NotModified,
        ),
    ] {
        let request = ReadRequest {
            conditions: conditions.clone(),
            ..world.read_request("object")
        };
        let outcome = match world.read(request).await {
            Ok(_) => Outcome::Read,
            Err(StoreError::PreconditionFailed { .. }) => Outcome::Failed,
            Err(StoreError::NotModified { .. }) => Outcome::NotModified,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(outcome, expected, "{conditions:?}");
    }
}

#[tokio::test]
async fn of_many_writers_who_want_to_be_first_one_is() {
    let world = World::new().await;
    let put = || {
        let request = PutRequest {
            conditions: WriteConditions {
                if_none_match: Some(ETagCondition::Any),
                if_match: None,
            },
            ..world.put_request("object", pattern(100))
        };
        let store = world.store.clone();
        tokio::spawn(async move { store.put(request, &caller()).await })
    };
    let writers: Vec<_> = (0..20).map(|_| put()).collect();
    let mut first = 0;
    for writer in writers {
        match writer.await.expect("no panic") {
            Ok(_) => first += 1,
            Err(StoreError::PreconditionFailed {
                condition: "If-None-Match",
            }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(first, 1);

    let world = &world;
    let matching = |tag| {
        let request = PutRequest {
            conditions: WriteConditions {
                if_match: Some(ETagCondition::OneOf(vec![tag])),
                if_none_match: None,
            },
            ..world.put_request("object", "new")
        };
        async move { world.store.put(request, &caller()).await }
    };
    assert!(matches!(
        matching(ETag::whole([0; 16])).await,
        Err(StoreError::PreconditionFailed {
            condition: "If-Match"
        })
    ));
    let head = world
        .store
        .head(world.read_request("object"), &caller())
        .await;
    let etag = head.expect("it is there").object.etag;
    matching(etag).await.expect("the tag is the right one");
    assert!(matches!(
        world
            .store
            .put(
                PutRequest {
                    conditions: WriteConditions {
                        if_match: Some(ETagCondition::Any),
                        if_none_match: None
                    },
                    ..world.put_request("absent", "new")
                },
                &caller()
            )
            .await,
        Err(StoreError::NoSuchKey { .. })
    ));
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn many_writers_of_one_object_all_succeed_and_leave_one() {
    let world = World::new().await;
    let writers: Vec<_> = (0..50_u8)
        .map(|number| {
            let request = world.put_request("object", vec![number; 1_000]);
            let store = world.store.clone();
            tokio::spawn(async move { store.put(request, &caller()).await })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no panic").expect("a PUT");
    }
    let bytes = world.get("object").await.expect("one is there");
    assert!(bytes.len() == 1_000 && bytes.iter().all(|byte| *byte == bytes[0]));
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn metadata_is_given_back_and_bounded() {
    let world = World::new().await;
    let metadata = ObjectMetadata {
        content_type: Some("text/plain".to_owned()),
        cache_control: Some("no-store".to_owned()),
        user: vec![("color".to_owned(), "blue".to_owned())],
        ..ObjectMetadata::default()
    };
    let request = PutRequest {
        metadata: metadata.clone(),
        ..world.put_request("object", "bytes")
    };
    world.store.put(request, &caller()).await.expect("a PUT");
    let head = world
        .store
        .head(world.read_request("object"), &caller())
        .await;
    assert_eq!(head.expect("it is there").object.metadata, metadata);
    let too_much = PutRequest {
        metadata: ObjectMetadata {
            user: vec![("n".to_owned(), "v".repeat(2_048))],
            ..ObjectMetadata::default()
        },
        ..world.put_request("object", "bytes")
    };
    assert!(matches!(
        world.store.put(too_much, &caller()).await,
        Err(StoreError::MetadataTooLarge { len_bytes: 2_049 })
    ));
}

#[tokio::test]
async fn a_bucket_is_made_once_and_deleted_when_it_is_empty() {
    let world = World::new().await;
    let store = &world.store;
    let request = strongroom_store::CreateBucket {
        bucket: world.bucket.clone(),
        owner: "another".to_owned(),
        region: "us-east-1".to_owned(),
        customer_keys_blocked: false,
    };
    assert!(matches!(
        store.create_bucket(request, &caller()).await,
        Err(StoreError::BucketExists { owner }) if owner == "owner"
    ));
    world.put("object", "bytes").await;
    assert!(matches!(
        store.delete_bucket(&world.bucket, &caller()).await,
        Err(StoreError::BucketNotEmpty)
    ));
    world
        .delete("object", VersionSelector::Current)
        .await
        .expect("it is there");
    store
        .delete_bucket(&world.bucket, &caller())
        .await
        .expect("it is empty");
    assert!(matches!(
        store.bucket(&world.bucket).await,
        Err(StoreError::NoSuchBucket)
    ));
    assert!(matches!(
        world.try_put("object", "bytes").await,
        Err(StoreError::NoSuchBucket)
    ));
    assert!(matches!(
        world.get("object").await,
        Err(StoreError::NoSuchBucket)
    ));
    let absent = BucketName::new("absent").expect("a name");
    assert!(matches!(
        store.delete_bucket(&absent, &caller()).await,
        Err(StoreError::NoSuchBucket)
    ));
}

#[tokio::test]
async fn a_bucket_is_deleted_or_written_into_but_never_both() {
    for _ in 0..20 {
        let world = World::new().await;
        let (store, bucket) = (world.store.clone(), world.bucket.clone());
        let deletion = tokio::spawn(async move { store.delete_bucket(&bucket, &caller()).await });
        let written = world.try_put("object", "bytes").await;
        let deleted = deletion.await.expect("no panic");
        match (&written, &deleted) {
            (Ok(_), Err(StoreError::BucketNotEmpty)) => {
                assert_eq!(world.get("object").await.expect("acknowledged"), b"bytes");
            }
            (Err(StoreError::NoSuchBucket), Ok(())) => {}
            other => panic!("{other:?}"),
        }
        world.assert_sound().await;
    }
}

#[tokio::test]
async fn a_reader_finishes_what_is_deleted_meanwhile() {
    let world = World::new().await;
    let bytes = pattern(4 << 20);
    world.put("object", bytes.clone()).await;
    let request = world.read_request("object");
    let answer = world
        .store
        .get(request, &caller())
        .await
        .expect("it is there");
    world
        .delete("object", VersionSelector::Current)
        .await
        .expect("it is there");
    let waiting = world
        .store
        .collect_garbage()
        .await
        .expect("the blobs are well")
        .waiting;
    assert_eq!(waiting, 1);
    let mut read = Vec::new();
    let mut body = answer.body;
    while let Some(piece) = body.next().await {
        read.extend_from_slice(&piece.expect("the blob is pinned"));
    }
    assert!(read == bytes);
    drop(body);
    world
        .store
        .collect_garbage()
        .await
        .expect("the blobs are well");
    assert_eq!(world.blobs.inner().stored_bytes(), 0);
    assert_eq!(
        world.blobs.inner().unsettled().await.expect("in memory"),
        []
    );
}

#[tokio::test]
async fn every_use_of_a_key_is_on_the_log_and_nothing_else() {
    let world = World::new().await;
    let uses = || {
        world
            .log
            .entries()
            .iter()
            .filter_map(|entry| serde_json::from_slice::<serde_json::Value>(entry).ok())
            .filter(|entry| entry["operation"] == "s3:Test")
            .count()
    };
    world.put("object", "bytes").await;
    let after_put = uses();
    assert!(after_put >= 1);
    world.get("object").await.expect("it is there");
    assert_eq!(uses(), after_put + 1);
    world
        .delete("object", VersionSelector::Current)
        .await
        .expect("it is there");
    assert_eq!(uses(), after_put + 1);
}
