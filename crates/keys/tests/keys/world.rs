//! A key service on seams in memory, with a clock that is told to move.

use std::sync::Arc;
use std::time::Duration;

use strongroom_audit::{FaultyLog, MemoryLog};
use strongroom_environment::{Clock, Monotonic, SimulatedClock, SystemEntropy, Timestamp};
use strongroom_keys::{
    BindingId, Caller, ClassCode, CustomerKey, EncryptionContext, GrantOperation, KeyDescription,
    KeyError, KeyLimits, KeyReference, KeyService, KeysConfig, NewGrant, ObjectName, Protection,
    Role, Standing, Tags, Weight, ensure_token_keys,
};
use strongroom_meta::{Batch, Faulty, MemoryStore, MetaStore, Scan, ScannedRow, Table};
use strongroom_pkcs11::{MemoryToken, Token, TokenFunction};
use strongroom_testkit::FaultyToken;
use tokio::sync::watch;

/// Wall and monotonic time that both stand still until told to move.
#[derive(Debug)]
pub(crate) struct StillClock {
    wall: SimulatedClock,
    origin: Monotonic,
    elapsed: std::sync::Mutex<Duration>,
}

impl StillClock {
    pub(crate) fn new() -> Self {
        let wall = SimulatedClock::new(Timestamp::from_seconds(1_800_000_000));
        Self {
            origin: wall.monotonic(),
            wall,
            elapsed: std::sync::Mutex::default(),
        }
    }

    /// Lets time pass, on both clocks.
    pub(crate) fn pass(&self, span: Duration) {
        self.wall.advance(span);
        *self.elapsed.lock().expect("no test panics with it") += span;
    }
}

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        self.wall.now()
    }

    fn monotonic(&self) -> Monotonic {
        self.origin + *self.elapsed.lock().expect("no test panics with it")
    }

    fn jumps(&self) -> watch::Receiver<u64> {
        self.wall.jumps()
    }
}

/// Every table of the key service.
pub(crate) const TABLES: [Table; 19] = [
    Table::new("kms_keys"),
    Table::new("kms_key_versions"),
    Table::new("kms_imports"),
    Table::new("kms_aliases"),
    Table::new("kms_key_aliases"),
    Table::new("kms_key_tags"),
    Table::new("kms_public_keys"),
    Table::new("kms_key_policies"),
    Table::new("kms_grants"),
    Table::new("kms_grants_of"),
    Table::new("kms_retirable_grants"),
    Table::new("kms_grant_counts"),
    Table::new("kms_due"),
    Table::new("bucket_keys"),
    Table::new("bucket_keys_of"),
    Table::new("bucket_keys_moved"),
    Table::new("service_keys"),
    Table::new("users"),
    Table::new("ledger"),
];

/// What a service stands on: it outlives any one service.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) token: Arc<FaultyToken>,
    pub(crate) meta: Arc<Faulty<MemoryStore>>,
    pub(crate) log: Arc<FaultyLog>,
    pub(crate) entries: Arc<MemoryLog>,
    pub(crate) clock: Arc<StillClock>,
}

impl Ground {
    /// An empty store, an empty log, and the service's own keys on `token`.
    pub(crate) async fn new(token: Arc<dyn Token>) -> Self {
        let token = FaultyToken::new(token);
        ensure_token_keys(&*token).await.expect("keys on the token");
        let entries = Arc::new(MemoryLog::new());
        Self {
            token,
            meta: Arc::new(Faulty::new(MemoryStore::new())),
            log: Arc::new(FaultyLog::new(Arc::clone(&entries) as _)),
            entries,
            clock: Arc::new(StillClock::new()),
        }
    }

    pub(crate) async fn start(&self, limits: KeyLimits) -> Result<KeyService, KeyError> {
        KeyService::start(
            config(limits),
            Arc::clone(&self.token) as _,
            Arc::clone(&self.meta) as _,
            Arc::clone(&self.log) as _,
            Arc::clone(&self.clock) as _,
            Arc::new(SystemEntropy),
        )
        .await
    }

    /// Every row of the service, whatever faults are scheduled.
    pub(crate) async fn rows(&self) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        for table in TABLES {
            for found in self.rows_of(table).await {
                rows.push((table, found.key.to_vec(), found.row.value.to_vec()));
            }
        }
        rows
    }

    pub(crate) async fn rows_of(&self, table: Table) -> Vec<ScannedRow> {
        let scan = Scan::prefix(&[], usize::MAX);
        let found = self.meta.inner().scan(table, scan).await;
        found.expect("memory can be read")
    }

    /// Writes a row past the service, or deletes it.
    pub(crate) async fn set(&self, table: Table, key: &[u8], value: Option<&[u8]>) {
        let mut batch = Batch::new();
        match value {
            Some(value) => batch.put(table, key, value),
            None => batch.delete(table, key),
        };
        self.commit(batch).await;
    }

    pub(crate) async fn commit(&self, batch: Batch) {
        let committed = self.meta.inner().commit(batch).await;
        committed.expect("memory takes it");
    }

    /// The entries of the log since the first `skipped`.
    pub(crate) fn entries_since(&self, skipped: usize) -> Vec<serde_json::Value> {
        self.entries
            .entries()
            .iter()
            .skip(skipped)
            .map(|entry| serde_json::from_slice(entry).expect("an entry is JSON"))
            .collect()
    }

    pub(crate) fn entry_count(&self) -> usize {
        self.entries.entries().len()
    }
}

/// A service that was started, and the ground under it.
pub(crate) struct World {
    pub(crate) ground: Ground,
    pub(crate) service: KeyService,
}

impl std::ops::Deref for World {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.ground
    }
}

pub(crate) fn config(limits: KeyLimits) -> KeysConfig {
    KeysConfig {
        region: "test-1".into(),
        account: "000000000000".into(),
        limits,
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_limits(KeyLimits::default()).await
    }

    pub(crate) async fn with_limits(limits: KeyLimits) -> Self {
        Self::on(Arc::new(MemoryToken::new()), limits).await
    }

    pub(crate) async fn on(token: Arc<dyn Token>, limits: KeyLimits) -> Self {
        let ground = Ground::new(token).await;
        let service = ground.start(limits).await.expect("it starts");
        Self { ground, service }
    }

    /// The same token, rows and log under another process.
    pub(crate) async fn restarted(&self) -> Result<KeyService, KeyError> {
        self.start(KeyLimits::default()).await
    }

    pub(crate) async fn kms_key(&self) -> KeyDescription {
        self.service
            .kms
            .create_key("a key for tests", &caller())
            .await
            .expect("a key")
    }

    /// How often the token sealed or opened anything.
    pub(crate) fn token_uses(&self) -> u64 {
        [
            TokenFunction::Seal,
            TokenFunction::Open,
            TokenFunction::Mac,
            TokenFunction::GenerateWrapped,
            TokenFunction::Random,
            TokenFunction::Sign,
            TokenFunction::HasKey,
            TokenFunction::Health,
        ]
        .into_iter()
        .map(|function| self.token.calls(function))
        .sum()
    }
}

pub(crate) fn caller() -> Caller {
    Caller {
        principal: "SRAKTEST".into(),
        standing: Standing::User(Role::Admin),
        request_id: "request-1".into(),
        operation: "s3:Test".into(),
        source: Some([127, 0, 0, 1].into()),
        store: None,
    }
}

/// The same caller with no more than the role of a user.
pub(crate) fn as_user() -> Caller {
    Caller {
        standing: Standing::User(Role::User),
        ..caller()
    }
}

/// The ARN of the account.
pub(crate) const ACCOUNT: &str = "arn:aws:iam::000000000000:root";

/// A policy that leaves everything to the account.
pub(crate) fn open_policy() -> String {
    policy(&[allow(ACCOUNT, "kms:*")])
}

/// A policy of these statements.
pub(crate) fn policy(statements: &[serde_json::Value]) -> String {
    serde_json::json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

/// A statement that allows a principal actions.
pub(crate) fn allow(principal: &str, actions: &str) -> serde_json::Value {
    serde_json::json!({
        "Effect": "Allow",
        "Principal": { "AWS": principal },
        "Action": actions,
        "Resource": "*",
    })
}

/// A grant for the users.
pub(crate) fn a_grant() -> NewGrant {
    NewGrant {
        grantee: "arn:aws:iam::000000000000:role/user".into(),
        retiring: Some(ACCOUNT.into()),
        operations: vec![GrantOperation::Decrypt],
        constraint: None,
        name: None,
    }
}

pub(crate) fn object(bucket: &str, key: &str) -> ObjectName {
    ObjectName {
        bucket: bucket.into(),
        key: key.into(),
        binding: BindingId::random(&SystemEntropy),
    }
}

pub(crate) fn weight(size_bytes: u64, class: &str) -> Weight {
    Weight {
        size_bytes,
        class: ClassCode::of(class).expect("a class"),
    }
}

pub(crate) fn customer_key(seed: u8) -> CustomerKey {
    CustomerKey::from_bytes(&[seed; 32])
}

pub(crate) fn by_customer_key(seed: u8) -> Protection {
    Protection::CustomerKey(customer_key(seed))
}

pub(crate) fn by_kms_key(key: &KeyDescription, bucket_key: bool) -> Protection {
    Protection::Kms {
        key: KeyReference::Id(key.id),
        context: EncryptionContext::empty(),
        bucket_key,
    }
}

pub(crate) fn tags(pairs: &[(&str, &str)]) -> Tags {
    Tags::new(
        pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into())),
    )
    .expect("sound tags")
}

pub(crate) fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    EncryptionContext::new(
        pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into())),
    )
    .expect("a sound context")
}
