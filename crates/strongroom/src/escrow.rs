//! The public key of an escrow token, as a file.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom_keys::escrow_key_fingerprint;

use crate::failure::{Advise as _, advised};

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";
const MADE_BY: &str = "`strongroom hsm escrow-key` writes such a file";

/// The `SubjectPublicKeyInfo` in a PEM file (RFC 7468).
pub(crate) fn read_public_key(path: &Path) -> anyhow::Result<Vec<u8>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the escrow key in {}", path.display()))
        .advise(MADE_BY)?;
    let base64: Option<String> = text
        .split_once(BEGIN)
        .and_then(|(_, rest)| rest.split_once(END))
        .map(|(base64, _)| base64.split_whitespace().collect());
    base64
        .and_then(|base64| STANDARD.decode(base64).ok())
        .filter(|der| escrow_key_fingerprint(der).is_some())
        .ok_or_else(|| {
            advised(
                anyhow!("{} holds no RSA public key of 3,072 bits", path.display()),
                MADE_BY,
            )
        })
}

/// A public key in PEM, as `openssl` reads it too.
pub(crate) fn to_pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = format!("{BEGIN}\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str(END);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_has_lines_of_64_characters() {
        let text = to_pem(&[0; 97]);
        let lengths: Vec<usize> = text.lines().map(str::len).collect();
        assert_eq!(lengths, [26, 64, 64, 4, 24]);
    }

    #[test]
    fn what_is_no_escrow_key_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key.pem");
        assert!(read_public_key(&path).is_err());
        for text in ["", "nonsense", &to_pem(b"nonsense"), &to_pem(b"")] {
            std::fs::write(&path, text).expect("it is written");
            assert!(read_public_key(&path).is_err(), "{text}");
        }
    }
}
