//! A tier that stands before another one and fails on demand.
//!
//! Faults injected: a call that does nothing and says so; a call that does its work and says that
//! the outcome is unknown; a bit of a read turned over; a
//! retrieval that another one ended; no room for expedited retrievals. Not
//! injected: a tier that loses what it called durable, which nobody survives.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use parking_lot::Mutex;

use super::seam::{
    ArchiveId, ArchiveSource, ColdError, ColdTier, Holding, Retrieval, Submission, SubmitOutcome,
};
use crate::{RetrievalTier, StorageClass};

/// A call of the seam.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TierCall {
    /// [`ColdTier::submit`].
    Submit,
    /// [`ColdTier::lookup`].
    Lookup,
    /// [`ColdTier::request_retrieval`].
    RequestRetrieval,
    /// [`ColdTier::poll`].
    Poll,
    /// [`ColdTier::read`].
    Read,
    /// [`ColdTier::release`].
    Release,
    /// [`ColdTier::expire`].
    Expire,
}

impl TierCall {
    /// All calls.
    pub const ALL: [Self; 7] = [
        Self::Submit,
        Self::Lookup,
        Self::RequestRetrieval,
        Self::Poll,
        Self::Read,
        Self::Release,
        Self::Expire,
    ];
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does nothing, and answers [`ColdError::Unavailable`].
    NotDone,
    /// It does its work, and answers [`ColdError::OutcomeUnknown`].
    DoneButUnknown,
    /// A read gives a wrong bit; any other call answers as with [`Fault::NotDone`].
    WrongBit,
    /// The call answers [`ColdError::ExpeditedUnavailable`].
    NoExpedited,
    /// A read finds that the archive went back to rest; any other call answers as with
    /// [`Fault::NotDone`].
    NotRetrieved,
}

/// A tier with faults.
#[derive(Debug)]
pub struct FaultyTier {
    inner: Arc<dyn ColdTier>,
    faults: Mutex<VecDeque<(TierCall, Fault)>>,
    calls: Mutex<Vec<TierCall>>,
}

impl FaultyTier {
    /// A tier that does what `inner` does until it is told to fail.
    #[must_use]
    pub fn new(inner: Arc<dyn ColdTier>) -> Self {
        Self {
            inner,
            faults: Mutex::default(),
            calls: Mutex::default(),
        }
    }

    /// Lets the next such call fail. Several faults of one call come one after the other.
    pub fn fail_next(&self, call: TierCall, fault: Fault) {
        self.faults.lock().push_back((call, fault));
    }

    /// The calls so far, in order, those that failed among them.
    #[must_use]
    pub fn calls(&self) -> Vec<TierCall> {
        self.calls.lock().clone()
    }

    /// The fault of this call, unless it is to go through; `Ok(true)` is to be done and then
    /// answered as unknown.
    fn meet(&self, call: TierCall) -> Result<bool, ColdError> {
        self.calls.lock().push(call);
        let mut faults = self.faults.lock();
        let Some(position) = faults.iter().position(|(failing, _)| *failing == call) else {
            return Ok(false);
        };
        match faults.remove(position).map(|(_, fault)| fault) {
            None => Ok(false),
            Some(Fault::DoneButUnknown) => Ok(true),
            Some(Fault::NoExpedited) => Err(ColdError::ExpeditedUnavailable),
            Some(Fault::NotDone | Fault::WrongBit | Fault::NotRetrieved) => {
                Err(ColdError::Unavailable {
                    doing: "was told to fail",
                    reason: format!("{call:?} was not done"),
                })
            }
        }
    }

    /// Whether the next read is to meet this fault, which is then over.
    fn takes_read_fault(&self, fault: Fault) -> bool {
        let mut faults = self.faults.lock();
        let met = faults
            .iter()
            .position(|met| *met == (TierCall::Read, fault));
        met.is_some_and(|position| faults.remove(position).is_some())
    }
}

fn answer<T>(result: Result<T, ColdError>, is_unknown: bool) -> Result<T, ColdError> {
    match result {
        Ok(_) if is_unknown => Err(ColdError::OutcomeUnknown {
            doing: "was told to fail",
            reason: "it was done".to_owned(),
        }),
        result => result,
    }
}

#[async_trait]
impl ColdTier for FaultyTier {
    async fn submit(
        &self,
        submission: &Submission,
        source: &mut dyn ArchiveSource,
    ) -> Result<SubmitOutcome, ColdError> {
        let is_unknown = self.meet(TierCall::Submit)?;
        answer(self.inner.submit(submission, source).await, is_unknown)
    }

    async fn lookup(&self, archive: ArchiveId) -> Result<Holding, ColdError> {
        let is_unknown = self.meet(TierCall::Lookup)?;
        answer(self.inner.lookup(archive).await, is_unknown)
    }

    async fn request_retrieval(
        &self,
        archive: ArchiveId,
        class: StorageClass,
        tier: RetrievalTier,
    ) -> Result<(), ColdError> {
        let is_unknown = self.meet(TierCall::RequestRetrieval)?;
        answer(
            self.inner.request_retrieval(archive, class, tier).await,
            is_unknown,
        )
    }

    async fn poll(&self, archive: ArchiveId) -> Result<Retrieval, ColdError> {
        let is_unknown = self.meet(TierCall::Poll)?;
        answer(self.inner.poll(archive).await, is_unknown)
    }

    async fn read(
        &self,
        archive: ArchiveId,
        part: usize,
        offset: u64,
        buffer: BytesMut,
    ) -> Result<BytesMut, ColdError> {
        if self.takes_read_fault(Fault::NotRetrieved) {
            self.calls.lock().push(TierCall::Read);
            self.inner.release(archive).await?;
            return Err(ColdError::NotRetrieved { archive });
        }
        if self.takes_read_fault(Fault::WrongBit) {
            self.calls.lock().push(TierCall::Read);
            let mut bytes = self.inner.read(archive, part, offset, buffer).await?;
            if let Some(first) = bytes.first_mut() {
                *first ^= 1;
            }
            return Ok(bytes);
        }
        let is_unknown = self.meet(TierCall::Read)?;
        answer(
            self.inner.read(archive, part, offset, buffer).await,
            is_unknown,
        )
    }

    async fn release(&self, archive: ArchiveId) -> Result<(), ColdError> {
        let is_unknown = self.meet(TierCall::Release)?;
        answer(self.inner.release(archive).await, is_unknown)
    }

    async fn expire(&self, archive: ArchiveId) -> Result<(), ColdError> {
        let is_unknown = self.meet(TierCall::Expire)?;
        answer(self.inner.expire(archive).await, is_unknown)
    }
}
