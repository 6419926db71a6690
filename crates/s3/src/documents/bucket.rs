//! Documents that configure a bucket.

use strongroom_keys::KeyReference;
use strongroom_store::{DefaultEncryption, Versioning};

use crate::refusal::{Code, Outcome, Refusal};
use crate::xml::Element;

/// The region in which CreateBucket wants the bucket; `None` when it does not say.
pub(crate) fn location_constraint(document: &[u8]) -> Outcome<Option<String>> {
    if document.is_empty() {
        return Ok(None);
    }
    let mut root = Element::parse(document, "CreateBucketConfiguration")?;
    let constraint = root.optional_text("LocationConstraint")?;
    for name in ["Location", "Bucket", "Tags"] {
        if root.optional(name)?.is_some() {
            return Err(not_implemented(name));
        }
    }
    root.end()?;
    Ok(constraint.filter(|constraint| !constraint.is_empty()))
}

fn not_implemented(element: &str) -> Refusal {
    Refusal::with_message(
        Code::NotImplemented,
        format!("The element {element} is not implemented"),
    )
    .field("Element", element)
}

/// What PutBucketVersioning wants.
pub(crate) fn versioning_status(document: &[u8]) -> Outcome<Versioning> {
    let mut root = Element::parse(document, "VersioningConfiguration")?;
    let status = root.optional_text("Status")?;
    match root.optional_text("MfaDelete")?.as_deref() {
        None | Some("Disabled") => {}
        Some("Enabled") => return Err(not_implemented("MfaDelete")),
        Some(_) => return Err(Code::MalformedXml.into()),
    }
    root.end()?;
    match status.as_deref() {
        Some("Enabled") => Ok(Versioning::Enabled),
        Some("Suspended") => Ok(Versioning::Suspended),
        Some(_) => Err(Code::MalformedXml.into()),
        None => Err(Code::IllegalVersioningConfiguration.into()),
    }
}

/// What PutBucketEncryption wants.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct RequestedEncryption {
    /// How objects are protected when the request does not say; `None` leaves SSE-S3.
    pub(crate) default: Option<DefaultEncryption>,
    /// Whether objects under customer keys are refused; `None` leaves it as it is.
    pub(crate) customer_keys_blocked: Option<bool>,
}

/// Reads a `ServerSideEncryptionConfiguration`.
///
/// Source: Amazon S3 API Reference, `PutBucketEncryption`, `BlockedEncryptionTypes`.
pub(crate) fn bucket_encryption(document: &[u8]) -> Outcome<RequestedEncryption> {
    let mut root = Element::parse(document, "ServerSideEncryptionConfiguration")?;
    let mut rule = root.required("Rule")?;
    root.end()?;
    let apply = rule.optional("ApplyServerSideEncryptionByDefault")?;
    let bucket_key = rule.optional_value::<bool>("BucketKeyEnabled")?;
    let blocked = rule.optional("BlockedEncryptionTypes")?;
    rule.end()?;
    let default = match apply {
        Some(apply) => Some(default_encryption(apply, bucket_key)?),
        None if bucket_key.is_some() || blocked.is_none() => {
            return Err(Code::MalformedXml.into());
        }
        None => None,
    };
    Ok(RequestedEncryption {
        default,
        customer_keys_blocked: blocked.map(blocked_types).transpose()?,
    })
}

fn default_encryption(mut apply: Element, bucket_key: Option<bool>) -> Outcome<DefaultEncryption> {
    let algorithm = apply.required_text("SSEAlgorithm")?;
    let key = apply
        .optional_text("KMSMasterKeyID")?
        .filter(|key| !key.is_empty());
    apply.end()?;
    match algorithm.as_str() {
        "AES256" if key.is_some() => Err(Refusal::argument(
            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse",
            "ApplyServerSideEncryptionByDefault",
            "AES256",
        )),
        // A bucket key saves calls to the key service; under SSE-S3 there is always one.
        "AES256" => Ok(DefaultEncryption::Managed),
        "aws:kms" => {
            if let Some(key) = &key {
                key.parse::<KeyReference>().map_err(|_| {
                    Refusal::with_message(Code::KmsNotFound, format!("Invalid keyId '{key}'"))
                })?;
            }
            Ok(DefaultEncryption::Kms {
                key,
                bucket_key: bucket_key.unwrap_or(false),
            })
        }
        "aws:kms:dsse" => Err(Refusal::with_message(
            Code::NotImplemented,
            "Dual-layer server-side encryption (aws:kms:dsse) is not implemented",
        )),
        _ => Err(Code::MalformedXml.into()),
    }
}

fn blocked_types(mut blocked: Element) -> Outcome<bool> {
    let types = blocked
        .all("EncryptionType")
        .into_iter()
        .map(Element::into_text)
        .collect::<Outcome<Vec<_>>>()?;
    blocked.end()?;
    match types.as_slice() {
        [only] if only == "NONE" => Ok(false),
        [only] if only == "SSE-C" => Ok(true),
        _ => Err(Code::MalformedXml.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_may_name_its_region_and_nothing_else() {
        let document = |inner: &str| {
            format!("<CreateBucketConfiguration>{inner}</CreateBucketConfiguration>").into_bytes()
        };
        assert_eq!(location_constraint(b"").unwrap(), None);
        assert_eq!(
            location_constraint(&document("<LocationConstraint>eu-1</LocationConstraint>"))
                .unwrap()
                .as_deref(),
            Some("eu-1")
        );
        let refused = location_constraint(&document("<Tags><Tag/></Tags>")).unwrap_err();
        assert_eq!(refused.code(), Code::NotImplemented);
        assert!(location_constraint(&document("<Other/>")).is_err());
        assert!(location_constraint(b"<Other/>").is_err());
    }

    #[test]
    fn versioning_is_turned_on_or_suspended() {
        let read = |inner: &str| {
            versioning_status(
                format!("<VersioningConfiguration>{inner}</VersioningConfiguration>").as_bytes(),
            )
        };
        assert_eq!(
            read("<Status>Enabled</Status>").unwrap(),
            Versioning::Enabled
        );
        assert_eq!(
            read("<Status>Suspended</Status><MfaDelete>Disabled</MfaDelete>").unwrap(),
            Versioning::Suspended
        );
        for (inner, code) in [
            ("", Code::IllegalVersioningConfiguration),
            ("<Status>enabled</Status>", Code::MalformedXml),
            (
                "<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>",
                Code::NotImplemented,
            ),
            ("<Status>Enabled</Status><Other/>", Code::MalformedXml),
        ] {
            assert_eq!(read(inner).unwrap_err().code(), code, "{inner}");
        }
    }

    fn encryption(rule: &str) -> Outcome<RequestedEncryption> {
        bucket_encryption(
            format!(
                "<ServerSideEncryptionConfiguration><Rule>{rule}</Rule></ServerSideEncryptionConfiguration>"
            )
            .as_bytes(),
        )
    }

    fn apply(inner: &str) -> String {
        format!("<ApplyServerSideEncryptionByDefault>{inner}</ApplyServerSideEncryptionByDefault>")
    }

    fn blocked(inner: &str) -> String {
        format!("<BlockedEncryptionTypes>{inner}</BlockedEncryptionTypes>")
    }

    #[test]
    fn default_encryption_is_read_with_what_it_blocks() {
        let kms =
            apply("<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>alias/a</KMSMasterKeyID>");
        assert_eq!(
            encryption(&format!("{kms}<BucketKeyEnabled>true</BucketKeyEnabled>")).unwrap(),
            RequestedEncryption {
                default: Some(DefaultEncryption::Kms {
                    key: Some("alias/a".into()),
                    bucket_key: true
                }),
                customer_keys_blocked: None,
            }
        );
        for (types, expected) in [("NONE", false), ("SSE-C", true)] {
            let read = encryption(&format!(
                "{}{}",
                apply("<SSEAlgorithm>AES256</SSEAlgorithm>"),
                blocked(&format!("<EncryptionType>{types}</EncryptionType>"))
            ))
            .unwrap();
            assert_eq!(read.customer_keys_blocked, Some(expected));
            assert_eq!(read.default, Some(DefaultEncryption::Managed));
        }
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        for (rule, code) in [
            (String::new(), Code::MalformedXml),
            (
                "<BucketKeyEnabled>true</BucketKeyEnabled>".into(),
                Code::MalformedXml,
            ),
            (apply(""), Code::MalformedXml),
            (
                apply("<SSEAlgorithm>DES</SSEAlgorithm>"),
                Code::MalformedXml,
            ),
            (
                apply("<SSEAlgorithm>aws:kms:dsse</SSEAlgorithm>"),
                Code::NotImplemented,
            ),
            (
                apply(
                    "<SSEAlgorithm>AES256</SSEAlgorithm><KMSMasterKeyID>alias/a</KMSMasterKeyID>",
                ),
                Code::InvalidArgument,
            ),
            (
                apply(
                    "<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>no key</KMSMasterKeyID>",
                ),
                Code::KmsNotFound,
            ),
            (
                blocked("<EncryptionType>SSE-X</EncryptionType>"),
                Code::MalformedXml,
            ),
            (blocked(""), Code::MalformedXml),
            (
                blocked(
                    "<EncryptionType>NONE</EncryptionType><EncryptionType>SSE-C</EncryptionType>",
                ),
                Code::MalformedXml,
            ),
        ] {
            assert_eq!(encryption(&rule).unwrap_err().code(), code, "{rule}");
        }
        let two = b"<ServerSideEncryptionConfiguration><Rule/><Rule/></ServerSideEncryptionConfiguration>";
        assert!(bucket_encryption(two).is_err());
    }
}
