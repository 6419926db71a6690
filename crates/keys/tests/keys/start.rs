//! The start of the service: the first, the next, and those that must not succeed.

use std::sync::Arc;

use strongroom_audit::LogFault;
use strongroom_keys::{
    KeyDescription, KeyError, KeyId, KeyLimits, KeyService, KeyState, Protection, ensure_token_keys,
};
use strongroom_meta::{Batch, CommitFault, ReadFault, Table};
use strongroom_pkcs11::{MemoryToken, Token, TokenError, TokenFunction};
use strongroom_testkit::FaultyToken;
use tokio::task::JoinSet;

use crate::kept::keep;
use crate::world::{Ground, World, caller, config, context, customer_key, object};

const KEYS: Table = Table::new("kms_keys");
const KEY_VERSIONS: Table = Table::new("kms_key_versions");

#[tokio::test]
async fn a_restart_finds_everything() {
    let world = World::new().await;
    let kept = keep(&world).await;
    assert_eq!(kept.ask(&world.service).await, 0);
    let rows = world.rows().await;
    for _ in 0..2 {
        let before = world.entry_count();
        let service = world.restarted().await.expect("it starts");
        assert!(
            world.rows().await == rows,
            "a start with everything there writes nothing"
        );
        let entries = world.entries_since(before);
        let last = entries.last().expect("a start is on the log");
        assert_eq!(
            (&last["event"], &last["use"]),
            (&"service".into(), &"start".into())
        );
        assert_eq!(last["detail"]["token"]["label"], "memory");
        assert_eq!(last["principal"], "strongroom");
        assert_eq!(kept.ask(&service).await, 0);
    }
    world
        .service
        .kms
        .disable_key(&kept.key.id.into(), &caller())
        .await
        .expect("it is");
    let service = world.restarted().await.expect("it starts");
    let found = service
        .kms
        .describe_key(&kept.key.id.into())
        .await
        .expect("a key");
    assert_eq!(found.state, KeyState::Disabled);
}

/// Rows of many more keys like one that is there, each with as many versions.
async fn crowd(ground: &Ground, like: KeyId, keys: u64) {
    let versions = ground.rows_of(KEY_VERSIONS).await;
    let versions: Vec<_> = versions
        .iter()
        .filter(|row| row.key.starts_with(like.as_bytes()))
        .collect();
    assert_eq!(versions.len(), 10);
    let key_rows = ground.rows_of(KEYS).await;
    let key_row = key_rows
        .iter()
        .find(|row| *row.key == *like.as_bytes())
        .expect("the row of the key");
    for number in 0..keys {
        // On either side of any key in the order of the tables.
        let id = (u128::from(number) << 96 | u128::from(number)).to_be_bytes();
        let mut batch = Batch::new();
        batch.put(KEYS, id, &*key_row.row.value);
        for version in &versions {
            let place = [&id, &version.key[16..]].concat();
            batch.put(KEY_VERSIONS, place, &*version.row.value);
        }
        ground.commit(batch).await;
    }
}

#[tokio::test]
async fn neither_a_start_nor_a_use_reads_more_where_there_are_many_keys() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let key = kms
        .create_key("one of many", &caller())
        .await
        .expect("made");
    for _ in 1..10 {
        let rotated = kms.rotate_key(&key.id.into(), &caller()).await;
        rotated.expect("rotated");
    }
    let bound = context(&[("of", "many")]);
    let made = kms
        .generate_data_key(&key.id.into(), &bound, 32, &caller())
        .await
        .expect("a data key");
    let cost = async || {
        let (meta, token) = (&world.ground.meta, &world.ground.token);
        let count = || {
            (
                meta.reads(),
                meta.rows_read(),
                token.calls(TokenFunction::Open),
            )
        };
        let before = count();
        let service = world.restarted().await.expect("it starts");
        let started = count();
        let blob = made.blob.to_bytes();
        let opened = service
            .kms
            .decrypt(&blob, &bound, None, &caller())
            .await
            .expect("it opens");
        assert_eq!(*opened.plaintext, *made.plaintext);
        let used = count();
        (
            (
                started.0 - before.0,
                started.1 - before.1,
                started.2 - before.2,
            ),
            (used.0 - started.0, used.1 - started.1, used.2 - started.2),
        )
    };
    let alone = cost().await;
    crowd(&world.ground, key.id, 3_000).await;
    assert_eq!(cost().await, alone);
}

#[tokio::test]
async fn the_rows_of_another_token_are_refused() {
    let world = World::new().await;
    keep(&world).await;
    let token = FaultyToken::new(Arc::new(MemoryToken::new()));
    let elsewhere = Ground {
        token: Arc::clone(&token),
        ..world.ground.clone()
    };
    // It has no keys at all.
    let error = elsewhere
        .start(KeyLimits::default())
        .await
        .expect_err("no keys");
    let is_expected = matches!(
        error,
        KeyError::TokenUnavailable(TokenError::NoSuchKey { .. })
    );
    assert!(is_expected, "{error:?}");
    // It has keys of its own.
    ensure_token_keys(&*token).await.expect("keys on the token");
    let rows = world.rows().await;
    let error = elsewhere
        .start(KeyLimits::default())
        .await
        .expect_err("another token's");
    assert!(matches!(error, KeyError::Damaged { .. }), "{error:?}");
    assert!(world.rows().await == rows, "it leaves them as they are");
    world.restarted().await.expect("on its own token it starts");
}

#[tokio::test]
async fn a_wrapped_key_in_another_place_is_not_used() {
    let world = World::new().await;
    let kept = keep(&world).await;
    let other = world.kms_key().await;
    let value_of = async |key: &KeyDescription| {
        let rows = world.rows_of(KEY_VERSIONS).await;
        let row = rows
            .into_iter()
            .find(|row| row.key.starts_with(key.id.as_bytes()));
        let row = row.expect("a version");
        (row.key.to_vec(), row.row.value.to_vec())
    };
    let (place, mine) = value_of(&kept.key).await;
    let (_, others) = value_of(&other).await;
    let refused = async |value: &[u8]| {
        world.set(KEY_VERSIONS, &place, Some(value)).await;
        let service = world.restarted().await.expect("its own keys are well");
        let pairs = context(&[("a", "b")]);
        let encrypted = service
            .kms
            .encrypt(&kept.key.id.into(), &pairs, b"x", &caller())
            .await;
        let decrypted = service
            .kms
            .decrypt(&kept.blob, &pairs, None, &caller())
            .await;
        for error in [encrypted.map(drop), decrypted.map(drop)] {
            assert!(matches!(error, Err(KeyError::Damaged { .. })), "{error:?}");
        }
    };
    refused(&others).await;
    // All but the time of its making, which the token does not vouch for.
    for at in (1..3).chain(11..mine.len()) {
        let mut value = mine.clone();
        value[at] ^= 0x10;
        refused(&value).await;
    }
    world.set(KEY_VERSIONS, &place, Some(&mine)).await;
    let service = world.restarted().await.expect("it starts");
    assert_eq!(kept.ask(&service).await, 0);
}

#[tokio::test]
async fn a_corrupt_row_is_an_error_and_neither_a_panic_nor_a_wrong_answer() {
    let world = World::new().await;
    let kept = keep(&world).await;
    let rows = world.rows().await;
    for (table, key, value) in &rows {
        let mut corrupt: Vec<Option<Vec<u8>>> = vec![None, Some(Vec::new())];
        for at in 0..value.len() {
            for change in [0x01, 0x80] {
                let mut bytes = value.clone();
                bytes[at] ^= change;
                corrupt.push(Some(bytes));
            }
        }
        corrupt.push(Some(value[..value.len() / 2].to_vec()));
        corrupt.push(Some([value.as_slice(), &[0]].concat()));
        for (number, bytes) in corrupt.iter().enumerate() {
            world.set(*table, key, bytes.as_deref()).await;
            let started = world.restarted().await;
            let errors = match &started {
                Ok(service) => kept.ask(service).await,
                Err(_) => 1,
            };
            // Of another version, or cut or grown: that is always seen where the row is looked at.
            let is_index = matches!(
                table.name(),
                "kms_key_aliases" | "kms_due" | "bucket_keys_of"
            );
            let is_malformed = bytes
                .as_ref()
                .is_some_and(|bytes| bytes.len() != value.len());
            let is_seen = errors > 0 || is_index || !is_malformed;
            assert!(is_seen, "{table} {number}");
            // What such a start has made in place of what it did not find goes again.
            for (table, key, _) in world.rows().await {
                world.set(table, &key, None).await;
            }
            for (table, key, value) in &rows {
                world.set(*table, key, Some(value)).await;
            }
        }
    }
    let service = world.restarted().await.expect("it starts");
    assert_eq!(kept.ask(&service).await, 0);
}

#[tokio::test]
async fn a_lost_key_of_the_service_is_not_made_anew_while_there_is_something_under_it() {
    let table = Table::new("service_keys");
    let world = World::new().await;
    let rows = world.rows_of(table).await;
    let lose = async |purpose: &str| world.set(table, purpose.as_bytes(), None).await;
    // Nothing is under them yet: that is a first start that was cut short.
    for purpose in ["ledger", "user-secrets"] {
        lose(purpose).await;
        world.restarted().await.expect("it starts");
    }
    for row in &rows {
        world.set(table, &row.key, Some(&row.row.value)).await;
    }
    let kept = keep(&world).await;
    for purpose in ["ledger", "user-secrets"] {
        lose(purpose).await;
        let error = world.restarted().await.expect_err("it was there");
        assert!(
            matches!(error, KeyError::Damaged { .. }),
            "{purpose}: {error:?}"
        );
        assert_eq!(world.rows_of(table).await.len(), 1, "and none is made");
        for row in &rows {
            world.set(table, &row.key, Some(&row.row.value)).await;
        }
    }
    let service = world.restarted().await.expect("it starts");
    assert_eq!(kept.ask(&service).await, 0);
}

/// A first start that something went wrong with, and the start after it.
async fn start_twice(ground: &Ground, what: &str) {
    let first = ground.start(KeyLimits::default()).await;
    ground.meta.reopen();
    ground.token.heal();
    ground.log.recover();
    let service = match ground.start(KeyLimits::default()).await {
        Ok(service) => service,
        Err(error) => panic!("{what}: {error:?}"),
    };
    for (table, expected) in [
        ("kms_keys", 2),
        ("kms_key_versions", 2),
        ("kms_aliases", 2),
        ("kms_key_aliases", 2),
        ("kms_due", 2),
        ("service_keys", 2),
        ("users", 0),
    ] {
        let count = ground.rows_of(Table::new(table)).await.len();
        assert_eq!(count, expected, "{what}: {table}");
    }
    let world = World {
        ground: ground.clone(),
        service,
    };
    let kept = keep(&world).await;
    let service = world.restarted().await.expect("it starts again");
    assert_eq!(kept.ask(&service).await, 0, "{what}");
    drop(first);
}

#[tokio::test]
async fn whatever_cuts_the_first_start_short_the_next_goes_on_from_there() {
    let new_ground = async || Ground::new(Arc::new(MemoryToken::new())).await;
    let whole = new_ground().await;
    whole.start(KeyLimits::default()).await.expect("it starts");
    let (commits, reads) = (whole.meta.commits(), whole.meta.reads());
    let entries = whole.entry_count() as u64;
    assert!(commits == 4 && reads > 4 && entries > 4);
    for at in 0..commits {
        for fault in [
            CommitFault::Unavailable,
            CommitFault::Full,
            CommitFault::UnknownApplied,
            CommitFault::UnknownNotApplied,
        ] {
            let ground = new_ground().await;
            ground.meta.fail_commit(at, fault);
            start_twice(&ground, &format!("commit {at} {fault:?}")).await;
        }
    }
    for at in 0..reads {
        for fault in [ReadFault::Unavailable, ReadFault::Corrupt] {
            let ground = new_ground().await;
            ground.meta.fail_read(at, fault);
            start_twice(&ground, &format!("read {at} {fault:?}")).await;
        }
    }
    for at in 0..entries {
        for fault in [LogFault::Full, LogFault::StoppedAfterWriting] {
            let ground = new_ground().await;
            ground.log.fail_after(at, fault);
            let failed = ground.start(KeyLimits::default()).await;
            assert!(
                matches!(failed, Err(KeyError::AuditUnavailable(_))),
                "{failed:?}"
            );
            start_twice(&ground, &format!("entry {at} {fault:?}")).await;
        }
    }
    for function in [
        TokenFunction::GenerateWrapped,
        TokenFunction::Mac,
        TokenFunction::Seal,
        TokenFunction::Open,
    ] {
        let gone = || TokenError::Unavailable {
            reason: "unplugged".into(),
        };
        let ground = new_ground().await;
        ground.token.fail_next(function, gone());
        start_twice(&ground, &format!("{function:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_that_start_at_once_agree_on_their_keys() {
    for _ in 0..16 {
        let ground = Ground::new(Arc::new(MemoryToken::new())).await;
        let mut starts = JoinSet::new();
        for _ in 0..4 {
            let ground = ground.clone();
            starts.spawn(async move { ground.start(KeyLimits::default()).await });
        }
        let services = starts.join_all().await;
        let services: Vec<KeyService> = services
            .into_iter()
            .map(|started| started.expect("it starts"))
            .collect();
        assert_eq!(ground.rows_of(Table::new("kms_keys")).await.len(), 2);
        let name = object("bucket", "key");
        let made = services[0]
            .objects
            .create(&Protection::Managed, &name, &caller())
            .await;
        let (data_key, envelope) = made.expect("a data key");
        for service in &services {
            let opened = service
                .objects
                .open(&envelope, &name, None, &caller())
                .await;
            assert_eq!(opened.expect("it opens").expose(), data_key.expose());
            let fingerprint = service.objects.fingerprint_of(&customer_key(1));
            assert_eq!(
                fingerprint,
                services[0].objects.fingerprint_of(&customer_key(1))
            );
        }
    }
}

#[tokio::test]
async fn the_token_s_keys_are_made_once() {
    let token = FaultyToken::new(Arc::new(MemoryToken::new()));
    let gone = TokenError::Unavailable {
        reason: "unplugged".into(),
    };
    for function in [
        TokenFunction::CreateKek,
        TokenFunction::CreateMacKey,
        TokenFunction::CreateSigningKey,
        TokenFunction::HasKey,
    ] {
        token.fail_next(function, gone.clone());
        let error = ensure_token_keys(&*token)
            .await
            .expect_err("it is unplugged");
        assert!(matches!(error, KeyError::TokenUnavailable(_)), "{error:?}");
    }
    ensure_token_keys(&*token).await.expect("keys on the token");
    let made = token.calls(TokenFunction::CreateKek);
    ensure_token_keys(&*token).await.expect("they are there");
    assert_eq!(token.calls(TokenFunction::CreateKek), made);
    token.health().await.expect("well");
}

#[tokio::test]
async fn what_is_no_configuration_is_refused() {
    let ground = Ground::new(Arc::new(MemoryToken::new())).await;
    let good = config(KeyLimits::default());
    let mut configs = Vec::new();
    for text in ["", "with space", "colon:x", &"r".repeat(33)] {
        for is_region in [true, false] {
            let mut config = good.clone();
            *if is_region {
                &mut config.region
            } else {
                &mut config.account
            } = text.into();
            configs.push(config);
        }
    }
    configs.push(config(KeyLimits {
        bucket_key_uses_max: (1 << 32) + 1,
        ..KeyLimits::default()
    }));
    for config in configs {
        let started = KeyService::start(
            config.clone(),
            Arc::clone(&ground.token) as _,
            Arc::clone(&ground.meta) as _,
            Arc::clone(&ground.log) as _,
            Arc::clone(&ground.clock) as _,
            Arc::new(strongroom_environment::SystemEntropy),
        )
        .await;
        let is_refused = matches!(started, Err(KeyError::InvalidRequest { .. }));
        assert!(is_refused, "{config:?}");
    }
    assert_eq!(ground.entry_count(), 0);
}
