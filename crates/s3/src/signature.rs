//! Who sent a request: AWS Signature Version 4.
//!
//! [`Claim`] is what a request says of its own signature, checked for everything that needs no
//! secret: form, scope, time, and that every header that means something is signed. [`Verifier`]
//! then lets `s3s` compute and compare the signature. The body of the request does not pass
//! through `s3s`: what the signature says of it is checked while it is read (see [`crate::body`]).

mod claim;
mod time;
mod verify;

pub(crate) use claim::{Claim, Payload};
pub(crate) use verify::{Head, Verifier};
