//! The seams: what writers rely on, and what the log itself relies on for its signature.

use std::fmt;

use async_trait::async_trait;

/// The place of an entry in the log, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LeafIndex(pub u64);

impl fmt::Display for LeafIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why an entry is not on the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The entry is longer than the 65,535 bytes that tlog-tiles can carry.
    #[error("an audit entry of {len_bytes} bytes is longer than 65535")]
    TooLong {
        /// The entry's length.
        len_bytes: usize,
    },
    /// There is no room. The entry is not on the log.
    #[error("the audit volume is full")]
    Full,
    /// The log cannot be written; it takes no entry until it is opened again, and whoever needs
    /// one must refuse its work.
    #[error("the audit log is stopped: {reason}")]
    Stopped {
        /// What went wrong.
        reason: String,
    },
}

/// A text that the log vouches for, and the proof that an entry is on the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certified {
    /// The text as a C2SP signed note of the log's key: [`crate::verify_note`] reads it.
    pub note: String,
    /// The entry, as it stands on the log.
    pub entry: Vec<u8>,
    /// The proof that the entry is under a signed checkpoint: [`crate::verify_tlog_proof`] reads it.
    pub proof: String,
}

/// Why the log did not certify. It may be tried again, unless the text was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertifyError {
    /// No such text is signed: it could be taken for a checkpoint, or is not one that a note can
    /// carry.
    #[error("the log signs no such text: {rule}")]
    Refused {
        /// The rule that is broken.
        rule: &'static str,
    },
    /// The signer, or the log, could not serve.
    #[error("the log could not certify: {reason}")]
    Unavailable {
        /// What went wrong.
        reason: String,
    },
}

/// The log as its writers see it.
///
/// # Contract
///
/// - **Written.** When `append` returns, the entry is in the file: it survives the death of the
///   process, and, when the log was opened with synchronous durability, loss of power.
/// - **Ordered.** An entry that was acknowledged before another was begun has the smaller index.
/// - **Closed on failure.** An entry that could not be written is an error, never a silence; after
///   an error that leaves the file in doubt every later append fails.
/// - **Concurrent.** May be called from many tasks at once.
/// - **Certifying** changes nothing but that a checkpoint may be published, and may be repeated.
#[async_trait]
pub trait AuditLog: Send + Sync + fmt::Debug + 'static {
    /// Which log this is: its verifier key as text (C2SP signed-note), which no other log has.
    /// Empty for a log that has no key of its own.
    fn identity(&self) -> String {
        String::new()
    }

    /// Puts an entry on the log.
    ///
    /// # Errors
    /// [`AppendError`]; the caller must then not do what the entry says.
    async fn append(&self, entry: Vec<u8>) -> Result<LeafIndex, AppendError>;

    /// Signs `text` with the key of the log, and proves that the entry `index` is on it. A log that
    /// has no key of its own cannot.
    ///
    /// # Errors
    /// [`CertifyError`].
    async fn certify(&self, index: LeafIndex, text: &str) -> Result<Certified, CertifyError> {
        let _ = (index, text);
        Err(CertifyError::Unavailable {
            reason: "this log has no key".to_owned(),
        })
    }
}

/// Why a checkpoint could not be signed. Signing may be tried again.
#[derive(Debug, thiserror::Error)]
#[error("the checkpoint could not be signed: {reason}")]
pub struct SignError {
    /// What the signer said.
    pub reason: String,
}

/// Signs checkpoints with an Ed25519 key (RFC 8032) that the signer keeps to itself.
#[async_trait]
pub trait CheckpointSigner: Send + Sync + fmt::Debug + 'static {
    /// The 32-byte Ed25519 public key.
    fn public_key(&self) -> [u8; 32];

    /// The 64-byte Ed25519 signature of `message`.
    ///
    /// # Errors
    /// [`SignError`]; it may be tried again.
    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError>;
}
