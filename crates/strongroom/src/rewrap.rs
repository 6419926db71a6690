//! Re-wraps of what is under old versions of keys, in the background of the daemon.

use std::sync::{Arc, Weak};
use std::time::Duration;

use strongroom_keys::{Caller, KeyCustody, KeyId, StateObserver};
use strongroom_store::Store;
use tokio::sync::watch;

/// The time between two looks at what is under versions that were given up: an upload that took
/// long may have put something there. It costs a read for each.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Goes on with re-wraps whenever one is asked for, until it is told to stop. Where custody of the
/// keys is `apart`, those of versions that are marked as compromised there are asked for here.
pub(crate) async fn run(
    store: Store,
    apart: Option<Arc<dyn KeyCustody>>,
    mut stopped: watch::Receiver<bool>,
) {
    let caller = Caller::daemon("keys:rewrap");
    let is_stopped = stopped.clone();
    let woken: Arc<dyn StateObserver> = Arc::new(Woken(store.clone()));
    if let Some(custody) = &apart {
        custody.watch(Arc::downgrade(&woken) as Weak<dyn StateObserver>);
    }
    loop {
        if apart.is_some()
            && let Err(error) = store.ask_for_compromised(&caller).await
        {
            tracing::warn!(%error, "what is compromised is not known now and will be asked again");
        }
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

/// Looks for re-wraps at once when a key has changed elsewhere.
struct Woken(Store);

impl StateObserver for Woken {
    fn suspended(&self, _: KeyId) {}

    fn rotated(&self, _: KeyId) {
        self.0.begin_rewraps();
    }

    fn unheard(&self) {
        self.0.begin_rewraps();
    }
}
