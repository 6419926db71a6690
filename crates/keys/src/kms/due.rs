//! What the clock says is to be done with keys: rotations, deletions whose date has come, imported
//! material whose time is over, and certificates of destructions that are not signed yet.

use std::sync::Arc;

use strongroom_environment::Timestamp;
use strongroom_meta::{Batch, CommitError, Scan};

use super::Kms;
use crate::arn::{KeyArn, KeyReference, KeyVersion};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::rows::{DUE, Due, DueAct, KEYS};

/// How many dates are looked at in one scan.
const SCAN_ROWS: usize = 100;

/// What [`Kms::run_due`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DueReport {
    /// Keys that were rotated, and their new versions.
    pub rotated: Vec<(KeyArn, KeyVersion)>,
    /// Keys that were destroyed.
    pub destroyed: Vec<KeyArn>,
    /// Keys of which imported material was taken away, since its time was over.
    pub expired: Vec<KeyArn>,
    /// Keys with which something was due that could not be done, and why. It stays due.
    pub failed: Vec<(KeyArn, String)>,
    /// The next date at which something is due.
    pub next: Option<Timestamp>,
    /// Whether the token failed, so that nothing more is asked of it.
    token_failed: bool,
}

impl Kms {
    /// Rotates the keys whose date has come, destroys those whose deletion is due, and takes away
    /// imported material whose time is over.
    ///
    /// Its cost grows with what is due, and not with the number of keys. It may be called at any
    /// time, also while it runs; what was cut short is taken up again by the next call.
    ///
    /// # Errors
    /// [`KeyError::AuditUnavailable`], [`KeyError::Metadata`], [`KeyError::NotCommitted`]: nothing
    /// more can be done now. What fails for one key alone is in the report.
    pub async fn run_due(self: &Arc<Self>, caller: &Caller) -> Result<DueReport, KeyError> {
        let (kms, caller) = (Arc::clone(self), caller.clone());
        Self::to_the_end(async move {
            let mut report = DueReport::default();
            // What becomes due meanwhile is for the next run, so that this one ends.
            let end = kms.clock.now() + std::time::Duration::from_micros(1);
            let end = Due::date_bytes(end);
            let mut start = Vec::new();
            loop {
                let scan = Scan {
                    start,
                    end: Some(end.clone()),
                    limit: SCAN_ROWS,
                    reverse: false,
                };
                let found = kms.meta.scan(DUE, scan).await?;
                for found in &found {
                    kms.do_due(&found.key, &caller, &mut report).await?;
                }
                match found.last() {
                    Some(last) if found.len() == SCAN_ROWS => {
                        start = [&last.key[..], &[0]].concat();
                    }
                    _ => break,
                }
            }
            let after = Scan::within(&[], end, 1);
            let next = kms.meta.scan(DUE, after).await?;
            report.next = next
                .first()
                .and_then(|row| Due::from_bytes(&row.key))
                .map(|due| due.date);
            Ok(report)
        })
        .await
    }

    async fn do_due(
        &self,
        row_key: &[u8],
        caller: &Caller,
        report: &mut DueReport,
    ) -> Result<(), KeyError> {
        let Some(due) = Due::from_bytes(row_key) else {
            tracing::error!(table = %DUE, "a row is damaged and was passed over");
            return Ok(());
        };
        let arn = self.home.arn(due.key);
        if matches!(due.act, DueAct::Rotate | DueAct::Certify) && report.token_failed {
            // It would be asked in vain for every key, and each time be on the log.
            report.failed.push((arn, "the token failed before".into()));
            return Ok(());
        }
        let done = match due.act {
            DueAct::Rotate => self.rotate_due(due.key, caller).await.map(|made| {
                report
                    .rotated
                    .extend(made.map(|version| (arn.clone(), version)));
                made.is_some()
            }),
            DueAct::Destroy => self
                .destroy_due(due.key, caller)
                .await
                .inspect(|is_done| report.destroyed.extend(is_done.then(|| arn.clone()))),
            DueAct::Expire => self
                .expire_due(due.key, caller)
                .await
                .inspect(|is_done| report.expired.extend(is_done.then(|| arn.clone()))),
            DueAct::Certify => self.certify_due(due, caller).await,
        };
        let error = match done {
            Ok(true) => return Ok(()),
            // Somebody else was faster; or no row of a key stands behind this one.
            Ok(false) | Err(KeyError::NoSuchKey { .. }) => return self.drop_stale(due).await,
            Err(error) => error,
        };
        let concerns_one = matches!(
            error,
            KeyError::TokenUnavailable(_)
                | KeyError::NotCertified { .. }
                | KeyError::Damaged { .. }
                | KeyError::LimitExceeded { .. }
                | KeyError::NotCommitted(CommitError::Conflict { .. })
        );
        if !concerns_one {
            return Err(error);
        }
        tracing::error!(key = %due.key, %error, "what is due with a key could not be done");
        report.token_failed |= matches!(error, KeyError::TokenUnavailable(_));
        report.failed.push((arn, error.to_string()));
        Ok(())
    }

    /// Takes away a row that does not follow from the row of its key.
    async fn drop_stale(&self, due: Due) -> Result<(), KeyError> {
        let _alone = self.administration.lock().await;
        let mut batch = Batch::new();
        if due.act == DueAct::Certify {
            // Its certificate is signed, which never changes any more, or never was to be.
            batch.delete(DUE, due.to_bytes());
            self.meta.commit(batch).await?;
            return Ok(());
        }
        match self.find_record(&KeyReference::Id(due.key)).await {
            Ok((id, read)) if Due::of(id, &read.row) != Some(due) => {
                read.expect(&mut batch, KEYS, id.as_bytes());
            }
            Ok(_) => return Ok(()),
            Err(KeyError::NoSuchKey { .. }) => {}
            Err(error) => return Err(error),
        }
        batch.delete(DUE, due.to_bytes());
        match self.meta.commit(batch).await {
            // Whoever changed the key meanwhile changed what is due with it too.
            Ok(()) | Err(CommitError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
