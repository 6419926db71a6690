//! Who asks, as the audit log will name them and key policies judge them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::KeyError;
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
    /// The store apart that asks on the caller's behalf, and vouches for all of the above; `None`
    /// when the caller asks this process.
    pub store: Option<StoreName>,
}

/// The name of a store that uses the keys of a key daemon: a DNS name (RFC 1035, section 2.3.1), in
/// lower case, which stands in the store's certificate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StoreName(Arc<str>);

impl StoreName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for StoreName {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        };
        let is_address = text.parse::<IpAddr>().is_ok();
        if text.len() > 253 || is_address || !text.split('.').all(is_label) {
            return Err(KeyError::InvalidReference {
                rule: "the name of a store is a DNS name in lower case, such as store-1.example",
            });
        }
        Ok(Self(text.into()))
    }
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
            store: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_store_is_a_dns_name_in_lower_case() {
        for name in ["store", "store-1.example", "1.store", &"a".repeat(63)] {
            assert_eq!(name.parse::<StoreName>().expect(name).as_str(), name);
        }
        for wrong in [
            "",
            ".",
            "store.",
            "Store",
            "-store",
            "store-",
            "sto re",
            "st\u{f6}re",
            "a..b",
            "192.0.2.7",
            "*.example",
            &"a".repeat(64),
            &["a"; 128].join("."),
        ] {
            assert!(wrong.parse::<StoreName>().is_err(), "{wrong:?}");
        }
    }
}
