//! Whether the rows and the blobs fit each other (`strongroom fsck`). No key is needed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;
use serde::de::DeserializeOwned;
use strongroom_blobs::{BlobError, BlobRef, BlobStore};
use strongroom_meta::{MetaStore, Scan, ScannedRow, Table};
use strongroom_seal::layout::sealed_len_bytes;

use crate::change::protected;
use crate::payload::plain_len_bytes;
use crate::rows::{
    BucketRow, ColdGarbageRow, Content, GarbageBlobs, GarbageRow, ObjectRow, Part, Parts,
    PayloadRow, PendingRow, SegmentRow, UploadRow, UploadedPartRow, VersionRow, decode, keys,
};
use crate::{
    BucketName, ObjectKey, ObjectRef, PayloadId, RestoreState, Store, StoreError, VersionName,
};

/// How many rows are read at a time.
const ROWS_AT_ONCE: usize = 1000;

/// Something that does not fit.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Finding {
    /// A row cannot be read.
    UnreadableRow {
        /// In which table.
        table: &'static str,
        /// What was found.
        what: String,
    },
    /// A row of an object stands in a bucket that is not there.
    NoSuchBucket {
        /// Which bucket.
        bucket: String,
    },
    /// A version refers to a payload that is not there, or to a copy of it that is not there.
    LostPayload {
        /// Which version.
        name: VersionName,
        /// Its payload.
        payload: PayloadId,
    },
    /// A payload counts other holds than there are versions that hold it.
    WrongHolds {
        /// Which payload.
        payload: PayloadId,
        /// Warm holds: counted, and found.
        warm: (u32, u32),
        /// Cold holds: counted, and found.
        cold: (u32, u32),
    },
    /// A version and its payload disagree about its parts or their length.
    PartsDisagree {
        /// Which payload.
        payload: PayloadId,
        /// In what.
        what: &'static str,
    },
    /// A blob is not there, or shorter than its part.
    LostBlob {
        /// Of which payload.
        payload: PayloadId,
        /// What the engine said.
        what: String,
    },
    /// A version is missing in an index, or in the ledger of its key.
    NotIndexed {
        /// Which version.
        name: VersionName,
        /// In which table.
        table: &'static str,
    },
    /// A row of an index or of the ledger stands for a version that is not there.
    StaleIndex {
        /// In which table.
        table: &'static str,
        /// What it stands for.
        what: String,
    },
    /// The version that an object takes for its `null` version is not one.
    WrongNull {
        /// In which bucket.
        bucket: BucketName,
        /// Of which object.
        key: ObjectKey,
    },
    /// A noncurrent version stands where there is no current one.
    NoCurrent {
        /// Which version.
        name: VersionName,
    },
    /// A part belongs to an upload that is not there.
    OrphanPart {
        /// Of which payload.
        payload: PayloadId,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnreadableRow { table, what } => write!(f, "{table}: {what}"),
            Self::NoSuchBucket { bucket } => {
                write!(f, "bucket {bucket}: has rows but is not there")
            }
            Self::LostPayload { name, payload } => {
                write!(
                    f,
                    "{name}: payload {payload} is not where the version needs it"
                )
            }
            Self::WrongHolds {
                payload,
                warm,
                cold,
            } => write!(
                f,
                "payload {payload}: counts {} warm and {} cold holds, has {} and {}",
                warm.0, cold.0, warm.1, cold.1
            ),
            Self::PartsDisagree { payload, what } => write!(f, "payload {payload}: {what}"),
            Self::LostBlob { payload, what } => write!(f, "payload {payload}: {what}"),
            Self::NotIndexed { name, table } => write!(f, "{name}: is missing in {table}"),
            Self::StaleIndex { table, what } => write!(f, "{table}: {what} is not there"),
            Self::WrongNull { bucket, key } => {
                write!(f, "{bucket}/{key}: its null version is not one")
            }
            Self::NoCurrent { name } => write!(f, "{name}: there is no current version"),
            Self::OrphanPart { payload } => {
                write!(f, "payload {payload}: a part belongs to no upload")
            }
        }
    }
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    /// How many versions and delete markers there are.
    pub versions: u64,
    /// How many payloads there are.
    pub payloads: u64,
    /// What does not fit.
    pub findings: Vec<Finding>,
}

/// Checks every row of the store against those it belongs with, and that every blob is there.
///
/// The store must be at rest: what changes meanwhile shows as findings. It holds an entry for
/// every payload in memory.
///
/// # Errors
/// [`StoreError::Unavailable`] when the engines cannot be read at all.
pub async fn check(
    meta: Arc<dyn MetaStore>,
    blobs: Arc<dyn BlobStore>,
) -> Result<Checked, StoreError> {
    let mut check = Check {
        meta,
        blobs,
        checked: Checked::default(),
        buckets: HashSet::new(),
        holders: HashMap::new(),
        uploads: HashSet::new(),
    };
    check.run().await?;
    Ok(check.checked)
}

impl Store {
    /// Checks that the blobs of one version are there, and as long as they must be. No key is
    /// needed, and nothing is opened.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::NoSuchKey`], [`StoreError::NoSuchVersion`],
    /// [`StoreError::IsDeleteMarker`], and those of the machine.
    pub async fn scrub(&self, object: &ObjectRef) -> Result<Vec<Finding>, StoreError> {
        let inner = &*self.inner;
        let readable = inner.readable(object).await?;
        let (name, content) = (
            VersionName {
                bucket: object.bucket.clone(),
                key: object.key.clone(),
                version: readable.version.version,
            },
            readable.content,
        );
        let payload = content.payload;
        let _pin = inner.pins.pin(payload);
        let Some(row) = inner.payload(payload).await? else {
            return Ok(vec![Finding::LostPayload { name, payload }]);
        };
        let mut findings = Vec::new();
        if row.is_warm {
            for part in crate::payload::segments_of(inner, payload, &row).await? {
                findings.extend(missing(&*inner.blobs, payload, &part).await);
            }
        }
        Ok(findings)
    }
}

/// What is wrong with the blob of a part, if anything: its last byte is read.
async fn missing(blobs: &dyn BlobStore, payload: PayloadId, part: &Part) -> Option<Finding> {
    let Ok(len) = sealed_len_bytes(part.plain_len_bytes) else {
        return Some(Finding::PartsDisagree {
            payload,
            what: "a part is longer than a payload can be",
        });
    };
    let last = blobs
        .read(&part.blob_ref(), len - 1, BytesMut::zeroed(1))
        .await;
    let longer = match &last {
        Ok(_) => blobs
            .read(&part.blob_ref(), len, BytesMut::zeroed(1))
            .await
            .is_ok(),
        Err(_) => false,
    };
    match last {
        Ok(_) if longer => Some(Finding::LostBlob {
            payload,
            what: "a blob is longer than its part".to_owned(),
        }),
        Ok(_) => None,
        Err(error) => Some(Finding::LostBlob {
            payload,
            what: lost(&part.blob_ref(), &error),
        }),
    }
}

fn lost(blob: &BlobRef, error: &BlobError) -> String {
    format!("{blob:?}: {error}")
}

/// The versions that hold a payload.
#[derive(Default)]
struct Holders {
    warm: u32,
    cold: u32,
    versions: Vec<(VersionName, Content)>,
}

struct Check {
    meta: Arc<dyn MetaStore>,
    blobs: Arc<dyn BlobStore>,
    checked: Checked,
    buckets: HashSet<Vec<u8>>,
    holders: HashMap<PayloadId, Holders>,
    uploads: HashSet<PayloadId>,
}

impl Check {
    async fn run(&mut self) -> Result<(), StoreError> {
        let mut rows = Rows::of(keys::BUCKETS);
        while let Some(row) = rows.next(&*self.meta).await? {
            self.buckets.insert(row.key.to_vec());
            let _: Option<BucketRow> = self.decoded(keys::BUCKETS, &row);
        }
        self.versions().await?;
        self.uploads().await?;
        self.payloads().await?;
        self.garbage().await?;
        self.indexes().await
    }

    fn found(&mut self, finding: Finding) {
        self.checked.findings.push(finding);
    }

    fn decoded<R: DeserializeOwned>(&mut self, table: Table, row: &ScannedRow) -> Option<R> {
        match decode(table, &row.row.value) {
            Ok(decoded) => Some(decoded),
            Err(error) => {
                self.unreadable(table, error.to_string());
                None
            }
        }
    }

    fn unreadable(&mut self, table: Table, what: impl Into<String>) {
        self.found(Finding::UnreadableRow {
            table: table.name(),
            what: what.into(),
        });
    }

    /// The bucket that a row stands in.
    fn bucket_of(&mut self, table: Table, row: &ScannedRow) -> Option<BucketName> {
        let name = row.key.split(|byte| *byte == 0).next().unwrap_or_default();
        let Some(bucket) = std::str::from_utf8(name)
            .ok()
            .and_then(|name| BucketName::new(name).ok())
        else {
            self.unreadable(table, "a row stands in no bucket");
            return None;
        };
        if !self.buckets.contains(name) {
            self.found(Finding::NoSuchBucket {
                bucket: bucket.as_str().to_owned(),
            });
        }
        Some(bucket)
    }

    async fn versions(&mut self) -> Result<(), StoreError> {
        let mut rows = Rows::of(keys::OBJECTS);
        while let Some(row) = rows.next(&*self.meta).await? {
            let Some(bucket) = self.bucket_of(keys::OBJECTS, &row) else {
                continue;
            };
            let Some(key) = keys::object_key(&bucket, &row.key) else {
                self.unreadable(keys::OBJECTS, "a row has no object's key");
                continue;
            };
            let Some(object) = self.decoded::<ObjectRow>(keys::OBJECTS, &row) else {
                continue;
            };
            if let Some(null) = object.noncurrent_null {
                let row_key = keys::version(&bucket, &key, null);
                let noncurrent = match self.meta.get(keys::VERSIONS, &row_key).await? {
                    Some(row) => decode::<VersionRow>(keys::VERSIONS, &row.value).ok(),
                    None => None,
                };
                if object.current.is_null || !noncurrent.is_some_and(|version| version.is_null) {
                    let (bucket, key) = (bucket.clone(), key.clone());
                    self.found(Finding::WrongNull { bucket, key });
                }
            }
            self.version(bucket, key, object.current).await?;
        }
        let mut rows = Rows::of(keys::VERSIONS);
        while let Some(row) = rows.next(&*self.meta).await? {
            let Some(bucket) = self.bucket_of(keys::VERSIONS, &row) else {
                continue;
            };
            let Some((key, version)) = keys::version_of(&bucket, &row.key) else {
                self.unreadable(keys::VERSIONS, "a row has no version's name");
                continue;
            };
            let Some(decoded) = self.decoded::<VersionRow>(keys::VERSIONS, &row) else {
                continue;
            };
            if decoded.version != version {
                self.unreadable(keys::VERSIONS, "a row holds another version than it says");
            }
            let object = keys::object(&bucket, key.as_str());
            if self.meta.get(keys::OBJECTS, &object).await?.is_none() {
                let (bucket, key) = (bucket.clone(), key.clone());
                let name = VersionName {
                    bucket,
                    key,
                    version,
                };
                self.found(Finding::NoCurrent { name });
            }
            self.version(bucket, key, decoded).await?;
        }
        Ok(())
    }

    /// Checks a version against the indexes, and counts its holds.
    async fn version(
        &mut self,
        bucket: BucketName,
        key: ObjectKey,
        version: VersionRow,
    ) -> Result<(), StoreError> {
        self.checked.versions += 1;
        let name = VersionName {
            bucket,
            key,
            version: version.version,
        };
        let mut indexed = vec![(keys::AGE, keys::age(&name))];
        if let Some(content) = version.content {
            if content.archive_pending {
                indexed.push((keys::ARCHIVES, keys::named(&name)));
            }
            match content.restore {
                Some(RestoreState::InProgress { .. }) => {
                    indexed.push((keys::RESTORES, keys::named(&name)));
                }
                Some(RestoreState::Restored { until }) => {
                    indexed.push((keys::RESTORE_ENDS, keys::restore_end(until, &name)));
                }
                None => {}
            }
            indexed.push(content.envelope.ledger_row(&protected(&name).object));
            let holders = self.holders.entry(content.payload).or_default();
            holders.warm += u32::from(content.holds_warm());
            holders.cold += u32::from(content.holds_cold());
            holders.versions.push((name.clone(), *content));
        }
        for (table, row_key) in indexed {
            if self.meta.get(table, &row_key).await?.is_none() {
                let (name, table) = (name.clone(), table.name());
                self.found(Finding::NotIndexed { name, table });
            }
        }
        Ok(())
    }

    async fn uploads(&mut self) -> Result<(), StoreError> {
        let mut rows = Rows::of(keys::UPLOADS);
        while let Some(row) = rows.next(&*self.meta).await? {
            self.bucket_of(keys::UPLOADS, &row);
            if let Some(upload) = self.decoded::<UploadRow>(keys::UPLOADS, &row) {
                self.uploads.insert(upload.payload);
            }
        }
        let mut rows = Rows::of(keys::PARTS);
        while let Some(row) = rows.next(&*self.meta).await? {
            let Some((payload, _)) = keys::part_of(&row.key) else {
                self.unreadable(keys::PARTS, "a row has no part's number");
                continue;
            };
            if !self.uploads.contains(&payload) {
                self.found(Finding::OrphanPart { payload });
            }
            if let Some(part) = self.decoded::<UploadedPartRow>(keys::PARTS, &row) {
                let missing = missing(&*self.blobs, payload, &part.part).await;
                self.checked.findings.extend(missing);
            }
        }
        Ok(())
    }

    async fn payloads(&mut self) -> Result<(), StoreError> {
        let mut rows = Rows::of(keys::PAYLOADS);
        while let Some(row) = rows.next(&*self.meta).await? {
            let Some(payload) = keys::payload_of(&row.key) else {
                self.unreadable(keys::PAYLOADS, "a row has no payload's id");
                continue;
            };
            if let Some(decoded) = self.decoded::<PayloadRow>(keys::PAYLOADS, &row) {
                self.checked.payloads += 1;
                self.payload(payload, &decoded).await?;
            }
        }
        for (payload, holders) in std::mem::take(&mut self.holders) {
            for (name, _) in holders.versions {
                self.found(Finding::LostPayload { name, payload });
            }
        }
        Ok(())
    }

    async fn payload(&mut self, payload: PayloadId, row: &PayloadRow) -> Result<(), StoreError> {
        let holders = self.holders.remove(&payload).unwrap_or_default();
        if (row.holds_warm, row.holds_cold) != (holders.warm, holders.cold) {
            self.found(Finding::WrongHolds {
                payload,
                warm: (row.holds_warm, holders.warm),
                cold: (row.holds_cold, holders.cold),
            });
        }
        let parts = self.parts(payload, row).await?;
        let len_bytes = plain_len_bytes(&parts);
        for (name, content) in holders.versions {
            if (content.holds_warm() && !row.is_warm)
                || (content.holds_cold() && row.cold.is_none())
            {
                self.found(Finding::LostPayload { name, payload });
            }
            if content.size_bytes != len_bytes {
                self.found(Finding::PartsDisagree {
                    payload,
                    what: "a version has another length than the parts together",
                });
            }
            let expected = match parts.as_slice() {
                [only] if content.holds_warm() => Some((only.id, only.blob.as_slice())),
                _ => None,
            };
            let whole = content.whole.as_ref();
            if whole.map(|whole| (whole.part, whole.blob.as_slice())) != expected {
                self.found(Finding::PartsDisagree {
                    payload,
                    what: "a version names another blob than its payload",
                });
            }
        }
        if row.is_warm {
            for part in &parts {
                let missing = missing(&*self.blobs, payload, part).await;
                self.checked.findings.extend(missing);
            }
        }
        Ok(())
    }

    /// All parts of a payload that can be read.
    async fn parts(
        &mut self,
        payload: PayloadId,
        row: &PayloadRow,
    ) -> Result<Vec<Part>, StoreError> {
        let indexes = match &row.parts {
            Parts::One(part) => return Ok(vec![part.clone()]),
            Parts::Segments(indexes) => indexes,
        };
        let mut parts = Vec::new();
        for (index, segment) in indexes.iter().zip(0_u16..) {
            let row_key = keys::segment(payload, row.copy, segment);
            let found = self.meta.get(keys::PAYLOAD_PARTS, &row_key).await?;
            let decoded: Option<SegmentRow> =
                found.and_then(|row| decode(keys::PAYLOAD_PARTS, &row.value).ok());
            let Some(decoded) = decoded else {
                self.found(Finding::PartsDisagree {
                    payload,
                    what: "a segment of its parts is missing or cannot be read",
                });
                continue;
            };
            let len_bytes = plain_len_bytes(&decoded.parts);
            if decoded.parts.len() != usize::from(index.part_count)
                || len_bytes != index.plain_len_bytes
            {
                self.found(Finding::PartsDisagree {
                    payload,
                    what: "a segment of its parts is not what its index says",
                });
            }
            parts.extend(decoded.parts);
        }
        Ok(parts)
    }

    /// Checks that garbage can be collected, and that all segments of parts are of a payload or
    /// garbage.
    async fn garbage(&mut self) -> Result<(), StoreError> {
        let mut copies = HashSet::new();
        let mut rows = Rows::of(keys::GARBAGE);
        while let Some(row) = rows.next(&*self.meta).await? {
            if let Some(garbage) = self.decoded::<GarbageRow>(keys::GARBAGE, &row)
                && let GarbageBlobs::Copy { copy, .. } = garbage.blobs
            {
                copies.insert((garbage.payload, copy));
            }
        }
        let mut rows = Rows::of(keys::COLD_GARBAGE);
        while let Some(row) = rows.next(&*self.meta).await? {
            let _: Option<ColdGarbageRow> = self.decoded(keys::COLD_GARBAGE, &row);
        }
        let mut rows = Rows::of(keys::PAYLOAD_PARTS);
        while let Some(row) = rows.next(&*self.meta).await? {
            let Some((payload, copy)) = keys::segment_of(&row.key) else {
                self.unreadable(keys::PAYLOAD_PARTS, "a row has no payload's id");
                continue;
            };
            let of_payload = match self.meta.get(keys::PAYLOADS, &payload.0).await? {
                // One that cannot be read was found before.
                Some(row) => decode::<PayloadRow>(keys::PAYLOADS, &row.value)
                    .map_or(true, |payload| payload.copy == copy),
                None => false,
            };
            if !of_payload && !copies.contains(&(payload, copy)) {
                self.found(Finding::StaleIndex {
                    table: keys::PAYLOAD_PARTS.name(),
                    what: format!("copy {copy} of payload {payload}"),
                });
            }
        }
        Ok(())
    }

    /// Checks that what the indexes stand for is there.
    async fn indexes(&mut self) -> Result<(), StoreError> {
        for table in [
            keys::AGE,
            keys::ARCHIVES,
            keys::RESTORES,
            keys::RESTORE_ENDS,
        ] {
            let mut rows = Rows::of(table);
            while let Some(row) = rows.next(&*self.meta).await? {
                let _: Option<PendingRow> = self.decoded(table, &row);
                let name = if table == keys::AGE {
                    self.bucket_of(table, &row)
                        .and_then(|bucket| keys::aged(&bucket, &row.key))
                } else if table == keys::RESTORE_ENDS {
                    keys::restore_end_of(&row.key).map(|(_, name)| name)
                } else {
                    keys::name_of(&row.key)
                };
                let Some(name) = name else {
                    self.unreadable(table, "a row has no version's name");
                    continue;
                };
                if !self.is_needed(table, &row, &name).await? {
                    self.found(Finding::StaleIndex {
                        table: table.name(),
                        what: name.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether a row of an index is one that its version needs.
    async fn is_needed(
        &self,
        table: Table,
        row: &ScannedRow,
        name: &VersionName,
    ) -> Result<bool, StoreError> {
        let object = keys::object(&name.bucket, name.key.as_str());
        let noncurrent = keys::version(&name.bucket, &name.key, name.version);
        let current = match self.meta.get(keys::OBJECTS, &object).await? {
            Some(row) => decode::<ObjectRow>(keys::OBJECTS, &row.value)
                .ok()
                .map(|object| object.current)
                .filter(|current| current.version == name.version),
            None => None,
        };
        let version = match (current, self.meta.get(keys::VERSIONS, &noncurrent).await?) {
            (Some(current), _) => current,
            (None, Some(row)) => match decode(keys::VERSIONS, &row.value) {
                Ok(version) => version,
                Err(_) => return Ok(true),
            },
            (None, None) => return Ok(false),
        };
        if table == keys::AGE {
            return Ok(keys::age(name) == row.key);
        }
        let Some(content) = version.content else {
            return Ok(false);
        };
        Ok(match content.restore {
            _ if table == keys::ARCHIVES => content.archive_pending,
            Some(RestoreState::InProgress { .. }) => table == keys::RESTORES,
            Some(RestoreState::Restored { until }) => {
                table == keys::RESTORE_ENDS && keys::restore_end(until, name) == row.key
            }
            None => false,
        })
    }
}

/// All rows of a table, some at a time.
struct Rows {
    table: Table,
    next: Option<Vec<u8>>,
    rows: VecDeque<ScannedRow>,
}

impl Rows {
    fn of(table: Table) -> Self {
        Self {
            table,
            next: Some(Vec::new()),
            rows: VecDeque::new(),
        }
    }

    async fn next(&mut self, meta: &dyn MetaStore) -> Result<Option<ScannedRow>, StoreError> {
        if self.rows.is_empty()
            && let Some(start) = self.next.take()
        {
            let scan = Scan::within(&[], start, ROWS_AT_ONCE);
            self.rows = meta.scan(self.table, scan).await?.into();
            if self.rows.len() == ROWS_AT_ONCE {
                self.next = self.rows.back().map(|last| {
                    let mut start = last.key.to_vec();
                    start.push(0);
                    start
                });
            }
        }
        Ok(self.rows.pop_front())
    }
}
