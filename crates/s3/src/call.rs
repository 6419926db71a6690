//! One request, proven to be somebody's, on its way through its operation.

use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName};
use strongroom_environment::Timestamp;
use strongroom_keys::Caller;
use strongroom_lifecycle::{Lifecycle, LifecycleError};
use strongroom_store::{
    Body, BodyChecks, BucketName, Checksum, ObjectKey, ObjectRef, Store, StoreError, UploadId,
    UploadRef, VersionSelector,
};

use crate::address::{Address, Query};
use crate::answer::Answer;
use crate::body::{LentBody, RequestBody, SharedTrailers, read_document};
use crate::faults::{Subject, content_md5, name_refusal};
use crate::headers::{body_checksum, one, stated_checksum};
use crate::refusal::{Code, Outcome, Refusal};
use crate::route::Operation;
use crate::service::{Inner, S3Config};

/// The largest body of one PUT or part: 5 GiB.
const BODY_LEN_BYTES_MAX: u64 = 5 << 30;

/// A request on its way through its operation.
pub(crate) struct Call {
    pub(crate) inner: Arc<Inner>,
    pub(crate) operation: Operation,
    pub(crate) caller: Caller,
    pub(crate) address: Address,
    /// The URL of what the request is about.
    pub(crate) location: String,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    /// Whom errors are about; operations add to it what they learn.
    pub(crate) subject: Subject,
    pub(crate) body: Option<RequestBody<LentBody>>,
    pub(crate) trailers: SharedTrailers,
    pub(crate) is_chunked: bool,
}

impl Call {
    pub(crate) fn config(&self) -> &S3Config {
        &self.inner.config
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.config.store
    }

    pub(crate) fn lifecycle(&self) -> &Lifecycle {
        &self.inner.config.lifecycle
    }

    /// The refusal that answers an error of the store; what is our own fault is logged.
    pub(crate) fn refusal(&self, error: &StoreError) -> Refusal {
        let refusal = self.subject.refusal(error);
        if refusal.status().is_server_error() {
            tracing::error!(
                request_id = %self.caller.request_id,
                operation = self.operation.as_str(),
                %error,
                "the store failed"
            );
        }
        refusal
    }

    /// The refusal that answers an error of the lifecycle; what is our own fault is logged.
    pub(crate) fn lifecycle_refusal(&self, error: &LifecycleError) -> Refusal {
        let refusal = self.subject.lifecycle_refusal(error);
        if refusal.status().is_server_error() {
            tracing::error!(
                request_id = %self.caller.request_id,
                operation = self.operation.as_str(),
                %error,
                "the lifecycle failed"
            );
        }
        refusal
    }

    /// Tells when a rule ends an object, if one does.
    pub(crate) async fn tell_expiration(
        &self,
        answer: &mut Answer,
        object: Option<&(BucketName, ObjectKey)>,
        size_bytes: u64,
        modified: Timestamp,
    ) -> Outcome<()> {
        let Some((bucket, key)) = object else {
            return Ok(());
        };
        let notice = self
            .lifecycle()
            .expiration_header(bucket, key.as_str(), size_bytes, modified)
            .await
            .map_err(|error| self.lifecycle_refusal(&error))?;
        answer.set_optional(
            HeaderName::from_static("x-amz-expiration"),
            notice.as_deref(),
        );
        Ok(())
    }

    /// The bucket that the request names.
    pub(crate) fn bucket(&self) -> Outcome<BucketName> {
        bucket_name(self.address.bucket().unwrap_or_default())
    }

    /// The object that the request names.
    pub(crate) fn key(&self) -> Outcome<(BucketName, ObjectKey)> {
        let bucket = self.bucket()?;
        let key = object_key(&self.subject.key)?;
        Ok((bucket, key))
    }

    /// The version that the request names.
    pub(crate) fn object(&mut self) -> Outcome<ObjectRef> {
        let (bucket, key) = self.key()?;
        let version_id = self.query.get("versionId")?;
        self.subject.version_id = version_id.map(str::to_owned);
        let version = version_selector(version_id)?;
        Ok(ObjectRef {
            bucket,
            key,
            version,
        })
    }

    /// The upload that the request names.
    pub(crate) fn upload(&mut self) -> Outcome<UploadRef> {
        let (bucket, key) = self.key()?;
        let printed = self.query.get("uploadId")?.unwrap_or_default();
        self.subject.upload_id = Some(printed.to_owned());
        let upload = UploadId::parse(printed).map_err(|error| name_refusal(&error, printed))?;
        Ok(UploadRef {
            bucket,
            key,
            upload,
        })
    }

    /// The body as an object's bytes, and what to check of it.
    pub(crate) fn object_body(&mut self) -> Outcome<(Body, BodyChecks)> {
        let len_bytes = self.body_len_bytes()?;
        if len_bytes > BODY_LEN_BYTES_MAX {
            return Err(Refusal::new(Code::EntityTooLarge)
                .field("ProposedSize", len_bytes.to_string())
                .field("MaxSizeAllowed", BODY_LEN_BYTES_MAX.to_string()));
        }
        let md5 = one(&self.headers, "content-md5")?
            .map(content_md5)
            .transpose()?;
        let checksum = body_checksum(&self.headers)?;
        let trailer = checksum.trailer(&self.trailers);
        let stream = self.body.take().ok_or(Code::InternalError)?;
        let body = Body::new(stream, len_bytes);
        let checks = BodyChecks {
            content_md5: md5,
            algorithm: checksum.algorithm,
            checksum: checksum.stated,
            trailer,
        };
        Ok((body, checks))
    }

    fn body_len_bytes(&self) -> Outcome<u64> {
        let name = if self.is_chunked {
            "x-amz-decoded-content-length"
        } else {
            CONTENT_LENGTH.as_str()
        };
        let text =
            one(&self.headers, name)?.ok_or_else(|| Refusal::new(Code::MissingContentLength))?;
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| plain).ok_or_else(|| {
            Refusal::with_message(
                Code::InvalidRequest,
                format!("The value of the header {name} is not a length"),
            )
        })
    }

    /// The body as a document, checked against whatever digest the client sent with it.
    pub(crate) async fn document(&mut self) -> Outcome<Vec<u8>> {
        let mut stated = stated_checksum(&self.headers)?;
        let document = self.body_document().await?;
        if stated.is_none() {
            stated = self.checksum_in_trailer()?;
        }
        if let Some(stated) = stated {
            let algorithm = stated.algorithm();
            if Checksum::of(algorithm, &document) != stated {
                return Err(self
                    .subject
                    .refusal(&StoreError::ChecksumMismatch { algorithm }));
            }
        }
        Ok(document)
    }

    /// The body as a document, where checksums in the headers are not those of the document.
    pub(crate) async fn body_document(&mut self) -> Outcome<Vec<u8>> {
        let md5 = one(&self.headers, "content-md5")?.map(str::to_owned);
        let body = self.body.take().ok_or(Code::InternalError)?;
        read_document(body, md5.as_deref()).await
    }

    fn checksum_in_trailer(&self) -> Outcome<Option<Checksum>> {
        match body_checksum(&self.headers)?.trailer(&self.trailers) {
            Some(read) => read().map_err(|error| crate::faults::body_refusal(&error)),
            None => Ok(None),
        }
    }

    /// Refuses a document that came without any digest, where AWS wants one.
    pub(crate) fn require_digest(&self) -> Outcome<()> {
        let is_there = self.headers.contains_key("content-md5")
            || self.headers.contains_key("x-amz-trailer")
            || stated_checksum(&self.headers)?.is_some();
        if is_there {
            return Ok(());
        }
        Err(Refusal::with_message(
            Code::InvalidRequest,
            "Missing required header for this request: Content-Md5 OR x-amz-checksum-*",
        ))
    }
}

/// A checked bucket name.
pub(crate) fn bucket_name(name: &str) -> Outcome<BucketName> {
    BucketName::new(name).map_err(|error| name_refusal(&error, name))
}

/// A checked object key.
pub(crate) fn object_key(key: &str) -> Outcome<ObjectKey> {
    ObjectKey::new(key).map_err(|error| name_refusal(&error, key))
}

/// The version that a request means.
pub(crate) fn version_selector(version_id: Option<&str>) -> Outcome<VersionSelector> {
    VersionSelector::parse(version_id)
        .map_err(|error| name_refusal(&error, version_id.unwrap_or_default()))
}
