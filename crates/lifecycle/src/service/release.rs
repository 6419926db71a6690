//! Archives that nothing refers to any more are given up by the tier.

use strongroom_store::PayloadId;

use super::{Inner, LifecycleError, RunReport, archive_of};

/// How many rows are read at a time.
const PAGE: usize = 256;

impl Inner {
    /// Lets the tier give up what the store wrote down as garbage. Each archive goes before its
    /// row, so that a crash in between only asks the tier again.
    pub(super) async fn expire_garbage(
        &self,
        report: &mut RunReport,
    ) -> Result<(), LifecycleError> {
        let mut after: Option<PayloadId> = None;
        loop {
            let page = self.store.cold_garbage(after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.payload);
            for garbage in page {
                let expired = match archive_of(&garbage.cold.locator) {
                    Ok(archive) => self.tier.expire(archive).await.map_err(Into::into),
                    Err(error) => Err(error),
                };
                match expired {
                    Ok(()) => {
                        self.store.forget_cold_garbage(&garbage).await?;
                        report.archives_expired += 1;
                    }
                    Err(error) => {
                        let what = format_args!("the end of an archive of {}", garbage.payload);
                        report.fail(what, &error);
                        report.wake_at(self.clock.now() + self.settings.retry_min);
                    }
                }
            }
        }
    }
}
