//! Bucket keys: data keys that wrap the data keys of one bucket for a few minutes.
//!
//! A bucket key is drawn here, sealed under a KMS key by custody, kept opened for a bounded time
//! and number of uses, and wiped. The sealed one stays in a row for as long as objects need it.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use strongroom_environment::{Clock, Entropy, Monotonic};
use strongroom_meta::{Batch, MetaStore};
use strongroom_seal::{DataKey, KeyWrap, scrub_stack};

use crate::arn::{KeyId, KeyVersion};
use crate::caller::Caller;
use crate::context::EncryptionContext;
use crate::custody::{CustodyUse, KeyCustody, StateObserver};
use crate::envelope::BucketLock;
use crate::error::KeyError;
use crate::names::{BucketKeyId, GrantId};
use crate::rows::{
    self, BUCKET_KEYS, BUCKET_KEYS_MOVED, BUCKET_KEYS_OF, BucketKeyRow, MovedBucketKeyRow,
    RowFormat as _,
};

/// An opened bucket key. The key itself is inside the wrap, on the heap, and is wiped with it.
#[derive(Debug)]
pub(crate) struct BucketKey {
    pub(crate) id: BucketKeyId,
    pub(crate) key: KeyId,
    pub(crate) version: KeyVersion,
    bucket: Box<str>,
    pub(crate) wrap: KeyWrap,
}

/// How long opened bucket keys live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) age_max: Duration,
    pub(crate) uses_max: u64,
    pub(crate) opened_max: NonZeroUsize,
}

#[derive(Debug)]
pub(crate) struct BucketKeys {
    custody: Arc<dyn KeyCustody>,
    meta: Arc<dyn MetaStore>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    bounds: Bounds,
    opened: Mutex<Opened>,
    /// One of these is held while a bucket key is made or opened, so that many who want the same
    /// one at once cost the token one call. Which one, its hash says.
    fills: [tokio::sync::Mutex<()>; FILLS],
}

const FILLS: usize = 64;

#[derive(Debug)]
struct Opened {
    by_id: LruCache<BucketKeyId, Entry>,
    /// With which bucket key new data keys of a bucket are wrapped. Every id here is in `by_id`.
    current: HashMap<(KeyId, Box<str>), BucketKeyId>,
    /// How often custody told of a change. A key that was asked for before one and comes after it
    /// may be one that was suspended, or under a version that is no longer the newest.
    changes: u64,
}

#[derive(Debug)]
struct Entry {
    bucket_key: Arc<BucketKey>,
    since: Monotonic,
    uses: u64,
}

impl Opened {
    /// Counts a use of an opened key; `None` when there is none, or its time or uses are over.
    fn take(&mut self, id: BucketKeyId, bounds: &Bounds, now: Monotonic) -> Option<Arc<BucketKey>> {
        let entry = self.by_id.get_mut(&id)?;
        if entry.uses < bounds.uses_max && now.since(entry.since) < bounds.age_max {
            entry.uses += 1;
            return Some(Arc::clone(&entry.bucket_key));
        }
        self.drop_key(id);
        None
    }

    fn take_current(
        &mut self,
        key: KeyId,
        bucket: &str,
        bounds: &Bounds,
        now: Monotonic,
    ) -> Option<Arc<BucketKey>> {
        let id = *self.current.get(&(key, Box::from(bucket)))?;
        self.take(id, bounds, now)
    }

    fn insert(&mut self, bucket_key: Arc<BucketKey>, since: Monotonic) {
        let entry = Entry {
            bucket_key,
            since,
            uses: 1,
        };
        if let Some((_, evicted)) = self.by_id.push(entry.bucket_key.id, entry) {
            self.forget_current(&evicted.bucket_key);
        }
    }

    fn drop_key(&mut self, id: BucketKeyId) {
        if let Some(entry) = self.by_id.pop(&id) {
            self.forget_current(&entry.bucket_key);
        }
    }

    fn forget_current(&mut self, bucket_key: &BucketKey) {
        let place = (bucket_key.key, bucket_key.bucket.clone());
        if self.current.get(&place) == Some(&bucket_key.id) {
            self.current.remove(&place);
        }
    }

    fn drop_where(&mut self, mut is_over: impl FnMut(&Entry) -> bool) {
        let over: Vec<_> = self
            .by_id
            .iter()
            .filter(|(_, entry)| is_over(entry))
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.drop_key(id);
        }
    }
}

impl BucketKeys {
    pub(crate) fn new(
        custody: Arc<dyn KeyCustody>,
        meta: Arc<dyn MetaStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        bounds: Bounds,
    ) -> Arc<Self> {
        let bucket_keys = Arc::new(Self {
            opened: Mutex::new(Opened {
                by_id: LruCache::new(bounds.opened_max),
                current: HashMap::new(),
                changes: 0,
            }),
            custody,
            meta,
            clock,
            entropy,
            bounds,
            fills: [const { tokio::sync::Mutex::const_new(()) }; FILLS],
        });
        let observer: std::sync::Weak<dyn StateObserver> =
            Arc::downgrade(&(Arc::clone(&bucket_keys) as Arc<dyn StateObserver>));
        bucket_keys.custody.watch(observer);
        bucket_keys
    }

    /// Whether the caller may use a KMS key by way of the bucket keys of `bucket`, which are asked
    /// for in its name alone; and by which grant, if by one.
    pub(crate) async fn authorize(
        &self,
        key: KeyId,
        custody_use: CustodyUse,
        bucket: &str,
        caller: &Caller,
    ) -> Result<Option<GrantId>, KeyError> {
        let context = bucket_context(bucket);
        self.custody
            .authorize(key, custody_use, &context, caller)
            .await
    }

    /// The bucket key with which to wrap a new data key of `bucket`.
    pub(crate) async fn for_writing(
        &self,
        key: KeyId,
        bucket: &str,
        caller: &Caller,
    ) -> Result<Arc<BucketKey>, KeyError> {
        let cached = || {
            self.custody.heard().ok()?;
            let now = self.clock.monotonic();
            self.opened
                .lock()
                .take_current(key, bucket, &self.bounds, now)
        };
        if let Some(bucket_key) = cached() {
            return Ok(bucket_key);
        }
        let _filling = self.fill_of(&(key, bucket)).lock().await;
        loop {
            if let Some(bucket_key) = cached() {
                return Ok(bucket_key);
            }
            let changes = self.opened.lock().changes;
            let since = self.clock.monotonic();
            let bucket_key = self.make(key, bucket, caller).await?;
            let mut opened = self.opened.lock();
            if opened.changes == changes {
                opened.insert(Arc::clone(&bucket_key), since);
                opened.current.insert((key, bucket.into()), bucket_key.id);
                opened.tell_size();
                return Ok(bucket_key);
            }
            // A key was changed while this one was made. Custody knows whether it was this.
        }
    }

    /// The bucket key that opens what is wrapped under `lock`.
    pub(crate) async fn for_reading(
        &self,
        lock: &BucketLock,
        bucket: &str,
        caller: &Caller,
    ) -> Result<Arc<BucketKey>, KeyError> {
        let id = lock.bucket_key;
        let cached = || {
            self.custody.heard().ok()?;
            let now = self.clock.monotonic();
            self.opened.lock().take(id, &self.bounds, now)
        };
        if let Some(bucket_key) = cached() {
            return Ok(bucket_key);
        }
        let _filling = self.fill_of(&id).lock().await;
        loop {
            if let Some(bucket_key) = cached() {
                return Ok(bucket_key);
            }
            let changes = self.opened.lock().changes;
            let since = self.clock.monotonic();
            let bucket_key = self.open(lock, bucket, caller).await?;
            let mut opened = self.opened.lock();
            if opened.changes == changes {
                opened.insert(Arc::clone(&bucket_key), since);
                opened.tell_size();
                return Ok(bucket_key);
            }
            // As in `for_writing`.
        }
    }

    /// Wipes the keys whose time is over, also when nobody asks for them any more.
    pub(crate) fn expire(&self) {
        let now = self.clock.monotonic();
        let mut opened = self.opened.lock();
        opened.drop_where(|entry| now.since(entry.since) >= self.bounds.age_max);
        opened.tell_size();
    }

    /// Draws a bucket key and keeps it sealed in its row, before anything is wrapped with it.
    async fn make(
        &self,
        key: KeyId,
        bucket: &str,
        caller: &Caller,
    ) -> Result<Arc<BucketKey>, KeyError> {
        let id = BucketKeyId::random(&*self.entropy);
        let data_key = DataKey::generate(&*self.entropy);
        let sealed = self
            .custody
            .seal(key, &bound_context(id, bucket), &data_key, caller)
            .await?;
        let version = sealed.blob.version();
        let row = BucketKeyRow {
            created: self.clock.now(),
            bucket: bucket.to_owned(),
            blob: sealed.blob,
        };
        let mut batch = Batch::new();
        rows::create(&mut batch, BUCKET_KEYS, id.as_bytes(), &row);
        batch.put(BUCKET_KEYS_OF, index_key(key, version, id), []);
        self.meta.commit(batch).await?;
        metrics::counter!("strongroom_bucket_keys_made_total").increment(1);
        Ok(Arc::new(BucketKey {
            id,
            key,
            version,
            bucket: bucket.into(),
            wrap: wrap_under(&data_key),
        }))
    }

    /// Opens the bucket key of a row through custody.
    async fn open(
        &self,
        lock: &BucketLock,
        bucket: &str,
        caller: &Caller,
    ) -> Result<Arc<BucketKey>, KeyError> {
        let id = lock.bucket_key;
        let row = rows::read::<BucketKeyRow>(&*self.meta, BUCKET_KEYS, id.as_bytes())
            .await?
            .ok_or(KeyError::Damaged {
                table: BUCKET_KEYS.name(),
                what: "the bucket key that an envelope names is not there",
            })?
            .row;
        // It may have been sealed anew since the envelope was made, under a newer version.
        let is_meant = row.bucket == bucket
            && row.blob.key() == lock.key
            && row.blob.version() >= lock.version;
        if !is_meant {
            return Err(KeyError::NotAuthentic);
        }
        let data_key = self
            .custody
            .open(&row.blob, &bound_context(id, bucket), caller)
            .await?;
        metrics::counter!("strongroom_bucket_keys_opened_total").increment(1);
        Ok(Arc::new(BucketKey {
            id,
            key: lock.key,
            version: lock.version,
            bucket: bucket.into(),
            wrap: wrap_under(&data_key),
        }))
    }

    /// Seals a bucket key under the version of its KMS key that encrypts now; `false` when it is
    /// under that version already.
    ///
    /// The rows that say where it is are written in one batch. What is opened stays as it is: the
    /// key itself is the same.
    pub(crate) async fn reseal(&self, id: BucketKeyId, caller: &Caller) -> Result<bool, KeyError> {
        let read = rows::read::<BucketKeyRow>(&*self.meta, BUCKET_KEYS, id.as_bytes())
            .await?
            .ok_or(KeyError::NoSuchBucketKey { id })?;
        let (row, key) = (&read.row, read.row.blob.key());
        let before = row.blob.version();
        let context = bound_context(id, &row.bucket);
        let data_key = self.custody.open(&row.blob, &context, caller).await?;
        let sealed = self.custody.seal(key, &context, &data_key, caller).await?;
        let now_under = sealed.blob.version();
        if now_under == before {
            return Ok(false);
        }
        let place = rows::moved_key(key, id);
        let moved: Option<rows::Read<MovedBucketKeyRow>> =
            rows::read(&*self.meta, BUCKET_KEYS_MOVED, &place).await?;
        let moved = MovedBucketKeyRow {
            made_under: moved.map_or(before, |moved| moved.row.made_under),
            now_under,
        };
        let row = BucketKeyRow {
            blob: sealed.blob,
            ..row.clone()
        };
        let mut batch = Batch::new();
        read.replace(&mut batch, BUCKET_KEYS, id.as_bytes(), &row);
        batch.delete(BUCKET_KEYS_OF, index_key(key, before, id));
        batch.put(BUCKET_KEYS_OF, index_key(key, now_under, id), []);
        batch.put(BUCKET_KEYS_MOVED, place, moved.encode());
        self.meta.commit(batch).await?;
        metrics::counter!("strongroom_bucket_keys_resealed_total").increment(1);
        Ok(true)
    }

    fn fill_of(&self, what: &impl Hash) -> &tokio::sync::Mutex<()> {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        let hash = usize::try_from(hasher.finish() % FILLS as u64).expect("it is less than 64");
        &self.fills[hash]
    }
}

impl Opened {
    fn tell_size(&self) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "there are some thousands at most"
        )]
        metrics::gauge!("strongroom_bucket_keys_opened").set(self.by_id.len() as f64);
    }
}

impl StateObserver for BucketKeys {
    fn suspended(&self, key: KeyId) {
        let mut opened = self.opened.lock();
        opened.changes += 1;
        opened.drop_where(|entry| entry.bucket_key.key == key);
        opened.tell_size();
    }

    fn rotated(&self, key: KeyId) {
        let mut opened = self.opened.lock();
        opened.changes += 1;
        opened.current.retain(|(of, _), _| *of != key);
    }

    fn unheard(&self) {
        let mut opened = self.opened.lock();
        opened.changes += 1;
        opened.drop_where(|_| true);
        opened.tell_size();
    }
}

fn wrap_under(data_key: &DataKey) -> KeyWrap {
    let wrap = KeyWrap::new(data_key.expose());
    scrub_stack();
    wrap
}

/// What a sealed bucket key is bound to.
fn bound_context(id: BucketKeyId, bucket: &str) -> EncryptionContext {
    bucket_context(bucket).with("strongroom:bucket-key", id.to_string())
}

fn bucket_context(bucket: &str) -> EncryptionContext {
    EncryptionContext::empty().with("aws:s3:arn", format!("arn:aws:s3:::{bucket}"))
}

/// The key of a row in [`BUCKET_KEYS_OF`].
pub(crate) fn index_key(key: KeyId, version: KeyVersion, id: BucketKeyId) -> Vec<u8> {
    [
        key.as_bytes().as_slice(),
        &version.0.to_be_bytes(),
        id.as_bytes(),
    ]
    .concat()
}
