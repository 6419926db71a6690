//! PUT: a body becomes a version.

use std::sync::Arc;

use strongroom_keys::{BindingId, Caller, EncryptionContext, KeyReference, Protection};

use crate::buckets::Bucket;
use crate::change::{Change, object_name};
use crate::history::{NewVersion, shown};
use crate::payload::{SealedPart, write_part};
use crate::rows::{Content, Parts, VersionRow, WholePart};
use crate::store::Inner;
use crate::{
    ChecksumAlgorithm, ChecksumType, DefaultEncryption, ETag, ObjectChecksum, ObjectKey,
    ObjectMetadata, PayloadId, PutRequest, Store, StoreError, WriteConditions, Written,
};

impl Store {
    /// Writes an object.
    ///
    /// The order: the data key is made, which is on the audit log from then on; the body is
    /// streamed once, checked and sealed; the blob is made durable; one batch of rows commits it.
    /// A failure before that batch leaves nothing visible.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::MetadataTooLarge`],
    /// [`StoreError::EntityTooLarge`], [`StoreError::CustomerKeysBlocked`],
    /// [`StoreError::PreconditionFailed`], [`StoreError::Key`], [`StoreError::Body`],
    /// [`StoreError::IncompleteBody`], [`StoreError::BodyTooLong`], [`StoreError::Md5Mismatch`],
    /// [`StoreError::ChecksumMismatch`], and those of the machine.
    pub async fn put(&self, request: PutRequest, caller: &Caller) -> Result<Written, StoreError> {
        let inner = &*self.inner;
        check_metadata(&request.metadata)?;
        let bucket = inner.bucket(&request.bucket).await?;
        let protection = protection_in(&bucket, request.protection)?;
        // A condition that fails already need not wait for the body; it is checked again in the
        // commit.
        if request.conditions != WriteConditions::default() {
            inner
                .history(&request.bucket, &request.key)
                .await?
                .check(&request.conditions)?;
        }
        let binding = BindingId::random(&*inner.entropy).0;
        let name = object_name(&request.bucket, request.key.as_str(), binding);
        let (data_key, envelope) = inner.keys.create(&protection, &name, caller).await?;
        let md5_is_etag = matches!(protection, Protection::Managed);
        // A customer key has done its work.
        drop(protection);

        let payload = PayloadId::random(&*inner.entropy);
        let kept = request
            .checks
            .algorithm
            .unwrap_or(ChecksumAlgorithm::Crc64Nvme);
        let sealed = Box::pin(write_part(
            inner,
            data_key,
            payload,
            request.body,
            request.checks,
            kept,
            md5_is_etag,
        ))
        .await?;
        let etag = etag_of(inner, &sealed, md5_is_etag);
        let blob = sealed.blob_ref();
        let content = Content {
            size_bytes: sealed.part.plain_len_bytes,
            etag,
            class: request.class,
            archive_pending: request.class.is_archived(),
            metadata: request.metadata,
            checksum: Some(ObjectChecksum {
                checksum: sealed.checksum,
                checksum_type: ChecksumType::FullObject,
                part_count: None,
            }),
            part_count: None,
            envelope,
            payload,
            whole: Some(WholePart {
                part: sealed.part.id,
                blob: sealed.part.blob.clone(),
            }),
            restore: None,
        };
        let target = Target {
            bucket,
            key: &request.key,
            conditions: &request.conditions,
            binding,
        };
        let written = target
            .commit(inner, content, payload, Parts::One(sealed.part))
            .await;
        if written
            .as_ref()
            .is_err_and(StoreError::is_certainly_not_done)
        {
            inner.delete_blobs(&[blob]).await;
        }
        written
    }
}

/// What a new version of a payload of its own is written over.
struct Target<'r> {
    bucket: Arc<Bucket>,
    key: &'r ObjectKey,
    conditions: &'r WriteConditions,
    binding: [u8; 16],
}

impl Target<'_> {
    async fn commit(
        self,
        inner: &Inner,
        content: Content,
        payload: PayloadId,
        parts: Parts,
    ) -> Result<Written, StoreError> {
        let name = self.bucket.info.bucket.clone();
        let mut bucket = self.bucket;
        let mut attempts = inner.attempts(&name, self.key.as_str());
        loop {
            let history = inner.history(&name, self.key).await?;
            history.check(self.conditions)?;
            let now = inner.clock.now();
            let mut change = Change::new(inner);
            change.new_payload(payload, parts.clone());
            let new = NewVersion {
                binding: self.binding,
                created: now,
                content: Some(content.clone()),
            };
            let version = history
                .supersede(&mut change, &bucket, self.key, new, now)
                .await?;
            if attempts.commit(change).await? {
                return Ok(written(inner, &bucket, &version, &content));
            }
            bucket = inner.bucket(&name).await?;
        }
    }
}

/// What is told of a version that was committed.
pub(crate) fn written(
    inner: &Inner,
    bucket: &Bucket,
    version: &VersionRow,
    content: &Content,
) -> Written {
    Written {
        version: shown(bucket.row.versioning, version),
        etag: content.etag,
        size_bytes: content.size_bytes,
        modified: version.created,
        checksum: content.checksum.clone(),
        encryption: inner.keys.mode_of(&content.envelope),
    }
}

/// The entity tag of a part: the MD5 of its plaintext under SSE-S3, and random otherwise, since it
/// would tell something of the plaintext to who has no key.
pub(crate) fn etag_of(inner: &Inner, sealed: &SealedPart, md5_is_etag: bool) -> ETag {
    match sealed.md5 {
        Some(md5) if md5_is_etag => ETag::whole(md5),
        _ => ETag::whole(inner.entropy.array()),
    }
}

/// How an object is protected in a bucket: as the request says, or as the bucket does.
pub(crate) fn protection_in(
    bucket: &Bucket,
    asked: Option<Protection>,
) -> Result<Protection, StoreError> {
    match (asked, &bucket.row.default_encryption) {
        (Some(Protection::CustomerKey(_)), _) if bucket.row.customer_keys_blocked => {
            Err(StoreError::CustomerKeysBlocked)
        }
        (Some(asked), _) => Ok(asked),
        (None, None | Some(DefaultEncryption::Managed)) => Ok(Protection::Managed),
        (None, Some(DefaultEncryption::Kms { key, bucket_key })) => Ok(Protection::Kms {
            key: match key {
                Some(key) => key.parse::<KeyReference>()?,
                None => KeyReference::managed(),
            },
            context: EncryptionContext::empty(),
            bucket_key: *bucket_key,
        }),
    }
}

pub(crate) fn check_metadata(metadata: &ObjectMetadata) -> Result<(), StoreError> {
    let len_bytes = metadata.user_len_bytes();
    if len_bytes > ObjectMetadata::USER_LEN_BYTES_MAX {
        return Err(StoreError::MetadataTooLarge { len_bytes });
    }
    Ok(())
}
