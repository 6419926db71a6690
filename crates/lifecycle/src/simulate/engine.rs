//! Lets a scenario run.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use strongroom_environment::Timestamp;

use super::drives::Drives;
use super::estate::{Estate, Life};
use super::events::{Event, Events};
use super::population::{self, Draw};
use super::report::{Recorder, SimulationReport};
use super::scenario::{Checked, CheckedDemand, Scenario, ScenarioError, ScenarioVersioning};
use crate::{
    Action, OnExpiry, RestoreAnswer, RestoreRefusal, RestoreRequest, RestoreState, RetrievalTier,
    StorageClass, VersionFacts, decide, next_due,
};

/// Rehearses a scenario. The same scenario and seed give the same report.
///
/// # Errors
/// [`ScenarioError`] when the scenario does not pass its checks.
pub fn simulate(scenario: &Scenario, seed: u64) -> Result<SimulationReport, ScenarioError> {
    let checked = scenario.check()?;
    let mut run = Run::new(scenario, &checked, seed);
    run.until(scenario.end());
    Ok(run
        .recorder
        .finish(scenario, seed, &run.estate, scenario.end()))
}

/// A scenario under way.
struct Run<'s> {
    scenario: &'s Scenario,
    checked: &'s Checked,
    estate: Estate,
    events: Events,
    recorder: Recorder,
    drives: Option<Drives>,
    /// The expedited retrievals under way, by when they are ready.
    expedited: BTreeSet<(Timestamp, u32)>,
    demand_draw: Draw,
    time_draw: Draw,
    /// The object key that is being looked at; kept to be written again.
    key: String,
}

impl<'s> Run<'s> {
    fn new(scenario: &'s Scenario, checked: &'s Checked, seed: u64) -> Self {
        let objects = population::draw(scenario, seed);
        let mut events = Events::default();
        for (number, object) in (0..).zip(&objects) {
            events.push(object.created, Event::Created, number);
        }
        let first_day = objects
            .iter()
            .map(|object| object.created.day())
            .min()
            .unwrap_or(scenario.start.0.day())
            .min(scenario.start.0.day());
        events.push(Timestamp::start_of_day(first_day), Event::DayBegins, 0);
        Self {
            scenario,
            checked,
            estate: Estate::new(objects, &checked.classes),
            events,
            recorder: Recorder::new(scenario),
            drives: scenario.tier.drives.map(Drives::new),
            expedited: BTreeSet::new(),
            demand_draw: Draw::new(seed, 0xD0),
            time_draw: Draw::new(seed, 0xD1),
            key: String::new(),
        }
    }

    fn until(&mut self, end: Timestamp) {
        while let Some((now, event, number)) = self.events.pop_before(end) {
            self.recorder.count_event();
            match event {
                Event::Created => {
                    self.estate.create(number);
                    self.plan_rules(number);
                }
                Event::Retrieved => self.retrieved(number, now),
                Event::CopyEnded => self.copy_ended(number, now),
                Event::RuleDue => self.rule_due(number, now),
                Event::DayBegins => self.day_begins(now),
                Event::Asked(demand) => self.asked(number, demand, now),
            }
        }
    }

    fn on_expiry(&self) -> OnExpiry {
        match self.scenario.versioning {
            ScenarioVersioning::Unversioned => OnExpiry::Gone,
            ScenarioVersioning::Enabled => OnExpiry::Noncurrent,
        }
    }

    /// Lets `ask` see the facts of an object that is there.
    fn with_facts<T>(
        &mut self,
        number: u32,
        ask: impl FnOnce(&VersionFacts<'_>) -> T,
    ) -> Option<T> {
        let standing = self.estate.standing(number, self.on_expiry())?;
        let object = self.estate.object(number);
        let population = &self.scenario.populations[object.new.population as usize];
        self.key.clear();
        // Writing to a string does not fail.
        let _ = write!(self.key, "{}{number:09}", population.prefix);
        Some(ask(&VersionFacts {
            key: &self.key,
            tags: &[],
            len_bytes: object.new.len_bytes,
            class: object.class,
            created: object.new.created,
            standing,
        }))
    }

    fn plan_rules(&mut self, number: u32) {
        let checked = self.checked;
        let due = self.with_facts(number, |facts| next_due(&checked.rules, facts));
        if let Some(due) = due.flatten() {
            self.events.push(due, Event::RuleDue, number);
        }
    }

    fn rule_due(&mut self, number: u32, now: Timestamp) {
        let checked = self.checked;
        let decisions = self
            .with_facts(number, |facts| decide(&checked.rules, facts, now))
            .unwrap_or_default();
        for decision in decisions {
            match decision.action {
                Action::Transition(class) => self.transition(number, class),
                Action::Expire if self.on_expiry() == OnExpiry::Noncurrent => {
                    self.recorder.count_expiration(self.estate.object(number));
                    self.estate.make_noncurrent(number, now);
                }
                Action::Expire | Action::DeleteVersion => {
                    self.recorder.count_deletion(self.estate.object(number));
                    self.estate.remove(number, now);
                }
            }
        }
        self.plan_rules(number);
    }

    fn transition(&mut self, number: u32, class: StorageClass) {
        self.recorder.count_move(self.estate.object(number), class);
        self.estate.move_to(number, class);
    }

    fn day_begins(&mut self, now: Timestamp) {
        self.events
            .push(Timestamp::start_of_day(now.day() + 1), Event::DayBegins, 0);
        if now < self.scenario.start.0 {
            return;
        }
        self.recorder.sample(now, &self.estate);
        for (number, demand) in (0..).zip(&self.checked.demands) {
            let CheckedDemand {
                population,
                restores_per_day,
                ..
            } = *demand;
            let there = self.estate.archived(population).len() as u64;
            if there == 0 {
                continue;
            }
            for _ in 0..self.demand_draw.count(restores_per_day * there as f64) {
                let place = self.demand_draw.below(there);
                let second = self.demand_draw.below(86_400);
                let object =
                    self.estate.archived(population)[usize::try_from(place).unwrap_or_default()];
                self.events.push(
                    now + std::time::Duration::from_secs(second),
                    Event::Asked(number),
                    object,
                );
            }
        }
    }

    fn asked(&mut self, number: u32, demand: u32, now: Timestamp) {
        let demand = self.checked.demands[demand as usize];
        let object = *self.estate.object(number);
        if matches!(object.life, Life::Gone | Life::Coming) {
            self.recorder.count_missed();
            return;
        }
        let request = RestoreRequest {
            days: demand.days,
            tier: demand.tier,
        };
        let (state, answer) = match object.restore.request(object.class, request, now) {
            Ok(answered) => answered,
            Err(refusal) => {
                match refusal {
                    RestoreRefusal::InProgress => {
                        self.recorder.count_in_progress(object.class, demand.tier);
                    }
                    RestoreRefusal::NotArchived { .. } | RestoreRefusal::TierNotOffered { .. } => {
                        self.recorder.count_not_offered(object.class, demand.tier);
                    }
                }
                return;
            }
        };
        match answer {
            RestoreAnswer::AlreadyRestored { until } => {
                self.recorder.count_renewal(object.class, demand.tier);
                self.events.push(until, Event::CopyEnded, number);
            }
            RestoreAnswer::Started | RestoreAnswer::Upgraded => {
                let Some(ready) = self.retrieval_ready(number, request, answer, now) else {
                    self.recorder
                        .count_expedited_unavailable(object.class, demand.tier);
                    return;
                };
                let asked = match answer {
                    RestoreAnswer::Upgraded => object.asked,
                    _ => now,
                };
                self.estate.set_retrieval(number, asked, ready);
                self.events.push(ready, Event::Retrieved, number);
            }
        }
        self.estate.set_restore(number, state);
    }

    /// When a retrieval asked for now is ready; `None` when there is no room for it.
    fn retrieval_ready(
        &mut self,
        number: u32,
        request: RestoreRequest,
        answer: RestoreAnswer,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let object = *self.estate.object(number);
        let tier = &self.scenario.tier;
        let time = tier.times.draw(
            object.class,
            request.tier,
            object.new.len_bytes,
            self.time_draw.number(),
        )?;
        let is_expedited = request.tier == RetrievalTier::Expedited;
        if is_expedited && let Some(most) = tier.expedited_at_once_max {
            self.expedited = self.expedited.split_off(&(now, u32::MAX));
            if self.expedited.len() >= most as usize {
                return None;
            }
        }
        let mut ready = now + time;
        if answer == RestoreAnswer::Upgraded {
            // The drive is booked already.
            ready = ready.min(object.ready.max(now));
        } else if let Some(drives) = &mut self.drives {
            ready = ready.max(drives.book(now, object.new.len_bytes));
        }
        if is_expedited {
            self.expedited.insert((ready, number));
        }
        Some(ready)
    }

    fn retrieved(&mut self, number: u32, now: Timestamp) {
        let object = *self.estate.object(number);
        // An event of a retrieval that was made faster since, or of an object that is gone.
        if object.ready != now || object.life == Life::Gone {
            return;
        }
        let RestoreState::InProgress(request) = object.restore else {
            return;
        };
        if let Ok(state) = object.restore.retrieved(now) {
            self.recorder
                .count_wait(object.class, request.tier, now.since(object.asked));
            self.estate.set_restore(number, state);
            if let RestoreState::Restored { until } = state {
                self.events.push(until, Event::CopyEnded, number);
            }
        }
    }

    fn copy_ended(&mut self, number: u32, now: Timestamp) {
        // A copy whose time was moved has a later event of its own.
        if let Ok(state) = self.estate.object(number).restore.expired(now) {
            self.estate.set_restore(number, state);
        }
    }
}
