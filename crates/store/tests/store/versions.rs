//! Buckets that keep versions, and those that stopped doing so.

use std::time::Duration;

use proptest::prelude::*;
use strongroom_keys::{KeyError, Protection};
use strongroom_store::{PutRequest, ReadRequest, ShownVersion, StoreError, VersionSelector};

use crate::world::{World, by_customer, by_kms, caller, customer_key};

fn selector(version: Option<ShownVersion>) -> VersionSelector {
    match version {
        None => VersionSelector::Current,
        Some(ShownVersion::Null) => VersionSelector::Null,
        Some(ShownVersion::Id(id)) => VersionSelector::Id(id),
    }
}

impl World {
    /// Writes a version and names it for reading.
    async fn put_version(&self, name: &str, bytes: &str) -> VersionSelector {
        self.clock.advance(Duration::from_secs(1));
        selector(self.put(name, bytes.to_owned()).await.version)
    }
}

#[tokio::test]
async fn every_version_opens_with_the_key_it_was_written_with_and_no_other() {
    let world = World::new().await;
    world.version(true).await;
    let keys: [(Option<Protection>, Option<u8>); 5] = [
        (by_customer(1), Some(1)),
        (by_customer(2), Some(2)),
        (by_kms(true), None),
        (by_kms(false), None),
        (None, None),
    ];
    let mut versions = Vec::new();
    for (number, (protection, by)) in keys.into_iter().enumerate() {
        let request = PutRequest {
            protection,
            ..world.put_request("object", format!("version {number}"))
        };
        let written = world.store.put(request, &caller()).await.expect("a PUT");
        versions.push((number, selector(written.version), by));
    }
    let read = |version, by: Option<u8>| {
        world.read(ReadRequest {
            object: world.object("object", version),
            customer_key: by.map(customer_key),
            ..world.read_request("object")
        })
    };
    for (number, version, by) in versions {
        let bytes = read(version, by).await.expect("its own key");
        assert_eq!(bytes, format!("version {number}").into_bytes());
        let other = if by == Some(1) { 2 } else { 1 };
        let refused = read(version, Some(other)).await;
        assert!(matches!(
            (by, refused),
            (Some(_), Err(StoreError::Key(KeyError::CustomerKeyMismatch)))
                | (
                    None,
                    Err(StoreError::Key(KeyError::CustomerKeyNotApplicable))
                )
        ));
    }
    let listed = world.versions().await;
    assert_eq!(listed.len(), 5);
    assert_eq!(
        listed.iter().filter(|version| version.is_latest).count(),
        1,
        "one of them is the newest"
    );
    assert!(listed[0].is_latest);
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn a_delete_marker_hides_the_object_until_it_is_deleted_itself() {
    let world = World::new().await;
    world.version(true).await;
    let one = world.put_version("object", "one").await;
    let deleted = world
        .delete("object", VersionSelector::Current)
        .await
        .expect("a deletion");
    assert!(deleted.delete_marker);
    let marker = selector(deleted.version);
    assert_ne!(marker, one);
    assert!(matches!(
        world.get("object").await,
        Err(StoreError::NoSuchKey { delete_marker: Some(shown) }) if selector(Some(shown)) == marker
    ));
    assert!(matches!(
        world.get_version("object", marker).await,
        Err(StoreError::IsDeleteMarker { .. })
    ));
    assert_eq!(
        world.get_version("object", one).await.expect("kept"),
        b"one"
    );
    assert!(world.names().await.is_empty());

    // A second marker, and both of them gone again.
    let second = world
        .delete("object", VersionSelector::Current)
        .await
        .expect("a deletion");
    assert_eq!(world.versions().await.len(), 3);
    for marker in [selector(second.version), marker] {
        let deleted = world.delete("object", marker).await.expect("a deletion");
        assert!(deleted.delete_marker);
    }
    assert_eq!(world.get("object").await.expect("it is back"), b"one");
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn deleting_a_version_is_for_good_and_the_one_before_becomes_current() {
    let world = World::new().await;
    world.version(true).await;
    let one = world.put_version("object", "one").await;
    let two = world.put_version("object", "two").await;
    let three = world.put_version("object", "three").await;
    world.delete("object", two).await.expect("a deletion");
    assert!(matches!(
        world.get_version("object", two).await,
        Err(StoreError::NoSuchVersion)
    ));
    world.delete("object", three).await.expect("a deletion");
    assert_eq!(world.get("object").await.expect("promoted"), b"one");
    // What is not there is deleted already.
    let again = world.delete("object", three).await.expect("no error");
    assert_eq!(
        (selector(again.version), again.delete_marker),
        (three, false)
    );
    world.delete("object", one).await.expect("a deletion");
    assert!(matches!(
        world.get("object").await,
        Err(StoreError::NoSuchKey {
            delete_marker: None
        })
    ));
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn the_null_version_is_the_one_written_while_no_versions_were_kept() {
    let world = World::new().await;
    assert_eq!(
        world.put_version("object", "before").await,
        VersionSelector::Current
    );
    world.version(true).await;
    let kept = world.put_version("object", "kept").await;
    assert_eq!(
        world
            .get_version("object", VersionSelector::Null)
            .await
            .expect("it stays"),
        b"before"
    );

    world.version(false).await;
    assert_eq!(
        world.put_version("object", "suspended").await,
        VersionSelector::Null
    );
    let null = || world.get_version("object", VersionSelector::Null);
    assert_eq!(null().await.expect("replaced"), b"suspended");
    assert_eq!(
        world.versions().await.len(),
        2,
        "the null version before is gone"
    );
    world.put_version("object", "again").await;
    assert_eq!(null().await.expect("replaced"), b"again");
    assert_eq!(
        world.get_version("object", kept).await.expect("kept"),
        b"kept"
    );

    // A deletion now leaves a marker that is the null version.
    let deleted = world
        .delete("object", VersionSelector::Current)
        .await
        .expect("a deletion");
    assert_eq!(
        (deleted.version, deleted.delete_marker),
        (Some(ShownVersion::Null), true)
    );
    assert!(matches!(
        null().await,
        Err(StoreError::IsDeleteMarker { .. })
    ));
    assert_eq!(world.versions().await.len(), 2);
    world
        .delete("object", VersionSelector::Null)
        .await
        .expect("a deletion");
    assert_eq!(world.get("object").await.expect("promoted"), b"kept");

    // Kept again: the null version is one among others.
    world.put_version("object", "null").await;
    world.version(true).await;
    world.put_version("object", "newest").await;
    assert_eq!(null().await.expect("it stays"), b"null");
    world.assert_sound().await;
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn a_version_is_always_newer_than_the_one_before_although_the_clock_stands() {
    let world = World::new().await;
    world.version(true).await;
    for number in 0..5 {
        world.put("object", format!("{number}")).await;
    }
    let listed = world.versions().await;
    let mut bytes = Vec::new();
    for version in &listed {
        let version = selector(Some(version.version));
        bytes.push(world.get_version("object", version).await.expect("kept"));
    }
    assert_eq!(bytes, [b"4", b"3", b"2", b"1", b"0"]);
}

/// What is done to one object.
#[derive(Clone, Copy, Debug)]
enum Act {
    Put,
    Delete,
    /// Deletes the version that stands at this place of the listing.
    DeleteVersion(usize),
    DeleteNull,
    Keep(bool),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Put),
        2 => Just(Act::Delete),
        2 => (0..6_usize).prop_map(Act::DeleteVersion),
        1 => Just(Act::DeleteNull),
        2 => any::<bool>().prop_map(Act::Keep),
    ]
}

/// One version as the protocol has it: newest first in a list of them.
#[derive(Clone, PartialEq, Debug)]
struct Model {
    is_null: bool,
    bytes: Option<Vec<u8>>,
}

async fn follow(acts: Vec<Act>) -> Result<(), TestCaseError> {
    let world = World::new().await;
    let mut model: Vec<Model> = Vec::new();
    let mut keeps = None;
    for (number, act) in acts.into_iter().enumerate() {
        let push = |model: &mut Vec<Model>, bytes: Option<Vec<u8>>| {
            let is_null = keeps != Some(true);
            if is_null {
                model.retain(|version| !version.is_null);
            }
            model.insert(0, Model { is_null, bytes });
        };
        match act {
            Act::Put => {
                let bytes = format!("bytes {number}");
                world.put("object", bytes.clone()).await;
                push(&mut model, Some(bytes.into_bytes()));
            }
            Act::Delete => {
                world
                    .delete("object", VersionSelector::Current)
                    .await
                    .expect("a deletion");
                if keeps.is_some() {
                    push(&mut model, None);
                } else {
                    model.clear();
                }
            }
            Act::DeleteVersion(place) => {
                let listed = world.versions().await;
                if let Some(version) = listed.get(place) {
                    let version = selector(Some(version.version));
                    world.delete("object", version).await.expect("a deletion");
                    model.remove(place);
                }
            }
            Act::DeleteNull => {
                world
                    .delete("object", VersionSelector::Null)
                    .await
                    .expect("a deletion");
                model.retain(|version| !version.is_null);
            }
            Act::Keep(keep) => {
                world.version(keep).await;
                keeps = Some(keep);
            }
        }
        let mut seen = Vec::new();
        for (place, version) in world.versions().await.into_iter().enumerate() {
            prop_assert_eq!(version.is_latest, place == 0);
            let bytes = match &version.object {
                None => None,
                Some(_) => {
                    let version = selector(Some(version.version));
                    let read = world.get_version("object", version).await;
                    Some(read.expect("it is listed"))
                }
            };
            seen.push(Model {
                is_null: version.version == ShownVersion::Null,
                bytes,
            });
        }
        prop_assert_eq!(&seen, &model, "after {:?}", act);
        let current = world.get("object").await.ok();
        prop_assert_eq!(
            current,
            model.first().and_then(|newest| newest.bytes.clone())
        );
    }
    world.assert_sound().await;
    world.assert_nothing_is_left_behind().await;
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn histories_are_what_the_protocol_says(acts in proptest::collection::vec(act(), 1..25)) {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(follow(acts))?;
    }
}
