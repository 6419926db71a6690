//! The form of a backup, and its verification with nothing but the verifier key of the audit log.
//!
//! It is described in `docs/format/key-backup.md`.

use std::collections::HashSet;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa::PublicEncryptingKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use strongroom_audit::{
    NoteError, ProofError, VerifierKey, VerifierKeyError, verify_note, verify_tlog_proof,
};
use strongroom_environment::{Entropy, Timestamp};
use strongroom_pkcs11::{CarriedKind, ExportedKeys};

use crate::arn::{KeyId, KeyVersion};
use crate::error::KeyError;
use crate::kms::KeySpec;
use crate::quorum::GuardedOperation;
use crate::rows::{self, KEY_VERSIONS};

const FIRST_LINE: &str = "strongroom-key-backup/v1";

/// A page of a backup, as it is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupPage {
    /// The page as a C2SP signed note of the log's key.
    pub note: String,
    /// The entry of the log that tells of it.
    pub entry: String,
    /// The proof that the entry is on the log.
    pub proof: String,
    /// After which version the next page begins; none on the last.
    pub next: Option<String>,
}

/// Why a file is no backup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The verifier key is none.
    #[error("the verifier key is not one: {0}")]
    VerifierKey(#[from] VerifierKeyError),
    /// A page is not signed by the key.
    #[error("a page is not signed by that key: {0}")]
    Signature(#[from] NoteError),
    /// The proof does not hold.
    #[error("the proof that a page is on the audit log does not hold: {0}")]
    Proof(#[from] ProofError),
    /// What is signed, the entry and the other pages do not go together.
    #[error("it is not a whole backup: {0}")]
    Disagrees(&'static str),
}

/// A backup whose pages are all there and signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backup {
    pages: Vec<PageStated>,
    entries: Vec<(u64, String)>,
}

impl Backup {
    /// Checks the pages of a backup with nothing but the verifier key of the audit log.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn verify(pages: &[BackupPage], verifier_key: &str) -> Result<Self, BackupError> {
        use BackupError::Disagrees;
        let key = VerifierKey::parse(verifier_key)?;
        let mut stated = Vec::<PageStated>::new();
        for page in pages {
            let text = verify_note(&page.note, &key)?;
            let json = text
                .strip_prefix(FIRST_LINE)
                .and_then(|rest| rest.strip_prefix('\n'))
                .ok_or(Disagrees("what is signed is not a page of a backup"))?;
            let one: PageStated = serde_json::from_str(json)
                .map_err(|_| Disagrees("what is signed is not a page of a backup"))?;
            let entry = page.entry.as_bytes();
            let proven = verify_tlog_proof(&page.proof, entry, verifier_key)?;
            let logged: serde_json::Value =
                serde_json::from_slice(entry).map_err(|_| Disagrees("an entry is not JSON"))?;
            let named: Vec<String> = one.named().collect();
            let is_it = proven.index.0 == one.entry
                && [
                    GuardedOperation::BackupKeys.act(),
                    GuardedOperation::BACKUP_GOES_ON,
                ]
                .iter()
                .any(|act| logged["use"] == *act)
                && logged["detail"]["backup"] == one.backup.as_str()
                && logged["outcome"] == "granted"
                && logged["detail"]["escrow_key_sha256"] == one.escrow_key_sha256.as_str()
                && logged["detail"]["keys"] == serde_json::json!(named);
            if !is_it {
                return Err(Disagrees("an entry is not the one of its page"));
            }
            stated.push(one);
        }
        let (first, last) = match (stated.first(), stated.last()) {
            (Some(first), Some(last)) => (first, last),
            _ => return Err(Disagrees("it has no pages")),
        };
        let is_chain = first.after.is_none()
            && !last.more
            && stated.windows(2).all(|pair| {
                pair[0].more
                    && pair[1].after == pair[0].last
                    && pair[0].backup == pair[1].backup
                    && pair[0].escrow_key_sha256 == pair[1].escrow_key_sha256
            });
        if !is_chain {
            return Err(Disagrees("a page is missing, or of another backup"));
        }
        let mut places = HashSet::new();
        for key in stated.iter().flat_map(|page| &page.keys) {
            key.place()
                .filter(|place| places.insert(*place))
                .and(key.kind())
                .and(key.decoded())
                .ok_or(Disagrees("a key is not well-formed, or there twice"))?;
        }
        let entries = stated.iter().zip(pages);
        let entries = entries.map(|(stated, page)| (stated.entry, page.entry.clone()));
        Ok(Self {
            entries: entries.collect(),
            pages: stated,
        })
    }

    /// The entries of the audit log that tell of its pages, and their places there: a log that has
    /// them is not older than the backup.
    #[must_use]
    pub fn entries(&self) -> &[(u64, String)] {
        &self.entries
    }

    /// The versions that were left out, since the token did not vouch for them.
    pub fn left_out(&self) -> impl Iterator<Item = &str> {
        let pages = self.pages.iter();
        pages.flat_map(|page| page.left_out()).map(String::as_str)
    }

    /// What the pages of a new backup share.
    #[must_use]
    pub fn new_id(entropy: &dyn Entropy) -> String {
        HEXLOWER.encode(&entropy.array::<16>())
    }

    /// What all pages share.
    #[must_use]
    pub fn id(&self) -> &str {
        self.pages.first().map_or("", |page| &page.backup)
    }

    /// SHA-256 of the public key that the keys are wrapped for, in hexadecimal.
    #[must_use]
    pub fn escrow_key_sha256(&self) -> &str {
        let first = self.pages.first();
        first.map_or("", |page| &page.escrow_key_sha256)
    }

    /// When it was begun (RFC 3339).
    #[must_use]
    pub fn made(&self) -> &str {
        self.pages.first().map_or("", |page| &page.made)
    }

    /// How many versions are in it.
    #[must_use]
    pub fn versions(&self) -> usize {
        self.pages.iter().map(|page| page.keys.len()).sum()
    }

    pub(super) fn pages(&self) -> &[PageStated] {
        &self.pages
    }
}

/// What is signed of a page.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageStated {
    backup: String,
    /// The version after which it begins.
    after: Option<String>,
    /// The last version that was looked at.
    pub(super) last: Option<String>,
    /// Whether there is another page.
    pub(super) more: bool,
    made: String,
    made_by: String,
    token_label: String,
    token_serial: String,
    pub(super) escrow_key_sha256: String,
    /// Base64.
    transport: String,
    pub(super) keys: Vec<KeyStated>,
    /// Versions that the token does not vouch for, which nobody can use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
    /// The place of the entry on the audit log.
    pub(super) entry: u64,
}

impl PageStated {
    pub(super) fn new(
        backup: &str,
        (after, last, more): (Option<Place>, Option<Place>, bool),
        (token_label, token_serial): (&str, &str),
        (escrow_key_sha256, transport): (String, &[u8]),
        (made, made_by): (Timestamp, &str),
        (keys, left_out): (Vec<KeyStated>, Vec<Place>),
    ) -> Self {
        Self {
            backup: backup.to_owned(),
            after: after.map(|place| place.to_string()),
            last: last.map(|place| place.to_string()),
            more,
            made: made.to_string(),
            made_by: made_by.to_owned(),
            token_label: token_label.to_owned(),
            token_serial: token_serial.to_owned(),
            escrow_key_sha256,
            transport: STANDARD.encode(transport),
            keys,
            left_out: left_out.iter().map(ToString::to_string).collect(),
            // Known when the entry is on the log.
            entry: 0,
        }
    }

    /// The versions, as the entry names them.
    pub(super) fn named(&self) -> impl Iterator<Item = String> {
        self.keys
            .iter()
            .map(|key| format!("{}/{}", key.id, key.version))
    }

    /// The versions that are not in it, though they are there.
    pub(super) fn left_out(&self) -> &[String] {
        &self.left_out
    }

    pub(super) fn to_text(&self) -> String {
        let json =
            serde_json::to_string_pretty(self).expect("strings and numbers always serialise");
        format!("{FIRST_LINE}\n{json}\n")
    }

    /// The keys as a token takes them over.
    pub(super) fn exported(&self) -> ExportedKeys {
        ExportedKeys {
            transport: STANDARD.decode(&self.transport).unwrap_or_default(),
            keys: self
                .keys
                .iter()
                .filter_map(|key| Some((key.kind()?, key.decoded()?)))
                .collect(),
        }
    }
}

/// A version of a key as a page has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyStated {
    id: String,
    version: u32,
    spec: String,
    usage: String,
    state: String,
    pub(super) is_service: bool,
    /// Base64.
    wrapped: String,
    /// Hexadecimal; empty for a pair.
    pub(super) check: String,
    /// Base64; empty but for a pair.
    public_key: String,
}

impl KeyStated {
    pub(super) fn new(
        place: Place,
        spec: KeySpec,
        state: &str,
        is_service: bool,
        check: &[u8],
        public_key: &[u8],
    ) -> Self {
        Self {
            id: place.key.to_string(),
            version: place.version.0,
            spec: spec.as_str().to_owned(),
            usage: spec.usage().to_owned(),
            state: state.to_owned(),
            is_service,
            wrapped: String::new(),
            check: HEXLOWER.encode(check),
            public_key: STANDARD.encode(public_key),
        }
    }

    pub(super) fn set_wrapped(&mut self, wrapped: &[u8]) {
        self.wrapped = STANDARD.encode(wrapped);
    }

    pub(super) fn place(&self) -> Option<Place> {
        Some(Place {
            key: self.id.parse().ok()?,
            version: KeyVersion(self.version),
        })
    }

    pub(super) fn spec(&self) -> Option<KeySpec> {
        KeySpec::named(&self.spec, &self.usage)
    }

    pub(super) fn kind(&self) -> Option<CarriedKind> {
        Some(match self.spec()? {
            KeySpec::Symmetric => CarriedKind::Aes,
            KeySpec::Mac(spec) => CarriedKind::Mac(spec),
            KeySpec::Pair(spec, _) => CarriedKind::Pair(spec),
        })
    }

    pub(super) fn public_key(&self) -> Vec<u8> {
        STANDARD.decode(&self.public_key).unwrap_or_default()
    }

    fn decoded(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.wrapped).ok()
    }
}

/// A version of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Place {
    pub(super) key: KeyId,
    pub(super) version: KeyVersion,
}

impl Place {
    pub(super) fn row_key(self) -> Vec<u8> {
        rows::version_key(self.key, self.version)
    }

    pub(super) fn of_row_key(key: &[u8]) -> Result<Self, KeyError> {
        let parts = key.split_first_chunk().and_then(|(id, version)| {
            let version: [u8; 4] = version.try_into().ok()?;
            Some((KeyId::from_bytes(*id), u32::from_be_bytes(version)))
        });
        let (key, version) = parts.ok_or(KeyError::Damaged {
            table: KEY_VERSIONS.name(),
            what: "a row is not under a key id and a version",
        })?;
        Ok(Self {
            key,
            version: KeyVersion(version),
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.key, self.version.0)
    }
}

impl FromStr for Place {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let place = text.split_once('/').and_then(|(key, version)| {
            Some(Self {
                key: key.parse().ok()?,
                version: KeyVersion(version.parse().ok()?),
            })
        });
        place.ok_or(KeyError::InvalidReference {
            rule: "a page of a backup begins after a version that another one ended with",
        })
    }
}

/// How an escrow key is named: SHA-256 of its public key, in hexadecimal. `None` where it is no
/// `SubjectPublicKeyInfo` of an RSA key of 3,072 bits.
#[must_use]
pub fn escrow_key_fingerprint(public_key: &[u8]) -> Option<String> {
    PublicEncryptingKey::from_der(public_key)
        .is_ok_and(|key| key.key_size_bits() == 3_072)
        .then(|| fingerprint(public_key))
}

pub(super) fn fingerprint(public_key: &[u8]) -> String {
    HEXLOWER.encode(&sha256(public_key))
}

pub(super) fn sha256(public_key: &[u8]) -> [u8; 32] {
    let digest = digest(&SHA256, public_key);
    *digest
        .as_ref()
        .first_chunk()
        .expect("SHA-256 gives 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_page_is_read_and_written() {
        let page = include_str!("../../../../../docs/format/key-backup.md");
        let (_, text) = page.split_once("```text\n").expect("it has an example");
        let (text, _) = text.split_once("```").expect("it ends");
        let json = text
            .strip_prefix(&format!("{FIRST_LINE}\n"))
            .expect("the first line");
        let stated: PageStated = serde_json::from_str(json).expect("a page");
        assert_eq!(stated.to_text(), text);
        assert!(serde_json::from_str::<PageStated>(&json.replace("\"more\"", "\"mode\"")).is_err());
        let hex = |name: &str| {
            let (_, rest) = page
                .split_once(&format!("\n{name}:"))
                .expect("it is in the example");
            let digits: String = rest
                .lines()
                .enumerate()
                .take_while(|(at, line)| *at == 0 || line.starts_with(' '))
                .flat_map(|(_, line)| line.split_whitespace())
                .collect();
            HEXLOWER.decode(digits.as_bytes()).expect("hexadecimal")
        };
        let key = &stated.keys[0];
        let place = key.place().expect("a version");
        assert_eq!(rows::material_message(place.key), hex("MAC message"));
        let by = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &hex("value"));
        let check = aws_lc_rs::hmac::sign(&by, &hex("MAC message"));
        assert_eq!(HEXLOWER.encode(check.as_ref()), key.check);
        assert_eq!(check.as_ref(), hex("check"));
        let exported = stated.exported();
        assert_eq!(exported.keys, [(CarriedKind::Aes, hex("wrapped"))]);
        let transport =
            aws_lc_rs::key_wrap::AesKek::new(&aws_lc_rs::key_wrap::AES_256, &hex("transport key"));
        let mut value = [0; 32];
        aws_lc_rs::key_wrap::KeyWrap::unwrap(
            transport.expect("a key"),
            &exported.keys[0].1,
            &mut value,
        )
        .expect("it unwraps");
        assert_eq!(value[..], hex("value"));
        assert_eq!(stated.named().collect::<Vec<_>>(), [place.to_string()]);
        assert_eq!(
            place.to_string().parse::<Place>().expect("a version"),
            place
        );
        for text in [
            "",
            "/",
            "x/1",
            "00112233-4455-4677-8899-aabbccddeeff",
            "00112233-4455-4677-8899-aabbccddeeff/x",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
