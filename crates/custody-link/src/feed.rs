//! What the key daemon tells its stores of changes to keys.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom_environment::Entropy;
use strongroom_keys::{KeyId, StateObserver};
use tokio::sync::watch;

use crate::wire::{Change, ChangeKind, Epoch, Place};

/// How many changes are remembered. A store that has missed more drops whatever it has opened.
const REMEMBERED_MAX: usize = 4_096;

/// The changes of keys since the start, in order, the last of them remembered.
///
/// It observes a custody. What it is told it tells every store that asks, so a change that was
/// acknowledged is in every answer from then on.
#[derive(Debug)]
pub struct ChangeFeed {
    epoch: Epoch,
    told: Mutex<Told>,
    moved: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Told {
    /// How many changes there were.
    position: u64,
    /// The last of them.
    last: VecDeque<Change>,
}

impl ChangeFeed {
    /// A feed that has nothing to tell yet.
    #[must_use]
    pub fn new(entropy: &dyn Entropy) -> Arc<Self> {
        Arc::new(Self {
            epoch: Epoch::random(entropy),
            told: Mutex::default(),
            moved: watch::Sender::new(0),
        })
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What was changed after a place, and up to where; `None` when that is not remembered.
    fn after(&self, place: Option<Place>) -> (Place, Option<Vec<Change>>) {
        let told = self.told.lock();
        let now = Place {
            epoch: self.epoch,
            position: told.position,
        };
        let missed = place
            .filter(|place| place.epoch == self.epoch)
            .and_then(|place| told.position.checked_sub(place.position))
            .and_then(|missed| usize::try_from(missed).ok())
            .filter(|missed| *missed <= told.last.len());
        let changes = missed.map(|missed| {
            told.last
                .range(told.last.len() - missed..)
                .cloned()
                .collect()
        });
        (now, changes)
    }

    /// The same; where nothing was changed, waits for a change, but not longer than `wait`.
    pub(crate) async fn wait_after(
        &self,
        place: Option<Place>,
        wait: Duration,
    ) -> (Place, Option<Vec<Change>>) {
        let mut moved = self.moved.subscribe();
        let (now, changes) = self.after(place);
        if changes.as_ref().is_none_or(|changes| !changes.is_empty()) || wait.is_zero() {
            return (now, changes);
        }
        // An error means that the feed is gone, and then nobody waits here.
        let _ =
            tokio::time::timeout(wait, moved.wait_for(|position| *position > now.position)).await;
        self.after(place)
    }

    fn tell(&self, key: KeyId, change: ChangeKind) {
        let mut told = self.told.lock();
        told.position += 1;
        told.last.push_back(Change {
            key: key.to_string(),
            change,
        });
        if told.last.len() > REMEMBERED_MAX {
            told.last.pop_front();
        }
        self.moved.send_replace(told.position);
    }
}

impl StateObserver for ChangeFeed {
    fn suspended(&self, key: KeyId) {
        self.tell(key, ChangeKind::Suspended);
    }

    fn rotated(&self, key: KeyId) {
        self.tell(key, ChangeKind::Rotated);
    }

    fn unheard(&self) {
        let mut told = self.told.lock();
        told.position += 1;
        // What came before is not remembered, so that every store drops everything.
        told.last.clear();
        self.moved.send_replace(told.position);
    }
}

#[cfg(test)]
mod tests {
    use strongroom_environment::SeededEntropy;

    use super::*;

    fn feed() -> Arc<ChangeFeed> {
        ChangeFeed::new(&SeededEntropy::new(1))
    }

    fn key(last: u16) -> KeyId {
        format!("00112233-4455-4677-8899-aabbccdd{last:04x}")
            .parse()
            .expect("an id")
    }

    #[test]
    fn each_change_is_told_once_and_in_order() {
        let feed = feed();
        let (start, unknown) = feed.after(None);
        assert_eq!(unknown, None);
        assert_eq!(feed.after(Some(start)), (start, Some(Vec::new())));
        feed.suspended(key(1));
        feed.rotated(key(2));
        let (place, changes) = feed.after(Some(start));
        let changes = changes.expect("it is remembered");
        let told: Vec<_> = changes.iter().map(|change| change.change).collect();
        assert_eq!(told, [ChangeKind::Suspended, ChangeKind::Rotated]);
        assert_eq!(changes[0].key, key(1).to_string());
        assert_eq!(feed.after(Some(place)).1, Some(Vec::new()));
    }

    #[test]
    fn what_is_not_remembered_or_of_another_run_is_said_to_be_unknown() {
        let feed = feed();
        let (start, _) = feed.after(None);
        for last in 0..=REMEMBERED_MAX {
            feed.suspended(key(u16::try_from(last).expect("small")));
        }
        let (now, forgotten) = feed.after(Some(start));
        assert_eq!(forgotten, None);
        let ahead = Place {
            position: now.position + 1,
            ..now
        };
        assert_eq!(feed.after(Some(ahead)).1, None);
        let other = ChangeFeed::new(&SeededEntropy::new(2));
        assert_eq!(other.after(Some(start)).1, None);
        feed.unheard();
        assert_eq!(feed.after(Some(now)).1, None);
    }

    #[tokio::test]
    async fn whoever_waits_is_told_at_once() {
        let feed = feed();
        let (start, _) = feed.after(None);
        let short = Duration::from_millis(1);
        assert_eq!(
            feed.wait_after(Some(start), short).await.1,
            Some(Vec::new())
        );
        let waiting = Arc::clone(&feed);
        let waiting = tokio::spawn(async move {
            let long = Duration::from_secs(600);
            waiting.wait_after(Some(start), long).await
        });
        tokio::task::yield_now().await;
        feed.suspended(key(1));
        let (_, changes) = waiting.await.expect("it ends");
        assert_eq!(changes.expect("it is remembered").len(), 1);
    }
}
