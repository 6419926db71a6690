//! One suite that every cold tier passes, and what only some engines can be asked.
//!
//! Method: each promise of the contract is one function of [`suite`]; `every_promise` runs them
//! all, and each engine runs `every_promise`.

mod directory;
mod engines;
mod suite;
