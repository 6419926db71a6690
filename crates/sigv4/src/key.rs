//! Keys that sign, and signatures.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{digest, hmac};
use data_encoding::HEXLOWER;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::ALGORITHM;
use crate::canonical::SignedHead;
use crate::date::AmzDate;
use crate::scope::CredentialScope;

/// A signature: HMAC-SHA-256, 32 bytes. Two are compared in constant time.
#[derive(Clone, Copy)]
pub struct Signature([u8; 32]);

impl Signature {
    pub(crate) fn of(tag: &hmac::Tag) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        Self(bytes)
    }
}

impl PartialEq for Signature {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Signature {}

impl FromStr for Signature {
    type Err = data_encoding::DecodeError;

    /// Reads 64 hexadecimal digits in lower case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = HEXLOWER.decode(text.as_bytes())?;
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| data_encoding::DecodeError {
                position: text.len(),
                kind: data_encoding::DecodeKind::Length,
            })
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The key that signs within one scope. It is derived from a secret access key and cannot be
/// turned back into it.
#[derive(Clone, Debug)]
pub struct SigningKey {
    key: hmac::Key,
    /// `DAY/REGION/SERVICE/aws4_request`.
    pub(crate) scope: String,
}

impl SigningKey {
    /// Derives the key of a scope.
    #[must_use]
    pub fn derive(secret_access_key: &str, scope: &CredentialScope) -> Self {
        let first = Zeroizing::new(["AWS4", secret_access_key].concat());
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, first.as_bytes());
        for part in [&scope.day, &scope.region, &scope.service, &scope.terminator] {
            let tag = hmac::sign(&key, part.as_bytes());
            key = hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref());
        }
        Self {
            key,
            scope: scope.to_string(),
        }
    }

    /// The signature over the head of a request that was signed at `date`.
    #[must_use]
    pub fn sign_head(&self, date: &AmzDate, head: &SignedHead<'_>) -> Signature {
        self.sign_text(ALGORITHM, date, &[], &[&head.digest()])
    }

    /// The signature over a string to sign: the algorithm, the date and the scope, then `lines`,
    /// then `digests` in hexadecimal, each on a line.
    pub(crate) fn sign_text(
        &self,
        algorithm: &str,
        date: &AmzDate,
        lines: &[&str],
        digests: &[&digest::Digest],
    ) -> Signature {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(algorithm.as_bytes());
        for line in [date.as_str(), &self.scope]
            .into_iter()
            .chain(lines.iter().copied())
        {
            context.update(b"\n");
            context.update(line.as_bytes());
        }
        for digest in digests {
            context.update(b"\n");
            context.update(HEXLOWER.encode(digest.as_ref()).as_bytes());
        }
        Signature::of(&context.sign())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_64_digits_in_lower_case() {
        let text = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        let signature: Signature = text.parse().expect("a signature");
        assert_eq!(signature.to_string(), text);
        for wrong in ["", &text[..62], &text.to_uppercase(), &format!("{text}00")] {
            assert!(wrong.parse::<Signature>().is_err(), "{wrong}");
        }
    }
}
