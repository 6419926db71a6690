//! Listing multipart uploads and their parts.

use strongroom_store::{ListParts, ListUploads, PAGE_ENTRIES_MAX, PartNumber, UploadId};

use super::listing::{Encoding, OwnerElement, Page, delimiter, text};
use crate::answer::Answer;
use crate::call::Call;
use crate::dates::xml_date;
use crate::headers::{REQUEST_KEY, take_customer_key};
use crate::refusal::{Outcome, Refusal};
use crate::xml::{NAMESPACE, Writer};

pub(super) async fn uploads(call: Call) -> Outcome<Answer> {
    let query = &call.query;
    let key_marker = text(query, "key-marker")?;
    // Without a key, a marker of an upload says nothing, and AWS does not look at it.
    let upload_marker = text(query, "upload-id-marker")?.filter(|_| key_marker.is_some());
    let encoding = Encoding::of(query)?;
    let request = ListUploads {
        bucket: call.bucket()?,
        prefix: query.get("prefix")?.unwrap_or_default().to_owned(),
        delimiter: delimiter(query)?,
        after_key: key_marker.clone(),
        after_upload: upload_marker
            .as_deref()
            .map(|printed| {
                UploadId::parse(printed).map_err(|_| {
                    Refusal::argument("Invalid uploadId marker", "upload-id-marker", printed)
                })
            })
            .transpose()?,
        entries_max: Page::limit(query, "max-uploads", PAGE_ENTRIES_MAX)?,
    };
    let page = call
        .store()
        .list_uploads(request.clone())
        .await
        .map_err(|error| call.refusal(&error))?;
    let mut xml = Writer::document("ListMultipartUploadsResult", Some(NAMESPACE));
    xml.text("Bucket", request.bucket.as_str());
    encoding.name(
        &mut xml,
        "KeyMarker",
        key_marker.as_deref().unwrap_or_default(),
    );
    xml.text(
        "UploadIdMarker",
        upload_marker.as_deref().unwrap_or_default(),
    );
    if let Some((key, upload)) = &page.next {
        encoding.name(&mut xml, "NextKeyMarker", key);
        if let Some(upload) = upload {
            xml.display("NextUploadIdMarker", upload);
        }
    }
    encoding.name(&mut xml, "Prefix", &request.prefix);
    encoding.optional(&mut xml, "Delimiter", request.delimiter.as_deref());
    xml.display("MaxUploads", request.entries_max);
    xml.display("IsTruncated", page.next.is_some());
    encoding.write(&mut xml);
    let owner = OwnerElement(&call.config().account);
    for upload in &page.uploads {
        xml.element("Upload", |xml| {
            encoding.name(xml, "Key", upload.key.as_str());
            xml.display("UploadId", upload.upload);
            OwnerElement(&upload.initiator).write(xml, "Initiator");
            owner.write(xml, "Owner");
            xml.text("StorageClass", upload.class.as_str());
            xml.text("Initiated", &xml_date(upload.upload.begun()));
            if let Some((algorithm, checksum_type)) = upload.checksum {
                xml.text("ChecksumAlgorithm", algorithm.as_str());
                xml.text("ChecksumType", checksum_type.as_str());
            }
        });
    }
    encoding.common_prefixes(&mut xml, &page.common_prefixes);
    Ok(Answer::document(xml.finish()))
}

pub(super) async fn parts(mut call: Call) -> Outcome<Answer> {
    let upload = call.upload()?;
    // The key of the upload is allowed here and not needed: nothing is opened.
    let _ = take_customer_key(&mut call.headers, &REQUEST_KEY)?.into_key()?;
    let marker = Page::limit(
        &call.query,
        "part-number-marker",
        usize::from(PartNumber::MAX),
    )?;
    let after = match call.query.get("part-number-marker")? {
        None => 0,
        Some(_) => u16::try_from(marker).unwrap_or(PartNumber::MAX),
    };
    let encoding = Encoding::of(&call.query)?;
    let request = ListParts {
        upload: upload.clone(),
        after,
        entries_max: Page::limit(&call.query, "max-parts", PAGE_ENTRIES_MAX)?,
    };
    let entries_max = request.entries_max;
    let page = call
        .store()
        .list_parts(request)
        .await
        .map_err(|error| call.refusal(&error))?;
    let mut xml = Writer::document("ListPartsResult", Some(NAMESPACE));
    xml.text("Bucket", upload.bucket.as_str());
    encoding.name(&mut xml, "Key", upload.key.as_str());
    xml.display("UploadId", upload.upload);
    OwnerElement(&page.initiator).write(&mut xml, "Initiator");
    OwnerElement(&call.config().account).write(&mut xml, "Owner");
    xml.text("StorageClass", page.class.as_str());
    xml.display("PartNumberMarker", after);
    if let Some(next) = page.next {
        xml.display("NextPartNumberMarker", next.get());
    }
    xml.display("MaxParts", entries_max);
    xml.display("IsTruncated", page.next.is_some());
    if let Some((algorithm, checksum_type)) = page.checksum {
        xml.text("ChecksumAlgorithm", algorithm.as_str());
        xml.text("ChecksumType", checksum_type.as_str());
    }
    for part in &page.parts {
        xml.element("Part", |xml| {
            xml.display("PartNumber", part.number.get());
            xml.text("LastModified", &xml_date(part.modified));
            xml.text("ETag", &format!("\"{}\"", part.etag));
            xml.display("Size", part.size_bytes);
            let name = format!("Checksum{}", part.checksum.algorithm().as_str());
            xml.text(&name, &part.checksum.to_base64());
        });
    }
    Ok(Answer::document(xml.finish()))
}
