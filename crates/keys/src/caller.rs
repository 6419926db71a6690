//! Who asks, as the audit log will name them.

use std::net::IpAddr;

/// On whose behalf a key is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The access key id of the user, or the name of the part of the daemon that acts by itself.
    pub principal: String,
    /// The request id that the answer to the caller carries too.
    pub request_id: String,
    /// The operation the caller asked for, such as `s3:GetObject` or `kms:Decrypt`.
    pub operation: String,
    /// The network address the request came from; `None` when the daemon acts by itself.
    pub source: Option<IpAddr>,
}

impl Caller {
    /// The principal under which the daemon acts by itself.
    pub const DAEMON: &'static str = "strongroom";

    /// The daemon itself, at `operation`.
    #[must_use]
    pub fn daemon(operation: &str) -> Self {
        Self {
            principal: Self::DAEMON.into(),
            request_id: String::new(),
            operation: operation.into(),
            source: None,
        }
    }
}
