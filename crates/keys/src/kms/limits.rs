//! Limits on the use of a key: how often, how much, and between which dates it protects anything.
//!
//! Only what protects is limited: `Encrypt`, `GenerateDataKey`, `GenerateMac`, `Sign`, the sealing
//! of a data key or a bucket key. What was protected is opened whatever the limits say (NIST SP 800-57 Part 1 Rev. 5,
//! section 5.3.4, the originator-usage and the recipient-usage period; OASIS KMIP 2.1, section 4.55,
//! Usage Limits).
//!
//! # How exact they are
//!
//! One daemon never grants more uses and bytes than the limits say, also after a crash: they are reserved
//! in a row before they are granted, some at a time, so that most cost no write. What a crash finds
//! reserved and not used is lost: up to a sixteenth of what was left, and at most 1,024 uses and
//! 4 MiB. A use that fails after it was granted is counted.
//!
//! A bucket key that is sealed under the key is one use of it. It goes on protecting objects for the
//! few minutes that it stays opened, whatever becomes of the limits meanwhile; that is as long as
//! `keys.bucket_key_age_s_max` says.
//!
//! A key without limits is counted too: a version seals with random nonces, and no more than 2^32
//! ciphertexts may come of it (NIST SP 800-38D, section 8.3). That count is written with the last
//! uses, every minute, and so may miss what the last minute before a crash did; the bound leaves room
//! for that.

use std::collections::{BTreeMap, HashMap};

use std::sync::Arc;

use strongroom_environment::Timestamp;
use strongroom_meta::Batch;

use super::Kms;
use crate::arn::{KeyId, KeyReference, KeyVersion};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::journal::{Entry, Event};
use crate::quorum::{GuardedOperation, GuardedRequest};
use crate::rows::{self, COUNTS, CountRow, LIMITS, RowFormat as _};

/// How much a key may protect, and when. What is `None` is not limited.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyUseLimits {
    /// How often, all versions together.
    pub uses_max: Option<u64>,
    /// How many bytes of plaintext, all versions together.
    pub size_bytes_max: Option<u64>,
    /// From when on.
    pub not_before: Option<Timestamp>,
    /// Until when.
    pub not_after: Option<Timestamp>,
}

/// How much a key has protected, all versions together. Of a key with limits it is what was
/// reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyUseCount {
    /// How often.
    pub uses: u64,
    /// How many bytes of plaintext.
    pub size_bytes: u64,
}

/// Which limit is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UseLimit {
    /// The uses.
    Uses,
    /// The bytes.
    Bytes,
    /// It is too early.
    NotYetValid,
    /// It is too late.
    NoLongerValid,
    /// The ciphertexts of a version.
    Nonces,
}

impl std::fmt::Display for UseLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Uses => "has been used as often as its limit allows; raise the limit",
            Self::Bytes => "has protected as many bytes as its limit allows; raise the limit",
            Self::NotYetValid => "is not valid yet",
            Self::NoLongerValid => "is no longer valid for protecting anything new",
            Self::Nonces => "has made as many ciphertexts as one version may; rotate it",
        })
    }
}

/// What of a version is counted in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    count: KeyUseCount,
    /// What is in its row: at least what is counted, where the key has limits.
    kept: KeyUseCount,
}

/// The meters of the versions that were used since the start.
pub(super) type Meters = BTreeMap<(KeyId, KeyVersion), Meter>;

/// At most so much is reserved at once.
const USES_RESERVED_MAX: u64 = 1_024;
const BYTES_RESERVED_MAX: u64 = 4 << 20;

impl Kms {
    /// The most ciphertexts of one version of a key: 2^32, but for a margin that what was not
    /// counted before a crash fits into.
    pub const CIPHERTEXTS_MAX: u64 = (1 << 32) - (1 << 24);

    /// Sets the limits of a key in the place of those it had.
    ///
    /// # Errors
    /// [`KeyError::InvalidRequest`]: the dates are in the wrong order. [`KeyError::ApprovalNeeded`],
    /// [`KeyError::ApprovalRejected`], [`KeyError::PendingDeletion`],
    /// [`KeyError::ManagedByService`], and as for [`Kms::describe_key`] and [`Kms::create_key`].
    pub async fn set_limits(
        self: &Arc<Self>,
        reference: &KeyReference,
        limits: KeyUseLimits,
        caller: &Caller,
    ) -> Result<(), KeyError> {
        let (kms, reference, caller) = (Arc::clone(self), reference.clone(), caller.clone());
        Self::to_the_end(async move { kms.put_limits(&reference, limits, &caller).await }).await
    }

    async fn put_limits(
        &self,
        reference: &KeyReference,
        limits: KeyUseLimits,
        caller: &Caller,
    ) -> Result<(), KeyError> {
        // What was counted without limits counts.
        self.write_counts().await?;
        let date = |date: Option<Timestamp>| date.map(|date| date.to_string());
        let asked = serde_json::json!({
            "uses_max": limits.uses_max,
            "size_bytes_max": limits.size_bytes_max,
            "not_before": date(limits.not_before),
            "not_after": date(limits.not_after),
        });
        let entry = Entry::new(Event::KeyAdministration, "set-key-limits").detail(asked.clone());
        let wish = super::access::Wish::to("SetKeyLimits").reference(reference);
        self.change_key_and(
            &wish,
            reference,
            entry,
            caller,
            |key| {
                let operation = GuardedOperation::SetKeyLimits;
                Some(GuardedRequest::of_key(operation, key.clone(), asked))
            },
            |id, row| {
                if let super::KeyState::PendingDeletion { .. } = row.state {
                    return Err(KeyError::PendingDeletion {
                        key: self.home.arn(id),
                    });
                }
                if matches!((limits.not_before, limits.not_after), (Some(from), Some(until)) if until <= from)
                {
                    return Err(KeyError::InvalidRequest {
                        rule: "a key is valid from a date until a later one",
                    });
                }
                Ok(())
            },
            |id, _, batch| {
                if limits == KeyUseLimits::default() {
                    batch.delete(LIMITS, id.as_bytes());
                } else {
                    batch.put(LIMITS, id.as_bytes(), limits.encode());
                }
            },
        )
        .await?;
        Ok(())
    }

    /// The limits of a key, and how much it has protected.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`], [`KeyError::Metadata`],
    /// [`KeyError::Damaged`].
    pub async fn limits(
        &self,
        reference: &KeyReference,
    ) -> Result<(KeyUseLimits, KeyUseCount), KeyError> {
        let (id, _) = self.find(reference).await?;
        let limits = self.limits_of(id).await?;
        Ok((limits, self.count_of(id, None).await?))
    }

    async fn limits_of(&self, id: KeyId) -> Result<KeyUseLimits, KeyError> {
        let read = rows::read::<KeyUseLimits>(&*self.meta, LIMITS, id.as_bytes()).await?;
        Ok(read.map_or_else(KeyUseLimits::default, |read| read.row))
    }

    /// What all versions of a key but one have protected.
    async fn count_of(&self, id: KeyId, but: Option<KeyVersion>) -> Result<KeyUseCount, KeyError> {
        let mut counts = HashMap::new();
        for row in rows::scan_all(&*self.meta, COUNTS, id.as_bytes()).await? {
            let version = row.key.last_chunk().ok_or(KeyError::Damaged {
                table: COUNTS.name(),
                what: "a row is not under a key id and a version",
            })?;
            let CountRow(count) = rows::decoded(COUNTS, &row.row.value)?;
            counts.insert(KeyVersion(u32::from_be_bytes(*version)), count);
        }
        for ((_, version), meter) in self.meters.lock().range(KeyVersion::all_of(id)) {
            let count = counts.entry(*version).or_default();
            count.uses = count.uses.max(meter.count.uses);
            count.size_bytes = count.size_bytes.max(meter.count.size_bytes);
        }
        let mut sum = KeyUseCount::default();
        for (version, count) in counts {
            if Some(version) != but {
                sum.uses = sum.uses.saturating_add(count.uses);
                sum.size_bytes = sum.size_bytes.saturating_add(count.size_bytes);
            }
        }
        Ok(sum)
    }

    /// Counts that a version of a key protects so many bytes, or refuses it.
    pub(super) async fn take_use(
        &self,
        id: KeyId,
        version: KeyVersion,
        size_bytes: usize,
    ) -> Result<(), KeyError> {
        self.take_use_below(id, version, size_bytes, Self::CIPHERTEXTS_MAX)
            .await
    }

    /// The same of a key that is used without nonces: to make MACs, to sign, to encrypt for.
    pub(super) async fn take_use_without_nonce(
        &self,
        id: KeyId,
        version: KeyVersion,
        size_bytes: usize,
    ) -> Result<(), KeyError> {
        self.take_use_below(id, version, size_bytes, u64::MAX).await
    }

    async fn take_use_below(
        &self,
        id: KeyId,
        version: KeyVersion,
        size_bytes: usize,
        nonces_max: u64,
    ) -> Result<(), KeyError> {
        let size_bytes = size_bytes as u64;
        let refuse = |limit| {
            Err(KeyError::UseLimited {
                key: self.home.arn(id),
                limit,
            })
        };
        let limits = self.limits_of(id).await?;
        let now = self.clock.now();
        if limits.not_before.is_some_and(|date| now < date) {
            return refuse(UseLimit::NotYetValid);
        }
        if limits.not_after.is_some_and(|date| now >= date) {
            return refuse(UseLimit::NoLongerValid);
        }
        let mut meter = self.meter(id, version).await?;
        if meter.count.uses >= nonces_max {
            return refuse(UseLimit::Nonces);
        }
        if limits.uses_max.is_none() && limits.size_bytes_max.is_none() {
            self.count_use(id, version, size_bytes);
            return Ok(());
        }
        let _alone = self.reserving.lock().await;
        meter = self.meter(id, version).await?;
        let mut after = KeyUseCount {
            uses: meter.count.uses + 1,
            size_bytes: meter.count.size_bytes.saturating_add(size_bytes),
        };
        let others = self.count_of(id, Some(version)).await?;
        let room = |max: Option<u64>, others: u64| max.unwrap_or(u64::MAX).saturating_sub(others);
        let uses_max = room(limits.uses_max, others.uses);
        let bytes_max = room(limits.size_bytes_max, others.size_bytes);
        // What a crash has lost is in the row, and was not used by this process.
        if after.uses > uses_max {
            return refuse(UseLimit::Uses);
        }
        if after.size_bytes > bytes_max {
            return refuse(UseLimit::Bytes);
        }
        if after.uses > meter.kept.uses || after.size_bytes > meter.kept.size_bytes {
            let more = |used: u64, max: u64, most: u64| used + ((max - used) / 16).min(most);
            let kept = KeyUseCount {
                uses: more(after.uses, uses_max, USES_RESERVED_MAX).max(meter.kept.uses),
                size_bytes: more(after.size_bytes, bytes_max, BYTES_RESERVED_MAX)
                    .max(meter.kept.size_bytes),
            };
            let mut batch = Batch::new();
            let place = rows::version_key(id, version);
            batch.put(COUNTS, place, CountRow(kept).encode());
            self.meta.commit(batch).await?;
            meter.kept = kept;
        }
        std::mem::swap(&mut meter.count, &mut after);
        self.meters.lock().insert((id, version), meter);
        Ok(())
    }

    /// The meter of a version: after a start it goes on from its row.
    async fn meter(&self, id: KeyId, version: KeyVersion) -> Result<Meter, KeyError> {
        if let Some(meter) = self.meters.lock().get(&(id, version)) {
            return Ok(*meter);
        }
        let place = rows::version_key(id, version);
        let read = rows::read::<CountRow>(&*self.meta, COUNTS, &place).await?;
        let count = read.map_or_else(KeyUseCount::default, |read| read.row.0);
        let meter = Meter { count, kept: count };
        Ok(*self.meters.lock().entry((id, version)).or_insert(meter))
    }

    fn count_use(&self, id: KeyId, version: KeyVersion, size_bytes: u64) {
        if let Some(meter) = self.meters.lock().get_mut(&(id, version)) {
            meter.count.uses += 1;
            meter.count.size_bytes = meter.count.size_bytes.saturating_add(size_bytes);
        }
    }

    /// Writes what was counted beyond what is kept.
    pub(super) async fn write_counts(&self) -> Result<(), KeyError> {
        let _alone = self.reserving.lock().await;
        let behind: Vec<_> = self
            .meters
            .lock()
            .iter()
            .filter(|(_, meter)| {
                meter.count.uses > meter.kept.uses || meter.count.size_bytes > meter.kept.size_bytes
            })
            .map(|(place, meter)| (*place, meter.count))
            .collect();
        for some in behind.chunks(Batch::WRITES_MAX) {
            let mut batch = Batch::new();
            for ((id, version), count) in some {
                let place = rows::version_key(*id, *version);
                batch.put(COUNTS, place, CountRow(*count).encode());
            }
            self.meta.commit(batch).await?;
            let mut meters = self.meters.lock();
            for (place, count) in some {
                if let Some(meter) = meters.get_mut(place) {
                    meter.kept = *count;
                }
            }
        }
        Ok(())
    }
}
