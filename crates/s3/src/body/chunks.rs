//! The framing `aws-chunked`.
//!
//! ```text
//! chunk    = size [ ";chunk-signature=" 64HEXDIG ] CRLF  data  CRLF
//! body     = *chunk  last-chunk(size 0, no data)  *( trailer-name ":" value CRLF )  [ CRLF ]
//! ```
//!
//! Source: Amazon S3 API Reference, "Signature calculations for the authorization header:
//! transferring payload in multiple chunks", with and without trailing headers.

use aws_lc_rs::digest;
use bytes::{Buf, Bytes};
use strongroom_sigv4::{ChunkChain, Signature};

use super::BodyFault;

/// A line of the framing is a size, a signature, or a short header.
const LINE_LEN_BYTES_MAX: usize = 4096;

/// There are five checksums and a signature.
const TRAILERS_MAX: usize = 16;

/// The trailers of a body: names in lower case.
pub(crate) type Trailers = Vec<(String, String)>;

enum State {
    Size,
    Data {
        left: u64,
        signature: Option<Signature>,
    },
    DataEnd,
    Trailers,
    Ended,
}

/// Takes the framing off a body.
pub(crate) struct ChunkDecoder {
    state: State,
    line: Vec<u8>,
    signatures: Option<ChunkChain>,
    hash: digest::Context,
    trailer_expected: bool,
    trailers: Trailers,
}

impl ChunkDecoder {
    /// A body whose chunks are signed when there is a chain of signatures, and which has trailers
    /// or not.
    pub(crate) fn new(signatures: Option<ChunkChain>, trailer_expected: bool) -> Self {
        Self {
            state: State::Size,
            line: Vec::new(),
            signatures,
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
                    if self.signatures.is_some() {
                        self.hash.update(&piece);
                    }
                    if *left == 0 {
                        let signature = signature.take();
                        self.end_chunk(signature)?;
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
        let signature = match (extension, &self.signatures) {
            (Some(extension), Some(_)) => {
                let signature = extension
                    .strip_prefix("chunk-signature=")
                    .ok_or(BodyFault::Framing)?;
                Some(read_signature(signature)?)
            }
            (None, None) => None,
            (None, Some(_)) => return Err(BodyFault::Signature),
            (Some(_), None) => return Err(BodyFault::Framing),
        };
        self.state = if left == 0 {
            self.end_chunk(signature)?;
            State::Trailers
        } else {
            State::Data { left, signature }
        };
        Ok(())
    }

    fn end_chunk(&mut self, signature: Option<Signature>) -> Result<(), BodyFault> {
        let Some(signatures) = &mut self.signatures else {
            return Ok(());
        };
        let hash = std::mem::replace(&mut self.hash, digest::Context::new(&digest::SHA256));
        let signature = signature.ok_or(BodyFault::Signature)?;
        if signatures.accept_chunk(&hash.finish(), signature) {
            Ok(())
        } else {
            Err(BodyFault::Signature)
        }
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
        if let Some(chain) = &mut self.signatures {
            let [(_, signature)] = signatures.as_slice() else {
                return Err(BodyFault::Signature);
            };
            let canonical: String = trailers
                .iter()
                .map(|(name, value)| format!("{name}:{value}\n"))
                .collect();
            if !chain.accept_trailers(&canonical, read_signature(signature)?) {
                return Err(BodyFault::Signature);
            }
        }
        self.trailers = trailers;
        Ok(())
    }
}

/// A signature that is not even in the form of one is a wrong one.
fn read_signature(text: &str) -> Result<Signature, BodyFault> {
    text.parse().map_err(|_| BodyFault::Signature)
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
