//! What keys and the versions they protect are called.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use strongroom_environment::{Entropy, Timestamp};

use crate::error::KeyError;

/// Sixteen or more bytes that name something for good, shown as lower-case hex.
macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The length in bytes.
            pub const LEN_BYTES: usize = $len;

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = KeyError;

            /// Reads what was printed.
            fn from_str(hex: &str) -> Result<Self, KeyError> {
                data_encoding::HEXLOWER_PERMISSIVE
                    .decode(hex.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or(KeyError::InvalidReference {
                        rule: concat!("the id is ", stringify!($len), " bytes in hex"),
                    })
            }
        }
    };
}

byte_id! {
    /// Which imported material a version of a KMS key has: an HMAC of the key's id by the material.
    ///
    /// Source: AWS KMS API Reference, `KeyMaterialId`.
    KeyMaterialId, 32
}

byte_id! {
    /// A grant of a KMS key: random.
    GrantId, 32
}

byte_id! {
    /// A proposal for the custodians: the microsecond in which it was opened, and eight random
    /// bytes, so that ids are in the order of time.
    ProposalId, 16
}

byte_id! {
    /// Sixteen random bytes that an upload is given when it begins and its object version keeps.
    ///
    /// The wrapping of the data key is bound to it, so a wrapped key that is moved to another
    /// version does not open.
    BindingId, 16
}

byte_id! {
    /// A bucket key: sixteen random bytes.
    BucketKeyId, 16
}

byte_id! {
    /// By what a customer's key is told from others without knowing it: HMAC-SHA-256 (FIPS 198-1)
    /// of the key under the ledger key.
    CustomerFingerprint, 32
}

impl ProposalId {
    pub(crate) fn new(opened: Timestamp, entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; Self::LEN_BYTES];
        let (moment, random) = bytes.split_at_mut(8);
        moment.copy_from_slice(&opened.micros().to_be_bytes());
        entropy.fill(random);
        Self(bytes)
    }
}

impl BindingId {
    /// A new binding, never given before.
    #[must_use]
    pub fn random(entropy: &dyn Entropy) -> Self {
        Self(entropy.array())
    }
}

impl BucketKeyId {
    pub(crate) fn random(entropy: &dyn Entropy) -> Self {
        Self(entropy.array())
    }
}

/// The place that a data key is wrapped to: it opens for this bucket, object key and binding only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectName {
    /// The bucket's name, up to 63 bytes.
    pub bucket: String,
    /// The object's key, up to 1,024 bytes.
    pub key: String,
    /// What the version was given when its upload began.
    pub binding: BindingId,
}

impl ObjectName {
    /// The longest bucket name, in bytes.
    pub const BUCKET_LEN_BYTES_MAX: usize = 63;
    /// The longest object key, in bytes.
    pub const KEY_LEN_BYTES_MAX: usize = 1_024;

    pub(crate) fn check(&self) -> Result<(), KeyError> {
        if self.bucket.is_empty() || self.bucket.len() > Self::BUCKET_LEN_BYTES_MAX {
            return Err(KeyError::InvalidRequest {
                rule: "a bucket's name has 1 to 63 bytes",
            });
        }
        if self.key.is_empty() || self.key.len() > Self::KEY_LEN_BYTES_MAX {
            return Err(KeyError::InvalidRequest {
                rule: "an object's key has 1 to 1024 bytes",
            });
        }
        Ok(())
    }

    /// The name as bytes that no other name has: each part after its length.
    pub(crate) fn to_bound_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + self.bucket.len() + self.key.len() + 16);
        for part in [&self.bucket, &self.key] {
            let len_bytes = u16::try_from(part.len()).expect("a checked name is short");
            bytes.extend_from_slice(&len_bytes.to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(&self.binding.0);
        bytes
    }
}

/// An object version as the ledger names it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProtectedVersion {
    /// Its bucket, object key and binding.
    pub object: ObjectName,
    /// Its commit sequence, which together with the binding makes its version id.
    pub sequence: u64,
}
