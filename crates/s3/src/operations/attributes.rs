//! GetObjectAttributes.

use http::header::LAST_MODIFIED;
use strongroom_store::{
    ObjectInfo, ObjectPart, PAGE_ENTRIES_MAX, ReadConditions, ReadRequest, Span,
};

use super::read::refuse_wrong_length;
use crate::answer::Answer;
use crate::call::Call;
use crate::dates::http_date;
use crate::headers::{OfferedKey, REQUEST_KEY, one, refuse_encryption_header, take_customer_key};
use crate::refusal::{Outcome, Refusal};
use crate::xml::{NAMESPACE, Writer};

/// Which attributes are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Attribute {
    ETag,
    Checksum,
    ObjectParts,
    StorageClass,
    ObjectSize,
}

fn attributes(call: &Call) -> Outcome<Vec<Attribute>> {
    const NAME: &str = "x-amz-object-attributes";
    let text = one(&call.headers, NAME)?.ok_or_else(|| {
        Refusal::argument(
            "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
            NAME,
            "null",
        )
    })?;
    text.split(',')
        .map(|name| match name.trim() {
            "ETag" => Ok(Attribute::ETag),
            "Checksum" => Ok(Attribute::Checksum),
            "ObjectParts" => Ok(Attribute::ObjectParts),
            "StorageClass" => Ok(Attribute::StorageClass),
            "ObjectSize" => Ok(Attribute::ObjectSize),
            other => Err(Refusal::argument(
                "Invalid attribute name specified.",
                NAME,
                other,
            )),
        })
        .collect()
}

/// A number in a header.
fn number(call: &Call, name: &'static str, most: usize) -> Outcome<Option<usize>> {
    one(&call.headers, name)?
        .map(|text| {
            text.parse::<usize>()
                .map(|number| number.min(most))
                .map_err(|_| Refusal::argument(format!("Invalid value for {name}"), name, text))
        })
        .transpose()
}

pub(super) async fn get_attributes(mut call: Call) -> Outcome<Answer> {
    refuse_encryption_header(&call.headers)?;
    let object = call.object()?;
    let wanted = attributes(&call)?;
    let parts_max = number(&call, "x-amz-max-parts", PAGE_ENTRIES_MAX)?.unwrap_or(PAGE_ENTRIES_MAX);
    let marker = number(&call, "x-amz-part-number-marker", usize::from(u16::MAX))?.unwrap_or(0);
    let after = u16::try_from(marker).unwrap_or(u16::MAX);
    let mut request = ReadRequest {
        object: object.clone(),
        span: Span::Whole,
        conditions: ReadConditions::default(),
        customer_key: None,
    };
    match take_customer_key(&mut call.headers, &REQUEST_KEY)? {
        OfferedKey::None => {}
        OfferedKey::Key(key) => request.customer_key = Some(key),
        OfferedKey::WrongLength => return Err(refuse_wrong_length(&call, request).await),
    }
    let found = call
        .store()
        .head(request, &call.caller)
        .await
        .map_err(|error| call.refusal(&error))?
        .object;
    let mut xml = Writer::document("GetObjectAttributesResponse", Some(NAMESPACE));
    // The order is that of the schema, whatever that of the request.
    if wanted.contains(&Attribute::ETag) {
        xml.display("ETag", found.etag);
    }
    if wanted.contains(&Attribute::Checksum) {
        write_checksum(&mut xml, &found);
    }
    if wanted.contains(&Attribute::ObjectParts)
        && let Some(count) = found.part_count
    {
        let parts = call
            .store()
            .parts_of(&object, after, parts_max)
            .await
            .map_err(|error| call.refusal(&error))?;
        let page = PartsPage {
            count,
            after,
            parts_max,
            parts: &parts,
        };
        xml.element("ObjectParts", |xml| page.write(xml));
    }
    if wanted.contains(&Attribute::StorageClass) {
        xml.text("StorageClass", found.class.as_str());
    }
    if wanted.contains(&Attribute::ObjectSize) {
        xml.display("ObjectSize", found.size_bytes);
    }
    let mut answer = Answer::document(xml.finish());
    answer.set_version(found.version);
    answer.set(LAST_MODIFIED, &http_date(found.modified));
    Ok(answer)
}

fn write_checksum(xml: &mut Writer, object: &ObjectInfo) {
    if let Some(checksum) = &object.checksum {
        xml.element("Checksum", |xml| {
            let name = format!("Checksum{}", checksum.checksum.algorithm().as_str());
            // Here the number of parts is told elsewhere, and the checksum stands alone.
            xml.text(&name, &checksum.checksum.to_base64());
            xml.text("ChecksumType", checksum.checksum_type.as_str());
        });
    }
}

struct PartsPage<'a> {
    count: u16,
    after: u16,
    parts_max: usize,
    parts: &'a [ObjectPart],
}

impl PartsPage<'_> {
    fn write(&self, xml: &mut Writer) {
        let last = self
            .parts
            .last()
            .map_or(self.after, |part| part.number.get());
        xml.display("PartsCount", self.count);
        xml.display("PartNumberMarker", self.after);
        xml.display("NextPartNumberMarker", last);
        xml.display("MaxParts", self.parts_max);
        xml.display("IsTruncated", !self.parts.is_empty() && last < self.count);
        for part in self.parts {
            xml.element("Part", |xml| {
                xml.display("PartNumber", part.number.get());
                xml.display("Size", part.size_bytes);
                if let Some(checksum) = &part.checksum {
                    let name = format!("Checksum{}", checksum.algorithm().as_str());
                    xml.text(&name, &checksum.to_base64());
                }
            });
        }
    }
}
