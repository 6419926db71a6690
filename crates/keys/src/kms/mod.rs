//! The custody half: KMS keys, and what is encrypted under them.
//!
//! The value of a KMS key is made in the token, leaves it only wrapped by the root KEK, and is
//! used inside the token. This process never sees it.

mod access;
mod aliases;
mod backup;
mod certificate;
mod change;
mod ciphertext;
mod cryptography;
mod custodian;
mod data_pairs;
mod destruction;
mod due;
mod grants;
mod imports;
mod keys;
mod limits;
mod pairs;
mod policies;
mod rewrap;
mod rotation;
mod spec;
mod states;
mod tags;
mod usage;
mod versions;

use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};

use lru::LruCache;
use parking_lot::Mutex;
use strongroom_environment::{Clock, Entropy, Timestamp};
use strongroom_meta::MetaStore;
use strongroom_pkcs11::{Token, WrappedKey};

use crate::arn::{AliasName, Home, KeyArn, KeyId, KeyVersion};
use crate::custody::StateObserver;
use crate::error::KeyError;
use crate::journal::Journal;
use crate::quorum::Quorum;

pub use access::Principal;
pub use backup::{
    Backup, BackupError, BackupPage, Drill, DrilledKey, RestoreReport, drill_backup,
    escrow_key_fingerprint, restore_backup,
};
pub use certificate::{
    Certificate, CertificateError, CertificateState, VerifiedCertificate, verify_certificate,
};
pub use ciphertext::CiphertextBlob;
pub use cryptography::{Decrypted, Encrypted, GeneratedDataKey, Reencrypted};
pub use data_pairs::{DataKeyPairSpec, GeneratedDataKeyPair};
pub use due::DueReport;
pub use grants::{Grant, GrantConstraint, GrantFilter, GrantOperation, GrantReference, NewGrant};
pub use imports::{
    ImportKind, ImportParameters, ImportedMaterial, KeyOrigin, MaterialState, NewMaterial,
    WrappingMethod,
};
pub use keys::NewKey;
pub use limits::{KeyUseCount, KeyUseLimits, UseLimit};
pub use pairs::{PublicKey, SignedMessage};
pub use policies::NewPolicy;
pub(crate) use rewrap::rewrap_jobs;
pub use rewrap::{RewrapJob, RewrapLevel, RewrapProgress, RewrapState};
pub use rotation::{RotationSchedule, RotationStatus};
pub use spec::{KeySpec, SigningAlgorithm};
pub use tags::Tags;
pub use usage::{KeyOperation, KeyUsage, LastUse};
pub use versions::{RotationKind, VersionDescription, VersionState};

/// Whether a KMS key may be used.
///
/// Source: AWS KMS Developer Guide, "Key states of AWS KMS keys".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyState {
    /// It may.
    Enabled,
    /// It may not until it is enabled.
    Disabled,
    /// It may not until material is imported: it has had none, or some has expired or was deleted.
    PendingImport,
    /// It may not, and will be deleted at a date unless that is cancelled.
    PendingDeletion {
        /// The date.
        date: Timestamp,
    },
    /// It never may again: its versions are gone, and to whoever uses it there is no such key.
    Destroyed {
        /// Since when.
        date: Timestamp,
    },
}

/// Who decides over a KMS key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyManager {
    /// Whoever may administer keys.
    Customer,
    /// The service; it is neither disabled nor deleted nor used from outside.
    Service,
}

/// What there is to know of a KMS key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyDescription {
    /// Its id.
    pub id: KeyId,
    /// Its ARN.
    pub arn: KeyArn,
    /// Whether it may be used.
    pub state: KeyState,
    /// Who decides over it.
    pub manager: KeyManager,
    /// What it is and what it is for.
    pub spec: KeySpec,
    /// Where its material comes from.
    pub origin: KeyOrigin,
    /// The version that encrypts. Every version decrypts.
    pub current_version: KeyVersion,
    /// When it was made.
    pub created: Timestamp,
    /// How it is rotated by the clock, if it is.
    pub rotation: Option<RotationSchedule>,
    /// What its maker said of it.
    pub description: String,
}

/// A second name of a KMS key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alias {
    /// The name.
    pub name: AliasName,
    /// Its ARN.
    pub arn: String,
    /// The key it names.
    pub key: KeyId,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last made to name another key.
    pub updated: Timestamp,
}

/// A part of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<T> {
    /// What is on this page.
    pub items: Vec<T>,
    /// What to ask the next page with; `None` on the last.
    pub next: Option<String>,
}

/// The KMS: keys, aliases, and the operations of the KMS protocol.
///
/// Methods that change or use a key put an entry on the audit log before they answer. Methods that
/// only look do not.
#[derive(Debug)]
pub struct Kms {
    home: Home,
    token: Arc<dyn Token>,
    meta: Arc<dyn MetaStore>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Wrapped key versions whose MAC was found right. They never change, so they need no expiry.
    verified: Mutex<LruCache<(KeyId, KeyVersion), Arc<WrappedKey>>>,
    /// HMAC keys and key pairs whose MAC was found right. They never change either.
    vouched: Mutex<LruCache<KeyId, Arc<pairs::VouchedKey>>>,
    governances: access::Governances,
    /// What takes the approval of custodians.
    quorum: Arc<Quorum>,
    /// Held while a key, an alias or a state is changed.
    administration: Arc<tokio::sync::Mutex<()>>,
    observers: Mutex<Observers>,
    /// Uses of keys that are not written yet.
    noted: Mutex<usage::Noted>,
    /// How much the versions of keys have protected.
    meters: Mutex<limits::Meters>,
    /// Held while uses are reserved, or what was counted is written.
    reserving: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Observers(Vec<Weak<dyn StateObserver>>);

impl std::fmt::Debug for Observers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} observers", self.0.len())
    }
}

impl Kms {
    /// Wrapped key versions kept verified. They are not secret; a version out of the cache costs
    /// a MAC of the token at its next use.
    const VERIFIED_MAX: NonZeroUsize = NonZeroUsize::new(4_096).expect("4096 is not 0");

    pub(crate) fn new(
        quorum: Arc<Quorum>,
        home: Home,
        token: Arc<dyn Token>,
        meta: Arc<dyn MetaStore>,
        journal: Arc<Journal>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            governances: access::Governances::new(&home),
            home,
            token,
            meta,
            journal,
            clock,
            entropy,
            verified: Mutex::new(LruCache::new(Self::VERIFIED_MAX)),
            vouched: Mutex::new(LruCache::new(Self::VERIFIED_MAX)),
            administration: Arc::clone(&quorum.administration),
            quorum,
            observers: Mutex::default(),
            noted: Mutex::default(),
            meters: Mutex::default(),
            reserving: tokio::sync::Mutex::default(),
        }
    }

    /// The region and account of the keys.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// What takes the approval of custodians.
    #[must_use]
    pub fn quorum(&self) -> &Arc<Quorum> {
        &self.quorum
    }

    /// Whether the token under the keys serves now.
    ///
    /// # Errors
    /// [`KeyError::TokenUnavailable`]: why not.
    pub async fn health(&self) -> Result<(), KeyError> {
        Ok(self.token.health().await?)
    }
}
