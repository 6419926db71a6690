//! Transitions: a version changes its class, and its bytes go to the cold tier where that says so.

use crate::change::Change;
use crate::payload::{sealed_payload, segments_of};
use crate::rows::{Content, keys};
use crate::{
    ColdCopy, RestoreState, StorageClass, Store, StoreError, TransitionCommit, TransitionStep,
    VersionName,
};

impl Store {
    /// Changes the class of a version between two that are both warm. No byte is moved.
    ///
    /// # Errors
    /// Those of the machine.
    pub async fn set_warm_class(
        &self,
        name: &VersionName,
        to: StorageClass,
    ) -> Result<TransitionCommit, StoreError> {
        let inner = &*self.inner;
        let mut attempts = inner.attempts(&name.bucket, name.key.as_str());
        loop {
            let Some(held) = inner.held(name).await? else {
                return Ok(TransitionCommit::Superseded);
            };
            if held.content.class.is_archived() || to.is_archived() {
                return Ok(TransitionCommit::Superseded);
            }
            let mut change = Change::new(inner);
            let after = Content {
                class: to,
                ..(*held.content).clone()
            };
            held.rewrite(&mut change, name, after);
            if attempts.commit(change).await? {
                return Ok(TransitionCommit::Done);
            }
        }
    }

    /// Says what is to be done to bring a version to an archived class. It changes nothing.
    ///
    /// # Errors
    /// Those of the machine.
    pub async fn begin_transition(
        &self,
        name: &VersionName,
        to: StorageClass,
    ) -> Result<TransitionStep, StoreError> {
        let inner = &*self.inner;
        let Some(held) = inner.held(name).await? else {
            return Ok(TransitionStep::Superseded);
        };
        let content = &held.content;
        if !may_become(content, to) {
            return Ok(TransitionStep::Superseded);
        }
        if content.class == to && !content.archive_pending {
            return Ok(TransitionStep::Done);
        }
        let Some(payload) = inner.payload(content.payload).await? else {
            // The version was deleted since it was read.
            return Ok(TransitionStep::Superseded);
        };
        if let Some(cold) = payload.cold {
            return Ok(TransitionStep::Share(ColdCopy { class: to, ..cold }));
        }
        let parts = segments_of(inner, content.payload, &payload).await?;
        let sealed = sealed_payload(content.payload, &parts)?;
        Ok(TransitionStep::Submit(sealed))
    }

    /// Makes a version archived in the class of `cold`, once its bytes are there.
    ///
    /// The warm copy is given back in the same batch, unless another version holds it.
    ///
    /// # Errors
    /// Those of the machine.
    pub async fn commit_transition(
        &self,
        name: &VersionName,
        cold: ColdCopy,
    ) -> Result<TransitionCommit, StoreError> {
        let inner = &*self.inner;
        let mut attempts = inner.attempts(&name.bucket, name.key.as_str());
        loop {
            let Some(held) = inner.held(name).await? else {
                return Ok(TransitionCommit::Superseded);
            };
            let before = &held.content;
            if !may_become(before, cold.class) {
                return Ok(TransitionCommit::Superseded);
            }
            let mut change = Change::new(inner);
            let Some(payload) = change.payload_if_there(before.payload).await? else {
                return Ok(TransitionCommit::Superseded);
            };
            let outcome = match &payload.cold {
                Some(kept) if kept.locator != cold.locator => TransitionCommit::Redundant,
                Some(_) => TransitionCommit::Done,
                None => {
                    payload.cold = Some(cold.clone());
                    TransitionCommit::Done
                }
            };
            if before.class == cold.class && !before.archive_pending {
                return Ok(outcome);
            }
            let mut after = Content {
                class: cold.class,
                archive_pending: false,
                ..(**before).clone()
            };
            if !matches!(after.restore, Some(RestoreState::Restored { .. })) {
                after.whole = None;
            }
            change.release(before).await?;
            change.hold(&after).await?;
            if before.archive_pending {
                change.batch.delete(keys::ARCHIVES, keys::named(name));
            }
            held.rewrite(&mut change, name, after);
            if attempts.commit(change).await? {
                return Ok(outcome);
            }
        }
    }
}

/// Whether a version may become archived in a class: from a warm class, from the same one, or from
/// a warmer archived one.
fn may_become(content: &Content, to: StorageClass) -> bool {
    to.is_archived() && content.class <= to
}
