//! HMAC keys and key pairs of the token in software.

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey,
    OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_ASN1_SIGNING,
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use zeroize::Zeroizing;

use crate::memory::broken;
use crate::spec::{MacSpec, OaepHash, PairSpec, SignatureHash, SignatureScheme};
use crate::token::TokenError;

pub(crate) fn mac(spec: MacSpec, key: &[u8], message: &[u8]) -> Vec<u8> {
    let algorithm = match spec {
        MacSpec::Sha224 => hmac::HMAC_SHA224,
        MacSpec::Sha256 => hmac::HMAC_SHA256,
        MacSpec::Sha384 => hmac::HMAC_SHA384,
        MacSpec::Sha512 => hmac::HMAC_SHA512,
    };
    hmac::sign(&hmac::Key::new(algorithm, key), message)
        .as_ref()
        .to_vec()
}

fn curve(spec: PairSpec) -> Option<&'static EcdsaSigningAlgorithm> {
    match spec {
        PairSpec::P256 => Some(&ECDSA_P256_SHA256_ASN1_SIGNING),
        PairSpec::P384 => Some(&ECDSA_P384_SHA384_ASN1_SIGNING),
        PairSpec::P521 => Some(&ECDSA_P521_SHA512_ASN1_SIGNING),
        PairSpec::Secp256k1 => Some(&ECDSA_P256K1_SHA256_ASN1_SIGNING),
        PairSpec::Rsa2048 | PairSpec::Rsa3072 | PairSpec::Rsa4096 => None,
    }
}

/// A new pair: the private key as PKCS#8, the public key as `SubjectPublicKeyInfo`. The library
/// takes its randomness from its own generator.
pub(crate) fn generate(spec: PairSpec) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), TokenError> {
    if let Some(curve) = curve(spec) {
        let pair = EcdsaKeyPair::generate(curve).map_err(|_| broken())?;
        let private = pair.to_pkcs8v1().map_err(|_| broken())?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| broken())?;
        return Ok((
            Zeroizing::new(private.as_ref().to_vec()),
            public.as_ref().to_vec(),
        ));
    }
    let size = match spec {
        PairSpec::Rsa3072 => KeySize::Rsa3072,
        PairSpec::Rsa4096 => KeySize::Rsa4096,
        _ => KeySize::Rsa2048,
    };
    let pair = rsa::KeyPair::generate(size).map_err(|_| broken())?;
    let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| broken())?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| broken())?;
    Ok((
        Zeroizing::new(private.as_ref().to_vec()),
        public.as_ref().to_vec(),
    ))
}

pub(crate) fn sign(
    spec: PairSpec,
    private: &[u8],
    scheme: SignatureScheme,
    digest: &[u8],
) -> Result<Vec<u8>, TokenError> {
    let private = without_padding(private)?;
    let algorithm = match scheme.hash() {
        SignatureHash::Sha256 => &digest::SHA256,
        SignatureHash::Sha384 => &digest::SHA384,
        SignatureHash::Sha512 => &digest::SHA512,
    };
    let digest = Digest::import_less_safe(digest, algorithm).map_err(|_| broken())?;
    if let Some(curve) = curve(spec) {
        let pair =
            EcdsaKeyPair::from_pkcs8(curve, private).map_err(|_| TokenError::NotAuthentic)?;
        let signature = pair.sign_digest(&digest).map_err(|_| broken())?;
        return Ok(signature.as_ref().to_vec());
    }
    let pair = RsaKeyPair::from_pkcs8(private).map_err(|_| TokenError::NotAuthentic)?;
    let encoding: &'static dyn RsaEncoding = match scheme {
        SignatureScheme::Pss(SignatureHash::Sha256) => &RSA_PSS_SHA256,
        SignatureScheme::Pss(SignatureHash::Sha384) => &RSA_PSS_SHA384,
        SignatureScheme::Pss(SignatureHash::Sha512) => &RSA_PSS_SHA512,
        _ => match scheme.hash() {
            SignatureHash::Sha256 => &RSA_PKCS1_SHA256,
            SignatureHash::Sha384 => &RSA_PKCS1_SHA384,
            SignatureHash::Sha512 => &RSA_PKCS1_SHA512,
        },
    };
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign_digest(encoding, &digest, &mut signature)
        .map_err(|_| broken())?;
    Ok(signature)
}

pub(crate) fn encrypt_sha1(public: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, TokenError> {
    let public = PublicEncryptingKey::from_der(public).map_err(|_| broken())?;
    let public = OaepPublicEncryptingKey::new(public).map_err(|_| broken())?;
    let mut ciphertext = vec![0; public.ciphertext_size()];
    public
        .encrypt(&OAEP_SHA1_MGF1SHA1, plaintext, &mut ciphertext, None)
        .map_err(|_| broken())?;
    Ok(ciphertext)
}

pub(crate) fn decrypt(
    private: &[u8],
    hash: OaepHash,
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let not_authentic = |_| TokenError::NotAuthentic;
    let private = PrivateDecryptingKey::from_pkcs8(without_padding(private)?)
        .map_err(|_| TokenError::NotAuthentic)?;
    let key = OaepPrivateDecryptingKey::new(private).map_err(not_authentic)?;
    let algorithm = match hash {
        OaepHash::Sha1 => &OAEP_SHA1_MGF1SHA1,
        OaepHash::Sha256 => &OAEP_SHA256_MGF1SHA256,
    };
    let mut plaintext = Zeroizing::new(vec![0; key.min_output_size()]);
    let len_bytes = key
        .decrypt(algorithm, ciphertext, &mut plaintext, None)
        .map_err(not_authentic)?
        .len();
    plaintext.truncate(len_bytes);
    Ok(plaintext)
}

/// The DER at the beginning, by the length that it says it has.
fn without_padding(padded: &[u8]) -> Result<&[u8], TokenError> {
    let (head_len_bytes, len_bytes) = match padded {
        [_, len_bytes @ 0..=0x7F, ..] => (2, usize::from(*len_bytes)),
        [_, 0x81, len_bytes, ..] => (3, usize::from(*len_bytes)),
        [_, 0x82, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        _ => return Err(TokenError::NotAuthentic),
    };
    padded
        .get(..head_len_bytes + len_bytes)
        .ok_or(TokenError::NotAuthentic)
}
