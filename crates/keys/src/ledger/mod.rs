//! The ledger: which key protects which object versions, and which keys protect a version.
//!
//! One row per object version, under the key that protects it, written and deleted in the batch
//! that writes and deletes the version. The row's key begins with the whole chain of keys, so that
//! the versions of a KMS key, of one of its versions, and of a bucket key are each one range. The
//! version of the KMS key in it is the one that the data key, or the bucket key, was first sealed
//! under: a bucket key that is sealed anew moves no row.

pub(crate) mod impact;

use data_encoding::BASE64URL_NOPAD;
use strongroom_environment::Timestamp;
use strongroom_meta::{Batch, Scan, Table};

use crate::arn::{KeyArn, KeyId, KeyVersion};
use crate::encoding::{Decoder, Encoder};
use crate::envelope::{KeyEnvelope, Wrapping};
use crate::error::KeyError;
use crate::kms::{Kms, Page};
use crate::names::{BindingId, BucketKeyId, CustomerFingerprint, ObjectName, ProtectedVersion};
use crate::objects::ObjectKeys;
use crate::rows::{
    self, BUCKET_KEYS, BUCKET_KEYS_MOVED, BUCKET_KEYS_OF, BucketKeyRow, MovedBucketKeyRow,
};

pub use impact::{ClassCode, ImpactGroup, ImpactPage, Tally, Weight};

pub(crate) const LEDGER: Table = Table::new("ledger");

/// Rows under a KMS key.
const UNDER_KMS_KEY: u8 = 1;
/// Rows under a customer's key.
pub(crate) const UNDER_CUSTOMER_KEY: u8 = 2;
/// Stands where a bucket key would, for a data key that is directly under a KMS key.
pub(crate) const NO_BUCKET_KEY: BucketKeyId = BucketKeyId([0; 16]);
/// A key's zero bytes are followed by this, and its end by [`END`], so that keys keep their order.
const ESCAPED: u8 = 0xFF;
const END: [u8; 2] = [0x00, 0x01];

/// What the versions are asked of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LedgerKey {
    /// A KMS key, in all its versions.
    KmsKey(KeyId),
    /// One version of a KMS key: data keys that were sealed under it, and those through bucket keys
    /// that were made under it, also where these were sealed anew since.
    KeyVersion(KeyId, KeyVersion),
    /// A bucket key.
    BucketKey(BucketKeyId),
    /// A customer's key.
    CustomerKey(CustomerFingerprint),
}

/// An object version and the key it is under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LedgerEntry {
    /// The object version.
    pub version: ProtectedVersion,
    /// Its length and class.
    pub weight: Weight,
    /// The key that protects it.
    pub chain: Vec<ChainLink>,
}

/// One key of the chain that protects an object version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChainLink {
    /// A bucket key.
    BucketKey(BucketKeyId),
    /// A version of a KMS key.
    KmsKey {
        /// The KMS key.
        key: KeyArn,
        /// Its version.
        version: KeyVersion,
    },
    /// A key on the token.
    TokenKey {
        /// Its label.
        label: String,
    },
    /// A customer's key.
    CustomerKey(CustomerFingerprint),
}

/// A bucket key as the ledger knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BucketKeyDescription {
    /// Its id.
    pub id: BucketKeyId,
    /// The bucket whose data keys it wraps.
    pub bucket: String,
    /// The KMS key it is sealed under.
    pub key: KeyId,
    /// The version of the KMS key.
    pub version: KeyVersion,
    /// When it was made.
    pub created: Timestamp,
}

impl ObjectKeys {
    /// Writes, in the batch that writes the row of `version`, that `envelope` protects it.
    ///
    /// Also when the weight of the version changes.
    pub fn record(
        &self,
        batch: &mut Batch,
        envelope: &KeyEnvelope,
        version: &ProtectedVersion,
        weight: Weight,
    ) {
        let value = impact::encode_value(version.sequence, weight);
        batch.put(LEDGER, row_key(envelope, &version.object), value);
    }

    /// Deletes, in the batch that deletes the row of `version` or gives it another envelope, that
    /// `envelope` protects it.
    pub fn forget(&self, batch: &mut Batch, envelope: &KeyEnvelope, version: &ProtectedVersion) {
        batch.delete(LEDGER, row_key(envelope, &version.object));
    }

    /// The object versions under a key, ordered by key version, bucket key, bucket, object key.
    /// A `marker` is the `next` of the page before.
    ///
    /// # Errors
    /// [`KeyError::InvalidReference`]: no page of this key was ever followed by that marker.
    /// [`KeyError::NoSuchBucketKey`], [`KeyError::Metadata`], [`KeyError::Damaged`].
    pub async fn versions_of(
        &self,
        key: LedgerKey,
        marker: Option<&str>,
        limit: usize,
    ) -> Result<Page<LedgerEntry>, KeyError> {
        let prefix = self.prefix_of(key).await?;
        let (found, next) = self.page(LEDGER, &prefix, marker, limit).await?;
        let items = found
            .iter()
            .map(|row| {
                self.read_row(&row.key, &row.row.value)
                    .ok_or(KeyError::Damaged {
                        table: LEDGER.name(),
                        what: "it is not a row of a version this program knows",
                    })
            })
            .collect::<Result<_, _>>()?;
        Ok(Page { items, next })
    }

    /// The bucket keys under a KMS key, ordered by key version. They stay after the last object
    /// under them is gone. A `marker` is the `next` of the page before.
    ///
    /// # Errors
    /// As for [`ObjectKeys::versions_of`].
    pub async fn bucket_keys_of(
        &self,
        key: KeyId,
        marker: Option<&str>,
        limit: usize,
    ) -> Result<Page<BucketKeyDescription>, KeyError> {
        let (found, next) = self
            .page(BUCKET_KEYS_OF, key.as_bytes(), marker, limit)
            .await?;
        let mut items = Vec::with_capacity(found.len());
        for row in found {
            let id = last_id(BUCKET_KEYS_OF, &row.key)?;
            let row = self.bucket_key_row(id).await?;
            items.push(BucketKeyDescription {
                id,
                bucket: row.bucket,
                key: row.blob.key(),
                version: row.blob.version(),
                created: row.created,
            });
        }
        Ok(Page { items, next })
    }

    /// The keys that protect what is in `envelope`, each by the next.
    ///
    /// # Errors
    /// [`KeyError::NotAuthentic`]: the KMS key version it names was never there;
    /// [`KeyError::Metadata`], [`KeyError::TokenUnavailable`], [`KeyError::Damaged`].
    pub async fn chain_of(&self, envelope: &KeyEnvelope) -> Result<Vec<ChainLink>, KeyError> {
        let (mut chain, kms_key) = match &envelope.0 {
            Wrapping::Customer { lock, .. } => {
                return Ok(vec![ChainLink::CustomerKey(lock.fingerprint)]);
            }
            Wrapping::Kms { blob, .. } => (
                self.kms_chain(NO_BUCKET_KEY, blob.key(), blob.version()),
                (blob.key(), blob.version()),
            ),
            Wrapping::Bucket { lock, .. } => {
                // It may be sealed under a newer version by now than when the envelope was made.
                let place = lock.bucket_key.as_bytes();
                let row: Option<rows::Read<BucketKeyRow>> =
                    rows::read(&*self.meta, BUCKET_KEYS, place).await?;
                let version = row.map_or(lock.version, |read| read.row.blob.version());
                (
                    self.kms_chain(lock.bucket_key, lock.key, version),
                    (lock.key, version),
                )
            }
        };
        let label = self.custody.root_of(kms_key.0, kms_key.1).await?;
        chain.push(ChainLink::TokenKey { label });
        Ok(chain)
    }

    fn kms_chain(
        &self,
        bucket_key: BucketKeyId,
        key: KeyId,
        version: KeyVersion,
    ) -> Vec<ChainLink> {
        let mut chain = Vec::with_capacity(3);
        if bucket_key != NO_BUCKET_KEY {
            chain.push(ChainLink::BucketKey(bucket_key));
        }
        chain.push(ChainLink::KmsKey {
            key: self.custody.arn(key),
            version,
        });
        chain
    }

    async fn bucket_key_row(&self, id: BucketKeyId) -> Result<BucketKeyRow, KeyError> {
        Ok(
            rows::read::<BucketKeyRow>(&*self.meta, BUCKET_KEYS, id.as_bytes())
                .await?
                .ok_or(KeyError::NoSuchBucketKey { id })?
                .row,
        )
    }

    async fn prefix_of(&self, key: LedgerKey) -> Result<Vec<u8>, KeyError> {
        Ok(match key {
            LedgerKey::KmsKey(key) => [&[UNDER_KMS_KEY], key.as_bytes().as_slice()].concat(),
            LedgerKey::KeyVersion(key, version) => kms_prefix(key, version),
            LedgerKey::BucketKey(id) => {
                let blob = self.bucket_key_row(id).await?.blob;
                let place = rows::moved_key(blob.key(), id);
                let moved: Option<rows::Read<MovedBucketKeyRow>> =
                    rows::read(&*self.meta, BUCKET_KEYS_MOVED, &place).await?;
                let made_under = moved.map_or(blob.version(), |moved| moved.row.made_under);
                let mut prefix = kms_prefix(blob.key(), made_under);
                prefix.extend_from_slice(id.as_bytes());
                prefix
            }
            LedgerKey::CustomerKey(fingerprint) => customer_prefix(&fingerprint),
        })
    }

    /// The rows of a page, and the marker of the next one.
    async fn page(
        &self,
        table: Table,
        prefix: &[u8],
        marker: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<strongroom_meta::ScannedRow>, Option<String>), KeyError> {
        let limit = limit.clamp(1, Kms::PAGE_MAX);
        let start = start_of(prefix, marker)?;
        let scan = Scan::within(prefix, start, limit + 1);
        let mut found = self.meta.scan(table, scan).await?;
        // One row more than asked for: its key is where the next page begins.
        let next = (found.len() > limit)
            .then(|| found.pop())
            .flatten()
            .map(|first| marker_of(&first.key));
        Ok((found, next))
    }

    fn read_row(&self, key: &[u8], value: &[u8]) -> Option<LedgerEntry> {
        let (sequence, weight) = impact::decode_value(value)?;
        let (under, _) = key.split_first()?;
        let mut fields = Decoder::new(key, *under)?;
        let chain = match *under {
            UNDER_KMS_KEY => {
                let key = KeyId::from_bytes(fields.fixed()?);
                let version = KeyVersion(fields.u32()?);
                self.kms_chain(BucketKeyId(fields.fixed()?), key, version)
            }
            UNDER_CUSTOMER_KEY => {
                vec![ChainLink::CustomerKey(CustomerFingerprint(fields.fixed()?))]
            }
            _ => return None,
        };
        let object = read_object(fields.rest())?;
        Some(LedgerEntry {
            version: ProtectedVersion { object, sequence },
            weight,
            chain,
        })
    }
}

/// Where a page begins.
fn start_of(prefix: &[u8], marker: Option<&str>) -> Result<Vec<u8>, KeyError> {
    let Some(marker) = marker else {
        return Ok(prefix.to_vec());
    };
    BASE64URL_NOPAD
        .decode(marker.as_bytes())
        .ok()
        .filter(|start| start.starts_with(prefix))
        .ok_or(KeyError::InvalidReference {
            rule: "a marker is one that a page of the same list gave",
        })
}

fn marker_of(start: &[u8]) -> String {
    BASE64URL_NOPAD.encode(start)
}

/// The bucket key whose id ends the key of a row.
pub(crate) fn last_id(table: Table, row_key: &[u8]) -> Result<BucketKeyId, KeyError> {
    row_key
        .last_chunk()
        .copied()
        .map(BucketKeyId)
        .ok_or(KeyError::Damaged {
            table: table.name(),
            what: "a row is not under a bucket key id",
        })
}

pub(crate) fn kms_prefix(key: KeyId, version: KeyVersion) -> Vec<u8> {
    Encoder::new(UNDER_KMS_KEY)
        .fixed(key.as_bytes())
        .u32(version.0)
        .finish()
}

/// The object version that a row under a KMS key is of.
pub(crate) fn version_in(key: &[u8], value: &[u8]) -> Option<ProtectedVersion> {
    let (sequence, _) = impact::decode_value(value)?;
    let object = read_object(key.get(impact::BUCKET_AT.0..)?)?;
    Some(ProtectedVersion { object, sequence })
}

fn customer_prefix(fingerprint: &CustomerFingerprint) -> Vec<u8> {
    Encoder::new(UNDER_CUSTOMER_KEY)
        .fixed(fingerprint.as_bytes())
        .finish()
}

impl KeyEnvelope {
    /// The row of the ledger that says that this envelope protects `object`, for whoever checks
    /// that it is there.
    #[must_use]
    pub fn ledger_row(&self, object: &ObjectName) -> (Table, Vec<u8>) {
        (LEDGER, row_key(self, object))
    }
}

fn row_key(envelope: &KeyEnvelope, object: &ObjectName) -> Vec<u8> {
    let mut key = match &envelope.0 {
        Wrapping::Customer { lock, .. } => customer_prefix(&lock.fingerprint),
        Wrapping::Kms { blob, .. } => {
            let mut key = kms_prefix(blob.key(), blob.version());
            key.extend_from_slice(NO_BUCKET_KEY.as_bytes());
            key
        }
        Wrapping::Bucket { lock, .. } => {
            let mut key = kms_prefix(lock.key, lock.version);
            key.extend_from_slice(lock.bucket_key.as_bytes());
            key
        }
    };
    key.reserve(object.bucket.len() + object.key.len() + 2 * END.len() + 16);
    write_text(&mut key, &object.bucket);
    write_text(&mut key, &object.key);
    key.extend_from_slice(object.binding.as_bytes());
    key
}

fn write_text(key: &mut Vec<u8>, text: &str) {
    let mut parts = text.as_bytes().split(|byte| *byte == 0);
    // There is always one part.
    key.extend_from_slice(parts.next().unwrap_or_default());
    for part in parts {
        key.extend_from_slice(&[0, ESCAPED]);
        key.extend_from_slice(part);
    }
    key.extend_from_slice(&END);
}

/// A text that [`write_text`] wrote, and what follows it.
fn read_text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut text = Vec::new();
    let mut rest = bytes;
    loop {
        let zero = rest.iter().position(|byte| *byte == 0)?;
        text.extend_from_slice(&rest[..zero]);
        let mark = *rest.get(zero + 1)?;
        rest = &rest[zero + 2..];
        match mark {
            ESCAPED => text.push(0),
            mark if mark == END[1] => return Some((String::from_utf8(text).ok()?, rest)),
            _ => return None,
        }
    }
}

fn read_object(bytes: &[u8]) -> Option<ObjectName> {
    let (bucket, rest) = read_text(bytes)?;
    let (key, rest) = read_text(rest)?;
    Some(ObjectName {
        bucket,
        key,
        binding: BindingId(rest.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_come_back_and_keep_their_order(a in ".{0,12}|[\\x00\\x01a]{0,6}", b in ".{0,12}|[\\x00\\x01a]{0,6}") {
            let written = |text: &str| {
                let mut key = Vec::new();
                write_text(&mut key, text);
                key
            };
            let (read, rest) = read_text(&written(&a)).map(|(text, rest)| (text, rest.to_vec())).expect("a text");
            prop_assert_eq!(&read, &a);
            prop_assert!(rest.is_empty());
            prop_assert_eq!(written(&a).cmp(&written(&b)), a.as_bytes().cmp(b.as_bytes()));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = read_object(&bytes);
        }
    }
}
