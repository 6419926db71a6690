//! Logs for tests of what writes to one: in memory, and failing on demand.

use std::sync::Arc;

use async_trait::async_trait;
use ed25519_dalek::{Signer as _, SigningKey};
use parking_lot::Mutex;

use crate::note::{
    Checkpoint, Origin, VerifierKey, checkpoint_body, signed_note, unfit_to_certify,
};
use crate::proof::tlog_proof;
use crate::seam::{AppendError, AuditLog, Certified, CertifyError, LeafIndex};
use crate::tile::ENTRY_LEN_BYTES_MAX;
use crate::tree::{Edge, Subtrees, TreeHash, inclusion, subtree_in_tile};

/// A log that keeps its entries in memory and shows them. Nothing is durable, and what it certifies
/// is signed by a key that everybody knows.
#[derive(Debug, Default)]
pub struct MemoryLog {
    entries: Mutex<Vec<Vec<u8>>>,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The entries so far, in order.
    #[must_use]
    pub fn entries(&self) -> Vec<Vec<u8>> {
        self.entries.lock().clone()
    }

    /// The key by which what it certifies is verified: that of the log `example.com/audit`, signed
    /// by the seed `07` repeated 32 times.
    #[must_use]
    pub fn verifier_key() -> String {
        verifier().to_string()
    }
}

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn verifier() -> VerifierKey {
    let origin = Origin::new("example.com/audit").expect("it is a good name");
    VerifierKey::new(origin, signing_key().verifying_key().as_bytes()).expect("it is a good key")
}

/// All leaves of a small tree.
struct Leaves(Vec<TreeHash>);

impl Subtrees for Leaves {
    type Error = CertifyError;

    fn subtree(&mut self, height: u32, number: u64) -> Result<TreeHash, CertifyError> {
        usize::try_from(number << height)
            .ok()
            .and_then(|first| subtree_in_tile(&self.0, first, height))
            .ok_or(CertifyError::Unavailable {
                reason: "there is no such entry".to_owned(),
            })
    }
}

#[async_trait]
impl AuditLog for MemoryLog {
    fn identity(&self) -> String {
        Self::verifier_key()
    }

    async fn append(&self, entry: Vec<u8>) -> Result<LeafIndex, AppendError> {
        if entry.len() > ENTRY_LEN_BYTES_MAX {
            return Err(AppendError::TooLong {
                len_bytes: entry.len(),
            });
        }
        let mut entries = self.entries.lock();
        entries.push(entry);
        Ok(LeafIndex(entries.len() as u64 - 1))
    }

    async fn certify(&self, index: LeafIndex, text: &str) -> Result<Certified, CertifyError> {
        let verifier = verifier();
        if let Some(rule) = unfit_to_certify(text, verifier.origin()) {
            return Err(CertifyError::Refused { rule });
        }
        let entries = self.entries();
        let entry = usize::try_from(index.0).ok().and_then(|at| entries.get(at));
        let entry = entry.cloned().ok_or(CertifyError::Unavailable {
            reason: "there is no such entry".to_owned(),
        })?;
        let mut edge = Edge::empty();
        let leaves: Vec<_> = entries
            .iter()
            .map(|entry| TreeHash::of_entry(entry))
            .collect();
        for leaf in &leaves {
            edge.push(*leaf, &mut Vec::new());
        }
        let size = entries.len() as u64;
        let path = inclusion(&mut Leaves(leaves), index.0, size)?;
        let sign = |text: &str| signing_key().sign(text.as_bytes()).to_bytes();
        let body = checkpoint_body(verifier.origin(), size, edge.root());
        let checkpoint = Checkpoint::seal(&body, &sign(&body), &verifier);
        let checkpoint = checkpoint.expect("it was signed by the key");
        Ok(Certified {
            note: signed_note(text, &sign(text), &verifier),
            entry,
            proof: tlog_proof(index.0, &path, &checkpoint),
        })
    }
}

/// How a [`FaultyLog`] fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LogFault {
    /// Answers [`AppendError::Full`]; the entry is not on the log.
    Full,
    /// Answers [`AppendError::Stopped`]; the entry is not on the log.
    Stopped,
    /// Puts the entry on the log, and yet answers [`AppendError::Stopped`], as after a sync that
    /// failed.
    StoppedAfterWriting,
}

/// A log that passes entries on to another until it is told to fail.
#[derive(Debug)]
pub struct FaultyLog {
    inner: Arc<dyn AuditLog>,
    plan: Mutex<Plan>,
}

#[derive(Debug)]
struct Plan {
    fault: Option<LogFault>,
    entries_before: u64,
}

impl FaultyLog {
    /// A log that works like `inner`, for now.
    #[must_use]
    pub fn new(inner: Arc<dyn AuditLog>) -> Self {
        Self {
            inner,
            plan: Mutex::new(Plan {
                fault: None,
                entries_before: 0,
            }),
        }
    }

    /// Fails every append after the next `entries`, until [`FaultyLog::recover`].
    pub fn fail_after(&self, entries: u64, fault: LogFault) {
        *self.plan.lock() = Plan {
            fault: Some(fault),
            entries_before: entries,
        };
    }

    /// Works again.
    pub fn recover(&self) {
        self.plan.lock().fault = None;
    }

    fn next_fault(&self) -> Option<LogFault> {
        let mut plan = self.plan.lock();
        match plan.entries_before.checked_sub(1) {
            Some(left) if plan.fault.is_some() => {
                plan.entries_before = left;
                None
            }
            _ => plan.fault,
        }
    }
}

#[async_trait]
impl AuditLog for FaultyLog {
    fn identity(&self) -> String {
        self.inner.identity()
    }

    async fn append(&self, entry: Vec<u8>) -> Result<LeafIndex, AppendError> {
        let stopped = || AppendError::Stopped {
            reason: "a test stopped the log".to_owned(),
        };
        match self.next_fault() {
            None => self.inner.append(entry).await,
            Some(LogFault::Full) => Err(AppendError::Full),
            Some(LogFault::Stopped) => Err(stopped()),
            Some(LogFault::StoppedAfterWriting) => {
                self.inner.append(entry).await?;
                Err(stopped())
            }
        }
    }

    async fn certify(&self, index: LeafIndex, text: &str) -> Result<Certified, CertifyError> {
        // It counts like an entry, so that a plan of faults meets it too.
        match self.next_fault() {
            None => self.inner.certify(index, text).await,
            Some(_) => Err(CertifyError::Unavailable {
                reason: "a test stopped the log".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{verify_note, verify_tlog_proof};

    #[tokio::test]
    async fn a_faulty_log_fails_when_told_and_only_then() {
        let memory = Arc::new(MemoryLog::new());
        let log = FaultyLog::new(memory.clone());
        log.append(b"0".to_vec()).await.unwrap();
        log.fail_after(1, LogFault::Full);
        assert_eq!(log.append(b"1".to_vec()).await.unwrap(), LeafIndex(1));
        for _ in 0..2 {
            assert!(matches!(
                log.append(b"lost".to_vec()).await,
                Err(AppendError::Full)
            ));
        }
        log.fail_after(0, LogFault::StoppedAfterWriting);
        assert!(matches!(
            log.append(b"2".to_vec()).await,
            Err(AppendError::Stopped { .. })
        ));
        log.recover();
        log.append(b"3".to_vec()).await.unwrap();
        assert_eq!(memory.entries(), [b"0", b"1", b"2", b"3"]);
    }

    #[tokio::test]
    async fn what_memory_certifies_is_verified_like_that_of_the_real_log() {
        let log = MemoryLog::new();
        for count in 1..=300_u64 {
            log.append(count.to_string().into_bytes()).await.unwrap();
            let index = LeafIndex(count * 7_919 / 13 % count);
            let text = format!("a statement/v1\n\nnumber {count}\n");
            let certified = log.certify(index, &text).await.unwrap();
            let key = VerifierKey::parse(&MemoryLog::verifier_key()).unwrap();
            assert_eq!(verify_note(&certified.note, &key).unwrap(), text);
            let proven = verify_tlog_proof(
                &certified.proof,
                &certified.entry,
                &MemoryLog::verifier_key(),
            )
            .unwrap();
            assert_eq!(proven.index, index);
        }
        let beyond = log.certify(LeafIndex(300), "text\n").await;
        assert!(matches!(beyond, Err(CertifyError::Unavailable { .. })));
        for text in ["example.com/audit\n1\nx\n", "no newline", "a\tb\n", ""] {
            let refused = log.certify(LeafIndex(0), text).await;
            assert!(
                matches!(refused, Err(CertifyError::Refused { .. })),
                "{text:?}"
            );
        }
    }

    #[tokio::test]
    async fn memory_has_the_length_limit_of_the_real_log() {
        let log = MemoryLog::new();
        log.append(vec![0; 65_535]).await.unwrap();
        assert!(matches!(
            log.append(vec![0; 65_536]).await,
            Err(AppendError::TooLong { len_bytes: 65_536 })
        ));
    }
}
