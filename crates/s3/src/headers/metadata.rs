//! What a client says about an object.

use http::HeaderMap;
use strongroom_store::ObjectMetadata;

use super::one;
use crate::refusal::Outcome;

/// The content headers and the client's own pairs.
pub(crate) fn object_metadata(headers: &HeaderMap) -> Outcome<ObjectMetadata> {
    let text = |name| -> Outcome<Option<String>> { Ok(one(headers, name)?.map(str::to_owned)) };
    let mut user = Vec::new();
    for name in headers.keys() {
        if let Some(short) = name.as_str().strip_prefix("x-amz-meta-") {
            let value = one(headers, name.as_str())?.unwrap_or_default();
            user.push((short.to_owned(), value.to_owned()));
        }
    }
    user.sort();
    Ok(ObjectMetadata {
        content_type: text("content-type")?,
        content_encoding: one(headers, "content-encoding")?.and_then(without_aws_chunked),
        content_language: text("content-language")?,
        content_disposition: text("content-disposition")?,
        cache_control: text("cache-control")?,
        expires: text("expires")?,
        website_redirect_location: None,
        user,
    })
}

/// `aws-chunked` is how the body travels, not how the object is encoded.
fn without_aws_chunked(encodings: &str) -> Option<String> {
    let kept: Vec<_> = encodings
        .split(',')
        .map(str::trim)
        .filter(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn metadata_is_kept_as_it_was_said() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "text/plain"),
            ("content-encoding", "aws-chunked,gzip"),
            ("x-amz-meta-b", "2"),
            ("x-amz-meta-a", ""),
            ("expires", "whenever"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let metadata = object_metadata(&headers).unwrap();
        assert_eq!(metadata.content_type.as_deref(), Some("text/plain"));
        assert_eq!(metadata.content_encoding.as_deref(), Some("gzip"));
        assert_eq!(metadata.expires.as_deref(), Some("whenever"));
        assert_eq!(
            metadata.user,
            [("a".into(), String::new()), ("b".into(), "2".into())]
        );
        assert_eq!(without_aws_chunked("aws-chunked"), None);
    }
}
