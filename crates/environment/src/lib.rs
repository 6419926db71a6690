//! The clock and the entropy: the only room that asks the system for time or randomness.
//!
//! Every other crate takes a [`Clock`] and an [`Entropy`] from its caller, so that a test or a
//! simulation can hold both still and a run can be repeated to the bit.
//!
//! Wall time and monotonic time are apart on purpose. Wall time ([`Timestamp`]) names dates that
//! people and protocols see and may be simulated; monotonic time ([`Monotonic`]) measures how long
//! something has been held in memory, and always runs.

mod clock;
mod entropy;

pub use clock::{Clock, Monotonic, SimulatedClock, SystemClock, Timestamp};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
