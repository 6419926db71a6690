//! Keys as PKCS#11 objects: the attributes they are made with, and how they are found again.

use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;
use zeroize::Zeroizing;

use super::fault::Fault;
use crate::attributes::KeyAttributes;
use crate::limits::{TAG_LEN_BYTES, WRAPPED_LEN_BYTES};
use crate::token::KeyLabel;
use crate::wire::{KeyKind, Profile, Refusal};

const KEY_LEN_BYTES: u64 = 32;
/// The object identifier 1.3.101.112 of Ed25519 (RFC 8410), as `CKA_EC_PARAMS`.
pub(super) const ED25519: [u8; 5] = [0x06, 0x03, 0x2B, 0x65, 0x70];

/// Whether a key lives on the token for good, and under which name, or with the session.
#[derive(Clone, Copy)]
pub(super) enum Life<'a> {
    Token { label: &'a str, id: &'a [u8; 16] },
    Session,
}

/// What every key has: private, sensitive, and a name where it stays.
pub(super) fn secret_attributes(life: Life<'_>, extractable: bool) -> Vec<Attribute> {
    let mut attributes = vec![
        Attribute::Token(matches!(life, Life::Token { .. })),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(extractable),
    ];
    if let Life::Token { label, id } = life {
        attributes.push(Attribute::Label(label.as_bytes().to_vec()));
        attributes.push(Attribute::Id(id.to_vec()));
    }
    attributes
}

/// Adds what keeps a key to `mechanisms`, uncopied and unchanged.
///
/// `CKA_MODIFIABLE` is the last: SoftHSM sets the attributes of an unwrapped key one by one, and
/// refuses those that come after it.
pub(super) fn restrict(
    attributes: &mut Vec<Attribute>,
    mechanisms: impl IntoIterator<Item = MechanismType>,
    profile: &Profile,
) {
    let mechanisms: Vec<MechanismType> = mechanisms.into_iter().collect();
    if profile.restricts_mechanisms && !mechanisms.is_empty() {
        attributes.push(Attribute::AllowedMechanisms(mechanisms));
    }
    if profile.forbids_copies {
        attributes.push(Attribute::Copyable(false));
    }
    attributes.push(Attribute::Modifiable(false));
}

/// What a key-encryption key is for: it wraps and unwraps.
pub(super) fn kek_uses() -> [Attribute; 7] {
    [
        Attribute::Wrap(true),
        Attribute::Unwrap(true),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
        Attribute::Sign(false),
        Attribute::Verify(false),
        Attribute::Derive(false),
    ]
}

/// What an HMAC key is for.
pub(super) fn mac_uses() -> [Attribute; 6] {
    [
        Attribute::Sign(true),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]
}

/// Makes an AES-256 key-encryption key: it wraps and unwraps, and does nothing else.
pub(super) fn generate_kek(
    session: &Session,
    life: Life<'_>,
    profile: &Profile,
) -> Result<ObjectHandle, Fault> {
    let mut attributes = secret_attributes(life, false);
    attributes.push(Attribute::ValueLen(KEY_LEN_BYTES.into()));
    attributes.extend(kek_uses());
    restrict(&mut attributes, Some(MechanismType::AES_KEY_WRAP), profile);
    session
        .generate_key(&Mechanism::AesKeyGen, &attributes)
        .map_err(Fault::from)
}

/// Makes an HMAC-SHA-256 key.
pub(super) fn generate_mac_key(
    session: &Session,
    life: Life<'_>,
    profile: &Profile,
) -> Result<ObjectHandle, Fault> {
    let mut attributes = secret_attributes(life, false);
    attributes.push(Attribute::ValueLen(KEY_LEN_BYTES.into()));
    attributes.extend(mac_uses());
    restrict(&mut attributes, Some(MechanismType::SHA256_HMAC), profile);
    session
        .generate_key(&Mechanism::GenericSecretKeyGen, &attributes)
        .map_err(Fault::from)
}

/// Makes an Ed25519 key pair: the public and the private key.
pub(super) fn generate_signing_key(
    session: &Session,
    life: Life<'_>,
    profile: &Profile,
) -> Result<(ObjectHandle, ObjectHandle), Fault> {
    let mut public = vec![
        Attribute::Token(matches!(life, Life::Token { .. })),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(ED25519.to_vec()),
    ];
    if let Life::Token { label, id } = life {
        public.push(Attribute::Label(label.as_bytes().to_vec()));
        public.push(Attribute::Id(id.to_vec()));
    }
    let mut private = secret_attributes(life, false);
    private.extend([Attribute::Sign(true), Attribute::Derive(false)]);
    restrict(&mut private, Some(MechanismType::EDDSA), profile);
    session
        .generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &private)
        .map_err(Fault::from)
}

/// Makes an AES-256 key that exists only to be wrapped out once and destroyed: no mechanism may
/// use it, and its value can still not be read.
pub(super) fn generate_data_key(
    session: &Session,
    profile: &Profile,
) -> Result<ObjectHandle, Fault> {
    let mut attributes = secret_attributes(Life::Session, true);
    attributes.extend([
        Attribute::ValueLen(KEY_LEN_BYTES.into()),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]);
    restrict(&mut attributes, None, profile);
    session
        .generate_key(&Mechanism::AesKeyGen, &attributes)
        .map_err(Fault::from)
}

/// Wraps `key` by `kek` as RFC 3394 says.
pub(super) fn wrap(
    session: &Session,
    kek: ObjectHandle,
    key: ObjectHandle,
) -> Result<Vec<u8>, Fault> {
    let mut wrapped = session.wrap_key(&Mechanism::AesKeyWrap, kek, key)?;
    // Some modules overestimate the length when asked for it, and the rest stays zero.
    if wrapped.len() < WRAPPED_LEN_BYTES {
        return Err(Fault::Refused(Refusal::Unsupported(format!(
            "a wrapped AES-256 key has {} bytes",
            wrapped.len()
        ))));
    }
    wrapped.truncate(WRAPPED_LEN_BYTES);
    Ok(wrapped)
}

/// Unwraps a data key into the session: it seals and opens, and can never be wrapped out again.
pub(super) fn unwrap(
    session: &Session,
    kek: ObjectHandle,
    wrapped: &[u8],
    profile: &Profile,
) -> Result<ObjectHandle, Fault> {
    let mut attributes = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
    ];
    attributes.extend(secret_attributes(Life::Session, false));
    attributes.extend([
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]);
    restrict(&mut attributes, Some(MechanismType::AES_GCM), profile);
    unwrap_as(session, kek, wrapped, &attributes, profile)
}

/// Unwraps a key with these attributes.
pub(super) fn unwrap_as(
    session: &Session,
    kek: ObjectHandle,
    wrapped: &[u8],
    attributes: &[Attribute],
    profile: &Profile,
) -> Result<ObjectHandle, Fault> {
    session
        .unwrap_key(&Mechanism::AesKeyWrap, kek, wrapped, attributes)
        .map_err(|error| not_unwrapped(error, profile))
}

/// What an error of an unwrapping means.
pub(super) fn not_unwrapped(error: cryptoki::error::Error, profile: &Profile) -> Fault {
    match Fault::from(error) {
        Fault::Broken(reason) if profile.doubts_unwrapping => Fault::Doubtful(reason),
        fault => fault,
    }
}

fn tag_len_bits() -> Ulong {
    Ulong::new(8 * TAG_LEN_BYTES as u64)
}

/// Seals with AES-256-GCM under a nonce from the token's own generator.
pub(super) fn seal(
    session: &Session,
    key: ObjectHandle,
    context: &[u8],
    plaintext: &[u8],
) -> Result<([u8; 12], Vec<u8>), Fault> {
    let mut nonce = [0; 12];
    random(session, &mut nonce)?;
    // A token that insists on a nonce of its own writes it over the given one.
    let sealed = GcmParams::new(&mut nonce, context, tag_len_bits())
        .and_then(|parameters| session.encrypt(&Mechanism::AesGcm(parameters), key, plaintext))?;
    if sealed.len() != plaintext.len() + TAG_LEN_BYTES {
        return Err(Fault::Broken(format!(
            "{} bytes were sealed to {}",
            plaintext.len(),
            sealed.len()
        )));
    }
    Ok((nonce, sealed))
}

/// Opens what [`seal`] sealed.
pub(super) fn open(
    session: &Session,
    key: ObjectHandle,
    context: &[u8],
    mut nonce: [u8; 12],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let plaintext = GcmParams::new(&mut nonce, context, tag_len_bits())
        .and_then(|parameters| session.decrypt(&Mechanism::AesGcm(parameters), key, sealed))
        .map(Zeroizing::new)?;
    if plaintext.len() + TAG_LEN_BYTES != sealed.len() {
        return Err(Fault::Broken(format!(
            "{} bytes were opened to {}",
            sealed.len(),
            plaintext.len()
        )));
    }
    Ok(plaintext)
}

/// Fills `bytes` from the token's generator.
pub(super) fn random(session: &Session, bytes: &mut [u8]) -> Result<(), Fault> {
    session.generate_random_slice(bytes)?;
    // Eight zero bytes come once in 2^64 draws, and else where nothing was drawn.
    if bytes.len() >= 8 && bytes.iter().all(|byte| *byte == 0) {
        return Err(Fault::Broken("its random bytes are all zero".into()));
    }
    Ok(())
}

/// The HMAC-SHA-256 of `message`.
pub(super) fn mac(session: &Session, key: ObjectHandle, message: &[u8]) -> Result<Vec<u8>, Fault> {
    sized(
        session.sign(&Mechanism::Sha256Hmac, key, message),
        32,
        "an HMAC-SHA-256",
    )
}

/// The Ed25519 signature of `message`.
pub(super) fn sign(session: &Session, key: ObjectHandle, message: &[u8]) -> Result<Vec<u8>, Fault> {
    let pure = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
    sized(
        session.sign(&pure, key, message),
        64,
        "an Ed25519 signature",
    )
}

pub(super) fn sized(
    made: cryptoki::error::Result<Vec<u8>>,
    len_bytes: usize,
    what: &str,
) -> Result<Vec<u8>, Fault> {
    let made = made?;
    if made.len() != len_bytes {
        return Err(Fault::Broken(format!("{what} of {} bytes", made.len())));
    }
    Ok(made)
}

/// The keys on the token for good that bear `label`, whatever they are for. A public key counts
/// for nothing: it is found by its private one.
pub(super) fn all_labelled(session: &Session, label: &str) -> Result<Vec<ObjectHandle>, Fault> {
    let mut found = Vec::new();
    for class in [ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY] {
        found.extend(session.find_objects(&[
            Attribute::Token(true),
            Attribute::Class(class),
            Attribute::Label(label.as_bytes().to_vec()),
        ])?);
    }
    Ok(found)
}

/// The one key of `kind` on the token that bears `label`.
///
/// A key that could leave the token is not taken, whoever put it there.
pub(super) fn find(session: &Session, kind: KeyKind, label: &str) -> Result<ObjectHandle, Fault> {
    let (class, key_type) = match kind {
        KeyKind::Kek => (ObjectClass::SECRET_KEY, KeyType::AES),
        KeyKind::Mac => (ObjectClass::SECRET_KEY, KeyType::GENERIC_SECRET),
        KeyKind::Signing => (ObjectClass::PRIVATE_KEY, KeyType::EC_EDWARDS),
        KeyKind::Escrow => (ObjectClass::PRIVATE_KEY, KeyType::RSA),
    };
    let found = session.find_objects(&[
        Attribute::Token(true),
        Attribute::Class(class),
        Attribute::KeyType(key_type),
        Attribute::Label(label.as_bytes().to_vec()),
    ])?;
    let key = match found[..] {
        [] => {
            return Err(Fault::Refused(Refusal::NoSuchKey(KeyLabel(
                label.to_owned(),
            ))));
        }
        [key] => key,
        _ => {
            return Err(Fault::Refused(Refusal::Unsupported(format!(
                "{} keys of the token are labelled {label}",
                found.len()
            ))));
        }
    };
    let attributes =
        session.get_attributes(key, &[AttributeType::Sensitive, AttributeType::Extractable])?;
    if !attributes.contains(&Attribute::Sensitive(true))
        || !attributes.contains(&Attribute::Extractable(false))
    {
        return Err(Fault::Refused(Refusal::Unsupported(format!(
            "the key labelled {label} is not one that cannot leave the token"
        ))));
    }
    Ok(key)
}

/// The `CKA_ID` of an object.
pub(super) fn id_of(session: &Session, object: ObjectHandle) -> Result<Vec<u8>, Fault> {
    let attributes = session.get_attributes(object, &[AttributeType::Id])?;
    Ok(attributes
        .into_iter()
        .find_map(|attribute| match attribute {
            Attribute::Id(id) => Some(id),
            _ => None,
        })
        .unwrap_or_default())
}

/// What the token says of a key.
pub(super) fn attributes(
    session: &Session,
    kind: KeyKind,
    label: &str,
    key: ObjectHandle,
) -> Result<KeyAttributes, Fault> {
    // One by one: a module may know some of them and not others.
    let read = |asked: AttributeType| session.get_attributes(key, &[asked]).ok()?.pop();
    let truth = |asked: AttributeType| match read(asked)? {
        Attribute::Token(truth)
        | Attribute::Private(truth)
        | Attribute::Sensitive(truth)
        | Attribute::AlwaysSensitive(truth)
        | Attribute::Extractable(truth)
        | Attribute::NeverExtractable(truth)
        | Attribute::Local(truth)
        | Attribute::Modifiable(truth) => Some(truth),
        _ => None,
    };
    Ok(KeyAttributes {
        label: label.to_owned(),
        kind: match kind {
            KeyKind::Kek => "AES",
            KeyKind::Mac => "HMAC",
            KeyKind::Signing => "Ed25519",
            KeyKind::Escrow => "RSA",
        }
        .into(),
        id: data_encoding::HEXLOWER.encode(&id_of(session, key)?),
        token: truth(AttributeType::Token),
        private: truth(AttributeType::Private),
        sensitive: truth(AttributeType::Sensitive),
        always_sensitive: truth(AttributeType::AlwaysSensitive),
        extractable: truth(AttributeType::Extractable),
        never_extractable: truth(AttributeType::NeverExtractable),
        local: truth(AttributeType::Local),
        modifiable: truth(AttributeType::Modifiable),
    })
}

/// The public keys on the token that bear `id`.
pub(super) fn public_keys(session: &Session, id: &[u8]) -> Result<Vec<ObjectHandle>, Fault> {
    session
        .find_objects(&[
            Attribute::Token(true),
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(KeyType::EC_EDWARDS),
            Attribute::Id(id.to_vec()),
        ])
        .map_err(Fault::from)
}

/// The 32 bytes of an Ed25519 public key.
pub(super) fn public_key_bytes(session: &Session, key: ObjectHandle) -> Result<Vec<u8>, Fault> {
    let attributes = session.get_attributes(key, &[AttributeType::EcPoint])?;
    let point = attributes
        .into_iter()
        .find_map(|attribute| match attribute {
            Attribute::EcPoint(point) => Some(point),
            _ => None,
        });
    // PKCS#11 v3.0 has the bare 32 bytes, v2.40 modules a DER octet string around them.
    match point.as_deref() {
        Some([0x04, 0x20, bare @ ..]) if bare.len() == 32 => Ok(bare.to_vec()),
        Some(bare) if bare.len() == 32 => Ok(bare.to_vec()),
        _ => Err(Fault::Refused(Refusal::Unsupported(
            "the token gives no Ed25519 public key in CKA_EC_POINT".into(),
        ))),
    }
}

/// Destroys an object.
pub(super) fn destroy(session: &Session, object: ObjectHandle) -> Result<(), Fault> {
    session.destroy_object(object).map_err(Fault::from)
}
