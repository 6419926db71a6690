//! Who sent a request: AWS Signature Version 4.
//!
//! [`Claim`] is what a request says of its own signature, checked for everything that needs no
//! secret: form, scope, time, and that every header that means something is signed. [`verify`]
//! then compares the signature with the one that the user's secret makes. What the signature says
//! of the body is checked while it is read (see [`crate::body`]).

mod claim;
mod verify;

pub(crate) use claim::{Claim, Payload};
pub(crate) use verify::{Head, verify};
