//! How a bucket is configured: versioning, default encryption, lifecycle rules.

use http::{HeaderName, StatusCode};
use strongroom_lifecycle::rules::TransitionMinimum;
use strongroom_store::{DefaultEncryption, Versioning};

use crate::answer::Answer;
use crate::call::Call;
use crate::documents::{
    bucket_encryption, lifecycle_configuration, versioning_status, write_lifecycle_configuration,
};
use crate::headers::one;
use crate::refusal::Outcome;
use crate::xml::{NAMESPACE, Writer};

pub(super) async fn get_versioning(call: Call) -> Outcome<Answer> {
    let info = call
        .store()
        .bucket(&call.bucket()?)
        .await
        .map_err(|error| call.refusal(&error))?;
    let mut xml = Writer::document("VersioningConfiguration", Some(NAMESPACE));
    match info.versioning {
        Versioning::Unversioned => {}
        Versioning::Enabled => {
            xml.text("Status", "Enabled");
        }
        Versioning::Suspended => {
            xml.text("Status", "Suspended");
        }
    }
    Ok(Answer::document(xml.finish()))
}

pub(super) async fn put_versioning(mut call: Call) -> Outcome<Answer> {
    let bucket = call.bucket()?;
    let document = call.document().await?;
    let enabled = versioning_status(&document)? == Versioning::Enabled;
    call.store()
        .set_versioning(&bucket, enabled, &call.caller)
        .await
        .map_err(|error| call.refusal(&error))?;
    Ok(Answer::ok())
}

pub(super) async fn get_encryption(call: Call) -> Outcome<Answer> {
    let info = call
        .store()
        .bucket(&call.bucket()?)
        .await
        .map_err(|error| call.refusal(&error))?;
    let mut xml = Writer::document("ServerSideEncryptionConfiguration", Some(NAMESPACE));
    xml.element("Rule", |xml| {
        let mut with_bucket_key = false;
        xml.element("ApplyServerSideEncryptionByDefault", |xml| {
            match &info.default_encryption {
                None | Some(DefaultEncryption::Managed) => {
                    xml.text("SSEAlgorithm", "AES256");
                }
                Some(DefaultEncryption::Kms { key, bucket_key }) => {
                    xml.text("SSEAlgorithm", "aws:kms");
                    xml.optional("KMSMasterKeyID", key.as_deref());
                    with_bucket_key = *bucket_key;
                }
            }
        });
        xml.display("BucketKeyEnabled", with_bucket_key);
        if info.customer_keys_blocked {
            xml.element("BlockedEncryptionTypes", |xml| {
                xml.text("EncryptionType", "SSE-C");
            });
        }
    });
    Ok(Answer::document(xml.finish()))
}

pub(super) async fn put_encryption(mut call: Call) -> Outcome<Answer> {
    let bucket = call.bucket()?;
    let document = call.document().await?;
    let requested = bucket_encryption(&document)?;
    // The stricter of the two is set first: whoever sees a half of the change sees that one.
    if let Some(blocked) = requested.customer_keys_blocked {
        call.store()
            .set_customer_keys_blocked(&bucket, blocked, &call.caller)
            .await
            .map_err(|error| call.refusal(&error))?;
    }
    if requested.default.is_some() {
        call.store()
            .set_default_encryption(&bucket, requested.default, &call.caller)
            .await
            .map_err(|error| call.refusal(&error))?;
    }
    Ok(Answer::ok())
}

pub(super) async fn delete_encryption(call: Call) -> Outcome<Answer> {
    call.store()
        .set_default_encryption(&call.bucket()?, None, &call.caller)
        .await
        .map_err(|error| call.refusal(&error))?;
    Ok(Answer::status(StatusCode::NO_CONTENT))
}

const MINIMUM: &str = "x-amz-transition-default-minimum-object-size";

pub(super) async fn put_lifecycle(mut call: Call) -> Outcome<Answer> {
    let bucket = call.bucket()?;
    let minimum = one(&call.headers, MINIMUM)?.map(str::to_owned);
    let document = call.document().await?;
    let requested = lifecycle_configuration(&document, minimum.as_deref())?;
    let rules = call
        .lifecycle()
        .put_rules(&bucket, requested, &call.caller)
        .await
        .map_err(|error| call.lifecycle_refusal(&error))?;
    let mut answer = Answer::ok();
    answer.set(HeaderName::from_static(MINIMUM), rules.minimum().as_str());
    Ok(answer)
}

pub(super) async fn get_lifecycle(call: Call) -> Outcome<Answer> {
    let requested = call
        .lifecycle()
        .rules(&call.bucket()?)
        .await
        .map_err(|error| call.lifecycle_refusal(&error))?;
    let mut answer = Answer::document(write_lifecycle_configuration(&requested));
    answer.set(
        HeaderName::from_static(MINIMUM),
        requested
            .transition_default_minimum_object_size
            .as_deref()
            .unwrap_or(TransitionMinimum::default().as_str()),
    );
    Ok(answer)
}

pub(super) async fn delete_lifecycle(call: Call) -> Outcome<Answer> {
    call.lifecycle()
        .delete_rules(&call.bucket()?, &call.caller)
        .await
        .map_err(|error| call.lifecycle_refusal(&error))?;
    Ok(Answer::status(StatusCode::NO_CONTENT))
}
