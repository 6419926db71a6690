//! Keys that two tokens are to hold: made in one, carried under a key that both have for as long
//! as it takes, and unextractable in both from then on.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;

use super::fault::Fault;
use super::objects::{self, ED25519, Life};
use crate::token::{KeyLabel, TokenKeys};
use crate::wire::{Carried, Profile, Refusal};

const MODULUS_LEN_BITS: u64 = 3_072;
const EXPONENT: [u8; 3] = [1, 0, 1];
const KEY_LEN_BYTES: u64 = 32;
/// The private key of Ed25519 (RFC 8032).
const SEED_LEN_BYTES: usize = 32;

/// What a token keeps in its session between the steps of a ceremony.
#[derive(Clone, Copy)]
pub(super) enum Transport {
    /// The RSA private key for which it gave out the public one.
    Offered(ObjectHandle),
    /// The AES key under which the others are carried.
    Shared(ObjectHandle),
}

/// RSAES-OAEP with SHA-1 (RFC 8017), the one hash for it that every token knows. What OAEP needs
/// of the hash is not what SHA-1 has lost.
fn oaep() -> Mechanism<'static> {
    Mechanism::RsaPkcsOaep(PkcsOaepParams::new(
        MechanismType::SHA1,
        PkcsMgfType::MGF1_SHA1,
        PkcsOaepSource::empty(),
    ))
}

/// Makes a key pair of this session alone, and gives the modulus of its public key.
pub(super) fn offer(session: &Session) -> Result<(Transport, Vec<u8>), Fault> {
    let public = [
        Attribute::Token(false),
        Attribute::ModulusBits(Ulong::new(MODULUS_LEN_BITS)),
        Attribute::PublicExponent(EXPONENT.to_vec()),
        Attribute::Wrap(true),
        Attribute::Encrypt(false),
        Attribute::Verify(false),
    ];
    let private = [
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Unwrap(true),
        Attribute::Decrypt(false),
        Attribute::Sign(false),
    ];
    let (public, private) =
        session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private)?;
    let modulus = session
        .get_attributes(public, &[AttributeType::Modulus])?
        .into_iter()
        .find_map(|attribute| match attribute {
            Attribute::Modulus(modulus) => Some(modulus),
            _ => None,
        });
    let modulus = modulus.ok_or_else(|| {
        Fault::Refused(Refusal::Unsupported(
            "the token gives no modulus of an RSA key".into(),
        ))
    })?;
    Ok((Transport::Offered(private), modulus))
}

/// The public key of another token, as an object of the session for which keys can be wrapped.
pub(super) fn recipient(session: &Session, modulus: &[u8]) -> Result<ObjectHandle, Fault> {
    Ok(session.create_object(&[
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::RSA),
        Attribute::Token(false),
        Attribute::Wrap(true),
        Attribute::Modulus(modulus.to_vec()),
        Attribute::PublicExponent(EXPONENT.to_vec()),
    ])?)
}

/// Makes the keys, and gives them out wrapped by a new transport key, which is itself wrapped for
/// the token that offered `modulus`. Nothing is on this token for good yet.
///
/// What is extractable here are objects of the session, which go with this process. The signing key
/// alone is in its memory for a while: tokens of the field wrap no Ed25519 key.
pub(super) fn make(session: &Session, modulus: &[u8]) -> Result<(Transport, Carried), Fault> {
    let recipient = recipient(session, modulus)?;
    let transport = session.generate_key(
        &Mechanism::AesKeyGen,
        &passing(&[
            Attribute::ValueLen(KEY_LEN_BYTES.into()),
            Attribute::Wrap(true),
            Attribute::Unwrap(true),
        ]),
    )?;
    let kek = session.generate_key(
        &Mechanism::AesKeyGen,
        &passing(&[Attribute::ValueLen(KEY_LEN_BYTES.into())]),
    )?;
    let mac = session.generate_key(
        &Mechanism::GenericSecretKeyGen,
        &passing(&[Attribute::ValueLen(KEY_LEN_BYTES.into())]),
    )?;
    let mut seed = vec![0; SEED_LEN_BYTES];
    objects::random(session, &mut seed)?;
    let carried = Carried {
        transport: session.wrap_key(&oaep(), recipient, transport)?,
        kek: objects::wrap(session, transport, kek)?,
        mac: objects::wrap(session, transport, mac)?,
        seed,
    };
    for passed in [recipient, kek, mac] {
        objects::destroy(session, passed)?;
    }
    Ok((Transport::Shared(transport), carried))
}

/// The attributes of a key that exists to be wrapped once, in the session.
fn passing(further: &[Attribute]) -> Vec<Attribute> {
    let mut attributes = vec![
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(true),
    ];
    attributes.extend_from_slice(further);
    attributes
}

/// Puts carried keys on the token for good, all or none, each as if it had been made there: not
/// extractable, not modifiable, good for one thing.
pub(super) fn take(
    session: &Session,
    transport: Transport,
    carried: &Carried,
    keys: &TokenKeys,
    id: &[u8; 16],
    profile: &Profile,
) -> Result<(), Fault> {
    for label in keys.labels() {
        if !objects::all_labelled(session, &label.0)?.is_empty() {
            return Err(Fault::Refused(Refusal::KeyExists(KeyLabel(
                label.0.clone(),
            ))));
        }
    }
    let shared = match transport {
        Transport::Shared(shared) => shared,
        Transport::Offered(private) => session.unwrap_key(
            &oaep(),
            private,
            &carried.transport,
            &[
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::Token(false),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Unwrap(true),
            ],
        )?,
    };
    let taken = take_each(session, shared, carried, keys, id, profile);
    if taken.is_err() {
        drop_taken(session, keys, id)?;
    }
    objects::destroy(session, shared)?;
    // Nothing of the caller's is in it: one token has just made it for the other.
    taken.map_err(Fault::not_of_the_caller)
}

fn take_each(
    session: &Session,
    shared: ObjectHandle,
    carried: &Carried,
    keys: &TokenKeys,
    id: &[u8; 16],
    profile: &Profile,
) -> Result<(), Fault> {
    let life = |label: &'_ KeyLabel| -> Vec<Attribute> {
        objects::secret_attributes(
            Life::Token {
                label: &label.0,
                id,
            },
            false,
        )
    };
    let mut kek = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
    ];
    kek.extend(life(&keys.kek));
    kek.extend(objects::kek_uses());
    objects::restrict(&mut kek, Some(MechanismType::AES_KEY_WRAP), profile);
    session.unwrap_key(&Mechanism::AesKeyWrap, shared, &carried.kek, &kek)?;

    let mut mac = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
    ];
    mac.extend(life(&keys.mac));
    mac.extend(objects::mac_uses());
    objects::restrict(&mut mac, Some(MechanismType::SHA256_HMAC), profile);
    session.unwrap_key(&Mechanism::AesKeyWrap, shared, &carried.mac, &mac)?;

    let pair = Ed25519KeyPair::from_seed_unchecked(&carried.seed)
        .map_err(|_| Fault::Broken("no key pair comes of its random bytes".into()))?;
    let mut private = vec![
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(KeyType::EC_EDWARDS),
    ];
    private.extend(life(&keys.signing));
    private.extend([
        Attribute::EcParams(ED25519.to_vec()),
        Attribute::Value(carried.seed.clone()),
        Attribute::Sign(true),
        Attribute::Derive(false),
    ]);
    objects::restrict(&mut private, Some(MechanismType::EDDSA), profile);
    session.create_object(&private)?;
    let mut point = vec![0x04, 0x20];
    point.extend_from_slice(pair.public_key().as_ref());
    session.create_object(&[
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::EC_EDWARDS),
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(ED25519.to_vec()),
        Attribute::EcPoint(point),
        Attribute::Label(keys.signing.0.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
    ])?;
    Ok(())
}

/// Takes back what [`take`] put on the token under `id`.
pub(super) fn drop_taken(session: &Session, keys: &TokenKeys, id: &[u8; 16]) -> Result<(), Fault> {
    let mut taken = objects::public_keys(session, id)?;
    for label in keys.labels() {
        for key in objects::all_labelled(session, &label.0)? {
            if objects::id_of(session, key)? == id {
                taken.push(key);
            }
        }
    }
    for key in taken {
        objects::destroy(session, key)?;
    }
    Ok(())
}
