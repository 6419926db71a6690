//! Which key protects which object versions, and which keys protect a version.

use std::time::Duration;

use strongroom_keys::{
    BucketKeyId, ChainLink, KeyEnvelope, KeyError, KeyVersion, LedgerEntry, LedgerKey, ObjectName,
    ProtectedVersion, Protection,
};
use strongroom_meta::{Batch, Table};

use crate::world::{World, by_customer_key, by_kms_key, caller, customer_key, object, weight};

const LEDGER: Table = Table::new("ledger");
const ROOT: &str = "strongroom-root-kek-1";

/// A version in the ledger, as a store would put it there.
async fn version(
    world: &World,
    protection: &Protection,
    name: ObjectName,
    sequence: u64,
) -> (KeyEnvelope, ProtectedVersion) {
    let keys = &world.service.objects;
    let created = keys.create(protection, &name, &caller()).await;
    let (_, envelope) = created.expect("a data key");
    let version = ProtectedVersion {
        object: name,
        sequence,
    };
    let mut batch = Batch::new();
    keys.record(&mut batch, &envelope, &version, weight(1, "STANDARD"));
    world.commit(batch).await;
    (envelope, version)
}

/// All versions under a key, asked page by page.
async fn versions_of(world: &World, key: LedgerKey, limit: usize) -> Vec<LedgerEntry> {
    let (mut marker, mut found) = (None::<String>, Vec::new());
    loop {
        let page = world
            .service
            .objects
            .versions_of(key, marker.as_deref(), limit);
        let page = page.await.expect("a page");
        assert!(page.items.len() <= limit.max(1));
        found.extend(page.items);
        marker = page.next;
        if marker.is_none() {
            return found;
        }
    }
}

fn names(entries: &[LedgerEntry]) -> Vec<(&str, &str, u64)> {
    entries
        .iter()
        .map(|entry| {
            let object = &entry.version.object;
            (&*object.bucket, &*object.key, entry.version.sequence)
        })
        .collect()
}

#[tokio::test]
async fn the_versions_of_each_kind_of_key_are_found_and_no_others() {
    let world = World::new().await;
    let keys = &world.service.objects;
    let (one, other) = (world.kms_key().await, world.kms_key().await);
    let mut chains = Vec::new();
    for (sequence, protection) in [
        by_kms_key(&one, false),
        by_kms_key(&one, true),
        by_kms_key(&other, true),
        by_customer_key(1),
        by_customer_key(2),
        Protection::Managed,
    ]
    .iter()
    .enumerate()
    {
        let name = object("bucket", &format!("key-{sequence}"));
        let (envelope, version) = version(&world, protection, name, sequence as u64).await;
        let chain = keys.chain_of(&envelope).await.expect("a chain");
        let (table, key) = envelope.ledger_row(&version.object);
        assert_eq!(table, LEDGER);
        let rows = world.rows_of(LEDGER).await;
        assert!(
            rows.iter().any(|row| row.key == key),
            "the row is where it is said to be"
        );
        chains.push((version, chain));
    }

    let bucket_key = |at: usize| match chains[at].1[0] {
        ChainLink::BucketKey(id) => id,
        ref link => panic!("{link:?}"),
    };
    let fingerprint = |seed| LedgerKey::CustomerKey(keys.fingerprint_of(&customer_key(seed)));
    for (key, expected) in [
        (LedgerKey::KmsKey(one.id), vec![0, 1]),
        (LedgerKey::KeyVersion(one.id, KeyVersion(1)), vec![0, 1]),
        (LedgerKey::KeyVersion(one.id, KeyVersion(2)), vec![]),
        (LedgerKey::KmsKey(other.id), vec![2]),
        (LedgerKey::BucketKey(bucket_key(1)), vec![1]),
        (LedgerKey::BucketKey(bucket_key(5)), vec![5]),
        (fingerprint(1), vec![3]),
        (fingerprint(2), vec![4]),
        (fingerprint(3), vec![]),
    ] {
        let found = versions_of(&world, key, 10).await;
        let found: Vec<_> = found.iter().map(|entry| &entry.version).collect();
        let expected: Vec<_> = expected.iter().map(|at: &usize| &chains[*at].0).collect();
        assert_eq!(found, expected, "{key:?}");
    }

    // The chain of an entry is that of its envelope, up to the token.
    let kms = |arn: &strongroom_keys::KeyArn| ChainLink::KmsKey {
        key: arn.clone(),
        version: KeyVersion(1),
    };
    let root = ChainLink::TokenKey { label: ROOT.into() };
    assert_eq!(chains[0].1, [kms(&one.arn), root.clone()]);
    let through = ChainLink::BucketKey(bucket_key(1));
    assert_eq!(chains[1].1, [through, kms(&one.arn), root.clone()]);
    let customers = ChainLink::CustomerKey(keys.fingerprint_of(&customer_key(1)));
    assert_eq!(chains[3].1.as_slice(), std::slice::from_ref(&customers));
    let entries = versions_of(&world, LedgerKey::KmsKey(one.id), 10).await;
    for (entry, (_, chain)) in entries.iter().zip(&chains) {
        assert_eq!(
            [entry.chain.as_slice(), std::slice::from_ref(&root)].concat(),
            *chain
        );
    }
    assert_eq!(
        versions_of(&world, fingerprint(1), 10).await[0].chain,
        [customers]
    );
}

#[tokio::test]
async fn versions_come_in_order_and_in_pages_that_leave_nothing_out() {
    let world = World::new().await;
    let key = world.kms_key().await;
    let mut expected = Vec::new();
    let mut sequence = 0;
    for bucket in ["a", "a-longer", "b"] {
        for name in [
            "\0",
            "\0\0",
            "\0a",
            "\u{1}",
            "a",
            "a\0",
            "a\0b",
            "ab",
            "z/\u{10FFFF}",
            "é",
        ] {
            expected.push((bucket, name, sequence));
            sequence += 1;
        }
    }
    for (bucket, name, sequence) in expected.iter().rev() {
        let protection = by_kms_key(&key, false);
        version(&world, &protection, object(bucket, name), *sequence).await;
    }
    for limit in [0, 1, 4, 29, 30, 31, usize::MAX] {
        let found = versions_of(&world, LedgerKey::KmsKey(key.id), limit).await;
        assert_eq!(names(&found), expected, "{limit}");
    }
    // The longest name there is, of bytes that take two each.
    let longest = object(&"b".repeat(63), &"\0".repeat(1_024));
    let protection = by_customer_key(9);
    version(&world, &protection, longest.clone(), u64::MAX).await;
    let fingerprint = world.service.objects.fingerprint_of(&customer_key(9));
    let found = versions_of(&world, LedgerKey::CustomerKey(fingerprint), 10).await;
    assert_eq!(found[0].version.object, longest);
    assert_eq!(found[0].version.sequence, u64::MAX);
}

#[tokio::test]
async fn a_marker_of_another_list_is_refused() {
    let world = World::new().await;
    let keys = &world.service.objects;
    let (one, other) = (world.kms_key().await, world.kms_key().await);
    for number in 0..2 {
        let name = object("bucket", &number.to_string());
        version(&world, &by_kms_key(&one, true), name, number).await;
    }
    let page = keys.versions_of(LedgerKey::KmsKey(one.id), None, 1).await;
    let marker = page.expect("a page").next.expect("there is more");
    for (key, marker) in [
        (LedgerKey::KmsKey(other.id), marker.as_str()),
        (LedgerKey::KmsKey(one.id), ""),
        (LedgerKey::KmsKey(one.id), "not base64url!"),
        (LedgerKey::KmsKey(one.id), "AAAA"),
    ] {
        let error = keys.versions_of(key, Some(marker), 1).await;
        assert!(
            matches!(error, Err(KeyError::InvalidReference { .. })),
            "{error:?}"
        );
    }
    let error = keys.bucket_keys_of(one.id, Some(&marker), 1).await;
    assert!(
        matches!(error, Err(KeyError::InvalidReference { .. })),
        "{error:?}"
    );
    let nobody = LedgerKey::BucketKey(BucketKeyId([7; 16]));
    let error = keys.versions_of(nobody, None, 1).await;
    assert!(
        matches!(error, Err(KeyError::NoSuchBucketKey { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_rewrap_moves_a_version_and_a_deletion_ends_it() {
    let world = World::new().await;
    let keys = &world.service.objects;
    let key = world.kms_key().await;
    let under_kms = LedgerKey::KmsKey(key.id);
    let under_customer = LedgerKey::CustomerKey(keys.fingerprint_of(&customer_key(1)));
    let name = object("bucket", "key");
    let (old, version) = version(&world, &by_kms_key(&key, true), name.clone(), 5).await;
    assert_eq!(versions_of(&world, under_kms, 10).await.len(), 1);

    let rewrapped = keys
        .rewrap((&old, &name, None), (&by_customer_key(1), &name), &caller())
        .await;
    let new = rewrapped.expect("it is wrapped anew");
    let mut batch = Batch::new();
    keys.forget(&mut batch, &old, &version);
    keys.record(&mut batch, &new, &version, weight(1, "STANDARD"));
    world.commit(batch).await;
    assert!(versions_of(&world, under_kms, 10).await.is_empty());
    let found = versions_of(&world, under_customer, 10).await;
    assert_eq!(
        found.iter().map(|entry| &entry.version).collect::<Vec<_>>(),
        [&version]
    );

    let mut batch = Batch::new();
    keys.forget(&mut batch, &new, &version);
    world.commit(batch).await;
    assert!(versions_of(&world, under_customer, 10).await.is_empty());
    assert!(world.rows_of(LEDGER).await.is_empty());
    // The bucket key stays: another version may still be written under it.
    let page = keys.bucket_keys_of(key.id, None, 10).await.expect("a page");
    assert_eq!(page.items.len(), 1);
}

#[tokio::test]
async fn the_bucket_keys_of_a_key_are_listed_with_their_buckets() {
    let world = World::new().await;
    let keys = &world.service.objects;
    let (key, other) = (world.kms_key().await, world.kms_key().await);
    let buckets = ["a", "b", "c", "d", "e"];
    for bucket in buckets {
        for of in [&key, &other] {
            version(&world, &by_kms_key(of, true), object(bucket, "key"), 1).await;
        }
        world.clock.pass(Duration::from_secs(1));
    }
    let (mut marker, mut found) = (None::<String>, Vec::new());
    loop {
        let page = keys.bucket_keys_of(key.id, marker.as_deref(), 2).await;
        let page = page.expect("a page");
        found.extend(page.items);
        marker = page.next;
        if marker.is_none() {
            break;
        }
    }
    found.sort_by_key(|described| described.created);
    let listed: Vec<&str> = found.iter().map(|described| &*described.bucket).collect();
    assert_eq!(listed, buckets);
    for described in &found {
        assert_eq!((described.key, described.version), (key.id, KeyVersion(1)));
        let under = versions_of(&world, LedgerKey::BucketKey(described.id), 10).await;
        assert_eq!(names(&under), [(&*described.bucket, "key", 1)]);
    }
}

#[tokio::test]
async fn an_envelope_of_a_version_that_never_was_has_no_chain() {
    let world = World::new().await;
    let keys = &world.service.objects;
    let key = world.kms_key().await;
    let created = keys
        .create(
            &by_kms_key(&key, false),
            &object("bucket", "key"),
            &caller(),
        )
        .await;
    let mut bytes = created.expect("a data key").1.to_bytes();
    // Version, mode, an empty context; then the ciphertext: version, key id, key version.
    bytes[4 + 1 + 16 + 3] = 9;
    let forged = KeyEnvelope::from_bytes(&bytes).expect("it is well-formed");
    let error = keys.chain_of(&forged).await.expect_err("there is no ninth");
    assert!(matches!(error, KeyError::NotAuthentic), "{error:?}");
}

#[tokio::test]
async fn a_damaged_row_is_an_error_and_not_a_gap() {
    let world = World::new().await;
    let keys = &world.service.objects;
    let key = world.kms_key().await;
    let (envelope, version) =
        version(&world, &by_kms_key(&key, false), object("b", "k\0"), 1).await;
    let (table, row_key) = envelope.ledger_row(&version.object);
    let value = world.rows_of(table).await[0].row.value.to_vec();
    let damaged = async || {
        let page = keys.versions_of(LedgerKey::KmsKey(key.id), None, 10).await;
        assert!(matches!(page, Err(KeyError::Damaged { .. })), "{page:?}");
    };
    for value in [&[][..], &[1], &[2, 0, 0, 0, 0, 0, 0, 0, 1], &[0; 10]] {
        world.set(table, &row_key, Some(value)).await;
        damaged().await;
    }
    // Keys cut short, made longer, and with texts that do not end.
    world.set(table, &row_key, None).await;
    for len_bytes in 17..row_key.len() {
        world.set(table, &row_key[..len_bytes], Some(&value)).await;
        damaged().await;
        world.set(table, &row_key[..len_bytes], None).await;
    }
    let longer = [row_key.as_slice(), &[0]].concat();
    world.set(table, &longer, Some(&value)).await;
    damaged().await;
}
