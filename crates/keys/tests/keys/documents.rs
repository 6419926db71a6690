//! The worked examples of `docs/format/keys.md` are what the service writes and reads.

use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use data_encoding::HEXLOWER;
use secrecy::ExposeSecret;
use strongroom_environment::Clock;
use strongroom_keys::{
    AliasName, Caller, ChainLink, CiphertextBlob, GrantConstraint, GrantFilter, GrantOperation,
    KeyEnvelope, KeyManager, KeyState, KeyVersion, Kms, LedgerKey, NewGrant, NewKey, NewPolicy,
    ProtectedVersion, Protection, Role, SignedMessage, SigningAlgorithm, Standing, Tags,
};
use strongroom_meta::Batch;

use crate::acts::ACTS;
use crate::page::{
    Example, Installation, PAGE, by_kms_key, customer_key, customers, direct, key, name,
    through_bucket_key,
};
use crate::world::{caller, context, weight};

#[tokio::test]
async fn the_installation_of_the_page_opens() {
    let Installation {
        ground, service, ..
    } = Installation::start().await;
    let moment = ground.clock.now();
    let (kms, keys, who) = (&service.kms, &service.objects, &caller());

    let described = kms.describe_key(&key().into()).await.expect("a key");
    assert_eq!(described.state, KeyState::Enabled);
    assert_eq!(described.manager, KeyManager::Customer);
    assert_eq!(described.current_version, KeyVersion(1));
    assert_eq!(described.created, moment);
    assert_eq!(described.description, "Photos, all of them");
    let year = Duration::from_secs(365 * 86_400);
    let schedule = described.rotation.expect("it is rotated");
    assert_eq!((schedule.period_days, schedule.next), (365, moment + year));
    let tags = kms.list_tags(&key().into(), None, 10).await;
    let tags = tags.expect("a page").items;
    assert_eq!(tags, [("team".into(), "imaging".into())]);
    let grants = kms
        .list_grants(&key().into(), &GrantFilter::All, None, 10, who)
        .await;
    let [grant] = grants.expect("a page").items.try_into().expect("one");
    assert_eq!(
        (grant.grantee.as_str(), grant.name.as_deref()),
        (
            "arn:aws:iam::000000000000:user/SRAKOBYXE43UOV3HO6DZ",
            Some("report")
        )
    );
    assert_eq!(
        grant.operations,
        [GrantOperation::Decrypt, GrantOperation::DescribeKey]
    );
    let policy = kms.key_policy(&key().into(), Kms::POLICY_NAME, who).await;
    assert!(policy.expect("a policy").contains("000000000000"));
    let due = kms.run_due(who).await.expect("nothing is due");
    assert_eq!(due.next, Some(moment + year));
    let aliases = kms.list_aliases(Some(&key().into()), None, 10).await;
    let [alias] = aliases.expect("a page").items.try_into().expect("one");
    assert_eq!(alias.name.as_str(), "alias/photos");
    assert_eq!(
        (alias.created, alias.updated),
        (moment, moment + Duration::from_secs(9))
    );

    let ciphertext = Example::one("Ciphertext");
    let pairs = context(&[("project", "x"), ("department", "9")]);
    let blob = ciphertext.bytes("ciphertext");
    assert_eq!(
        CiphertextBlob::from_bytes(blob)
            .expect("a ciphertext")
            .to_bytes(),
        blob
    );
    let decrypted = kms
        .decrypt(blob, &pairs, None, who)
        .await
        .expect("it opens");
    assert_eq!(*decrypted.plaintext, ciphertext.bytes("plaintext"));

    for (example, with) in [
        (customers(), Some(customer_key())),
        (direct(), None),
        (through_bucket_key(), None),
    ] {
        let bytes = example.bytes("envelope");
        let envelope = KeyEnvelope::from_bytes(bytes).expect("an envelope");
        assert_eq!(envelope.to_bytes(), bytes);
        let opened = keys.open(&envelope, &name(), with.as_ref(), who).await;
        assert_eq!(
            opened.expect("it opens").expose(),
            example.bytes("data key")
        );
    }
    let fingerprint = keys.fingerprint_of(&customer_key());
    assert_eq!(fingerprint.as_bytes(), customers().bytes("fingerprint"));

    let users = service.users.list(None, 10).await.expect("a page").items;
    let [user] = users.try_into().expect("one");
    assert_eq!(
        (&*user.name, user.role, user.is_disabled),
        ("Ann", Role::User, false)
    );
    let credential = service.users.secret_of(&user.access_key_id).await;
    let secret = credential.expect("a secret");
    assert!(PAGE.contains(&format!("\nkey is `{}`", secret.secret.expose_secret())));

    let bucket_keys = keys.bucket_keys_of(key(), None, 10).await.expect("a page");
    let [bucket_key] = bucket_keys.items.try_into().expect("one");
    assert_eq!(
        (&*bucket_key.bucket, bucket_key.created),
        ("photos", moment)
    );
    for ledger_key in [
        LedgerKey::BucketKey(bucket_key.id),
        LedgerKey::CustomerKey(fingerprint),
    ] {
        let page = keys
            .versions_of(ledger_key, None, 10)
            .await
            .expect("a page");
        let [entry] = page.items.try_into().expect("one");
        assert_eq!(
            (&entry.version.object, entry.version.sequence),
            (&name(), 7)
        );
        let link = match ledger_key {
            LedgerKey::BucketKey(id) => ChainLink::BucketKey(id),
            _ => ChainLink::CustomerKey(fingerprint),
        };
        assert_eq!(entry.chain[0], link);
    }
}

#[tokio::test]
async fn the_installation_of_the_page_is_what_is_written() {
    let installation = Installation::start().await;
    let Installation {
        ground,
        service,
        of_token,
        of_service,
    } = &installation;
    let (kms, keys, who) = (&service.kms, &service.objects, &caller());
    let started = ground.entry_count();

    installation
        .clear(&[
            "kms_keys",
            "kms_key_versions",
            "kms_key_tags",
            "kms_key_policies",
            "kms_grants",
            "kms_grants_of",
            "kms_retirable_grants",
            "kms_grant_counts",
            "kms_due",
            "users",
        ])
        .await;
    of_service.next(&[key().as_bytes()]);
    of_token.next(&[Example::one("Table `kms_key_versions`").bytes("key value")]);
    let tags = [("team".into(), "imaging".into())];
    let new = NewKey {
        description: "Photos, all of them".into(),
        tags: Tags::new(tags).expect("tags"),
        ..NewKey::default()
    };
    let made = kms.create_key(new, who).await;
    assert_eq!(made.expect("a key").id, key());
    let enabled = kms.enable_key_rotation(&key().into(), 365, who).await;
    enabled.expect("it is rotated from now on");
    let user = Example::one("Table `users`");
    let id = std::str::from_utf8(&user.bytes("key")[4..]).expect("base32");
    let id = data_encoding::BASE32_NOPAD
        .decode(id.as_bytes())
        .expect("base32");
    of_service.next(&[&id, user.bytes("seed"), user.bytes("nonce")]);
    service
        .users
        .create("Ann", Role::User, who)
        .await
        .expect("a user");

    let policy = Example::one("Table `kms_key_policies`");
    let document = std::str::from_utf8(&policy.bytes("value")[3..]).expect("text");
    let policy = NewPolicy {
        document: document.into(),
        bypass_lockout_check: false,
    };
    kms.put_key_policy(&key().into(), Kms::POLICY_NAME, &policy, who)
        .await
        .expect("a policy");
    let grant = Example::one("Table `kms_grants`");
    of_service.next(&[&grant.bytes("key")[16..]]);
    let ann = std::str::from_utf8(user.bytes("key")).expect("text");
    let new = NewGrant {
        grantee: format!("arn:aws:iam::000000000000:user/{ann}"),
        retiring: Some("000000000000".into()),
        operations: vec![GrantOperation::DescribeKey, GrantOperation::Decrypt],
        constraint: Some(GrantConstraint::ContextSubset(context(&[(
            "department",
            "9",
        )]))),
        name: Some("report".into()),
    };
    let (_, token) = kms
        .create_grant(&key().into(), &new, who)
        .await
        .expect("a grant");
    let token = data_encoding::BASE64URL_NOPAD
        .decode(token.as_bytes())
        .expect("base64url");
    assert_eq!(
        (token[0], &token[1..49], token.len()),
        (1, grant.bytes("key"), 57)
    );

    let ciphertext = Example::one("Ciphertext");
    of_token.next(&[ciphertext.bytes("nonce")]);
    let pairs = context(&[("department", "9"), ("project", "x")]);
    let plaintext = ciphertext.bytes("plaintext");
    let encrypted = kms.encrypt(&key().into(), &pairs, plaintext, who).await;
    let blob = encrypted.expect("a ciphertext").blob.to_bytes();
    assert_eq!(blob, ciphertext.bytes("ciphertext"));

    installation
        .clear(&["bucket_keys", "bucket_keys_of", "ledger"])
        .await;
    let (customers, direct, bucket) = (customers(), direct(), through_bucket_key());
    let bucket_key = Example::one("Table `bucket_keys`");
    let data_key = customers.bytes("data key");
    for (protection, example, draws, of_token_too) in [
        (
            Protection::CustomerKey(customer_key()),
            &customers,
            vec![data_key, customers.bytes("salt"), customers.bytes("nonce")],
            None,
        ),
        (
            by_kms_key(false),
            &direct,
            vec![data_key],
            Some(direct.bytes("nonce")),
        ),
        (
            by_kms_key(true),
            &bucket,
            vec![
                data_key,
                bucket_key.bytes("key"),
                bucket_key.bytes("bucket key"),
                bucket.bytes("nonce"),
            ],
            Some(bucket_key.bytes("nonce")),
        ),
    ] {
        of_service.next(&draws);
        of_token.next(of_token_too.as_slice());
        let created = keys.create(&protection, &name(), who).await;
        let (_, envelope) = created.expect("a data key");
        let written = HEXLOWER.encode(&envelope.to_bytes());
        assert_eq!(written, HEXLOWER.encode(example.bytes("envelope")));
        if !std::ptr::eq(example, &direct) {
            let version = ProtectedVersion {
                object: name(),
                sequence: 7,
            };
            let mut batch = Batch::new();
            keys.record(&mut batch, &envelope, &version, weight(4_096, "STANDARD"));
            ground.commit(batch).await;
        }
    }

    installation
        .clear(&["kms_aliases", "kms_key_aliases"])
        .await;
    let alias = AliasName::new("alias/photos").expect("a name");
    kms.create_alias(&alias, &key().into(), who)
        .await
        .expect("an alias");
    ground.clock.pass(Duration::from_secs(9));
    kms.update_alias(&alias, &key().into(), who)
        .await
        .expect("the same key");
    installation.assert_whole().await;
    assert!(ground.entry_count() > started);
}

#[tokio::test]
async fn what_is_left_of_a_destroyed_key_is_on_the_page() {
    let Installation {
        ground,
        service,
        of_service,
        ..
    } = Installation::start().await;
    let [of_key, of_version] = Example::all("Destroyed keys").try_into().expect("two");
    of_service.next(&[of_key.bytes("key")]);
    let (kms, who) = (&service.kms, &caller());
    let key = kms
        .create_key("Films, long gone", who)
        .await
        .expect("a key");
    kms.schedule_key_deletion(&key.id.into(), 7, who)
        .await
        .expect("it is scheduled");
    ground.clock.pass(Duration::from_secs(7 * 86_400));
    let report = kms.run_due(who).await.expect("it is destroyed");
    assert_eq!(report.destroyed, [key.arn]);
    let rows = ground.rows().await;
    for (table, example) in [("kms_keys", of_key), ("kms_key_versions", of_version)] {
        let [place, value] = ["key", "value"].map(|name| example.bytes(name));
        let row = rows
            .iter()
            .find(|(in_table, found, _)| in_table.name() == table && found == place);
        let (_, _, found) = row.expect("it is there");
        assert_eq!(HEXLOWER.encode(found), HEXLOWER.encode(value), "{table}");
    }
}

#[tokio::test]
async fn the_key_pair_of_the_page_signs() {
    let Installation {
        ground, service, ..
    } = Installation::start().await;
    let [of_key, of_version] = Example::all("HMAC keys and key pairs")
        .try_into()
        .expect("two");
    for (table, example) in [("kms_keys", &of_key), ("kms_key_versions", &of_version)] {
        let [place, value] = ["key", "value"].map(|name| example.bytes(name));
        ground
            .set(strongroom_meta::Table::new(table), place, Some(value))
            .await;
    }
    let (kms, who) = (&service.kms, &caller());
    let pair = &"0f1e2d3c-4b5a-4697-a8b9-c0d1e2f30415"
        .parse()
        .expect("a key id");
    let public = kms.public_key(pair, who).await.expect("a public key");
    let documented = Example::one("Table `kms_public_keys`");
    assert_eq!(public.der, documented.bytes("value")[3..]);
    let algorithm = SigningAlgorithm::named("ECDSA_SHA_256").expect("an algorithm");
    let message = SignedMessage::Raw(b"a release");
    let (_, signature) = kms
        .sign(pair, algorithm, message, who)
        .await
        .expect("it signs");
    kms.verify(pair, algorithm, message, &signature, who)
        .await
        .expect("it verifies");
    let mac_key = aws_lc_rs::hmac::Key::new(
        aws_lc_rs::hmac::HMAC_SHA256,
        Example::one("Table `kms_key_versions`").bytes("MAC key"),
    );
    let mac = aws_lc_rs::hmac::sign(&mac_key, of_version.bytes("MAC message"));
    assert_eq!(mac.as_ref(), of_version.bytes("MAC"));
}

#[test]
fn what_is_sealed_on_the_page_can_be_computed_with_nothing_of_ours() {
    let (customers, direct, bucket) = (customers(), direct(), through_bucket_key());
    let ciphertext = Example::one("Ciphertext");
    let kms_key = ciphertext.bytes("key value").to_vec();
    let (bucket_row, user) = (
        Example::one("Table `bucket_keys`"),
        Example::one("Table `users`"),
    );
    let mut cases = vec![
        (kms_key.clone(), "plaintext", "ciphertext", &ciphertext),
        (
            customers.bytes("wrapping key").to_vec(),
            "data key",
            "envelope",
            &customers,
        ),
        (kms_key.clone(), "data key", "envelope", &direct),
        (
            bucket.bytes("bucket key").to_vec(),
            "data key",
            "envelope",
            &bucket,
        ),
        (kms_key.clone(), "bucket key", "value", &bucket_row),
        (
            user.bytes("user-secrets key").to_vec(),
            "seed",
            "value",
            &user,
        ),
    ];
    let service_keys = Example::all("Table `service_keys`");
    for (example, plaintext) in service_keys.iter().zip(["ledger key", "user-secrets key"]) {
        cases.push((kms_key.clone(), plaintext, "value", example));
    }
    for (under, plaintext, place, example) in cases {
        let cipher = UnboundKey::new(&AES_256_GCM, &under).expect("32 bytes");
        let nonce = Nonce::assume_unique_for_key(example.array("nonce"));
        let mut sealed = example.bytes(plaintext).to_vec();
        LessSafeKey::new(cipher)
            .seal_in_place_append_tag(nonce, Aad::from(example.bytes("bound to")), &mut sealed)
            .expect("it seals");
        let expected = [example.bytes("nonce"), &sealed].concat();
        assert!(example.bytes(place).ends_with(&expected), "{place}");
    }

    let version = Example::one("Table `kms_key_versions`");
    let mac_key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, version.bytes("MAC key"));
    let mac = aws_lc_rs::hmac::sign(&mac_key, version.bytes("MAC message"));
    assert_eq!(mac.as_ref(), version.bytes("MAC"));
    let wrapped_and_mac = [version.bytes("wrapped key"), mac.as_ref()].concat();
    assert!(version.bytes("value").ends_with(&wrapped_and_mac));
    assert!(
        version
            .bytes("MAC message")
            .ends_with(version.bytes("wrapped key"))
    );
    let ledger_key =
        aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, customers.bytes("ledger key"));
    let fingerprint = aws_lc_rs::hmac::sign(&ledger_key, customers.bytes("customer key"));
    assert_eq!(fingerprint.as_ref(), customers.bytes("fingerprint"));
    let pairs = Example::one("Encryption context");
    assert!(
        ciphertext
            .bytes("bound to")
            .ends_with(pairs.bytes("context"))
    );
    let object_name = Example::one("Object name");
    let head = [
        b"strongroom/data-key/v1\0",
        object_name.bytes("object name"),
    ]
    .concat();
    for example in [&customers, &bucket] {
        assert!(example.bytes("bound to").starts_with(&head));
        let envelope_head = &example.bytes("bound to")[head.len()..];
        assert!(example.bytes("envelope").starts_with(envelope_head));
    }
}

#[tokio::test]
async fn the_entry_of_the_page_is_what_is_written() {
    let Installation {
        ground, service, ..
    } = Installation::start().await;
    let user = Example::one("Table `users`");
    let who = Caller {
        principal: String::from_utf8(user.bytes("key").to_vec()).expect("an id"),
        standing: Standing::User(Role::User),
        request_id: "4f1f2c6a9d0e4b7c".into(),
        operation: "s3:GetObject".into(),
        source: Some([192, 0, 2, 7].into()),
        store: None,
    };
    let envelope = KeyEnvelope::from_bytes(through_bucket_key().bytes("envelope"));
    let envelope = envelope.expect("an envelope");
    let before = ground.entry_count();
    let opened = service.objects.open(&envelope, &name(), None, &who).await;
    opened.expect("it opens");
    let entries = ground.entries_since(before);
    let [custody, entry] = entries.as_slice() else {
        panic!("{entries:#?}");
    };
    assert_eq!(custody["use"], "open-data-key");
    let (_, json) = PAGE.split_once("```json\n").expect("there is an entry");
    let (json, _) = json.split_once("```").expect("it ends");
    let documented: serde_json::Value = serde_json::from_str(json).expect("it is JSON");
    assert_eq!(*entry, documented);
    // The same members in the same order, and no white space.
    let written = ground.entries.entries().pop().expect("an entry");
    let compact: String = json.split_inclusive('\n').map(str::trim).collect();
    assert_eq!(
        String::from_utf8(written).expect("text"),
        compact.replace("\": ", "\":")
    );
}

#[test]
fn every_use_and_reason_is_on_the_page() {
    for (_, event, act, reason) in ACTS {
        for word in [event, act].into_iter().chain(reason) {
            let is_there = PAGE.contains(&format!("`{word}`"));
            assert!(is_there || word == "conformance", "{word}");
        }
    }
    let source = include_str!("../../src/error.rs");
    let (_, codes) = source.split_once("pub fn code(").expect("it is there");
    let (codes, _) = codes.split_once("\n    }\n").expect("it ends");
    let codes: Vec<&str> = codes.split('"').skip(1).step_by(2).collect();
    assert!(codes.len() > 20);
    for code in codes {
        assert!(PAGE.contains(&format!("`{code}`")), "{code}");
    }
}
