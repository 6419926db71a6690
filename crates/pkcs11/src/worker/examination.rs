//! The checks of the conformance test, made on the token itself.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use data_encoding::HEXLOWER;

use super::canary::Canary;
use super::fault::{Fault, describe};
use super::module::{self, OpenToken};
use super::objects::{self, Life};
use crate::config::ModuleConfig;
use crate::conformance::{Check, Outcome, Report, Weight};
use crate::limits::MESSAGE_LEN_BYTES_MAX;
use crate::token::TokenIdentity;
use crate::wire::{KeyKind, Profile, Refusal};

/// The profile this program knows: RFC 3394 key wrap and AES-256-GCM, with HMAC-SHA-256 and
/// Ed25519 beside them.
const PROFILE: &str = "kw+gcm";
/// The same on a token that answers a changed wrapped key as if it had broken down.
const PROFILE_DOUBTING: &str = "kw+gcm, unwrapping doubted";
/// The label of the one key the test puts on the token for good, and takes away again.
const TEST_LABEL: &str = "strongroom-conformance-test";
const CONTEXT: &[u8] = b"strongroom conformance test";
const PLAINTEXT: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Why a check was not passed.
enum Unmet {
    Failed(String),
    Skipped(String),
}

impl From<Fault> for Unmet {
    fn from(fault: Fault) -> Self {
        Self::Failed(match fault {
            Fault::Refused(refusal) => format!("{refusal:?}"),
            other => other.reason().to_owned(),
        })
    }
}

impl From<cryptoki::error::Error> for Unmet {
    fn from(error: cryptoki::error::Error) -> Self {
        Self::Failed(describe(&error))
    }
}

/// What was seen, or why it is not as it should be.
type Seen = Result<String, Unmet>;

fn seen(what: impl Into<String>) -> Seen {
    Ok(what.into())
}

fn failed<T>(why: impl Into<String>) -> Result<T, Unmet> {
    Err(Unmet::Failed(why.into()))
}

/// An examination under way.
pub(super) struct Examination<'a> {
    context: &'a Pkcs11,
    slot: Slot,
    anchor: &'a Session,
    identity: &'a TokenIdentity,
    config: &'a ModuleConfig,
    profile: Profile,
    checks: Vec<Check>,
}

impl<'a> Examination<'a> {
    pub(super) fn of(token: &'a OpenToken, config: &'a ModuleConfig) -> Self {
        Self {
            context: &token.context,
            slot: token.slot,
            anchor: &token.anchor,
            identity: &token.identity,
            config,
            profile: Profile {
                name: PROFILE.to_owned(),
                restricts_mechanisms: false,
                forbids_copies: false,
                doubts_unwrapping: false,
            },
            checks: Vec::new(),
        }
    }

    /// Makes every check. The profile is there if the token may be used.
    pub(super) fn run(mut self) -> (Report, Option<Profile>) {
        self.required("the user PIN is accepted", |_| {
            seen("logged in, at the first try")
        });
        self.required("the mechanisms of the profile are there", Self::mechanisms);
        self.required("random bytes are random", Self::random);

        // What the token can do beyond the least decides with which attributes keys are made.
        self.profile.restricts_mechanisms = self.advisory(
            "a key restricted to one mechanism refuses another",
            Self::allowed_mechanisms,
        );
        self.profile.forbids_copies =
            self.advisory("a key that may not be copied refuses to be", Self::copyable);

        self.profile.doubts_unwrapping = self.breaks_down_over_a_changed_key();
        if self.profile.doubts_unwrapping {
            PROFILE_DOUBTING.clone_into(&mut self.profile.name);
        }

        self.required("a key wraps and unwraps to itself", Self::wrap_round_trip);
        self.required(
            "key wrap gives the answer of RFC 3394",
            Self::wrap_known_answer,
        );
        self.required("sealed bytes open to themselves", Self::gcm_round_trip);
        self.advisory("64 KiB are sealed at once", Self::gcm_longest);
        self.required(
            "AES-256-GCM gives the published answer",
            Self::gcm_known_answer,
        );
        self.required(
            "another context is refused, and not as a breakdown",
            |exam| exam.refuses_to_open(|_, context| context.push(b'!')),
        );
        self.required("a changed tag is refused, and not as a breakdown", |exam| {
            exam.refuses_to_open(|sealed, _| {
                if let Some(last) = sealed.last_mut() {
                    *last ^= 1;
                }
            })
        });
        self.required(
            "changed sealed bytes are refused, and not as a breakdown",
            |exam| {
                exam.refuses_to_open(|sealed, _| {
                    if let Some(first) = sealed.first_mut() {
                        *first ^= 0x80;
                    }
                })
            },
        );
        self.required(
            "a changed wrapped key is refused, and not as a breakdown",
            Self::changed_wrapped_key,
        );
        self.required(
            "HMAC-SHA-256 gives the answer of RFC 4231",
            Self::mac_known_answer,
        );
        self.required(
            "a generated HMAC key gives one answer to one message",
            Self::mac_round_trip,
        );
        self.required("an Ed25519 signature verifies outside", Self::signature);

        self.required(
            "a key made never to leave refuses to be wrapped out",
            Self::wrap_out,
        );
        self.required("the value of a sensitive key cannot be read", Self::values);
        self.required(
            "a key made never to leave cannot be made to",
            Self::weakening,
        );
        self.required("a copy of a key is no weaker than the key", Self::copies);
        self.required(
            "a key made unmodifiable is given no other use",
            Self::modification,
        );
        self.required("a key does only what it was made for", Self::uses);
        self.required(
            "one session uses the keys of another",
            Self::shared_session_objects,
        );
        self.advisory(
            "no key of an interrupted test was left on the token",
            Self::leftovers,
        );
        self.required(
            "a key for good is found again, keeps to itself, and goes when destroyed",
            Self::token_object,
        );
        self.conclude()
    }

    fn conclude(self) -> (Report, Option<Profile>) {
        let passed = !self
            .checks
            .iter()
            .any(|check| check.weight == Weight::Required && check.outcome == Outcome::Failed);
        let profile = if passed { &self.profile.name } else { "none" };
        let report = Report {
            token: TokenIdentity {
                profile: profile.to_owned(),
                ..self.identity.clone()
            },
            module: module::description(self.context, &self.config.module),
            checks: self.checks,
            passed,
        };
        (report, passed.then_some(self.profile))
    }

    fn required(&mut self, name: &str, check: impl FnOnce(&Self) -> Seen) -> bool {
        self.check(Weight::Required, name, check)
    }

    fn advisory(&mut self, name: &str, check: impl FnOnce(&Self) -> Seen) -> bool {
        self.check(Weight::Advisory, name, check)
    }

    fn check(&mut self, weight: Weight, name: &str, check: impl FnOnce(&Self) -> Seen) -> bool {
        let (outcome, detail) = match check(self) {
            Ok(detail) => (Outcome::Passed, detail),
            Err(Unmet::Failed(detail)) => (Outcome::Failed, detail),
            Err(Unmet::Skipped(detail)) => (Outcome::Skipped, detail),
        };
        self.checks.push(Check {
            name: name.to_owned(),
            weight,
            outcome,
            detail,
        });
        outcome == Outcome::Passed
    }

    /// A session of its own: after an error an operation may stay active in the one it befell.
    /// Keys that outlast a check are made in the anchor; all others go with this session.
    fn session(&self) -> Result<Session, Unmet> {
        Ok(self.context.open_rw_session(self.slot)?)
    }

    fn mechanisms(&self) -> Seen {
        let listed = self.context.get_mechanism_list(self.slot)?;
        let needed = [
            MechanismType::AES_KEY_GEN,
            MechanismType::AES_KEY_WRAP,
            MechanismType::AES_GCM,
            MechanismType::GENERIC_SECRET_KEY_GEN,
            MechanismType::SHA256_HMAC,
            MechanismType::ECC_EDWARDS_KEY_PAIR_GEN,
            MechanismType::EDDSA,
        ];
        let missing: Vec<String> = needed
            .iter()
            .filter(|mechanism| !listed.contains(mechanism))
            .map(ToString::to_string)
            .collect();
        if missing.is_empty() {
            seen(format!("{} of {} listed", needed.len(), listed.len()))
        } else {
            failed(format!("missing: {}", missing.join(", ")))
        }
    }

    fn random(&self) -> Seen {
        let mut draws = [[0_u8; 32]; 2];
        for draw in &mut draws {
            self.anchor.generate_random_slice(draw)?;
        }
        if draws[0] == draws[1] || draws.contains(&[0; 32]) {
            return failed("two draws of 32 bytes are equal, or zero");
        }
        seen("two draws of 32 bytes differ")
    }

    fn allowed_mechanisms(&self) -> Seen {
        let session = self.session()?;
        let key = session.generate_key(
            &Mechanism::AesKeyGen,
            &[
                Attribute::Token(false),
                Attribute::ValueLen(32.into()),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
                Attribute::AllowedMechanisms(vec![MechanismType::AES_GCM]),
            ],
        )?;
        objects::seal(&session, key, CONTEXT, PLAINTEXT)?;
        match session.encrypt(&Mechanism::AesCbc([0; 16]), key, PLAINTEXT) {
            Ok(_) => failed("a key for AES-GCM only was used with AES-CBC"),
            Err(error) => seen(describe(&error)),
        }
    }

    fn copyable(&self) -> Seen {
        let session = self.session()?;
        let key = session.generate_key(
            &Mechanism::AesKeyGen,
            &[
                Attribute::Token(false),
                Attribute::ValueLen(32.into()),
                Attribute::Copyable(false),
            ],
        )?;
        match session.copy_object(key, &[]) {
            Ok(_) => failed("it was copied"),
            Err(error) => seen(describe(&error)),
        }
    }

    /// A key-encryption key, a wrapped key, and the same unwrapped, all of `session`.
    fn keys(&self, session: &Session) -> Result<(ObjectHandle, Vec<u8>, ObjectHandle), Unmet> {
        let kek = objects::generate_kek(session, Life::Session, &self.profile)?;
        let key = objects::generate_data_key(session, &self.profile)?;
        let wrapped = objects::wrap(session, kek, key)?;
        objects::destroy(session, key)?;
        let key = objects::unwrap(session, kek, &wrapped, &self.profile)?;
        Ok((kek, wrapped, key))
    }

    fn wrap_round_trip(&self) -> Seen {
        let session = self.session()?;
        let (kek, wrapped, key) = self.keys(&session)?;
        let again = objects::unwrap(&session, kek, &wrapped, &self.profile)?;
        let (nonce, sealed) = objects::seal(&session, key, CONTEXT, PLAINTEXT)?;
        let opened = objects::open(&session, again, CONTEXT, nonce, &sealed)?;
        if opened.as_slice() != PLAINTEXT {
            return failed("unwrapped twice, a key is two keys");
        }
        seen(format!("{} bytes wrapped", wrapped.len()))
    }

    /// A session key with a known value, on tokens that let one be brought in.
    fn known_key(
        session: &Session,
        key_type: KeyType,
        value: &[u8],
        uses: &[Attribute],
    ) -> Result<ObjectHandle, Unmet> {
        let mut attributes = vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(key_type),
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Value(value.to_vec()),
        ];
        attributes.extend_from_slice(uses);
        session.create_object(&attributes).map_err(|error| {
            Unmet::Skipped(format!(
                "no known key can be brought in: {}",
                describe(&error)
            ))
        })
    }

    /// RFC 3394, section 4.6: 256 bits of key data with a 256-bit key.
    fn wrap_known_answer(&self) -> Seen {
        let session = self.session()?;
        let kek = Self::known_key(
            &session,
            KeyType::AES,
            &bytes("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
            &[Attribute::Wrap(true), Attribute::Unwrap(true)],
        )?;
        let key = Self::known_key(
            &session,
            KeyType::AES,
            &bytes("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f"),
            &[Attribute::Extractable(true)],
        )?;
        let wrapped = objects::wrap(&session, kek, key)?;
        if wrapped
            != bytes(
                "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326\
                 cbc7f0e71a99f43bfb988b9b7a02dd21",
            )
        {
            return failed("it is another wrapping, which no other token would unwrap");
        }
        seen("section 4.6")
    }

    fn gcm_round_trip(&self) -> Seen {
        let session = self.session()?;
        let (_, _, key) = self.keys(&session)?;
        for len_bytes in [0, 1, 32, 4096] {
            let plaintext = vec![0xA5; len_bytes];
            let (nonce, sealed) = objects::seal(&session, key, CONTEXT, &plaintext)?;
            let opened = objects::open(&session, key, CONTEXT, nonce, &sealed)?;
            if *opened != plaintext {
                return failed(format!("{len_bytes} bytes opened to others"));
            }
        }
        seen("0, 1, 32 and 4,096 bytes")
    }

    fn gcm_longest(&self) -> Seen {
        let session = self.session()?;
        let (_, _, key) = self.keys(&session)?;
        let plaintext = vec![0xA5; MESSAGE_LEN_BYTES_MAX];
        let (nonce, sealed) = objects::seal(&session, key, CONTEXT, &plaintext)?;
        if *objects::open(&session, key, CONTEXT, nonce, &sealed)? != plaintext {
            return failed("64 KiB opened to others");
        }
        seen("")
    }

    /// McGrew and Viega, "The Galois/Counter Mode of Operation", test case 16.
    fn gcm_known_answer(&self) -> Seen {
        let session = self.session()?;
        let key = Self::known_key(
            &session,
            KeyType::AES,
            &bytes("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"),
            &[Attribute::Encrypt(true), Attribute::Decrypt(true)],
        )?;
        let opened = objects::open(
            &session,
            key,
            &bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
            [
                0xCA, 0xFE, 0xBA, 0xBE, 0xFA, 0xCE, 0xDB, 0xAD, 0xDE, 0xCA, 0xF8, 0x88,
            ],
            &bytes(
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                 8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
                 76fc6ece0f4e1768cddf8853bb2d551b",
            ),
        )?;
        if *opened
            != bytes(
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                 1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
            )
        {
            return failed("it opens to something else");
        }
        seen("test case 16")
    }

    /// Seals, has the result changed, and wants it refused without the token seeming sick.
    fn refuses_to_open(&self, change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) -> Seen {
        let session = self.session()?;
        let (_, _, key) = self.keys(&session)?;
        let (nonce, mut sealed) = objects::seal(&session, key, CONTEXT, PLAINTEXT)?;
        let mut context = CONTEXT.to_vec();
        change(&mut sealed, &mut context);
        let refusal = objects::open(&session, key, &context, nonce, &sealed);
        self.told_apart(refusal.map(drop))
    }

    fn changed_wrapped_key(&self) -> Seen {
        let mut told = String::new();
        for place in [0, 20, 39] {
            let session = self.session()?;
            let (kek, mut wrapped, _) = self.keys(&session)?;
            if let Some(byte) = wrapped.get_mut(place) {
                *byte ^= 1;
            }
            let refusal = objects::unwrap(&session, kek, &wrapped, &self.profile);
            told = self.told_apart(refusal.map(drop))?;
        }
        seen(told)
    }

    fn breaks_down_over_a_changed_key(&self) -> bool {
        let Ok(session) = self.session() else {
            return false;
        };
        let Ok((kek, mut wrapped, _)) = self.keys(&session) else {
            return false;
        };
        if let Some(first) = wrapped.first_mut() {
            *first ^= 1;
        }
        let refusal = objects::unwrap(&session, kek, &wrapped, &self.profile);
        matches!(refusal, Err(Fault::Broken(_)))
    }

    fn told_apart(&self, refusal: Result<(), Fault>) -> Seen {
        match refusal {
            Ok(()) => failed("it was accepted"),
            Err(Fault::Doubtful(reason)) => {
                let session = self.session()?;
                Canary::hatch(&session, &self.profile)?.sing(&session, &self.profile)?;
                seen(format!("{reason}; a known answer comes right after it"))
            }
            Err(fault) => failed(format!(
                "it cannot be told from a breakdown: {}",
                fault.reason()
            )),
        }
    }

    /// RFC 4231, test case 6.
    fn mac_known_answer(&self) -> Seen {
        let session = self.session()?;
        let key = Self::known_key(
            &session,
            KeyType::GENERIC_SECRET,
            &[0xAA; 131],
            &[Attribute::Sign(true)],
        )?;
        let mac = objects::mac(
            &session,
            key,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
        )?;
        if mac != bytes("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54") {
            return failed("it gives another answer");
        }
        seen("test case 6")
    }

    fn mac_round_trip(&self) -> Seen {
        let session = self.session()?;
        let key = objects::generate_mac_key(&session, Life::Session, &self.profile)?;
        let first = objects::mac(&session, key, b"one message")?;
        if first != objects::mac(&session, key, b"one message")?
            || first == objects::mac(&session, key, b"another one")?
        {
            return failed("the answer does not belong to the message");
        }
        seen("")
    }

    fn signature(&self) -> Seen {
        let session = self.session()?;
        let (public, private) =
            objects::generate_signing_key(&session, Life::Session, &self.profile)?;
        let public = objects::public_key_bytes(&session, public)?;
        let signature = objects::sign(&session, private, b"a signed note")?;
        let outside = UnparsedPublicKey::new(&ED25519, public);
        if outside.verify(b"a signed note", &signature).is_err() {
            return failed("another implementation does not accept it");
        }
        if outside.verify(b"a forged note", &signature).is_ok() {
            return failed("it verifies for another message too");
        }
        seen("")
    }

    /// One key of every kind that is never to leave, with a name for people. What this token
    /// cannot make is missing; another check says so.
    fn protected(&self, session: &Session) -> Vec<(&'static str, ObjectHandle)> {
        let profile = &self.profile;
        let mut protected = Vec::new();
        if let Ok((kek, _, key)) = self.keys(session) {
            protected.extend([("a key-encryption key", kek), ("an unwrapped key", key)]);
        }
        if let Ok(mac) = objects::generate_mac_key(session, Life::Session, profile) {
            protected.push(("an HMAC key", mac));
        }
        if let Ok((_, private)) = objects::generate_signing_key(session, Life::Session, profile) {
            protected.push(("a signing key", private));
        }
        protected
    }

    fn wrap_out(&self) -> Seen {
        let session = self.session()?;
        let mut protected = self.protected(&session);
        protected.push(("a plain sensitive key", plain_key(&session)?));
        for (name, key) in &protected {
            self.refuses_to_be_wrapped(name, *key)?;
        }
        seen(names(&protected))
    }

    /// Tries to have `key` out by every wrapping a thief with the PIN would try.
    fn refuses_to_be_wrapped(&self, name: &str, key: ObjectHandle) -> Result<(), Unmet> {
        let session = self.session()?;
        let kek = session.generate_key(
            &Mechanism::AesKeyGen,
            &[
                Attribute::Token(false),
                Attribute::ValueLen(32.into()),
                Attribute::Wrap(true),
                Attribute::Decrypt(true),
            ],
        )?;
        // The way out that is open shows that the refusals below are refusals.
        let free = objects::generate_data_key(&session, &self.profile)?;
        objects::wrap(&session, kek, free)?;
        for mechanism in [
            Mechanism::AesKeyWrap,
            Mechanism::AesKeyWrapPad,
            Mechanism::AesCbc([0; 16]),
            Mechanism::AesCbcPad([0; 16]),
            Mechanism::AesEcb,
        ] {
            if session.wrap_key(&mechanism, kek, key).is_ok() {
                return failed(format!(
                    "{name} was wrapped out by {}",
                    mechanism.mechanism_type()
                ));
            }
        }
        Ok(())
    }

    fn values(&self) -> Seen {
        let session = self.session()?;
        let mut sensitive = self.protected(&session);
        // An extractable key may be wrapped out, but its value may not be read either.
        let free = objects::generate_data_key(&session, &self.profile)?;
        sensitive.push(("a key about to be wrapped", free));
        for (name, key) in &sensitive {
            refuses_to_be_read(&session, name, *key)?;
        }
        seen(names(&sensitive))
    }

    fn weakening(&self) -> Seen {
        for weaker in [Attribute::Extractable(true), Attribute::Sensitive(false)] {
            let session = self.session()?;
            // Modifiable, so that it is this change which is refused and not any.
            let key = plain_key(&session)?;
            let changed = session.update_attributes(key, std::slice::from_ref(&weaker));
            let now = session.get_attributes(key, &[weaker.attribute_type()])?;
            if changed.is_ok() || now.contains(&weaker) {
                return failed(format!("{} could be changed", weaker.attribute_type()));
            }
        }
        seen("neither CKA_EXTRACTABLE nor CKA_SENSITIVE changes")
    }

    fn copies(&self) -> Seen {
        for weaker in [Attribute::Extractable(true), Attribute::Sensitive(false)] {
            let session = self.session()?;
            let key = plain_key(&session)?;
            if let Ok(copy) = session.copy_object(key, std::slice::from_ref(&weaker)) {
                let attributes = session.get_attributes(copy, &[weaker.attribute_type()])?;
                if attributes.contains(&weaker) {
                    return failed(format!("a copy had another {}", weaker.attribute_type()));
                }
            }
        }
        seen("")
    }

    fn modification(&self) -> Seen {
        let session = self.session()?;
        let kek = objects::generate_kek(&session, Life::Session, &self.profile)?;
        match session.update_attributes(kek, &[Attribute::Decrypt(true)]) {
            Ok(()) => failed("a key-encryption key was allowed to decrypt"),
            Err(error) => seen(describe(&error)),
        }
    }

    fn uses(&self) -> Seen {
        let session = self.session()?;
        let (kek, wrapped, key) = self.keys(&session)?;
        let mac = objects::generate_mac_key(&session, Life::Session, &self.profile)?;
        for mechanism in [Mechanism::AesEcb, Mechanism::AesCbc([0; 16])] {
            if self.session()?.decrypt(&mechanism, kek, &wrapped).is_ok() {
                return failed("a key-encryption key decrypts what it wrapped");
            }
        }
        let free = objects::generate_data_key(&session, &self.profile)?;
        if self
            .session()?
            .encrypt(&Mechanism::AesCbc([0; 16]), free, PLAINTEXT)
            .is_ok()
        {
            return failed("a key with no use encrypts");
        }
        if objects::wrap(&self.session()?, key, free).is_ok() {
            return failed("a key for sealing wraps");
        }
        if objects::wrap(&self.session()?, mac, free).is_ok() {
            return failed("an HMAC key wraps");
        }
        seen("")
    }

    fn shared_session_objects(&self) -> Seen {
        let (kek, _, key) = self.keys(self.anchor)?;
        let session = self.session()?;
        let shared = objects::seal(&session, key, CONTEXT, PLAINTEXT);
        objects::destroy(self.anchor, key)?;
        objects::destroy(self.anchor, kek)?;
        shared?;
        seen("")
    }

    fn leftovers(&self) -> Seen {
        let mut count = 0;
        for key in self.anchor.find_objects(&[
            Attribute::Token(true),
            Attribute::Class(ObjectClass::SECRET_KEY),
        ])? {
            let label = self.anchor.get_attributes(key, &[AttributeType::Label])?;
            count += usize::from(label.iter().any(|attribute| {
                matches!(attribute, Attribute::Label(label) if label.starts_with(TEST_LABEL.as_bytes()))
            }));
        }
        match count {
            0 => seen(""),
            _ => failed(format!(
                "{count} keys labelled {TEST_LABEL}-… are there; they protect nothing and can be removed"
            )),
        }
    }

    fn token_object(&self) -> Seen {
        let session = self.session()?;
        let mut id = [0; 16];
        session.generate_random_slice(&mut id)?;
        // A label of its own, so that two tests of one token do not find each other's key.
        let label = format!("{TEST_LABEL}-{}", HEXLOWER.encode(&id));
        let life = Life::Token {
            label: &label,
            id: &id,
        };
        let kek = objects::generate_kek(&session, life, &self.profile)?;
        let examined = self.examine_token_object(&label, kek);
        objects::destroy(&session, kek)?;
        examined?;
        match objects::find(&self.session()?, KeyKind::Kek, &label) {
            Err(Fault::Refused(Refusal::NoSuchKey(_))) => seen(""),
            _ => failed("it is still there after it was destroyed"),
        }
    }

    fn examine_token_object(&self, label: &str, kek: ObjectHandle) -> Result<(), Unmet> {
        let name = "a key-encryption key on the token for good";
        let session = self.session()?;
        let found = objects::find(&session, KeyKind::Kek, label)?;
        let key = objects::generate_data_key(&session, &self.profile)?;
        let wrapped = objects::wrap(&session, found, key)?;
        objects::unwrap(&session, kek, &wrapped, &self.profile)?;
        refuses_to_be_read(&session, name, found)?;
        self.refuses_to_be_wrapped(name, found)
    }
}

/// A sensitive, non-extractable key with none of the further attributes this program sets.
fn plain_key(session: &Session) -> Result<ObjectHandle, Unmet> {
    Ok(session.generate_key(
        &Mechanism::AesKeyGen,
        &[
            Attribute::Token(false),
            Attribute::ValueLen(32.into()),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
        ],
    )?)
}

fn names(keys: &[(&'static str, ObjectHandle)]) -> String {
    let names: Vec<&str> = keys.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

fn refuses_to_be_read(session: &Session, name: &str, key: ObjectHandle) -> Result<(), Unmet> {
    let values = session
        .get_attributes(key, &[AttributeType::Value])
        .unwrap_or_default();
    let is_value =
        |attribute: &Attribute| matches!(attribute, Attribute::Value(value) if !value.is_empty());
    if values.iter().any(is_value) {
        return failed(format!("the value of {name} could be read"));
    }
    Ok(())
}

/// The bytes of a constant of this file.
fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER
        .decode(hex.as_bytes())
        .expect("the constants of this file are hexadecimal")
}
