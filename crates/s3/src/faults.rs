//! Which refusal answers which error of the rooms below. This is the one place that says so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{ALLOW, CONTENT_RANGE, ETAG, LAST_MODIFIED};
use http::{HeaderName, HeaderValue};
use strongroom_keys::KeyError;
use strongroom_lifecycle::rules::RuleError;
use strongroom_lifecycle::{LifecycleError, RestoreRefusal};
use strongroom_store::{BodyError, NameError, StoreError};

use crate::address::Address;
use crate::body::BodyFault;
use crate::dates::http_date;
use crate::refusal::{Code, Refusal};

/// What an error is about, for the fields of the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    /// The bucket.
    pub(crate) bucket: String,
    /// The object key.
    pub(crate) key: String,
    /// The version, as the client named it.
    pub(crate) version_id: Option<String>,
    /// The upload, as the client named it.
    pub(crate) upload_id: Option<String>,
    /// The range, as the client named it.
    pub(crate) range: Option<String>,
    /// The part, as the client named it.
    pub(crate) part_number: Option<String>,
    /// The KMS key, as the client named it.
    pub(crate) kms_key: Option<String>,
    /// The method, for what is not allowed.
    pub(crate) method: String,
}

impl Subject {
    /// What is at this address.
    pub(crate) fn of(address: &Address) -> Self {
        let (bucket, key) = match address {
            Address::Service => (String::new(), String::new()),
            Address::Bucket(bucket) => (bucket.clone(), String::new()),
            Address::Object(bucket, key) => (bucket.clone(), key.clone()),
        };
        Self {
            bucket,
            key,
            ..Self::default()
        }
    }

    /// The refusal that answers an error of the store.
    pub(crate) fn refusal(&self, error: &StoreError) -> Refusal {
        match error {
            StoreError::NoSuchBucket => {
                Refusal::new(Code::NoSuchBucket).field("BucketName", &self.bucket)
            }
            StoreError::BucketExists { .. } => {
                Refusal::new(Code::BucketAlreadyExists).field("BucketName", &self.bucket)
            }
            StoreError::BucketNotEmpty => {
                Refusal::new(Code::BucketNotEmpty).field("BucketName", &self.bucket)
            }
            StoreError::NoSuchConfig => {
                Refusal::new(Code::NoSuchLifecycleConfiguration).field("BucketName", &self.bucket)
            }
            StoreError::NoSuchKey { delete_marker } => {
                let refusal = Refusal::new(Code::NoSuchKey).field("Key", &self.key);
                match delete_marker {
                    Some(version) => with_delete_marker(refusal, &version.to_string()),
                    None => refusal,
                }
            }
            StoreError::NoSuchVersion => Refusal::new(Code::NoSuchVersion)
                .field("Key", &self.key)
                .field("VersionId", self.version_id.clone().unwrap_or_default()),
            StoreError::IsDeleteMarker { version, modified } => {
                let refusal = Refusal::new(Code::MethodNotAllowed)
                    .field("Method", &self.method)
                    .field("ResourceType", "DeleteMarker")
                    .header(ALLOW, HeaderValue::from_static("DELETE"))
                    .header(LAST_MODIFIED, value(&http_date(*modified)));
                with_delete_marker(refusal, &version.to_string())
            }
            StoreError::NoSuchUpload => Refusal::new(Code::NoSuchUpload)
                .field("UploadId", self.upload_id.clone().unwrap_or_default()),
            StoreError::PreconditionFailed { condition } => {
                Refusal::new(Code::PreconditionFailed).field("Condition", *condition)
            }
            StoreError::NotModified {
                etag,
                modified,
                version,
            } => {
                let refusal = Refusal::new(Code::NotModified)
                    .header(ETAG, value(&format!("\"{etag}\"")))
                    .header(LAST_MODIFIED, value(&http_date(*modified)));
                match version {
                    Some(version) => refusal.header(VERSION_ID, value(&version.to_string())),
                    None => refusal,
                }
            }
            StoreError::InvalidRange { size_bytes } => Refusal::new(Code::InvalidRange)
                .field("RangeRequested", self.range.clone().unwrap_or_default())
                .field("ActualObjectSize", size_bytes.to_string())
                .header(CONTENT_RANGE, value(&format!("bytes */{size_bytes}"))),
            StoreError::NoSuchPart { part_count } => Refusal::new(Code::InvalidPartNumber)
                .field(
                    "PartNumberRequested",
                    self.part_number.clone().unwrap_or_default(),
                )
                .field("ActualPartCount", part_count.to_string()),
            StoreError::IncompleteBody { .. } => Code::IncompleteBody.into(),
            StoreError::BodyTooLong { .. } => Refusal::with_message(
                Code::IncompleteBody,
                "The request body is longer than the number of bytes specified by the Content-Length or x-amz-decoded-content-length HTTP header",
            ),
            StoreError::EntityTooLarge {
                size_bytes,
                size_bytes_max,
            } => Refusal::new(Code::EntityTooLarge)
                .field("ProposedSize", size_bytes.to_string())
                .field("MaxSizeAllowed", size_bytes_max.to_string()),
            StoreError::Body(error) => body_refusal(error),
            StoreError::Md5Mismatch => Code::BadDigest.into(),
            StoreError::ChecksumMismatch { algorithm } => Refusal::with_message(
                Code::BadDigest,
                format!(
                    "The {} you specified did not match the calculated checksum.",
                    algorithm.as_str()
                ),
            ),
            StoreError::ChecksumNotOfUpload { expected } => Refusal::with_message(
                Code::InvalidRequest,
                format!(
                    "Checksum Type mismatch occurred, expected checksum Type: {}",
                    expected.map_or_else(
                        || "null".to_owned(),
                        |algorithm| algorithm.as_str().to_lowercase()
                    )
                ),
            ),
            StoreError::ChecksumTypeNotAllowed {
                algorithm,
                checksum_type,
            } => Refusal::with_message(
                Code::InvalidRequest,
                format!(
                    "The {} checksum type cannot be used with the {} checksum algorithm.",
                    checksum_type.as_str(),
                    algorithm.as_str().to_lowercase()
                ),
            ),
            StoreError::MetadataTooLarge { len_bytes } => Refusal::new(Code::MetadataTooLarge)
                .field("Size", len_bytes.to_string())
                .field("MaxSizeAllowed", "2048"),
            StoreError::InvalidPart { number, etag } => Refusal::new(Code::InvalidPart)
                .field("UploadId", self.upload_id.clone().unwrap_or_default())
                .field("PartNumber", number.get().to_string())
                .field(
                    "ETag",
                    etag.map(|etag| etag.to_string()).unwrap_or_default(),
                ),
            StoreError::InvalidPartOrder => Refusal::new(Code::InvalidPartOrder)
                .field("UploadId", self.upload_id.clone().unwrap_or_default()),
            StoreError::NoParts => Code::MalformedXml.into(),
            StoreError::EntityTooSmall {
                number,
                etag,
                size_bytes,
                size_bytes_min,
            } => Refusal::new(Code::EntityTooSmall)
                .field("ProposedSize", size_bytes.to_string())
                .field("MinSizeAllowed", size_bytes_min.to_string())
                .field("PartNumber", number.get().to_string())
                .field("ETag", etag.to_string()),
            StoreError::ObjectSizeMismatch {
                size_bytes,
                stated_bytes,
            } => Refusal::with_message(
                Code::InvalidRequest,
                format!(
                    "The provided 'x-amz-mp-object-size' header value {stated_bytes} does not match what was computed: {size_bytes}"
                ),
            ),
            StoreError::PartEncryptionNotOfUpload => Refusal::with_message(
                Code::InvalidRequest,
                "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters.",
            ),
            StoreError::PartKeyMismatch => Refusal::with_message(
                Code::InvalidRequest,
                "The provided encryption parameters did not match the ones used originally.",
            ),
            StoreError::Archived { class } => {
                Refusal::new(Code::InvalidObjectState).field("StorageClass", class.as_str())
            }
            StoreError::SourceArchived { class } => {
                Refusal::new(Code::ObjectNotInActiveTier).field("StorageClass", class.as_str())
            }
            StoreError::NotArchived { class } => Refusal::with_message(
                Code::InvalidObjectState,
                "Restore is not allowed for the object's current storage class",
            )
            .field("StorageClass", class.as_str()),
            StoreError::RestoreInProgress => Code::RestoreAlreadyInProgress.into(),
            StoreError::CustomerKeysBlocked => Refusal::with_message(
                Code::AccessDenied,
                "Server Side Encryption with Customer provided keys is blocked for this bucket",
            ),
            StoreError::CopyToItself => Refusal::with_message(
                Code::InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
            ),
            StoreError::Key(error) => self.key_refusal(error),
            StoreError::Full => Code::InsufficientStorage.into(),
            StoreError::Contended => Code::SlowDown.into(),
            StoreError::Unavailable { .. } => Refusal::with_message(
                Code::ServiceUnavailable,
                "The storage is not available at the moment. Nothing was changed.",
            ),
            StoreError::OutcomeUnknown { .. } => Refusal::with_message(
                Code::InternalError,
                "The storage failed while it kept the change; it is not known whether it was made.",
            ),
            _ => Code::InternalError.into(),
        }
    }

    /// The refusal that answers an error of the lifecycle.
    pub(crate) fn lifecycle_refusal(&self, error: &LifecycleError) -> Refusal {
        match error {
            LifecycleError::Rule(rule) => rule_refusal(rule),
            LifecycleError::NoRules => {
                Refusal::new(Code::NoSuchLifecycleConfiguration).field("BucketName", &self.bucket)
            }
            LifecycleError::Restore(RestoreRefusal::NotArchived { class }) => {
                self.refusal(&StoreError::NotArchived { class: *class })
            }
            LifecycleError::Restore(RestoreRefusal::InProgress) => {
                Code::RestoreAlreadyInProgress.into()
            }
            LifecycleError::Restore(RestoreRefusal::TierNotOffered { tier, .. }) => {
                Refusal::argument(
                    format!(
                        "{} retrieval option is not supported by this storage class",
                        tier.as_str()
                    ),
                    "Tier",
                    tier.as_str(),
                )
            }
            LifecycleError::RestoreDays { days } => Refusal::argument(
                "restoration days should be at least 1",
                "Days",
                days.to_string(),
            ),
            LifecycleError::ExpeditedUnavailable => Code::ExpeditedNotAvailable.into(),
            LifecycleError::NoWay { from, .. } => {
                Refusal::new(Code::InvalidObjectState).field("StorageClass", from.as_str())
            }
            LifecycleError::Store(error) => self.refusal(error),
            LifecycleError::Cold(_) | LifecycleError::Jobs(_) => Refusal::with_message(
                Code::ServiceUnavailable,
                "The cold tier is not available at the moment.",
            ),
            _ => Code::InternalError.into(),
        }
    }

    /// The refusal that answers an error of the key service.
    pub(crate) fn key_refusal(&self, error: &KeyError) -> Refusal {
        match error {
            KeyError::CustomerKeyRequired => Refusal::with_message(
                Code::InvalidRequest,
                "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
            ),
            KeyError::CustomerKeyMismatch => Refusal::with_message(
                Code::AccessDenied,
                "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key.",
            ),
            KeyError::CustomerKeyNotApplicable => Refusal::with_message(
                Code::InvalidRequest,
                "The encryption parameters are not applicable to this object.",
            ),
            KeyError::NoSuchKey { reference } => Refusal::with_message(
                Code::KmsNotFound,
                format!(
                    "Invalid keyId '{}'",
                    self.kms_key
                        .clone()
                        .unwrap_or_else(|| reference.to_string())
                ),
            ),
            KeyError::NoSuchAlias { alias } => {
                Refusal::with_message(Code::KmsNotFound, format!("Alias {alias} is not found."))
            }
            KeyError::InvalidReference { .. } => Refusal::with_message(
                Code::KmsNotFound,
                format!(
                    "Invalid keyId '{}'",
                    self.kms_key.clone().unwrap_or_default()
                ),
            ),
            KeyError::Disabled { key } => {
                Refusal::with_message(Code::KmsDisabled, format!("{key} is disabled."))
            }
            KeyError::PendingDeletion { key } => {
                Refusal::with_message(Code::KmsInvalidState, format!("{key} is pending deletion."))
            }
            KeyError::PendingImport { key } => {
                Refusal::with_message(Code::KmsInvalidState, format!("{key} is pending import."))
            }
            KeyError::UseLimited { .. } => {
                Refusal::with_message(Code::KmsInvalidState, error.to_string())
            }
            KeyError::ManagedByService { key } => Refusal::with_message(
                Code::AccessDenied,
                format!("{key} is managed by the service and cannot be named in a request."),
            ),
            KeyError::AccessDenied { .. } => {
                Refusal::with_message(Code::AccessDenied, error.to_string())
            }
            KeyError::WrongUsage { key } => Refusal::with_message(
                Code::InvalidRequest,
                format!("{key} is not a key for symmetric encryption."),
            ),
            KeyError::InvalidContext { rule } => Refusal::argument(
                format!("The encryption context is not valid: {rule}"),
                "x-amz-server-side-encryption-context",
                "null",
            ),
            KeyError::CustomerKeyMalformed { .. } => Refusal::argument(
                "The secret key was invalid for the specified algorithm.",
                "x-amz-server-side-encryption",
                "null",
            ),
            KeyError::TokenUnavailable(_) => Refusal::with_message(
                Code::ServiceUnavailable,
                "The key service cannot reach its security module at the moment. Nothing was changed.",
            ),
            KeyError::CustodyUnavailable { .. } => Refusal::with_message(
                Code::ServiceUnavailable,
                "The key daemon is not available at the moment. Nothing was changed.",
            ),
            KeyError::AuditUnavailable(_) => Refusal::with_message(
                Code::ServiceUnavailable,
                "The use of the key could not be put on the audit log. Nothing was changed.",
            ),
            KeyError::Metadata(_) | KeyError::NotCommitted(_) => Refusal::with_message(
                Code::ServiceUnavailable,
                "The key service is not available at the moment.",
            ),
            _ => Code::InternalError.into(),
        }
    }
}

fn rule_refusal(error: &RuleError) -> Refusal {
    match error {
        RuleError::InvalidArgument { message } => {
            Refusal::with_message(Code::InvalidArgument, message.clone())
        }
        RuleError::InvalidRequest { message } => {
            Refusal::with_message(Code::InvalidRequest, message.clone())
        }
        RuleError::NotImplemented { feature } => Refusal::with_message(
            Code::NotImplemented,
            format!("{feature} is not implemented"),
        ),
        _ => Code::MalformedXml.into(),
    }
}

const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");
const DELETE_MARKER: HeaderName = HeaderName::from_static("x-amz-delete-marker");

fn with_delete_marker(refusal: Refusal, version: &str) -> Refusal {
    refusal
        .header(DELETE_MARKER, HeaderValue::from_static("true"))
        .header(VERSION_ID, value(version))
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The refusal that answers a body that could not be read.
pub(crate) fn body_refusal(error: &BodyError) -> Refusal {
    match error {
        BodyError::Signature(source) | BodyError::Malformed(source) => {
            match source.downcast_ref::<BodyFault>() {
                Some(BodyFault::Sha256 { stated, computed }) => {
                    let hex = |digest| data_encoding::HEXLOWER.encode(digest);
                    Refusal::new(Code::ContentSha256Mismatch)
                        .field("ClientComputedContentSHA256", hex(stated))
                        .field("S3ComputedContentSHA256", hex(computed))
                }
                Some(BodyFault::Signature) => Code::SignatureDoesNotMatch.into(),
                Some(BodyFault::Trailer) => Code::MalformedTrailer.into(),
                Some(BodyFault::Framing) => Refusal::with_message(
                    Code::InvalidRequest,
                    "The request body is not framed as the header x-amz-content-sha256 says",
                ),
                Some(BodyFault::Incomplete) | None => Refusal::with_message(
                    Code::IncompleteBody,
                    "The request body terminated unexpectedly",
                ),
            }
        }
        BodyError::Timeout => Code::RequestTimeout.into(),
        _ => Refusal::with_message(
            Code::IncompleteBody,
            "The request body terminated unexpectedly",
        ),
    }
}

/// The refusal that answers a name that is none.
pub(crate) fn name_refusal(error: &NameError, name: &str) -> Refusal {
    match error {
        NameError::Bucket { .. } => Refusal::new(Code::InvalidBucketName).field("BucketName", name),
        NameError::KeyTooLong { len_bytes } => Refusal::new(Code::KeyTooLong)
            .field("Size", len_bytes.to_string())
            .field("MaxSizeAllowed", "1024"),
        NameError::Version => Refusal::argument("Invalid version id specified", "versionId", name),
        NameError::Upload => Refusal::new(Code::NoSuchUpload).field("UploadId", name),
        NameError::PartNumber { .. } => Refusal::argument(
            "Part number must be an integer between 1 and 10000, inclusive",
            "partNumber",
            name,
        ),
        _ => Code::InvalidUri.into(),
    }
}

/// The refusal of a `Content-MD5` that is not one.
pub(crate) fn content_md5(stated: &str) -> Result<[u8; 16], Refusal> {
    BASE64
        .decode(stated)
        .ok()
        .and_then(|digest| digest.try_into().ok())
        .ok_or_else(|| Refusal::new(Code::InvalidDigest).field("Content-MD5", stated))
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
