//! What would become unreadable without a key.

use std::collections::BTreeMap;

use strongroom_keys::{
    ImpactGroup, ImpactPage, KeyError, KeyVersion, LedgerKey, ProtectedVersion, Protection, Tally,
};
use strongroom_meta::{Batch, Table};

use crate::world::{World, by_customer_key, by_kms_key, caller, customer_key, object, weight};

/// Versions in the ledger, as a store would put them there.
async fn put(
    world: &World,
    protection: &Protection,
    bucket: &str,
    versions: impl IntoIterator<Item = (u64, &'static str)>,
) {
    let keys = &world.service.objects;
    let mut batch = Batch::new();
    for (size_bytes, class) in versions {
        let name = object(bucket, "key");
        let created = keys.create(protection, &name, &caller()).await;
        let (_, envelope) = created.expect("a data key");
        let version = ProtectedVersion {
            object: name,
            sequence: size_bytes,
        };
        keys.record(&mut batch, &envelope, &version, weight(size_bytes, class));
    }
    world.commit(batch).await;
}

/// All parts of a count of `rows_max` rows each, and how many there were.
async fn counted(
    world: &World,
    key: LedgerKey,
    rows_max: usize,
) -> (BTreeMap<ImpactGroup, Tally>, usize) {
    let (mut groups, mut marker, mut parts) = (BTreeMap::new(), None::<String>, 0);
    loop {
        let part = world
            .service
            .objects
            .impact(key, marker.as_deref(), rows_max)
            .await
            .expect("a part");
        parts += 1;
        assert!(part.total().versions <= rows_max as u64);
        for (group, tally) in part.groups {
            let sum: &mut Tally = groups.entry(group).or_default();
            sum.add(tally);
        }
        marker = part.next;
        if marker.is_none() {
            return (groups, parts);
        }
    }
}

fn shown(groups: &BTreeMap<ImpactGroup, Tally>) -> Vec<(Option<u32>, &str, &str, u64, u64)> {
    groups
        .iter()
        .map(|(group, tally)| {
            (
                group.key_version.map(|version| version.0),
                &*group.bucket,
                group.class.name(),
                tally.versions,
                tally.size_bytes,
            )
        })
        .collect()
}

#[tokio::test]
async fn what_a_key_protects_is_counted_by_version_bucket_and_class() {
    let world = World::new().await;
    let (key, other) = (world.kms_key().await, world.kms_key().await);
    for through in [false, true] {
        let protection = by_kms_key(&key, through);
        put(&world, &protection, "a", [(1, "STANDARD"), (10, "GLACIER")]).await;
        put(&world, &protection, "b", [(100, "STANDARD")]).await;
    }
    let reference = key.id.into();
    let rotated = world.service.kms.rotate_key(&reference, &caller()).await;
    rotated.expect("rotated");
    put(&world, &by_kms_key(&key, true), "a", [(1_000, "STANDARD")]).await;
    put(&world, &by_kms_key(&other, true), "a", [(7, "STANDARD")]).await;
    put(&world, &by_customer_key(1), "a", [(3, "STANDARD_IA")]).await;

    let expected = [
        (Some(1), "a", "STANDARD", 2, 2),
        (Some(1), "a", "GLACIER", 2, 20),
        (Some(1), "b", "STANDARD", 2, 200),
        (Some(2), "a", "STANDARD", 1, 1_000),
    ];
    for rows_max in [1, 2, 3, 6, 7, 8, 1_000] {
        let (groups, parts) = counted(&world, LedgerKey::KmsKey(key.id), rows_max).await;
        assert_eq!(shown(&groups), expected, "{rows_max}");
        assert!(parts >= 7_usize.div_ceil(rows_max));
    }
    let version = LedgerKey::KeyVersion(key.id, KeyVersion(2));
    assert_eq!(shown(&counted(&world, version, 9).await.0), expected[3..]);
    let fingerprint = world.service.objects.fingerprint_of(&customer_key(1));
    let (groups, _) = counted(&world, LedgerKey::CustomerKey(fingerprint), 9).await;
    assert_eq!(shown(&groups), [(None, "a", "STANDARD_IA", 1, 3)]);
    let unused = world.kms_key().await;
    let (groups, parts) = counted(&world, LedgerKey::KmsKey(unused.id), 9).await;
    assert_eq!((groups.len(), parts), (0, 1));
}

#[tokio::test]
async fn more_rows_than_are_read_at_a_time_are_all_counted() {
    const COUNT: u64 = 45_001;
    let world = World::new().await;
    let key = world.kms_key().await;
    let name = object("bucket", "key");
    let keys = &world.service.objects;
    let created = keys.create(&by_kms_key(&key, true), &name, &caller()).await;
    let (_, envelope) = created.expect("a data key");
    let mut batch = Batch::new();
    for sequence in 0..COUNT {
        let version = ProtectedVersion {
            object: object("bucket", &sequence.to_string()),
            sequence,
        };
        keys.record(&mut batch, &envelope, &version, weight(2, "STANDARD"));
        if batch.writes.len() == Batch::WRITES_MAX {
            world.commit(std::mem::take(&mut batch)).await;
        }
    }
    world.commit(batch).await;
    for rows_max in [20_000, 20_001, 1_000_000] {
        let (groups, _) = counted(&world, LedgerKey::KmsKey(key.id), rows_max).await;
        let tally = groups.values().next().expect("one group");
        assert_eq!((tally.versions, tally.size_bytes), (COUNT, 2 * COUNT));
    }
}

#[tokio::test]
async fn a_damaged_row_or_a_foreign_marker_is_an_error_and_no_wrong_count() {
    let world = World::new().await;
    let (key, other) = (world.kms_key().await, world.kms_key().await);
    put(
        &world,
        &by_kms_key(&key, true),
        "a",
        [(1, "STANDARD"), (2, "STANDARD")],
    )
    .await;
    let keys = &world.service.objects;
    let of = async |key, marker: Option<&str>| keys.impact(key, marker, 1).await;
    let first = of(LedgerKey::KmsKey(key.id), None).await.expect("a part");
    let marker = first.next.expect("there is more");
    for (key, marker) in [(other.id, marker.as_str()), (key.id, "!"), (key.id, "")] {
        let error = of(LedgerKey::KmsKey(key), Some(marker)).await;
        let error = error.expect_err("it is of no such list");
        assert!(
            matches!(error, KeyError::InvalidReference { .. }),
            "{error:?}"
        );
    }
    let table = Table::new("ledger");
    let row = world.rows_of(table).await.swap_remove(0);
    let good = row.row.value.to_vec();
    let mut unknown_class = good.clone();
    unknown_class[17] = 8;
    for value in [
        &good[..17],
        &[&good[..], &[0]].concat(),
        &[1; 9],
        &unknown_class,
        &[],
    ] {
        world.set(table, &row.key, Some(value)).await;
        let error = keys.impact(LedgerKey::KmsKey(key.id), None, 9).await;
        assert!(matches!(error, Err(KeyError::Damaged { .. })), "{error:?}");
    }
    world.set(table, &row.key, Some(&good)).await;
    let whole = keys.impact(LedgerKey::KmsKey(key.id), None, 9).await;
    assert_eq!(whole.expect("a part").total().versions, 2);
    assert_eq!(ImpactPage::default().total(), Tally::default());
}
