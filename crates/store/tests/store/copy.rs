//! COPY: payloads are shared, keys are changed, and no byte of payload moves.

use bytes::Bytes;
use strongroom_blobs::Call;
use strongroom_keys::{EncryptionMode, KeyError, Protection};
use strongroom_store::{
    ByteRange, ChecksumAlgorithm, CopyRequest, CopySource, ETagCondition, MetadataDirective,
    ObjectMetadata, PutRequest, ReadConditions, ReadRequest, Span, StoreError, VersionSelector,
    WriteConditions,
};

use crate::multipart::{PART, completion};
use crate::world::{World, by_customer, by_kms, caller, customer_key, key, pattern};

impl World {
    async fn put_as(&self, name: &str, protection: Option<Protection>, bytes: Vec<u8>) {
        let request = PutRequest {
            protection,
            ..self.put_request(name, bytes)
        };
        self.store.put(request, &caller()).await.expect("a PUT");
    }

    fn rekey(
        &self,
        from: &str,
        by: Option<u8>,
        to: &str,
        protection: Option<Protection>,
    ) -> CopyRequest {
        let request = self.copy_request(from, to);
        CopyRequest {
            source: CopySource {
                customer_key: by.map(customer_key),
                ..request.source
            },
            protection,
            ..request
        }
    }

    async fn get_as(&self, name: &str, by: Option<u8>) -> Result<Vec<u8>, StoreError> {
        self.read(ReadRequest {
            customer_key: by.map(customer_key),
            ..self.read_request(name)
        })
        .await
    }

    /// How often the blobs were used, in any way.
    fn blob_calls(&self) -> [u64; 5] {
        [
            Call::Create,
            Call::Append,
            Call::Finish,
            Call::Read,
            Call::Delete,
        ]
        .map(|call| self.blobs.calls(call))
    }
}

type Way = (&'static str, fn() -> Option<Protection>, Option<u8>);

/// Every way to protect an object, and the customer's key that opens it then.
const WAYS: [Way; 5] = [
    ("customer 1", || by_customer(1), Some(1)),
    ("customer 2", || by_customer(2), Some(2)),
    ("KMS through a bucket key", || by_kms(true), None),
    ("KMS", || by_kms(false), None),
    ("managed", || Some(Protection::Managed), None),
];

#[tokio::test]
async fn a_copy_from_any_key_to_any_key_moves_no_byte_of_payload() {
    for (from, from_protection, from_by) in WAYS {
        for (to, to_protection, to_by) in WAYS {
            let world = World::new().await;
            let bytes = pattern(70_000);
            world
                .put_as("source", from_protection(), bytes.clone())
                .await;
            let (stored, calls) = (world.blobs.inner().stored_bytes(), world.blob_calls());
            for target in ["target", "source"] {
                let request = world.rekey("source", from_by, target, to_protection());
                let copied = world.store.copy(request, &caller()).await;
                let copied = copied.unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
                assert_eq!(copied.written.size_bytes, 70_000);
                assert_eq!(
                    matches!(
                        copied.written.encryption,
                        EncryptionMode::CustomerKey { .. }
                    ),
                    to_by.is_some()
                );
            }
            assert_eq!(world.blob_calls(), calls, "{from} to {to}");
            assert_eq!(world.blobs.inner().stored_bytes(), stored);
            for name in ["target", "source"] {
                let read = world.get_as(name, to_by).await;
                assert!(read.expect("the new key") == bytes, "{from} to {to}");
                let wrong = if to_by == Some(1) { 2 } else { 1 };
                assert!(matches!(
                    world.get_as(name, Some(wrong)).await,
                    Err(StoreError::Key(_))
                ));
            }
            world.assert_nothing_is_left_behind().await;
        }
    }
}

#[tokio::test]
async fn a_copy_of_an_upload_in_parts_shares_all_parts() {
    let world = World::new().await;
    let upload = world.begin("source", by_customer(1)).await;
    let bytes = pattern(PART + 50_000);
    let mut parts = Vec::new();
    for (number, part) in [(1, &bytes[..PART]), (2, &bytes[PART..])] {
        let part = Bytes::copy_from_slice(part);
        let uploaded = world.try_part(&upload, number, part, Some(1)).await;
        parts.push((number, uploaded.expect("a part").etag));
    }
    world
        .store
        .complete_upload(completion(&upload, &parts), &caller())
        .await
        .expect("all parts are there");
    let calls = world.blob_calls();
    let request = world.rekey("source", Some(1), "target", by_kms(false));
    world.store.copy(request, &caller()).await.expect("a copy");
    let request = world.rekey("target", None, "third", by_customer(2));
    world.store.copy(request, &caller()).await.expect("a copy");
    assert_eq!(world.blob_calls(), calls);

    world
        .delete("source", VersionSelector::Current)
        .await
        .expect("a deletion");
    world.assert_sound().await;
    for (name, by) in [("target", None), ("third", Some(2))] {
        assert!(world.get_as(name, by).await.expect("it opens") == bytes);
        let read = ReadRequest {
            span: Span::Range(ByteRange::FromTo {
                first: PART as u64 - 10,
                last: PART as u64 + 10,
            }),
            customer_key: by.map(customer_key),
            ..world.read_request(name)
        };
        let across = world.read(read).await.expect("across the parts");
        assert!(across == bytes[PART - 10..=PART + 10]);
    }
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn the_last_copy_of_a_chain_outlives_all_before_it() {
    for versioned in [false, true] {
        let world = World::new().await;
        if versioned {
            world.version(true).await;
        }
        let bytes = pattern(20_000);
        world.put_as("0", by_customer(0), bytes.clone()).await;
        let stored = world.blobs.inner().stored_bytes();
        for number in 1..=5_u8 {
            let (from, to) = ((number - 1).to_string(), number.to_string());
            let request = world.rekey(&from, Some(number - 1), &to, by_customer(number));
            world.store.copy(request, &caller()).await.expect("a copy");
            for version in world.versions().await {
                if version.key.as_str() == from {
                    let object = match version.version {
                        strongroom_store::ShownVersion::Null => VersionSelector::Null,
                        strongroom_store::ShownVersion::Id(id) => VersionSelector::Id(id),
                    };
                    world.delete(&from, object).await.expect("a deletion");
                }
            }
            world.assert_sound().await;
            assert_eq!(world.blobs.inner().stored_bytes(), stored);
        }
        assert!(world.get_as("5", Some(5)).await.expect("the last key") == bytes);
        world.assert_nothing_is_left_behind().await;
    }
}

#[tokio::test]
async fn a_rekeyed_version_leaves_the_one_before_under_its_old_key() {
    let world = World::new().await;
    world.version(true).await;
    world.put_as("object", by_customer(1), pattern(5_000)).await;
    let request = world.rekey("object", Some(1), "object", by_customer(2));
    world.store.copy(request, &caller()).await.expect("a copy");
    let listed = world.versions().await;
    assert_eq!(listed.len(), 2);
    for (version, by) in listed.iter().zip([2, 1]) {
        let strongroom_store::ShownVersion::Id(id) = version.version else {
            panic!("versions are kept");
        };
        let read = ReadRequest {
            object: world.object("object", VersionSelector::Id(id)),
            customer_key: Some(customer_key(by)),
            ..world.read_request("object")
        };
        assert!(world.read(read).await.expect("its key") == pattern(5_000));
    }
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn a_copy_that_is_refused_changes_nothing() {
    let world = World::new().await;
    world.put_as("source", by_customer(1), pattern(1_000)).await;
    world.put("target", "as it was").await;
    let refused = |request: CopyRequest| {
        let world = &world;
        async move {
            let error = world.store.copy(request, &caller()).await;
            let error = error.expect_err("it is refused");
            assert_eq!(world.get("target").await.expect("it stays"), b"as it was");
            error
        }
    };
    let plain = || world.rekey("source", Some(1), "target", None);
    assert!(matches!(
        refused(world.rekey("source", Some(2), "target", None)).await,
        StoreError::Key(KeyError::CustomerKeyMismatch)
    ));
    assert!(matches!(
        refused(world.rekey("source", None, "target", None)).await,
        StoreError::Key(KeyError::CustomerKeyRequired)
    ));
    assert!(matches!(
        refused(world.rekey("absent", None, "target", None)).await,
        StoreError::NoSuchKey { .. }
    ));
    assert!(matches!(
        refused(world.rekey("source", Some(1), "source", None)).await,
        StoreError::CopyToItself
    ));
    assert!(matches!(
        refused(CopyRequest {
            conditions: WriteConditions {
                if_none_match: Some(ETagCondition::Any),
                if_match: None,
            },
            ..plain()
        })
        .await,
        StoreError::PreconditionFailed { .. }
    ));
    let mut request = plain();
    request.source.conditions = ReadConditions {
        if_none_match: Some(ETagCondition::Any),
        ..ReadConditions::default()
    };
    assert!(matches!(
        refused(request).await,
        StoreError::PreconditionFailed { .. }
    ));
    world
        .store
        .set_customer_keys_blocked(&world.bucket, true, &caller())
        .await
        .expect("the bucket is there");
    assert!(matches!(
        refused(world.rekey("source", Some(1), "target", by_customer(3))).await,
        StoreError::CustomerKeysBlocked
    ));
    world.assert_sound().await;
}

#[tokio::test]
async fn a_copy_has_the_metadata_and_the_checksum_that_are_asked_for() {
    let world = World::new().await;
    world.put("source", pattern(40_000)).await;
    let metadata = ObjectMetadata {
        content_type: Some("text/plain".to_owned()),
        ..ObjectMetadata::default()
    };
    let request = CopyRequest {
        metadata: MetadataDirective::Replace(metadata.clone()),
        checksum: Some(ChecksumAlgorithm::Sha256),
        ..world.copy_request("source", "target")
    };
    let written = world.blobs.calls(Call::Create);
    let copied = world.store.copy(request, &caller()).await.expect("a copy");
    assert_eq!(world.blobs.calls(Call::Create), written);
    let kept = copied.written.checksum.expect("one was asked for").checksum;
    assert_eq!(kept.algorithm(), ChecksumAlgorithm::Sha256);
    let request = PutRequest {
        checks: strongroom_store::BodyChecks {
            algorithm: Some(ChecksumAlgorithm::Sha256),
            checksum: Some(kept),
            ..strongroom_store::BodyChecks::default()
        },
        ..world.put_request("check", pattern(40_000))
    };
    let same = world.store.put(request, &caller()).await;
    same.expect("it is the digest of the bytes");
    let head = world
        .store
        .head(world.read_request("target"), &caller())
        .await
        .expect("it is there");
    assert_eq!(head.object.metadata, metadata);
}

#[tokio::test]
async fn a_copy_beside_the_deletion_of_its_source_is_whole_or_refused() {
    for round in 0..30 {
        let world = World::new().await;
        let bytes = pattern(3_000);
        world.put("source", bytes.clone()).await;
        let copy = {
            let (store, request) = (world.store.clone(), world.copy_request("source", "target"));
            tokio::spawn(async move { store.copy(request, &caller()).await })
        };
        for _ in 0..round % 7 {
            tokio::task::yield_now().await;
        }
        world
            .delete("source", VersionSelector::Current)
            .await
            .expect("a deletion");
        match copy.await.expect("no panic") {
            Ok(_) => assert!(world.get("target").await.expect("acknowledged") == bytes),
            Err(StoreError::NoSuchKey { .. }) => {
                assert!(world.names().await.is_empty());
            }
            Err(other) => panic!("{other}"),
        }
        world.assert_nothing_is_left_behind().await;
    }
}

#[tokio::test]
async fn a_copy_into_another_bucket_is_under_the_protection_of_that_bucket() {
    let world = World::new().await;
    world.put_as("source", by_customer(1), pattern(100)).await;
    let other = world.create_bucket("other").await;
    let default = Some(strongroom_store::DefaultEncryption::Kms {
        key: None,
        bucket_key: true,
    });
    world
        .store
        .set_default_encryption(&other, default, &caller())
        .await
        .expect("the bucket is there");
    let request = CopyRequest {
        bucket: other.clone(),
        key: key("target"),
        ..world.rekey("source", Some(1), "target", None)
    };
    let copied = world.store.copy(request, &caller()).await.expect("a copy");
    assert!(matches!(
        copied.written.encryption,
        EncryptionMode::Kms { .. }
    ));
    let mut read = world.read_request("target");
    read.object.bucket = other;
    assert!(world.read(read).await.expect("it opens") == pattern(100));
    world.assert_sound().await;
}
