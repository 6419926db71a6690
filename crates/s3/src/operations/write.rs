//! PUT of objects.

use strongroom_keys::Protection;
use strongroom_store::{PutRequest, Written};

use crate::answer::Answer;
use crate::call::Call;
use crate::headers::{object_metadata, protection, storage_class, write_conditions};
use crate::refusal::Outcome;

pub(super) async fn put_object(mut call: Call) -> Outcome<Answer> {
    let (bucket, key) = call.key()?;
    let protection = protection(&mut call.headers, &mut call.subject)?;
    let customer_key_md5 = customer_key_md5(protection.as_ref());
    let class = storage_class(&call.headers)?.unwrap_or_default();
    let metadata = object_metadata(&call.headers)?;
    let conditions = write_conditions(&call.headers)?;
    let (body, checks) = call.object_body()?;
    let request = PutRequest {
        bucket: bucket.clone(),
        key: key.clone(),
        body,
        checks,
        metadata,
        class,
        protection,
        conditions,
    };
    let written = call
        .store()
        .put(request, &call.caller)
        .await
        .map_err(|error| call.refusal(&error))?;
    let mut answer = Answer::ok();
    tell_written(&mut answer, &written, customer_key_md5.as_deref());
    answer.set_etag(&written.etag);
    answer.set_checksum(written.checksum.as_ref());
    call.tell_expiration(
        &mut answer,
        Some(&(bucket, key)),
        written.size_bytes,
        written.modified,
    )
    .await?;
    Ok(answer)
}

/// The MD5 that is echoed of a customer key.
pub(super) fn customer_key_md5(protection: Option<&Protection>) -> Option<String> {
    match protection {
        Some(Protection::CustomerKey(key)) => Some(key.md5_base64()),
        _ => None,
    }
}

/// What every write tells in its headers.
pub(super) fn tell_written(answer: &mut Answer, written: &Written, customer_key_md5: Option<&str>) {
    answer
        .set_version(written.version)
        .set_encryption(&written.encryption, customer_key_md5, true);
}
