//! The canonical request: what a signature covers, in the one form that both sides agree on.

use aws_lc_rs::digest::{Context, Digest, SHA256};
use http::header::HOST;
use http::{HeaderMap, Method};

/// How often the path is encoded in the canonical request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathEncoding {
    /// Once: Amazon S3.
    Once,
    /// Twice, as it was sent and once more: every other service.
    Twice,
}

/// What a signature covers of a request.
#[derive(Clone, Copy, Debug)]
pub struct SignedHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path as it was sent, percent-encoded.
    pub path: &'a str,
    /// How often the path is encoded.
    pub path_encoding: PathEncoding,
    /// The query as it was sent, without the question mark.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The host, where it does not stand among the headers (HTTP/2 has it apart).
    pub host: Option<&'a str>,
    /// The names of the signed headers in lower case, in the order in which they were signed.
    /// One that is not there counts as empty.
    pub signed_headers: &'a [String],
    /// What stands for the body: its SHA-256 in hexadecimal, or a word of the protocol.
    pub payload: &'a str,
}

impl SignedHead<'_> {
    /// The SHA-256 of the canonical request.
    pub(crate) fn digest(&self) -> Digest {
        let mut hash = Context::new(&SHA256);
        hash.update(self.method.as_str().as_bytes());
        hash.update(b"\n");
        self.hash_path(&mut hash);
        hash.update(b"\n");
        hash.update(canonical_query(self.query).as_bytes());
        hash.update(b"\n");
        for name in self.signed_headers {
            hash.update(name.as_bytes());
            hash.update(b":");
            self.hash_values(&mut hash, name);
            hash.update(b"\n");
        }
        hash.update(b"\n");
        for (number, name) in self.signed_headers.iter().enumerate() {
            if number > 0 {
                hash.update(b";");
            }
            hash.update(name.as_bytes());
        }
        hash.update(b"\n");
        hash.update(self.payload.as_bytes());
        hash.finish()
    }

    fn hash_path(&self, hash: &mut Context) {
        if self.path.is_empty() {
            hash.update(b"/");
            return;
        }
        let mut encoded = String::with_capacity(self.path.len());
        match self.path_encoding {
            PathEncoding::Once => push_encoded(&mut encoded, &decode(self.path), true),
            PathEncoding::Twice => push_encoded(&mut encoded, self.path.as_bytes(), true),
        }
        hash.update(encoded.as_bytes());
    }

    fn hash_values(&self, hash: &mut Context, name: &str) {
        let mut values = self.headers.get_all(name).iter().peekable();
        if values.peek().is_none() && name == HOST.as_str() {
            hash_trimmed(hash, self.host.unwrap_or_default().as_bytes());
        }
        for (number, value) in values.enumerate() {
            if number > 0 {
                hash.update(b",");
            }
            hash_trimmed(hash, value.as_bytes());
        }
    }
}

/// A value without white space around it, and with one space where there is any within.
fn hash_trimmed(hash: &mut Context, value: &[u8]) {
    let words = value
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    for (number, word) in words.enumerate() {
        if number > 0 {
            hash.update(b" ");
        }
        hash.update(word);
    }
}

/// The parameters encoded once and in order, without the signature itself.
fn canonical_query(query: &str) -> String {
    let mut parameters: Vec<(String, String)> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .filter(|(name, _)| *name != "X-Amz-Signature")
        .map(|(name, value)| (encoded_again(name), encoded_again(value)))
        .collect();
    parameters.sort_unstable();
    let mut canonical = String::with_capacity(query.len());
    for (name, value) in &parameters {
        if !canonical.is_empty() {
            canonical.push('&');
        }
        canonical.push_str(name);
        canonical.push('=');
        canonical.push_str(value);
    }
    canonical
}

/// A name or a value of a query, in the one encoding that the signature knows.
fn encoded_again(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    let plus_is_space = text.replace('+', " ");
    push_encoded(&mut encoded, &decode(&plus_is_space), false);
    encoded
}

/// Percent-decoded bytes (RFC 3986). A percent sign that begins no code stands for itself.
fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = bytes
            .get(at + 1..at + 3)
            .filter(|_| *byte == b'%')
            .and_then(|digits| data_encoding::HEXLOWER_PERMISSIVE.decode(digits).ok());
        match code {
            Some(code) => {
                decoded.extend(code);
                at += 3;
            }
            None => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded
}

/// Encodes every byte but the unreserved ones of RFC 3986, and slashes where they are kept.
fn push_encoded(text: &mut String, bytes: &[u8], keep_slash: bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(*byte));
            }
            b'/' if keep_slash => text.push('/'),
            _ => {
                text.push('%');
                text.push(char::from(DIGITS[usize::from(byte >> 4)]));
                text.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
}

#[cfg(test)]
#[path = "canonical_tests.rs"]
mod tests;
