//! Listing the current objects of a bucket.

use strongroom_store::{ListObjects, ListedObject, ObjectPage, PAGE_ENTRIES_MAX, RestoreState};

use super::listing::{Encoding, OwnerElement, Page, delimiter, text};
use crate::answer::Answer;
use crate::call::Call;
use crate::dates::xml_date;
use crate::headers::one;
use crate::refusal::{Outcome, Refusal};
use crate::xml::{NAMESPACE, Writer};

/// What an entry tells besides the object.
#[derive(Clone, Copy)]
pub(super) struct EntryOptions<'a> {
    pub(super) encoding: Encoding,
    pub(super) owner: Option<&'a str>,
    pub(super) restore: bool,
}

struct Request {
    list: ListObjects,
    encoding: Encoding,
    restore: bool,
}

fn request(call: &Call, after: Option<String>) -> Outcome<Request> {
    Ok(Request {
        list: ListObjects {
            bucket: call.bucket()?,
            prefix: call.query.get("prefix")?.unwrap_or_default().to_owned(),
            delimiter: delimiter(&call.query)?,
            after,
            entries_max: Page::limit(&call.query, "max-keys", PAGE_ENTRIES_MAX)?,
        },
        encoding: Encoding::of(&call.query)?,
        restore: restore_status_wanted(call)?,
    })
}

pub(super) fn restore_status_wanted(call: &Call) -> Outcome<bool> {
    const NAME: &str = "x-amz-optional-object-attributes";
    match one(&call.headers, NAME)? {
        None => Ok(false),
        Some("RestoreStatus") => Ok(true),
        Some(other) => Err(Refusal::argument(
            "Invalid attribute name specified",
            NAME,
            other,
        )),
    }
}

async fn page(call: &Call, list: &ListObjects) -> Outcome<ObjectPage> {
    call.store()
        .list_objects(list.clone())
        .await
        .map_err(|error| call.refusal(&error))
}

pub(super) async fn list_v1(call: Call) -> Outcome<Answer> {
    let marker = call.query.get("marker")?.unwrap_or_default();
    let request = request(&call, text(&call.query, "marker")?)?;
    let (list, encoding) = (&request.list, request.encoding);
    let page = page(&call, list).await?;
    let mut xml = Writer::document("ListBucketResult", Some(NAMESPACE));
    xml.text("Name", list.bucket.as_str());
    encoding.name(&mut xml, "Prefix", &list.prefix);
    encoding.name(&mut xml, "Marker", marker);
    // AWS names the next marker only where a client cannot tell it from the last key.
    if list.delimiter.is_some() {
        encoding.optional(&mut xml, "NextMarker", page.next.as_deref());
    }
    xml.display("MaxKeys", list.entries_max);
    encoding.optional(&mut xml, "Delimiter", list.delimiter.as_deref());
    xml.display("IsTruncated", page.next.is_some());
    encoding.write(&mut xml);
    let options = EntryOptions {
        encoding,
        owner: Some(&call.config().account),
        restore: request.restore,
    };
    for object in &page.objects {
        xml.element("Contents", |xml| write_object(xml, object, options));
    }
    encoding.common_prefixes(&mut xml, &page.common_prefixes);
    Ok(Answer::document(xml.finish()))
}

pub(super) async fn list_v2(call: Call) -> Outcome<Answer> {
    let token = text(&call.query, "continuation-token")?;
    let start_after = text(&call.query, "start-after")?;
    let after = match &token {
        Some(token) => Some(Page::open_token(token).ok_or_else(|| {
            Refusal::argument(
                "The continuation token provided is incorrect",
                "continuation-token",
                token,
            )
        })?),
        None if call.query.has("continuation-token") => {
            return Err(Refusal::argument(
                "The continuation token provided is incorrect",
                "continuation-token",
                "",
            ));
        }
        None => start_after.clone(),
    };
    let request = request(&call, after)?;
    let (list, encoding) = (&request.list, request.encoding);
    let with_owner = match call.query.get("fetch-owner")? {
        None | Some("" | "false") => false,
        Some("true") => true,
        Some(other) => {
            return Err(Refusal::argument(
                "Invalid fetch-owner value",
                "fetch-owner",
                other,
            ));
        }
    };
    let page = page(&call, list).await?;
    let mut xml = Writer::document("ListBucketResult", Some(NAMESPACE));
    xml.text("Name", list.bucket.as_str());
    encoding.name(&mut xml, "Prefix", &list.prefix);
    xml.optional("ContinuationToken", token.as_deref());
    let next = page.next.as_deref().map(Page::seal_token);
    xml.optional("NextContinuationToken", next.as_deref());
    encoding.optional(&mut xml, "StartAfter", start_after.as_deref());
    xml.display("KeyCount", page.objects.len() + page.common_prefixes.len());
    xml.display("MaxKeys", list.entries_max);
    encoding.optional(&mut xml, "Delimiter", list.delimiter.as_deref());
    xml.display("IsTruncated", page.next.is_some());
    encoding.write(&mut xml);
    let options = EntryOptions {
        encoding,
        owner: with_owner.then_some(call.config().account.as_str()),
        restore: request.restore,
    };
    for object in &page.objects {
        xml.element("Contents", |xml| write_object(xml, object, options));
    }
    encoding.common_prefixes(&mut xml, &page.common_prefixes);
    Ok(Answer::document(xml.finish()))
}

/// What a listing tells of an object.
fn write_object(xml: &mut Writer, object: &ListedObject, options: EntryOptions<'_>) {
    options.encoding.name(xml, "Key", object.key.as_str());
    write_content(xml, object, options);
    if let Some(owner) = options.owner {
        OwnerElement(owner).write(xml, "Owner");
    }
}

/// What a listing tells of an object's content: the same for objects and versions.
pub(super) fn write_content(xml: &mut Writer, object: &ListedObject, options: EntryOptions<'_>) {
    xml.text("LastModified", &xml_date(object.modified));
    xml.text("ETag", &format!("\"{}\"", object.etag));
    if let Some((algorithm, checksum_type)) = object.checksum {
        xml.text("ChecksumAlgorithm", algorithm.as_str());
        xml.text("ChecksumType", checksum_type.as_str());
    }
    xml.display("Size", object.size_bytes);
    xml.text("StorageClass", object.class.as_str());
    if let Some(restore) = object.restore.filter(|_| options.restore) {
        xml.element("RestoreStatus", |xml| match restore {
            RestoreState::InProgress { .. } => {
                xml.text("IsRestoreInProgress", "true");
            }
            RestoreState::Restored { until } => {
                xml.text("IsRestoreInProgress", "false");
                xml.text("RestoreExpiryDate", &xml_date(until));
            }
        });
    }
}
