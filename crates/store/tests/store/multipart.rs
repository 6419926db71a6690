//! Multipart uploads, in every mode of encryption.

use bytes::Bytes;
use md5::{Digest, Md5};
use strongroom_keys::Protection;
use strongroom_store::{
    BodyChecks, ByteRange, Checksum, ChecksumAlgorithm, ChecksumType, CompleteUpload,
    CompletedPart, CopySource, CreateUpload, ETag, ETagCondition, ListParts, ListUploads,
    ObjectMetadata, PartNumber, ReadConditions, ReadRequest, Span, StorageClass, StoreError,
    UploadId, UploadPart, UploadPartCopy, UploadRef, UploadedPart, VersionSelector,
    WriteConditions,
};

use crate::world::{World, body, by_customer, by_kms, caller, customer_key, key, pattern};

pub(crate) const PART: usize = 5 << 20;

impl World {
    pub(crate) async fn begin(&self, name: &str, protection: Option<Protection>) -> UploadRef {
        self.begin_with(name, protection, None, None).await
    }

    async fn begin_with(
        &self,
        name: &str,
        protection: Option<Protection>,
        checksum_algorithm: Option<ChecksumAlgorithm>,
        checksum_type: Option<ChecksumType>,
    ) -> UploadRef {
        let request = CreateUpload {
            bucket: self.bucket.clone(),
            key: key(name),
            metadata: ObjectMetadata {
                content_type: Some("text/plain".to_owned()),
                ..ObjectMetadata::default()
            },
            class: StorageClass::Standard,
            protection,
            checksum_algorithm,
            checksum_type,
        };
        let created = self.store.create_upload(request, &caller()).await;
        UploadRef {
            bucket: self.bucket.clone(),
            key: key(name),
            upload: created.expect("an upload").upload,
        }
    }

    pub(crate) async fn try_part(
        &self,
        upload: &UploadRef,
        part: i64,
        bytes: Bytes,
        by: Option<u8>,
    ) -> Result<UploadedPart, StoreError> {
        let request = UploadPart {
            upload: upload.clone(),
            number: number(part),
            body: body(bytes),
            checks: BodyChecks::default(),
            customer_key: by.map(customer_key),
        };
        self.store.upload_part(request, &caller()).await
    }

    pub(crate) async fn part(&self, upload: &UploadRef, part: i64, bytes: &[u8]) -> ETag {
        let bytes = Bytes::copy_from_slice(bytes);
        let uploaded = self.try_part(upload, part, bytes, None).await;
        uploaded.expect("a part").etag
    }
}

fn number(part: i64) -> PartNumber {
    PartNumber::new(part).expect("a part's number")
}

pub(crate) fn completion(upload: &UploadRef, parts: &[(i64, ETag)]) -> CompleteUpload {
    CompleteUpload {
        upload: upload.clone(),
        parts: parts
            .iter()
            .map(|(part, etag)| CompletedPart {
                number: number(*part),
                etag: Some(*etag),
                checksum: None,
            })
            .collect(),
        checksum: None,
        checksum_type: None,
        size_bytes: None,
        conditions: WriteConditions::default(),
    }
}

#[tokio::test]
async fn an_upload_in_parts_is_read_as_one_object_and_by_part_and_across_parts() {
    let world = World::new().await;
    for (protection, by) in [
        (None, None),
        (by_customer(1), Some(1)),
        (by_kms(true), None),
        (by_kms(false), None),
    ] {
        let upload = world.begin("object", protection).await;
        let bytes = pattern(2 * PART + 12_345);
        let mut parts = Vec::new();
        let mut tags = Md5::new();
        // The numbers leave gaps, and the parts come in no order.
        for (part, chunk) in [
            (9, &bytes[2 * PART..]),
            (1, &bytes[..PART]),
            (5, &bytes[PART..2 * PART]),
        ] {
            let chunk = Bytes::copy_from_slice(chunk);
            let uploaded = world
                .try_part(&upload, part, chunk, by)
                .await
                .expect("a part");
            parts.push((part, uploaded.etag));
        }
        parts.sort_by_key(|(part, _)| *part);
        for (_, etag) in &parts {
            tags.update(etag.digest());
        }
        let written = world
            .store
            .complete_upload(completion(&upload, &parts), &caller())
            .await
            .expect("all parts are there");
        assert_eq!(written.etag, ETag::of_parts(tags.finalize().into(), 3));
        assert_eq!(written.size_bytes, bytes.len() as u64);

        let read = |span| ReadRequest {
            span,
            customer_key: by.map(customer_key),
            ..world.read_request("object")
        };
        assert!(world.read(read(Span::Whole)).await.expect("it opens") == bytes);
        let (first, last) = (PART - 20, 2 * PART + 20);
        let across = Span::Range(ByteRange::FromTo {
            first: first as u64,
            last: last as u64,
        });
        assert!(world.read(read(across)).await.expect("it opens") == bytes[first..=last]);
        for (part, wanted) in [
            (1, 0..PART),
            (2, PART..2 * PART),
            (3, 2 * PART..bytes.len()),
        ] {
            let by_part = world.read(read(Span::Part(number(part)))).await;
            assert!(by_part.expect("it opens") == bytes[wanted], "part {part}");
        }
        assert!(matches!(
            world.read(read(Span::Part(number(4)))).await,
            Err(StoreError::NoSuchPart { part_count: 3 })
        ));
        let head = world
            .store
            .head(read(Span::Whole), &caller())
            .await
            .expect("it is there");
        assert_eq!(head.object.part_count, Some(3));
        assert_eq!(
            head.object.metadata.content_type.as_deref(),
            Some("text/plain")
        );
        let listed = world
            .store
            .parts_of(&world.object("object", VersionSelector::Current), 1, 10)
            .await
            .expect("it is there");
        let lens: Vec<_> = listed
            .iter()
            .map(|part| (part.number.get(), part.size_bytes))
            .collect();
        assert_eq!(lens, [(2, PART as u64), (3, 12_345)]);
        world.assert_sound().await;
    }
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn an_upload_of_one_small_part_is_an_object() {
    let world = World::new().await;
    for len in [0, 10] {
        let upload = world.begin("object", None).await;
        let bytes = pattern(len);
        let etag = world.part(&upload, 7, &bytes).await;
        let request = completion(&upload, &[(7, etag)]);
        world
            .store
            .complete_upload(request, &caller())
            .await
            .expect("one part will do");
        assert_eq!(world.get("object").await.expect("it opens"), bytes);
    }
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn a_completion_names_parts_as_they_were_uploaded_in_order_and_large_enough() {
    let world = World::new().await;
    let upload = world.begin("object", None).await;
    let large = pattern(PART);
    let one = world.part(&upload, 1, &large).await;
    let two = world.part(&upload, 2, b"small").await;
    let three = world.part(&upload, 3, b"last").await;
    let stale = world.part(&upload, 4, b"first attempt").await;
    let four = world.part(&upload, 4, b"second attempt").await;
    let (world, upload) = (&world, &upload);
    let complete = |parts: Vec<(i64, ETag)>| async move {
        let request = completion(upload, &parts);
        world.store.complete_upload(request, &caller()).await
    };
    assert!(matches!(complete(vec![]).await, Err(StoreError::NoParts)));
    for parts in [vec![(2, two), (1, one)], vec![(1, one), (1, one)]] {
        assert!(matches!(
            complete(parts).await,
            Err(StoreError::InvalidPartOrder)
        ));
    }
    for (parts, wrong) in [
        (vec![(1, one), (2, one)], 2),
        (vec![(1, one), (5, two)], 5),
        (vec![(1, one), (4, stale)], 4),
    ] {
        assert!(matches!(
            complete(parts).await,
            Err(StoreError::InvalidPart { number, .. }) if number.get() == wrong
        ));
    }
    assert!(matches!(
        complete(vec![(1, one), (2, two), (3, three)]).await,
        Err(StoreError::EntityTooSmall { number, size_bytes: 5, .. }) if number.get() == 2
    ));
    let wrong_size = CompleteUpload {
        size_bytes: Some(1),
        ..completion(upload, &[(1, one), (3, three)])
    };
    assert!(matches!(
        world.store.complete_upload(wrong_size, &caller()).await,
        Err(StoreError::ObjectSizeMismatch {
            stated_bytes: 1,
            ..
        })
    ));
    assert!(matches!(
        world.get("object").await,
        Err(StoreError::NoSuchKey { .. })
    ));

    let request = completion(upload, &[(1, one), (4, four)]);
    let written = world
        .store
        .complete_upload(request.clone(), &caller())
        .await
        .expect("well named");
    assert!(
        world.get("object").await.expect("it opens") == [&large[..], b"second attempt"].concat()
    );
    // A client that lost the answer asks again.
    assert_eq!(
        world
            .store
            .complete_upload(request, &caller())
            .await
            .expect("the same"),
        written
    );
    assert!(matches!(
        world.store.abort_upload(upload, &caller()).await,
        Err(StoreError::NoSuchUpload)
    ));
    assert!(matches!(
        world.try_part(upload, 1, Bytes::new(), None).await,
        Err(StoreError::NoSuchUpload)
    ));
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn parts_carry_the_key_of_their_upload() {
    let world = World::new().await;
    let with = world.begin("with", by_customer(1)).await;
    let without = world.begin("without", None).await;
    for (upload, by) in [(&with, None), (&without, Some(1))] {
        assert!(matches!(
            world.try_part(upload, 1, Bytes::new(), by).await,
            Err(StoreError::PartEncryptionNotOfUpload)
        ));
    }
    assert!(matches!(
        world.try_part(&with, 1, Bytes::new(), Some(2)).await,
        Err(StoreError::PartKeyMismatch)
    ));
    let part = world
        .try_part(&with, 1, Bytes::from_static(b"secret"), Some(1))
        .await;
    // Completing takes no key.
    let request = completion(&with, &[(1, part.expect("the right key").etag)]);
    world
        .store
        .complete_upload(request, &caller())
        .await
        .expect("all parts are there");
    let read = ReadRequest {
        customer_key: Some(customer_key(1)),
        ..world.read_request("with")
    };
    assert_eq!(world.read(read).await.expect("the right key"), b"secret");
}

#[tokio::test]
async fn checksums_of_parts_make_that_of_the_object() {
    let world = World::new().await;
    let (large, small) = (pattern(PART), pattern(77));
    let whole = [&large[..], &small[..]].concat();
    for (algorithm, checksum_type) in [
        (ChecksumAlgorithm::Crc32, ChecksumType::Composite),
        (ChecksumAlgorithm::Crc32, ChecksumType::FullObject),
        (ChecksumAlgorithm::Crc32c, ChecksumType::FullObject),
        (ChecksumAlgorithm::Crc64Nvme, ChecksumType::FullObject),
        (ChecksumAlgorithm::Sha1, ChecksumType::Composite),
        (ChecksumAlgorithm::Sha256, ChecksumType::Composite),
    ] {
        let upload = world
            .begin_with("object", None, Some(algorithm), Some(checksum_type))
            .await;
        let mut parts = Vec::new();
        for (part, bytes) in [(1, &large), (2, &small)] {
            let uploaded = world
                .try_part(&upload, part, bytes.clone().into(), None)
                .await;
            let uploaded = uploaded.expect("a part");
            assert_eq!(uploaded.checksum.algorithm(), algorithm);
            parts.push(CompletedPart {
                number: number(part),
                etag: Some(uploaded.etag),
                checksum: Some(uploaded.checksum),
            });
        }
        let zeros = data_encoding::BASE64.encode(&vec![0; algorithm.len_bytes()]);
        let wrong = Checksum::from_base64(algorithm, &zeros).expect("a checksum");
        let request = CompleteUpload {
            parts: parts.clone(),
            checksum: Some(wrong.clone()),
            checksum_type: Some(checksum_type),
            ..completion(&upload, &[])
        };
        assert!(matches!(
            world
                .store
                .complete_upload(request.clone(), &caller())
                .await,
            Err(StoreError::ChecksumMismatch { .. })
        ));
        let mut wrong_part = request.clone();
        wrong_part.parts[0].checksum = Some(wrong);
        assert!(matches!(
            world.store.complete_upload(wrong_part, &caller()).await,
            Err(StoreError::InvalidPart { .. })
        ));
        let other_type = match checksum_type {
            ChecksumType::Composite => ChecksumType::FullObject,
            ChecksumType::FullObject => ChecksumType::Composite,
        };
        let other_type = CompleteUpload {
            checksum: None,
            checksum_type: Some(other_type),
            ..request.clone()
        };
        assert!(matches!(
            world.store.complete_upload(other_type, &caller()).await,
            Err(StoreError::ChecksumNotOfUpload { .. })
        ));
        let right = CompleteUpload {
            checksum: None,
            ..request
        };
        let written = world
            .store
            .complete_upload(right, &caller())
            .await
            .expect("all fits");
        let checksum = written.checksum.expect("there is one");
        assert_eq!(checksum.checksum_type, checksum_type);
        if checksum_type == ChecksumType::FullObject {
            let checks = BodyChecks {
                algorithm: Some(algorithm),
                checksum: Some(checksum.checksum),
                ..BodyChecks::default()
            };
            let request = strongroom_store::PutRequest {
                checks,
                ..world.put_request("whole", whole.clone())
            };
            world
                .store
                .put(request, &caller())
                .await
                .expect("it is that of the bytes");
        } else {
            assert!(checksum.printed().ends_with("-2"));
        }
    }
    let upload = world
        .begin_with("object", None, Some(ChecksumAlgorithm::Sha1), None)
        .await;
    let request = UploadPart {
        upload,
        number: number(1),
        body: body("bytes"),
        checks: BodyChecks {
            algorithm: Some(ChecksumAlgorithm::Crc32),
            ..BodyChecks::default()
        },
        customer_key: None,
    };
    assert!(matches!(
        world.store.upload_part(request, &caller()).await,
        Err(StoreError::ChecksumNotOfUpload {
            expected: Some(ChecksumAlgorithm::Sha1)
        })
    ));
    let request = CreateUpload {
        bucket: world.bucket.clone(),
        key: key("object"),
        metadata: ObjectMetadata::default(),
        class: StorageClass::Standard,
        protection: None,
        checksum_algorithm: Some(ChecksumAlgorithm::Sha256),
        checksum_type: Some(ChecksumType::FullObject),
    };
    assert!(matches!(
        world.store.create_upload(request, &caller()).await,
        Err(StoreError::ChecksumTypeNotAllowed { .. })
    ));
}

#[tokio::test]
async fn a_part_is_copied_from_one_key_to_another() {
    let world = World::new().await;
    let bytes = pattern(100_000);
    let put = strongroom_store::PutRequest {
        protection: by_customer(1),
        ..world.put_request("source", bytes.clone())
    };
    world.store.put(put, &caller()).await.expect("a PUT");
    let upload = world.begin("target", by_customer(2)).await;
    let copy = |range, source_key: Option<u8>| UploadPartCopy {
        upload: upload.clone(),
        number: number(1),
        source: CopySource {
            object: world.object("source", VersionSelector::Current),
            conditions: ReadConditions::default(),
            customer_key: source_key.map(customer_key),
        },
        range,
        customer_key: Some(customer_key(2)),
    };
    let within = |first, last| Some(ByteRange::FromTo { first, last });
    assert!(matches!(
        world
            .store
            .upload_part_copy(copy(within(0, 100_000), Some(1)), &caller())
            .await,
        Err(StoreError::InvalidRange {
            size_bytes: 100_000
        })
    ));
    assert!(matches!(
        world
            .store
            .upload_part_copy(copy(None, Some(2)), &caller())
            .await,
        Err(StoreError::Key(_))
    ));
    let part = world
        .store
        .upload_part_copy(copy(within(16_000, 50_000), Some(1)), &caller())
        .await;
    let request = completion(&upload, &[(1, part.expect("both keys are right").etag)]);
    world
        .store
        .complete_upload(request, &caller())
        .await
        .expect("all parts are there");
    let read = ReadRequest {
        customer_key: Some(customer_key(2)),
        ..world.read_request("target")
    };
    assert!(world.read(read).await.expect("the new key") == bytes[16_000..=50_000]);
}

#[tokio::test]
async fn an_aborted_upload_leaves_nothing_and_conditions_hold_at_completion() {
    let world = World::new().await;
    let upload = world.begin("object", None).await;
    world.part(&upload, 1, &pattern(1_000)).await;
    world.part(&upload, 2, &pattern(2_000)).await;
    assert!(matches!(
        world.store.delete_bucket(&world.bucket, &caller()).await,
        Err(StoreError::BucketNotEmpty)
    ));
    world
        .store
        .abort_upload(&upload, &caller())
        .await
        .expect("it is under way");
    world.assert_nothing_is_left_behind().await;

    let upload = world.begin("object", None).await;
    let etag = world.part(&upload, 1, b"bytes").await;
    world.put("object", "earlier").await;
    let request = CompleteUpload {
        conditions: WriteConditions {
            if_none_match: Some(ETagCondition::Any),
            if_match: None,
        },
        ..completion(&upload, &[(1, etag)])
    };
    assert!(matches!(
        world.store.complete_upload(request, &caller()).await,
        Err(StoreError::PreconditionFailed { .. })
    ));
    assert_eq!(world.get("object").await.expect("it stays"), b"earlier");
    world
        .store
        .abort_upload(&upload, &caller())
        .await
        .expect("it is under way");
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn a_part_that_comes_while_an_upload_is_closed_is_in_it_or_refused() {
    for abort in [false, true] {
        for _ in 0..10 {
            let world = World::new().await;
            let upload = world.begin("object", None).await;
            let etag = world.part(&upload, 1, b"first").await;
            let late = {
                let (store, upload) = (world.store.clone(), upload.clone());
                tokio::spawn(async move {
                    let request = UploadPart {
                        upload,
                        number: number(2),
                        body: body("late"),
                        checks: BodyChecks::default(),
                        customer_key: None,
                    };
                    store.upload_part(request, &caller()).await
                })
            };
            if abort {
                world
                    .store
                    .abort_upload(&upload, &caller())
                    .await
                    .expect("it is under way");
            } else {
                let request = completion(&upload, &[(1, etag)]);
                world
                    .store
                    .complete_upload(request, &caller())
                    .await
                    .expect("part 1 is there");
                assert_eq!(world.get("object").await.expect("acknowledged"), b"first");
            }
            match late.await.expect("no panic") {
                Ok(_) | Err(StoreError::NoSuchUpload) => {}
                Err(other) => panic!("{other}"),
            }
            world.assert_nothing_is_left_behind().await;
        }
    }
}

#[tokio::test]
async fn uploads_and_parts_are_listed_in_pages() {
    let world = World::new().await;
    let mut uploads: Vec<(String, UploadId)> = Vec::new();
    for name in ["a", "b/1", "b/1", "b/2", "c"] {
        world.clock.advance(std::time::Duration::from_secs(1));
        uploads.push((name.to_owned(), world.begin(name, None).await.upload));
    }
    let all = ListUploads {
        bucket: world.bucket.clone(),
        prefix: String::new(),
        delimiter: None,
        after_key: None,
        after_upload: None,
        entries_max: 2,
    };
    let mut listed = Vec::new();
    let mut request = all.clone();
    loop {
        let page = world.store.list_uploads(request).await.expect("a listing");
        listed.extend(
            page.uploads
                .iter()
                .map(|upload| (upload.key.to_string(), upload.upload)),
        );
        let Some((key, upload)) = page.next else {
            break;
        };
        request = ListUploads {
            after_key: Some(key),
            after_upload: upload,
            ..all.clone()
        };
    }
    assert_eq!(listed, uploads);
    let rolled_up = ListUploads {
        delimiter: Some("/".to_owned()),
        entries_max: 10,
        ..all
    };
    let page = world
        .store
        .list_uploads(rolled_up)
        .await
        .expect("a listing");
    assert_eq!(page.common_prefixes, ["b/"]);
    assert_eq!(page.uploads.len(), 2);

    let upload = UploadRef {
        bucket: world.bucket.clone(),
        key: key("c"),
        upload: uploads[4].1,
    };
    for part in [3, 1, 2] {
        world.part(&upload, part, b"bytes").await;
    }
    let list = |after| ListParts {
        upload: upload.clone(),
        after,
        entries_max: 2,
    };
    let page = world.store.list_parts(list(0)).await.expect("a listing");
    assert_eq!(
        page.parts
            .iter()
            .map(|part| part.number.get())
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(page.next, Some(number(2)));
    let page = world.store.list_parts(list(2)).await.expect("a listing");
    assert_eq!((page.parts.len(), page.next), (1, None));
}

#[tokio::test]
async fn an_object_of_many_parts_has_its_parts_in_segments() {
    let world = World::new().await;
    let upload = world.begin("object", None).await;
    let large = pattern(PART);
    let mut parts = Vec::new();
    for part in 1..=300 {
        let bytes: &[u8] = if part == 300 { b"the end" } else { &large };
        parts.push((part, world.part(&upload, part, bytes).await));
    }
    let request = completion(&upload, &parts);
    let written = world
        .store
        .complete_upload(request, &caller())
        .await
        .expect("all are there");
    assert_eq!(written.size_bytes, (299 * PART + 7) as u64);
    let read = ReadRequest {
        span: Span::Range(ByteRange::Suffix { len_bytes: 10 }),
        ..world.read_request("object")
    };
    let expected = [&large[PART - 3..], b"the end"].concat();
    assert_eq!(world.read(read).await.expect("it opens"), expected);
    world.assert_nothing_is_left_behind().await;
}
