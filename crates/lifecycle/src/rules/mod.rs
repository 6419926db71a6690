//! Lifecycle rules: what a client asks for, what is accepted, and what accepted rules mean.
//!
//! [`RequestedConfiguration`] is the configuration as it came in, with every member optional;
//! [`RequestedConfiguration::validate`] makes a [`RuleSet`] of it, in which nothing is left to
//! check. The requested form is what is stored and given back to the client; the rule set is what
//! decisions are made from.

mod requested;
mod rule;
mod validate;

pub use requested::{
    RequestedAbort, RequestedAnd, RequestedConfiguration, RequestedExpiration, RequestedFilter,
    RequestedNoncurrentExpiration, RequestedNoncurrentTransition, RequestedRule,
    RequestedTransition, RuleDate, Tag,
};
pub use rule::{
    Expiration, Filter, NoncurrentExpiration, NoncurrentTransition, Rule, RuleId, RuleSet,
    Transition, TransitionMinimum, When,
};
pub use validate::RuleError;
