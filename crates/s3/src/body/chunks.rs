//! The framing `aws-chunked`.
//!
//! ```text
//! chunk    = size [ ";chunk-signature=" 64HEXDIG ] CRLF  data  CRLF
//! body     = *chunk  last-chunk(size 0, no data)  *( trailer-name ":" value CRLF )  [ CRLF ]
//! ```
//!
//! Source: Amazon S3 API Reference, "Signature calculations for the authorization header:
//! transferring payload in multiple chunks", with and without trailing headers.

use aws_lc_rs::{digest, hmac};
use bytes::{Buf, Bytes};
use data_encoding::HEXLOWER;
use subtle::ConstantTimeEq;

use super::BodyFault;

/// A line of the framing is a size, a signature, or a short header.
const LINE_LEN_BYTES_MAX: usize = 4096;

/// There are five checksums and a signature.
const TRAILERS_MAX: usize = 16;

/// Checks the chain of signatures of a body in chunks.
pub(crate) struct ChunkSigner {
    key: hmac::Key,
    date: String,
    scope: String,
    previous: String,
}

impl ChunkSigner {
    /// Begins with the signature of the request.
    pub(crate) fn new(secret: &str, date: &str, scope: &str, seed_signature: &str) -> Self {
        Self {
            key: signing_key(secret, scope),
            date: date.to_owned(),
            scope: scope.to_owned(),
            previous: seed_signature.to_owned(),
        }
    }

    fn sign(&self, algorithm: &str, hashes: &[&[u8]]) -> String {
        let mut text = format!(
            "{algorithm}\n{}\n{}\n{}",
            self.date, self.scope, self.previous
        );
        for hash in hashes {
            text.push('\n');
            text.push_str(&HEXLOWER.encode(hash));
        }
        HEXLOWER.encode(hmac::sign(&self.key, text.as_bytes()).as_ref())
    }

    fn check_chunk(&mut self, hash: &[u8], signature: &str) -> Result<(), BodyFault> {
        let nothing = digest::digest(&digest::SHA256, b"");
        let expected = self.sign("AWS4-HMAC-SHA256-PAYLOAD", &[nothing.as_ref(), hash]);
        self.accept(expected, signature)
    }

    fn check_trailer(&mut self, canonical: &str, signature: &str) -> Result<(), BodyFault> {
        let hash = digest::digest(&digest::SHA256, canonical.as_bytes());
        let expected = self.sign("AWS4-HMAC-SHA256-TRAILER", &[hash.as_ref()]);
        self.accept(expected, signature)
    }

    fn accept(&mut self, expected: String, signature: &str) -> Result<(), BodyFault> {
        if bool::from(expected.as_bytes().ct_eq(signature.as_bytes())) {
            self.previous = expected;
            Ok(())
        } else {
            Err(BodyFault::Signature)
        }
    }
}

fn signing_key(secret: &str, scope: &str) -> hmac::Key {
    let first = zeroize::Zeroizing::new(format!("AWS4{secret}").into_bytes());
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, &first);
    for part in scope.split('/') {
        let tag = hmac::sign(&key, part.as_bytes());
        key = hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref());
    }
    key
}

/// The trailers of a body: names in lower case.
pub(crate) type Trailers = Vec<(String, String)>;

enum State {
    Size,
    Data {
        left: u64,
        signature: Option<String>,
    },
    DataEnd,
    Trailers,
    Ended,
}

/// Takes the framing off a body.
pub(crate) struct ChunkDecoder {
    state: State,
    line: Vec<u8>,
    signer: Option<ChunkSigner>,
    hash: digest::Context,
    trailer_expected: bool,
    trailers: Trailers,
}

impl ChunkDecoder {
    /// A body whose chunks are signed when there is a signer, and which has trailers or not.
    pub(crate) fn new(signer: Option<ChunkSigner>, trailer_expected: bool) -> Self {
        Self {
            state: State::Size,
            line: Vec::new(),
            signer,
            hash: digest::Context::new(&digest::SHA256),
            trailer_expected,
            trailers: Vec::new(),
        }
    }

    /// Takes from `input`, and gives the next piece of the content; `None` when `input` is used up.
    pub(crate) fn take(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, BodyFault> {
        while !input.is_empty() {
            match &mut self.state {
                State::Size => {
                    if let Some(line) = self.take_line(input)? {
                        self.begin_chunk(&line)?;
                    }
                }
                State::Data { left, signature } => {
                    let here = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(input.len());
                    let piece = input.split_to(here);
                    *left -= here as u64;
                    if self.signer.is_some() {
                        self.hash.update(&piece);
                    }
                    if *left == 0 {
                        let signature = signature.take();
                        self.end_chunk(signature.as_deref())?;
                        self.state = State::DataEnd;
                    }
                    return Ok(Some(piece));
                }
                State::DataEnd => {
                    if let Some(line) = self.take_line(input)? {
                        if !line.is_empty() {
                            return Err(BodyFault::Framing);
                        }
                        self.state = State::Size;
                    }
                }
                State::Trailers => {
                    if let Some(line) = self.take_line(input)? {
                        if line.is_empty() {
                            self.end_trailers()?;
                        } else {
                            self.add_trailer(&line)?;
                        }
                    }
                }
                State::Ended => return Err(BodyFault::Framing),
            }
        }
        Ok(None)
    }

    /// Says that the input has ended, and gives the trailers.
    pub(crate) fn end(mut self) -> Result<Trailers, BodyFault> {
        match self.state {
            // Some clients leave out the last line end, and with it the empty line.
            State::Trailers => {
                if !self.line.is_empty() {
                    let line = text_of(std::mem::take(&mut self.line))?;
                    self.add_trailer(&line)?;
                }
                self.end_trailers()?;
                Ok(self.trailers)
            }
            State::Ended => Ok(self.trailers),
            State::Size | State::Data { .. } | State::DataEnd => Err(BodyFault::Incomplete),
        }
    }

    fn take_line(&mut self, input: &mut Bytes) -> Result<Option<String>, BodyFault> {
        let end = input.iter().position(|byte| *byte == b'\n');
        let here = end.unwrap_or(input.len());
        if self.line.len() + here > LINE_LEN_BYTES_MAX {
            return Err(BodyFault::Framing);
        }
        self.line.extend_from_slice(&input[..here]);
        match end {
            None => {
                input.clear();
                Ok(None)
            }
            Some(_) => {
                input.advance(here + 1);
                text_of(std::mem::take(&mut self.line)).map(Some)
            }
        }
    }

    fn begin_chunk(&mut self, line: &str) -> Result<(), BodyFault> {
        let (size, extension) = match line.split_once(';') {
            Some((size, extension)) => (size, Some(extension)),
            None => (line, None),
        };
        let size_is_plain =
            (1..=16).contains(&size.len()) && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let left = u64::from_str_radix(size, 16)
            .ok()
            .filter(|_| size_is_plain)
            .ok_or(BodyFault::Framing)?;
        let signature = match (extension, &self.signer) {
            (Some(extension), Some(_)) => Some(
                extension
                    .strip_prefix("chunk-signature=")
                    .ok_or(BodyFault::Framing)?
                    .to_owned(),
            ),
            (None, None) => None,
            (None, Some(_)) => return Err(BodyFault::Signature),
            (Some(_), None) => return Err(BodyFault::Framing),
        };
        self.state = if left == 0 {
            self.end_chunk(signature.as_deref())?;
            State::Trailers
        } else {
            State::Data { left, signature }
        };
        Ok(())
    }

    fn end_chunk(&mut self, signature: Option<&str>) -> Result<(), BodyFault> {
        if let Some(signer) = &mut self.signer {
            let hash = std::mem::replace(&mut self.hash, digest::Context::new(&digest::SHA256));
            let signature = signature.ok_or(BodyFault::Signature)?;
            signer.check_chunk(hash.finish().as_ref(), signature)?;
        }
        Ok(())
    }

    fn add_trailer(&mut self, line: &str) -> Result<(), BodyFault> {
        let (name, value) = line.split_once(':').ok_or(BodyFault::Trailer)?;
        if self.trailers.len() == TRAILERS_MAX || !self.trailer_expected {
            return Err(BodyFault::Trailer);
        }
        self.trailers
            .push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        Ok(())
    }

    fn end_trailers(&mut self) -> Result<(), BodyFault> {
        self.state = State::Ended;
        if !self.trailer_expected {
            return Ok(());
        }
        let (signatures, mut trailers): (Trailers, Trailers) = std::mem::take(&mut self.trailers)
            .into_iter()
            .partition(|(name, _)| name == "x-amz-trailer-signature");
        trailers.sort();
        if let Some(signer) = &mut self.signer {
            let [(_, signature)] = signatures.as_slice() else {
                return Err(BodyFault::Signature);
            };
            let canonical: String = trailers
                .iter()
                .map(|(name, value)| format!("{name}:{value}\n"))
                .collect();
            signer.check_trailer(&canonical, signature)?;
        }
        self.trailers = trailers;
        Ok(())
    }
}

fn text_of(mut line: Vec<u8>) -> Result<String, BodyFault> {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| BodyFault::Framing)
}

#[cfg(test)]
#[path = "chunks_tests.rs"]
mod tests;
