//! GET and HEAD of objects.

use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, EXPIRES,
};
use http::{HeaderName, HeaderValue, StatusCode};
use strongroom_keys::KeyError;
use strongroom_store::{
    BucketName, ObjectInfo, ObjectKey, ObjectRef, ReadConditions, ReadRequest, Span, StoreError,
    VersionSelector,
};

use crate::answer::{Answer, AnswerBody};
use crate::call::Call;
use crate::headers::{
    OfferedKey, REQUEST_KEY, one, read_conditions, read_span, refuse_encryption_header,
    take_customer_key,
};
use crate::refusal::{Code, Outcome, Refusal};

/// What GET and HEAD ask for alike.
struct Asked {
    request: ReadRequest,
    customer_key_md5: Option<String>,
    with_checksum: bool,
}

async fn asked(call: &mut Call) -> Outcome<Asked> {
    refuse_encryption_header(&call.headers)?;
    let object = call.object()?;
    let span = read_span(&call.headers, &call.query, &mut call.subject)?;
    let conditions = read_conditions(&call.headers)?;
    let with_checksum = match one(&call.headers, "x-amz-checksum-mode")? {
        None => false,
        Some(mode) if mode.eq_ignore_ascii_case("ENABLED") => true,
        Some(other) => {
            return Err(Refusal::argument(
                "Invalid value for x-amz-checksum-mode",
                "x-amz-checksum-mode",
                other,
            ));
        }
    };
    let mut request = ReadRequest {
        object,
        span,
        conditions,
        customer_key: None,
    };
    match take_customer_key(&mut call.headers, &REQUEST_KEY)? {
        OfferedKey::None => {}
        OfferedKey::Key(key) => request.customer_key = Some(key),
        OfferedKey::WrongLength => return Err(refuse_wrong_length(call, request).await),
    }
    let customer_key_md5 = request.customer_key.as_ref().map(|key| key.md5_base64());
    Ok(Asked {
        request,
        customer_key_md5,
        with_checksum,
    })
}

/// What AWS says to a reader whose key cannot be one: the same as to any other wrong key.
pub(super) async fn refuse_wrong_length(call: &Call, request: ReadRequest) -> Refusal {
    let request = ReadRequest {
        span: Span::Whole,
        conditions: ReadConditions::default(),
        ..request
    };
    let error = match call.store().head(request, &call.caller).await {
        Ok(_) => StoreError::Key(KeyError::CustomerKeyNotApplicable),
        Err(StoreError::Key(KeyError::CustomerKeyRequired)) => {
            StoreError::Key(KeyError::CustomerKeyMismatch)
        }
        Err(error) => error,
    };
    call.refusal(&error)
}

pub(super) async fn get(mut call: Call) -> Outcome<Answer> {
    let asked = asked(&mut call).await?;
    let span = asked.request.span;
    let object = current(&asked.request);
    let overrides = overrides(&call)?;
    let found = call
        .store()
        .get(asked.request, &call.caller)
        .await
        .map_err(|error| call.refusal(&error))?;
    let mut answer = Answer::ok();
    let md5 = asked.customer_key_md5.as_deref();
    tell(&mut answer, &found.object, span, &found.range, md5);
    call.tell_expiration(
        &mut answer,
        object.as_ref(),
        found.object.size_bytes,
        found.object.modified,
    )
    .await?;
    if asked.with_checksum && span == Span::Whole {
        answer.set_checksum(found.object.checksum.as_ref());
    }
    for (name, value) in overrides {
        answer.headers.insert(name, value);
    }
    let len_bytes = found.range.end - found.range.start;
    answer.body = AnswerBody::object(found.body, len_bytes, md5.is_some());
    Ok(answer)
}

pub(super) async fn head(mut call: Call) -> Outcome<Answer> {
    let asked = asked(&mut call).await?;
    let span = asked.request.span;
    let object = current(&asked.request);
    let overrides = overrides(&call)?;
    let found = call
        .store()
        .head(asked.request, &call.caller)
        .await
        .map_err(|error| call.refusal(&error))?;
    let mut answer = Answer::ok();
    let md5 = asked.customer_key_md5.as_deref();
    tell(&mut answer, &found.object, span, &found.range, md5);
    call.tell_expiration(
        &mut answer,
        object.as_ref(),
        found.object.size_bytes,
        found.object.modified,
    )
    .await?;
    if asked.with_checksum && span == Span::Whole {
        answer.set_checksum(found.object.checksum.as_ref());
    }
    for (name, value) in overrides {
        answer.headers.insert(name, value);
    }
    answer.headers.insert(
        CONTENT_LENGTH,
        HeaderValue::from(found.range.end - found.range.start),
    );
    Ok(answer)
}

fn tell(
    answer: &mut Answer,
    object: &ObjectInfo,
    span: Span,
    range: &std::ops::Range<u64>,
    customer_key_md5: Option<&str>,
) {
    answer
        .set_object(object)
        .set_encryption(&object.encryption, customer_key_md5, false);
    if let (Some(count), Span::Part(_)) = (object.part_count, span) {
        answer.headers.insert(
            HeaderName::from_static("x-amz-mp-parts-count"),
            count.into(),
        );
    }
    if span != Span::Whole && !range.is_empty() {
        answer.status = StatusCode::PARTIAL_CONTENT;
        let text = format!(
            "bytes {}-{}/{}",
            range.start,
            range.end - 1,
            object.size_bytes
        );
        answer.set(CONTENT_RANGE, &text);
    }
}

/// The object, where its current version is meant: only that one expires.
fn current(request: &ReadRequest) -> Option<(BucketName, ObjectKey)> {
    let ObjectRef {
        bucket,
        key,
        version,
    } = &request.object;
    (*version == VersionSelector::Current).then(|| (bucket.clone(), key.clone()))
}

/// The headers that a `response-…` parameter replaces in the answer.
fn overrides(call: &Call) -> Outcome<Vec<(HeaderName, HeaderValue)>> {
    let mut found = Vec::new();
    for (parameter, name) in [
        ("response-cache-control", CACHE_CONTROL),
        ("response-content-disposition", CONTENT_DISPOSITION),
        ("response-content-encoding", CONTENT_ENCODING),
        ("response-content-language", CONTENT_LANGUAGE),
        ("response-content-type", CONTENT_TYPE),
        ("response-expires", EXPIRES),
    ] {
        if let Some(text) = call.query.get(parameter)? {
            let value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| {
                Refusal::with_message(
                    Code::InvalidArgument,
                    "The value of a response header override cannot stand in a header",
                )
                .field("ArgumentName", parameter)
            })?;
            found.push((name, value));
        }
    }
    Ok(found)
}
