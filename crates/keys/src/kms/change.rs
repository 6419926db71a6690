//! How the row of a key is changed, and who is told.

use std::time::Duration;

use strongroom_audit::LeafIndex;
use strongroom_meta::{Batch, CommitError};

use super::access::{Wish, action_of};
use super::{KeyState, Kms};
use crate::arn::{KeyArn, KeyId, KeyReference};
use crate::caller::Caller;
use crate::custody::StateObserver;
use crate::error::KeyError;
use crate::journal::{Entry, KeyNamed};
use crate::quorum::GuardedRequest;
use crate::rows::{DUE, Due, KEYS, KeyRow, Read};

impl Kms {
    /// Changes the row of a customer's key as `change` does, which may refuse.
    ///
    /// Gives the row as it was written. Where the key may not be used with it, the observers are
    /// told before this returns.
    pub(super) async fn change_key(
        &self,
        reference: &KeyReference,
        entry: Entry<'_>,
        caller: &Caller,
        change: impl FnOnce(KeyId, &mut KeyRow) -> Result<(), KeyError> + Send,
    ) -> Result<(KeyId, KeyRow), KeyError> {
        let action = action_of(entry.act);
        let wish = Wish::to(&action).reference(reference);
        self.change_key_as(&wish, reference, entry, caller, change)
            .await
    }

    /// As [`Kms::change_key`], with more that the policy of the key can look at than the act that
    /// the entry tells of.
    pub(super) async fn change_key_as(
        &self,
        wish: &Wish<'_>,
        reference: &KeyReference,
        entry: Entry<'_>,
        caller: &Caller,
        change: impl FnOnce(KeyId, &mut KeyRow) -> Result<(), KeyError> + Send,
    ) -> Result<(KeyId, KeyRow), KeyError> {
        let unguarded = |_: &KeyArn| None;
        self.change_key_and(
            wish,
            reference,
            entry,
            caller,
            unguarded,
            change,
            |_, _, _| (),
        )
        .await
    }

    /// As [`Kms::change_key_as`], where the change has rows of its own: `also` writes them, and
    /// learns the place of the entry on the log. `guarded` says what custodians may have to approve.
    #[expect(
        clippy::too_many_arguments,
        reason = "each says another part of a change"
    )]
    pub(super) async fn change_key_and(
        &self,
        wish: &Wish<'_>,
        reference: &KeyReference,
        entry: Entry<'_>,
        caller: &Caller,
        guarded: impl FnOnce(&KeyArn) -> Option<GuardedRequest> + Send,
        change: impl FnOnce(KeyId, &mut KeyRow) -> Result<(), KeyError> + Send,
        also: impl FnOnce(KeyId, LeafIndex, &mut Batch) + Send,
    ) -> Result<(KeyId, KeyRow), KeyError> {
        let _alone = self.administration.lock().await;
        let (id, read) = match self.find(reference).await {
            Ok(found) => found,
            Err(error) => {
                let entry = entry.key(KeyNamed::reference(reference));
                return self.journal.settle(caller, entry, Err(error)).await;
            }
        };
        let arn = self.home.arn(id);
        let mut row = read.row.clone();
        let mut approval = None;
        let prepared = async {
            self.check_manager(id, &row)?;
            self.authorize(id, wish, caller).await?;
            change(id, &mut row)?;
            let mut batch = Batch::new();
            Self::put_key(&mut batch, id, &read, &row);
            if let Some(guarded) = guarded(&arn) {
                self.quorum
                    .consume(&guarded, caller, &mut approval, &mut batch)
                    .await?;
            }
            Ok(batch)
        }
        .await;
        let entry = entry.key(KeyNamed::kms(&arn)).approval(approval);
        let is_refused = prepared.is_err();
        let changed = self
            .journal
            .change_and_tell(&*self.meta, caller, entry, prepared, |index, batch| {
                also(id, index, batch);
            })
            .await;
        // Told also when it is not known whether the row was written: what is dropped without
        // need is opened again.
        if !is_refused && row.state != KeyState::Enabled {
            self.tell(|observer| observer.suspended(id));
        }
        changed?;
        Ok((id, row))
    }

    /// Puts the row of a key in the place of the one that was read, and with it what is due.
    pub(super) fn put_key(batch: &mut Batch, id: KeyId, read: &Read<KeyRow>, row: &KeyRow) {
        read.replace(batch, KEYS, id.as_bytes(), row);
        let (before, after) = (Due::of(id, &read.row), Due::of(id, row));
        // A batch names a row once.
        if before != after {
            if let Some(due) = before {
                batch.delete(DUE, due.to_bytes());
            }
            if let Some(due) = after {
                batch.put(DUE, due.to_bytes(), []);
            }
        }
    }

    pub(super) fn tell(&self, what: impl Fn(&dyn StateObserver)) {
        let observers: Vec<_> = {
            let mut observers = self.observers.lock();
            observers.0.retain(|observer| observer.strong_count() > 0);
            observers
                .0
                .iter()
                .filter_map(std::sync::Weak::upgrade)
                .collect()
        };
        for observer in observers {
            what(&*observer);
        }
    }

    /// Does `work` in a task of its own, to its end also when whoever asked has gone away.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        work: impl Future<Output = Result<T, KeyError>> + Send + 'static,
    ) -> Result<T, KeyError> {
        match tokio::spawn(work).await {
            Ok(done) => done,
            Err(stopped) => match stopped.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(KeyError::NotCommitted(CommitError::OutcomeUnknown {
                    reason: "the daemon is shutting down".into(),
                })),
            },
        }
    }
}

/// So many days as a span of time.
pub(super) fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}
