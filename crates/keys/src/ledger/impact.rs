//! What would become unreadable without a key: the rows of the ledger under it, counted.
//!
//! The length and the storage class of a version stand in its row of the ledger, so a count reads
//! nothing but the ledger, in order, and no version. See ADR 0015.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use strongroom_meta::{MetaStore, Scan};

use super::{LEDGER, LedgerKey, NO_BUCKET_KEY, UNDER_CUSTOMER_KEY, UNDER_KMS_KEY, read_text};
use crate::arn::{KeyId, KeyVersion};
use crate::encoding::{Decoder, Encoder};
use crate::error::KeyError;
use crate::names::BucketKeyId;
use crate::objects::ObjectKeys;
use crate::rows::{self, BUCKET_KEYS_MOVED, MovedBucketKeyRow};

/// The version of the value of a row: 2 since it has length and class.
const VERSION: u8 = 2;
/// Where the bucket stands in the key of a row under a KMS key, and under a customer's key.
pub(super) const BUCKET_AT: (usize, usize) = (1 + 16 + 4 + 16, 1 + 32);

/// The storage class of an object version, as the ledger keeps it.
///
/// Source of the names: Amazon S3 API Reference, `StorageClass`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClassCode(u8);

impl ClassCode {
    /// The names, by their codes.
    pub const NAMES: [&str; 8] = [
        "STANDARD",
        "REDUCED_REDUNDANCY",
        "STANDARD_IA",
        "INTELLIGENT_TIERING",
        "ONEZONE_IA",
        "GLACIER_IR",
        "GLACIER",
        "DEEP_ARCHIVE",
    ];

    /// The class of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let at = Self::NAMES.iter().position(|known| *known == name)?;
        u8::try_from(at).ok().map(Self)
    }

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        // Nothing makes one of another code.
        Self::NAMES[usize::from(self.0)]
    }

    fn read(code: u8) -> Option<Self> {
        (usize::from(code) < Self::NAMES.len()).then_some(Self(code))
    }
}

/// What is lost with an object version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weight {
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Its storage class.
    pub class: ClassCode,
}

/// The value of a row of the ledger.
pub(super) fn encode_value(sequence: u64, weight: Weight) -> Vec<u8> {
    Encoder::new(VERSION)
        .u64(sequence)
        .u64(weight.size_bytes)
        .u8(weight.class.0)
        .finish()
}

/// The commit sequence and the weight of a version, from the value of its row.
pub(super) fn decode_value(value: &[u8]) -> Option<(u64, Weight)> {
    let mut fields = Decoder::new(value, VERSION)?;
    let sequence = fields.u64()?;
    let weight = Weight {
        size_bytes: fields.u64()?,
        class: ClassCode::read(fields.u8()?)?,
    };
    fields.finish((sequence, weight))
}

/// Versions, and their bytes together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// How many object versions.
    pub versions: u64,
    /// How many bytes of plaintext they have together.
    pub size_bytes: u64,
}

impl Tally {
    /// Adds what another one counted.
    pub fn add(&mut self, other: Self) {
        self.versions = self.versions.saturating_add(other.versions);
        self.size_bytes = self.size_bytes.saturating_add(other.size_bytes);
    }
}

/// What versions are counted together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ImpactGroup {
    /// The version of the KMS key that protects them now; `None` under a customer's key.
    pub key_version: Option<KeyVersion>,
    /// Their bucket.
    pub bucket: String,
    /// Their storage class.
    pub class: ClassCode,
}

/// A part of a count.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ImpactPage {
    /// What was counted in this part. The next part may count more of the same group.
    pub groups: BTreeMap<ImpactGroup, Tally>,
    /// What to ask the next part with; `None` on the last.
    pub next: Option<String>,
}

impl ImpactPage {
    /// All groups together.
    #[must_use]
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        for tally in self.groups.values() {
            total.add(*tally);
        }
        total
    }
}

impl ObjectKeys {
    /// The most rows of the ledger that one part of a count reads.
    pub const IMPACT_ROWS_MAX: usize = 1_000_000;

    /// Counts the object versions that would become unreadable without a key: archived ones, those
    /// in all its versions, and those through bucket keys. A `marker` is the `next` of the part
    /// before; a part reads up to `rows_max` rows.
    ///
    /// Versions that are written or deleted between two parts are counted or not.
    ///
    /// # Errors
    /// As for [`ObjectKeys::versions_of`].
    pub async fn impact(
        &self,
        key: LedgerKey,
        marker: Option<&str>,
        rows_max: usize,
    ) -> Result<ImpactPage, KeyError> {
        let prefix = self.prefix_of(key).await?;
        let start = super::start_of(&prefix, marker)?;
        let mut counter = Counter::new(&*self.meta, &prefix).await?;
        let next = counter
            .count(start, rows_max.clamp(1, Self::IMPACT_ROWS_MAX))
            .await?;
        Ok(ImpactPage {
            groups: counter.counted.groups,
            next: next.map(|start| super::marker_of(&start)),
        })
    }
}

/// Counts everything under a KMS key.
pub(crate) async fn impact_of(
    meta: &dyn MetaStore,
    key: KeyId,
) -> Result<BTreeMap<ImpactGroup, Tally>, KeyError> {
    let prefix = [&[UNDER_KMS_KEY], key.as_bytes().as_slice()].concat();
    let mut counter = Counter::new(meta, &prefix).await?;
    counter.count(prefix.clone(), usize::MAX).await?;
    Ok(counter.counted.groups)
}

/// Counts the rows of the ledger whose keys begin with `prefix`.
pub(crate) async fn count_under(meta: &dyn MetaStore, prefix: &[u8]) -> Result<u64, KeyError> {
    let mut counter = Counter::new(meta, prefix).await?;
    counter.count(prefix.to_vec(), usize::MAX).await?;
    Ok(counter
        .counted
        .groups
        .values()
        .map(|tally| tally.versions)
        .sum())
}

struct Counter<'m> {
    meta: &'m dyn MetaStore,
    prefix: Vec<u8>,
    counted: Counted,
}

#[derive(Default)]
struct Counted {
    /// The bucket keys that are not under the key version any more that they were made under.
    moved: HashMap<BucketKeyId, KeyVersion>,
    groups: BTreeMap<ImpactGroup, Tally>,
    run: Run,
    rows: usize,
    is_damaged: bool,
    /// The first row that was not counted.
    next: Option<Vec<u8>>,
}

/// Rows one after the other of which all but the class is the same: nearly all are such.
#[derive(Default)]
struct Run {
    /// What their keys begin with, up to the end of the bucket.
    head: Vec<u8>,
    key_version: Option<KeyVersion>,
    bucket: String,
    tallies: Vec<(ClassCode, Tally)>,
}

impl<'m> Counter<'m> {
    async fn new(meta: &'m dyn MetaStore, prefix: &[u8]) -> Result<Self, KeyError> {
        let mut moved = HashMap::new();
        let key = prefix.get(1..17);
        if let (Some(&UNDER_KMS_KEY), Some(key)) = (prefix.first(), key) {
            let found = rows::scan_all(meta, BUCKET_KEYS_MOVED, key).await?;
            for row in found {
                let id = super::last_id(BUCKET_KEYS_MOVED, &row.key)?;
                let row: MovedBucketKeyRow = rows::decoded(BUCKET_KEYS_MOVED, &row.row.value)?;
                moved.insert(id, row.now_under);
            }
        }
        Ok(Self {
            meta,
            prefix: prefix.to_vec(),
            counted: Counted {
                moved,
                ..Counted::default()
            },
        })
    }

    /// Counts up to `rows_max` rows from `start`, and gives where the next row is.
    async fn count(
        &mut self,
        start: Vec<u8>,
        rows_max: usize,
    ) -> Result<Option<Vec<u8>>, KeyError> {
        // The engine shows the rows to a function that owns what it writes to.
        let counted = Arc::new(Mutex::new(std::mem::take(&mut self.counted)));
        let seen = Arc::clone(&counted);
        let see = move |key: &[u8], value: &[u8]| {
            let mut counted = seen.lock();
            if counted.rows == rows_max {
                counted.next = Some(key.to_vec());
                return false;
            }
            counted.rows += 1;
            counted.is_damaged = counted.row(key, value).is_none();
            !counted.is_damaged
        };
        let scan = Scan::within(&self.prefix, start, rows_max.saturating_add(1));
        self.meta.visit(LEDGER, scan, Box::new(see)).await?;
        self.counted = std::mem::take(&mut *counted.lock());
        self.counted.settle();
        if self.counted.is_damaged {
            return Err(KeyError::Damaged {
                table: LEDGER.name(),
                what: "it is not a row of a version this program knows",
            });
        }
        Ok(self.counted.next.take())
    }
}

impl Counted {
    fn row(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let (_, weight) = decode_value(value)?;
        if self.run.head.is_empty() || !key.starts_with(&self.run.head) {
            self.settle();
            self.begin(key)?;
        }
        let tally = Tally {
            versions: 1,
            size_bytes: weight.size_bytes,
        };
        let tallies = &mut self.run.tallies;
        match tallies.iter_mut().find(|(class, _)| *class == weight.class) {
            Some((_, counted)) => counted.add(tally),
            None => tallies.push((weight.class, tally)),
        }
        Some(())
    }

    fn begin(&mut self, key: &[u8]) -> Option<()> {
        let under = *key.first()?;
        let bucket_at = match under {
            UNDER_KMS_KEY => BUCKET_AT.0,
            UNDER_CUSTOMER_KEY => BUCKET_AT.1,
            _ => return None,
        };
        let (bucket, rest) = read_text(key.get(bucket_at..)?)?;
        self.run.head = key[..key.len() - rest.len()].to_vec();
        self.run.bucket = bucket;
        self.run.key_version = None;
        if under == UNDER_KMS_KEY {
            let mut fields = Decoder::new(key, under)?;
            let _: [u8; 16] = fields.fixed()?;
            let made_under = KeyVersion(fields.u32()?);
            let bucket_key = BucketKeyId(fields.fixed()?);
            let now_under = match self.moved.get(&bucket_key) {
                Some(version) if bucket_key != NO_BUCKET_KEY => *version,
                _ => made_under,
            };
            self.run.key_version = Some(now_under);
        }
        Some(())
    }

    fn settle(&mut self) {
        for (class, tally) in std::mem::take(&mut self.run.tallies) {
            let group = ImpactGroup {
                key_version: self.run.key_version,
                bucket: self.run.bucket.clone(),
                class,
            };
            self.groups.entry(group).or_default().add(tally);
        }
        self.run.head.clear();
    }
}
