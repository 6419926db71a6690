//! What every engine of [`Token`] must do: its contract, as tests.

use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use strongroom_pkcs11::{KeyLabel, SealedBytes, Token, TokenError, WrappedKey};

pub(crate) fn label(name: &str) -> KeyLabel {
    KeyLabel(name.to_owned())
}

/// Runs the whole suite on a token with no keys on it.
///
/// # Panics
/// When the token breaks its contract.
pub async fn run(token: Arc<dyn Token>) {
    run_but_pairs(Arc::clone(&token)).await;
    crate::token_suite_pairs::run(&*token).await;
    crate::token_suite_imports::run(&*token).await;
}

/// Runs what does not need private keys and HMAC keys to be wrapped, of whatever length they are:
/// RFC 3394 wraps multiples of 8 bytes only, and some tokens hold to it.
///
/// # Panics
/// When the token breaks its contract.
pub async fn run_but_pairs(token: Arc<dyn Token>) {
    token.health().await.expect("a fresh token is well");
    labels(&*token).await;
    sealing(&*token).await;
    refusals(&*token).await;
    macs(&*token).await;
    signatures(&*token).await;
    random(&*token).await;
    many_at_once(token).await;
}

async fn labels(token: &dyn Token) {
    let (kek, mac, signing) = (label("kek"), label("mac"), label("signing"));
    for key in [&kek, &mac, &signing] {
        assert!(!token.has_key(key).await.expect("asked"));
    }
    token.create_kek(&kek).await.expect("a new label");
    token.create_mac_key(&mac).await.expect("a new label");
    let public = token
        .create_signing_key(&signing)
        .await
        .expect("a new label");
    assert_eq!(
        token.public_key(&signing).await.expect("it is there"),
        public
    );
    for key in [&kek, &mac, &signing] {
        assert!(token.has_key(key).await.expect("asked"));
        // A label is one key's, whatever the key is for.
        for taken in [
            token.create_kek(key).await.err(),
            token.create_mac_key(key).await.err(),
            token.create_signing_key(key).await.err(),
        ] {
            assert!(
                matches!(&taken, Some(TokenError::KeyExists { label }) if label == key),
                "{taken:?}"
            );
        }
    }
    assert_eq!(token.public_key(&signing).await.expect("unchanged"), public);
    // A key is found only by the method it was made for.
    for wrong in [&mac, &signing, &label("nobody's")] {
        assert_no_such_key(token.generate_wrapped(wrong).await);
    }
    for wrong in [&kek, &signing, &label("nobody's")] {
        assert_no_such_key(token.mac(wrong, b"message").await);
    }
    for wrong in [&kek, &mac, &label("nobody's")] {
        assert_no_such_key(token.sign(wrong, b"message").await);
        assert_no_such_key(token.public_key(wrong).await);
    }
    // A mark is left once, and stays.
    let mark = label("mark");
    assert!(!token.has_key(&mark).await.expect("asked"));
    for _ in 0..2 {
        token.mark(&mark).await.expect("it is marked");
        assert!(token.has_key(&mark).await.expect("asked"));
    }
    for wrong in ["", &"x".repeat(65)] {
        assert_invalid(token.create_kek(&label(wrong)).await);
        assert_invalid(token.has_key(&label(wrong)).await);
    }
}

async fn sealing(token: &dyn Token) {
    let key = token.generate_wrapped(&label("kek")).await.expect("a key");
    assert_eq!(key.bytes.len(), 40);
    let other = token.generate_wrapped(&label("kek")).await.expect("a key");
    assert_ne!(key.bytes, other.bytes);
    for len_bytes in [0, 1, 32, 4_096, 65_536] {
        let plaintext = vec![0x42; len_bytes];
        let sealed = token
            .seal(&key, b"context", &plaintext)
            .await
            .expect("it seals");
        assert_eq!(sealed.bytes.len(), len_bytes + 16);
        let opened = token
            .open(&key, b"context", &sealed)
            .await
            .expect("it opens");
        assert_eq!(*opened, plaintext);
        let again = token
            .seal(&key, b"context", &plaintext)
            .await
            .expect("it seals");
        assert_ne!(sealed.nonce, again.nonce, "a nonce is used once");
    }
}

async fn refusals(token: &dyn Token) {
    let key = token.generate_wrapped(&label("kek")).await.expect("a key");
    let sealed = token
        .seal(&key, b"context", b"a secret of some length")
        .await
        .expect("it seals");

    let other = token.generate_wrapped(&label("kek")).await.expect("a key");
    assert_not_authentic(token.open(&other, b"context", &sealed).await);
    assert_not_authentic(token.open(&key, b"another", &sealed).await);
    for place in 0..sealed.bytes.len() {
        let mut changed = sealed.clone();
        changed.bytes[place] ^= 1;
        assert_not_authentic(token.open(&key, b"context", &changed).await);
    }
    for len_bytes in [0, 15, 16, sealed.bytes.len() - 1] {
        let cut = SealedBytes {
            nonce: sealed.nonce,
            bytes: sealed.bytes[..len_bytes].to_vec(),
        };
        assert_not_authentic(token.open(&key, b"context", &cut).await);
    }
    let mut other_nonce = sealed.clone();
    other_nonce.nonce[0] ^= 1;
    assert_not_authentic(token.open(&key, b"context", &other_nonce).await);

    for place in [0, 7, 8, 39] {
        let mut changed = key.clone();
        changed.bytes[place] ^= 0x80;
        assert_not_authentic(token.seal(&changed, b"context", b"secret").await);
        assert_not_authentic(token.open(&changed, b"context", &sealed).await);
    }
    for len_bytes in [0, 8, 39, 41, 48] {
        let resized = WrappedKey {
            kek: key.kek.clone(),
            bytes: vec![7; len_bytes],
        };
        assert_not_authentic(token.seal(&resized, b"context", b"secret").await);
    }
    // The key of another key-encryption key, and of none.
    token
        .create_kek(&label("another kek"))
        .await
        .expect("a new label");
    let moved = WrappedKey {
        kek: label("another kek"),
        bytes: key.bytes.clone(),
    };
    assert_not_authentic(token.open(&moved, b"context", &sealed).await);
    let lost = WrappedKey {
        kek: label("nobody's"),
        bytes: key.bytes.clone(),
    };
    assert_no_such_key(token.open(&lost, b"context", &sealed).await);

    assert_invalid(token.seal(&key, b"", b"secret").await);
    assert_invalid(token.open(&key, b"", &sealed).await);
    assert_invalid(token.seal(&key, b"context", &[0; 65_537]).await);

    // After all that, the right one still opens.
    let opened = token
        .open(&key, b"context", &sealed)
        .await
        .expect("it opens");
    assert_eq!(opened.as_slice(), b"a secret of some length");
}

async fn macs(token: &dyn Token) {
    let mac = label("mac");
    let first = token.mac(&mac, b"message").await.expect("a MAC");
    assert_eq!(token.mac(&mac, b"message").await.expect("a MAC"), first);
    assert_ne!(token.mac(&mac, b"massage").await.expect("a MAC"), first);
    token.mac(&mac, b"").await.expect("a MAC of nothing");
    token
        .create_mac_key(&label("another mac"))
        .await
        .expect("a new label");
    let other = token.mac(&label("another mac"), b"message").await;
    assert_ne!(other.expect("a MAC"), first);
    assert_invalid(token.mac(&mac, &[0; 65_537]).await);
}

async fn signatures(token: &dyn Token) {
    let signing = label("signing");
    let public = token.public_key(&signing).await.expect("it is there");
    let outside = UnparsedPublicKey::new(&ED25519, public);
    for message in [&b""[..], b"message", &[0x42; 65_536]] {
        let signature = token.sign(&signing, message).await.expect("a signature");
        outside
            .verify(message, &signature)
            .expect("it verifies outside");
    }
    let signature = token.sign(&signing, b"message").await.expect("a signature");
    assert!(outside.verify(b"massage", &signature).is_err());
    assert_invalid(token.sign(&signing, &[0; 65_537]).await);
}

async fn random(token: &dyn Token) {
    for len_bytes in [1, 32, 1_024] {
        let bytes = token.random(len_bytes).await.expect("random bytes");
        assert_eq!(bytes.len(), len_bytes);
    }
    let (first, second) = (token.random(32).await, token.random(32).await);
    assert_ne!(
        first.expect("random bytes").to_vec(),
        second.expect("random bytes").to_vec()
    );
    assert_invalid(token.random(0).await);
    assert_invalid(token.random(1_025).await);
}

async fn many_at_once(token: Arc<dyn Token>) {
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16_u8 {
        let token = Arc::clone(&token);
        tasks.spawn(async move {
            let key = token.generate_wrapped(&label("kek")).await.expect("a key");
            for round in 0..8_u8 {
                let (context, secret) = ([task, round], [round, task, 1]);
                let sealed = token.seal(&key, &context, &secret).await.expect("it seals");
                let opened = token.open(&key, &context, &sealed).await;
                assert_eq!(opened.expect("it opens").as_slice(), secret);
                let first = token.mac(&label("mac"), &secret).await.expect("a MAC");
                let again = token.mac(&label("mac"), &secret).await.expect("a MAC");
                assert_eq!(first, again);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no task fails");
    }
}

pub(crate) fn assert_not_authentic<T>(answer: Result<T, TokenError>) {
    let error = answer.err();
    assert!(matches!(error, Some(TokenError::NotAuthentic)), "{error:?}");
}

pub(crate) fn assert_no_such_key<T>(answer: Result<T, TokenError>) {
    let error = answer.err();
    assert!(
        matches!(error, Some(TokenError::NoSuchKey { .. })),
        "{error:?}"
    );
}

pub(crate) fn assert_invalid<T>(answer: Result<T, TokenError>) {
    let error = answer.err();
    assert!(
        matches!(error, Some(TokenError::Invalid { .. })),
        "{error:?}"
    );
}
