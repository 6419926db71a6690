//! Copies: of objects, by which they are re-keyed, and of ranges into parts.

use http::HeaderMap;
use strongroom_store::{
    CopyRequest, CopySource, MetadataDirective, ObjectRef, UploadPartCopy, UploadedPart, Written,
};

use super::write::{customer_key_md5, tell_written};
use crate::address::percent_decode;
use crate::answer::Answer;
use crate::call::{Call, bucket_name, object_key, version_selector};
use crate::dates::xml_date;
use crate::faults::Subject;
use crate::headers::{
    COPY_SOURCE_KEY, REQUEST_KEY, checksum_named, copy_range, copy_source_conditions,
    object_metadata, one, part_number, protection, refuse_encryption_header, storage_class,
    take_customer_key, write_conditions,
};
use crate::refusal::{Code, Outcome, Refusal};
use crate::xml::{NAMESPACE, Writer};

const COPY_SOURCE: &str = "x-amz-copy-source";

/// The object that `x-amz-copy-source` names: `[/]bucket/key[?versionId=id]`, percent-encoded.
fn copy_source(headers: &HeaderMap) -> Outcome<(ObjectRef, Subject)> {
    let fault = |message: &'static str, value: &str| Refusal::argument(message, COPY_SOURCE, value);
    let text = one(headers, COPY_SOURCE)?.unwrap_or_default();
    if text.starts_with("arn:") {
        return Err(Refusal::header_not_implemented(COPY_SOURCE));
    }
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let version_id = match query {
        "" => None,
        query => Some(query.strip_prefix("versionId=").ok_or_else(|| {
            fault(
                "The x-amz-copy-source query parameter is not versionId",
                text,
            )
        })?),
    };
    let decoded = percent_decode(path.strip_prefix('/').unwrap_or(path)).map_err(|_| {
        fault(
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            text,
        )
    })?;
    let (bucket, key) = decoded
        .strip_prefix('/')
        .unwrap_or(&decoded)
        .split_once('/')
        .filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
        .ok_or_else(|| {
            fault(
                "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
                text,
            )
        })?;
    let subject = Subject {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        version_id: version_id.map(str::to_owned),
        ..Subject::default()
    };
    let object = ObjectRef {
        bucket: bucket_name(bucket)?,
        key: object_key(key)?,
        version: version_selector(version_id)?,
    };
    Ok((object, subject))
}

fn source(call: &mut Call) -> Outcome<CopySource> {
    let (object, subject) = copy_source(&call.headers)?;
    // What is not found, or cannot be read, is the source; a bucket that is not there is either.
    call.subject = Subject {
        kms_key: call.subject.kms_key.take(),
        upload_id: call.subject.upload_id.take(),
        part_number: call.subject.part_number.take(),
        range: call.subject.range.take(),
        ..subject
    };
    Ok(CopySource {
        object,
        conditions: copy_source_conditions(&call.headers)?,
        customer_key: take_customer_key(&mut call.headers, &COPY_SOURCE_KEY)?.into_key()?,
    })
}

/// A copy has no body; one that comes is not what the client meant.
fn refuse_body(call: &Call) -> Outcome<()> {
    match one(&call.headers, "content-length")? {
        None | Some("0") => Ok(()),
        Some(_) => Err(Refusal::with_message(
            Code::InvalidRequest,
            "A copy takes its content from its source and has no body",
        )),
    }
}

pub(super) async fn copy_object(mut call: Call) -> Outcome<Answer> {
    refuse_body(&call)?;
    let (bucket, key) = call.key()?;
    let protection = protection(&mut call.headers, &mut call.subject)?;
    let customer_key_md5 = customer_key_md5(protection.as_ref());
    let metadata = match one(&call.headers, "x-amz-metadata-directive")? {
        None | Some("COPY") => MetadataDirective::Copy,
        Some("REPLACE") => MetadataDirective::Replace(object_metadata(&call.headers)?),
        Some(other) => {
            return Err(Refusal::argument(
                "Unknown metadata directive.",
                "x-amz-metadata-directive",
                other,
            ));
        }
    };
    let class = storage_class(&call.headers)?;
    let checksum = checksum_named(&call.headers)?;
    let conditions = write_conditions(&call.headers)?;
    // The bucket of the copy is looked at first, so that an error about a bucket names the right one.
    call.store()
        .bucket(&bucket)
        .await
        .map_err(|error| call.refusal(&error))?;
    let source = source(&mut call)?;
    let request = CopyRequest {
        source,
        bucket: bucket.clone(),
        key: key.clone(),
        metadata,
        class: class.unwrap_or_default(),
        class_named: class.is_some(),
        protection,
        checksum,
        conditions,
    };
    let copied = call
        .store()
        .copy(request, &call.caller)
        .await
        .map_err(|error| call.refusal(&error))?;
    let written = &copied.written;
    let mut answer = Answer::document(copy_result("CopyObjectResult", written));
    tell_written(&mut answer, written, customer_key_md5.as_deref());
    if let Some(version) = copied.source {
        answer.set(SOURCE_VERSION, &version.to_string());
    }
    call.tell_expiration(
        &mut answer,
        Some(&(bucket, key)),
        written.size_bytes,
        written.modified,
    )
    .await?;
    Ok(answer)
}

const SOURCE_VERSION: http::HeaderName =
    http::HeaderName::from_static("x-amz-copy-source-version-id");

fn copy_result(root: &'static str, written: &Written) -> Vec<u8> {
    let mut xml = Writer::document(root, Some(NAMESPACE));
    xml.text("ETag", &format!("\"{}\"", written.etag));
    xml.text("LastModified", &xml_date(written.modified));
    if let Some(checksum) = &written.checksum {
        let name = format!("Checksum{}", checksum.checksum.algorithm().as_str());
        xml.text(&name, &checksum.printed());
        xml.text("ChecksumType", checksum.checksum_type.as_str());
    }
    xml.finish()
}

pub(super) async fn upload_part_copy(mut call: Call) -> Outcome<Answer> {
    refuse_body(&call)?;
    refuse_encryption_header(&call.headers)?;
    let upload = call.upload()?;
    let number = part_number(call.query.get("partNumber")?.unwrap_or_default())?;
    let customer_key = take_customer_key(&mut call.headers, &REQUEST_KEY)?.into_key()?;
    let customer_key_md5 = customer_key.as_ref().map(|key| key.md5_base64());
    let range = copy_range(&call.headers, &mut call.subject)?;
    call.store()
        .bucket(&upload.bucket)
        .await
        .map_err(|error| call.refusal(&error))?;
    let source = source(&mut call)?;
    let request = UploadPartCopy {
        upload,
        number,
        source,
        range,
        customer_key,
    };
    let part = call
        .store()
        .upload_part_copy(request, &call.caller)
        .await
        .map_err(|error| call.refusal(&error))?;
    let mut answer = Answer::document(part_result(&part));
    answer.set_encryption(&part.encryption, customer_key_md5.as_deref(), true);
    if let Some(version) = part.source {
        answer.set(SOURCE_VERSION, &version.to_string());
    }
    Ok(answer)
}

fn part_result(part: &UploadedPart) -> Vec<u8> {
    let mut xml = Writer::document("CopyPartResult", Some(NAMESPACE));
    xml.text("ETag", &format!("\"{}\"", part.etag));
    xml.text("LastModified", &xml_date(part.modified));
    let name = format!("Checksum{}", part.checksum.algorithm().as_str());
    xml.text(&name, &part.checksum.to_base64());
    xml.finish()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use strongroom_store::VersionSelector;

    use super::*;

    fn read(text: &str) -> Outcome<(ObjectRef, Subject)> {
        let mut headers = HeaderMap::new();
        headers.insert(COPY_SOURCE, HeaderValue::from_str(text).unwrap());
        copy_source(&headers)
    }

    #[test]
    fn a_source_is_a_bucket_a_key_and_perhaps_a_version() {
        for text in [
            "bucket/a%20b/c",
            "/bucket/a%20b/c",
            "bucket%2Fa%20b%2Fc",
            "%2Fbucket/a%20b/c",
        ] {
            let (object, subject) = read(text).unwrap();
            assert_eq!(object.bucket.as_str(), "bucket", "{text}");
            assert_eq!(object.key.as_str(), "a b/c");
            assert_eq!(object.version, VersionSelector::Current);
            assert_eq!(subject.key, "a b/c");
        }
        let (object, subject) = read("bucket/k?versionId=null").unwrap();
        assert_eq!(object.version, VersionSelector::Null);
        assert_eq!(subject.version_id.as_deref(), Some("null"));
        // A plus sign is itself in a path.
        assert_eq!(read("bucket/a+b").unwrap().0.key.as_str(), "a+b");
    }

    #[test]
    fn a_source_that_is_none_is_refused() {
        for (text, code) in [
            ("bucket", Code::InvalidArgument),
            ("bucket/", Code::InvalidArgument),
            ("/", Code::InvalidArgument),
            ("bucket/k?other=1", Code::InvalidArgument),
            ("bucket/%ff", Code::InvalidArgument),
            ("bucket/k?versionId=nonsense", Code::InvalidArgument),
            ("B/k", Code::InvalidBucketName),
            (
                "arn:aws:s3:r:0:accesspoint/a/object/k",
                Code::NotImplemented,
            ),
        ] {
            assert_eq!(read(text).unwrap_err().code(), code, "{text}");
        }
    }
}
