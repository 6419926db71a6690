//! When keys were last used.
//!
//! A use costs no write: it is noted in memory, the newest of each version of a key, and written
//! with all others by [`Kms::write_noted_uses`], which the daemon calls every minute and when it
//! ends. So after a crash the last minute of uses is missing here. It is on the audit log.
//!
//! What is used is what the custody half does: an object that is opened with a bucket key which is
//! opened already uses no KMS key.

use std::collections::{BTreeMap, HashMap};

use strongroom_environment::Timestamp;
use strongroom_meta::Batch;

use super::Kms;
use crate::arn::{KeyArn, KeyId, KeyReference, KeyVersion};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::rows::{self, LAST_USES, LastUseRow, RowFormat as _};

/// What a key was used for.
///
/// Source: AWS KMS API Reference, `KeyLastUsageTrackingOperation`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyOperation {
    /// `Encrypt`.
    Encrypt,
    /// `Decrypt`; also the opening of a data key for an object.
    Decrypt,
    /// `ReEncrypt`.
    ReEncrypt,
    /// `GenerateDataKey`; also the sealing of a data key for an object.
    GenerateDataKey,
    /// `GenerateDataKeyWithoutPlaintext`.
    GenerateDataKeyWithoutPlaintext,
    /// `GenerateDataKeyPair`.
    GenerateDataKeyPair,
    /// `GenerateDataKeyPairWithoutPlaintext`.
    GenerateDataKeyPairWithoutPlaintext,
    /// `GenerateMac`.
    GenerateMac,
    /// `VerifyMac`.
    VerifyMac,
    /// `Sign`.
    Sign,
    /// `Verify`.
    Verify,
}

impl KeyOperation {
    pub(crate) const ALL: [Self; 11] = [
        Self::Encrypt,
        Self::Decrypt,
        Self::ReEncrypt,
        Self::GenerateDataKey,
        Self::GenerateDataKeyWithoutPlaintext,
        Self::GenerateDataKeyPair,
        Self::GenerateDataKeyPairWithoutPlaintext,
        Self::GenerateMac,
        Self::VerifyMac,
        Self::Sign,
        Self::Verify,
    ];

    /// The name in the protocol.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Encrypt => "Encrypt",
            Self::Decrypt => "Decrypt",
            Self::ReEncrypt => "ReEncrypt",
            Self::GenerateDataKey => "GenerateDataKey",
            Self::GenerateDataKeyWithoutPlaintext => "GenerateDataKeyWithoutPlaintext",
            Self::GenerateDataKeyPair => "GenerateDataKeyPair",
            Self::GenerateDataKeyPairWithoutPlaintext => "GenerateDataKeyPairWithoutPlaintext",
            Self::GenerateMac => "GenerateMac",
            Self::VerifyMac => "VerifyMac",
            Self::Sign => "Sign",
            Self::Verify => "Verify",
        }
    }
}

/// The last use of a key, or of one version of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LastUse {
    /// When.
    pub at: Timestamp,
    /// What for.
    pub operation: KeyOperation,
    /// The request that used it; empty when the daemon did by itself.
    pub request_id: String,
}

/// When a key was last used.
///
/// Source: AWS KMS API Reference, GetKeyLastUsage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyUsage {
    /// The key.
    pub key: KeyArn,
    /// When it was made, since when its uses are noted.
    pub created: Timestamp,
    /// Its last use, if there was one.
    pub last: Option<LastUse>,
}

/// Uses that are not written yet: the newest of each version.
pub(super) type Noted = BTreeMap<(KeyId, KeyVersion), LastUse>;

impl Kms {
    /// When a key was last used.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`], [`KeyError::Metadata`],
    /// [`KeyError::Damaged`].
    pub async fn key_usage(&self, reference: &KeyReference) -> Result<KeyUsage, KeyError> {
        let (id, read) = self.find(reference).await?;
        let uses = self.last_uses(id).await?;
        Ok(KeyUsage {
            key: self.home.arn(id),
            created: read.row.created,
            last: uses.into_values().max_by_key(|used| used.at),
        })
    }

    /// The last use of each version of a key that was ever used.
    pub(super) async fn last_uses(
        &self,
        id: KeyId,
    ) -> Result<HashMap<KeyVersion, LastUse>, KeyError> {
        let mut uses = HashMap::new();
        for row in rows::scan_all(&*self.meta, LAST_USES, id.as_bytes()).await? {
            let version = row.key.last_chunk().ok_or(KeyError::Damaged {
                table: LAST_USES.name(),
                what: "a row is not under a key id and a version",
            })?;
            let LastUseRow(used) = rows::decoded(LAST_USES, &row.row.value)?;
            uses.insert(KeyVersion(u32::from_be_bytes(*version)), used);
        }
        for ((_, version), used) in self.noted.lock().range(KeyVersion::all_of(id)) {
            uses.insert(*version, used.clone());
        }
        Ok(uses)
    }

    /// Notes that a version of a key was used.
    pub(super) fn note_use(
        &self,
        id: KeyId,
        version: KeyVersion,
        operation: KeyOperation,
        caller: &Caller,
    ) {
        let used = LastUse {
            at: self.clock.now(),
            operation,
            request_id: caller.request_id.clone(),
        };
        self.noted.lock().insert((id, version), used);
    }

    /// Writes the uses that were noted since the last time, and how many there were.
    ///
    /// # Errors
    /// [`KeyError::NotCommitted`]: they are kept for the next time.
    pub async fn write_noted_uses(&self) -> Result<(), KeyError> {
        let mut noted: Vec<_> = std::mem::take(&mut *self.noted.lock())
            .into_iter()
            .collect();
        while !noted.is_empty() {
            let some = noted.split_off(noted.len().saturating_sub(Batch::WRITES_MAX));
            let mut batch = Batch::new();
            for ((id, version), used) in &some {
                let row = LastUseRow(used.clone());
                batch.put(LAST_USES, rows::version_key(*id, *version), row.encode());
            }
            if let Err(error) = self.meta.commit(batch).await {
                let mut waiting = self.noted.lock();
                for (place, used) in noted.into_iter().chain(some) {
                    // One that came meanwhile is newer.
                    waiting.entry(place).or_insert(used);
                }
                return Err(error.into());
            }
        }
        self.write_counts().await
    }
}
