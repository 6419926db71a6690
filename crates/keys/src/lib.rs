//! The key service: key hierarchy, states, data keys, the key-to-object ledger.
//!
//! It has two halves. [`Kms`] is the custody half: KMS keys, whose values never leave the token,
//! and what is encrypted under them. [`ObjectKeys`] is the object half: one data key for each
//! upload, wrapped under a customer's key, a bucket key, or a KMS key. Between them stands
//! [`KeyCustody`], narrow enough to be put on another host.
//!
//! ```text
//! root KEK (token) ── KMS key version (wrapped by it) ─┬─ bucket key ── data key ── payload
//!                                                      └─ data key ── payload
//! customer's key ── HKDF with the object's salt ── data key ── payload
//! ```
//!
//! Every use of a key is on the audit log before its result leaves, and so is every refusal. What
//! the log does not take is not done ([`KeyError::AuditUnavailable`]).
//!
//! The formats of envelopes, ciphertexts, rows and log entries are in `docs/format/keys.md`.

mod arn;
mod bucket_keys;
mod caller;
mod context;
mod custody;
mod customer;
mod encoding;
mod envelope;
mod error;
mod journal;
mod kms;
mod ledger;
mod names;
mod objects;
mod quorum;
mod rewrap;
mod rows;
mod service;
mod store_keys;
mod token_keys;
mod users;

pub use arn::{AliasName, Home, KeyArn, KeyId, KeyReference, KeyVersion, Named};
pub use caller::{Caller, Standing, StoreName};
pub use context::EncryptionContext;
pub use custody::{CustodyUse, KeyCustody, SealedDataKey, StateObserver};
pub use customer::CustomerKey;
pub use envelope::{EncryptionMode, KeyEnvelope, Protection};
pub use error::KeyError;
pub use kms::{
    Alias, Backup, BackupError, BackupPage, Certificate, CertificateError, CertificateState,
    CiphertextBlob, DataKeyPairSpec, Decrypted, Drill, DrilledKey, DueReport, Encrypted,
    GeneratedDataKey, GeneratedDataKeyPair, Grant, GrantConstraint, GrantFilter, GrantOperation,
    GrantReference, ImportKind, ImportParameters, ImportedMaterial, KeyDescription, KeyManager,
    KeyOperation, KeyOrigin, KeySpec, KeyState, KeyUsage, KeyUseCount, KeyUseLimits, Kms, LastUse,
    MaterialState, NewGrant, NewKey, NewMaterial, NewPolicy, Page, Principal, PublicKey,
    Reencrypted, RestoreReport, RewrapJob, RewrapLevel, RewrapProgress, RewrapState, RotationKind,
    RotationSchedule, RotationStatus, SignedMessage, SigningAlgorithm, Tags, UseLimit,
    VerifiedCertificate, VersionDescription, VersionState, WrappingMethod, drill_backup,
    escrow_key_fingerprint, restore_backup, verify_certificate,
};
pub use ledger::{
    BucketKeyDescription, ChainLink, ClassCode, ImpactGroup, ImpactPage, LedgerEntry, LedgerKey,
    Tally, Weight,
};
pub use names::{
    BindingId, BucketKeyId, CustomerFingerprint, GrantId, KeyMaterialId, ObjectName, ProposalId,
    ProtectedVersion,
};
pub use objects::ObjectKeys;
pub use quorum::{
    Approval, GuardedAct, GuardedOperation, NewQuorumRule, Proposal, ProposalState, Quorum,
    QuorumFinding, QuorumHistory, QuorumReport, QuorumRule, Statement, restore_quorum_rule,
};
pub use rewrap::{RewrapEntry, RewrapScope};
pub use service::{KeyLimits, KeyService, KeysConfig};
pub use store_keys::{SealedSigner, StoreKeys};
pub use token_keys::{TokenSigner, ensure_escrow_key, ensure_token_keys, token_keys};
pub use users::{AccessKeyId, Credential, NewUser, Role, User, Users};
