//! Custody of KMS keys on another host.
//!
//! A store without a token of its own uses the keys of a key daemon. Between them is the link: HTTP
//! over TLS in which both ends show a certificate. Both ends are here: [`LinkService`] answers over
//! any [`KeyCustody`](strongroom_keys::KeyCustody), and [`RemoteCustody`] is that seam for the
//! store, which cannot tell the difference but by
//! [`KeyError::CustodyUnavailable`](strongroom_keys::KeyError::CustodyUnavailable).
//!
//! What is said on the link is the AWS KMS protocol (Encrypt, Decrypt, DescribeKey) with one more
//! member, on whose behalf the store asks; and what that protocol has no words for: whether a caller
//! may use a key, which key of the token wraps a version, and which keys were changed. See
//! `docs/format/custody-link.md`.
//!
//! # What a store may believe, and for how long
//!
//! The store asks for changes all the time, and each answer holds what was changed before the
//! question was sent. As long as the last question that was answered is younger than
//! [`LinkConfig::silence_max`], what the store keeps opened may be used; after that it is wiped, and
//! every use is refused until the key daemon is heard of again. So a key that was disabled is out of
//! use everywhere within that time, whatever becomes of the link.

mod answer;
mod call;
mod feed;
mod follow;
mod remote;
mod serve;
mod wire;

pub use call::LinkConfig;
pub use feed::ChangeFeed;
pub use remote::{LinkStatus, RemoteCustody};
pub use serve::{LinkService, store_of};
