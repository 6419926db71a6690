//! Rules followed: what became due is found by age, decided, and done or written down.
//!
//! For each moment that rules name (so many days after creation, a date) the first day that is
//! still to be looked at is kept. A run looks at the days from there to the last one for which the
//! moment has come, so its work grows with what became due, not with what there is. A version lies
//! under the day of its commit; one that was begun earlier (a long upload) is seen when its commit
//! is old enough.

use std::collections::BTreeSet;

use strongroom_environment::Timestamp;
use strongroom_store::{
    AgeCursor, AgedVersion, BucketInfo, BucketName, Caller, ListUploads, UploadRef, Versioning,
};

use super::ruleset::StoredRules;
use super::{Inner, Lifecycle, LifecycleError, RunReport};
use crate::decide::{Action, OnExpiry, Standing, VersionFacts, decide, upload_abort_due};
use crate::jobs::{JobOrigin, Progress, Trigger};
use crate::rules::{Expiration, RuleSet};

/// How many rows are read at a time.
const PAGE: usize = 1_000;

/// The moments at which the enabled rules ask something of current versions.
fn triggers(rules: &RuleSet) -> BTreeSet<Trigger> {
    let mut triggers = BTreeSet::new();
    for rule in rules.enabled() {
        triggers.extend(
            rule.transitions
                .iter()
                .map(|transition| Trigger::from(transition.when)),
        );
        if let Some(Expiration::When(when)) = rule.expiration {
            triggers.insert(when.into());
        }
    }
    triggers
}

/// The day after the last one whose versions are due at `now`.
fn due_before_day(trigger: Trigger, now: Timestamp) -> Option<i64> {
    match trigger {
        // A version of day d is due at the midnight after d and the days.
        Trigger::AfterDays(days) => now.day().checked_sub(i64::from(days)),
        Trigger::OnDate(date) => (date <= now.micros()).then(|| now.day()),
    }
}

impl Lifecycle {
    /// Lets the next run look at every version of a bucket again, as after a change of its rules.
    ///
    /// # Errors
    /// [`LifecycleError::Jobs`].
    pub async fn reexamine(&self, bucket: &BucketName) -> Result<(), LifecycleError> {
        let _alone = self.inner.running.lock().await;
        self.inner
            .jobs
            .set_progress(bucket, &Progress::default())
            .await?;
        self.inner.wake.notify_one();
        Ok(())
    }
}

impl Inner {
    /// Follows the rules of all buckets.
    pub(super) async fn follow_rules(&self, report: &mut RunReport) -> Result<(), LifecycleError> {
        for bucket in self.buckets_with_rules().await? {
            if let Err(error) = self.follow(&bucket, report).await {
                report.fail(
                    format_args!("the rules of bucket {}", bucket.bucket),
                    &error,
                );
                report.wake_at(self.clock.now() + self.settings.retry_min);
            }
        }
        Ok(())
    }

    async fn follow(
        &self,
        bucket: &BucketInfo,
        report: &mut RunReport,
    ) -> Result<(), LifecycleError> {
        let Some(stored) = self.rules_of(bucket)? else {
            return Ok(());
        };
        let now = self.clock.now();
        let before = self.jobs.progress(&bucket.bucket).await?;
        let mut progress = before.clone();
        if progress.rules_sha256 != stored.sha256 {
            progress = Progress {
                rules_sha256: stored.sha256,
                ..Progress::default()
            };
        }
        for trigger in triggers(&stored.rules) {
            let Some(due_before) = due_before_day(trigger, now) else {
                continue;
            };
            // Nothing is older than its bucket.
            let from = progress
                .next_day(trigger)
                .unwrap_or_else(|| bucket.created.day());
            if from >= due_before {
                continue;
            }
            let done_before = self
                .follow_trigger(bucket, &stored, from..due_before, now, report)
                .await?;
            progress.set_next_day(trigger, self.settled(done_before, now));
        }
        if progress.uploads_day != now.day() {
            let due = self
                .abort_uploads(&bucket.bucket, &stored, now, report)
                .await?;
            progress.uploads_day = if due { now.day() } else { progress.uploads_day };
        }
        if progress != before {
            self.jobs.set_progress(&bucket.bucket, &progress).await?;
        }
        Ok(())
    }

    /// The first day that is to be looked at again: one that is over for long enough is not.
    fn settled(&self, done_before: i64, now: Timestamp) -> i64 {
        done_before.min((now - self.settings.day_settles).day())
    }

    /// Looks at the versions of some days; says before which day all is done.
    async fn follow_trigger(
        &self,
        bucket: &BucketInfo,
        stored: &StoredRules,
        days: std::ops::Range<i64>,
        now: Timestamp,
        report: &mut RunReport,
    ) -> Result<i64, LifecycleError> {
        let mut done_before = days.end;
        let mut cursor = Some(AgeCursor::at_day(&bucket.bucket, days.start));
        while let Some(after) = cursor {
            let (page, next) = self
                .store
                .aged_before(&bucket.bucket, days.end, Some(&after), PAGE)
                .await?;
            for version in page {
                report.versions_looked_at += 1;
                if let Err(error) = self
                    .follow_version(bucket, stored, &version, now, report)
                    .await
                {
                    report.fail(format_args!("the rules for {}", version.name), &error);
                    report.wake_at(now + self.settings.retry_min);
                    done_before = done_before.min(version.committed_day);
                }
            }
            cursor = next;
        }
        Ok(done_before)
    }

    async fn follow_version(
        &self,
        bucket: &BucketInfo,
        stored: &StoredRules,
        version: &AgedVersion,
        now: Timestamp,
        report: &mut RunReport,
    ) -> Result<(), LifecycleError> {
        let standing = match (version.noncurrent_since, version.size_bytes) {
            (Some(since), _) => Standing::Noncurrent {
                since,
                newer_noncurrent: 0,
            },
            (None, None) => Standing::DeleteMarker { is_lone: false },
            (None, Some(_)) if bucket.versioning == Versioning::Unversioned => {
                Standing::Current(OnExpiry::Gone)
            }
            (None, Some(_)) => Standing::Current(OnExpiry::Noncurrent),
        };
        let facts = VersionFacts {
            key: version.name.key.as_str(),
            tags: &[],
            len_bytes: version.size_bytes.unwrap_or(0),
            class: version.class,
            created: version.created,
            standing,
        };
        for decision in decide(&stored.rules, &facts, now) {
            match decision.action {
                Action::Transition(class) => {
                    let origin = JobOrigin::Rule(decision.rule.to_string());
                    // A delete marker is not moved.
                    let Some(payload) = version.payload else {
                        continue;
                    };
                    let is_new = self
                        .write_down(version.name.clone(), payload, class, origin)
                        .await?;
                    report.moves_begun += u64::from(is_new);
                }
                Action::Expire => {
                    let is_done = self.store.expire_object(&version.name, now).await?;
                    report.versions_expired += u64::from(is_done);
                }
                Action::DeleteVersion => {
                    let is_done = self.store.delete_version(&version.name).await?;
                    report.versions_deleted += u64::from(is_done);
                }
            }
        }
        Ok(())
    }

    /// Gives up uploads that were not completed in time; says whether all went well. It is done
    /// once a day, since it looks at every upload under way.
    async fn abort_uploads(
        &self,
        bucket: &BucketName,
        stored: &StoredRules,
        now: Timestamp,
        report: &mut RunReport,
    ) -> Result<bool, LifecycleError> {
        let asks = |rule: &crate::rules::Rule| rule.abort_uploads_after_days.is_some();
        if !stored.rules.enabled().any(asks) {
            return Ok(true);
        }
        let mut is_well = true;
        let mut request = ListUploads {
            bucket: bucket.clone(),
            prefix: String::new(),
            delimiter: None,
            after_key: None,
            after_upload: None,
            entries_max: PAGE,
        };
        loop {
            let page = self.store.list_uploads(request.clone()).await?;
            let Some(last) = page.uploads.last() else {
                return Ok(is_well);
            };
            request.after_key = Some(last.key.to_string());
            request.after_upload = Some(last.upload);
            for upload in page.uploads {
                let begun = upload.upload.begun();
                let due = upload_abort_due(&stored.rules, upload.key.as_str(), begun);
                if due.is_none_or(|(due, _)| due > now) {
                    continue;
                }
                let named = UploadRef {
                    bucket: bucket.clone(),
                    key: upload.key,
                    upload: upload.upload,
                };
                let caller = Caller::daemon("lifecycle:AbortIncompleteMultipartUpload");
                match self.store.abort_upload(&named, &caller).await {
                    Ok(()) => report.uploads_aborted += 1,
                    // It was completed or aborted since it was listed.
                    Err(strongroom_store::StoreError::NoSuchUpload) => {}
                    Err(error) => {
                        report.fail(format_args!("the upload {named:?}"), &error.into());
                        report.wake_at(now + self.settings.retry_min);
                        is_well = false;
                    }
                }
            }
        }
    }
}
