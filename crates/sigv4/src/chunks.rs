//! Bodies in signed chunks: each signature covers the one before it.
//!
//! Source: "Signature Calculations for the Authorization Header: Transferring Payload in Multiple
//! Chunks", Amazon S3 API Reference, and the same with trailing headers.

use aws_lc_rs::digest::{Digest, SHA256, digest};

use crate::date::AmzDate;
use crate::key::{Signature, SigningKey};

/// The chain of signatures over a body in chunks. It begins with the signature of the head.
#[derive(Clone, Debug)]
pub struct ChunkChain {
    key: SigningKey,
    date: AmzDate,
    last: Signature,
}

impl ChunkChain {
    /// The chain that begins with the signature of a head.
    #[must_use]
    pub const fn new(key: SigningKey, date: AmzDate, head: Signature) -> Self {
        Self {
            key,
            date,
            last: head,
        }
    }

    /// Whether `signature` is that of the next chunk, whose SHA-256 is given; the chain goes on
    /// from it when it is.
    pub fn accept_chunk(&mut self, sha256: &Digest, signature: Signature) -> bool {
        let nothing = digest(&SHA256, b"");
        self.accept("AWS4-HMAC-SHA256-PAYLOAD", &[&nothing, sha256], signature)
    }

    /// Whether `signature` is that of the trailers, whose canonical form is given: one line
    /// `name:value` for each, in the order of their names, each ended by a line feed.
    pub fn accept_trailers(&mut self, canonical: &str, signature: Signature) -> bool {
        let sha256 = digest(&SHA256, canonical.as_bytes());
        self.accept("AWS4-HMAC-SHA256-TRAILER", &[&sha256], signature)
    }

    fn accept(&mut self, algorithm: &str, digests: &[&Digest], signature: Signature) -> bool {
        let last = self.last.to_string();
        let expected = self.key.sign_text(algorithm, &self.date, &[&last], digests);
        let is_right = expected == signature;
        if is_right {
            self.last = expected;
        }
        is_right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CredentialScope;

    /// The worked example of the Amazon S3 API Reference: 65 KiB of the letter `a`.
    #[test]
    fn the_published_chain_holds_and_no_other() {
        let date = AmzDate::parse("20130524T000000Z").expect("a date");
        let scope =
            CredentialScope::parse("AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request")
                .expect("a scope");
        let key = SigningKey::derive("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", &scope);
        let signature = |text: &str| text.parse::<Signature>().expect("a signature");
        let mut chain = ChunkChain::new(
            key,
            date,
            signature("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"),
        );
        let first = digest(&SHA256, &[b'a'; 65_536]);
        let second = digest(&SHA256, &[b'a'; 1_024]);
        let signed = signature("ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648");
        assert!(!chain.accept_chunk(&second, signed));
        assert!(chain.accept_chunk(&first, signed));
        assert!(!chain.accept_chunk(&first, signed), "a chunk comes once");
        assert!(chain.accept_chunk(
            &second,
            signature("0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497")
        ));
        assert!(chain.accept_chunk(
            &digest(&SHA256, b""),
            signature("b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9")
        ));
    }
}
