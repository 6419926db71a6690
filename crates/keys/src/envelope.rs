//! How a data key is protected, and the envelope that holds it.

use serde::{Deserialize, Serialize};
use strongroom_seal::{CheckValue, WrappedDataKey};

use crate::arn::{KeyArn, KeyId, KeyReference, KeyVersion};
use crate::context::EncryptionContext;
use crate::customer::CustomerKey;
use crate::encoding::{Decoder, Encoder};
use crate::error::KeyError;
use crate::journal::Mode;
use crate::kms::CiphertextBlob;
use crate::names::{BucketKeyId, CustomerFingerprint, ObjectName};

/// What a new object is to be protected with.
#[derive(Debug)]
pub enum Protection {
    /// The customer's key (SSE-C).
    CustomerKey(CustomerKey),
    /// A KMS key (SSE-KMS).
    Kms {
        /// The key; [`KeyReference::managed`] where the request names none.
        key: KeyReference,
        /// What the caller binds the data key to besides what the service does.
        context: EncryptionContext,
        /// Through a bucket key, which saves most uses of the token.
        bucket_key: bool,
    },
    /// The service's own key (SSE-S3), through a bucket key.
    Managed,
}

impl Protection {
    pub(crate) fn mode(&self) -> Mode {
        match self {
            Self::CustomerKey(_) => Mode::CustomerKey,
            Self::Kms { .. } => Mode::Kms,
            Self::Managed => Mode::Managed,
        }
    }
}

/// What an object is protected with, as answers tell it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EncryptionMode {
    /// A customer's key (SSE-C).
    CustomerKey {
        /// By which the key is told from others.
        fingerprint: CustomerFingerprint,
    },
    /// A KMS key (SSE-KMS).
    Kms {
        /// The key.
        key: KeyArn,
        /// What the caller bound the data key to.
        context: EncryptionContext,
        /// Whether through a bucket key.
        bucket_key: bool,
    },
    /// The service's own key (SSE-S3).
    Managed,
}

/// A wrapped data key and all that is needed, but for the wrapping key, to unwrap it.
///
/// It is bound to its [`ObjectName`]: in the row of any other version it does not open. It holds
/// nothing secret. Its bytes are described in `docs/format/keys.md`, section "Envelope".
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct KeyEnvelope(pub(crate) Wrapping);

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wrapping {
    Customer {
        lock: CustomerLock,
        wrapped: WrappedDataKey,
    },
    Kms {
        context: EncryptionContext,
        blob: CiphertextBlob,
    },
    Bucket {
        lock: BucketLock,
        wrapped: WrappedDataKey,
    },
}

/// What an envelope says of the customer's key that opens it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CustomerLock {
    pub(crate) salt: [u8; 32],
    pub(crate) check: CheckValue,
    pub(crate) fingerprint: CustomerFingerprint,
}

/// What an envelope says of the bucket key that opens it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BucketLock {
    /// SSE-S3 instead of SSE-KMS.
    pub(crate) managed: bool,
    pub(crate) bucket_key: BucketKeyId,
    pub(crate) key: KeyId,
    pub(crate) version: KeyVersion,
    pub(crate) context: EncryptionContext,
}

const VERSION: u8 = 1;
const MODE_CUSTOMER_KEY: u8 = 1;
const MODE_KMS_KEY: u8 = 2;
const MODE_KMS_BUCKET_KEY: u8 = 3;
const MODE_MANAGED: u8 = 4;

impl CustomerLock {
    fn encode(&self) -> Encoder {
        Encoder::new(VERSION)
            .u8(MODE_CUSTOMER_KEY)
            .fixed(&self.salt)
            .fixed(self.check.as_bytes())
            .fixed(self.fingerprint.as_bytes())
    }

    /// What the wrapped key is bound to: every byte of the envelope before it, and the object.
    pub(crate) fn bound_bytes(&self, object: &ObjectName) -> Vec<u8> {
        bound(self.encode(), object)
    }
}

impl BucketLock {
    fn encode(&self) -> Encoder {
        Encoder::new(VERSION)
            .u8(if self.managed {
                MODE_MANAGED
            } else {
                MODE_KMS_BUCKET_KEY
            })
            .fixed(self.bucket_key.as_bytes())
            .fixed(self.key.as_bytes())
            .u32(self.version.0)
            .counted(&self.context.to_canonical())
    }

    /// What the wrapped key is bound to: every byte of the envelope before it, and the object.
    pub(crate) fn bound_bytes(&self, object: &ObjectName) -> Vec<u8> {
        bound(self.encode(), object)
    }
}

fn bound(head: Encoder, object: &ObjectName) -> Vec<u8> {
    const DOMAIN: &[u8] = b"strongroom/data-key/v1\0";
    [DOMAIN, &object.to_bound_bytes(), &head.finish()].concat()
}

impl KeyEnvelope {
    /// Whether it opens with a customer's key only.
    #[must_use]
    pub fn needs_customer_key(&self) -> bool {
        matches!(self.0, Wrapping::Customer { .. })
    }

    /// The KMS key it opens under, at once or through a bucket key.
    #[must_use]
    pub fn kms_key(&self) -> Option<KeyId> {
        match &self.0 {
            Wrapping::Customer { .. } => None,
            Wrapping::Kms { blob, .. } => Some(blob.key()),
            Wrapping::Bucket { lock, .. } => Some(lock.key),
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        match &self.0 {
            Wrapping::Customer { .. } => Mode::CustomerKey,
            Wrapping::Bucket { lock, .. } if lock.managed => Mode::Managed,
            Wrapping::Kms { .. } | Wrapping::Bucket { .. } => Mode::Kms,
        }
    }

    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.0 {
            Wrapping::Customer { lock, wrapped } => lock.encode().fixed(wrapped.as_bytes()),
            Wrapping::Kms { context, blob } => Encoder::new(VERSION)
                .u8(MODE_KMS_KEY)
                .counted(&context.to_canonical())
                .fixed(&blob.to_bytes()),
            Wrapping::Bucket { lock, wrapped } => lock.encode().fixed(wrapped.as_bytes()),
        }
        .finish()
    }

    /// Reads [`KeyEnvelope::to_bytes`]. Whether it is authentic shows when it is opened.
    ///
    /// # Errors
    /// [`KeyError::NotAuthentic`]: nothing of this service gave out such bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::read(bytes).ok_or(KeyError::NotAuthentic)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let mode = fields.u8()?;
        let wrapping = match mode {
            MODE_CUSTOMER_KEY => Wrapping::Customer {
                lock: CustomerLock {
                    salt: fields.fixed()?,
                    check: CheckValue::from_bytes(fields.fixed()?),
                    fingerprint: CustomerFingerprint(fields.fixed()?),
                },
                wrapped: WrappedDataKey::from_bytes(fields.rest()).ok()?,
            },
            MODE_KMS_KEY => Wrapping::Kms {
                context: EncryptionContext::from_canonical(fields.counted()?)?,
                blob: CiphertextBlob::from_bytes(fields.rest()).ok()?,
            },
            MODE_KMS_BUCKET_KEY | MODE_MANAGED => Wrapping::Bucket {
                lock: BucketLock {
                    managed: mode == MODE_MANAGED,
                    bucket_key: BucketKeyId(fields.fixed()?),
                    key: KeyId::from_bytes(fields.fixed()?),
                    version: KeyVersion(fields.u32()?),
                    context: EncryptionContext::from_canonical(fields.counted()?)?,
                },
                wrapped: WrappedDataKey::from_bytes(fields.rest()).ok()?,
            },
            _ => return None,
        };
        fields.finish(Self(wrapping))
    }
}

impl From<KeyEnvelope> for Vec<u8> {
    fn from(envelope: KeyEnvelope) -> Self {
        envelope.to_bytes()
    }
}

impl TryFrom<Vec<u8>> for KeyEnvelope {
    type Error = KeyError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, KeyError> {
        Self::from_bytes(&bytes)
    }
}
