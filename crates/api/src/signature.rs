//! Verifies AWS Signature Version 4 on requests whose body has been read whole.
//!
//! Source: "Create a signed AWS API request", AWS Identity and Access Management user guide.

use aws_lc_rs::{constant_time, digest, hmac};
use data_encoding::HEXLOWER;
use http::{HeaderMap, Method, Uri};
use strongroom_environment::Timestamp;
use time::PrimitiveDateTime;
use time::macros::format_description;

/// How far a client's clock may be from ours, in seconds.
const SKEW_S_MAX: i64 = 15 * 60;

/// Why a request is not who it says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SignatureError {
    /// There is no `Authorization` header of Signature Version 4.
    #[error("the request is not signed")]
    Missing,
    /// The header, or one that it needs, cannot be read.
    #[error("the signature of the request is incomplete: {0}")]
    Incomplete(&'static str),
    /// The credential scope names another date, region or service.
    #[error("the credential is scoped to another date, region or service")]
    Scope,
    /// The request was signed too long ago, or in the future.
    #[error("the request was signed too long ago, or in the future")]
    Expired,
    /// The signature is not the one that the secret access key gives.
    #[error(
        "the signature does not match; check the secret access key and the way it is signed with"
    )]
    Mismatch,
}

/// What an `Authorization` header claims, before it is verified.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    /// The access key id that is claimed.
    pub(crate) access_key_id: &'a str,
    scope: Scope<'a>,
    signed_headers: &'a str,
    signature: Vec<u8>,
    date: &'a str,
}

#[derive(Debug)]
struct Scope<'a> {
    day: &'a str,
    region: &'a str,
    service: &'a str,
}

/// Reads the claim of a request.
///
/// # Errors
/// [`SignatureError::Missing`] when there is none, [`SignatureError::Incomplete`] when a part of
/// it is not there.
pub(crate) fn claim(headers: &HeaderMap) -> Result<Claim<'_>, SignatureError> {
    let authorization = text(headers, "authorization").ok_or(SignatureError::Missing)?;
    let fields = authorization
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .ok_or(SignatureError::Missing)?;
    let field = |name: &str| {
        fields
            .split(',')
            .find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
    };
    let credential = field("Credential").ok_or(SignatureError::Incomplete("no Credential"))?;
    let mut parts = credential.rsplitn(5, '/');
    let (terminator, service, region, day, access_key_id) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    );
    let (Some("aws4_request"), Some(service), Some(region), Some(day), Some(access_key_id)) =
        (terminator, service, region, day, access_key_id)
    else {
        return Err(SignatureError::Incomplete("a Credential of five parts"));
    };
    let signature = field("Signature").ok_or(SignatureError::Incomplete("no Signature"))?;
    Ok(Claim {
        access_key_id,
        scope: Scope {
            day,
            region,
            service,
        },
        signed_headers: field("SignedHeaders")
            .ok_or(SignatureError::Incomplete("no SignedHeaders"))?,
        signature: HEXLOWER
            .decode(signature.as_bytes())
            .map_err(|_| SignatureError::Incomplete("a Signature in hexadecimal"))?,
        date: text(headers, "x-amz-date").ok_or(SignatureError::Incomplete("no X-Amz-Date"))?,
    })
}

/// Which scope a credential must have, and when it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expectation<'a> {
    /// The region of this endpoint.
    pub(crate) region: &'a str,
    /// The service of this endpoint.
    pub(crate) service: &'a str,
    /// The time of the machine.
    pub(crate) now: Timestamp,
}

impl Claim<'_> {
    /// Verifies the claim over a request and its whole body.
    ///
    /// # Errors
    /// [`SignatureError`]: what is not right.
    pub(crate) fn verify(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
        secret_access_key: &str,
        expected: Expectation<'_>,
    ) -> Result<(), SignatureError> {
        if self.scope.service != expected.service
            || self.scope.region != expected.region
            || !self.date.starts_with(self.scope.day)
        {
            return Err(SignatureError::Scope);
        }
        let signed_at = PrimitiveDateTime::parse(
            self.date,
            format_description!("[year][month][day]T[hour][minute][second]Z"),
        )
        .map_err(|_| SignatureError::Incomplete("an X-Amz-Date as YYYYMMDDTHHMMSSZ"))?
        .assume_utc()
        .unix_timestamp();
        if (expected.now.seconds() - signed_at).abs() > SKEW_S_MAX {
            return Err(SignatureError::Expired);
        }
        let names: Vec<&str> = self.signed_headers.split(';').collect();
        // An attacker could move a header that is not signed, so whatever decides how the body is
        // read has to be.
        for name in ["host", "x-amz-date", "x-amz-target"] {
            if headers.contains_key(name) && !names.contains(&name) {
                return Err(SignatureError::Incomplete(
                    "host, x-amz-date and x-amz-target signed",
                ));
            }
        }
        let mut lines = String::new();
        for name in &names {
            let values: Vec<&str> = headers
                .get_all(*name)
                .iter()
                .map(|value| value.to_str().unwrap_or_default().trim())
                .collect();
            if values.is_empty() {
                return Err(SignatureError::Incomplete("a signed header is not there"));
            }
            lines.push_str(name);
            lines.push(':');
            lines.push_str(&values.join(","));
            lines.push('\n');
        }
        let path = if uri.path().is_empty() {
            "/"
        } else {
            uri.path()
        };
        let canonical = format!(
            "{method}\n{path}\n{}\n{lines}\n{}\n{}",
            canonical_query(uri.query().unwrap_or_default()),
            self.signed_headers,
            hex_digest(body)
        );
        let scope = format!(
            "{}/{}/{}/aws4_request",
            self.scope.day, self.scope.region, self.scope.service
        );
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
            self.date,
            hex_digest(canonical.as_bytes())
        );
        let mut key = hmac::sign(
            &hmac::Key::new(
                hmac::HMAC_SHA256,
                zeroize::Zeroizing::new(format!("AWS4{secret_access_key}")).as_bytes(),
            ),
            self.scope.day.as_bytes(),
        );
        for part in [self.scope.region, self.scope.service, "aws4_request"] {
            key = hmac::sign(
                &hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()),
                part.as_bytes(),
            );
        }
        let signature = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()),
            to_sign.as_bytes(),
        );
        constant_time::verify_slices_are_equal(signature.as_ref(), &self.signature)
            .map_err(|_| SignatureError::Mismatch)
    }
}

/// The query with its parameters in order, as the signature wants it. Clients of this endpoint
/// send their parameters encoded already.
fn canonical_query(query: &str) -> String {
    let mut parameters: Vec<String> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| {
            if parameter.contains('=') {
                parameter.to_owned()
            } else {
                format!("{parameter}=")
            }
        })
        .collect();
    parameters.sort_unstable();
    parameters.join("&")
}

fn hex_digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    /// The `get-vanilla` case of the Signature Version 4 test suite that AWS published.
    fn vanilla() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "example.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders=host;x-amz-date, \
                 Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
        ] {
            headers.insert(name, value.parse().expect("a header value"));
        }
        headers
    }

    fn expected() -> Expectation<'static> {
        Expectation {
            region: "us-east-1",
            service: "service",
            now: Timestamp::from_seconds(1_440_938_160),
        }
    }

    fn verify(
        headers: &HeaderMap,
        body: &[u8],
        expected: Expectation<'_>,
    ) -> Result<(), SignatureError> {
        claim(headers)?.verify(
            &Method::GET,
            &Uri::from_static("/"),
            headers,
            body,
            SECRET,
            expected,
        )
    }

    #[test]
    fn the_published_example_verifies() {
        assert_eq!(
            claim(&vanilla()).expect("a claim").access_key_id,
            "AKIDEXAMPLE"
        );
        assert_eq!(verify(&vanilla(), b"", expected()), Ok(()));
    }

    #[test]
    fn any_change_is_refused() {
        assert_eq!(
            verify(&vanilla(), b"x", expected()),
            Err(SignatureError::Mismatch)
        );
        let mut moved = vanilla();
        moved.insert("host", "elsewhere".parse().expect("a header value"));
        assert_eq!(
            verify(&moved, b"", expected()),
            Err(SignatureError::Mismatch)
        );
        let late = Expectation {
            now: Timestamp::from_seconds(1_440_938_160 + 901),
            ..expected()
        };
        assert_eq!(verify(&vanilla(), b"", late), Err(SignatureError::Expired));
        let elsewhere = Expectation {
            region: "eu-west-1",
            ..expected()
        };
        assert_eq!(
            verify(&vanilla(), b"", elsewhere),
            Err(SignatureError::Scope)
        );
        let mut target = vanilla();
        target.insert(
            "x-amz-target",
            "TrentService.Decrypt".parse().expect("a value"),
        );
        assert!(matches!(
            verify(&target, b"", expected()),
            Err(SignatureError::Incomplete(_))
        ));
    }

    #[test]
    fn headers_that_cannot_be_read_are_told_apart_and_never_panic() {
        let mut headers = HeaderMap::new();
        assert_eq!(claim(&headers).err(), Some(SignatureError::Missing));
        for wrong in [
            "AWS4-HMAC-SHA256 ",
            "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=00",
            "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, Signature=00",
            "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host, Signature=zz",
            "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host, Signature=00",
        ] {
            headers.insert("authorization", wrong.parse().expect("a header value"));
            assert!(
                matches!(claim(&headers).err(), Some(SignatureError::Incomplete(_))),
                "{wrong}"
            );
        }
    }
}
