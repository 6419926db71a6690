//! What is due with keys, in the background of the daemon.

use std::sync::Arc;
use std::time::Duration;

use strongroom_environment::Clock;
use strongroom_keys::{Caller, Kms};
use tokio::sync::watch;

/// The longest sleep between two looks at what is due with keys, which cost a read where nothing is.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// And the shortest.
const SLEEP_MIN: Duration = Duration::from_secs(1);

/// Rotates keys and carries out their deletions whenever one is due, until it is told to stop. Every
/// minute, and at the end, when keys were last used is written.
pub(crate) async fn run(kms: Arc<Kms>, clock: Arc<dyn Clock>, mut stopped: watch::Receiver<bool>) {
    let mut jumps = clock.jumps();
    loop {
        jumps.mark_unchanged();
        write_uses(&kms).await;
        let sleep = match kms.run_due(&Caller::daemon("keys:run")).await {
            Ok(report) => report
                .next
                .map_or(SLEEP_MAX, |next| next.since(clock.now())),
            Err(error) => {
                tracing::error!(%error, "what is due with keys was not done and will be tried again");
                SLEEP_MAX
            }
        };
        tokio::select! {
            // An error means that the sender is gone, which is an end too.
            _ = stopped.wait_for(|stop| *stop) => break,
            () = tokio::time::sleep(sleep.clamp(SLEEP_MIN, SLEEP_MAX)) => {}
            // A clock that is gone does not jump; the other branches go on.
            Ok(()) = jumps.changed() => {}
        }
    }
    write_uses(&kms).await;
}

/// Writes when keys were last used, and how often.
async fn write_uses(kms: &Kms) {
    if let Err(error) = kms.write_noted_uses().await {
        tracing::error!(%error, "when keys were last used was not written, and will be tried again");
    }
}
