//! Buckets themselves.

use http::header::LOCATION;
use http::{HeaderName, StatusCode};
use strongroom_store::{BucketName, CreateBucket, StoreError};

use super::listing::{OwnerElement, Page};
use crate::answer::Answer;
use crate::call::Call;
use crate::dates::xml_date;
use crate::documents::location_constraint;
use crate::refusal::{Code, Outcome, Refusal};
use crate::xml::{NAMESPACE, Writer};

const BUCKET_REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");

/// The region in which a bucket needs not be told where to be, and must not.
const US_EAST_1: &str = "us-east-1";

pub(super) async fn create(mut call: Call) -> Outcome<Answer> {
    let bucket = call.bucket()?;
    let document = call.document().await?;
    let constraint = location_constraint(&document)?;
    let region = call.config().region.clone();
    check_location(constraint.as_deref(), &region)?;
    let owner = call.config().account.clone();
    let request = CreateBucket {
        bucket: bucket.clone(),
        owner: owner.clone(),
        region: region.clone(),
        customer_keys_blocked: call.config().block_customer_keys_on_new_buckets,
    };
    match call.store().create_bucket(request, &call.caller).await {
        Ok(_) => {}
        Err(StoreError::BucketExists { owner: known }) if known == owner => {
            // In its first region AWS says so with success, as it always has.
            if region != US_EAST_1 {
                return Err(Refusal::new(Code::BucketAlreadyOwnedByYou)
                    .field("BucketName", bucket.as_str()));
            }
        }
        Err(error) => return Err(call.refusal(&error)),
    }
    let mut answer = Answer::ok();
    answer.set(LOCATION, &format!("/{bucket}"));
    Ok(answer)
}

fn check_location(constraint: Option<&str>, region: &str) -> Outcome<()> {
    match constraint {
        Some(US_EAST_1) => {
            Err(Refusal::new(Code::InvalidLocationConstraint)
                .field("LocationConstraint", US_EAST_1))
        }
        Some(named) if named == region => Ok(()),
        None if region == US_EAST_1 => Ok(()),
        Some(named) => Err(Refusal::with_message(
            Code::IllegalLocationConstraint,
            format!(
                "The {named} location constraint is incompatible for the region specific endpoint this request was sent to."
            ),
        )),
        None => Err(Code::IllegalLocationConstraint.into()),
    }
}

pub(super) async fn head(call: Call) -> Outcome<Answer> {
    let info = call
        .store()
        .bucket(&call.bucket()?)
        .await
        .map_err(|error| call.refusal(&error))?;
    let mut answer = Answer::ok();
    answer.set(BUCKET_REGION, &info.region);
    answer.set(HeaderName::from_static("x-amz-access-point-alias"), "false");
    Ok(answer)
}

pub(super) async fn delete(call: Call) -> Outcome<Answer> {
    call.store()
        .delete_bucket(&call.bucket()?, &call.caller)
        .await
        .map_err(|error| call.refusal(&error))?;
    Ok(Answer::status(StatusCode::NO_CONTENT))
}

pub(super) async fn location(call: Call) -> Outcome<Answer> {
    let info = call
        .store()
        .bucket(&call.bucket()?)
        .await
        .map_err(|error| call.refusal(&error))?;
    let region = Some(info.region.as_str()).filter(|region| *region != US_EAST_1);
    let mut xml = Writer::document("LocationConstraint", Some(NAMESPACE));
    xml.characters(region.unwrap_or_default());
    Ok(Answer::document(xml.finish()))
}

/// The most buckets of a page, and how many when the client does not say.
const BUCKETS_MAX: usize = 10_000;

pub(super) async fn list(call: Call) -> Outcome<Answer> {
    let limit = Page::limit(&call.query, "max-buckets", BUCKETS_MAX)?;
    let prefix = call.query.get("prefix")?.unwrap_or_default();
    let after = call
        .query
        .get("continuation-token")?
        .map(|token| {
            Page::open_token(token)
                .and_then(|name| BucketName::new(&name).ok())
                .ok_or_else(|| {
                    Refusal::argument(
                        "The continuation token provided is incorrect",
                        "continuation-token",
                        token,
                    )
                })
        })
        .transpose()?;
    let region = call.query.get("bucket-region")?;
    let mut buckets = call
        .store()
        .list_buckets(prefix, after.as_ref(), limit + 1)
        .await
        .map_err(|error| call.refusal(&error))?;
    let next = (buckets.len() > limit && limit > 0).then(|| {
        buckets.truncate(limit);
        buckets
            .last()
            .map(|bucket| Page::seal_token(bucket.bucket.as_str()))
            .unwrap_or_default()
    });
    let mut xml = Writer::document("ListAllMyBucketsResult", Some(NAMESPACE));
    OwnerElement(&call.config().account).write(&mut xml, "Owner");
    xml.element("Buckets", |xml| {
        for bucket in &buckets {
            if region.is_some_and(|region| region != bucket.region) {
                continue;
            }
            xml.element("Bucket", |xml| {
                xml.text("Name", bucket.bucket.as_str());
                xml.text("CreationDate", &xml_date(bucket.created));
                xml.text("BucketRegion", &bucket.region);
            });
        }
    });
    xml.optional("ContinuationToken", next.as_deref());
    xml.optional("Prefix", Some(prefix).filter(|prefix| !prefix.is_empty()));
    Ok(Answer::document(xml.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_made_in_the_region_of_the_service_or_not_at_all() {
        for (constraint, region, expected) in [
            (None, "us-east-1", None),
            (
                Some("us-east-1"),
                "us-east-1",
                Some(Code::InvalidLocationConstraint),
            ),
            (
                Some("eu-1"),
                "us-east-1",
                Some(Code::IllegalLocationConstraint),
            ),
            (Some("eu-1"), "eu-1", None),
            (None, "eu-1", Some(Code::IllegalLocationConstraint)),
            (Some("eu-2"), "eu-1", Some(Code::IllegalLocationConstraint)),
        ] {
            let refused = check_location(constraint, region).err();
            assert_eq!(
                refused.map(|refused| refused.code()),
                expected,
                "{constraint:?} {region}"
            );
        }
    }
}
