//! COPY: a new version of a payload that is there already.
//!
//! The payload is shared and its data key is wrapped anew. No byte of payload is read or written,
//! whatever its size and wherever it lies, unless the client asks for a checksum that the source
//! has not: then the payload is read, but still not written.

use futures::StreamExt;
use strongroom_environment::Timestamp;
use strongroom_keys::{BindingId, Caller, EncryptionMode, KeyEnvelope, Protection};

use crate::change::{Change, object_name};
use crate::checksum::RunningChecksum;
use crate::get::{Readable, check_read};
use crate::history::NewVersion;
use crate::put::{check_metadata, protection_in, written};
use crate::rows::{Content, Parts, PayloadRow, WholePart};
use crate::store::Inner;
use crate::{
    ChecksumAlgorithm, ChecksumType, Copied, CopyRequest, CopySource, ETag, MetadataDirective,
    ObjectChecksum, StorageClass, Store, StoreError, VersionId, VersionSelector,
};

/// How often a source that changes while it is being copied is read again.
const READS_MAX: usize = 10;

impl Store {
    /// Copies an object, under the same key or another one. Copied onto itself, that re-keys it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::NoSuchKey`], [`StoreError::NoSuchVersion`],
    /// [`StoreError::IsDeleteMarker`], [`StoreError::PreconditionFailed`],
    /// [`StoreError::SourceArchived`], [`StoreError::CopyToItself`],
    /// [`StoreError::CustomerKeysBlocked`], [`StoreError::MetadataTooLarge`],
    /// [`StoreError::Key`], and those of the machine.
    pub async fn copy(&self, request: CopyRequest, caller: &Caller) -> Result<Copied, StoreError> {
        let inner = &*self.inner;
        if let MetadataDirective::Replace(metadata) = &request.metadata {
            check_metadata(metadata)?;
        }
        if changes_nothing(&request) {
            return Err(StoreError::CopyToItself);
        }
        let mut bucket = inner.bucket(&request.bucket).await?;
        let protection = protection_in(&bucket, request.protection)?;
        let md5_is_etag = matches!(protection, Protection::Managed);
        let binding = BindingId::random(&*inner.entropy).0;
        let etag = fresh_etag(inner, md5_is_etag);

        let mut wrapped: Option<Wrapped> = None;
        let mut attempts = inner.attempts(&request.bucket, request.key.as_str());
        for _ in 0..READS_MAX {
            let source = inner.readable(&request.source.object).await?;
            check_source(&request.source, &source)?;
            let now = inner.clock.now();
            check_class(&source.content, request.class, now)?;
            let history = inner.history(&request.bucket, &request.key).await?;
            history.check(&request.conditions)?;

            // The key is used once for each version of the source that is met, not once for each
            // attempt to commit.
            let id = source.version.version;
            if wrapped.as_ref().is_none_or(|wrapped| wrapped.source != id) {
                let checksum = self.checksum(&request.source, request.checksum, &source, caller);
                let checksum = Box::pin(checksum).await?;
                let to = object_name(&request.bucket, request.key.as_str(), binding);
                let from = &request.source;
                let from_name =
                    object_name(&from.object.bucket, from.object.key.as_str(), id.binding());
                let from = (
                    &source.content.envelope,
                    &from_name,
                    from.customer_key.as_ref(),
                );
                let envelope = inner.keys.rewrap(from, (&protection, &to), caller).await?;
                wrapped = Some(Wrapped {
                    source: id,
                    envelope,
                    checksum,
                });
            }
            let Some(wrapped) = &wrapped else {
                continue;
            };

            let mut change = Change::new(inner);
            source.expect_unchanged(&mut change, &request.source.object);
            let Some(payload) = change.payload_if_there(source.content.payload).await? else {
                continue;
            };
            let Some(place) = place_of(&source.content, request.class, payload, now) else {
                continue;
            };
            let content = Content {
                etag: match inner.keys.mode_of(&source.content.envelope) {
                    EncryptionMode::Managed if md5_is_etag => source.content.etag,
                    _ => etag,
                },
                class: request.class,
                archive_pending: place.archive_pending,
                metadata: match &request.metadata {
                    MetadataDirective::Copy => source.content.metadata.clone(),
                    MetadataDirective::Replace(metadata) => metadata.clone(),
                },
                checksum: wrapped.checksum.clone(),
                part_count: None,
                envelope: wrapped.envelope.clone(),
                whole: place.whole,
                restore: None,
                ..source.content.clone()
            };
            let new = NewVersion {
                binding,
                created: now,
                content: Some(content.clone()),
            };
            let version = history
                .supersede(&mut change, &bucket, &request.key, new, now)
                .await?;
            if attempts.commit(change).await? {
                return Ok(Copied {
                    written: written(inner, &bucket, &version, &content),
                    source: source.shown,
                });
            }
            bucket = inner.bucket(&request.bucket).await?;
        }
        Err(StoreError::Contended)
    }

    /// The checksum that the copy has: that of the source, or one that is computed by reading.
    async fn checksum(
        &self,
        from: &CopySource,
        asked: Option<ChecksumAlgorithm>,
        source: &Readable,
        caller: &Caller,
    ) -> Result<Option<ObjectChecksum>, StoreError> {
        let has = source.content.checksum.as_ref();
        let Some(algorithm) = asked
            .filter(|asked| has.is_none_or(|checksum| checksum.checksum.algorithm() != *asked))
        else {
            return Ok(has.cloned());
        };
        if !source.content.is_readable(self.inner.clock.now()) {
            return Err(StoreError::SourceArchived {
                class: source.content.class,
            });
        }
        let range = 0..source.content.size_bytes;
        let mut stream = self
            .inner
            .open_range(
                &from.object,
                source,
                range,
                from.customer_key.as_ref(),
                caller,
            )
            .await?;
        let mut running = RunningChecksum::new(algorithm);
        while let Some(piece) = stream.next().await {
            running.update(&piece?);
        }
        Ok(Some(ObjectChecksum {
            checksum: running.finish(),
            checksum_type: ChecksumType::FullObject,
            part_count: None,
        }))
    }
}

/// What a copy of one version of the source has of its own.
struct Wrapped {
    source: VersionId,
    envelope: KeyEnvelope,
    checksum: Option<ObjectChecksum>,
}

/// Where the payload of a copy is.
struct Place {
    archive_pending: bool,
    whole: Option<WholePart>,
}

/// Whether a copy is one of an object onto itself that changes nothing.
fn changes_nothing(request: &CopyRequest) -> bool {
    let object = &request.source.object;
    object.bucket == request.bucket
        && object.key == request.key
        && object.version == VersionSelector::Current
        && request.metadata == MetadataDirective::Copy
        && request.protection.is_none()
        && !request.class_named
        && request.checksum.is_none()
}

/// Conditions on the source of a copy: one that does not hold is always a failed precondition.
pub(crate) fn check_source(source: &CopySource, readable: &Readable) -> Result<(), StoreError> {
    match check_read(&source.conditions, readable) {
        Err(StoreError::NotModified { .. }) => Err(StoreError::PreconditionFailed {
            condition: if source.conditions.if_none_match.is_some() {
                "If-None-Match"
            } else {
                "If-Modified-Since"
            },
        }),
        other => other,
    }
}

/// Whether a copy of this class can be made: of what can be read, any; of what is archived, one of
/// the same class.
fn check_class(source: &Content, class: StorageClass, now: Timestamp) -> Result<(), StoreError> {
    if source.is_readable(now) || source.class == class {
        Ok(())
    } else {
        Err(StoreError::SourceArchived {
            class: source.class,
        })
    }
}

/// Where the payload of a copy is; `None` when the payload is not where the source says.
fn place_of(
    source: &Content,
    class: StorageClass,
    payload: &PayloadRow,
    now: Timestamp,
) -> Option<Place> {
    // A payload that went from one archive class to the next stays in the archive it is in, so the
    // class of that may be another one.
    let has_cold = payload.cold.is_some();
    let archive_pending = match (class.is_archived(), source.is_readable(now)) {
        (false, _) => false,
        (true, true) => !has_cold,
        (true, false) => source.archive_pending,
    };
    let holds_warm = !class.is_archived() || archive_pending;
    if (holds_warm && !payload.is_warm) || (!holds_warm && !has_cold) {
        return None;
    }
    let whole = match &payload.parts {
        Parts::One(part) if holds_warm => Some(WholePart {
            part: part.id,
            blob: part.blob.clone(),
        }),
        _ => None,
    };
    Some(Place {
        archive_pending,
        whole,
    })
}

/// An entity tag for a copy whose MD5 is not known. Under SSE-S3 it is of the shape of one of
/// parts, so that no client takes it for an MD5.
fn fresh_etag(inner: &Inner, md5_is_etag: bool) -> ETag {
    let random = inner.entropy.array();
    if md5_is_etag {
        ETag::of_parts(random, 1)
    } else {
        ETag::whole(random)
    }
}
