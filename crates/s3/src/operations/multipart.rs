//! Multipart uploads.

use http::{HeaderName, StatusCode};
use strongroom_store::{CompleteUpload, CreateUpload, UploadPart};

use super::write::{customer_key_md5, tell_written};
use crate::answer::Answer;
use crate::call::Call;
use crate::documents::completed_upload;
use crate::headers::{
    REQUEST_KEY, checksum_named, checksum_of_parts, header_of, object_metadata, one, part_number,
    protection, refuse_encryption_header, stated_checksum, storage_class, take_customer_key,
    write_conditions,
};
use crate::refusal::{Code, Outcome, Refusal};
use crate::xml::{NAMESPACE, Writer};

pub(super) async fn create(mut call: Call) -> Outcome<Answer> {
    let (bucket, key) = call.key()?;
    let protection = protection(&mut call.headers, &mut call.subject)?;
    let customer_key_md5 = customer_key_md5(protection.as_ref());
    let request = CreateUpload {
        bucket: bucket.clone(),
        key: key.clone(),
        metadata: object_metadata(&call.headers)?,
        class: storage_class(&call.headers)?.unwrap_or_default(),
        protection,
        checksum_algorithm: checksum_named(&call.headers)?,
        checksum_type: checksum_of_parts(&call.headers)?,
    };
    if request.checksum_type.is_some() && request.checksum_algorithm.is_none() {
        return Err(Refusal::with_message(
            Code::InvalidRequest,
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
        ));
    }
    let created = call
        .store()
        .create_upload(request, &call.caller)
        .await
        .map_err(|error| call.refusal(&error))?;
    let mut xml = Writer::document("InitiateMultipartUploadResult", Some(NAMESPACE));
    xml.text("Bucket", bucket.as_str());
    xml.text("Key", key.as_str());
    xml.display("UploadId", created.upload);
    let mut answer = Answer::document(xml.finish());
    answer.set_encryption(&created.encryption, customer_key_md5.as_deref(), true);
    if let Some((algorithm, checksum_type)) = created.checksum {
        answer.set(
            HeaderName::from_static("x-amz-checksum-algorithm"),
            algorithm.as_str(),
        );
        answer.set(
            HeaderName::from_static("x-amz-checksum-type"),
            checksum_type.as_str(),
        );
    }
    Ok(answer)
}

pub(super) async fn upload_part(mut call: Call) -> Outcome<Answer> {
    refuse_encryption_header(&call.headers)?;
    let upload = call.upload()?;
    let number = part_number(call.query.get("partNumber")?.unwrap_or_default())?;
    let customer_key = take_customer_key(&mut call.headers, &REQUEST_KEY)?.into_key()?;
    let customer_key_md5 = customer_key.as_ref().map(|key| key.md5_base64());
    let (body, checks) = call.object_body()?;
    let request = UploadPart {
        upload,
        number,
        body,
        checks,
        customer_key,
    };
    let part = call
        .store()
        .upload_part(request, &call.caller)
        .await
        .map_err(|error| call.refusal(&error))?;
    let mut answer = Answer::ok();
    answer.set_etag(&part.etag);
    answer.set(
        HeaderName::from_static(header_of(part.checksum.algorithm())),
        &part.checksum.to_base64(),
    );
    answer.set_encryption(&part.encryption, customer_key_md5.as_deref(), true);
    Ok(answer)
}

pub(super) async fn complete(mut call: Call) -> Outcome<Answer> {
    let upload = call.upload()?;
    // The key of the upload is allowed here and not needed: nothing is opened.
    let _ = take_customer_key(&mut call.headers, &REQUEST_KEY)?.into_key()?;
    let checksum = stated_checksum(&call.headers)?;
    let checksum_type = checksum_of_parts(&call.headers)?;
    let size_bytes = one(&call.headers, "x-amz-mp-object-size")?
        .map(|text| {
            text.parse::<u64>().map_err(|_| {
                Refusal::argument(
                    "Value for x-amz-mp-object-size header is invalid.",
                    "x-amz-mp-object-size",
                    text,
                )
            })
        })
        .transpose()?;
    let conditions = write_conditions(&call.headers)?;
    let document = call.body_document().await?;
    let named = completed_upload(&document)?;
    let (bucket, key) = (upload.bucket.clone(), upload.key.clone());
    let request = CompleteUpload {
        upload,
        parts: named.parts,
        checksum,
        checksum_type,
        size_bytes,
        conditions,
    };
    let written = call
        .store()
        .complete_upload(request, &call.caller)
        .await
        .map_err(|error| call.refusal(&error))?;
    let mut xml = Writer::document("CompleteMultipartUploadResult", Some(NAMESPACE));
    xml.text("Location", &call.location);
    xml.text("Bucket", bucket.as_str());
    xml.text("Key", key.as_str());
    xml.text("ETag", &format!("\"{}\"", written.etag));
    if let Some(checksum) = &written.checksum {
        let name = format!("Checksum{}", checksum.checksum.algorithm().as_str());
        xml.text(&name, &checksum.printed());
        xml.text("ChecksumType", checksum.checksum_type.as_str());
    }
    let mut answer = Answer::document(xml.finish());
    tell_written(&mut answer, &written, None);
    call.tell_expiration(
        &mut answer,
        Some(&(bucket, key)),
        written.size_bytes,
        written.modified,
    )
    .await?;
    Ok(answer)
}

pub(super) async fn abort(mut call: Call) -> Outcome<Answer> {
    let upload = call.upload()?;
    call.store()
        .abort_upload(&upload, &call.caller)
        .await
        .map_err(|error| call.refusal(&error))?;
    Ok(Answer::status(StatusCode::NO_CONTENT))
}
