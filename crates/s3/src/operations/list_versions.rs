//! Listing the versions and delete markers of a bucket.

use strongroom_store::{ListVersions, ListedVersion, PAGE_ENTRIES_MAX};

use super::list_objects::{EntryOptions, restore_status_wanted, write_content};
use super::listing::{Encoding, OwnerElement, Page, delimiter, text};
use crate::answer::Answer;
use crate::call::{Call, version_selector};
use crate::dates::xml_date;
use crate::refusal::{Outcome, Refusal};
use crate::xml::{NAMESPACE, Writer};

pub(super) async fn list_versions(call: Call) -> Outcome<Answer> {
    let query = &call.query;
    let key_marker = text(query, "key-marker")?;
    let version_marker = text(query, "version-id-marker")?;
    if version_marker.is_some() && key_marker.is_none() {
        return Err(Refusal::argument(
            "A version-id marker cannot be specified without a key marker.",
            "version-id-marker",
            version_marker.unwrap_or_default(),
        ));
    }
    let encoding = Encoding::of(query)?;
    let request = ListVersions {
        bucket: call.bucket()?,
        prefix: query.get("prefix")?.unwrap_or_default().to_owned(),
        delimiter: delimiter(query)?,
        after_key: key_marker.clone(),
        after_version: version_selector(version_marker.as_deref())?,
        entries_max: Page::limit(query, "max-keys", PAGE_ENTRIES_MAX)?,
    };
    let options = EntryOptions {
        encoding,
        owner: Some(&call.config().account),
        restore: restore_status_wanted(&call)?,
    };
    let page = call
        .store()
        .list_versions(request.clone())
        .await
        .map_err(|error| call.refusal(&error))?;
    let mut xml = Writer::document("ListVersionsResult", Some(NAMESPACE));
    xml.text("Name", request.bucket.as_str());
    encoding.name(&mut xml, "Prefix", &request.prefix);
    encoding.name(
        &mut xml,
        "KeyMarker",
        key_marker.as_deref().unwrap_or_default(),
    );
    xml.text(
        "VersionIdMarker",
        version_marker.as_deref().unwrap_or_default(),
    );
    if let Some((key, version)) = &page.next {
        encoding.name(&mut xml, "NextKeyMarker", key);
        if let Some(version) = version {
            xml.display("NextVersionIdMarker", version);
        }
    }
    xml.display("MaxKeys", request.entries_max);
    encoding.optional(&mut xml, "Delimiter", request.delimiter.as_deref());
    xml.display("IsTruncated", page.next.is_some());
    encoding.write(&mut xml);
    for version in &page.versions {
        let name = if version.object.is_some() {
            "Version"
        } else {
            "DeleteMarker"
        };
        xml.element(name, |xml| write_version(xml, version, options));
    }
    encoding.common_prefixes(&mut xml, &page.common_prefixes);
    Ok(Answer::document(xml.finish()))
}

fn write_version(xml: &mut Writer, version: &ListedVersion, options: EntryOptions<'_>) {
    options.encoding.name(xml, "Key", version.key.as_str());
    xml.display("VersionId", version.version);
    xml.display("IsLatest", version.is_latest);
    match &version.object {
        Some(object) => write_content(xml, object, options),
        None => {
            xml.text("LastModified", &xml_date(version.modified));
        }
    }
    if let Some(owner) = options.owner {
        OwnerElement(owner).write(xml, "Owner");
    }
}
