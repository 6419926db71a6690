//! Keys that another token of the owner is to be able to take over: unwrapped into the session for
//! as long as it takes to wrap them for it.

use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;

use super::fault::Fault;
use super::import::oaep;
use super::objects::{self, Life};
use super::{shared, signing};
use crate::der;
use crate::spec::{CarriedKind, OaepHash};
use crate::wire::{Profile, Refusal};

const MODULUS_LEN_BITS: u64 = 3_072;
const EXPONENT: [u8; 3] = [1, 0, 1];
const KEY_LEN_BYTES: u64 = 32;

/// Makes the pair that keys are wrapped for, on the token for good. Its private key unwraps and does
/// nothing else.
pub(super) fn generate_pair(
    session: &Session,
    label: &str,
    id: &[u8; 16],
    profile: &Profile,
) -> Result<(), Fault> {
    let public = [
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
        Attribute::ModulusBits(Ulong::new(MODULUS_LEN_BITS)),
        Attribute::PublicExponent(EXPONENT.to_vec()),
        Attribute::Wrap(true),
        Attribute::Encrypt(false),
        Attribute::Verify(false),
    ];
    let mut private = objects::secret_attributes(Life::Token { label, id }, false);
    private.extend([
        Attribute::Unwrap(true),
        Attribute::Decrypt(false),
        Attribute::Sign(false),
        Attribute::Derive(false),
    ]);
    objects::restrict(&mut private, Some(MechanismType::RSA_PKCS_OAEP), profile);
    session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private)?;
    Ok(())
}

/// The public keys on the token that bear `id`.
pub(super) fn public_halves(session: &Session, id: &[u8]) -> Result<Vec<ObjectHandle>, Fault> {
    session
        .find_objects(&[
            Attribute::Token(true),
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(KeyType::RSA),
            Attribute::Id(id.to_vec()),
        ])
        .map_err(Fault::from)
}

/// The `SubjectPublicKeyInfo` of the pair whose private key has this `CKA_ID`.
pub(super) fn public_key(session: &Session, id: &[u8]) -> Result<Vec<u8>, Fault> {
    let found = public_halves(session, id)?;
    let [public] = found[..] else {
        return Err(Fault::Refused(Refusal::Unsupported(format!(
            "{} public keys of the token belong to one private key",
            found.len()
        ))));
    };
    let modulus = session
        .get_attributes(public, &[AttributeType::Modulus])?
        .into_iter()
        .find_map(|attribute| match attribute {
            Attribute::Modulus(modulus) => Some(modulus),
            _ => None,
        });
    modulus
        .map(|modulus| der::rsa_public_key(&modulus, &EXPONENT))
        .ok_or_else(|| {
            Fault::Refused(Refusal::Unsupported(
                "the token gives no modulus of an RSA key".into(),
            ))
        })
}

/// The attributes of a key that is in the session to be wrapped once.
fn passing(kind: CarriedKind, profile: &Profile) -> Vec<Attribute> {
    let (class, key_type) = match kind {
        CarriedKind::Aes => (ObjectClass::SECRET_KEY, KeyType::AES),
        CarriedKind::Mac(_) => (ObjectClass::SECRET_KEY, KeyType::GENERIC_SECRET),
        CarriedKind::Pair(spec) if der::curve(spec).is_some() => {
            (ObjectClass::PRIVATE_KEY, KeyType::EC)
        }
        CarriedKind::Pair(_) => (ObjectClass::PRIVATE_KEY, KeyType::RSA),
    };
    let mut attributes = vec![Attribute::Class(class), Attribute::KeyType(key_type)];
    attributes.extend(objects::secret_attributes(Life::Session, true));
    attributes.extend([Attribute::Sign(false), Attribute::Decrypt(false)]);
    if class == ObjectClass::SECRET_KEY {
        attributes.extend([Attribute::Encrypt(false), Attribute::Wrap(false)]);
    }
    attributes.extend([Attribute::Unwrap(false), Attribute::Derive(false)]);
    objects::restrict(&mut attributes, None, profile);
    attributes
}

/// Has each key pass from one wrapping key to another through the session.
fn pass(
    session: &Session,
    (from, to): (ObjectHandle, ObjectHandle),
    keys: &[(CarriedKind, &[u8])],
    profile: &Profile,
) -> Result<Vec<Vec<u8>>, Fault> {
    keys.iter()
        .map(|(kind, wrapped)| {
            let attributes = passing(*kind, profile);
            let key = objects::unwrap_as(session, from, wrapped, &attributes, profile)?;
            let again = signing::wrap(session, to, key);
            objects::destroy(session, key)?;
            let mut again = again?;
            // Some modules overestimate the length when asked for it. One key has one length.
            if again.len() < wrapped.len() {
                return Err(Fault::Broken("it wraps less than it was given".into()));
            }
            again.truncate(wrapped.len());
            Ok(again)
        })
        .collect()
}

/// Wraps keys by a new transport key, and that for an RSA public key by RSAES-OAEP with SHA-1.
pub(super) fn export(
    session: &Session,
    kek: ObjectHandle,
    keys: &[(CarriedKind, &[u8])],
    modulus: &[u8],
    profile: &Profile,
) -> Result<(Vec<u8>, Vec<Vec<u8>>), Fault> {
    let recipient = shared::recipient(session, modulus)?;
    let mut attributes = objects::secret_attributes(Life::Session, true);
    attributes.extend([
        Attribute::ValueLen(KEY_LEN_BYTES.into()),
        Attribute::Wrap(true),
        Attribute::Unwrap(false),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
    ]);
    let transport = session.generate_key(&Mechanism::AesKeyGen, &attributes);
    let exported = transport.map_err(Fault::from).and_then(|transport| {
        let passed = pass(session, (kek, transport), keys, profile);
        let wrapped = session.wrap_key(&oaep(OaepHash::Sha1), recipient, transport);
        objects::destroy(session, transport)?;
        Ok((wrapped?, passed?))
    });
    objects::destroy(session, recipient)?;
    exported
}

/// Unwraps the transport key by the private key of the pair, and has the keys pass to the
/// key-encryption key.
pub(super) fn take_over(
    session: &Session,
    private: ObjectHandle,
    transport: &[u8],
    keys: &[(CarriedKind, &[u8])],
    kek: ObjectHandle,
    profile: &Profile,
) -> Result<Vec<Vec<u8>>, Fault> {
    let transport = session.unwrap_key(
        &oaep(OaepHash::Sha1),
        private,
        transport,
        &[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Unwrap(true),
            Attribute::Wrap(false),
        ],
    );
    let transport = transport.map_err(|error| objects::not_unwrapped(error, profile))?;
    let passed = pass(session, (transport, kek), keys, profile);
    objects::destroy(session, transport)?;
    passed
}
