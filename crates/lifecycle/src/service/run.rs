//! One run: everything that is due now.

use metrics::{counter, gauge};
use serde::Serialize;
use strongroom_environment::Timestamp;

use super::{Lifecycle, LifecycleError};
use crate::decide::midnight_after;
use crate::jobs::Job;

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunReport {
    /// Versions that were looked at because a rule named their age.
    pub versions_looked_at: u64,
    /// Moves that were written down.
    pub moves_begun: u64,
    /// Versions that reached the class they were to go to.
    pub versions_moved: u64,
    /// Their sealed bytes, where they went to the cold tier.
    pub archived_bytes: u64,
    /// Moves that the tier has taken, and that it does not call durable yet.
    pub moves_accepted: u64,
    /// Current versions that expired.
    pub versions_expired: u64,
    /// Noncurrent versions and lone delete markers that were deleted.
    pub versions_deleted: u64,
    /// Multipart uploads that were given up.
    pub uploads_aborted: u64,
    /// Restores that came to their end.
    pub restores_completed: u64,
    /// Restores whose archive is not there yet.
    pub restores_waiting: u64,
    /// Restored copies whose time was over.
    pub copies_expired: u64,
    /// Archives that nothing referred to and that the tier let expire.
    pub archives_expired: u64,
    /// What failed and will be tried again, at most [`RunReport::FAILURES_MAX`] of them.
    pub failures: Vec<String>,
    /// How much failed in all.
    pub failure_count: u64,
    /// When there is something to do again, in microseconds since the Unix epoch.
    #[serde(skip)]
    pub next: Option<Timestamp>,
}

impl RunReport {
    /// How many failures are told one by one.
    pub const FAILURES_MAX: usize = 100;

    pub(super) fn fail(&mut self, what: impl std::fmt::Display, error: &LifecycleError) {
        counter!("strongroom_lifecycle_failures_total").increment(1);
        tracing::warn!(%what, %error, "a lifecycle step failed and will be tried again");
        self.failure_count += 1;
        if self.failures.len() < Self::FAILURES_MAX {
            self.failures.push(format!("{what}: {error}"));
        }
    }

    /// Makes sure that the background is awake at `moment`.
    pub(super) fn wake_at(&mut self, moment: Timestamp) {
        self.next = Some(self.next.map_or(moment, |next| next.min(moment)));
    }
}

impl Lifecycle {
    /// Does everything that is due now, and says when there is something to do again.
    ///
    /// What fails is told in the report and tried again by a later run; it does not keep the rest
    /// from being done. Runs of one lifecycle come one after the other.
    ///
    /// # Errors
    /// [`LifecycleError`] when the rows that say what is due cannot be read or written.
    pub async fn run_once(&self) -> Result<RunReport, LifecycleError> {
        let inner = &*self.inner;
        let _alone = inner.running.lock().await;
        let mut report = RunReport::default();
        // Copies are cleared away first and garbage last, so that a run leaves as little as it can.
        inner.expire_copies(&mut report).await?;
        inner.follow_rules(&mut report).await?;
        inner.write_down_pending(&mut report).await?;
        inner.work_through_jobs(&mut report).await?;
        inner.advance_restores(&mut report).await?;
        inner.expire_garbage(&mut report).await?;

        report.wake_at(midnight_after(inner.clock.now(), 0));
        if let Some(due) = inner.jobs.next_due().await? {
            report.wake_at(due);
        }
        counter!("strongroom_lifecycle_runs_total").increment(1);
        counter!("strongroom_lifecycle_moved_versions_total").increment(report.versions_moved);
        counter!("strongroom_lifecycle_archived_bytes_total").increment(report.archived_bytes);
        counter!("strongroom_lifecycle_expired_versions_total").increment(report.versions_expired);
        counter!("strongroom_lifecycle_deleted_versions_total").increment(report.versions_deleted);
        counter!("strongroom_lifecycle_aborted_uploads_total").increment(report.uploads_aborted);
        counter!("strongroom_lifecycle_restores_total").increment(report.restores_completed);
        gauge!("strongroom_lifecycle_restores_waiting").set(report.restores_waiting as f64);
        Ok(report)
    }

    /// Wakes the background: something was written that it should see soon, such as an object in an
    /// archive class.
    pub fn wake(&self) {
        self.inner.wake.notify_one();
    }

    /// Moves that are to be made, from after `cursor`, which is the last one of the page before.
    ///
    /// # Errors
    /// [`LifecycleError::Jobs`].
    pub async fn jobs(
        &self,
        cursor: Option<&Job>,
        limit: usize,
    ) -> Result<Vec<Job>, LifecycleError> {
        Ok(self.inner.jobs.page(cursor, limit).await?)
    }
}
