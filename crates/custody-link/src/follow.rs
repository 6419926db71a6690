//! Follows a key daemon: what it changes, and whether it is there at all.
//!
//! One task asks for changes and waits for them, and then asks again. It alone decides which address
//! is asked: a call that fails only says so, and waits until the key daemon was found again, at that
//! address or at the next. So however many calls fail together, one question goes out to find it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use strongroom_environment::{Clock, Entropy, Monotonic};
use strongroom_keys::{Home, KeyError, KeyId, StateObserver};
use tokio::sync::{Notify, watch};

use crate::call::{CallError, Connections, LinkConfig, body};
use crate::wire::{Change, ChangeKind, Changed, Changes, Epoch, Operation, Place};

/// The pause after every address failed: doubled each time, up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Where the key daemon was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// Which of the addresses.
    pub(crate) at: usize,
    /// Which run of it.
    pub(crate) epoch: Epoch,
}

/// What is known of the way to the key daemon.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way {
    /// Counts how often it was lost.
    pub(crate) lost: u64,
    pub(crate) found: Option<Found>,
    /// How often all addresses were tried in vain since it was found last.
    pub(crate) rounds_in_vain: u64,
    /// What was wrong last.
    pub(crate) trouble: String,
}

#[derive(Default)]
pub(crate) struct Observers(Vec<Weak<dyn StateObserver>>);

impl std::fmt::Debug for Observers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} observers", self.0.len())
    }
}

/// Both tasks' part of a link.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) connections: Connections,
    pub(crate) way: watch::Sender<Way>,
    pub(crate) observers: Mutex<Observers>,
    doubted: Notify,
    /// When the last question that was answered was sent.
    heard: Mutex<Option<Monotonic>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    home: Home,
    /// The keys that this link is for, once they are known.
    custody: Mutex<Option<String>>,
    call_time_max: Duration,
    silence_max: Duration,
}

impl Follower {
    pub(crate) fn new(
        config: &LinkConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Arc<Self> {
        Arc::new(Self {
            connections: Connections::new(config),
            way: watch::Sender::default(),
            observers: Mutex::default(),
            doubted: Notify::new(),
            heard: Mutex::default(),
            clock,
            entropy,
            home: config.home.clone(),
            custody: Mutex::default(),
            call_time_max: config.call_time_max,
            silence_max: config.silence_max,
        })
    }

    pub(crate) fn watch(&self, observer: Weak<dyn StateObserver>) {
        self.observers.lock().0.push(observer);
    }

    fn tell(&self, what: impl Fn(&dyn StateObserver)) {
        let observers: Vec<_> = {
            let mut observers = self.observers.lock();
            observers.0.retain(|observer| observer.strong_count() > 0);
            observers.0.iter().filter_map(Weak::upgrade).collect()
        };
        for observer in observers {
            what(&*observer);
        }
    }

    /// How long ago the last question that was answered was sent.
    pub(crate) fn silence(&self) -> Option<Duration> {
        let heard = *self.heard.lock();
        heard.map(|heard| self.clock.monotonic().since(heard))
    }

    /// Whether what was opened may be used.
    pub(crate) fn check_heard(&self) -> Result<(), KeyError> {
        if self
            .silence()
            .is_some_and(|silence| silence < self.silence_max)
        {
            return Ok(());
        }
        let trouble = self.way.borrow().trouble.clone();
        Err(KeyError::CustodyUnavailable {
            reason: if trouble.is_empty() {
                "nothing was heard of it for too long".into()
            } else {
                trouble
            },
        })
    }

    /// Says that a call failed on the way that was lost so many times before.
    pub(crate) fn doubt(&self, lost: u64, trouble: &str) {
        let is_news = self.way.send_if_modified(|way| {
            let is_news = way.lost == lost && way.found.is_some();
            if is_news {
                way.lost += 1;
                way.found = None;
                trouble.clone_into(&mut way.trouble);
            }
            is_news
        });
        if is_news {
            tracing::warn!(trouble, "a call to the key daemon failed");
            self.doubted.notify_one();
        }
    }

    /// Follows the key daemon until nobody needs it any more.
    pub(crate) async fn follow(self: Arc<Self>) {
        let addresses = self.connections.urls.len();
        let (mut at, mut failed) = (0, 0);
        let mut place: Option<Place> = None;
        loop {
            // The wait is a part of the time of silence, so that a question that is lost leaves the
            // time for others before that is over.
            let wait = match self.way.borrow().found {
                Some(_) => self.silence_max / 4,
                None => Duration::ZERO,
            };
            let sent = self.clock.monotonic();
            let asked = tokio::select! {
                asked = self.changes(at, place, wait) => asked,
                () = self.doubted.notified(), if !wait.is_zero() => continue,
            };
            let trouble = match asked {
                Ok(changed) => {
                    place = Some(self.heard_of(at, &changed, place, sent));
                    failed = 0;
                    continue;
                }
                Err(trouble) => trouble,
            };
            at = (at + 1) % addresses;
            failed += 1;
            let is_round = failed % addresses == 0;
            self.way.send_modify(|way| {
                if way.found.take().is_some() {
                    way.lost += 1;
                    tracing::warn!(%trouble, "the key daemon is not heard of");
                }
                way.rounds_in_vain += u64::from(is_round);
                way.trouble.clone_from(&trouble);
            });
            metrics::gauge!("strongroom_custody_link_up").set(0.0);
            if is_round {
                tokio::time::sleep(self.pause(failed / addresses)).await;
            }
        }
    }

    async fn changes(
        &self,
        at: usize,
        after: Option<Place>,
        wait: Duration,
    ) -> Result<Changed, String> {
        let asked = Changes {
            after,
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        };
        let changed: Changed = self
            .connections
            .ask(
                at,
                Operation::Changes,
                None,
                body(&asked),
                wait + self.call_time_max,
            )
            .await
            .map_err(|error| match error {
                CallError::Refused(error) => error.to_string(),
                CallError::Broken(why) => why,
            })?;
        let url = &self.connections.urls[at];
        if (&changed.region, &changed.account) != (&self.home.region, &self.home.account) {
            return Err(format!(
                "{url}: the keys are those of the region {} and the account {}, and not of this \
                 store's: `region` and `account` must be the same",
                changed.region, changed.account
            ));
        }
        let mut known = self.custody.lock();
        if *known.get_or_insert_with(|| changed.custody.clone()) != changed.custody {
            return Err(format!(
                "{url}: another key daemon answers, which has other keys"
            ));
        }
        Ok(changed)
    }

    /// Takes in what was answered: first the changes, and only then that it was heard of.
    fn heard_of(
        &self,
        at: usize,
        changed: &Changed,
        place: Option<Place>,
        sent: Monotonic,
    ) -> Place {
        // Whoever asks from now on waits until the new run is followed: what another one opened is
        // dropped, and nothing more may come from there.
        self.way.send_if_modified(|way| {
            let is_over = way
                .found
                .is_some_and(|found| found.epoch != changed.place.epoch);
            if is_over {
                way.found = None;
                way.lost += 1;
            }
            is_over
        });
        match (&changed.changes, place) {
            (Some(changes), _) => {
                for change in changes {
                    self.tell_change(change);
                }
            }
            (None, Some(_)) => {
                tracing::warn!(
                    "the key daemon does not say what was changed: all opened keys are dropped"
                );
                self.tell(|observer| observer.unheard());
            }
            // Nothing was opened yet.
            (None, None) => {}
        }
        *self.heard.lock() = Some(sent);
        let found = Some(Found {
            at,
            epoch: changed.place.epoch,
        });
        let is_news = self.way.send_if_modified(|way| {
            let is_news = way.found != found;
            way.found = found;
            way.rounds_in_vain = 0;
            is_news
        });
        if is_news {
            metrics::gauge!("strongroom_custody_link_up").set(1.0);
            metrics::counter!("strongroom_custody_link_found_total").increment(1);
            tracing::info!(url = %self.connections.urls[at], "the key daemon is heard of");
        }
        changed.place
    }

    fn tell_change(&self, change: &Change) {
        match (change.key.parse::<KeyId>(), change.change) {
            (Ok(key), ChangeKind::Suspended) => self.tell(|observer| observer.suspended(key)),
            (Ok(key), ChangeKind::Rotated) => self.tell(|observer| observer.rotated(key)),
            // A key whose name cannot be read may be any key.
            (Err(_), _) => self.tell(|observer| observer.unheard()),
        }
    }

    fn pause(&self, rounds: usize) -> Duration {
        let doublings = u32::try_from(rounds.saturating_sub(1))
            .unwrap_or(u32::MAX)
            .min(8);
        let longest = (PAUSE_MIN * 2_u32.pow(doublings)).min(PAUSE_MAX);
        // So that many stores do not all come back in the same moment.
        let [part] = self.entropy.array();
        longest / 2 + longest * u32::from(part) / 512
    }

    /// Has everything wiped that was opened, as soon as the silence is too long.
    pub(crate) async fn listen_to_silence(self: Arc<Self>) {
        let every =
            (self.silence_max / 20).clamp(Duration::from_millis(10), Duration::from_secs(1));
        let mut was_heard = false;
        loop {
            tokio::time::sleep(every).await;
            let is_heard = self.check_heard().is_ok();
            if was_heard && !is_heard {
                tracing::error!(
                    "the key daemon was not heard of for too long: all opened keys are dropped, and \
                     what needs one is refused until it is heard of"
                );
                metrics::counter!("strongroom_custody_link_silences_total").increment(1);
                self.tell(|observer| observer.unheard());
            }
            was_heard = is_heard;
        }
    }
}
