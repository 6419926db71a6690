//! Answers: status, headers, and a body that is a document, an object, or nothing.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::Stream as _;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE,
    CONTENT_TYPE, ETAG, EXPIRES, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};
use strongroom_keys::EncryptionMode;
use strongroom_store::{
    ETag, ObjectChecksum, ObjectInfo, ObjectStream, RestoreState, ShownVersion, StorageClass,
    StoreError,
};

use crate::dates::http_date;
use crate::headers::{ANSWER_ALGORITHM, ANSWER_KEY_MD5, header_of};

/// The body of an answer.
pub struct AnswerBody(Content);

enum Content {
    Empty,
    Document(Bytes),
    Object {
        stream: Box<ObjectStream>,
        left_bytes: u64,
        /// The object is under a customer key: what opening it leaves on the stack is wiped.
        scrub: bool,
    },
}

impl AnswerBody {
    /// No body.
    pub(crate) const EMPTY: Self = Self(Content::Empty);

    /// The bytes of an object.
    pub(crate) fn object(stream: ObjectStream, len_bytes: u64, scrub: bool) -> Self {
        Self(Content::Object {
            stream: Box::new(stream),
            left_bytes: len_bytes,
            scrub,
        })
    }
}

impl std::fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "AnswerBody({:?} bytes)",
            http_body::Body::size_hint(self).exact()
        )
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = StoreError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StoreError>>> {
        match &mut self.0 {
            Content::Empty => Poll::Ready(None),
            Content::Document(document) => {
                let document = std::mem::take(document);
                self.0 = Content::Empty;
                Poll::Ready((!document.is_empty()).then(|| Ok(Frame::data(document))))
            }
            Content::Object {
                stream,
                left_bytes,
                scrub,
            } => {
                let polled = Pin::new(stream.as_mut()).poll_next(context);
                if *scrub {
                    strongroom_seal::scrub_stack();
                }
                match ready!(polled) {
                    None => {
                        self.0 = Content::Empty;
                        Poll::Ready(None)
                    }
                    Some(Ok(piece)) => {
                        *left_bytes = left_bytes.saturating_sub(piece.len() as u64);
                        Poll::Ready(Some(Ok(Frame::data(piece))))
                    }
                    Some(Err(error)) => {
                        // The status has left already; the connection breaks, so that the client
                        // cannot take what it has for the whole.
                        tracing::error!(%error, "an object could not be read to its end");
                        self.0 = Content::Empty;
                        Poll::Ready(Some(Err(error)))
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Empty => true,
            Content::Document(document) => document.is_empty(),
            Content::Object { left_bytes, .. } => *left_bytes == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.0 {
            Content::Empty => 0,
            Content::Document(document) => document.len() as u64,
            Content::Object { left_bytes, .. } => *left_bytes,
        })
    }
}

/// An answer under construction.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: AnswerBody,
}

impl Answer {
    /// An answer without a body.
    pub(crate) fn status(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: AnswerBody::EMPTY,
        }
    }

    /// 200 without a body.
    pub(crate) fn ok() -> Self {
        Self::status(StatusCode::OK)
    }

    /// 200 with a document.
    pub(crate) fn document(xml: Vec<u8>) -> Self {
        let mut answer = Self::ok();
        answer
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        answer.body = AnswerBody(Content::Document(xml.into()));
        answer
    }

    /// Sets a header. What cannot stand in a header, such as metadata of another time, is left out.
    pub(crate) fn set(&mut self, name: HeaderName, text: &str) -> &mut Self {
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Sets a header if there is something to say.
    pub(crate) fn set_optional(&mut self, name: HeaderName, text: Option<&str>) -> &mut Self {
        if let Some(text) = text {
            self.set(name, text);
        }
        self
    }

    /// Names the version.
    pub(crate) fn set_version(&mut self, version: Option<ShownVersion>) -> &mut Self {
        if let Some(version) = version {
            self.set(
                HeaderName::from_static("x-amz-version-id"),
                &version.to_string(),
            );
        }
        self
    }

    /// Names the entity tag.
    pub(crate) fn set_etag(&mut self, etag: &ETag) -> &mut Self {
        self.set(ETAG, &format!("\"{etag}\""))
    }

    /// Says how the object is encrypted.
    ///
    /// Of a customer key nothing is told but the MD5 that came with it; `full` adds the encryption
    /// context, which writes tell and reads do not.
    pub(crate) fn set_encryption(
        &mut self,
        mode: &EncryptionMode,
        customer_key_md5: Option<&str>,
        full: bool,
    ) -> &mut Self {
        const ENCRYPTION: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");
        match mode {
            EncryptionMode::CustomerKey { .. } => {
                // The one answer that comes without a key is that of a completed upload, and AWS
                // tells nothing there.
                if let Some(md5) = customer_key_md5 {
                    self.set(ANSWER_ALGORITHM, "AES256");
                    self.set(ANSWER_KEY_MD5, md5);
                }
            }
            EncryptionMode::Kms {
                key,
                context,
                bucket_key,
            } => {
                self.set(ENCRYPTION, "aws:kms");
                self.set(
                    HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id"),
                    key.as_str(),
                );
                if *bucket_key {
                    self.set(
                        HeaderName::from_static("x-amz-server-side-encryption-bucket-key-enabled"),
                        "true",
                    );
                }
                if full && !context.is_empty() {
                    let pairs: serde_json::Map<String, serde_json::Value> = context
                        .pairs()
                        .map(|(name, value)| (name.to_owned(), value.into()))
                        .collect();
                    self.set(
                        HeaderName::from_static("x-amz-server-side-encryption-context"),
                        &BASE64.encode(serde_json::Value::Object(pairs).to_string()),
                    );
                }
            }
            EncryptionMode::Managed => {
                self.set(ENCRYPTION, "AES256");
            }
        }
        self
    }

    /// Tells the checksum of the object.
    pub(crate) fn set_checksum(&mut self, checksum: Option<&ObjectChecksum>) -> &mut Self {
        if let Some(checksum) = checksum {
            self.set(
                HeaderName::from_static(header_of(checksum.checksum.algorithm())),
                &checksum.printed(),
            );
            self.set(
                HeaderName::from_static("x-amz-checksum-type"),
                checksum.checksum_type.as_str(),
            );
        }
        self
    }

    /// Tells what is known of an object, as GET and HEAD do.
    pub(crate) fn set_object(&mut self, object: &ObjectInfo) -> &mut Self {
        self.set_version(object.version).set_etag(&object.etag);
        self.set(LAST_MODIFIED, &http_date(object.modified));
        self.set(ACCEPT_RANGES, "bytes");
        let metadata = &object.metadata;
        self.set(
            CONTENT_TYPE,
            metadata
                .content_type
                .as_deref()
                .unwrap_or("binary/octet-stream"),
        );
        for (name, value) in [
            (CONTENT_ENCODING, &metadata.content_encoding),
            (CONTENT_LANGUAGE, &metadata.content_language),
            (CONTENT_DISPOSITION, &metadata.content_disposition),
            (CACHE_CONTROL, &metadata.cache_control),
            (EXPIRES, &metadata.expires),
            (
                HeaderName::from_static("x-amz-website-redirect-location"),
                &metadata.website_redirect_location,
            ),
        ] {
            self.set_optional(name, value.as_deref());
        }
        for (name, value) in &metadata.user {
            if let Ok(name) = HeaderName::try_from(format!("x-amz-meta-{name}")) {
                self.set(name, value);
            }
        }
        if object.class != StorageClass::Standard {
            self.set(
                HeaderName::from_static("x-amz-storage-class"),
                object.class.as_str(),
            );
        }
        if let Some(restore) = &object.restore {
            self.set(
                HeaderName::from_static("x-amz-restore"),
                &restore_header(restore),
            );
        }
        self
    }
}

/// The value of `x-amz-restore`.
pub(crate) fn restore_header(restore: &RestoreState) -> String {
    match restore {
        RestoreState::InProgress { .. } => "ongoing-request=\"true\"".to_owned(),
        RestoreState::Restored { until } => format!(
            "ongoing-request=\"false\", expiry-date=\"{}\"",
            http_date(*until)
        ),
    }
}

#[cfg(test)]
mod tests {
    use strongroom_environment::Timestamp;
    use strongroom_keys::CustomerFingerprint;

    use super::*;

    #[test]
    fn the_restore_header_is_the_one_of_the_reference() {
        let until = Timestamp::from_seconds(1_356_048_000);
        assert_eq!(
            restore_header(&RestoreState::Restored { until }),
            "ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\""
        );
    }

    #[test]
    fn nothing_of_a_customer_key_is_told_but_its_md5() {
        let mut answer = Answer::ok();
        let mode = EncryptionMode::CustomerKey {
            fingerprint: CustomerFingerprint([0xAB; 32]),
        };
        answer.set_encryption(&mode, Some("md5=="), true);
        assert_eq!(answer.headers.len(), 2);
        assert_eq!(answer.headers[ANSWER_ALGORITHM], "AES256");
        assert_eq!(answer.headers[ANSWER_KEY_MD5], "md5==");
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_left_out() {
        let mut answer = Answer::ok();
        answer.set(CACHE_CONTROL, "a\nb");
        assert!(answer.headers.is_empty());
    }
}
