//! Rows and blobs that are not what was written: they are refused with an error that says so,
//! nothing panics, no wrong byte is given out, and what is whole goes on being served.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use strongroom_blobs::{BlobOwner, BlobRef, BlobStore};
use strongroom_meta::{Batch, MetaStore, Scan, Table};
use strongroom_store::{
    ByteRange, CopyRequest, ListParts, ListUploads, PartNumber, PutRequest, ReadRequest,
    RetrievalTier, ShownVersion, Span, StorageClass, StoreError, UploadRef, VersionSelector, check,
};

use crate::multipart::{PART, completion};
use crate::world::{World, by_customer, caller, customer_key, key, pattern};

const TABLES: [&str; 13] = [
    "buckets",
    "objects",
    "versions",
    "payloads",
    "payload_parts",
    "uploads",
    "parts",
    "garbage",
    "age",
    "archives",
    "restores",
    "restore_ends",
    "cold_garbage",
];

#[derive(Clone, Debug)]
struct RowOf {
    table: Table,
    key: Bytes,
    value: Bytes,
}

/// A store in which every table has rows.
struct Full {
    world: World,
    upload: UploadRef,
    parts: Vec<(i64, strongroom_store::ETag)>,
}

/// The objects that there are, their keys and their bytes.
fn objects() -> [(&'static str, Option<u8>, Vec<u8>); 5] {
    let parts = [pattern(PART), pattern(100)].concat();
    [
        ("own", Some(1), pattern(40_000)),
        ("copy", None, pattern(40_000)),
        ("parts", None, parts),
        ("restored", None, pattern(20_000)),
        ("versions", None, b"two".to_vec()),
    ]
}

async fn full() -> Full {
    let world = World::new().await;
    world.version(true).await;
    let put = |name: &'static str, class, protection, bytes: Vec<u8>| {
        let request = PutRequest {
            class,
            protection,
            ..world.put_request(name, bytes)
        };
        let world = &world;
        async move { world.store.put(request, &caller()).await.expect("a PUT") }
    };
    let warm = StorageClass::Standard;
    put("own", warm, by_customer(1), pattern(40_000)).await;
    let mut request = world.copy_request("own", "copy");
    request.source.customer_key = Some(customer_key(1));
    world.store.copy(request, &caller()).await.expect("a copy");
    put("versions", warm, None, b"one".to_vec()).await;
    put("versions", warm, None, b"two".to_vec()).await;

    let upload = world.begin("parts", None).await;
    let mut parts = Vec::new();
    for (number, len) in [(1, PART), (2, 100)] {
        parts.push((number, world.part(&upload, number, &pattern(len)).await));
    }
    let request = completion(&upload, &parts);
    world
        .store
        .complete_upload(request, &caller())
        .await
        .expect("all parts are there");

    put("pending", StorageClass::Glacier, None, pattern(100)).await;
    for name in ["restoring", "restored"] {
        put(name, warm, None, pattern(20_000)).await;
        let version = world.version_name(name).await;
        world
            .archive(&version, StorageClass::Glacier)
            .await
            .expect("a transition");
    }
    world
        .begin_restore("restored", 1, RetrievalTier::Bulk)
        .await
        .expect("a restore");
    world.complete_restores().await.expect("a restore");
    world
        .begin_restore("restoring", 1, RetrievalTier::Bulk)
        .await
        .expect("a restore");
    put("gone", warm, None, pattern(100)).await;
    let version = world.version_name("gone").await;
    world
        .archive(&version, StorageClass::Glacier)
        .await
        .expect("a transition");
    world
        .store
        .delete_version(&version)
        .await
        .expect("a deletion");
    world
        .delete("marker", VersionSelector::Current)
        .await
        .expect("a marker");

    let upload = world.begin("upload", None).await;
    let mut parts = Vec::new();
    for number in [1, 2] {
        parts.push((number, world.part(&upload, number, &pattern(100)).await));
    }
    world.store.collect_garbage().await.expect("a collection");
    // Garbage that waits, because its bytes are being read.
    put("read", warm, None, pattern(100)).await;
    let version = world.version_name("read").await;
    let answer = world
        .store
        .get(world.read_request("read"), &caller())
        .await
        .expect("it is there");
    world
        .store
        .delete_version(&version)
        .await
        .expect("a deletion");
    world.store.collect_garbage().await.expect("a collection");
    drop(answer);
    Full {
        world,
        upload,
        parts,
    }
}

impl World {
    async fn rows(&self) -> Vec<RowOf> {
        let mut rows = Vec::new();
        for table in TABLES {
            let table = Table::new(table);
            let scan = Scan::prefix(&[], 1_000);
            let found = self.meta.inner().scan(table, scan).await.expect("rows");
            assert!(!found.is_empty(), "there are rows of {table}");
            rows.extend(found.into_iter().map(|found| RowOf {
                table,
                key: found.key,
                value: found.row.value,
            }));
        }
        rows
    }

    async fn write_row(&self, row: &RowOf, value: Option<Vec<u8>>) {
        let mut batch = Batch::new();
        match value {
            Some(value) => batch.put(row.table, row.key.to_vec(), value),
            None => batch.delete(row.table, row.key.to_vec()),
        };
        self.meta.inner().commit(batch).await.expect("a change");
    }

    /// Reads everything in every way; what is read must be right or refused.
    async fn read_everything(&self, upload: &UploadRef, damage: &str) {
        let store = &self.store;
        for (name, by, bytes) in objects() {
            let read = |span| ReadRequest {
                span,
                customer_key: by.map(customer_key),
                ..self.read_request(name)
            };
            let len = bytes.len() as u64;
            let (first, last) = (len.saturating_sub(120), len.saturating_sub(2));
            let spans = [
                (Span::Whole, &bytes[..]),
                (
                    Span::Range(ByteRange::FromTo { first, last }),
                    &bytes[first as usize..=last as usize],
                ),
                (
                    Span::Part(PartNumber::new(2).expect("a number")),
                    bytes.get(PART..).unwrap_or_default(),
                ),
            ];
            for (span, wanted) in spans {
                if let Ok(found) = self.try_read(read(span)).await {
                    // A damaged length moves what the last bytes are; those that come are right.
                    let is_there = found == wanted
                        || (span != Span::Whole
                            && bytes.windows(found.len().max(1)).any(|part| part == found));
                    assert!(is_there, "{damage}: wrong bytes of {name} {span:?}");
                }
            }
            let _ = store.head(read(Span::Whole), &caller()).await;
            let object = self.object(name, VersionSelector::Current);
            let _ = store.parts_of(&object, 0, 100).await;
            let _ = store.tiered(&object).await;
            let _ = store.scrub(&object).await;
            let _ = store.keys_of(&self.bucket, &key(name)).await;
        }
        let _ = store.list_objects(self.list_all()).await;
        let versions = strongroom_store::ListVersions {
            bucket: self.bucket.clone(),
            prefix: String::new(),
            delimiter: None,
            after_key: None,
            after_version: VersionSelector::Current,
            entries_max: 1000,
        };
        let _ = store.list_versions(versions).await;
        let uploads = ListUploads {
            bucket: self.bucket.clone(),
            prefix: String::new(),
            delimiter: None,
            after_key: None,
            after_upload: None,
            entries_max: 1000,
        };
        let _ = store.list_uploads(uploads).await;
        let parts = ListParts {
            upload: upload.clone(),
            after: 0,
            entries_max: 1000,
        };
        let _ = store.list_parts(parts).await;
        let _ = store.list_buckets("", None, 10).await;
        let _ = store.bucket(&self.bucket).await;
        let _ = store.aged_before(&self.bucket, i64::MAX, None, 100).await;
        let _ = store.pending_archives(None, 100).await;
        if let Ok(restores) = store.open_restores(None, 100).await {
            for open in restores {
                let _ = store.read_sealed(open.payload.payload).await;
            }
        }
        let _ = store.expired_restores(self.days_from_now(100), 100).await;
        let _ = store.next_restore_expiry().await;
        let _ = store.cold_garbage(None, 100).await;
    }

    async fn try_read(&self, request: ReadRequest) -> Result<Vec<u8>, StoreError> {
        let answer = self.store.get(request, &caller()).await?;
        let expected = answer.range.end - answer.range.start;
        let pieces: Vec<Bytes> = answer.body.try_collect().await?;
        let bytes = pieces.concat();
        assert_eq!(
            bytes.len() as u64,
            expected,
            "an end that is told is the end"
        );
        Ok(bytes)
    }

    /// Changes everything in every way.
    async fn change_everything(&self, full: (&UploadRef, &[(i64, strongroom_store::ETag)])) {
        let (upload, parts) = full;
        let store = &self.store;
        let _ = self.try_put("own", "new").await;
        let _ = self.try_part(upload, 1, "new".into(), None).await;
        let _ = store
            .complete_upload(completion(upload, &parts[1..]), &caller())
            .await;
        for (from, class) in [
            ("copy", StorageClass::Standard),
            ("parts", StorageClass::Standard),
            ("restored", StorageClass::Glacier),
            ("restoring", StorageClass::Glacier),
            ("pending", StorageClass::Glacier),
        ] {
            let request = CopyRequest {
                class,
                ..self.copy_request(from, "target")
            };
            let _ = store.copy(request, &caller()).await;
        }
        for name in ["copy", "parts", "pending"] {
            let object = self.object(name, VersionSelector::Current);
            if let Ok(tiered) = store.tiered(&object).await {
                let _ = self.archive(&tiered.name, StorageClass::Glacier).await;
            }
        }
        let _ = self.begin_restore("restored", 3, RetrievalTier::Bulk).await;
        for name in ["parts", "copy"] {
            let _ = self.begin_restore(name, 3, RetrievalTier::Bulk).await;
        }
        let _ = self.complete_restores().await;
        self.clock.advance(Duration::from_secs(864_000));
        let _ = self.expire_restores().await;
        for garbage in store.cold_garbage(None, 10).await.unwrap_or_default() {
            let _ = store.forget_cold_garbage(&garbage).await;
        }
        for name in [
            "own",
            "copy",
            "parts",
            "restored",
            "restoring",
            "pending",
            "target",
        ] {
            let _ = self.delete(name, VersionSelector::Current).await;
        }
        let versions = strongroom_store::ListVersions {
            bucket: self.bucket.clone(),
            prefix: String::new(),
            delimiter: None,
            after_key: None,
            after_version: VersionSelector::Current,
            entries_max: 1000,
        };
        let page = store.list_versions(versions).await.unwrap_or_default();
        for version in page.versions {
            let selector = match version.version {
                ShownVersion::Null => VersionSelector::Null,
                ShownVersion::Id(id) => VersionSelector::Id(id),
            };
            let _ = self.delete(version.key.as_str(), selector).await;
        }
        let _ = store.abort_upload(upload, &caller()).await;
        let _ = store.collect_garbage().await;
        let _ = store.set_versioning(&self.bucket, false, &caller()).await;
        let _ = store.delete_bucket(&self.bucket, &caller()).await;
    }
}

/// A value with one bit turned over.
fn flipped(value: &[u8], place: usize) -> Vec<u8> {
    let mut value = value.to_vec();
    value[place] ^= 1 << (place % 8);
    value
}

#[tokio::test]
async fn a_row_with_a_bit_turned_over_gives_no_wrong_byte_and_no_panic() {
    let full = full().await;
    let mut world = full.world;
    let mut started = 0;
    for (number, row) in world.rows().await.into_iter().enumerate() {
        for place in (number % 5..row.value.len()).step_by(5) {
            let damage = format!("{} {:?} byte {place}", row.table, row.key);
            world
                .write_row(&row, Some(flipped(&row.value, place)))
                .await;
            // A store that begins with the damage, as it is met for the first time.
            if place % 3 == 0 {
                started += 1;
                world.reopen_untouched().await;
            }
            world.read_everything(&full.upload, &damage).await;
            let checked = check(world.meta.clone(), world.blobs.clone()).await;
            checked.unwrap_or_else(|error| panic!("{damage}: {error}"));
            world.write_row(&row, Some(row.value.to_vec())).await;
            world.reopen_untouched().await;
        }
    }
    assert!(started > 100);
    world.assert_sound().await;
    for (name, by, bytes) in objects() {
        let read = ReadRequest {
            customer_key: by.map(customer_key),
            ..world.read_request(name)
        };
        assert!(world.read(read).await.expect("nothing was lost") == bytes);
    }
}

impl World {
    /// Forgets what the store remembers, and collects nothing.
    async fn reopen_untouched(&mut self) {
        self.store = strongroom_store::Store::open(strongroom_store::StoreSeams {
            meta: self.meta.clone(),
            blobs: std::sync::Arc::new(Undeletable(self.blobs.clone())),
            keys: self.keys.objects.clone(),
            clock: self.clock.clone(),
            entropy: std::sync::Arc::new(strongroom_environment::SystemEntropy),
        })
        .await
        .expect("one damaged row keeps no store from opening");
    }
}

/// Blobs of which none is deleted, so that the same store can be damaged again and again.
#[derive(Debug)]
struct Undeletable<B>(std::sync::Arc<B>);

#[async_trait::async_trait]
impl<B: BlobStore> BlobStore for Undeletable<B> {
    async fn create(
        &self,
        owner: BlobOwner,
        len_bytes: u64,
    ) -> Result<Box<dyn strongroom_blobs::BlobWriter>, strongroom_blobs::BlobError> {
        self.0.create(owner, len_bytes).await
    }

    async fn read(
        &self,
        blob: &BlobRef,
        offset: u64,
        buffer: BytesMut,
    ) -> Result<BytesMut, strongroom_blobs::BlobError> {
        self.0.read(blob, offset, buffer).await
    }

    async fn delete(&self, _blob: &BlobRef) -> Result<(), strongroom_blobs::BlobError> {
        Ok(())
    }

    async fn unsettled(
        &self,
    ) -> Result<Vec<strongroom_blobs::UnsettledBlob>, strongroom_blobs::BlobError> {
        self.0.unsettled().await
    }

    async fn settle(&self) -> Result<(), strongroom_blobs::BlobError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_found_by_the_check_and_refused_by_name() {
    let Full { world, upload, .. } = full().await;
    let sound = check(world.meta.clone(), world.blobs.clone()).await;
    assert_eq!(sound.expect("rows").findings, []);
    for row in world.rows().await {
        let mut longer = row.value.to_vec();
        longer.push(0);
        let mut later = row.value.to_vec();
        later[0] = 99;
        let shorter = row.value[..row.value.len() - 1].to_vec();
        for value in [Vec::new(), shorter, longer, later] {
            let damage = format!("{} {:?} as {value:?}", row.table, row.key);
            world.write_row(&row, Some(value)).await;
            let checked = check(world.meta.clone(), world.blobs.clone()).await;
            let checked = checked.unwrap_or_else(|error| panic!("{damage}: {error}"));
            assert_ne!(checked.findings, [], "{damage}");
            let told = checked.findings.iter().any(|finding| {
                let told = finding.to_string();
                told.contains(row.table.name()) || told.contains("segment of its parts")
            });
            assert!(told, "{damage}: {:?}", checked.findings);
            world.read_everything(&upload, &damage).await;
        }
        world.write_row(&row, Some(row.value.to_vec())).await;
    }
}

#[tokio::test]
async fn changes_to_what_is_damaged_do_not_panic_and_leave_the_rest_alone() {
    let rows = full().await.world.rows().await;
    for number in 0..rows.len() {
        for kind in 0..5 {
            let Full {
                mut world,
                upload,
                parts,
            } = full().await;
            let untouched = world.create_bucket("untouched").await;
            let request = PutRequest {
                bucket: untouched.clone(),
                ..world.put_request("object", pattern(20_000))
            };
            world.store.put(request, &caller()).await.expect("a PUT");
            // The rows of another world order alike, but for random ids.
            let rows = world.rows().await;
            let Some(row) = rows.get(number) else {
                continue;
            };
            if row.key.starts_with(b"untouched\0") || *row.key == *b"untouched" {
                continue;
            }
            let read = || {
                let mut read = world.read_request("object");
                read.object.bucket = untouched.clone();
                read
            };
            let own_payload = world.store.tiered(&read().object).await.is_ok();
            assert!(own_payload);
            let value = match kind {
                0 => None,
                1 => Some(row.value[..row.value.len() / 2].to_vec()),
                2 => Some(flipped(&row.value, row.value.len() - 1)),
                3 => Some(flipped(&row.value, row.value.len() / 2)),
                _ => Some([&row.value[..1], &[0xFF; 30][..], &row.value[1..]].concat()),
            };
            let is_of_untouched = world.is_of(row, &untouched).await;
            world.write_row(row, value).await;
            world.change_everything((&upload, &parts)).await;
            world.restart().await;
            let mut read = world.read_request("object");
            read.object.bucket = untouched.clone();
            let bytes = world.try_read(read).await;
            if !is_of_untouched {
                let damage = format!("{} {:?} kind {kind}", row.table, row.key);
                let bytes = bytes.unwrap_or_else(|error| panic!("{damage}: {error}"));
                assert!(bytes == pattern(20_000), "{damage}");
            }
        }
    }
}

impl World {
    /// Whether a row is of the payload of the one object of `bucket`.
    async fn is_of(&self, row: &RowOf, bucket: &strongroom_store::BucketName) -> bool {
        let mut object = self.object("object", VersionSelector::Current);
        object.bucket = bucket.clone();
        let name = self.store.tiered(&object).await.expect("it is there").name;
        let payload = match self
            .store
            .begin_transition(&name, StorageClass::Glacier)
            .await
            .expect("a step")
        {
            strongroom_store::TransitionStep::Submit(payload) => payload.payload,
            step => panic!("{step:?}"),
        };
        row.key.starts_with(&payload.0)
    }
}

#[tokio::test]
async fn a_blob_with_a_bit_turned_over_is_refused_wherever_it_is() {
    let world = World::new().await;
    let bytes = pattern(40_000);
    world.put("object", bytes.clone()).await;
    let name = world.version_name("object").await;
    let strongroom_store::TransitionStep::Submit(payload) = world
        .store
        .begin_transition(&name, StorageClass::Glacier)
        .await
        .expect("a step")
    else {
        panic!("it is warm");
    };
    let sealed = world
        .store
        .read_sealed(payload.payload)
        .await
        .expect("it is warm");
    let sealed: Vec<Bytes> = sealed.try_collect().await.expect("it is read");
    let sealed = sealed.concat();
    world
        .archive(&name, StorageClass::Glacier)
        .await
        .expect("a transition");
    // Damaged copies come back from the tier one after the other.
    for place in [
        0,
        23,
        24,
        55,
        56,
        57,
        16_000,
        16_456,
        30_000,
        sealed.len() - 1,
    ] {
        let damaged = Bytes::from(flipped(&sealed, place));
        let locator = world
            .cold
            .lock()
            .keys()
            .next()
            .cloned()
            .expect("one archive");
        world.cold.lock().insert(locator, damaged);
        world
            .begin_restore("object", 1, RetrievalTier::Bulk)
            .await
            .expect("a restore");
        world.complete_restores().await.expect("a restore");
        let answer = world
            .store
            .get(world.read_request("object"), &caller())
            .await;
        match answer {
            Err(StoreError::Damaged { .. }) => {}
            Err(error) => panic!("byte {place}: {error}"),
            Ok(mut answer) => {
                let mut read = Vec::new();
                let end = loop {
                    match answer.body.try_next().await {
                        Ok(Some(piece)) => read.extend_from_slice(&piece),
                        Ok(None) => panic!("byte {place}: it ended well"),
                        Err(error) => break error,
                    }
                };
                assert!(
                    matches!(end, StoreError::Damaged { .. }),
                    "byte {place}: {end}"
                );
                assert!(bytes.starts_with(&read), "byte {place}");
            }
        }
        world.clock.advance(Duration::from_secs(200_000));
        world.expire_restores().await.expect("a copy");
    }
}

#[tokio::test]
async fn a_blob_that_is_gone_or_too_short_is_refused_and_found() {
    for len in [None, Some(0), Some(100)] {
        let world = World::new().await;
        world.put("whole", pattern(40_000)).await;
        world.put("lost", pattern(30_000)).await;
        let unsettled = world.blobs.inner().unsettled().await.expect("blobs");
        let lost = &unsettled.last().expect("two blobs").blob;
        let rows = world.rows_of(["objects", "payloads"]).await;
        match len {
            None => world.blobs.inner().delete(lost).await.expect("a deletion"),
            Some(len) => {
                // Rows that name a shorter blob instead.
                let owner = unsettled.last().expect("two blobs").owner;
                let bytes = Bytes::from(vec![7; len]);
                let short = world
                    .blobs
                    .inner()
                    .put(owner, &bytes)
                    .await
                    .expect("a blob");
                for row in rows {
                    let value = replaced(&row.value, lost.as_bytes(), short.as_bytes());
                    world.write_row(&row, Some(value)).await;
                }
            }
        }
        assert!(matches!(
            world.get("lost").await,
            Err(StoreError::Damaged { .. })
        ));
        assert!(world.get("whole").await.expect("it is whole") == pattern(40_000));
        let checked = check(world.meta.clone(), world.blobs.clone())
            .await
            .expect("rows");
        assert_eq!(checked.findings.len(), 1, "{:?}", checked.findings);
        let lost = world.object("lost", VersionSelector::Current);
        assert_eq!(
            world.store.scrub(&lost).await.expect("rows"),
            checked.findings
        );
        let whole = world.object("whole", VersionSelector::Current);
        assert_eq!(world.store.scrub(&whole).await.expect("rows"), []);
        world
            .delete("lost", VersionSelector::Current)
            .await
            .expect("a deletion");
        let checked = check(world.meta.clone(), world.blobs.clone())
            .await
            .expect("rows");
        assert_eq!(checked.findings, []);
    }
}

impl World {
    async fn rows_of(&self, tables: [&'static str; 2]) -> Vec<RowOf> {
        let mut rows = Vec::new();
        for table in tables {
            let table = Table::new(table);
            let scan = Scan::prefix(&[], 100);
            let found = self.meta.inner().scan(table, scan).await.expect("rows");
            rows.extend(found.into_iter().map(|found| RowOf {
                table,
                key: found.key,
                value: found.row.value,
            }));
        }
        rows
    }
}

/// A value with one run of bytes in place of another of the same length.
fn replaced(value: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut value = value.to_vec();
    if let Some(place) = value.windows(from.len()).position(|run| run == from) {
        value[place..place + from.len()].copy_from_slice(to);
    }
    value
}
