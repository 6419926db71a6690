//! HMAC keys and key pairs.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, EcdsaKeyPair, UnparsedPublicKey};
use strongroom_keys::{
    DataKeyPairSpec, EncryptionContext, KeyError, KeyOperation, KeyReference, KeySpec,
    KeyUseLimits, NewKey, SignedMessage, SigningAlgorithm,
};
use strongroom_meta::Table;
use strongroom_pkcs11::TokenFunction;

use crate::world::{World, a_grant, by_kms_key, caller, context, object};

fn code<T>(result: &Result<T, KeyError>) -> &'static str {
    result.as_ref().err().map_or("ok", KeyError::code)
}

async fn key(world: &World, spec: &str, usage: &str) -> KeyReference {
    let new = NewKey {
        spec: KeySpec::named(spec, usage).expect("a spec"),
        ..NewKey::default()
    };
    let made = world.service.kms.create_key(new, &caller()).await;
    made.unwrap_or_else(|error| panic!("{spec}: {error}"))
        .id
        .into()
}

fn algorithm(name: &str) -> SigningAlgorithm {
    SigningAlgorithm::named(name).expect("an algorithm")
}

#[tokio::test]
async fn a_mac_is_made_and_verified_by_the_key_and_its_algorithm_alone() {
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    for (bits, len_bytes) in [(224, 28), (256, 32), (384, 48), (512, 64)] {
        let spec = format!("HMAC_{bits}");
        let key = &key(&world, &spec, "GENERATE_VERIFY_MAC").await;
        let algorithm = &format!("HMAC_SHA_{bits}");
        let (_, mac) = kms
            .generate_mac(key, algorithm, b"text", who)
            .await
            .expect("a MAC");
        assert_eq!(mac.len(), len_bytes);
        let again = kms.verify_mac(key, algorithm, b"text", &mac, who).await;
        assert_eq!(code(&again), "ok");
        for (message, mac) in [
            (&b"test"[..], mac.clone()),
            (b"text", mac[1..].to_vec()),
            (b"text", Vec::new()),
            (b"text", [&mac[..], &[0]].concat()),
        ] {
            let verified = kms.verify_mac(key, algorithm, message, &mac, who).await;
            assert_eq!(code(&verified), "wrong-mac");
        }
        let other = if bits == 256 {
            "HMAC_SHA_512"
        } else {
            "HMAC_SHA_256"
        };
        let wrong = kms.generate_mac(key, other, b"text", who).await;
        assert_eq!(code(&wrong), "wrong-usage");
        for message in [&b""[..], &[0; 4_097]] {
            let wrong = kms.generate_mac(key, algorithm, message, who).await;
            assert_eq!(code(&wrong), "invalid-request");
        }
    }
}

#[tokio::test]
async fn a_signature_verifies_here_and_outside() {
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    let pair = &key(&world, "ECC_NIST_P256", "SIGN_VERIFY").await;
    let ecdsa = algorithm("ECDSA_SHA_256");
    let raw = SignedMessage::Raw(b"text");
    let hash = digest(&SHA256, b"text");
    let (_, of_raw) = kms.sign(pair, ecdsa, raw, who).await.expect("it signs");
    let by_digest = SignedMessage::Digest(hash.as_ref());
    let signed = kms.sign(pair, ecdsa, by_digest, who).await;
    let (_, of_digest) = signed.expect("it signs");
    let public = kms.public_key(pair, who).await.expect("a public key");
    for signature in [&of_raw, &of_digest] {
        for message in [raw, by_digest] {
            let verified = kms.verify(pair, ecdsa, message, signature, who).await;
            assert_eq!(code(&verified), "ok");
        }
        let outside = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &public.der);
        outside.verify(b"text", signature).expect("it verifies");
        let other = SignedMessage::Raw(b"test");
        let verified = kms.verify(pair, ecdsa, other, signature, who).await;
        assert_eq!(code(&verified), "wrong-signature");
        let verified = kms.verify(pair, ecdsa, raw, &signature[1..], who).await;
        assert_eq!(code(&verified), "wrong-signature");
    }
    for wrong in ["ECDSA_SHA_384", "RSASSA_PSS_SHA_256"] {
        let signed = kms.sign(pair, algorithm(wrong), raw, who).await;
        assert_eq!(code(&signed), "wrong-usage");
    }
    let short = SignedMessage::Digest(&hash.as_ref()[1..]);
    let empty = SignedMessage::Raw(b"");
    for wrong in [short, empty] {
        let signed = kms.sign(pair, ecdsa, wrong, who).await;
        assert_eq!(code(&signed), "invalid-request");
    }
}

#[tokio::test]
async fn an_rsa_pair_signs_or_decrypts_and_not_both() {
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    let signing = &key(&world, "RSA_2048", "SIGN_VERIFY").await;
    let decrypting = &key(&world, "RSA_2048", "ENCRYPT_DECRYPT").await;
    let raw = SignedMessage::Raw(b"text");
    for name in [
        "RSASSA_PSS_SHA_256",
        "RSASSA_PSS_SHA_384",
        "RSASSA_PSS_SHA_512",
        "RSASSA_PKCS1_V1_5_SHA_256",
        "RSASSA_PKCS1_V1_5_SHA_384",
        "RSASSA_PKCS1_V1_5_SHA_512",
    ] {
        let signed = kms.sign(signing, algorithm(name), raw, who).await;
        let (_, signature) = signed.unwrap_or_else(|error| panic!("{name}: {error}"));
        let verified = kms
            .verify(signing, algorithm(name), raw, &signature, who)
            .await;
        assert_eq!(code(&verified), "ok", "{name}");
        let signed = kms.sign(decrypting, algorithm(name), raw, who).await;
        assert_eq!(code(&signed), "wrong-usage");
    }
    for (name, len_bytes_max) in [("RSAES_OAEP_SHA_1", 214), ("RSAES_OAEP_SHA_256", 190)] {
        let longest = vec![7; len_bytes_max];
        let encrypted = kms.encrypt_by_pair(decrypting, name, &longest, who).await;
        let (_, mut ciphertext) = encrypted.expect("it encrypts");
        let opened = kms
            .decrypt_by_pair(decrypting, name, &ciphertext, who)
            .await;
        assert_eq!(*opened.expect("it decrypts").1, longest);
        ciphertext[9] ^= 1;
        for wrong in [&ciphertext[..], &ciphertext[1..], &[]] {
            let opened = kms.decrypt_by_pair(decrypting, name, wrong, who).await;
            assert_eq!(code(&opened), "not-authentic");
        }
        for wrong in [vec![], vec![7; len_bytes_max + 1]] {
            let encrypted = kms.encrypt_by_pair(decrypting, name, &wrong, who).await;
            assert_eq!(code(&encrypted), "invalid-request");
        }
        let encrypted = kms.encrypt_by_pair(signing, name, b"x", who).await;
        assert_eq!(code(&encrypted), "wrong-usage");
    }
}

#[tokio::test]
async fn a_key_does_what_it_is_for_and_nothing_else() {
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    let empty = &EncryptionContext::empty();
    let symmetric = &world.kms_key().await.id.into();
    let sealed = kms.encrypt(symmetric, empty, b"x", who).await;
    let blob = sealed.expect("a ciphertext").blob.to_bytes();
    for (spec, usage) in [
        ("HMAC_256", "GENERATE_VERIFY_MAC"),
        ("ECC_NIST_P256", "SIGN_VERIFY"),
    ] {
        let key = &key(&world, spec, usage).await;
        let (wrong, not) = ("wrong-usage", "not-for-this-key");
        assert_eq!(code(&kms.encrypt(key, empty, b"x", who).await), wrong);
        assert_eq!(
            code(&kms.generate_data_key(key, empty, 32, who).await),
            wrong
        );
        let again = kms.re_encrypt(&blob, empty, None, key, empty, who).await;
        assert_eq!(code(&again), wrong);
        let described = kms.describe_key(key).await.expect("a key");
        let mut forged = blob.clone();
        forged[1..17].copy_from_slice(described.id.as_bytes());
        let opened = kms.decrypt(&forged, empty, None, who).await;
        assert_eq!(code(&opened), "not-authentic");
        for through in [false, true] {
            let protection = by_kms_key(&described, through);
            let made = world
                .service
                .objects
                .create(&protection, &object("bucket", "key"), who)
                .await;
            assert_eq!(code(&made), wrong);
        }
        assert_eq!(code(&kms.rotate_key(key, who).await), not);
        assert_eq!(code(&kms.enable_key_rotation(key, 90, who).await), not);
        assert_eq!(code(&kms.disable_key_rotation(key, who).await), not);
        assert_eq!(code(&kms.rotation_status(key).await), not);
        let grant = kms.create_grant(key, &a_grant(), who).await;
        assert_eq!(code(&grant), "invalid-request");
    }
    let raw = SignedMessage::Raw(b"x");
    let ecdsa = algorithm("ECDSA_SHA_256");
    assert_eq!(
        code(&kms.sign(symmetric, ecdsa, raw, who).await),
        "wrong-usage"
    );
    assert_eq!(
        code(&kms.public_key(symmetric, who).await),
        "not-for-this-key"
    );
}

#[tokio::test]
async fn a_row_that_was_changed_by_another_hand_is_not_used() {
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    let pair = key(&world, "ECC_NIST_P256", "SIGN_VERIFY").await;
    let other = key(&world, "ECC_NIST_P256", "SIGN_VERIFY").await;
    let mac_key = key(&world, "HMAC_256", "GENERATE_VERIFY_MAC").await;
    let symmetric: KeyReference = world.kms_key().await.id.into();
    let id = |key: &KeyReference| match key {
        KeyReference::Id(id) => id.as_bytes().to_vec(),
        other => panic!("{other}"),
    };
    let rows = async |table: &'static str| world.rows_of(Table::new(table)).await;
    let find = async |table: &'static str, key: &KeyReference| {
        let found = rows(table).await.into_iter();
        let mut found = found.filter(|row| row.key.starts_with(&id(key)));
        let row = found.next().expect("a row");
        (row.key.to_vec(), row.row.value.to_vec())
    };
    // The public key of another pair.
    let (place, own) = find("kms_public_keys", &pair).await;
    let (_, others) = find("kms_public_keys", &other).await;
    let table = Table::new("kms_public_keys");
    world.set(table, &place, Some(&others)).await;
    assert_eq!(code(&kms.public_key(&pair, who).await), "damaged");
    world.set(table, &place, Some(&own)).await;
    assert_eq!(code(&kms.public_key(&pair, who).await), "ok");
    // A key for encryption made one for MACs, and the other way about.
    let (of_mac, row_of_mac) = find("kms_keys", &mac_key).await;
    let (of_symmetric, row_of_symmetric) = find("kms_keys", &symmetric).await;
    let table = Table::new("kms_keys");
    world.set(table, &of_mac, Some(&row_of_symmetric)).await;
    world.set(table, &of_symmetric, Some(&row_of_mac)).await;
    let empty = &EncryptionContext::empty();
    let sealed = kms.encrypt(&mac_key, empty, b"x", who).await;
    assert_eq!(code(&sealed), "damaged");
    let made = kms
        .generate_mac(&symmetric, "HMAC_SHA_256", b"x", who)
        .await;
    assert_eq!(code(&made), "damaged");
}

#[tokio::test]
async fn keys_stay_over_a_restart_and_are_vouched_for_once() {
    let world = World::new().await;
    let pair = key(&world, "ECC_NIST_P256", "SIGN_VERIFY").await;
    let again = world.restarted().await.expect("it starts");
    let before = world.token.calls(TokenFunction::Mac);
    for _ in 0..3 {
        let raw = SignedMessage::Raw(b"text");
        let signed = again
            .kms
            .sign(&pair, algorithm("ECDSA_SHA_256"), raw, &caller())
            .await;
        assert_eq!(code(&signed), "ok");
    }
    assert_eq!(world.token.calls(TokenFunction::Mac), before + 1);
}

#[tokio::test]
async fn a_data_key_pair_comes_in_clear_and_encrypted() {
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    let key = &world.kms_key().await.id.into();
    let pairs = &context(&[("a", "b")]);
    for name in [
        "ECC_NIST_P256",
        "ECC_NIST_P384",
        "ECC_NIST_P521",
        "ECC_SECG_P256K1",
        "ECC_NIST_EDWARDS25519",
        "RSA_2048",
    ] {
        let spec = DataKeyPairSpec::named(name).expect("a spec");
        let made = kms.generate_data_key_pair(key, pairs, spec, who).await;
        let made = made.unwrap_or_else(|error| panic!("{name}: {error}"));
        let opened = kms
            .decrypt(&made.blob.to_bytes(), pairs, None, who)
            .await
            .expect("it opens");
        assert_eq!(opened.plaintext, made.private);
        assert!(!format!("{made:?}").contains("private"));
        if spec == DataKeyPairSpec::P256 {
            use aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING as SIGNING;
            let pair = EcdsaKeyPair::from_pkcs8(&SIGNING, &made.private).expect("a pair");
            let hash = digest(&SHA256, b"text");
            let signature = pair.sign_digest(&hash).expect("it signs");
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &made.public)
                .verify(b"text", signature.as_ref())
                .expect("it verifies");
        }
    }
}

#[tokio::test]
async fn limits_hold_for_what_makes_and_not_for_what_verifies() {
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    let mac_key = &key(&world, "HMAC_256", "GENERATE_VERIFY_MAC").await;
    let pair = &key(&world, "ECC_NIST_P256", "SIGN_VERIFY").await;
    let once = KeyUseLimits {
        uses_max: Some(1),
        ..KeyUseLimits::default()
    };
    for key in [mac_key, pair] {
        kms.set_limits(key, once, who).await.expect("limits");
    }
    let (ecdsa, raw) = (algorithm("ECDSA_SHA_256"), SignedMessage::Raw(b"text"));
    let made = kms
        .generate_mac(mac_key, "HMAC_SHA_256", b"text", who)
        .await;
    let (_, mac) = made.expect("within the limit");
    let signed = kms.sign(pair, ecdsa, raw, who).await;
    let (_, signature) = signed.expect("within the limit");
    let again = kms
        .generate_mac(mac_key, "HMAC_SHA_256", b"text", who)
        .await;
    assert_eq!(code(&again), "use-limited");
    assert_eq!(code(&kms.sign(pair, ecdsa, raw, who).await), "use-limited");
    for _ in 0..2 {
        let verified = kms.verify_mac(mac_key, "HMAC_SHA_256", b"text", &mac, who);
        assert_eq!(code(&verified.await), "ok");
        let verified = kms.verify(pair, ecdsa, raw, &signature, who).await;
        assert_eq!(code(&verified), "ok");
    }
    let used = kms.key_usage(pair).await.expect("a key").last;
    assert_eq!(used.map(|used| used.operation), Some(KeyOperation::Verify));
}
