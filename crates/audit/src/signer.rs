//! Keys with which people sign notes, and notes that several of them have signed (C2SP
//! signed-note).

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use crate::note::{NoteError, Origin, TYPE_ED25519, VerifierKey, VerifierKeyError, signatures_of};

/// A private Ed25519 key that signs notes under a name. It is wiped when it is dropped.
///
/// Its text form is the one of Go's `golang.org/x/mod/sumdb/note`,
/// `PRIVATE+KEY+<name>+<key id, 8 hex digits>+<base64 of 0x01 and the 32-byte seed>`.
pub struct NoteSigner {
    key: SigningKey,
    verifier: VerifierKey,
}

impl NoteSigner {
    const PREFIX: &'static str = "PRIVATE+KEY+";
    const SEED_LEN_BYTES: usize = 32;

    /// The key that follows from a random seed (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    /// [`VerifierKeyError::UnusableKey`]: the seed gives a weak key. No random one does.
    pub fn from_seed(name: Origin, seed: &[u8; 32]) -> Result<Self, VerifierKeyError> {
        let key = SigningKey::from_bytes(seed);
        let verifier = VerifierKey::new(name, key.verifying_key().as_bytes())?;
        Ok(Self { key, verifier })
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`VerifierKeyError`].
    pub fn parse(text: &str) -> Result<Self, VerifierKeyError> {
        use VerifierKeyError::Malformed;
        let rest = text.strip_prefix(Self::PREFIX).ok_or(Malformed)?;
        let (name, rest) = rest.split_once('+').ok_or(Malformed)?;
        let (id, key) = rest.split_once('+').ok_or(Malformed)?;
        let name = Origin::new(name).map_err(|_| Malformed)?;
        // At its full length from the beginning, so that no copy is left behind.
        let mut bytes = Zeroizing::new(vec![0; key.len()]);
        let len_bytes = BASE64_STANDARD
            .decode_slice(key, &mut bytes)
            .map_err(|_| Malformed)?;
        let (kind, seed) = bytes[..len_bytes].split_first().ok_or(Malformed)?;
        if *kind != TYPE_ED25519 {
            return Err(VerifierKeyError::UnknownType(*kind));
        }
        let seed: &[u8; Self::SEED_LEN_BYTES] = seed.try_into().map_err(|_| Malformed)?;
        let signer = Self::from_seed(name, seed)?;
        if id != signer.verifier.id_text() {
            return Err(VerifierKeyError::WrongId);
        }
        Ok(signer)
    }

    /// The text form: a secret.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut typed = Zeroizing::new([TYPE_ED25519; 1 + Self::SEED_LEN_BYTES]);
        typed[1..].copy_from_slice(self.key.as_bytes());
        let head = format!(
            "{}{}+{}+",
            Self::PREFIX,
            self.verifier.origin(),
            self.verifier.id_text()
        );
        let mut text = Zeroizing::new(String::with_capacity(head.len() + 44));
        text.push_str(&head);
        BASE64_STANDARD.encode_string(typed.as_slice(), &mut text);
        text
    }

    /// The public half, for whoever is to check its signatures.
    #[must_use]
    pub fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a text, which ends with a newline, and gives the signature line of the note, with its
    /// newline.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        self.verifier.signature_line(&signature)
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteSigner({})", self.verifier.origin())
    }
}

/// A note of this text with these signature lines. A line may lack its newline.
#[must_use]
pub fn note_of<'a>(text: &str, lines: impl IntoIterator<Item = &'a str>) -> String {
    let mut note = format!("{text}\n");
    for line in lines {
        note.push_str(line.trim_end_matches('\n'));
        note.push('\n');
    }
    note
}

/// The text of a signed note, with its last newline, and which of `keys` have signed it, by their
/// places and each once.
///
/// A key is told by its name and its id together. Signatures by other keys are passed over, so
/// that there may be none at all.
///
/// # Errors
/// [`NoteError::Malformed`]; [`NoteError::BadSignature`]: a line is under the name and id of one of
/// `keys`, and is not its signature of this text.
pub fn note_signers<'t>(
    note: &'t str,
    keys: &[VerifierKey],
) -> Result<(&'t str, Vec<usize>), NoteError> {
    let (text, signatures) = signatures_of(note)?;
    let mut signers = Vec::new();
    for signature in signatures {
        let signature = signature?;
        for (place, key) in keys.iter().enumerate() {
            if key.has_signed(text, &signature)? && !signers.contains(&place) {
                signers.push(place);
            }
        }
    }
    signers.sort_unstable();
    Ok((text, signers))
}

#[cfg(test)]
mod tests {
    use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};

    use super::*;

    fn signer(name: &str, seed: u8) -> NoteSigner {
        NoteSigner::from_seed(Origin::new(name).unwrap(), &[seed; 32]).unwrap()
    }

    #[test]
    fn a_private_key_survives_its_text_form_and_no_damage() {
        let key = signer("ada", 3);
        let text = key.to_text();
        assert!(text.starts_with("PRIVATE+KEY+ada+"));
        let read = NoteSigner::parse(&text).unwrap();
        assert_eq!(read.verifier_key(), key.verifier_key());
        assert_eq!(read.sign("a\n"), key.sign("a\n"));
        for at in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] ^= 1;
            let Ok(damaged) = String::from_utf8(bytes) else {
                continue;
            };
            assert!(NoteSigner::parse(&damaged).is_err(), "byte {at}");
        }
        assert!(!format!("{key:?}").contains("KEY"));
    }

    #[test]
    fn the_signed_note_crate_reads_keys_and_notes_of_several() {
        let keys = [signer("ada", 3), signer("ben", 4)];
        let text = "what is said\n";
        let note = note_of(
            text,
            keys.each_ref()
                .map(|key| key.sign(text))
                .iter()
                .map(String::as_str),
        );
        let theirs = keys.each_ref().map(|key| {
            let key = StandardVerifier::new(&key.verifier_key().to_string()).unwrap();
            Box::new(key) as _
        });
        let read = Note::from_bytes(note.as_bytes()).unwrap();
        let (known, unknown) = read.verify(&VerifierList::new(theirs.into())).unwrap();
        assert_eq!((known.len(), unknown.len()), (2, 0));
        // And signs the same, with the private key in the same form.
        let theirs = keys
            .each_ref()
            .map(|key| StandardSigner::new(&key.to_text()).unwrap());
        let mut made = Note::new(text.as_bytes(), &[]).unwrap();
        made.add_sigs(&[&theirs[0], &theirs[1]]).unwrap();
        assert_eq!(made.to_bytes(), note.as_bytes());
    }

    #[test]
    fn each_signer_counts_once_and_by_name_and_key() {
        let (ada, ben) = (signer("ada", 3), signer("ben", 4));
        // The name of one with the key of another, and the other way round.
        let (false_ada, renamed) = (signer("ada", 5), signer("ida", 3));
        let keys = [ada.verifier_key().clone(), ben.verifier_key().clone()];
        let text = "what is said\n";
        let [a, b, f, r] = [&ada, &ben, &false_ada, &renamed].map(|key| key.sign(text));
        let signers = |lines: &[&String]| {
            let note = note_of(text, lines.iter().map(|line| line.as_str()));
            note_signers(&note, &keys).map(|(said, signers)| {
                assert_eq!(said, text);
                signers
            })
        };
        assert_eq!(signers(&[&a, &b]).unwrap(), [0, 1]);
        assert_eq!(signers(&[&b, &a, &a, &b]).unwrap(), [0, 1]);
        assert_eq!(signers(&[&f, &r]).unwrap(), [] as [usize; 0]);
        assert_eq!(signers(&[&f, &r, &b]).unwrap(), [1]);
        let elsewhere = ada.sign("something else\n");
        assert!(matches!(
            signers(&[&elsewhere]),
            Err(NoteError::BadSignature)
        ));
        assert!(matches!(
            note_signers("no note", &keys),
            Err(NoteError::Malformed(_))
        ));
    }
}
