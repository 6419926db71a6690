//! The part of the contract of [`Token`] that is about keys that come from elsewhere, and that go
//! to another token.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded as _};
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey,
};
use strongroom_pkcs11::{
    CarriedKind, ImportPath, ImportWrapping, MacSpec, OaepHash, PairSpec, Token, TokenError,
    WrappedKey,
};

use crate::token_suite::{assert_invalid, assert_no_such_key, assert_not_authentic, label};

const TRANSPORT: [u8; 32] = [0x17; 32];

/// Wraps a key for an RSA public key (`SubjectPublicKeyInfo`), as somebody who brings it does.
///
/// # Panics
/// When the public key is none, or what is to be encrypted for it too long.
#[must_use]
pub fn wrap_for_import(public: &[u8], wrapping: ImportWrapping, value: &[u8]) -> Vec<u8> {
    let public = PublicEncryptingKey::from_der(public).expect("a public key");
    let public = OaepPublicEncryptingKey::new(public).expect("a public key");
    let algorithm = match wrapping.hash() {
        OaepHash::Sha1 => &OAEP_SHA1_MGF1SHA1,
        OaepHash::Sha256 => &OAEP_SHA256_MGF1SHA256,
    };
    let encrypt = |plaintext: &[u8]| {
        let mut ciphertext = vec![0; public.ciphertext_size()];
        public
            .encrypt(algorithm, plaintext, &mut ciphertext, None)
            .expect("it encrypts");
        ciphertext
    };
    match wrapping {
        ImportWrapping::Rsaes(_) => encrypt(value),
        ImportWrapping::RsaAes(_) => {
            let mut material = encrypt(&TRANSPORT);
            let mut wrapped = vec![0; value.len().next_multiple_of(8) + 8];
            let transport = AesKek::new(&AES_256, &TRANSPORT).expect("an AES-256 key");
            let wrapped = transport.wrap_with_padding(value, &mut wrapped);
            material.extend_from_slice(wrapped.expect("it is wrapped"));
            material
        }
    }
}

/// On a token with the keys of [`token_suite::run`](crate::token_suite::run).
pub(crate) async fn run(token: &dyn Token) {
    // It takes a while to make, so one pair serves for both.
    let pair = imports(token).await;
    escrow(token, pair).await;
}

async fn imports(token: &dyn Token) -> WrappedKey {
    let spec = PairSpec::Rsa2048;
    let pair = token.generate_wrapped_pair(&label("kek"), spec).await;
    let pair = pair.expect("a pair");
    let (private, public) = (&pair.private, &pair.public);
    let value = [0x5A; 32];
    let mut forms = Vec::new();
    for wrapping in ImportWrapping::ALL {
        let material = wrap_for_import(public, wrapping, &value);
        let import = |material: Vec<u8>| async move {
            token
                .import_wrapped(private, spec, wrapping, &material)
                .await
        };
        let imported = import(material.clone()).await;
        let imported = imported.unwrap_or_else(|error| panic!("{wrapping:?}: {error}"));
        if wrapping.hash() == OaepHash::Sha1 {
            assert_eq!(imported.path, ImportPath::Token, "{wrapping:?}");
        }
        forms.push(imported.key);
        for at in [0, 100, 255, material.len() - 1] {
            let mut changed = material.clone();
            changed[at] ^= 1;
            assert_not_authentic(import(changed).await);
        }
        for len_bytes in [0, 255, 256, 264, material.len() - 1, material.len() + 8] {
            let mut resized = material.clone();
            resized.resize(len_bytes, 7);
            if resized != material {
                assert_not_authentic(import(resized).await);
            }
        }
        for len_bytes in [1, 5, 16, 24, 31, 33, 40, 64] {
            let other = wrap_for_import(public, wrapping, &vec![0x5A; len_bytes]);
            let error = import(other).await.expect_err("it is no AES-256 key");
            let is_told = matches!(error, TokenError::WrongLength);
            assert!(is_told, "{wrapping:?}, {len_bytes} bytes: {error}");
        }
        // Wrapped in the other way.
        let other = match wrapping {
            ImportWrapping::Rsaes(hash) => ImportWrapping::RsaAes(hash),
            ImportWrapping::RsaAes(hash) => ImportWrapping::Rsaes(hash),
        };
        assert_not_authentic(import(wrap_for_import(public, other, &value)).await);
        let other = match wrapping {
            ImportWrapping::Rsaes(OaepHash::Sha1) => ImportWrapping::Rsaes(OaepHash::Sha256),
            ImportWrapping::Rsaes(OaepHash::Sha256) => ImportWrapping::Rsaes(OaepHash::Sha1),
            ImportWrapping::RsaAes(OaepHash::Sha1) => ImportWrapping::RsaAes(OaepHash::Sha256),
            ImportWrapping::RsaAes(OaepHash::Sha256) => ImportWrapping::RsaAes(OaepHash::Sha1),
        };
        assert_not_authentic(import(wrap_for_import(public, other, &value)).await);
    }
    // One key has one form, whichever way it came.
    let key = &forms[0];
    assert!(forms.iter().all(|form| form == key));
    let sealed = token.seal(key, b"context", b"secret").await;
    let sealed = sealed.expect("it is a key like any other");
    let opened = token.open(key, b"context", &sealed).await;
    assert_eq!(*opened.expect("it opens"), b"secret");
    // It is the key that was brought.
    let mac = token.mac_by(key, MacSpec::Sha256, b"message").await;
    let outside = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &value);
    let expected = aws_lc_rs::hmac::sign(&outside, b"message");
    assert_eq!(mac.expect("a MAC"), expected.as_ref());

    let wrapping = ImportWrapping::Rsaes(OaepHash::Sha1);
    let material = wrap_for_import(public, wrapping, &value);
    let mut changed = private.clone();
    changed.bytes[9] ^= 1;
    assert_not_authentic(
        token
            .import_wrapped(&changed, spec, wrapping, &material)
            .await,
    );
    let none = WrappedKey {
        kek: private.kek.clone(),
        bytes: Vec::new(),
    };
    assert_not_authentic(token.import_wrapped(&none, spec, wrapping, &material).await);
    let curve = PairSpec::P256;
    assert_invalid(
        token
            .import_wrapped(private, curve, wrapping, &material)
            .await,
    );
    pair.private
}

/// Keys that one token exports and the same takes over: what two do with each other, one does too.
async fn escrow(token: &dyn Token, rsa: WrappedKey) {
    let (kek, other_kek, escrow) = (label("kek"), label("other-kek"), label("escrow"));
    assert_no_such_key(token.escrow_public_key(&escrow).await);
    token.create_escrow_key(&escrow).await.expect("a new label");
    let taken = token.create_escrow_key(&escrow).await;
    assert!(matches!(taken, Err(TokenError::KeyExists { .. })));
    token.create_kek(&other_kek).await.expect("a new label");
    let public = token
        .escrow_public_key(&escrow)
        .await
        .expect("its public key");

    let aes = token.generate_wrapped(&kek).await.expect("a key");
    let mac_spec = MacSpec::Sha512;
    let mac_key = token.generate_wrapped_mac_key(&kek, mac_spec).await;
    let mac_key = mac_key.expect("a key");
    let mut kinds = vec![
        (CarriedKind::Aes, aes.clone()),
        (CarriedKind::Mac(mac_spec), mac_key.clone()),
    ];
    kinds.push((CarriedKind::Pair(PairSpec::Rsa2048), rsa));
    for spec in [PairSpec::P256, PairSpec::P521] {
        let pair = token.generate_wrapped_pair(&kek, spec).await;
        kinds.push((CarriedKind::Pair(spec), pair.expect("a pair").private));
    }
    let keys: Vec<(CarriedKind, &WrappedKey)> =
        kinds.iter().map(|(kind, key)| (*kind, key)).collect();
    let exported = token.export_wrapped(&kek, &keys, &public).await;
    let exported = exported.expect("they are exported");
    let again = token.export_wrapped(&kek, &keys, &public).await;
    assert_ne!(
        again.expect("they are exported").transport,
        exported.transport
    );
    let back = token.take_over(&escrow, &exported, &kek).await;
    let back = back.expect("they are taken over");
    let same: Vec<&WrappedKey> = kinds.iter().map(|(_, key)| key).collect();
    assert_eq!(
        back.iter().collect::<Vec<_>>(),
        same,
        "one key has one form"
    );
    let moved = token.take_over(&escrow, &exported, &other_kek).await;
    let moved = moved.expect("they are taken over");
    let sealed = token
        .seal(&aes, b"context", b"secret")
        .await
        .expect("sealed");
    let opened = token.open(&moved[0], b"context", &sealed).await;
    assert_eq!(*opened.expect("it is the same key"), b"secret");
    let [one, other] = [&mac_key, &moved[1]].map(|key| token.mac_by(key, mac_spec, b"message"));
    assert_eq!(one.await.expect("a MAC"), other.await.expect("a MAC"));

    let mut changed = exported.clone();
    changed.keys[0].1[9] ^= 1;
    assert_not_authentic(token.take_over(&escrow, &changed, &kek).await);
    let mut changed = exported.clone();
    changed.transport[200] ^= 1;
    assert_not_authentic(token.take_over(&escrow, &changed, &kek).await);
    changed.transport.pop();
    assert_not_authentic(token.take_over(&escrow, &changed, &kek).await);
    let mut none = exported.clone();
    none.keys.clear();
    assert_invalid(token.take_over(&escrow, &none, &kek).await);
    assert_no_such_key(token.take_over(&kek, &exported, &kek).await);
    assert_no_such_key(token.take_over(&escrow, &exported, &escrow).await);
    assert_invalid(token.export_wrapped(&kek, &[], &public).await);
    assert_invalid(token.export_wrapped(&kek, &keys, b"no key").await);
    let many = vec![(CarriedKind::Aes, &aes); 2_000];
    assert_invalid(token.export_wrapped(&kek, &many, &public).await);
    assert_no_such_key(token.export_wrapped(&escrow, &keys, &public).await);
    let mut not_mine = aes.clone();
    not_mine.bytes[9] ^= 1;
    let not_mine = [(CarriedKind::Aes, &not_mine)];
    assert_not_authentic(token.export_wrapped(&kek, &not_mine, &public).await);
}
