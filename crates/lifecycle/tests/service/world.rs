//! A lifecycle on a store on engines in memory that fail when told to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use strongroom_audit::MemoryLog;
use strongroom_blobs::{Faulty as FaultyBlobs, MemoryBlobs};
use strongroom_environment::{Clock, SimulatedClock, SystemEntropy, Timestamp};
use strongroom_keys::{
    CustomerKey, KeyLimits, KeyService, KeysConfig, Protection, ensure_token_keys,
};
use strongroom_lifecycle::cold::{ArchiveId, FaultyTier, MemoryTier, TierSettings};
use strongroom_lifecycle::rules::RequestedConfiguration;
use strongroom_lifecycle::{
    Lifecycle, LifecycleError, LifecycleSeams, LifecycleSettings, RestoreOutcome, RetrievalTier,
    RunReport, StorageClass,
};
use strongroom_meta::{Faulty as FaultyMeta, MemoryStore};
use strongroom_pkcs11::MemoryToken;
use strongroom_store::{
    Body, BodyChecks, BucketName, Caller, CopyRequest, CopySource, CreateBucket, DeleteRequest,
    MetadataDirective, ObjectKey, ObjectMetadata, ObjectRef, PutRequest, ReadConditions,
    ReadRequest, Span, Store, StoreError, StoreSeams, TieredVersion, VersionName, VersionSelector,
    WriteConditions,
};

/// 2026-01-01T12:00:00Z.
const START: Timestamp = Timestamp::from_seconds(1_767_268_800);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) struct World {
    pub(crate) meta: Arc<FaultyMeta<MemoryStore>>,
    pub(crate) blobs: Arc<FaultyBlobs<MemoryBlobs>>,
    pub(crate) memory_tier: Arc<MemoryTier>,
    pub(crate) tier: Arc<FaultyTier>,
    pub(crate) clock: Arc<SimulatedClock>,
    log: Arc<MemoryLog>,
    token: Arc<MemoryToken>,
    pub(crate) store: Store,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) settings: LifecycleSettings,
    pub(crate) bucket: BucketName,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(TierSettings::default(), Duration::ZERO).await
    }

    /// A tier of these settings, which says after `settling` only that an archive is durable.
    pub(crate) async fn with(settings: TierSettings, settling: Duration) -> Self {
        let clock = Arc::new(SimulatedClock::new(START));
        let meta = Arc::new(FaultyMeta::new(MemoryStore::new()));
        let blobs = Arc::new(FaultyBlobs::new(MemoryBlobs::new()));
        let log = Arc::new(MemoryLog::new());
        let token = Arc::new(MemoryToken::new());
        ensure_token_keys(&*token).await.expect("a new token");
        let memory_tier = MemoryTier::with_settling(settings, clock.clone(), settling);
        let memory_tier = Arc::new(memory_tier);
        let tier = Arc::new(FaultyTier::new(memory_tier.clone()));
        let keys = keys(&token, &meta, &log, &clock).await;
        let store = store(&meta, &blobs, &keys, &clock).await;
        let settings = LifecycleSettings::default();
        let lifecycle = lifecycle(&store, &meta, &tier, &clock, &settings);
        let world = Self {
            meta,
            blobs,
            memory_tier,
            tier,
            clock,
            log,
            token,
            store,
            lifecycle,
            settings,
            bucket: BucketName::new("bucket").expect("a name"),
        };
        world.create_bucket("bucket").await;
        world
    }

    /// What a restart of the daemon does: memory is gone, and the engines are as they were.
    pub(crate) async fn restart(&mut self) {
        self.meta.reopen();
        let keys = keys(&self.token, &self.meta, &self.log, &self.clock).await;
        self.store = store(&self.meta, &self.blobs, &keys, &self.clock).await;
        self.lifecycle = lifecycle(
            &self.store,
            &self.meta,
            &self.tier,
            &self.clock,
            &self.settings,
        );
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

    pub(crate) async fn keep_versions(&self) {
        self.store
            .set_versioning(&self.bucket, true, &caller())
            .await
            .expect("the bucket is there");
    }

    pub(crate) async fn put(&self, name: &str, class: StorageClass, bytes: &[u8]) -> VersionName {
        let request = PutRequest {
            bucket: self.bucket.clone(),
            key: key(name),
            body: Body::from(Bytes::copy_from_slice(bytes)),
            checks: BodyChecks::default(),
            metadata: ObjectMetadata::default(),
            class,
            protection: Some(Protection::CustomerKey(customer_key())),
            conditions: WriteConditions::default(),
        };
        self.store.put(request, &caller()).await.expect("a PUT");
        self.tiered(name).await.name
    }

    /// A copy within the bucket and a class, which shares the payload.
    pub(crate) async fn copy(&self, from: &str, to: &str, class: StorageClass) -> VersionName {
        let request = CopyRequest {
            source: CopySource {
                object: self.object(from),
                conditions: ReadConditions::default(),
                customer_key: Some(customer_key()),
            },
            bucket: self.bucket.clone(),
            key: key(to),
            metadata: MetadataDirective::Copy,
            class,
            class_named: true,
            protection: Some(Protection::CustomerKey(customer_key())),
            checksum: None,
            conditions: WriteConditions::default(),
        };
        self.store.copy(request, &caller()).await.expect("a copy");
        self.tiered(to).await.name
    }

    pub(crate) fn object(&self, name: &str) -> ObjectRef {
        ObjectRef {
            bucket: self.bucket.clone(),
            key: key(name),
            version: VersionSelector::Current,
        }
    }

    pub(crate) async fn try_tiered(&self, name: &str) -> Result<TieredVersion, StoreError> {
        self.store.tiered(&self.object(name)).await
    }

    pub(crate) async fn tiered(&self, name: &str) -> TieredVersion {
        self.try_tiered(name).await.expect("it is there")
    }

    pub(crate) async fn class(&self, name: &str) -> StorageClass {
        self.tiered(name).await.class
    }

    pub(crate) async fn is_there(&self, name: &str) -> bool {
        self.try_tiered(name).await.is_ok()
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let request = ReadRequest {
            object: self.object(name),
            span: Span::Whole,
            conditions: ReadConditions::default(),
            customer_key: Some(customer_key()),
        };
        let answer = self.store.get(request, &caller()).await?;
        let pieces: Vec<Bytes> = answer.body.try_collect().await?;
        Ok(pieces.concat())
    }

    pub(crate) async fn delete(&self, name: &str) {
        let request = DeleteRequest {
            object: self.object(name),
            if_match: None,
        };
        self.store
            .delete(request, &caller())
            .await
            .expect("a deletion");
    }

    pub(crate) async fn put_rules(&self, json: &str) {
        self.lifecycle
            .put_rules(&self.bucket, configuration(json), &caller())
            .await
            .expect("good rules");
    }

    pub(crate) async fn restore(
        &self,
        name: &str,
        days: i64,
        tier: RetrievalTier,
    ) -> Result<RestoreOutcome, LifecycleError> {
        self.lifecycle
            .restore(&self.object(name), days, tier, &caller())
            .await
    }

    pub(crate) async fn archive_now(
        &self,
        name: &str,
        class: StorageClass,
    ) -> Result<VersionName, LifecycleError> {
        self.lifecycle
            .archive_now(&self.object(name), class, &caller())
            .await
    }

    /// A run that goes well.
    pub(crate) async fn run(&self) -> RunReport {
        let report = self.lifecycle.run_once().await.expect("a run");
        assert_eq!(report.failures, Vec::<String>::new());
        report
    }

    pub(crate) async fn pass(&self, time: Duration) -> RunReport {
        self.clock.advance(time);
        self.run().await
    }

    pub(crate) fn archives(&self) -> Vec<ArchiveId> {
        self.memory_tier.archives()
    }

    pub(crate) fn stored_bytes(&self) -> u64 {
        self.blobs.inner().stored_bytes()
    }

    pub(crate) async fn job_count(&self) -> usize {
        self.lifecycle.jobs(None, 100).await.expect("rows").len()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// That all rows and blobs fit each other, and that no archive is kept that none refers to.
    pub(crate) async fn assert_sound(&self) {
        self.store
            .collect_garbage()
            .await
            .expect("the blobs are well");
        let checked = strongroom_store::check(self.meta.clone(), self.blobs.clone())
            .await
            .expect("the rows can be read");
        assert_eq!(checked.findings, []);
        let garbage = self.store.cold_garbage(None, 10).await.expect("rows");
        assert_eq!(garbage, []);
    }
}

async fn keys(
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

async fn store(
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

fn lifecycle(
    store: &Store,
    meta: &Arc<FaultyMeta<MemoryStore>>,
    tier: &Arc<FaultyTier>,
    clock: &Arc<SimulatedClock>,
    settings: &LifecycleSettings,
) -> Lifecycle {
    let seams = LifecycleSeams {
        store: store.clone(),
        meta: meta.clone(),
        tier: tier.clone(),
        clock: clock.clone(),
        entropy: Arc::new(SystemEntropy),
    };
    Lifecycle::new(seams, settings.clone())
}

pub(crate) fn configuration(json: &str) -> RequestedConfiguration {
    serde_json::from_str(json).expect("rules in the form of the AWS CLI")
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

/// The key that all objects here are under, and that the lifecycle never sees.
fn customer_key() -> CustomerKey {
    CustomerKey::from_bytes(&[7; 32])
}

/// Enough bytes for a transition by default rules, different wherever one looks.
pub(crate) fn bytes() -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    (0..200_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}
