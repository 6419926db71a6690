//! What the ledger costs where there are many versions.
//!
//! `cargo bench -p strongroom-store --bench keys_at_scale -- VERSIONS` counts that many versions
//! under a key; see `docs/performance.md`.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(
    clippy::cast_precision_loss,
    reason = "the figures are printed with three digits"
)]

use std::sync::Arc;

use strongroom_audit::MemoryLog;
use strongroom_environment::{Clock as _, SystemClock, SystemEntropy};
use strongroom_keys::{
    BindingId, Caller, ClassCode, EncryptionContext, KeyLimits, KeyReference, KeyService,
    KeysConfig, LedgerKey, ObjectName, ProtectedVersion, Protection, Weight, ensure_token_keys,
};
use strongroom_meta::{Batch, MetaStore as _, RedbStore};
use strongroom_pkcs11::MemoryToken;

const CACHE_BYTES: usize = 256 * 1024 * 1024;
const VERSIONS_DEFAULT: u64 = 200_000;
const BUCKETS: u64 = 4;
/// A bucket key wraps for this many versions of the count.
const UNDER_ONE_BUCKET_KEY: u64 = 10_000;

struct Ground {
    meta: Arc<RedbStore>,
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
        let config = KeysConfig {
            region: "us-east-1".into(),
            account: "000000000000".into(),
            limits: KeyLimits::default(),
        };
        let keys = KeyService::start(
            config,
            token,
            Arc::clone(&meta) as _,
            Arc::new(MemoryLog::new()),
            Arc::clone(&clock) as _,
            Arc::new(SystemEntropy),
        );
        Self {
            keys: keys.await.expect("it starts"),
            meta,
            clock,
            caller: Caller::daemon("bench"),
            _directory: directory,
        }
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

fn main() {
    let versions = std::env::args()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(VERSIONS_DEFAULT);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be started")
        .block_on(impact(versions));
}
