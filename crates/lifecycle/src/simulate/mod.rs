//! The simulator: a policy rehearsed on years of simulated time before it is turned on.
//!
//! A [`Scenario`] describes objects, rules, restore demand and the cold tier; [`simulate`] lets it
//! run and gives a [`SimulationReport`]. What is due, and what becomes of a restore, is decided by
//! the very functions that the service uses ([`crate::decide()`], [`crate::RestoreState`],
//! [`crate::RetrievalTimes`]); only bytes, rows and waiting are left out. One thread, one order of
//! events, randomness only from the seed: the same scenario and seed give the same report.

mod drives;
mod engine;
mod estate;
mod events;
mod population;
mod report;
mod scenario;
mod svg;
mod table;

pub use engine::simulate;
pub use report::{
    CapacityReport, ClassBytes, KeyNeed, MoveCount, OccupancySample, RestoreWaits, SimulationReport,
};
pub use scenario::{
    CreationDays, Demand, DriveSettings, KeyAssignment, Population, Scenario, ScenarioError,
    ScenarioVersioning, SizeDistribution, TierScenario,
};
