//! AWS Signature Version 4: what a signature covers, and whether it is the right one.
//!
//! This crate computes and compares; it knows no users, and nothing of what a request asks for.
//! What a protocol makes of a signature (its scope, its age, which headers have to be signed, what
//! a refusal is called) is for the protocol to say.
//!
//! - [`CredentialScope`] and [`AmzDate`] are the parts of a signature as clients write them.
//! - [`SignedHead`] is what a signature covers of a request: its head, and a word on its body.
//! - [`SigningKey`] is made of a secret access key and a scope, and makes a [`Signature`].
//! - [`ChunkChain`] follows the signatures of a body that is sent in signed chunks.
//!
//! A head may carry a customer's key, so the canonical request is never put together in memory: its
//! pieces go into the hash one by one.
//!
//! Source: "Create a signed AWS API request", AWS Identity and Access Management User Guide, and
//! "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API Reference.

mod canonical;
mod chunks;
mod date;
mod key;
mod scope;

pub use canonical::{PathEncoding, SignedHead};
pub use chunks::ChunkChain;
pub use date::AmzDate;
pub use key::{Signature, SigningKey};
pub use scope::{AuthorizationParts, CredentialScope, authorization_parts};

/// The name of the algorithm, as requests write it.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
