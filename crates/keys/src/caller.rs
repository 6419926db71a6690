//! Who asks, as the audit log will name them and key policies judge them.

use std::net::IpAddr;

use crate::users::Role;

/// On whose behalf a key is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The access key id of the user, or the name of the part of the daemon that acts by itself.
    pub principal: String,
    /// What that principal is before key policies and grants are looked at.
    pub standing: Standing,
    /// The request id that the answer to the caller carries too.
    pub request_id: String,
    /// The operation the caller asked for, such as `s3:GetObject` or `kms:Decrypt`.
    pub operation: String,
    /// The network address the request came from; `None` when the daemon acts by itself.
    pub source: Option<IpAddr>,
}

/// What a principal is to the policies of keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The daemon itself: what the clock says is to be done, and the keys of its own. No policy of
    /// a key is asked.
    Daemon,
    /// The holder of the administrator's bearer token: the root user of the account.
    Root,
    /// A user, with what the role allows.
    User(Role),
}

impl Caller {
    /// The principal under which the daemon acts by itself.
    pub const DAEMON: &'static str = "strongroom";

    /// The daemon itself, at `operation`.
    #[must_use]
    pub fn daemon(operation: &str) -> Self {
        Self {
            principal: Self::DAEMON.into(),
            standing: Standing::Daemon,
            request_id: String::new(),
            operation: operation.into(),
            source: None,
        }
    }
}
