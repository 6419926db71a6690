//! Tests of the whole log, and what they share.

mod differential;
mod faults;
mod faulty_disk;
mod format;
mod handover;
mod opening;
mod serving;
mod tampering;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use ed25519_dalek::{Signer as _, SigningKey};

use crate::{AuditLog, CheckpointSigner, Log, LogConfig, Origin, SignError};

/// A signer in software that can be made to fail, or to sign something else.
#[derive(Debug)]
pub(crate) struct TestSigner {
    key: SigningKey,
    refuses: AtomicBool,
    lies: AtomicBool,
    signed: AtomicU64,
}

impl TestSigner {
    pub(crate) fn new() -> Arc<Self> {
        Self::from_seed(7)
    }

    pub(crate) fn from_seed(seed: u8) -> Arc<Self> {
        Arc::new(Self {
            key: SigningKey::from_bytes(&[seed; 32]),
            refuses: AtomicBool::new(false),
            lies: AtomicBool::new(false),
            signed: AtomicU64::new(0),
        })
    }
}

#[async_trait]
impl CheckpointSigner for TestSigner {
    fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(SignError {
                reason: "the token is away".to_owned(),
            });
        }
        self.signed.fetch_add(1, Ordering::Relaxed);
        if self.lies.load(Ordering::Relaxed) {
            return Ok(self.key.sign(b"something else").to_bytes());
        }
        Ok(self.key.sign(message).to_bytes())
    }
}

pub(crate) fn config(dir: &Path) -> LogConfig {
    LogConfig::new(dir, Origin::new("store.example/audit").unwrap())
}

pub(crate) fn open(dir: &Path) -> Log {
    Log::open(config(dir), TestSigner::new()).unwrap()
}

/// Entries of different lengths, each its own.
pub(crate) fn entry(index: u64) -> Vec<u8> {
    let mut entry = format!("entry {index} ").into_bytes();
    entry.resize(entry.len() + (index % 23) as usize, b'.');
    entry
}

pub(crate) async fn append(log: &Log, count: u64) {
    for _ in 0..count {
        let index = log.size();
        assert_eq!(log.append(entry(index)).await.unwrap().0, index);
    }
}
