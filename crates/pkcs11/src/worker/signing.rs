//! HMAC keys and key pairs: made to be wrapped out, and unwrapped into the session to be used.

use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;
use zeroize::Zeroizing;

use super::fault::Fault;
use super::oaep;
use super::objects::{self, Life};
use crate::der;
use crate::spec::{MacSpec, OaepHash, PairSpec, PairUse, SignatureHash, SignatureScheme};
use crate::wire::{Profile, Refusal};

const EXPONENT: [u8; 3] = [0x01, 0x00, 0x01];

/// What comes before a digest in RSASSA-PKCS1-v1_5 (RFC 8017, section 9.2, notes).
const fn digest_info(hash: SignatureHash) -> &'static [u8] {
    match hash {
        SignatureHash::Sha256 => &[
            0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x01, 0x05, 0x00, 0x04, 0x20,
        ],
        SignatureHash::Sha384 => &[
            0x30, 0x41, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x02, 0x05, 0x00, 0x04, 0x30,
        ],
        SignatureHash::Sha512 => &[
            0x30, 0x51, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x03, 0x05, 0x00, 0x04, 0x40,
        ],
    }
}

fn pss(hash: SignatureHash) -> PkcsPssParams {
    let (hash_alg, mgf) = match hash {
        SignatureHash::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        SignatureHash::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384),
        SignatureHash::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512),
    };
    PkcsPssParams {
        hash_alg,
        mgf,
        s_len: Ulong::new(hash.len_bytes() as u64),
    }
}

const fn mac_mechanism(spec: MacSpec) -> Mechanism<'static> {
    match spec {
        MacSpec::Sha224 => Mechanism::Sha224Hmac,
        MacSpec::Sha256 => Mechanism::Sha256Hmac,
        MacSpec::Sha384 => Mechanism::Sha384Hmac,
        MacSpec::Sha512 => Mechanism::Sha512Hmac,
    }
}

/// Makes an HMAC key that exists only to be wrapped out once and destroyed.
pub(super) fn generate_mac_key(
    session: &Session,
    spec: MacSpec,
    profile: &Profile,
) -> Result<ObjectHandle, Fault> {
    let mut attributes = objects::secret_attributes(Life::Session, true);
    attributes.extend([
        Attribute::ValueLen((spec.key_len_bytes() as u64).into()),
        Attribute::Sign(false),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]);
    objects::restrict(&mut attributes, None, profile);
    session
        .generate_key(&Mechanism::GenericSecretKeyGen, &attributes)
        .map_err(Fault::from)
}

/// Unwraps an HMAC key into the session: it makes MACs, and can never be wrapped out again.
pub(super) fn unwrap_mac_key(
    session: &Session,
    kek: ObjectHandle,
    wrapped: &[u8],
    spec: MacSpec,
    profile: &Profile,
) -> Result<ObjectHandle, Fault> {
    let mut attributes = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
    ];
    attributes.extend(objects::secret_attributes(Life::Session, false));
    attributes.extend([
        Attribute::Sign(true),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]);
    objects::restrict(
        &mut attributes,
        Some(mac_mechanism(spec).mechanism_type()),
        profile,
    );
    objects::unwrap_as(session, kek, wrapped, &attributes, profile)
}

/// The MAC of `message`.
pub(super) fn mac(
    session: &Session,
    key: ObjectHandle,
    spec: MacSpec,
    message: &[u8],
) -> Result<Vec<u8>, Fault> {
    objects::sized(
        session.sign(&mac_mechanism(spec), key, message),
        spec.mac_len_bytes(),
        "a MAC",
    )
}

/// Makes a key pair whose private key exists only to be wrapped out once and destroyed.
pub(super) fn generate_pair(
    session: &Session,
    spec: PairSpec,
    profile: &Profile,
) -> Result<(ObjectHandle, ObjectHandle), Fault> {
    let mut public = vec![
        Attribute::Token(false),
        Attribute::Private(false),
        Attribute::Verify(true),
    ];
    let mechanism = match (spec.modulus_len_bits(), der::curve(spec)) {
        (Some(len_bits), _) => {
            public.push(Attribute::ModulusBits((len_bits as u64).into()));
            public.push(Attribute::PublicExponent(EXPONENT.to_vec()));
            Mechanism::RsaPkcsKeyPairGen
        }
        (None, curve) => {
            public.push(Attribute::EcParams(curve.unwrap_or_default().to_vec()));
            Mechanism::EccKeyPairGen
        }
    };
    let mut private = objects::secret_attributes(Life::Session, true);
    private.extend([
        Attribute::Sign(false),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]);
    objects::restrict(&mut private, None, profile);
    session
        .generate_key_pair(&mechanism, &public, &private)
        .map_err(Fault::from)
}

/// The `SubjectPublicKeyInfo` of a public key, in DER.
pub(super) fn public_key(
    session: &Session,
    key: ObjectHandle,
    spec: PairSpec,
) -> Result<Vec<u8>, Fault> {
    let wanted = [
        AttributeType::EcPoint,
        AttributeType::Modulus,
        AttributeType::PublicExponent,
    ];
    let wanted = if der::curve(spec).is_some() {
        &wanted[..1]
    } else {
        &wanted[1..]
    };
    let attributes = session.get_attributes(key, wanted).map_err(Fault::from)?;
    let (mut point, mut modulus, mut exponent) = (None, None, None);
    for attribute in attributes {
        match attribute {
            Attribute::EcPoint(bytes) => point = Some(bytes),
            Attribute::Modulus(bytes) => modulus = Some(bytes),
            Attribute::PublicExponent(bytes) => exponent = Some(bytes),
            _ => {}
        }
    }
    let made = match (der::curve(spec), point, modulus, exponent) {
        // PKCS#11 has a DER octet string around the point; some modules leave it away.
        (Some(curve), Some(point), _, _) => {
            let bare = der::octet_string(&point).unwrap_or(&point);
            (bare.first() == Some(&0x04)).then(|| der::ec_public_key(curve, bare))
        }
        (None, _, Some(modulus), Some(exponent)) => Some(der::rsa_public_key(&modulus, &exponent)),
        _ => None,
    };
    made.ok_or_else(|| {
        Fault::Refused(Refusal::Unsupported(
            "the token does not give the public key of a pair that it made".into(),
        ))
    })
}

/// Wraps an HMAC key or a private key by `kek`.
pub(super) fn wrap(
    session: &Session,
    kek: ObjectHandle,
    key: ObjectHandle,
) -> Result<Vec<u8>, Fault> {
    session
        .wrap_key(&Mechanism::AesKeyWrap, kek, key)
        .map_err(Fault::from)
}

/// Unwraps a private key into the session: it does what it is for, and can never be wrapped out
/// again.
pub(super) fn unwrap_private_key(
    session: &Session,
    kek: ObjectHandle,
    wrapped: &[u8],
    spec: PairSpec,
    pair_use: PairUse,
    profile: &Profile,
) -> Result<ObjectHandle, Fault> {
    let is_curve = der::curve(spec).is_some();
    let uses = [
        Attribute::Sign(pair_use == PairUse::Sign),
        Attribute::Decrypt(pair_use == PairUse::Decrypt),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ];
    let mechanisms: &[MechanismType] = match (is_curve, pair_use) {
        (true, _) => &[MechanismType::ECDSA],
        (false, PairUse::Sign) => &[MechanismType::RSA_PKCS, MechanismType::RSA_PKCS_PSS],
        (false, PairUse::Decrypt) => &OPENING,
    };
    unwrap_private(session, kek, wrapped, spec, &uses, mechanisms, profile)
}

/// By what a private RSA key opens what is encrypted for it.
const OPENING: [MechanismType; 2] = [MechanismType::RSA_PKCS_OAEP, MechanismType::RSA_X_509];

/// Unwraps a private RSA key into the session for which keys come wrapped that were made elsewhere.
pub(super) fn unwrap_import_key(
    session: &Session,
    kek: ObjectHandle,
    wrapped: &[u8],
    spec: PairSpec,
    profile: &Profile,
) -> Result<ObjectHandle, Fault> {
    let uses = [
        Attribute::Sign(false),
        Attribute::Decrypt(true),
        Attribute::Unwrap(true),
        Attribute::Derive(false),
    ];
    unwrap_private(session, kek, wrapped, spec, &uses, &OPENING, profile)
}

fn unwrap_private(
    session: &Session,
    kek: ObjectHandle,
    wrapped: &[u8],
    spec: PairSpec,
    uses: &[Attribute],
    mechanisms: &[MechanismType],
    profile: &Profile,
) -> Result<ObjectHandle, Fault> {
    let key_type = match der::curve(spec) {
        Some(_) => KeyType::EC,
        None => KeyType::RSA,
    };
    let mut attributes = vec![
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(key_type),
    ];
    attributes.extend(objects::secret_attributes(Life::Session, false));
    attributes.extend_from_slice(uses);
    objects::restrict(&mut attributes, mechanisms.iter().copied(), profile);
    objects::unwrap_as(session, kek, wrapped, &attributes, profile)
}

/// The signature of a digest.
pub(super) fn sign(
    session: &Session,
    key: ObjectHandle,
    scheme: SignatureScheme,
    digest: &[u8],
) -> Result<Vec<u8>, Fault> {
    let signed = match scheme {
        SignatureScheme::Pkcs1V15(hash) => {
            let encoded = [digest_info(hash), digest].concat();
            session.sign(&Mechanism::RsaPkcs, key, &encoded)
        }
        SignatureScheme::Pss(hash) => session.sign(&Mechanism::RsaPkcsPss(pss(hash)), key, digest),
        SignatureScheme::Ecdsa(_) => session.sign(&Mechanism::Ecdsa, key, digest),
    };
    let signed = signed.map_err(Fault::from)?;
    Ok(match scheme {
        SignatureScheme::Ecdsa(_) => der::ecdsa_signature(&signed),
        _ => signed,
    })
}

/// What was encrypted with RSAES-OAEP.
pub(super) fn decrypt(
    session: &Session,
    key: ObjectHandle,
    hash: OaepHash,
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let opened = |mechanism: &Mechanism<'_>| {
        session
            .decrypt(mechanism, key, ciphertext)
            .map(Zeroizing::new)
            .map_err(Fault::from)
    };
    match hash {
        OaepHash::Sha1 => opened(&Mechanism::RsaPkcsOaep(PkcsOaepParams::new(
            MechanismType::SHA1,
            PkcsMgfType::MGF1_SHA1,
            PkcsOaepSource::empty(),
        ))),
        // SoftHSM knows OAEP with SHA-1 only, and any token the bare RSA operation.
        OaepHash::Sha256 => {
            let encoded = opened(&Mechanism::RsaX509)?;
            // A module may leave zeros at the beginning away.
            let mut whole = Zeroizing::new(vec![0; ciphertext.len()]);
            let start = whole
                .len()
                .checked_sub(encoded.len())
                .ok_or(Fault::Refused(Refusal::NotAuthentic))?;
            whole[start..].copy_from_slice(&encoded);
            oaep::decode_sha256(&whole).ok_or(Fault::Refused(Refusal::NotAuthentic))
        }
    }
}
