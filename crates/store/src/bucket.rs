//! Buckets and how they are configured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strongroom_environment::Timestamp;

use crate::BucketName;

/// Whether a bucket keeps the versions of its objects.
///
/// A bucket that was once versioned is never unversioned again; it is suspended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Versioning {
    /// It never kept versions: every object has one version, shown as `null`.
    #[default]
    Unversioned,
    /// Every write makes a new version.
    Enabled,
    /// A write replaces the version shown as `null`; the others stay.
    Suspended,
}

/// How objects are protected when the request does not say.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum DefaultEncryption {
    /// SSE-S3.
    Managed,
    /// SSE-KMS.
    Kms {
        /// The key's id, ARN or alias; `None` is the key that the service manages.
        key: Option<String>,
        /// Whether a bucket key stands between the KMS key and the data keys.
        bucket_key: bool,
    },
}

/// The name of a piece of bucket configuration that the store keeps without reading it, such as
/// `lifecycle`: 1 to 64 bytes of `a-z` and `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ConfigName(String);

impl ConfigName {
    /// The lifecycle rules of a bucket.
    #[must_use]
    pub fn lifecycle() -> Self {
        Self("lifecycle".to_owned())
    }

    /// The configuration of this name; `None` when no configuration may be called so.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        ((1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
        .then(|| Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a bucket is made with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateBucket {
    /// Its name.
    pub bucket: BucketName,
    /// The principal it belongs to.
    pub owner: String,
    /// The region it is said to be in.
    pub region: String,
    /// Whether new objects under customer keys (SSE-C) are refused.
    pub customer_keys_blocked: bool,
}

/// A bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BucketInfo {
    /// Its name.
    pub bucket: BucketName,
    /// When it was made.
    pub created: Timestamp,
    /// The principal it belongs to.
    pub owner: String,
    /// The region it is said to be in.
    pub region: String,
    /// Whether it keeps versions.
    pub versioning: Versioning,
    /// How objects are protected when the request does not say; `None` is SSE-S3.
    pub default_encryption: Option<DefaultEncryption>,
    /// Whether new objects under customer keys (SSE-C) are refused.
    pub customer_keys_blocked: bool,
    /// Opaque configurations by name, such as `lifecycle`.
    pub configs: BTreeMap<ConfigName, Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_has_a_short_plain_name() {
        assert_eq!(ConfigName::new("lifecycle"), Some(ConfigName::lifecycle()));
        for bad in ["", "Lifecycle", "a b", &"a".repeat(65), "a\0"] {
            assert_eq!(ConfigName::new(bad), None, "{bad:?}");
        }
    }
}
