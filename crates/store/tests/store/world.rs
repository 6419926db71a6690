//! A store on seams in memory that fail when told to.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use strongroom_audit::MemoryLog;
use strongroom_blobs::{Faulty as FaultyBlobs, MemoryBlobs};
use strongroom_environment::{Clock, SimulatedClock, SystemEntropy, Timestamp};
use strongroom_keys::{
    CustomerKey, EncryptionContext, KeyLimits, KeyReference, KeyService, KeysConfig, Protection,
    ensure_token_keys,
};
use strongroom_meta::{Faulty as FaultyMeta, MemoryStore};
use strongroom_pkcs11::MemoryToken;
use strongroom_store::{
    Body, BodyChecks, BodyStream, BucketName, Caller, ColdCopy, ColdLocator, CopyRequest,
    CopySource, CreateBucket, DeleteRequest, Deleted, ListObjects, ListVersions, ListedVersion,
    MetadataDirective, ObjectKey, ObjectMetadata, ObjectRef, PutRequest, ReadConditions,
    ReadRequest, RestoreBegun, RestoreChange, RestoreRequest, RetrievalTier, ShownVersion, Span,
    StorageClass, Store, StoreError, StoreSeams, TransitionCommit, TransitionStep, VersionName,
    VersionSelector, WriteConditions, Written,
};

/// 2026-01-01T12:00:00Z.
pub(crate) const START_SECONDS: i64 = 1_767_268_800;

pub(crate) struct World {
    pub(crate) meta: Arc<FaultyMeta<MemoryStore>>,
    pub(crate) blobs: Arc<FaultyBlobs<MemoryBlobs>>,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) clock: Arc<SimulatedClock>,
    token: Arc<MemoryToken>,
    pub(crate) keys: KeyService,
    pub(crate) store: Store,
    pub(crate) bucket: BucketName,
    /// What stands for the cold tier: sealed bytes by locator.
    pub(crate) cold: parking_lot::Mutex<BTreeMap<ColdLocator, Bytes>>,
}

impl World {
    /// A store with one empty bucket.
    pub(crate) async fn new() -> Self {
        let meta = Arc::new(FaultyMeta::new(MemoryStore::new()));
        let blobs = Arc::new(FaultyBlobs::new(MemoryBlobs::new()));
        let log = Arc::new(MemoryLog::new());
        let clock = Arc::new(SimulatedClock::new(Timestamp::from_seconds(START_SECONDS)));
        let token = Arc::new(MemoryToken::new());
        ensure_token_keys(&*token).await.expect("a new token");
        let keys = start_keys(&token, &meta, &log, &clock).await;
        let store = open(&meta, &blobs, &keys, &clock).await;
        let bucket = BucketName::new("bucket").expect("a name");
        let world = Self {
            meta,
            blobs,
            log,
            clock,
            token,
            keys,
            store,
            bucket,
            cold: parking_lot::Mutex::default(),
        };
        world.create_bucket("bucket").await;
        world
    }

    /// What a restart after a crash does: memory is gone, and all else is as the engines kept it.
    pub(crate) async fn restart(&mut self) {
        self.meta.reopen();
        self.keys = start_keys(&self.token, &self.meta, &self.log, &self.clock).await;
        self.store = open(&self.meta, &self.blobs, &self.keys, &self.clock).await;
    }

    pub(crate) async fn create_bucket(&self, name: &str) -> BucketName {
        let bucket = BucketName::new(name).expect("a name");
        let request = CreateBucket {
            bucket: bucket.clone(),
            owner: "owner".to_owned(),
            region: "us-east-1".to_owned(),
            customer_keys_blocked: false,
        };
        self.store
            .create_bucket(request, &caller())
            .await
            .expect("a new bucket");
        bucket
    }

    pub(crate) async fn version(&self, enabled: bool) {
        self.store
            .set_versioning(&self.bucket, enabled, &caller())
            .await
            .expect("the bucket is there");
    }

    pub(crate) fn put_request(&self, name: &str, bytes: impl Into<Bytes>) -> PutRequest {
        PutRequest {
            bucket: self.bucket.clone(),
            key: key(name),
            body: body(bytes),
            checks: BodyChecks::default(),
            metadata: ObjectMetadata::default(),
            class: StorageClass::Standard,
            protection: None,
            conditions: WriteConditions::default(),
        }
    }

    pub(crate) async fn try_put(
        &self,
        name: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<Written, StoreError> {
        let request = self.put_request(name, bytes);
        self.store.put(request, &caller()).await
    }

    pub(crate) async fn put(&self, name: &str, bytes: impl Into<Bytes>) -> Written {
        self.try_put(name, bytes).await.expect("a good PUT")
    }

    pub(crate) fn object(&self, name: &str, version: VersionSelector) -> ObjectRef {
        ObjectRef {
            bucket: self.bucket.clone(),
            key: key(name),
            version,
        }
    }

    pub(crate) fn read_request(&self, name: &str) -> ReadRequest {
        ReadRequest {
            object: self.object(name, VersionSelector::Current),
            span: Span::Whole,
            conditions: ReadConditions::default(),
            customer_key: None,
        }
    }

    pub(crate) async fn read(&self, request: ReadRequest) -> Result<Vec<u8>, StoreError> {
        let answer = self.store.get(request, &caller()).await?;
        let len_bytes = answer.range.end - answer.range.start;
        let bytes: Vec<u8> = answer
            .body
            .try_fold(Vec::new(), |mut all, piece| async move {
                all.extend_from_slice(&piece);
                Ok(all)
            })
            .await?;
        assert_eq!(bytes.len() as u64, len_bytes);
        Ok(bytes)
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.read(self.read_request(name)).await
    }

    pub(crate) async fn get_version(
        &self,
        name: &str,
        version: VersionSelector,
    ) -> Result<Vec<u8>, StoreError> {
        self.read(ReadRequest {
            object: self.object(name, version),
            ..self.read_request(name)
        })
        .await
    }

    pub(crate) async fn delete(
        &self,
        name: &str,
        version: VersionSelector,
    ) -> Result<Deleted, StoreError> {
        let request = DeleteRequest {
            object: self.object(name, version),
            if_match: None,
        };
        self.store.delete(request, &caller()).await
    }

    /// A copy within the bucket, to the class STANDARD under the bucket's own protection.
    pub(crate) fn copy_request(&self, from: &str, to: &str) -> CopyRequest {
        CopyRequest {
            source: CopySource {
                object: self.object(from, VersionSelector::Current),
                conditions: ReadConditions::default(),
                customer_key: None,
            },
            bucket: self.bucket.clone(),
            key: key(to),
            metadata: MetadataDirective::Copy,
            class: StorageClass::Standard,
            class_named: false,
            protection: None,
            checksum: None,
            conditions: WriteConditions::default(),
        }
    }

    /// The current version of an object by its full name.
    pub(crate) async fn version_name(&self, name: &str) -> VersionName {
        let object = self.object(name, VersionSelector::Current);
        self.store.tiered(&object).await.expect("it is there").name
    }

    /// Brings a version to an archived class, as the lifecycle does: the sealed bytes are read, and
    /// the transition is committed when they are kept.
    pub(crate) async fn archive(
        &self,
        name: &VersionName,
        class: StorageClass,
    ) -> Result<TransitionCommit, StoreError> {
        let cold = match self.store.begin_transition(name, class).await? {
            TransitionStep::Submit(payload) => {
                let sealed = self.store.read_sealed(payload.payload).await?;
                let sealed: Vec<Bytes> = sealed.try_collect().await?;
                let sealed = Bytes::from(sealed.concat());
                assert_eq!(sealed.len() as u64, payload.len_bytes());
                let mut cold = self.cold.lock();
                let locator = ColdLocator(format!("archive {}", cold.len()).into_bytes());
                cold.insert(locator.clone(), sealed);
                ColdCopy { class, locator }
            }
            TransitionStep::Share(cold) => cold,
            TransitionStep::Done => return Ok(TransitionCommit::Done),
            TransitionStep::Superseded => return Ok(TransitionCommit::Superseded),
        };
        self.store.commit_transition(name, cold).await
    }

    pub(crate) async fn begin_restore(
        &self,
        name: &str,
        days: u32,
        tier: RetrievalTier,
    ) -> Result<RestoreBegun, StoreError> {
        let request = RestoreRequest {
            object: self.object(name, VersionSelector::Current),
            days,
            tier,
            until_if_restored: self.days_from_now(days),
        };
        self.store.begin_restore(request, &caller()).await
    }

    pub(crate) fn days_from_now(&self, days: u32) -> Timestamp {
        self.clock.now() + std::time::Duration::from_secs(u64::from(days) * 86_400)
    }

    /// Completes every restore under way, as the lifecycle does.
    pub(crate) async fn complete_restores(&self) -> Result<Vec<RestoreChange>, StoreError> {
        let mut changes = Vec::new();
        for open in self.store.open_restores(None, 100).await? {
            let warm = if open.has_warm_copy {
                None
            } else {
                let locator = open.cold.expect("it is in the cold tier").locator;
                let sealed = self.cold.lock()[&locator].clone();
                let sealed = in_pieces(sealed, 100_000);
                let payload = open.payload.payload;
                Some(self.store.write_warm_copy(payload, sealed).await?)
            };
            let until = self.days_from_now(open.days);
            let change = self.store.complete_restore(&open.name, warm, until).await;
            changes.push(change?);
        }
        Ok(changes)
    }

    /// Expires every restored copy whose time is over.
    pub(crate) async fn expire_restores(&self) -> Result<usize, StoreError> {
        let expired = self.store.expired_restores(self.clock.now(), 100).await?;
        for copy in &expired {
            self.store.expire_restore(copy).await?;
        }
        Ok(expired.len())
    }

    pub(crate) fn list_all(&self) -> ListObjects {
        ListObjects {
            bucket: self.bucket.clone(),
            prefix: String::new(),
            delimiter: None,
            after: None,
            entries_max: 1000,
        }
    }

    pub(crate) async fn names(&self) -> Vec<String> {
        let page = self
            .store
            .list_objects(self.list_all())
            .await
            .expect("a listing");
        page.objects
            .iter()
            .map(|object| object.key.to_string())
            .collect()
    }

    pub(crate) async fn versions(&self) -> Vec<ListedVersion> {
        let request = ListVersions {
            bucket: self.bucket.clone(),
            prefix: String::new(),
            delimiter: None,
            after_key: None,
            after_version: VersionSelector::Current,
            entries_max: 1000,
        };
        let page = self.store.list_versions(request).await.expect("a listing");
        page.versions
    }

    /// That all rows and blobs fit each other.
    pub(crate) async fn assert_sound(&self) {
        self.store
            .collect_garbage()
            .await
            .expect("the blobs are well");
        let checked = strongroom_store::check(self.meta.clone(), self.blobs.clone())
            .await
            .expect("the rows can be read");
        assert_eq!(checked.findings, []);
    }

    /// That nothing is left behind once all that is visible is deleted.
    pub(crate) async fn assert_nothing_is_left_behind(&self) {
        for version in self.versions().await {
            let selector = match version.version {
                ShownVersion::Null => VersionSelector::Null,
                ShownVersion::Id(id) => VersionSelector::Id(id),
            };
            self.delete(version.key.as_str(), selector)
                .await
                .expect("the version is there");
        }
        self.assert_sound().await;
        assert_eq!(self.blobs.inner().stored_bytes(), 0);
        let checked = strongroom_store::check(self.meta.clone(), self.blobs.clone())
            .await
            .expect("the rows can be read");
        assert_eq!((checked.versions, checked.payloads), (0, 0));
    }
}

async fn start_keys(
    token: &Arc<MemoryToken>,
    meta: &Arc<FaultyMeta<MemoryStore>>,
    log: &Arc<MemoryLog>,
    clock: &Arc<SimulatedClock>,
) -> KeyService {
    let config = KeysConfig {
        region: "us-east-1".to_owned(),
        account: "000000000000".to_owned(),
        limits: KeyLimits::default(),
    };
    KeyService::start(
        config,
        token.clone(),
        meta.clone(),
        log.clone(),
        clock.clone(),
        Arc::new(SystemEntropy),
    )
    .await
    .expect("the key service starts")
}

async fn open(
    meta: &Arc<FaultyMeta<MemoryStore>>,
    blobs: &Arc<FaultyBlobs<MemoryBlobs>>,
    keys: &KeyService,
    clock: &Arc<SimulatedClock>,
) -> Store {
    Store::open(StoreSeams {
        meta: meta.clone(),
        blobs: blobs.clone(),
        keys: keys.objects.clone(),
        clock: clock.clone(),
        entropy: Arc::new(SystemEntropy),
    })
    .await
    .expect("the store opens")
}

pub(crate) fn caller() -> Caller {
    Caller {
        principal: "tester".to_owned(),
        standing: strongroom_store::Standing::Root,
        request_id: "request".to_owned(),
        operation: "s3:Test".to_owned(),
        source: None,
        store: None,
    }
}

pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name).expect("a key")
}

/// A customer's key of one byte repeated.
pub(crate) fn customer_key(byte: u8) -> CustomerKey {
    CustomerKey::from_bytes(&[byte; 32])
}

pub(crate) fn by_customer(byte: u8) -> Option<Protection> {
    Some(Protection::CustomerKey(customer_key(byte)))
}

pub(crate) fn by_kms(bucket_key: bool) -> Option<Protection> {
    Some(Protection::Kms {
        key: KeyReference::managed(),
        context: EncryptionContext::new([("project".to_owned(), "test".to_owned())])
            .expect("a context"),
        bucket_key,
    })
}

/// Bytes that differ wherever one looks.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// Bytes that come in pieces of `piece` bytes.
pub(crate) fn in_pieces(bytes: Bytes, piece: usize) -> impl BodyStream + 'static {
    let pieces: Vec<_> = bytes
        .chunks(piece)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    futures::stream::iter(pieces)
}

/// A body that comes in pieces.
pub(crate) fn body(bytes: impl Into<Bytes>) -> Body {
    let bytes = bytes.into();
    let len_bytes = bytes.len() as u64;
    Body::new(in_pieces(bytes, 7_000), len_bytes)
}
