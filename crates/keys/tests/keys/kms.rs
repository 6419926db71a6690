//! The operations of the KMS protocol.

use strongroom_keys::{AliasName, CiphertextBlob, EncryptionContext, KeyError, KeyReference, Kms};
use strongroom_meta::Table;

use crate::world::{World, by_kms_key, caller, context, object};

fn reference(text: &str) -> KeyReference {
    text.parse().expect("a reference")
}

#[tokio::test]
async fn what_is_encrypted_is_decrypted_with_the_same_context_only() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let described = world.kms_key().await;
    let key = &described.id.into();
    let given = context(&[("department", "9"), ("project", "x")]);
    for len_bytes in [1, 32, Kms::PLAINTEXT_LEN_BYTES_MAX] {
        let plaintext = vec![7; len_bytes];
        let encrypted = kms.encrypt(key, &given, &plaintext, &caller()).await;
        let encrypted = encrypted.expect("a ciphertext");
        assert_eq!(encrypted.key, described.arn);
        let blob = encrypted.blob.to_bytes();
        assert!(blob.len() <= CiphertextBlob::LEN_BYTES_MAX);
        assert!(len_bytes < 32 || !blob.windows(32).any(|window| window == [7; 32]));

        let same = context(&[("project", "x"), ("department", "9")]);
        let decrypted = kms.decrypt(&blob, &same, None, &caller()).await;
        let decrypted = decrypted.expect("it opens");
        assert_eq!(*decrypted.plaintext, plaintext);
        assert_eq!(decrypted.key, described.arn);
        for other in [
            EncryptionContext::empty(),
            context(&[("department", "9")]),
            context(&[("department", "9"), ("project", "X")]),
            context(&[("Department", "9"), ("project", "x")]),
            context(&[("department", "9"), ("project", "x"), ("more", "")]),
            context(&[("department", "x"), ("project", "9")]),
            context(&[("departmen", "t9"), ("project", "x")]),
        ] {
            let error = kms.decrypt(&blob, &other, None, &caller()).await;
            let error = error.expect_err("it is another context");
            assert!(
                matches!(error, KeyError::NotAuthentic),
                "{other:?}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn two_ciphertexts_of_one_text_have_nothing_in_common_but_their_key() {
    let world = World::new().await;
    let key = &world.kms_key().await.id.into();
    let empty = EncryptionContext::empty();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let encrypted = world
            .service
            .kms
            .encrypt(key, &empty, &[7; 32], &caller())
            .await;
        seen.push(encrypted.expect("a ciphertext").blob.to_bytes());
    }
    assert_eq!(seen[0][..21], seen[1][..21]);
    let is_apart = |(one, other): (&[u8], &[u8])| one != other;
    let pieces = seen[0][21..].chunks(8).zip(seen[1][21..].chunks(8));
    assert!(pieces.into_iter().all(is_apart));
}

#[tokio::test]
async fn a_ciphertext_with_any_byte_changed_lost_or_added_is_refused() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let key = &world.kms_key().await.id.into();
    let pairs = context(&[("a", "b")]);
    let encrypted = kms.encrypt(key, &pairs, b"a secret", &caller()).await;
    let whole = encrypted.expect("a ciphertext").blob.to_bytes();
    let refused = async |bytes: &[u8]| {
        let decrypted = kms.decrypt(bytes, &pairs, None, &caller()).await;
        let error = decrypted.expect_err("it is not what was given out");
        // One that names another key may be under that.
        let is_expected = matches!(error, KeyError::NotAuthentic)
            || (bytes.len() == whole.len()
                && bytes[1..17] != whole[1..17]
                && matches!(error, KeyError::NoSuchKey { .. }));
        assert!(is_expected, "{error:?}");
        let again = kms
            .re_encrypt(bytes, &pairs, None, key, &pairs, &caller())
            .await;
        assert_eq!(again.expect_err("the same").code(), error.code());
    };
    for at in 0..whole.len() {
        for change in [0x01, 0x80, 0xFF] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            refused(&bytes).await;
        }
        refused(&whole[..at]).await;
    }
    refused(&[whole.as_slice(), &[0]].concat()).await;
    refused(&[whole.as_slice(), &[0; 8_000]].concat()).await;
    kms.decrypt(&whole, &pairs, None, &caller())
        .await
        .expect("the whole one opens");
}

#[tokio::test]
async fn a_ciphertext_is_under_the_key_it_says() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let (one, other) = (world.kms_key().await, world.kms_key().await);
    let empty = EncryptionContext::empty();
    let named = AliasName::new("alias/one").expect("a name");
    kms.create_alias(&named, &one.id.into(), &caller())
        .await
        .expect("an alias");
    let encrypted = kms
        .encrypt(
            &named.to_string().parse().expect("a name"),
            &empty,
            b"x",
            &caller(),
        )
        .await;
    let blob = encrypted.expect("a ciphertext").blob.to_bytes();

    let expecting = async |text: &str| {
        let expected = reference(text);
        kms.decrypt(&blob, &empty, Some(&expected), &caller()).await
    };
    for text in [
        one.id.to_string(),
        one.id.to_string().to_uppercase(),
        one.arn.to_string(),
        "alias/one".into(),
        "arn:aws:kms:test-1:000000000000:alias/one".into(),
    ] {
        expecting(&text).await.expect("it is that key");
    }
    let error = expecting(&other.id.to_string()).await.expect_err("another");
    assert!(
        matches!(&error, KeyError::IncorrectKey { key } if *key == other.arn),
        "{error:?}"
    );
    for text in [
        "arn:aws:kms:elsewhere:000000000000:alias/one".into(),
        format!("arn:aws:kms:test-1:999999999999:key/{}", one.id),
    ] {
        let error = expecting(&text).await.expect_err("it is not here");
        assert!(matches!(error, KeyError::NoSuchKey { .. }), "{error:?}");
    }
    let error = expecting("alias/nobody").await.expect_err("no such alias");
    assert!(matches!(error, KeyError::NoSuchAlias { .. }), "{error:?}");
    let moved = [&blob[..1], other.id.as_bytes(), &blob[17..]].concat();
    let error = kms.decrypt(&moved, &empty, None, &caller()).await;
    assert!(matches!(error, Err(KeyError::NotAuthentic)), "{error:?}");
}

#[tokio::test]
async fn re_encrypting_changes_key_and_context_and_not_the_text() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let (from, to) = (world.kms_key().await, world.kms_key().await);
    let (old, new) = (context(&[("a", "1")]), context(&[("b", "2")]));
    let encrypted = kms.encrypt(&from.id.into(), &old, b"text", &caller()).await;
    let blob = encrypted.expect("a ciphertext").blob.to_bytes();
    let again = kms
        .re_encrypt(
            &blob,
            &old,
            Some(&from.id.into()),
            &to.id.into(),
            &new,
            &caller(),
        )
        .await;
    let again = again.expect("it is encrypted anew");
    assert_eq!((&again.key, &again.source_key), (&to.arn, &from.arn));
    let blob = again.blob.to_bytes();
    let decrypted = kms
        .decrypt(&blob, &new, Some(&to.id.into()), &caller())
        .await;
    assert_eq!(*decrypted.expect("it opens").plaintext, b"text");
    for (context, expected, code) in [
        (&old, None, "not-authentic"),
        (&new, Some(from.id.into()), "incorrect-key"),
    ] {
        let again = kms
            .re_encrypt(
                &blob,
                context,
                expected.as_ref(),
                &to.id.into(),
                &new,
                &caller(),
            )
            .await;
        assert_eq!(again.expect_err("refused").code(), code);
    }
}

#[tokio::test]
async fn a_generated_data_key_is_what_its_ciphertext_holds() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let key = &world.kms_key().await.id.into();
    let pairs = context(&[("a", "b")]);
    for len_bytes in [1, 16, 32, 1_024] {
        let made = kms
            .generate_data_key(key, &pairs, len_bytes, &caller())
            .await;
        let made = made.expect("a data key");
        assert_eq!(made.plaintext.len(), len_bytes);
        assert!(!format!("{made:?}").contains(&format!("{:?}", made.plaintext)));
        let blob = made.blob.to_bytes();
        let decrypted = kms.decrypt(&blob, &pairs, None, &caller()).await;
        let decrypted = decrypted.expect("it opens");
        assert_eq!(decrypted.plaintext, made.plaintext);
        assert!(!format!("{decrypted:?}").contains(&format!("{:?}", made.plaintext)));

        let sealed = kms
            .generate_data_key_without_plaintext(key, &pairs, len_bytes, &caller())
            .await;
        let blob = sealed.expect("a data key").blob.to_bytes();
        let decrypted = kms.decrypt(&blob, &pairs, None, &caller()).await;
        assert_eq!(decrypted.expect("it opens").plaintext.len(), len_bytes);
        let random = kms.generate_random(len_bytes, &caller()).await;
        assert_eq!(random.expect("random bytes").len(), len_bytes);
    }
}

#[tokio::test]
async fn lengths_out_of_bounds_are_refused() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let key = &world.kms_key().await.id.into();
    let (empty, who) = (&EncryptionContext::empty(), &caller());
    let keys = world.rows_of(Table::new("kms_keys")).await.len();
    let refused = [
        kms.encrypt(key, empty, b"", who).await.map(drop),
        kms.encrypt(key, empty, &[0; 4_097], who).await.map(drop),
        kms.generate_data_key(key, empty, 0, who).await.map(drop),
        kms.generate_data_key(key, empty, 1_025, who)
            .await
            .map(drop),
        kms.generate_data_key_without_plaintext(key, empty, usize::MAX, who)
            .await
            .map(drop),
        kms.generate_random(0, who).await.map(drop),
        kms.generate_random(1_025, who).await.map(drop),
        kms.create_key("d".repeat(8_193).as_str(), who)
            .await
            .map(drop),
        kms.create_key("d".repeat(70_000).as_str(), who)
            .await
            .map(drop),
        kms.update_key_description(key, &"d".repeat(8_193), who)
            .await,
    ];
    for (at, result) in refused.into_iter().enumerate() {
        let error = result.expect_err("it is out of bounds");
        assert!(
            matches!(error, KeyError::InvalidRequest { .. }),
            "{at}: {error:?}"
        );
    }
    assert_eq!(world.rows_of(Table::new("kms_keys")).await.len(), keys);
    let description = "\u{10348}".repeat(8_192);
    let made = kms.create_key(description.as_str(), who).await;
    let made = made.expect("it fits");
    let found = kms.describe_key(&made.id.into()).await.expect("a key");
    assert_eq!(found, made);
    assert_eq!(found.description, description);
}

#[tokio::test]
async fn a_reference_longer_than_any_is_not_well_formed() {
    // What cannot name a key must not come so far that the log has no room for it.
    let key = "00000000-0000-4000-8000-000000000000";
    for text in [
        format!("arn:aws:kms:{}:000000000000:key/{key}", "r".repeat(70_000)),
        format!("arn:aws:kms:r:{}:alias/x", "\u{1}".repeat(2_048)),
    ] {
        let read = text.parse::<KeyReference>();
        assert!(
            matches!(read, Err(KeyError::InvalidReference { .. })),
            "{read:?}"
        );
    }
}

#[tokio::test]
async fn a_key_whose_current_version_is_gone_is_damage_and_not_the_caller_s_mistake() {
    let world = World::new().await;
    let key = world.kms_key().await;
    let versions = Table::new("kms_key_versions");
    let row_key = [key.id.as_bytes().as_slice(), &[0, 0, 0, 1]].concat();
    world.set(versions, &row_key, None).await;
    let kms = &world.service.kms;
    let encrypted = kms
        .encrypt(&key.id.into(), &EncryptionContext::empty(), b"x", &caller())
        .await;
    let error = encrypted.expect_err("there is no value to encrypt with");
    assert!(matches!(error, KeyError::Damaged { .. }), "{error:?}");
}

#[tokio::test]
async fn the_data_key_of_an_object_does_not_come_out_of_the_kms() {
    let world = World::new().await;
    let key = world.kms_key().await;
    let name = object("bucket", "key");
    let created = world
        .service
        .objects
        .create(&by_kms_key(&key, false), &name, &caller())
        .await;
    let envelope = created.expect("a data key").1.to_bytes();
    // Version, mode, and the length of an empty context stand before the ciphertext.
    let blob = &envelope[4..];
    assert_eq!(
        CiphertextBlob::from_bytes(blob)
            .expect("a ciphertext")
            .key(),
        key.id
    );
    for given in [
        EncryptionContext::empty(),
        context(&[("aws:s3:arn", "arn:aws:s3:::bucket/key")]),
    ] {
        let error = world
            .service
            .kms
            .decrypt(blob, &given, None, &caller())
            .await;
        assert!(matches!(error, Err(KeyError::NotAuthentic)), "{error:?}");
    }
    let bound = ("strongroom:binding".to_owned(), name.binding.to_string());
    let error = EncryptionContext::new([bound]).expect_err("reserved");
    assert!(
        matches!(error, KeyError::InvalidContext { .. }),
        "{error:?}"
    );
}
