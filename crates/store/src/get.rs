//! GET and HEAD: a version is found, checked against the request, and opened.

use std::ops::Range;
use std::sync::Arc;

use strongroom_blobs::BlobRef;
use strongroom_environment::Timestamp;
use strongroom_keys::Caller;
use strongroom_meta::Row;

use crate::change::{Change, object_name};
use crate::history::{History, shown};
use crate::payload::{ObjectStream, PartSlice, range_of_part, segments_of, slices};
use crate::rows::{Content, PayloadRow, VersionRow, keys};
use crate::store::Inner;
use crate::{
    GetAnswer, HeadAnswer, ObjectInfo, ObjectPart, ObjectRef, PartNumber, ReadConditions,
    ReadRequest, ShownVersion, Span, Store, StoreError, VersionSelector,
};

/// How often a read that met a payload as it was being deleted looks for what replaced it.
const READS_MAX: usize = 3;

/// A version that a request may read.
pub(crate) struct Readable {
    history: History,
    /// The row it stands in, when it is a noncurrent one.
    noncurrent: Option<Row>,
    pub(crate) version: VersionRow,
    pub(crate) content: Content,
    pub(crate) shown: Option<ShownVersion>,
}

impl Readable {
    /// Expects, in a change to another object, that this one is as it was read.
    pub(crate) fn expect_unchanged(&self, change: &mut Change<'_>, object: &ObjectRef) {
        let (bucket, key) = (&object.bucket, &object.key);
        self.history.expect_found(
            change,
            keys::version(bucket, key, self.version.version),
            self.noncurrent.as_ref(),
        );
    }
}

impl Inner {
    /// The version that a request names, if it is one that can be read at all.
    pub(crate) async fn readable(&self, object: &ObjectRef) -> Result<Readable, StoreError> {
        let history = self.history(&object.bucket, &object.key).await?;
        let found = self
            .find(&object.bucket, &object.key, &history, object.version)
            .await?;
        // The bucket is remembered as a rule; its absence is told before that of the object.
        let bucket = self.bucket(&object.bucket).await?;
        let by_name = object.version != VersionSelector::Current;
        let Some(found) = found else {
            return Err(if by_name {
                StoreError::NoSuchVersion
            } else {
                StoreError::NoSuchKey {
                    delete_marker: None,
                }
            });
        };
        let mut version = found.row;
        let shown = shown(bucket.row.versioning, &version);
        match version.content.take() {
            Some(content) => Ok(Readable {
                history,
                noncurrent: found.noncurrent,
                version,
                content: *content,
                shown,
            }),
            None if by_name => Err(StoreError::IsDeleteMarker {
                version: shown.unwrap_or(ShownVersion::Null),
                modified: version.created,
            }),
            None => Err(StoreError::NoSuchKey {
                delete_marker: Some(shown.unwrap_or(ShownVersion::Null)),
            }),
        }
    }

    pub(crate) fn info(&self, readable: Readable) -> ObjectInfo {
        let Readable {
            version,
            content,
            shown,
            ..
        } = readable;
        ObjectInfo {
            version: shown,
            version_id: version.version,
            size_bytes: content.size_bytes,
            etag: content.etag,
            modified: version.created,
            class: content.class,
            encryption: self.keys.mode_of(&content.envelope),
            metadata: content.metadata,
            checksum: content.checksum,
            part_count: content.part_count,
            restore: content.restore,
        }
    }

    /// The row of a payload that a version refers to.
    pub(crate) async fn payload_of(&self, content: &Content) -> Result<PayloadRow, StoreError> {
        let id = content.payload;
        self.payload(id)
            .await?
            .ok_or_else(|| StoreError::damaged(format!("payload {id} is gone")))
    }

    /// Which bytes of the plaintext a request asks for.
    async fn range(&self, content: &Content, span: Span) -> Result<Range<u64>, StoreError> {
        let size_bytes = content.size_bytes;
        match span {
            Span::Whole => Ok(0..size_bytes),
            Span::Range(range) => range
                .within(size_bytes)
                .ok_or(StoreError::InvalidRange { size_bytes }),
            Span::Part(number) => {
                let part_count = content.part_count.unwrap_or(1);
                let range = match content.part_count {
                    None => (number.get() == 1).then_some(0..size_bytes),
                    Some(_) => {
                        let payload = self.payload_of(content).await?;
                        range_of_part(self, content.payload, &payload, number).await?
                    }
                };
                range.ok_or(StoreError::NoSuchPart { part_count })
            }
        }
    }

    /// The parts that hold a range of a version that has a warm copy.
    async fn slices(
        &self,
        content: &Content,
        range: Range<u64>,
    ) -> Result<Vec<PartSlice>, StoreError> {
        if let Some(whole) = &content.whole {
            return Ok(vec![PartSlice {
                id: whole.part,
                blob: BlobRef::from_bytes(&whole.blob),
                plain_len_bytes: content.size_bytes,
                range,
            }]);
        }
        let payload = self.payload_of(content).await?;
        if payload.plain_len_bytes() != content.size_bytes {
            return Err(StoreError::damaged(format!(
                "payload {} has another length than its version",
                content.payload
            )));
        }
        slices(self, content.payload, &payload, range).await
    }

    /// The plaintext of a range of a version, its first piece opened already.
    pub(crate) async fn open_range(
        self: &Arc<Self>,
        object: &ObjectRef,
        readable: &Readable,
        range: Range<u64>,
        customer_key: Option<&strongroom_keys::CustomerKey>,
        caller: &Caller,
    ) -> Result<ObjectStream, StoreError> {
        let content = &readable.content;
        let pin = self.pins.pin(content.payload);
        let parts = self.slices(content, range).await?;
        let binding = readable.version.version.binding();
        let name = object_name(&object.bucket, object.key.as_str(), binding);
        let data_key = self
            .keys
            .open(&content.envelope, &name, customer_key, caller)
            .await?;
        let blobs = Arc::clone(&self.blobs);
        let mut stream = ObjectStream::new(blobs, content.payload, data_key, parts, pin);
        stream.open_first().await?;
        Ok(stream)
    }
}

impl Store {
    /// Reads an object, or a range of it.
    ///
    /// The first piece is verified before this returns; see [`ObjectStream`] for the others.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::NoSuchKey`], [`StoreError::NoSuchVersion`],
    /// [`StoreError::IsDeleteMarker`], [`StoreError::PreconditionFailed`],
    /// [`StoreError::NotModified`], [`StoreError::Archived`], [`StoreError::InvalidRange`],
    /// [`StoreError::NoSuchPart`], [`StoreError::Key`], and those of the machine.
    pub async fn get(
        &self,
        request: ReadRequest,
        caller: &Caller,
    ) -> Result<GetAnswer, StoreError> {
        let inner = &self.inner;
        let mut readable = inner.readable(&request.object).await?;
        for _ in 1..READS_MAX {
            let id = readable.version.version;
            let answer = Box::pin(self.read(&request, readable, caller)).await;
            if !matches!(answer, Err(StoreError::Damaged { .. })) {
                return answer;
            }
            // The payload may have been deleted since its version was read. Then another version
            // stands in its place, or none.
            readable = inner.readable(&request.object).await?;
            if readable.version.version == id {
                return answer;
            }
        }
        Box::pin(self.read(&request, readable, caller)).await
    }

    async fn read(
        &self,
        request: &ReadRequest,
        readable: Readable,
        caller: &Caller,
    ) -> Result<GetAnswer, StoreError> {
        let inner = &self.inner;
        check_read(&request.conditions, &readable)?;
        check_active(&readable.content, inner.clock.now())?;
        let range = inner.range(&readable.content, request.span).await?;
        let body = inner
            .open_range(
                &request.object,
                &readable,
                range.clone(),
                request.customer_key.as_ref(),
                caller,
            )
            .await?;
        Ok(GetAnswer {
            object: inner.info(readable),
            range,
            body,
        })
    }

    /// Tells of an object what GET would, without its bytes. A customer key is checked, and
    /// nothing is opened with it. An archived object needs no restore.
    ///
    /// # Errors
    /// As [`Store::get`], but for [`StoreError::Archived`].
    pub async fn head(
        &self,
        request: ReadRequest,
        caller: &Caller,
    ) -> Result<HeadAnswer, StoreError> {
        let inner = &self.inner;
        let readable = inner.readable(&request.object).await?;
        check_read(&request.conditions, &readable)?;
        let ObjectRef { bucket, key, .. } = &request.object;
        let name = object_name(bucket, key.as_str(), readable.version.version.binding());
        inner
            .keys
            .check(
                &readable.content.envelope,
                &name,
                request.customer_key.as_ref(),
                caller,
            )
            .await?;
        let range = inner.range(&readable.content, request.span).await?;
        Ok(HeadAnswer {
            object: inner.info(readable),
            range,
        })
    }

    /// The parts of an object that was uploaded in parts, after part `after`; none of one that was
    /// uploaded whole.
    ///
    /// # Errors
    /// As [`Store::head`], but no key is asked for.
    pub async fn parts_of(
        &self,
        object: &ObjectRef,
        after: u16,
        limit: usize,
    ) -> Result<Vec<ObjectPart>, StoreError> {
        let readable = self.inner.readable(object).await?;
        if readable.content.part_count.is_none() {
            return Ok(Vec::new());
        }
        let payload = self.inner.payload_of(&readable.content).await?;
        let parts = segments_of(&self.inner, readable.content.payload, &payload).await?;
        parts
            .into_iter()
            .zip(1_i64..)
            .skip(usize::from(after))
            .take(limit)
            .map(|(part, number)| {
                Ok(ObjectPart {
                    number: PartNumber::new(number)
                        .map_err(|error| StoreError::damaged(error.to_string()))?,
                    size_bytes: part.plain_len_bytes,
                    checksum: part.checksum,
                })
            })
            .collect()
    }
}

/// Checks the conditions of a request in the order of RFC 9110, section 13.2.2.
pub(crate) fn check_read(
    conditions: &ReadConditions,
    readable: &Readable,
) -> Result<(), StoreError> {
    let etag = readable.content.etag;
    // The protocol's dates are whole seconds.
    let modified = readable.version.created.seconds();
    let failed = |condition| Err(StoreError::PreconditionFailed { condition });
    let unchanged = || {
        Err(StoreError::NotModified {
            etag,
            modified: readable.version.created,
            version: readable.shown,
        })
    };
    match (&conditions.if_match, conditions.if_unmodified_since) {
        (Some(condition), _) if !condition.matches(&etag) => return failed("If-Match"),
        (None, Some(since)) if modified > since.seconds() => {
            return failed("If-Unmodified-Since");
        }
        _ => {}
    }
    match (&conditions.if_none_match, conditions.if_modified_since) {
        (Some(condition), _) if condition.matches(&etag) => unchanged(),
        (None, Some(since)) if modified <= since.seconds() => unchanged(),
        _ => Ok(()),
    }
}

/// Whether the bytes of a version can be read now.
pub(crate) fn check_active(content: &Content, now: Timestamp) -> Result<(), StoreError> {
    if content.is_readable(now) {
        Ok(())
    } else {
        Err(StoreError::Archived {
            class: content.class,
        })
    }
}
