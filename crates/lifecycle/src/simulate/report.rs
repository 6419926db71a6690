//! What a rehearsal comes to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use strongroom_environment::Timestamp;

use super::estate::{CLASSES, Estate, Object, Occupancy};
use super::scenario::Scenario;
use crate::{RetrievalTier, StorageClass};

/// About how many moments of a rehearsal are noted.
const SAMPLES: i64 = 400;

/// What a rehearsal came to. Its text table, JSON and plot are made from this alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SimulationReport {
    /// The name of the scenario.
    pub scenario: String,
    /// The seed: with the scenario, it gives this report again.
    pub seed: u64,
    /// The first day, `YYYY-MM-DD`.
    pub start: String,
    /// The day after the last.
    pub end: String,
    /// How many objects there were in all.
    pub objects: u64,
    /// How many events were worked through.
    pub events: u64,
    /// What lay where, over time.
    pub occupancy: Vec<OccupancySample>,
    /// Changes of storage class and ends of objects.
    pub moves: Vec<MoveCount>,
    /// How long restores took, by class and tier.
    pub restores: Vec<RestoreWaits>,
    /// Requests for objects that had expired on that day.
    pub requests_for_expired_objects: u64,
    /// The keys, by name, and until when they are needed.
    pub keys: Vec<KeyNeed>,
    /// Whether the cold tier is large enough, if the scenario says how large it is.
    pub capacity: Option<CapacityReport>,
}

/// What lay where at the start of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OccupancySample {
    /// The day, `YYYY-MM-DD`.
    pub day: String,
    /// Days since the start.
    pub day_number: i64,
    /// By storage class, those with objects only.
    pub classes: Vec<ClassBytes>,
    /// Warm copies of restored objects, in bytes.
    pub restored_copies_bytes: u64,
    /// How many keys something depends on.
    pub keys_needed: u64,
}

/// What lay in one storage class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassBytes {
    /// The class.
    pub class: &'static str,
    /// How many objects.
    pub objects: u64,
    /// Their plaintext, in bytes.
    pub bytes: u64,
}

/// How many objects went one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MoveCount {
    /// The class they left.
    pub from: &'static str,
    /// The class they went to, or `expired`, or `deleted`.
    pub to: &'static str,
    /// How many objects.
    pub objects: u64,
    /// Their plaintext, in bytes.
    pub bytes: u64,
}

/// How long restores of one class in one tier took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestoreWaits {
    /// The class.
    pub class: &'static str,
    /// The tier.
    pub tier: &'static str,
    /// Restores that came to their end.
    pub restored: u64,
    /// Requests that only renewed a copy (200).
    pub renewed: u64,
    /// Requests refused because a restore was under way (409).
    pub in_progress: u64,
    /// Requests refused because the class does not offer the tier (400).
    pub not_offered: u64,
    /// Requests refused for want of expedited capacity (503).
    pub expedited_unavailable: u64,
    /// Half of the restores took no longer, in seconds.
    pub p50_seconds: u64,
    /// Nineteen of twenty restores took no longer, in seconds.
    pub p95_seconds: u64,
    /// The longest, in seconds.
    pub max_seconds: u64,
}

/// One key and what depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyNeed {
    /// The population and the number of the key in it.
    pub key: String,
    /// How many objects it ever protected.
    pub objects: u64,
    /// How many it protects at the end.
    pub objects_at_end: u64,
    /// The first day on which something depends on it.
    pub first_day: String,
    /// Days since the start.
    pub first_day_number: i64,
    /// The last day on which something depends on it; `None` while something does.
    pub last_day: Option<String>,
    /// Days since the start.
    pub last_day_number: Option<i64>,
}

/// Whether the cold tier is large enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CapacityReport {
    /// What it holds, in bytes.
    pub capacity_bytes: u64,
    /// The most that was to be held at the start of a day.
    pub most_bytes: u64,
    /// The first day on which that was more than it holds.
    pub exceeded_on: Option<String>,
}

#[derive(Debug, Default)]
struct Waits {
    seconds: Vec<u64>,
    renewed: u64,
    in_progress: u64,
    not_offered: u64,
    expedited_unavailable: u64,
}

/// Takes notes while a scenario runs.
#[derive(Debug)]
pub(super) struct Recorder {
    start: Timestamp,
    every_days: i64,
    capacity_bytes: Option<u64>,
    events: u64,
    missed: u64,
    samples: Vec<OccupancySample>,
    moves: BTreeMap<(usize, usize), (u64, u64)>,
    waits: BTreeMap<(StorageClass, RetrievalTier), Waits>,
    most_cold_bytes: u64,
    exceeded_on: Option<Timestamp>,
}

/// Destinations of [`MoveCount`] past the storage classes.
const EXPIRED: usize = CLASSES;
const DELETED: usize = CLASSES + 1;

impl Recorder {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            start: scenario.start.0,
            every_days: (i64::from(scenario.years) * 365 / SAMPLES).max(1),
            capacity_bytes: scenario.tier.capacity_bytes,
            events: 0,
            missed: 0,
            samples: Vec::new(),
            moves: BTreeMap::new(),
            waits: BTreeMap::new(),
            most_cold_bytes: 0,
            exceeded_on: None,
        }
    }

    pub(super) fn count_event(&mut self) {
        self.events += 1;
    }

    pub(super) fn count_missed(&mut self) {
        self.missed += 1;
    }

    pub(super) fn count_move(&mut self, object: &Object, class: StorageClass) {
        self.count(object, class as usize);
    }

    pub(super) fn count_expiration(&mut self, object: &Object) {
        self.count(object, EXPIRED);
    }

    pub(super) fn count_deletion(&mut self, object: &Object) {
        self.count(object, DELETED);
    }

    fn count(&mut self, object: &Object, to: usize) {
        let (objects, bytes) = self.moves.entry((object.class as usize, to)).or_default();
        *objects += 1;
        *bytes += object.new.len_bytes;
    }

    fn waits(&mut self, class: StorageClass, tier: RetrievalTier) -> &mut Waits {
        self.waits.entry((class, tier)).or_default()
    }

    pub(super) fn count_wait(&mut self, class: StorageClass, tier: RetrievalTier, time: Duration) {
        self.waits(class, tier).seconds.push(time.as_secs());
    }

    pub(super) fn count_renewal(&mut self, class: StorageClass, tier: RetrievalTier) {
        self.waits(class, tier).renewed += 1;
    }

    pub(super) fn count_in_progress(&mut self, class: StorageClass, tier: RetrievalTier) {
        self.waits(class, tier).in_progress += 1;
    }

    pub(super) fn count_not_offered(&mut self, class: StorageClass, tier: RetrievalTier) {
        self.waits(class, tier).not_offered += 1;
    }

    pub(super) fn count_expedited_unavailable(&mut self, class: StorageClass, tier: RetrievalTier) {
        self.waits(class, tier).expedited_unavailable += 1;
    }

    pub(super) fn sample(&mut self, now: Timestamp, estate: &Estate) {
        let cold = estate.occupancy().cold_bytes();
        self.most_cold_bytes = self.most_cold_bytes.max(cold);
        if self.capacity_bytes.is_some_and(|capacity| cold > capacity) {
            self.exceeded_on.get_or_insert(now);
        }
        let day_number = now.day() - self.start.day();
        if day_number % self.every_days == 0 {
            self.samples.push(self.one(now, estate));
        }
    }

    fn one(&self, now: Timestamp, estate: &Estate) -> OccupancySample {
        let occupancy: &Occupancy = estate.occupancy();
        let keys_needed = estate
            .keys()
            .iter()
            .flatten()
            .filter(|key| key.objects_now > 0)
            .count();
        OccupancySample {
            day: date(now),
            day_number: now.day() - self.start.day(),
            classes: StorageClass::ALL
                .into_iter()
                .zip(occupancy.objects.into_iter().zip(occupancy.bytes))
                .filter(|(_, (objects, _))| *objects > 0)
                .map(|(class, (objects, bytes))| ClassBytes {
                    class: class.as_str(),
                    objects,
                    bytes,
                })
                .collect(),
            restored_copies_bytes: occupancy.restored_bytes,
            keys_needed: keys_needed as u64,
        }
    }

    pub(super) fn finish(
        &mut self,
        scenario: &Scenario,
        seed: u64,
        estate: &Estate,
        end: Timestamp,
    ) -> SimulationReport {
        self.sample_end(end, estate);
        let name = |place: usize| match place {
            EXPIRED => "expired",
            DELETED => "deleted",
            class => StorageClass::ALL
                .get(class)
                .map_or("", |class| class.as_str()),
        };
        SimulationReport {
            scenario: scenario.name.clone(),
            seed,
            start: date(self.start),
            end: date(end),
            objects: estate.len() as u64,
            events: self.events,
            occupancy: std::mem::take(&mut self.samples),
            moves: self
                .moves
                .iter()
                .map(|((from, to), (objects, bytes))| MoveCount {
                    from: name(*from),
                    to: name(*to),
                    objects: *objects,
                    bytes: *bytes,
                })
                .collect(),
            restores: std::mem::take(&mut self.waits)
                .into_iter()
                .map(|((class, tier), waits)| waits.summary(class, tier))
                .collect(),
            requests_for_expired_objects: self.missed,
            keys: self.keys(scenario, estate),
            capacity: self.capacity_bytes.map(|capacity_bytes| CapacityReport {
                capacity_bytes,
                most_bytes: self.most_cold_bytes,
                exceeded_on: self.exceeded_on.map(date),
            }),
        }
    }

    fn sample_end(&mut self, end: Timestamp, estate: &Estate) {
        let last = self.one(end, estate);
        self.samples.push(last);
    }

    fn keys(&self, scenario: &Scenario, estate: &Estate) -> Vec<KeyNeed> {
        let number = |moment: Timestamp| moment.day() - self.start.day();
        let mut keys = Vec::new();
        for (population, used) in scenario.populations.iter().zip(estate.keys()) {
            for (index, key) in used.iter().enumerate() {
                let Some(first) = key.first else {
                    continue;
                };
                // It was freed at a midnight; the last day is the one before.
                let last = key
                    .last_freed
                    .filter(|_| key.objects_now == 0)
                    .map(|freed| freed - Duration::from_micros(1));
                keys.push(KeyNeed {
                    key: format!("{}/{}", population.name, index + 1),
                    objects: key.objects_ever,
                    objects_at_end: key.objects_now,
                    first_day: date(first),
                    first_day_number: number(first),
                    last_day: last.map(date),
                    last_day_number: last.map(number),
                });
            }
        }
        keys
    }
}

impl Waits {
    fn summary(mut self, class: StorageClass, tier: RetrievalTier) -> RestoreWaits {
        self.seconds.sort_unstable();
        // The nearest-rank quantile: the smallest wait that as many did not exceed.
        let quantile = |percent: usize| {
            let rank = (self.seconds.len() * percent).div_ceil(100);
            rank.checked_sub(1)
                .and_then(|place| self.seconds.get(place))
                .copied()
                .unwrap_or(0)
        };
        RestoreWaits {
            class: class.as_str(),
            tier: tier.as_str(),
            restored: self.seconds.len() as u64,
            renewed: self.renewed,
            in_progress: self.in_progress,
            not_offered: self.not_offered,
            expedited_unavailable: self.expedited_unavailable,
            p50_seconds: quantile(50),
            p95_seconds: quantile(95),
            max_seconds: quantile(100),
        }
    }
}

fn date(moment: Timestamp) -> String {
    let mut text = moment.to_string();
    text.truncate("YYYY-MM-DD".len());
    text
}
