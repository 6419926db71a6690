//! What a request says of its own signature.

use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST};
use strongroom_environment::Timestamp;

use super::time::{AmzDate, iso_seconds};
use crate::address::Query;
use crate::headers::one;
use crate::refusal::{Code, Outcome, Refusal};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How far the clocks of client and server may differ.
const SKEW_MAX: Duration = Duration::from_secs(15 * 60);

/// How long a presigned URL may be valid.
const EXPIRES_SECONDS_MAX: i64 = 7 * 24 * 60 * 60;

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
    /// The access key it names.
    pub(crate) access_key_id: String,
    /// The region of its scope, which is ours.
    pub(crate) region: String,
    /// When it was signed.
    pub(crate) date: AmzDate,
    /// The signature, in hexadecimal.
    pub(crate) signature: String,
    /// What the signature says of the body.
    pub(crate) payload: Payload,
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
        let [credential, signed_headers, signature] = components(parameters).ok_or_else(|| {
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
        let scope = Scope::parse(credential)
            .and_then(|scope| scope.check(&date, region))
            .map_err(|fault| match fault {
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
        let payload = match one(headers, "x-amz-content-sha256")? {
            Some(value) => payload(value)?,
            None => {
                return Err(Refusal::with_message(
                    Code::InvalidRequest,
                    "Missing required header for this request: x-amz-content-sha256",
                ));
            }
        };
        Ok(Self {
            access_key_id: scope.access_key_id,
            region: region.to_owned(),
            date,
            signature: hexadecimal(signature).ok_or(Code::SignatureDoesNotMatch)?,
            payload,
            signed_headers: signed_headers.split(';').map(str::to_owned).collect(),
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
        let scope = Scope::parse(parameter("X-Amz-Credential")?)
            .and_then(|scope| scope.check(&date, region))
            .map_err(|fault| {
                let error = |message| {
                    query_fault(&format!(
                        "Error parsing the X-Amz-Credential parameter; {message}"
                    ))
                };
                match fault {
                    ScopeFault::Region(message) => {
                        error(message).field("Region", region.to_owned())
                    }
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
        let payload = match one(headers, "x-amz-content-sha256")? {
            None => Payload::Unsigned,
            Some(value) => match payload(value)? {
                chunked if chunked.is_chunked() => {
                    return Err(Refusal::with_message(
                        Code::NotImplemented,
                        "A presigned URL with a body in chunks is not implemented",
                    ));
                }
                payload => payload,
            },
        };
        let signed_headers = parameter("X-Amz-SignedHeaders")?;
        Ok(Self {
            access_key_id: scope.access_key_id,
            region: region.to_owned(),
            date,
            signature: hexadecimal(parameter("X-Amz-Signature")?)
                .ok_or(Code::SignatureDoesNotMatch)?,
            payload,
            signed_headers: signed_headers.split(';').map(str::to_owned).collect(),
        })
    }

    /// The scope of the signature: day, region, service, terminal.
    pub(crate) fn scope(&self) -> String {
        format!("{}/{}/s3/aws4_request", self.date.day(), self.region)
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

/// The three components, each of them once and in the order every client writes them: what is
/// checked here and what the signature is verified with must not differ.
fn components(parameters: &str) -> Option<[&str; 3]> {
    let mut parts = parameters.split(',').map(str::trim);
    let components = [
        parts.next()?.strip_prefix("Credential=")?,
        parts.next()?.strip_prefix("SignedHeaders=")?,
        parts.next()?.strip_prefix("Signature=")?,
    ];
    parts.next().is_none().then_some(components)
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

struct Scope {
    access_key_id: String,
    day: String,
    region: String,
    service: String,
    terminal: String,
}

enum ScopeFault {
    Region(String),
    Other(String),
}

impl Scope {
    fn parse(credential: &str) -> Result<Self, ScopeFault> {
        let malformed = || {
            ScopeFault::Other(format!(
                "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\", got \"{credential}\"."
            ))
        };
        // An access key id could hold a slash, the rest cannot.
        let mut parts = credential.rsplitn(5, '/').map(str::to_owned);
        let mut part = || parts.next().ok_or_else(malformed);
        let scope = Self {
            terminal: part()?,
            service: part()?,
            region: part()?,
            day: part()?,
            access_key_id: part()?,
        };
        if scope.access_key_id.is_empty() {
            return Err(malformed());
        }
        Ok(scope)
    }

    fn check(self, date: &AmzDate, region: &str) -> Result<Self, ScopeFault> {
        if self.terminal != "aws4_request" {
            return Err(ScopeFault::Other(format!(
                "incorrect terminal \"{}\". This endpoint uses \"aws4_request\".",
                self.terminal
            )));
        }
        if self.service != "s3" {
            return Err(ScopeFault::Other(format!(
                "incorrect service \"{}\". This endpoint belongs to \"s3\".",
                self.service
            )));
        }
        if self.region != region {
            return Err(ScopeFault::Region(format!(
                "the region '{}' is wrong; expecting '{region}'",
                self.region
            )));
        }
        if self.day != date.day() {
            return Err(ScopeFault::Other(format!(
                "Invalid credential date \"{}\". This date is not the same as X-Amz-Date: \"{}\".",
                self.day,
                date.day()
            )));
        }
        Ok(self)
    }
}

fn payload(value: &str) -> Outcome<Payload> {
    match value {
        "UNSIGNED-PAYLOAD" => Ok(Payload::Unsigned),
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

fn hexadecimal(signature: &str) -> Option<String> {
    let is_digest = signature.len() == 64
        && signature
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_digest.then(|| signature.to_owned())
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
