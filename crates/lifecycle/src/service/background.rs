//! The lifecycle in the background of the daemon.

use std::future::Future;
use std::time::Duration;

use super::Lifecycle;

/// The background never sleeps longer, whatever a run says.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);
/// Nor shorter, so that what is due and cannot be done does not keep it busy.
const SLEEP_MIN: Duration = Duration::from_millis(200);

impl Lifecycle {
    /// Runs whenever something is due, until `stop` comes to its end.
    ///
    /// It wakes at the moment that the run before named, when the clock jumps, and when there is
    /// something new to do. A run under way is finished first.
    pub async fn run_in_background(self, stop: impl Future<Output = ()> + Send) {
        let mut stop = std::pin::pin!(stop);
        let mut jumps = self.inner.clock.jumps();
        loop {
            jumps.mark_unchanged();
            let sleep = match self.run_once().await {
                Ok(report) => report
                    .next
                    .map_or(SLEEP_MAX, |next| next.since(self.inner.clock.now())),
                Err(error) => {
                    tracing::error!(%error, "a lifecycle run failed and will be tried again");
                    self.inner.settings.retry_min
                }
            };
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(sleep.clamp(SLEEP_MIN, SLEEP_MAX)) => {}
                () = self.inner.wake.notified() => {}
                // A clock that is gone does not jump; the other branches go on.
                Ok(()) = jumps.changed() => {}
            }
        }
    }
}
