//! What the ledger and a re-wrap cost where there are many versions.
//!
//! `cargo bench -p strongroom-store --bench keys_at_scale -- VERSIONS REWRAPPED KEYS` counts so many
//! versions under a key, re-wraps so many, and starts beside so many KMS keys; see
//! `docs/performance.md`.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(
    clippy::cast_precision_loss,
    reason = "the figures are printed with three digits"
)]

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use strongroom_audit::MemoryLog;
use strongroom_blobs::MemoryBlobs;
use strongroom_environment::{Clock as _, SystemClock, SystemEntropy};
use strongroom_keys::{
    BindingId, Caller, ClassCode, EncryptionContext, KeyLimits, KeyReference, KeyService,
    KeysConfig, LedgerKey, ObjectName, ProtectedVersion, Protection, Weight, ensure_token_keys,
};
use strongroom_meta::{Batch, MetaStore as _, RedbStore, Scan, Table};
use strongroom_pkcs11::MemoryToken;
use strongroom_store::{
    Body, BodyChecks, BucketName, CreateBucket, ObjectKey, ObjectMetadata, PutRequest,
    StorageClass, Store, StoreSeams, WriteConditions,
};

const CACHE_BYTES: usize = 256 * 1024 * 1024;
const VERSIONS_DEFAULT: u64 = 200_000;
const KEYS_DEFAULT: u64 = 100_000;
const VERSIONS_OF_A_KEY: u32 = 10;
const BUCKETS: u64 = 4;
/// A bucket key wraps for this many versions of the count.
const UNDER_ONE_BUCKET_KEY: u64 = 10_000;

struct Ground {
    meta: Arc<RedbStore>,
    token: Arc<MemoryToken>,
    keys: KeyService,
    clock: Arc<SystemClock>,
    caller: Caller,
    _directory: tempfile::TempDir,
}

impl Ground {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path().join("metadata");
        let meta = RedbStore::open(&path, CACHE_BYTES).expect("a new store opens");
        let meta = Arc::new(meta);
        let clock = Arc::new(SystemClock::new());
        let token = Arc::new(MemoryToken::new());
        ensure_token_keys(&*token).await.expect("a new token");
        Self {
            keys: start(&token, &meta, &clock).await,
            token,
            meta,
            clock,
            caller: Caller::daemon("bench"),
            _directory: directory,
        }
    }
}

async fn start(
    token: &Arc<MemoryToken>,
    meta: &Arc<RedbStore>,
    clock: &Arc<SystemClock>,
) -> KeyService {
    let config = KeysConfig {
        region: "us-east-1".into(),
        account: "000000000000".into(),
        limits: KeyLimits::default(),
    };
    let keys = KeyService::start(
        config,
        Arc::clone(token) as _,
        Arc::clone(meta) as _,
        Arc::new(MemoryLog::new()),
        Arc::clone(clock) as _,
        Arc::new(SystemEntropy),
    );
    keys.await.expect("it starts")
}

/// Starts the key service and decrypts under some keys, first alone and then beside the rows of
/// `keys` others with ten versions each.
async fn crowd(keys: u64) {
    const KEYS: Table = Table::new("kms_keys");
    const KEY_VERSIONS: Table = Table::new("kms_key_versions");
    const USED: usize = 200;
    let ground = Ground::new().await;
    let (kms, context) = (&ground.keys.kms, EncryptionContext::empty());
    let mut blobs = Vec::with_capacity(USED);
    let mut like = None;
    for _ in 0..USED {
        let key = kms.create_key("", &ground.caller).await.expect("a key");
        let reference = KeyReference::Id(key.id);
        for _ in 1..VERSIONS_OF_A_KEY {
            let rotated = kms.rotate_key(&reference, &ground.caller).await;
            rotated.expect("rotated");
        }
        let made = kms
            .generate_data_key(&reference, &context, 32, &ground.caller)
            .await
            .expect("a data key");
        blobs.push(made.blob.to_bytes());
        like = Some(key.id);
    }
    let measure = async |beside: u64| {
        let begun = ground.clock.monotonic();
        let service = start(&ground.token, &ground.meta, &ground.clock).await;
        let started = ground.clock.monotonic().since(begun);
        let begun = ground.clock.monotonic();
        for blob in &blobs {
            let opened = service.kms.decrypt(blob, &context, None, &ground.caller);
            opened.await.expect("it opens");
        }
        let used = ground.clock.monotonic().since(begun);
        println!(
            "beside {beside} keys of {VERSIONS_OF_A_KEY} versions: start in {:.2} ms, the first \
             decryption under each of {USED} keys in {:.1} µs",
            started.as_secs_f64() * 1e3,
            used.as_secs_f64() * 1e6 / USED as f64
        );
    };
    measure(0).await;
    let like = like.expect("a key");
    let rows = async |table, limit| {
        let scan = Scan::prefix(like.as_bytes(), limit);
        ground.meta.scan(table, scan).await.expect("rows")
    };
    let (key, versions) = (rows(KEYS, 1).await, rows(KEY_VERSIONS, 100).await);
    let mut batch = Batch::new();
    for number in 1..=keys {
        let id = BindingId::random(&SystemEntropy).0;
        batch.put(KEYS, id, &*key[0].row.value);
        for version in &versions {
            let place = [&id, &version.key[16..]].concat();
            batch.put(KEY_VERSIONS, place, &*version.row.value);
        }
        if number == keys || batch.writes.len() > 15_000 {
            let full = std::mem::take(&mut batch);
            ground.meta.commit(full).await.expect("it commits");
        }
    }
    for _ in 0..3 {
        measure(keys).await;
    }
}

/// Counts `versions` versions of four buckets, every tenth of them archived.
async fn impact(versions: u64) {
    let ground = Ground::new().await;
    let (kms, objects) = (&ground.keys.kms, &ground.keys.objects);
    let key = kms.create_key("", &ground.caller).await.expect("a key");
    let protection = Protection::Kms {
        key: KeyReference::Id(key.id),
        context: EncryptionContext::empty(),
        bucket_key: true,
    };
    let named = |number: u64| ObjectName {
        bucket: format!("bucket-{}", number % BUCKETS),
        key: format!("studies/2026/{number:012}/series.dcm"),
        binding: BindingId::random(&SystemEntropy),
    };
    let classes = ["STANDARD", "GLACIER"].map(|name| ClassCode::of(name).expect("a class"));
    let mut envelope = None;
    let mut batch = Batch::new();
    for number in 0..versions {
        let object = named(number);
        if number % UNDER_ONE_BUCKET_KEY == 0 {
            let created = objects.create(&protection, &object, &ground.caller).await;
            envelope = created.ok().map(|(_, envelope)| envelope);
        }
        let envelope = envelope.as_ref().expect("a data key");
        let version = ProtectedVersion {
            object,
            sequence: number,
        };
        let weight = Weight {
            size_bytes: 1_000,
            class: classes[usize::from(number % 10 == 0)],
        };
        objects.record(&mut batch, envelope, &version, weight);
        if batch.writes.len() == Batch::WRITES_MAX || number + 1 == versions {
            let full = std::mem::take(&mut batch);
            ground.meta.commit(full).await.expect("it commits");
        }
    }
    for round in 1..=3 {
        let begun = ground.clock.monotonic();
        let (mut counted, mut marker) = (0, None::<String>);
        loop {
            let part = objects
                .impact(LedgerKey::KmsKey(key.id), marker.as_deref(), usize::MAX)
                .await
                .expect("a part");
            counted += part.total().versions;
            marker = part.next;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(counted, versions);
        let seconds = ground.clock.monotonic().since(begun).as_secs_f64();
        println!(
            "impact, round {round}: {versions} versions in {seconds:.2} s, {:.2} million per second",
            versions as f64 / seconds / 1e6
        );
    }
}

/// Re-wraps `versions` versions, and then has the engine write the same rows in the same order and
/// batches, with nothing read and nothing wrapped.
async fn rewrap(versions: u64) {
    let ground = Ground::new().await;
    let kms = &ground.keys.kms;
    let store = Store::open(StoreSeams {
        meta: Arc::clone(&ground.meta) as _,
        blobs: Arc::new(MemoryBlobs::new()),
        keys: Arc::clone(&ground.keys.objects),
        clock: Arc::clone(&ground.clock) as _,
        entropy: Arc::new(SystemEntropy),
    });
    let store = store.await.expect("it opens");
    let bucket = BucketName::new("studies").expect("a name");
    let new = CreateBucket {
        bucket: bucket.clone(),
        owner: "owner".to_owned(),
        region: "us-east-1".to_owned(),
        customer_keys_blocked: false,
    };
    let made = store.create_bucket(new, &ground.caller).await;
    made.expect("a bucket");
    let key = kms.create_key("", &ground.caller).await.expect("a key");
    let mut putting = futures::stream::iter(0..versions)
        .map(|number| {
            let request = PutRequest {
                bucket: bucket.clone(),
                key: ObjectKey::new(format!("2026/{number:012}/series.dcm")).expect("a key"),
                body: Body::new(
                    futures::stream::iter([Ok(Bytes::from_static(&[7; 64]))]),
                    64,
                ),
                checks: BodyChecks::default(),
                metadata: ObjectMetadata::default(),
                class: StorageClass::Standard,
                protection: Some(Protection::Kms {
                    key: KeyReference::Id(key.id),
                    context: EncryptionContext::empty(),
                    bucket_key: true,
                }),
                conditions: WriteConditions::default(),
            };
            store.put(request, &ground.caller)
        })
        .buffer_unordered(512);
    while let Some(put) = putting.next().await {
        put.expect("a PUT");
    }

    let reference = KeyReference::Id(key.id);
    let marked = kms.compromise_version(&reference, None, "", &ground.caller);
    marked.await.expect("marked");
    let begun = ground.clock.monotonic();
    let ran = store.run_rewraps(&ground.caller, &|| false).await;
    ran.expect("it ran");
    let seconds = ground.clock.monotonic().since(begun).as_secs_f64();
    let jobs = kms.rewraps(&reference).await.expect("a job");
    assert_eq!(
        (jobs[0].progress.versions, jobs[0].progress.left),
        (versions, 0)
    );
    let rewrapped = versions as f64 / seconds;

    let engine = engine_alone(&ground, versions).await;
    println!(
        "rewrap: {versions} versions in {seconds:.2} s, {rewrapped:.0} per second; the engine alone \
         writes the rows of {engine:.0}: {:.2} of it",
        rewrapped / engine
    );
}

/// For how many versions the engine writes the rows of a re-wrap in a second: each version's row
/// again, a row of the ledger more and one less.
async fn engine_alone(ground: &Ground, versions: u64) -> f64 {
    const OBJECTS: Table = Table::new("bench_objects");
    const LEDGER: Table = Table::new("bench_ledger");
    const VERSIONS_AT_ONCE: usize = 2_000;
    let meta = &ground.meta;
    let rows = async |table| {
        let scan = Scan::prefix(b"", usize::MAX);
        let rows = meta.scan(table, scan).await.expect("rows");
        assert_eq!(rows.len() as u64, versions);
        rows
    };
    let objects = rows(Table::new("objects")).await;
    let ledger = rows(Table::new("ledger")).await;
    let pairs: Vec<_> = objects.iter().zip(&ledger).collect();
    for some in pairs.chunks(VERSIONS_AT_ONCE) {
        let mut batch = Batch::new();
        for (object, entry) in some {
            batch.put(OBJECTS, &*object.key, &*object.row.value);
            batch.put(LEDGER, &*entry.key, &*entry.row.value);
        }
        meta.commit(batch).await.expect("it commits");
    }
    let batches: Vec<Batch> = pairs
        .chunks(VERSIONS_AT_ONCE)
        .map(|some| {
            let mut batch = Batch::new();
            for (object, entry) in some {
                let mut moved = entry.key.to_vec();
                // The last byte of the version of the KMS key.
                moved[20] += 1;
                batch.put(OBJECTS, &*object.key, &*object.row.value);
                batch.delete(LEDGER, &*entry.key);
                batch.put(LEDGER, moved, &*entry.row.value);
            }
            batch
        })
        .collect();
    let begun = ground.clock.monotonic();
    for batch in batches {
        meta.commit(batch).await.expect("it commits");
    }
    versions as f64 / ground.clock.monotonic().since(begun).as_secs_f64()
}

fn main() {
    let mut counts = std::env::args().filter_map(|argument| argument.parse().ok());
    let versions = counts.next().unwrap_or(VERSIONS_DEFAULT);
    let rewrapped = counts.next().unwrap_or(VERSIONS_DEFAULT);
    let keys = counts.next().unwrap_or(KEYS_DEFAULT);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be started")
        .block_on(async {
            if versions > 0 {
                impact(versions).await;
            }
            if rewrapped > 0 {
                rewrap(rewrapped).await;
            }
            if keys > 0 {
                crowd(keys).await;
            }
        });
}
