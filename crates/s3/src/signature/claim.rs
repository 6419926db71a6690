//! What a request says of its own signature.

use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST};
use strongroom_environment::Timestamp;
use strongroom_sigv4::{
    ALGORITHM, AmzDate, ChunkChain, CredentialScope, PathEncoding, Signature, SignedHead,
    SigningKey, authorization_parts,
};

use super::Head;
use crate::address::Query;
use crate::dates::iso_seconds;
use crate::headers::one;
use crate::refusal::{Code, Outcome, Refusal};

/// How far the clocks of client and server may differ.
const SKEW_MAX: Duration = Duration::from_secs(15 * 60);

/// How long a presigned URL may be valid.
const EXPIRES_SECONDS_MAX: i64 = 7 * 24 * 60 * 60;

/// What is signed where nothing is said of the body.
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// What the signature says of the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Payload {
    /// Nothing: `UNSIGNED-PAYLOAD`, and every presigned URL.
    Unsigned,
    /// Its SHA-256.
    Sha256([u8; 32]),
    /// It comes in chunks, each signed.
    SignedChunks {
        /// Whether signed trailers follow.
        trailer: bool,
    },
    /// It comes in chunks without signatures, and trailers follow.
    UnsignedChunks,
}

impl Payload {
    /// Whether the body is framed as `aws-chunked`.
    pub(crate) const fn is_chunked(self) -> bool {
        matches!(self, Self::SignedChunks { .. } | Self::UnsignedChunks)
    }
}

/// What a request says of its own signature; nothing of it is proven yet.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// Who is said to have signed; the rest of it is ours.
    pub(crate) scope: CredentialScope,
    /// When it was signed.
    date: AmzDate,
    /// The signature.
    pub(crate) signature: Signature,
    /// What the signature says of the body.
    pub(crate) payload: Payload,
    /// What stands for the body in what is signed, as it was sent.
    payload_signed: String,
    /// The names of the headers that are signed, in lower case.
    signed_headers: Vec<String>,
}

impl Claim {
    /// Reads the claim of a request, and checks all that needs no secret.
    pub(crate) fn of(
        headers: &HeaderMap,
        query: &Query,
        region: &str,
        now: Timestamp,
    ) -> Outcome<Self> {
        refuse_other_mechanisms(headers, query)?;
        let claim = if query.has("X-Amz-Algorithm") || query.has("X-Amz-Signature") {
            Self::of_query(headers, query, region, now)?
        } else {
            Self::of_header(headers, region, now)?
        };
        if headers.contains_key("x-amz-security-token") || query.has("X-Amz-Security-Token") {
            return Err(Code::InvalidToken.into());
        }
        claim.check_signed_headers(headers)?;
        Ok(claim)
    }

    fn of_header(headers: &HeaderMap, region: &str, now: Timestamp) -> Outcome<Self> {
        let Some(text) = one(headers, AUTHORIZATION.as_str())? else {
            return Err(Code::AccessDenied.into());
        };
        let parameters = match text.split_once(' ') {
            Some((ALGORITHM, parameters)) => parameters,
            Some(("AWS4-ECDSA-P256-SHA256", _)) => {
                return Err(Refusal::with_message(
                    Code::NotImplemented,
                    "The signing method AWS4-ECDSA-P256-SHA256 is not implemented",
                ));
            }
            _ => {
                return Err(Refusal::argument(
                    "Unsupported Authorization Type",
                    "Authorization",
                    text.split(' ').next().unwrap_or_default(),
                ));
            }
        };
        let parts = authorization_parts(parameters).ok_or_else(|| {
            header_malformed(
                "the authorization header requires three components: Credential, SignedHeaders, and Signature.",
            )
        })?;
        let date = one(headers, "x-amz-date")?
            .and_then(AmzDate::parse)
            .ok_or_else(|| {
                Refusal::with_message(
                    Code::AccessDenied,
                    "AWS authentication requires a valid Date or x-amz-date header",
                )
            })?;
        let scope = scope_of(parts.credential, &date, region).map_err(|fault| match fault {
            ScopeFault::Region(message) => {
                header_malformed(&message).field("Region", region.to_owned())
            }
            ScopeFault::Other(message) => header_malformed(&message),
        })?;
        let skew = now.since(date.moment()).max(date.moment().since(now));
        if skew > SKEW_MAX {
            return Err(Refusal::new(Code::RequestTimeTooSkewed)
                .field("RequestTime", date.as_str())
                .field("ServerTime", iso_seconds(now))
                .field(
                    "MaxAllowedSkewMilliseconds",
                    SKEW_MAX.as_millis().to_string(),
                ));
        }
        let payload_signed = one(headers, "x-amz-content-sha256")?.ok_or_else(|| {
            Refusal::with_message(
                Code::InvalidRequest,
                "Missing required header for this request: x-amz-content-sha256",
            )
        })?;
        Ok(Self {
            scope,
            date,
            signature: signature(parts.signature)?,
            payload: payload(payload_signed)?,
            payload_signed: payload_signed.to_owned(),
            signed_headers: names(parts.signed_headers),
        })
    }

    fn of_query(headers: &HeaderMap, query: &Query, region: &str, now: Timestamp) -> Outcome<Self> {
        let parameter = |name| {
            query
                .get(name)?
                .ok_or_else(|| Refusal::new(Code::AuthorizationQueryParameters))
        };
        match parameter("X-Amz-Algorithm")? {
            ALGORITHM => {}
            "AWS4-ECDSA-P256-SHA256" => {
                return Err(Refusal::with_message(
                    Code::NotImplemented,
                    "The signing method AWS4-ECDSA-P256-SHA256 is not implemented",
                ));
            }
            _ => {
                return Err(query_fault(
                    "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"",
                ));
            }
        }
        let date = AmzDate::parse(parameter("X-Amz-Date")?).ok_or_else(|| {
            query_fault("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
        })?;
        let scope = scope_of(parameter("X-Amz-Credential")?, &date, region).map_err(|fault| {
            let error = |message| {
                query_fault(&format!(
                    "Error parsing the X-Amz-Credential parameter; {message}"
                ))
            };
            match fault {
                ScopeFault::Region(message) => error(message).field("Region", region.to_owned()),
                ScopeFault::Other(message) => error(message),
            }
        })?;
        let expires: i64 = parameter("X-Amz-Expires")?
            .parse()
            .map_err(|_| query_fault("X-Amz-Expires should be a number"))?;
        let span = u64::try_from(expires)
            .map(Duration::from_secs)
            .map_err(|_| query_fault("X-Amz-Expires must be non-negative"))?;
        if expires > EXPIRES_SECONDS_MAX {
            return Err(query_fault(
                "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
            ));
        }
        if date.moment().since(now) > SKEW_MAX {
            return Err(
                Refusal::with_message(Code::AccessDenied, "Request is not yet valid")
                    .field("ServerTime", iso_seconds(now)),
            );
        }
        let end = date.moment() + span;
        if now > end {
            return Err(
                Refusal::with_message(Code::AccessDenied, "Request has expired")
                    .field("X-Amz-Expires", expires.to_string())
                    .field("Expires", iso_seconds(end))
                    .field("ServerTime", iso_seconds(now)),
            );
        }
        let payload_signed = one(headers, "x-amz-content-sha256")?.unwrap_or(UNSIGNED_PAYLOAD);
        let payload = payload(payload_signed)?;
        if payload.is_chunked() {
            return Err(Refusal::with_message(
                Code::NotImplemented,
                "A presigned URL with a body in chunks is not implemented",
            ));
        }
        Ok(Self {
            scope,
            date,
            signature: signature(parameter("X-Amz-Signature")?)?,
            payload,
            payload_signed: payload_signed.to_owned(),
            signed_headers: names(parameter("X-Amz-SignedHeaders")?),
        })
    }

    /// Whether this is the signature that the secret access key makes over the head.
    pub(crate) fn is_by(&self, secret_access_key: &str, head: &Head) -> bool {
        let signed = SignedHead {
            method: &head.method,
            path: head.uri.path(),
            path_encoding: PathEncoding::Once,
            query: head.uri.query().unwrap_or_default(),
            headers: &head.headers,
            host: head.host(),
            signed_headers: &self.signed_headers,
            payload: &self.payload_signed,
        };
        SigningKey::derive(secret_access_key, &self.scope).sign_head(&self.date, &signed)
            == self.signature
    }

    /// The chain of signatures over a body in chunks, which begins with this one.
    pub(crate) fn chunk_chain(&self, secret_access_key: &str) -> ChunkChain {
        ChunkChain::new(
            SigningKey::derive(secret_access_key, &self.scope),
            self.date.clone(),
            self.signature,
        )
    }

    /// Refuses a request with a header of meaning that nobody signed: whoever holds a presigned
    /// URL, or stands in the middle, could have added it.
    fn check_signed_headers(&self, headers: &HeaderMap) -> Outcome<()> {
        let is_signed = |name: &str| self.signed_headers.iter().any(|signed| signed == name);
        let mut unsigned: Vec<&str> = headers
            .keys()
            .map(http::HeaderName::as_str)
            .filter(|name| name.starts_with("x-amz-") && !is_signed(name))
            .collect();
        if !is_signed(HOST.as_str()) {
            unsigned.push(HOST.as_str());
        }
        if !unsigned.is_empty() {
            unsigned.sort_unstable();
            return Err(Refusal::with_message(
                Code::AccessDenied,
                "There were headers present in the request which were not signed",
            )
            .field("HeadersNotSigned", unsigned.join(", ")));
        }
        for name in &self.signed_headers {
            // HTTP/2 carries the host as a pseudo-header, which is put back before it is verified.
            if name == HOST.as_str() {
                continue;
            }
            let mut values = headers.get_all(name.as_str()).iter();
            let readable = values
                .next()
                .is_some_and(|value| std::str::from_utf8(value.as_bytes()).is_ok());
            if !readable || values.next().is_some() {
                return Err(Code::SignatureDoesNotMatch.into());
            }
        }
        Ok(())
    }
}

fn refuse_other_mechanisms(headers: &HeaderMap, query: &Query) -> Outcome<()> {
    let in_query = query.has("X-Amz-Algorithm") || query.has("X-Amz-Signature");
    // A verifier that knows both mechanisms could take the weaker one where both are given.
    let in_query_v2 = query.has("Signature") || query.has("AWSAccessKeyId");
    if headers.contains_key(AUTHORIZATION) && (in_query || in_query_v2) {
        return Err(Refusal::argument(
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified",
            "Authorization",
            "null",
        ));
    }
    let in_header_v2 = headers
        .get(AUTHORIZATION)
        .is_some_and(|value| value.as_bytes().starts_with(b"AWS "));
    if in_header_v2 || in_query_v2 {
        return Err(Refusal::with_message(
            Code::InvalidRequest,
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ));
    }
    Ok(())
}

enum ScopeFault {
    Region(String),
    Other(String),
}

/// Reads the scope of a credential, which must be this endpoint's and of the day of the request.
fn scope_of(credential: &str, date: &AmzDate, region: &str) -> Result<CredentialScope, ScopeFault> {
    let scope = CredentialScope::parse(credential).ok_or_else(|| {
        ScopeFault::Other(format!(
            "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\", got \"{credential}\"."
        ))
    })?;
    if !scope.is_terminated() {
        return Err(ScopeFault::Other(format!(
            "incorrect terminal \"{}\". This endpoint uses \"aws4_request\".",
            scope.terminator
        )));
    }
    if scope.service != "s3" {
        return Err(ScopeFault::Other(format!(
            "incorrect service \"{}\". This endpoint belongs to \"s3\".",
            scope.service
        )));
    }
    if scope.region != region {
        return Err(ScopeFault::Region(format!(
            "the region '{}' is wrong; expecting '{region}'",
            scope.region
        )));
    }
    if scope.day != date.day() {
        return Err(ScopeFault::Other(format!(
            "Invalid credential date \"{}\". This date is not the same as X-Amz-Date: \"{}\".",
            scope.day,
            date.day()
        )));
    }
    Ok(scope)
}

fn payload(value: &str) -> Outcome<Payload> {
    match value {
        UNSIGNED_PAYLOAD => Ok(Payload::Unsigned),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Payload::UnsignedChunks),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(Payload::SignedChunks { trailer: false }),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(Payload::SignedChunks { trailer: true }),
        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
        | "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER" => Err(Refusal::with_message(
            Code::NotImplemented,
            "The signing method AWS4-ECDSA-P256-SHA256 is not implemented",
        )),
        _ => data_encoding::HEXLOWER
            .decode(value.as_bytes())
            .ok()
            .and_then(|digest| digest.try_into().ok())
            .map(Payload::Sha256)
            .ok_or_else(|| {
                Refusal::argument(
                    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
                    "x-amz-content-sha256",
                    value,
                )
            }),
    }
}

/// A signature that is not even in the form of one matches nothing.
fn signature(text: &str) -> Outcome<Signature> {
    text.parse().map_err(|_| Code::SignatureDoesNotMatch.into())
}

fn names(signed_headers: &str) -> Vec<String> {
    signed_headers.split(';').map(str::to_owned).collect()
}

fn header_malformed(message: &str) -> Refusal {
    Refusal::with_message(
        Code::AuthorizationHeaderMalformed,
        format!("The authorization header is malformed; {message}"),
    )
}

fn query_fault(message: &str) -> Refusal {
    Refusal::with_message(Code::AuthorizationQueryParameters, message.to_owned())
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
