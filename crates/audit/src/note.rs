//! Checkpoints: C2SP signed notes over the size and root of the tree.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::tree::TreeHash;

/// The signed-note type of a plain Ed25519 signature.
pub(crate) const TYPE_ED25519: u8 = 0x01;

/// The longest checkpoint that is read, bytes: room for the log's own signature and for well over
/// the 16 foreign ones that a verifier must put up with.
const NOTE_LEN_BYTES_MAX: usize = 1 << 17;

/// The name of a log, which is also the name of its key: by custom a URL without its scheme.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin(String);

/// The text cannot name a log.
#[derive(Debug, thiserror::Error)]
#[error("a log's origin is 1 to 255 bytes of text without spaces, control characters and '+'")]
pub struct OriginError;

impl Origin {
    /// # Errors
    /// [`OriginError`] when a signed note could not carry the name.
    pub fn new(name: impl Into<String>) -> Result<Self, OriginError> {
        let name = name.into();
        let is_fit = (1..=255).contains(&name.len())
            && !name
                .chars()
                .any(|c| c.is_whitespace() || c.is_control() || c == '+');
        is_fit.then_some(Self(name)).ok_or(OriginError)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who must have signed a checkpoint. Its text form is the verifier key of C2SP signed-note,
/// `<name>+<key id, 8 hex digits>+<base64 of 0x01 and the Ed25519 public key>`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    origin: Origin,
    id: [u8; 4],
    key: VerifyingKey,
}

/// The text is not the verifier key of an Ed25519 signer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifierKeyError {
    /// Not of the form `<name>+<key id>+<base64>`.
    #[error("a verifier key has the form <name>+<8 hex digits>+<base64>")]
    Malformed,
    /// The key is of a type other than Ed25519 (0x01).
    #[error("the verifier key is of type {0:#04x}; only Ed25519 (0x01) is known")]
    UnknownType(u8),
    /// The key id does not belong to the name and key.
    #[error("the key id of the verifier key does not belong to its name and key")]
    WrongId,
    /// The bytes are not a usable Ed25519 public key.
    #[error("the bytes are not a usable Ed25519 public key")]
    UnusableKey,
}

impl VerifierKey {
    /// The verifier key of the log `origin` that is signed with `public_key`.
    ///
    /// # Errors
    /// [`VerifierKeyError::UnusableKey`] when the bytes are no point of the curve, or a weak one.
    pub fn new(origin: Origin, public_key: &[u8; 32]) -> Result<Self, VerifierKeyError> {
        let key = VerifyingKey::from_bytes(public_key)
            .ok()
            .filter(|key| !key.is_weak())
            .ok_or(VerifierKeyError::UnusableKey)?;
        let mut hasher = Sha256::new();
        hasher.update(origin.as_str().as_bytes());
        hasher.update([b'\n', TYPE_ED25519]);
        hasher.update(public_key);
        let [a, b, c, d, ..]: [u8; 32] = hasher.finalize().into();
        Ok(Self {
            origin,
            id: [a, b, c, d],
            key,
        })
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`VerifierKeyError`].
    pub fn parse(text: &str) -> Result<Self, VerifierKeyError> {
        use VerifierKeyError::Malformed;
        let (name, rest) = text.split_once('+').ok_or(Malformed)?;
        let (id, key) = rest.split_once('+').ok_or(Malformed)?;
        let origin = Origin::new(name).map_err(|_| Malformed)?;
        let key = BASE64_STANDARD.decode(key).map_err(|_| Malformed)?;
        let (kind, key) = key.split_first().ok_or(Malformed)?;
        if *kind != TYPE_ED25519 {
            return Err(VerifierKeyError::UnknownType(*kind));
        }
        let key = key.try_into().map_err(|_| Malformed)?;
        let verifier = Self::new(origin, key)?;
        if id != verifier.id_text() {
            return Err(VerifierKeyError::WrongId);
        }
        Ok(verifier)
    }

    /// The log whose key it is.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The 32-byte Ed25519 public key.
    #[must_use]
    pub fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// The key id as the text form has it.
    pub(crate) fn id_text(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.id)
    }

    /// The line that carries a signature by this key, with its newline.
    pub(crate) fn signature_line(&self, signature: &[u8; 64]) -> String {
        let mut signed = self.id.to_vec();
        signed.extend_from_slice(signature);
        format!(
            "\u{2014} {} {}\n",
            self.origin,
            BASE64_STANDARD.encode(signed)
        )
    }

    /// Whether a signature is one of `text` by this key: `false` when it is under another name or
    /// id.
    ///
    /// # Errors
    /// [`NoteError::BadSignature`]: it is under this name and id, and is none.
    pub(crate) fn has_signed(
        &self,
        text: &str,
        signature: &NoteSignature<'_>,
    ) -> Result<bool, NoteError> {
        if signature.name != self.origin.as_str() || signature.id != self.id {
            return Ok(false);
        }
        let signature =
            Signature::from_slice(&signature.bytes).map_err(|_| NoteError::BadSignature)?;
        self.key
            .verify_strict(text.as_bytes(), &signature)
            .map_err(|_| NoteError::BadSignature)?;
        Ok(true)
    }
}

/// A signature of a note, by whomever.
pub(crate) struct NoteSignature<'n> {
    name: &'n str,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut typed = vec![TYPE_ED25519];
        typed.extend_from_slice(self.key.as_bytes());
        write!(
            f,
            "{}+{}+{}",
            self.origin,
            self.id_text(),
            BASE64_STANDARD.encode(typed)
        )
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

/// A statement by the log's key: this tree, of this size, has this root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    origin: Origin,
    size: u64,
    root: TreeHash,
    text: String,
}

/// Why a text is not a note that a key signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Not a signed note.
    #[error("the note is malformed: {0}")]
    Malformed(&'static str),
    /// No signature is by the key.
    #[error("the note carries no signature by the key of {0}")]
    Unsigned(String),
    /// The signature by the key is wrong.
    #[error("the signature on the note is not valid")]
    BadSignature,
}

/// Why a text is not a checkpoint of the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Not a signed note, or not one over the three lines of a checkpoint.
    #[error("the checkpoint is malformed: {0}")]
    Malformed(&'static str),
    /// The checkpoint is of another log.
    #[error("the checkpoint is of the log {found}, not of {expected}")]
    OtherLog {
        /// The origin that the verifier key names.
        expected: String,
        /// The origin that the checkpoint names.
        found: String,
    },
    /// No signature is by the log's key.
    #[error("the checkpoint carries no signature by the key of {0}")]
    Unsigned(String),
    /// The signature by the log's key is wrong.
    #[error("the signature on the checkpoint is not valid")]
    BadSignature,
}

impl From<NoteError> for CheckpointError {
    fn from(error: NoteError) -> Self {
        match error {
            NoteError::Malformed(what) => Self::Malformed(what),
            NoteError::Unsigned(origin) => Self::Unsigned(origin),
            NoteError::BadSignature => Self::BadSignature,
        }
    }
}

/// The text that is signed for a tree.
pub(crate) fn checkpoint_body(origin: &Origin, size: u64, root: TreeHash) -> String {
    format!("{origin}\n{size}\n{root}\n")
}

impl Checkpoint {
    /// The log that it is of.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The number of entries under it.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root over those entries.
    #[must_use]
    pub fn root(&self) -> TreeHash {
        self.root
    }

    /// The signed note, as published.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Joins a body and its signature, and checks the signature as every reader will.
    pub(crate) fn seal(
        body: &str,
        signature: &[u8; 64],
        verifier: &VerifierKey,
    ) -> Result<Self, CheckpointError> {
        let text = signed_note(body, signature, verifier);
        Self::verify(&text, verifier)
    }

    /// Reads a signed note, and checks that the key of `verifier` signed it.
    ///
    /// Signatures by other keys, such as those of witnesses, are passed over.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn verify(text: &str, verifier: &VerifierKey) -> Result<Self, CheckpointError> {
        use CheckpointError::Malformed;
        let body = verify_note(text, verifier)?;
        let body = body.strip_suffix('\n').unwrap_or(body);
        let lines: Vec<&str> = body.split('\n').collect();
        let [origin, size, root] = lines[..] else {
            return Err(Malformed("its body has not three lines"));
        };
        if origin != verifier.origin.as_str() {
            return Err(CheckpointError::OtherLog {
                expected: verifier.origin.to_string(),
                found: origin.to_owned(),
            });
        }
        Ok(Self {
            origin: verifier.origin.clone(),
            size: parse_decimal(size).ok_or(Malformed("its size is not a plain number"))?,
            root: TreeHash::from_base64(root).ok_or(Malformed("its root is not 32 bytes"))?,
            text: text.to_owned(),
        })
    }
}

/// Joins a text, which ends with a newline, and its signature to a signed note.
pub(crate) fn signed_note(text: &str, signature: &[u8; 64], verifier: &VerifierKey) -> String {
    format!("{text}\n{}", verifier.signature_line(signature))
}

/// Why `text` is not one that [`crate::AuditLog::certify`] signs, if it is not.
///
/// A note is signed by the key that signs checkpoints, so no text may be taken for one.
pub(crate) fn unfit_to_certify(text: &str, origin: &Origin) -> Option<&'static str> {
    if text.lines().next() == Some(origin.as_str()) {
        return Some("it begins like a checkpoint");
    }
    if !text.ends_with('\n') || text.chars().any(|c| c.is_ascii_control() && c != '\n') {
        return Some("a note is lines, and holds no other control character");
    }
    // Room for the signatures of witnesses.
    (text.len() > NOTE_LEN_BYTES_MAX - (8 << 10)).then_some("it is longer than 120 KiB")
}

/// The text of a signed note, with its last newline, once the key of `verifier` is found to have
/// signed it (C2SP signed-note). Signatures by other keys, such as those of witnesses, are passed
/// over.
///
/// # Errors
/// [`NoteError`].
pub fn verify_note<'t>(note: &'t str, verifier: &VerifierKey) -> Result<&'t str, NoteError> {
    let (signed, signatures) = signatures_of(note)?;
    let mut is_signed = false;
    for signature in signatures {
        is_signed |= verifier.has_signed(signed, &signature?)?;
    }
    if !is_signed {
        return Err(NoteError::Unsigned(verifier.origin.to_string()));
    }
    Ok(signed)
}

/// The text of a signed note, with its last newline, and its signatures, which nobody has checked.
pub(crate) fn signatures_of(
    note: &str,
) -> Result<
    (
        &str,
        impl Iterator<Item = Result<NoteSignature<'_>, NoteError>>,
    ),
    NoteError,
> {
    use NoteError::Malformed;
    if note.len() > NOTE_LEN_BYTES_MAX {
        return Err(Malformed("it is longer than 128 KiB"));
    }
    if note.chars().any(|c| c.is_ascii_control() && c != '\n') {
        return Err(Malformed("it holds a control character"));
    }
    let (body, signatures) = note
        .rsplit_once("\n\n")
        .ok_or(Malformed("it has no empty line before its signatures"))?;
    let signatures = signatures
        .strip_suffix('\n')
        .ok_or(Malformed("it does not end with a newline"))?;
    // With the newline that is the first of the empty line.
    let signed = &note[..=body.len()];
    let signatures = signatures.split('\n').map(|line| {
        let (name, signature) = line
            .strip_prefix("\u{2014} ")
            .and_then(|line| line.split_once(' '))
            .ok_or(Malformed("a signature line has not the form of one"))?;
        let signature = BASE64_STANDARD
            .decode(signature)
            .map_err(|_| Malformed("a signature is not base64"))?;
        let (id, bytes) = signature
            .split_first_chunk::<4>()
            .ok_or(Malformed("a signature is shorter than its key id"))?;
        Ok(NoteSignature {
            name,
            id: *id,
            bytes: bytes.to_vec(),
        })
    });
    Ok((signed, signatures))
}

/// The size that a text states whose signature nobody has checked.
pub(crate) fn size_of_unverified(text: &str) -> Option<u64> {
    text.split('\n').nth(1).and_then(parse_decimal)
}

/// A decimal number without sign and leading zeroes.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};
    use proptest::prelude::*;
    use signed_note::{Note, StandardVerifier, VerifierList};

    use super::*;

    fn sealed() -> (Checkpoint, VerifierKey) {
        let signing = SigningKey::from_bytes(&[3; 32]);
        let origin = Origin::new("store.example/audit").unwrap();
        let verifier =
            VerifierKey::new(origin.clone(), signing.verifying_key().as_bytes()).unwrap();
        let body = checkpoint_body(&origin, 109_482, TreeHash([9; 32]));
        let signature = signing.sign(body.as_bytes()).to_bytes();
        (
            Checkpoint::seal(&body, &signature, &verifier).unwrap(),
            verifier,
        )
    }

    #[test]
    fn the_signed_note_crate_accepts_what_is_sealed_here() {
        let (checkpoint, verifier) = sealed();
        let theirs = StandardVerifier::new(&verifier.to_string()).unwrap();
        let note = Note::from_bytes(checkpoint.text().as_bytes()).unwrap();
        let (known, unknown) = note
            .verify(&VerifierList::new(vec![Box::new(theirs)]))
            .unwrap();
        assert_eq!((known.len(), unknown.len()), (1, 0));
        let body = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
        assert_eq!(body.origin(), "store.example/audit");
        assert_eq!((body.size(), body.hash().0), (109_482, [9; 32]));
    }

    #[test]
    fn a_verifier_key_survives_its_text_form_and_no_damage() {
        let (_, verifier) = sealed();
        let text = verifier.to_string();
        assert_eq!(VerifierKey::parse(&text).unwrap(), verifier);
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(damaged) = String::from_utf8(bytes) {
                assert!(VerifierKey::parse(&damaged).is_err(), "byte {at}");
            }
        }
        assert!(VerifierKey::parse("name+00000000").is_err());
        assert!(VerifierKey::new(Origin::new("x").unwrap(), &[0; 32]).is_err());
    }

    #[test]
    fn names_that_a_note_cannot_carry_are_refused() {
        for name in [
            "",
            "two words",
            "a+b",
            "line\nbreak",
            "no\u{a0}break",
            "bell\u{7}",
        ] {
            assert!(Origin::new(name).is_err(), "{name:?}");
        }
        assert!(Origin::new("x".repeat(256)).is_err());
    }

    #[test]
    fn a_foreign_signature_is_passed_over_and_does_not_stand_in() {
        let (checkpoint, verifier) = sealed();
        let witness = format!(
            "\u{2014} witness.example {}\n",
            BASE64_STANDARD.encode([5; 76])
        );
        let both = format!("{}{witness}", checkpoint.text());
        assert_eq!(
            Checkpoint::verify(&both, &verifier).unwrap().size(),
            109_482
        );
        let (body, _) = checkpoint.text().rsplit_once("\n\n").unwrap();
        let alone = format!("{body}\n\n{witness}");
        assert!(matches!(
            Checkpoint::verify(&alone, &verifier),
            Err(CheckpointError::Unsigned(_))
        ));
    }

    #[test]
    fn another_log_under_the_same_key_is_refused() {
        let signing = SigningKey::from_bytes(&[3; 32]);
        let (_, verifier) = sealed();
        let body = checkpoint_body(&Origin::new("other").unwrap(), 1, TreeHash([0; 32]));
        let signature = signing.sign(body.as_bytes()).to_bytes();
        assert!(matches!(
            Checkpoint::seal(&body, &signature, &verifier),
            Err(CheckpointError::OtherLog { .. })
        ));
    }

    #[test]
    fn signed_bodies_of_another_form_are_refused() {
        let signing = SigningKey::from_bytes(&[3; 32]);
        let (_, verifier) = sealed();
        let root = TreeHash([0; 32]);
        let origin = &verifier.origin;
        for body in [
            format!("{origin}\n01\n{root}\n"),
            format!("{origin}\n+1\n{root}\n"),
            format!("{origin}\n18446744073709551616\n{root}\n"),
            format!("{origin}\n1\nAAAA\n"),
            format!("{origin}\n1\n"),
            format!("{origin}\n1\n{root}\nextension\n"),
        ] {
            let signature = signing.sign(body.as_bytes()).to_bytes();
            assert!(
                matches!(
                    Checkpoint::seal(&body, &signature, &verifier),
                    Err(CheckpointError::Malformed(_))
                ),
                "{body:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_changed_byte_of_a_checkpoint_is_accepted(at in 0_usize..200, with in 1_u8..) {
            let (checkpoint, verifier) = sealed();
            let mut bytes = checkpoint.text().as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] ^= with;
            if let Ok(damaged) = String::from_utf8(bytes) {
                prop_assert!(Checkpoint::verify(&damaged, &verifier).is_err());
            }
        }
    }
}
