//! Re-wraps of what is under old versions of keys, in the background of the daemon.

use std::time::Duration;

use strongroom_keys::Caller;
use strongroom_store::Store;
use tokio::sync::watch;

/// The time between two looks at what is under versions that were given up: an upload that took
/// long may have put something there. It costs a read for each.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Goes on with re-wraps whenever one is asked for, until it is told to stop.
pub(crate) async fn run(store: Store, mut stopped: watch::Receiver<bool>) {
    let caller = Caller::daemon("keys:rewrap");
    let is_stopped = stopped.clone();
    loop {
        let ran = store.run_rewraps(&caller, &|| *is_stopped.borrow()).await;
        if let Err(error) = ran {
            tracing::error!(%error, "re-wraps do not go on now and will be tried again");
        }
        tokio::select! {
            // An error means that the sender is gone, which is an end too.
            _ = stopped.wait_for(|stop| *stop) => return,
            () = store.rewrap_asked() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}
