//! Which bytes of an object are asked for.

use http::HeaderMap;
use strongroom_store::{ByteRange, PartNumber, Span};

use super::one;
use crate::address::Query;
use crate::faults::{Subject, name_refusal};
use crate::refusal::{Code, Outcome, Refusal};

/// The bytes that GET and HEAD ask for.
pub(crate) fn read_span(
    headers: &HeaderMap,
    query: &Query,
    subject: &mut Subject,
) -> Outcome<Span> {
    let range = one(headers, "range")?.and_then(|text| Some((text, byte_range(text)?)));
    let part = query.get("partNumber")?;
    match (range, part) {
        (Some(_), Some(_)) => Err(Refusal::with_message(
            Code::InvalidRequest,
            "Cannot specify both Range header and partNumber query parameter",
        )),
        (Some((text, range)), None) => {
            subject.range = Some(text.to_owned());
            Ok(Span::Range(range))
        }
        (None, Some(text)) => {
            subject.part_number = Some(text.to_owned());
            part_number(text).map(Span::Part)
        }
        (None, None) => Ok(Span::Whole),
    }
}

/// A part number of a query.
pub(crate) fn part_number(text: &str) -> Outcome<PartNumber> {
    let number = text.parse::<i64>().unwrap_or(i64::MIN);
    PartNumber::new(number).map_err(|error| name_refusal(&error, text))
}

/// The range of `x-amz-copy-source-range`, which must be `bytes=first-last`.
pub(crate) fn copy_range(headers: &HeaderMap, subject: &mut Subject) -> Outcome<Option<ByteRange>> {
    const NAME: &str = "x-amz-copy-source-range";
    let Some(text) = one(headers, NAME)? else {
        return Ok(None);
    };
    subject.range = Some(text.to_owned());
    match byte_range(text) {
        Some(range @ ByteRange::FromTo { .. }) => Ok(Some(range)),
        _ => Err(Refusal::argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
            NAME,
            text,
        )),
    }
}

/// Reads one range. Several ranges, another unit, and what is no range at all are not understood,
/// and RFC 9110 (section 14.2) has a server ignore them.
fn byte_range(text: &str) -> Option<ByteRange> {
    let (first, last) = text.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        // A number too large for any object is one past the end of all of them.
        plain.then(|| digits.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (first, last) {
        ("", last) => number(last).map(|len_bytes| ByteRange::Suffix { len_bytes }),
        (first, "") => number(first).map(|first| ByteRange::From { first }),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(ByteRange::FromTo { first, last })
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_range_is_read_and_what_is_none_is_ignored() {
        for (text, expected) in [
            ("bytes=0-0", Some(ByteRange::FromTo { first: 0, last: 0 })),
            ("bytes=5-", Some(ByteRange::From { first: 5 })),
            ("bytes=-7", Some(ByteRange::Suffix { len_bytes: 7 })),
            ("bytes=-0", Some(ByteRange::Suffix { len_bytes: 0 })),
            (
                "bytes=1-99999999999999999999999",
                Some(ByteRange::FromTo {
                    first: 1,
                    last: u64::MAX,
                }),
            ),
            ("bytes=5-4", None),
            ("bytes=0-1,3-4", None),
            ("bytes=+1-2", None),
            ("bytes=-", None),
            ("bytes", None),
            ("items=0-1", None),
            ("bytes=a-b", None),
        ] {
            assert_eq!(byte_range(text), expected, "{text}");
        }
    }

    #[test]
    fn a_part_number_is_between_1_and_10000() {
        for good in ["1", "10000"] {
            assert!(part_number(good).is_ok());
        }
        for bad in ["0", "10001", "-1", "x", "", "1.5", "99999999999999999999"] {
            let refused = part_number(bad).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{bad}");
            assert_eq!(refused.value_of("ArgumentName"), Some("partNumber"));
            assert_eq!(refused.value_of("ArgumentValue"), Some(bad));
        }
    }

    #[test]
    fn a_copied_range_has_two_ends_and_no_part_number_goes_with_a_range() {
        let mut headers = HeaderMap::new();
        let mut subject = Subject::default();
        assert_eq!(copy_range(&headers, &mut subject).unwrap(), None);
        for bad in ["bytes=0-", "bytes=-5", "0-5", "bytes=5-1"] {
            headers.insert("x-amz-copy-source-range", HeaderValue::from_static(bad));
            assert!(copy_range(&headers, &mut subject).is_err(), "{bad}");
        }
        headers.insert("range", HeaderValue::from_static("bytes=0-1"));
        let query = Query::of(&"/b/k?partNumber=1".parse().unwrap()).unwrap();
        assert!(read_span(&headers, &query, &mut subject).is_err());
    }
}
