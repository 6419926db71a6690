use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

const REGION: &str = "us-east-1";
const SIGNATURE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const CREDENTIAL: &str = "SRAKEXAMPLE/20260101/us-east-1/s3/aws4_request";

fn now() -> Timestamp {
    Timestamp::from_seconds(1_767_225_600)
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    headers
}

fn authorization(credential: &str, signed: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={SIGNATURE}"
    )
}

const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date";

/// A request signed in its header, and what is put in place of its headers.
fn by_header(replaced: &[(&'static str, &str)]) -> Outcome<Claim> {
    let mut all = headers(&[
        ("host", "localhost"),
        ("x-amz-date", "20260101T000000Z"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("authorization", &authorization(CREDENTIAL, SIGNED)),
    ]);
    for (name, value) in replaced {
        if value.is_empty() {
            all.remove(*name);
        } else {
            all.insert(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
    }
    Claim::of(&all, &Query::default(), REGION, now())
}

const PARAMETERS: [(&str, &str); 6] = [
    ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
    ("X-Amz-Credential", CREDENTIAL),
    ("X-Amz-Date", "20260101T000000Z"),
    ("X-Amz-Expires", "60"),
    ("X-Amz-SignedHeaders", "host"),
    ("X-Amz-Signature", SIGNATURE),
];

fn by_query(
    replaced: &[(&str, &str)],
    extra: &[(&'static str, &str)],
    now: Timestamp,
) -> Outcome<Claim> {
    let text: Vec<String> = PARAMETERS
        .iter()
        .filter_map(|(name, value)| {
            let value = replaced
                .iter()
                .find(|(known, _)| known == name)
                .map_or(*value, |(_, value)| *value);
            (!value.is_empty()).then(|| format!("{name}={}", value.replace('/', "%2F")))
        })
        .collect();
    let uri: http::Uri = format!("/b/k?{}", text.join("&")).parse().unwrap();
    let all = [&[("host", "localhost")], extra].concat();
    Claim::of(&headers(&all), &Query::of(&uri).unwrap(), REGION, now)
}

#[test]
fn a_claim_is_read_from_the_header_and_from_the_query() {
    let claim = by_header(&[]).unwrap();
    assert_eq!(claim.scope.access_key_id, "SRAKEXAMPLE");
    assert_eq!(
        claim.scope.to_string(),
        "20260101/us-east-1/s3/aws4_request"
    );
    assert_eq!(claim.payload, Payload::Unsigned);
    assert_eq!(
        by_query(&[], &[], now()).unwrap().signature.to_string(),
        SIGNATURE
    );
    for (value, payload) in [
        (
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            Payload::UnsignedChunks,
        ),
        (
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            Payload::SignedChunks { trailer: false },
        ),
        (
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            Payload::SignedChunks { trailer: true },
        ),
    ] {
        let claim = by_header(&[("x-amz-content-sha256", value)]).unwrap();
        assert_eq!(claim.payload, payload);
        assert!(payload.is_chunked());
    }
}

#[test]
fn every_fault_of_a_header_has_its_error() {
    use Code as C;
    let v2 = "AWS SRAKEXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=";
    let twice = format!(
        "{}, SignedHeaders=host;x-amz-acl",
        authorization(CREDENTIAL, SIGNED)
    );
    for (header, value, code) in [
        ("authorization", "", C::AccessDenied),
        ("authorization", v2, C::InvalidRequest),
        ("authorization", "Bearer x", C::InvalidArgument),
        (
            "authorization",
            "AWS4-ECDSA-P256-SHA256 Credential=x",
            C::NotImplemented,
        ),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=x",
            C::AuthorizationHeaderMalformed,
        ),
        ("authorization", &twice, C::AuthorizationHeaderMalformed),
        (
            "authorization",
            &authorization("SRAK/20260101/us-east-1/s3", SIGNED),
            C::AuthorizationHeaderMalformed,
        ),
        (
            "authorization",
            &authorization("SRAK/20260101/eu-1/s3/aws4_request", SIGNED),
            C::AuthorizationHeaderMalformed,
        ),
        (
            "authorization",
            &authorization("SRAK/20260101/us-east-1/kms/aws4_request", SIGNED),
            C::AuthorizationHeaderMalformed,
        ),
        (
            "authorization",
            &authorization("SRAK/20260101/us-east-1/s3/aws5_request", SIGNED),
            C::AuthorizationHeaderMalformed,
        ),
        (
            "authorization",
            &authorization("SRAK/20251231/us-east-1/s3/aws4_request", SIGNED),
            C::AuthorizationHeaderMalformed,
        ),
        (
            "authorization",
            &authorization("/20260101/us-east-1/s3/aws4_request", SIGNED),
            C::AuthorizationHeaderMalformed,
        ),
        ("x-amz-date", "", C::AccessDenied),
        ("x-amz-date", "yesterday", C::AccessDenied),
        ("x-amz-content-sha256", "", C::InvalidRequest),
        ("x-amz-content-sha256", "abc", C::InvalidArgument),
        (
            "x-amz-content-sha256",
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
            C::NotImplemented,
        ),
        ("x-amz-security-token", "t", C::InvalidToken),
    ] {
        let refused = by_header(&[(header, value)]).expect_err(value);
        assert_eq!(refused.code(), code, "{header}: {value}");
    }
    let region = by_header(&[(
        "authorization",
        &authorization("SRAK/20260101/eu-1/s3/aws4_request", SIGNED),
    )])
    .unwrap_err();
    assert_eq!(region.value_of("Region"), Some(REGION));
    assert_eq!(
        region.message(),
        "The authorization header is malformed; the region 'eu-1' is wrong; expecting 'us-east-1'"
    );
}

#[test]
fn a_clock_may_be_a_quarter_of_an_hour_off() {
    for (date, day, is_fine) in [
        ("20260101T001500Z", "20260101", true),
        ("20260101T001501Z", "20260101", false),
        ("20251231T234500Z", "20251231", true),
        ("20251231T234459Z", "20251231", false),
    ] {
        let credential = format!("SRAKEXAMPLE/{day}/us-east-1/s3/aws4_request");
        let read = by_header(&[
            ("x-amz-date", date),
            ("authorization", &authorization(&credential, SIGNED)),
        ]);
        assert_eq!(read.is_ok(), is_fine, "{date}");
        if let Err(refused) = read {
            assert_eq!(refused.code(), Code::RequestTimeTooSkewed);
            assert_eq!(refused.value_of("RequestTime"), Some(date));
            assert_eq!(refused.value_of("ServerTime"), Some("2026-01-01T00:00:00Z"));
            assert_eq!(
                refused.value_of("MaxAllowedSkewMilliseconds"),
                Some("900000")
            );
        }
    }
}

#[test]
fn a_header_of_meaning_that_nobody_signed_is_refused_in_both_ways() {
    for extra in [
        "x-amz-server-side-encryption-customer-key",
        "x-amz-copy-source",
        "x-amz-tagging",
        "x-amz-meta-a",
    ] {
        for refused in [
            by_header(&[(extra, "x")]).unwrap_err(),
            by_query(&[], &[(extra, "x")], now()).unwrap_err(),
        ] {
            assert_eq!(refused.code(), Code::AccessDenied);
            assert_eq!(
                refused.message(),
                "There were headers present in the request which were not signed"
            );
            assert_eq!(refused.value_of("HeadersNotSigned"), Some(extra));
        }
    }
    let unsigned_host = by_query(&[("X-Amz-SignedHeaders", "x-amz-date")], &[], now()).unwrap_err();
    assert_eq!(unsigned_host.value_of("HeadersNotSigned"), Some("host"));
    let signed = authorization(CREDENTIAL, &format!("{SIGNED};x-amz-meta-a"));
    assert!(by_header(&[("authorization", &signed), ("x-amz-meta-a", "x")]).is_ok());
    let absent = by_header(&[("authorization", &signed)]).unwrap_err();
    assert_eq!(absent.code(), Code::SignatureDoesNotMatch);
}

#[test]
fn every_fault_of_a_presigned_url_has_its_error() {
    use Code as C;
    for (name, value, code) in [
        (
            "X-Amz-Algorithm",
            "AWS4-HMAC-SHA1",
            C::AuthorizationQueryParameters,
        ),
        (
            "X-Amz-Algorithm",
            "AWS4-ECDSA-P256-SHA256",
            C::NotImplemented,
        ),
        ("X-Amz-Algorithm", "", C::AuthorizationQueryParameters),
        ("X-Amz-Credential", "", C::AuthorizationQueryParameters),
        (
            "X-Amz-Credential",
            "SRAK/20260101/eu-1/s3/aws4_request",
            C::AuthorizationQueryParameters,
        ),
        ("X-Amz-Date", "20260101", C::AuthorizationQueryParameters),
        ("X-Amz-Expires", "", C::AuthorizationQueryParameters),
        ("X-Amz-Expires", "soon", C::AuthorizationQueryParameters),
        ("X-Amz-Expires", "-1", C::AuthorizationQueryParameters),
        ("X-Amz-Expires", "604801", C::AuthorizationQueryParameters),
        ("X-Amz-SignedHeaders", "", C::AuthorizationQueryParameters),
        ("X-Amz-Signature", "xyz", C::SignatureDoesNotMatch),
    ] {
        let refused = by_query(&[(name, value)], &[], now()).expect_err(value);
        assert_eq!(refused.code(), code, "{name}={value}");
    }
    assert!(by_query(&[("X-Amz-Expires", "604800")], &[], now()).is_ok());
    let chunked = ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    let signed = ("X-Amz-SignedHeaders", "host;x-amz-content-sha256");
    let refused = by_query(&[signed], &[chunked], now()).unwrap_err();
    assert_eq!(refused.code(), Code::NotImplemented);
}

#[test]
fn a_presigned_url_has_its_time() {
    let late = now() + Duration::from_secs(61);
    let refused = by_query(&[], &[], late).unwrap_err();
    assert_eq!(refused.code(), Code::AccessDenied);
    assert_eq!(refused.message(), "Request has expired");
    assert_eq!(refused.value_of("X-Amz-Expires"), Some("60"));
    assert_eq!(refused.value_of("Expires"), Some("2026-01-01T00:01:00Z"));
    assert_eq!(refused.value_of("ServerTime"), Some("2026-01-01T00:01:01Z"));
    let early = now() - Duration::from_secs(16 * 60);
    let refused = by_query(&[], &[], early).unwrap_err();
    assert_eq!(refused.message(), "Request is not yet valid");
}

#[test]
fn two_mechanisms_at_once_are_refused() {
    let refused = by_query(&[], &[("authorization", "AWS4-HMAC-SHA256 x")], now()).unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    for query in ["AWSAccessKeyId=a&Signature=b&Expires=1", "Signature=b"] {
        let uri: http::Uri = format!("/b/k?{query}").parse().unwrap();
        let query = Query::of(&uri).unwrap();
        let refused = Claim::of(&HeaderMap::new(), &query, REGION, now()).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidRequest);
    }
}

proptest! {
    #[test]
    fn no_header_makes_it_panic(authorization in "\\PC{0,200}", date in "\\PC{0,20}", sha in "\\PC{0,70}") {
        let mut all = HeaderMap::new();
        for (name, value) in [("authorization", authorization), ("x-amz-date", date), ("x-amz-content-sha256", sha)] {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                all.insert(HeaderName::from_static(name), value);
            }
        }
        let _ = Claim::of(&all, &Query::default(), REGION, now());
    }
}
