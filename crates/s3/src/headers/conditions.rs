//! Conditional requests (RFC 9110, section 13), as far as S3 has them.

use http::HeaderMap;
use strongroom_environment::Timestamp;
use strongroom_store::{ETag, ETagCondition, ReadConditions, WriteConditions};

use super::one;
use crate::dates::parse_http_date;
use crate::refusal::{Outcome, Refusal};

/// The conditions of GET and HEAD.
pub(crate) fn read_conditions(headers: &HeaderMap) -> Outcome<ReadConditions> {
    conditions(
        headers,
        [
            "if-match",
            "if-none-match",
            "if-modified-since",
            "if-unmodified-since",
        ],
    )
}

/// The conditions on the source of a copy.
pub(crate) fn copy_source_conditions(headers: &HeaderMap) -> Outcome<ReadConditions> {
    conditions(
        headers,
        [
            "x-amz-copy-source-if-match",
            "x-amz-copy-source-if-none-match",
            "x-amz-copy-source-if-modified-since",
            "x-amz-copy-source-if-unmodified-since",
        ],
    )
}

fn conditions(headers: &HeaderMap, names: [&str; 4]) -> Outcome<ReadConditions> {
    let [if_match, if_none_match, modified, unmodified] = names;
    let tags = |name, weakly| -> Outcome<Option<ETagCondition>> {
        Ok(one(headers, name)?.map(|text| etag_condition(text, weakly)))
    };
    let date =
        |name| -> Outcome<Option<Timestamp>> { Ok(one(headers, name)?.and_then(parse_http_date)) };
    Ok(ReadConditions {
        if_match: tags(if_match, false)?,
        if_none_match: tags(if_none_match, true)?,
        if_modified_since: date(modified)?,
        if_unmodified_since: date(unmodified)?,
    })
}

/// The conditions of a write: `If-None-Match: *`, or `If-Match` with a tag. AWS has no others.
pub(crate) fn write_conditions(headers: &HeaderMap) -> Outcome<WriteConditions> {
    let if_none_match = match one(headers, "if-none-match")? {
        None => None,
        Some("*") => Some(ETagCondition::Any),
        Some(_) => return Err(Refusal::header_not_implemented("If-None-Match")),
    };
    let if_match = match one(headers, "if-match")? {
        None => None,
        Some("*") => return Err(Refusal::header_not_implemented("If-Match")),
        Some(text) => Some(etag_condition(text, false)),
    };
    if if_match.is_some() && if_none_match.is_some() {
        return Err(Refusal::header_not_implemented("If-Match,If-None-Match"));
    }
    for name in ["if-modified-since", "if-unmodified-since"] {
        if headers.contains_key(name) {
            return Err(Refusal::header_not_implemented(name));
        }
    }
    Ok(WriteConditions {
        if_match,
        if_none_match,
    })
}

/// The tags of a condition. A weak tag counts only where tags are compared weakly.
fn etag_condition(text: &str, weakly: bool) -> ETagCondition {
    if text == "*" {
        return ETagCondition::Any;
    }
    let tags = text.split(',').filter_map(|tag| {
        let tag = tag.trim();
        match tag.strip_prefix("W/") {
            Some(tag) if weakly => ETag::parse(tag),
            Some(_) => None,
            None => ETag::parse(tag),
        }
    });
    ETagCondition::OneOf(tags.collect())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::refusal::Code;

    const TAG: &str = "d41d8cd98f00b204e9800998ecf8427e";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn tags_and_dates_are_read_and_nonsense_matches_nothing() {
        let tag = ETag::parse(TAG).unwrap();
        let read = read_conditions(&headers(&[
            ("if-match", &format!("\"{TAG}\", \"other\"")),
            ("if-none-match", &format!("W/\"{TAG}\"")),
            ("if-modified-since", "Thu, 01 Jan 2026 00:00:00 GMT"),
            ("if-unmodified-since", "one day"),
        ]))
        .unwrap();
        assert_eq!(read.if_match, Some(ETagCondition::OneOf(vec![tag])));
        assert_eq!(read.if_none_match, Some(ETagCondition::OneOf(vec![tag])));
        assert_eq!(
            read.if_modified_since,
            Some(Timestamp::from_seconds(1_767_225_600))
        );
        assert_eq!(read.if_unmodified_since, None);
        let weak = read_conditions(&headers(&[("if-match", &format!("W/\"{TAG}\""))])).unwrap();
        assert_eq!(weak.if_match, Some(ETagCondition::OneOf(vec![])));
    }

    #[test]
    fn a_write_has_two_conditions_only() {
        let write = write_conditions(&headers(&[("if-none-match", "*")])).unwrap();
        assert_eq!(write.if_none_match, Some(ETagCondition::Any));
        for pairs in [
            [("if-none-match", TAG)],
            [("if-match", "*")],
            [("if-modified-since", "Thu, 01 Jan 2026 00:00:00 GMT")],
        ] {
            let refused = write_conditions(&headers(&pairs)).unwrap_err();
            assert_eq!(refused.code(), Code::NotImplemented, "{pairs:?}");
        }
    }
}
