//! Documents that name objects and parts.

use strongroom_store::{
    Checksum, ChecksumAlgorithm, CompletedPart, ETag, PartNumber, RetrievalTier,
};

use crate::refusal::{Code, Outcome, Refusal};
use crate::xml::Element;

/// What DeleteObjects names.
#[derive(Debug)]
pub(crate) struct ObjectsToDelete {
    /// The objects, in the client's order.
    pub(crate) objects: Vec<ObjectToDelete>,
    /// Whether only what went wrong is told.
    pub(crate) quiet: bool,
}

/// One object that DeleteObjects names.
#[derive(Debug)]
pub(crate) struct ObjectToDelete {
    /// Its key.
    pub(crate) key: String,
    /// Which version, as the client names it.
    pub(crate) version_id: Option<String>,
    /// The entity tag it must have.
    pub(crate) etag: Option<String>,
}

/// The most objects of one request.
const OBJECTS_MAX: usize = 1000;

/// Reads a `Delete`.
pub(crate) fn objects_to_delete(document: &[u8]) -> Outcome<ObjectsToDelete> {
    let mut root = Element::parse(document, "Delete")?;
    let quiet = root.optional_value::<bool>("Quiet")?.unwrap_or(false);
    let named = root.all("Object");
    root.end()?;
    if named.is_empty() || named.len() > OBJECTS_MAX {
        return Err(Code::MalformedXml.into());
    }
    let objects = named
        .into_iter()
        .map(|mut object| {
            let read = ObjectToDelete {
                key: object.required_text("Key")?,
                version_id: object
                    .optional_text("VersionId")?
                    .filter(|version| !version.is_empty()),
                etag: object.optional_text("ETag")?,
            };
            for name in ["LastModifiedTime", "Size"] {
                if object.optional(name)?.is_some() {
                    return Err(Refusal::with_message(
                        Code::NotImplemented,
                        format!("The element {name} is not implemented"),
                    )
                    .field("Element", name));
                }
            }
            object.end()?;
            Ok(read)
        })
        .collect::<Outcome<_>>()?;
    Ok(ObjectsToDelete { objects, quiet })
}

/// What CompleteMultipartUpload names.
#[derive(Debug)]
pub(crate) struct CompletedUpload {
    /// The parts, in the client's order.
    pub(crate) parts: Vec<CompletedPart>,
}

/// Reads a `CompleteMultipartUpload`.
pub(crate) fn completed_upload(document: &[u8]) -> Outcome<CompletedUpload> {
    let mut root = Element::parse(document, "CompleteMultipartUpload")?;
    let named = root.all("Part");
    root.end()?;
    if named.is_empty() || named.len() > usize::from(PartNumber::MAX) {
        return Err(Code::MalformedXml.into());
    }
    let parts = named
        .into_iter()
        .map(|mut part| {
            let number = part
                .optional_value::<i64>("PartNumber")?
                .ok_or(Code::MalformedXml)?;
            let read = CompletedPart {
                number: PartNumber::new(number).map_err(|_| {
                    Refusal::argument("PartNumber must be >= 1", "PartNumber", number.to_string())
                })?,
                etag: ETag::parse(part.required_text("ETag")?.trim()),
                checksum: checksum(&mut part)?,
            };
            part.end()?;
            Ok(read)
        })
        .collect::<Outcome<_>>()?;
    Ok(CompletedUpload { parts })
}

fn checksum(part: &mut Element) -> Outcome<Option<Checksum>> {
    let mut found = None;
    for algorithm in ChecksumAlgorithm::ALL {
        let Some(text) = part.optional_text(&format!("Checksum{}", algorithm.as_str()))? else {
            continue;
        };
        let checksum = Checksum::from_base64(algorithm, text.trim()).ok_or(Code::InvalidPart)?;
        if found.replace(checksum).is_some() {
            return Err(Code::MalformedXml.into());
        }
    }
    Ok(found)
}

/// What RestoreObject asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RequestedRestore {
    /// For how many days the copy is kept.
    pub(crate) days: i64,
    /// How fast it is wanted.
    pub(crate) tier: RetrievalTier,
}

/// Reads a `RestoreRequest`.
pub(crate) fn restore_request(document: &[u8]) -> Outcome<RequestedRestore> {
    if document.is_empty() {
        return Err(Code::MissingRequestBody.into());
    }
    let mut root = Element::parse(document, "RestoreRequest")?;
    let days = root.optional_value::<i64>("Days")?;
    let parameters = root.optional("GlacierJobParameters")?;
    // A description is for the client; it changes nothing.
    root.optional_text("Description")?;
    for name in ["Type", "SelectParameters", "OutputLocation", "Tier"] {
        if root.optional(name)?.is_some() {
            return Err(Refusal::with_message(
                Code::NotImplemented,
                format!("The element {name} is not implemented"),
            )
            .field("Element", name));
        }
    }
    root.end()?;
    let tier = match parameters {
        None => RetrievalTier::Standard,
        Some(mut parameters) => {
            let tier = parameters.required_text("Tier")?;
            parameters.end()?;
            match tier.as_str() {
                "Standard" => RetrievalTier::Standard,
                "Bulk" => RetrievalTier::Bulk,
                "Expedited" => RetrievalTier::Expedited,
                _ => return Err(Code::MalformedXml.into()),
            }
        }
    };
    match days {
        None => Err(Code::MalformedXml.into()),
        Some(days) if days < 1 => Err(Refusal::argument(
            "restoration days should be at least 1",
            "Days",
            days.to_string(),
        )),
        Some(days) => Ok(RequestedRestore { days, tier }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_to_delete_are_named_with_their_versions() {
        let read = objects_to_delete(
            b"<Delete xmlns=\"x\"><Object><Key>a&lt;b</Key></Object>\
              <Object><Key>c</Key><VersionId>null</VersionId><ETag>e</ETag></Object>\
              <Quiet>true</Quiet></Delete>",
        )
        .unwrap();
        assert!(read.quiet);
        assert_eq!(read.objects[0].key, "a<b");
        assert_eq!(read.objects[1].version_id.as_deref(), Some("null"));
        assert_eq!(read.objects[1].etag.as_deref(), Some("e"));
    }

    #[test]
    fn a_delete_names_1_to_1000_objects_and_nothing_unknown() {
        let many = |count: usize| {
            format!(
                "<Delete>{}</Delete>",
                "<Object><Key>k</Key></Object>".repeat(count)
            )
        };
        assert!(objects_to_delete(many(1000).as_bytes()).is_ok());
        for bad in [
            many(0),
            many(1001),
            "<Delete><Object/></Delete>".into(),
            "<Delete><Object><Key>k</Key><Other/></Object></Delete>".into(),
            "<Delete><Quiet>perhaps</Quiet><Object><Key>k</Key></Object></Delete>".into(),
        ] {
            assert_eq!(
                objects_to_delete(bad.as_bytes()).unwrap_err().code(),
                Code::MalformedXml
            );
        }
        let size = b"<Delete><Object><Key>k</Key><Size>1</Size></Object></Delete>";
        assert_eq!(
            objects_to_delete(size).unwrap_err().code(),
            Code::NotImplemented
        );
    }

    #[test]
    fn parts_are_read_with_their_checksums() {
        let read = completed_upload(
            b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>\
              <ETag>\"d41d8cd98f00b204e9800998ecf8427e\"</ETag>\
              <ChecksumCRC32>y/Q5Jg==</ChecksumCRC32></Part>\
              <Part><ETag>nonsense</ETag><PartNumber>2</PartNumber></Part></CompleteMultipartUpload>",
        )
        .unwrap();
        assert_eq!(read.parts.len(), 2);
        assert!(read.parts[0].etag.is_some() && read.parts[0].checksum.is_some());
        assert!(read.parts[1].etag.is_none());
        for (bad, code) in [
            ("", Code::MalformedXml),
            ("<Part><ETag>e</ETag></Part>", Code::MalformedXml),
            (
                "<Part><PartNumber>1</PartNumber></Part>",
                Code::MalformedXml,
            ),
            (
                "<Part><PartNumber>0</PartNumber><ETag>e</ETag></Part>",
                Code::InvalidArgument,
            ),
            (
                "<Part><PartNumber>x</PartNumber><ETag>e</ETag></Part>",
                Code::MalformedXml,
            ),
            (
                "<Part><PartNumber>1</PartNumber><ETag>e</ETag><ChecksumSHA1>x</ChecksumSHA1></Part>",
                Code::InvalidPart,
            ),
        ] {
            let document = format!("<CompleteMultipartUpload>{bad}</CompleteMultipartUpload>");
            let refused = completed_upload(document.as_bytes()).unwrap_err();
            assert_eq!(refused.code(), code, "{bad}");
        }
    }

    #[test]
    fn a_restore_has_days_and_a_tier() {
        let read = |inner: &str| {
            restore_request(format!("<RestoreRequest>{inner}</RestoreRequest>").as_bytes())
        };
        let tier = |tier: &str| {
            format!("<GlacierJobParameters><Tier>{tier}</Tier></GlacierJobParameters>")
        };
        assert_eq!(
            read("<Days>2</Days>").unwrap(),
            RequestedRestore {
                days: 2,
                tier: RetrievalTier::Standard
            }
        );
        assert_eq!(
            read(&format!("<Days>1</Days>{}", tier("Expedited")))
                .unwrap()
                .tier,
            RetrievalTier::Expedited
        );
        for (inner, code) in [
            (String::new(), Code::MalformedXml),
            ("<Days>0</Days>".into(), Code::InvalidArgument),
            ("<Days>-1</Days>".into(), Code::InvalidArgument),
            ("<Days>x</Days>".into(), Code::MalformedXml),
            (
                format!("<Days>1</Days>{}", tier("Soon")),
                Code::MalformedXml,
            ),
            (
                "<Days>1</Days><Type>SELECT</Type>".into(),
                Code::NotImplemented,
            ),
            ("<Days>1</Days><Unknown/>".into(), Code::MalformedXml),
        ] {
            assert_eq!(read(&inner).unwrap_err().code(), code, "{inner}");
        }
        assert_eq!(
            restore_request(b"").unwrap_err().code(),
            Code::MissingRequestBody
        );
    }
}
