//! Verifies AWS Signature Version 4 on requests whose body has been read whole.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use http::{HeaderMap, Method, Uri};
use strongroom_environment::Timestamp;
use strongroom_sigv4::{
    ALGORITHM, AmzDate, CredentialScope, PathEncoding, Signature, SignedHead, SigningKey,
    authorization_parts,
};

/// How far a client's clock may be from ours.
const SKEW_MAX: Duration = Duration::from_secs(15 * 60);

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
pub(crate) struct Claim {
    /// Who is said to have signed, and for what.
    pub(crate) scope: CredentialScope,
    signed_headers: Vec<String>,
    signature: Signature,
    date: AmzDate,
}

/// Reads the claim of a request.
///
/// # Errors
/// [`SignatureError::Missing`] when there is none, [`SignatureError::Incomplete`] when a part of
/// it is not there.
pub(crate) fn claim(headers: &HeaderMap) -> Result<Claim, SignatureError> {
    let parameters = text(headers, "authorization")
        .and_then(|authorization| authorization.split_once(' '))
        .filter(|(algorithm, _)| *algorithm == ALGORITHM)
        .map(|(_, parameters)| parameters)
        .ok_or(SignatureError::Missing)?;
    let parts = authorization_parts(parameters).ok_or(SignatureError::Incomplete(
        "the header has Credential, SignedHeaders and Signature, in this order",
    ))?;
    Ok(Claim {
        scope: CredentialScope::parse(parts.credential)
            .filter(CredentialScope::is_terminated)
            .ok_or(SignatureError::Incomplete("a Credential of five parts"))?,
        signed_headers: parts.signed_headers.split(';').map(str::to_owned).collect(),
        signature: parts
            .signature
            .parse()
            .map_err(|_| SignatureError::Incomplete("a Signature in hexadecimal"))?,
        date: text(headers, "x-amz-date").and_then(AmzDate::parse).ok_or(
            SignatureError::Incomplete("an X-Amz-Date as YYYYMMDDTHHMMSSZ"),
        )?,
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

impl Claim {
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
            || self.scope.day != self.date.day()
        {
            return Err(SignatureError::Scope);
        }
        let signed_at = self.date.moment();
        if expected
            .now
            .since(signed_at)
            .max(signed_at.since(expected.now))
            > SKEW_MAX
        {
            return Err(SignatureError::Expired);
        }
        // An attacker could move a header that is not signed, so whatever decides how the body is
        // read has to be.
        for name in ["host", "x-amz-date", "x-amz-target"] {
            if headers.contains_key(name)
                && !self.signed_headers.iter().any(|signed| signed == name)
            {
                return Err(SignatureError::Incomplete(
                    "host, x-amz-date and x-amz-target signed",
                ));
            }
        }
        if self
            .signed_headers
            .iter()
            .any(|name| !headers.contains_key(name))
        {
            return Err(SignatureError::Incomplete("a signed header is not there"));
        }
        let head = SignedHead {
            method,
            path: uri.path(),
            path_encoding: PathEncoding::Twice,
            query: uri.query().unwrap_or_default(),
            headers,
            host: None,
            signed_headers: &self.signed_headers,
            payload: &HEXLOWER.encode(digest(&SHA256, body).as_ref()),
        };
        let made = SigningKey::derive(secret_access_key, &self.scope).sign_head(&self.date, &head);
        if made == self.signature {
            Ok(())
        } else {
            Err(SignatureError::Mismatch)
        }
    }
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
            claim(&vanilla()).expect("a claim").scope.access_key_id,
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
