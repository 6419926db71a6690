//! What the headers of a request ask for.

mod checksums;
mod conditions;
mod encryption;
mod known;
mod metadata;
mod range;

pub(crate) use checksums::{
    body_checksum, checksum_named, checksum_of_parts, header_of, stated_checksum,
};
pub(crate) use conditions::{copy_source_conditions, read_conditions, write_conditions};
pub(crate) use encryption::{
    ANSWER_ALGORITHM, ANSWER_KEY_MD5, COPY_SOURCE_KEY, OfferedKey, REQUEST_KEY,
    carries_customer_key, is_customer_key, mark_sensitive, protection, refuse_encryption_header,
    take_customer_key,
};
pub(crate) use known::check_known;
pub(crate) use metadata::object_metadata;
pub(crate) use range::{copy_range, part_number, read_span};

use http::HeaderMap;
use strongroom_store::StorageClass;

use crate::refusal::{Code, Outcome, Refusal};

/// The text of a header; empty is absent, twice is an error.
pub(crate) fn one<'a>(headers: &'a HeaderMap, name: &str) -> Outcome<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let fault = |what| {
        Refusal::with_message(Code::InvalidRequest, format!("The header {name} {what}"))
            .field("Header", name)
    };
    if values.next().is_some() {
        return Err(fault("is given more than once"));
    }
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| fault("is not UTF-8"))?
        .trim();
    Ok((!text.is_empty()).then_some(text))
}

/// The storage class that a request names.
pub(crate) fn storage_class(headers: &HeaderMap) -> Outcome<Option<StorageClass>> {
    one(headers, "x-amz-storage-class")?
        .map(|name| {
            StorageClass::parse(name).ok_or_else(|| {
                Refusal::new(Code::InvalidStorageClass).field("StorageClassRequested", name)
            })
        })
        .transpose()
}

/// A header that is `true` or `false`.
pub(crate) fn flag(headers: &HeaderMap, name: &'static str) -> Outcome<Option<bool>> {
    one(headers, name)?
        .map(|text| match text {
            "true" | "True" | "TRUE" => Ok(true),
            "false" | "False" | "FALSE" => Ok(false),
            _ => Err(Refusal::argument(
                format!("The header {name} must be true or false"),
                name,
                text,
            )),
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_header_is_read_once_and_as_text() {
        let mut headers = HeaderMap::new();
        assert_eq!(one(&headers, "a").unwrap(), None);
        headers.insert("a", HeaderValue::from_static(""));
        assert_eq!(one(&headers, "a").unwrap(), None);
        headers.insert("a", HeaderValue::from_static(" x "));
        assert_eq!(one(&headers, "a").unwrap(), Some("x"));
        headers.append("a", HeaderValue::from_static("y"));
        assert_eq!(one(&headers, "a").unwrap_err().code(), Code::InvalidRequest);
        headers.insert("a", HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(one(&headers, "a").unwrap_err().code(), Code::InvalidRequest);
    }

    #[test]
    fn a_storage_class_is_one_of_ours() {
        let mut headers = HeaderMap::new();
        assert_eq!(storage_class(&headers).unwrap(), None);
        headers.insert(
            "x-amz-storage-class",
            HeaderValue::from_static("DEEP_ARCHIVE"),
        );
        assert_eq!(
            storage_class(&headers).unwrap(),
            Some(StorageClass::DeepArchive)
        );
        headers.insert("x-amz-storage-class", HeaderValue::from_static("OUTPOSTS"));
        let refused = storage_class(&headers).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidStorageClass);
        assert_eq!(refused.value_of("StorageClassRequested"), Some("OUTPOSTS"));
    }
}
