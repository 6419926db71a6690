//! The seam between the object half and the half that has custody of the KMS keys.

use std::fmt;
use std::sync::Weak;

use async_trait::async_trait;
use strongroom_seal::DataKey;

use crate::arn::{KeyArn, KeyId, KeyReference, KeyVersion};
use crate::caller::Caller;
use crate::context::EncryptionContext;
use crate::error::KeyError;
use crate::kms::CiphertextBlob;
use crate::names::GrantId;

/// A data key as custody sealed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedDataKey {
    /// The ciphertext; it names the KMS key and version.
    pub blob: CiphertextBlob,
    /// The KMS key.
    pub key: KeyArn,
}

/// What is done with a KMS key for an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CustodyUse {
    /// A data key is wrapped (GenerateDataKey).
    Seal,
    /// A data key is unwrapped (Decrypt).
    Open,
}

/// What the object half asks of whoever has custody of the KMS keys.
///
/// It is little more than the KMS protocol offers (DescribeKey, Encrypt, Decrypt), so that custody
/// can be on another host.
///
/// # Contract
///
/// - **Permission.** [`KeyCustody::seal`], [`KeyCustody::open`] and [`KeyCustody::authorize`] answer
///   by the policies and grants that hold when they are called. Whoever keeps an opened key asks
///   `authorize` before each use of it, since not everybody for whom it was opened may use it.
/// - **States.** [`KeyCustody::seal`] and [`KeyCustody::open`] answer by the state the key has when
///   they are called. Whoever keeps an opened key watches ([`KeyCustody::watch`]) and drops it when
///   told to.
/// - **Heard of.** Whoever keeps an opened key asks [`KeyCustody::heard`] before each use of it:
///   where custody is on another host and was not heard of for too long, a key may have been
///   suspended without anybody being told.
/// - **Log.** Each `seal` and `open`, refused or not, is on the log of the custodian before it is
///   answered.
/// - **Repeatable.** Every method may be called again.
#[async_trait]
pub trait KeyCustody: Send + Sync + fmt::Debug + 'static {
    /// The id that `reference` names. Whether there is a key of that id, and in which state, shows
    /// when it is used.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`].
    async fn resolve(&self, reference: &KeyReference) -> Result<KeyId, KeyError>;

    /// The ARN of a key.
    fn arn(&self, key: KeyId) -> KeyArn;

    /// Whether the caller may use a KMS key through the object store, with what is bound to
    /// `context`; and by which grant, if by one. The key's state is not looked at, and a refusal is
    /// not on the log: it is for the one who asks to put it there.
    ///
    /// # Errors
    /// [`KeyError::AccessDenied`], [`KeyError::NoSuchKey`].
    async fn authorize(
        &self,
        key: KeyId,
        custody_use: CustodyUse,
        context: &EncryptionContext,
        caller: &Caller,
    ) -> Result<Option<GrantId>, KeyError>;

    /// Seals a data key under the current version of a KMS key, bound to `context`.
    ///
    /// # Errors
    /// [`KeyError::AccessDenied`], [`KeyError::Disabled`], [`KeyError::PendingDeletion`],
    /// [`KeyError::NoSuchKey`], [`KeyError::TokenUnavailable`], [`KeyError::AuditUnavailable`],
    /// [`KeyError::CustodyUnavailable`].
    async fn seal(
        &self,
        key: KeyId,
        context: &EncryptionContext,
        data_key: &DataKey,
        caller: &Caller,
    ) -> Result<SealedDataKey, KeyError>;

    /// Opens what [`KeyCustody::seal`] sealed with the same context.
    ///
    /// # Errors
    /// As for `seal`, and [`KeyError::NotAuthentic`].
    async fn open(
        &self,
        blob: &CiphertextBlob,
        context: &EncryptionContext,
        caller: &Caller,
    ) -> Result<DataKey, KeyError>;

    /// The label of the token's key that wraps a version of a KMS key, or wrapped it until it was
    /// destroyed.
    ///
    /// # Errors
    /// [`KeyError::NotAuthentic`]: there is no such version.
    async fn root_of(&self, key: KeyId, version: KeyVersion) -> Result<String, KeyError>;

    /// The versions of KMS keys that are marked as compromised. Whoever keeps objects re-wraps what is
    /// under them; a mark is told as a rotation.
    ///
    /// # Errors
    /// Those of the machine, and [`KeyError::CustodyUnavailable`].
    async fn compromised(&self) -> Result<Vec<(KeyId, KeyVersion)>, KeyError>;

    /// Whether what was opened before may be used now: whether the one who watches would have been
    /// told, within the time that is allowed, of a key that may no longer be used. It costs nothing.
    ///
    /// # Errors
    /// [`KeyError::CustodyUnavailable`].
    fn heard(&self) -> Result<(), KeyError>;

    /// From now on tells `observer` of keys that may no longer be used and of keys that were
    /// rotated. It is told before the change is acknowledged to whoever asked for it.
    fn watch(&self, observer: Weak<dyn StateObserver>);
}

/// Is told when a KMS key may no longer be used, and when it has a new version.
pub trait StateObserver: Send + Sync {
    /// The key was disabled, scheduled for deletion or destroyed: whatever was opened with it is
    /// to be dropped at once.
    fn suspended(&self, key: KeyId);

    /// The key has a new version: nothing new is to be protected under an older one. What is
    /// protected under it is still read.
    fn rotated(&self, key: KeyId);

    /// Custody was not heard of for too long, or may have changed keys without telling: whatever was
    /// opened, with whichever key, is to be dropped at once.
    fn unheard(&self);
}
