//! The part of the contract of [`Token`] that is about HMAC keys and key pairs.

use aws_lc_rs::digest::{self, digest};
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256K1_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use strongroom_pkcs11::{
    MacSpec, OaepHash, PairSpec, SignatureHash, SignatureScheme, Token, WrappedKey,
};

use crate::token_suite::{assert_invalid, assert_no_such_key, assert_not_authentic, label};

/// On a token with the keys of [`token_suite::run`](crate::token_suite::run).
pub(crate) async fn run(token: &dyn Token) {
    macs(token).await;
    for spec in [
        PairSpec::P256,
        PairSpec::P384,
        PairSpec::P521,
        PairSpec::Secp256k1,
        PairSpec::Rsa2048,
    ] {
        signatures(token, spec).await;
    }
    decryption(token).await;
}

async fn macs(token: &dyn Token) {
    for spec in MacSpec::ALL {
        let made = token.generate_wrapped_mac_key(&label("kek"), spec).await;
        let key = made.expect("a key");
        assert_eq!(key.bytes.len(), spec.key_len_bytes() + 8);
        let mac = token.mac_by(&key, spec, b"message").await.expect("a MAC");
        assert_eq!(mac.len(), spec.mac_len_bytes());
        let again = token.mac_by(&key, spec, b"message").await.expect("a MAC");
        assert_eq!(again, mac);
        let of_other = token.mac_by(&key, spec, b"massage").await.expect("a MAC");
        assert_ne!(of_other, mac);
        let other = token.generate_wrapped_mac_key(&label("kek"), spec).await;
        let other = other.expect("a key");
        let by_other = token.mac_by(&other, spec, b"message").await;
        assert_ne!(by_other.expect("a MAC"), mac);
        let mut changed = key.clone();
        changed.bytes[9] ^= 1;
        assert_not_authentic(token.mac_by(&changed, spec, b"message").await);
        changed.bytes.pop();
        assert_not_authentic(token.mac_by(&changed, spec, b"message").await);
        assert_invalid(token.mac_by(&key, spec, &[0; 65_537]).await);
        let nobody = label("nobody's");
        assert_no_such_key(token.generate_wrapped_mac_key(&nobody, spec).await);
    }
}

fn schemes(spec: PairSpec) -> Vec<(SignatureScheme, &'static dyn VerificationAlgorithm)> {
    use SignatureHash::{Sha256, Sha384, Sha512};
    use SignatureScheme::{Ecdsa, Pkcs1V15, Pss};
    match spec {
        PairSpec::P256 => vec![(Ecdsa(Sha256), &ECDSA_P256_SHA256_ASN1)],
        PairSpec::P384 => vec![(Ecdsa(Sha384), &ECDSA_P384_SHA384_ASN1)],
        PairSpec::P521 => vec![(Ecdsa(Sha512), &ECDSA_P521_SHA512_ASN1)],
        PairSpec::Secp256k1 => vec![(Ecdsa(Sha256), &ECDSA_P256K1_SHA256_ASN1)],
        PairSpec::Rsa2048 | PairSpec::Rsa3072 | PairSpec::Rsa4096 => vec![
            (Pkcs1V15(Sha256), &RSA_PKCS1_2048_8192_SHA256),
            (Pkcs1V15(Sha384), &RSA_PKCS1_2048_8192_SHA384),
            (Pkcs1V15(Sha512), &RSA_PKCS1_2048_8192_SHA512),
            (Pss(Sha256), &RSA_PSS_2048_8192_SHA256),
            (Pss(Sha384), &RSA_PSS_2048_8192_SHA384),
            (Pss(Sha512), &RSA_PSS_2048_8192_SHA512),
        ],
    }
}

fn digest_of(scheme: SignatureScheme, message: &[u8]) -> Vec<u8> {
    let algorithm = match scheme.hash() {
        SignatureHash::Sha256 => &digest::SHA256,
        SignatureHash::Sha384 => &digest::SHA384,
        SignatureHash::Sha512 => &digest::SHA512,
    };
    digest(algorithm, message).as_ref().to_vec()
}

async fn signatures(token: &dyn Token, spec: PairSpec) {
    let pair = token.generate_wrapped_pair(&label("kek"), spec).await;
    let pair = pair.unwrap_or_else(|error| panic!("{spec:?}: {error}"));
    for (scheme, algorithm) in schemes(spec) {
        let digest = digest_of(scheme, b"message");
        // More than once: a number in a signature can be shorter by chance.
        for _ in 0..4 {
            let signed = token.sign_by(&pair.private, spec, scheme, &digest).await;
            let signature = signed.unwrap_or_else(|error| panic!("{spec:?} {scheme:?}: {error}"));
            let outside = UnparsedPublicKey::new(algorithm, &pair.public);
            outside
                .verify(b"message", &signature)
                .unwrap_or_else(|_| panic!("{spec:?} {scheme:?} verifies outside"));
            assert!(outside.verify(b"massage", &signature).is_err());
        }
        let short = &digest[1..];
        assert_invalid(token.sign_by(&pair.private, spec, scheme, short).await);
        let mut changed = pair.private.clone();
        changed.bytes[9] ^= 1;
        assert_not_authentic(token.sign_by(&changed, spec, scheme, &digest).await);
    }
    let wrong = match spec {
        PairSpec::Rsa2048 => SignatureScheme::Ecdsa(SignatureHash::Sha256),
        _ => SignatureScheme::Pss(SignatureHash::Sha256),
    };
    let digest = digest_of(wrong, b"message");
    assert_invalid(token.sign_by(&pair.private, spec, wrong, &digest).await);
    for len_bytes in [0, 8, 23, 25, 4_104] {
        let resized = WrappedKey {
            kek: pair.private.kek.clone(),
            bytes: vec![7; len_bytes],
        };
        let (scheme, _) = schemes(spec)[0];
        let digest = digest_of(scheme, b"message");
        assert_not_authentic(token.sign_by(&resized, spec, scheme, &digest).await);
    }
    assert_no_such_key(token.generate_wrapped_pair(&label("nobody's"), spec).await);
}

async fn decryption(token: &dyn Token) {
    let spec = PairSpec::Rsa2048;
    let pair = token.generate_wrapped_pair(&label("kek"), spec).await;
    let pair = pair.expect("a pair");
    for (hash, algorithm, len_bytes_max) in [
        (OaepHash::Sha1, &OAEP_SHA1_MGF1SHA1, 214),
        (OaepHash::Sha256, &OAEP_SHA256_MGF1SHA256, 190),
    ] {
        let public = PublicEncryptingKey::from_der(&pair.public).expect("a public key");
        let outside = OaepPublicEncryptingKey::new(public).expect("a public key");
        for len_bytes in [1, 32, len_bytes_max] {
            let plaintext = vec![0x42; len_bytes];
            let mut ciphertext = vec![0; 256];
            outside
                .encrypt(algorithm, &plaintext, &mut ciphertext, None)
                .expect("it encrypts outside");
            let opened = token
                .decrypt_by(&pair.private, spec, hash, &ciphertext)
                .await;
            assert_eq!(*opened.expect("it decrypts"), plaintext);
            ciphertext[200] ^= 1;
            assert_not_authentic(
                token
                    .decrypt_by(&pair.private, spec, hash, &ciphertext)
                    .await,
            );
            assert_not_authentic(
                token
                    .decrypt_by(&pair.private, spec, hash, &ciphertext[1..])
                    .await,
            );
        }
    }
    let none = token
        .decrypt_by(&pair.private, PairSpec::P256, OaepHash::Sha1, &[0; 256])
        .await;
    assert_invalid(none);
}
