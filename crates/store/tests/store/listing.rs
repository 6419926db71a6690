//! Listings, page by page, against a model that reads all and sorts.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::select;
use strongroom_store::{
    ListObjects, ListVersions, PAGE_ENTRIES_MAX, ShownVersion, StoreError, VersionSelector,
};

use crate::world::World;

/// An entry of a listing: a key (with its versions counted), or a common prefix.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Entry {
    Key(String),
    Common(String),
}

/// What is to be listed, of keys in order and as often as they have entries.
fn expected(
    keys: &[String],
    prefix: &str,
    delimiter: Option<&str>,
    after: Option<&str>,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    for key in keys {
        let Some(rest) = key.strip_prefix(prefix) else {
            continue;
        };
        if after.is_some_and(|after| key.as_str() <= after) {
            continue;
        }
        let common = delimiter.and_then(|delimiter| {
            let end = rest.find(delimiter)? + delimiter.len();
            Some(format!("{prefix}{}", &rest[..end]))
        });
        match common {
            Some(common) if after == Some(common.as_str()) => {}
            Some(common) => {
                let entry = Entry::Common(common);
                if entries.last() != Some(&entry) {
                    entries.push(entry);
                }
            }
            None => entries.push(Entry::Key(key.clone())),
        }
    }
    entries
}

/// A page's entries in one order.
fn merged(keys: impl IntoIterator<Item = String>, common: Vec<String>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = keys.into_iter().map(Entry::Key).collect();
    entries.extend(common.into_iter().map(Entry::Common));
    entries.sort_by(|one, two| {
        let name = |entry: &Entry| match entry {
            Entry::Key(name) | Entry::Common(name) => name.clone(),
        };
        name(one).cmp(&name(two))
    });
    entries
}

async fn list_objects(world: &World, all: &ListObjects) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut request = all.clone();
    loop {
        let page = world.store.list_objects(request).await.expect("a listing");
        let count = page.objects.len() + page.common_prefixes.len();
        assert!(count <= all.entries_max);
        let keys = page.objects.iter().map(|object| object.key.to_string());
        entries.extend(merged(keys, page.common_prefixes));
        let Some(next) = page.next else {
            return entries;
        };
        assert_eq!(count, all.entries_max, "only the last page is short");
        request = ListObjects {
            after: Some(next),
            ..all.clone()
        };
    }
}

type Version = (String, ShownVersion, bool, bool);

async fn list_versions(world: &World, all: &ListVersions) -> (Vec<Entry>, Vec<Version>) {
    let (mut entries, mut versions) = (Vec::new(), Vec::new());
    let mut request = all.clone();
    loop {
        let page = world.store.list_versions(request).await.expect("a listing");
        let count = page.versions.len() + page.common_prefixes.len();
        assert!(count <= all.entries_max);
        for version in &page.versions {
            versions.push((
                version.key.to_string(),
                version.version,
                version.is_latest,
                version.object.is_some(),
            ));
        }
        let keys = page.versions.iter().map(|version| version.key.to_string());
        entries.extend(merged(keys, page.common_prefixes));
        let Some((key, version)) = page.next else {
            return (entries, versions);
        };
        assert_eq!(count, all.entries_max, "only the last page is short");
        request = ListVersions {
            after_key: Some(key),
            after_version: match version {
                None => VersionSelector::Current,
                Some(ShownVersion::Null) => VersionSelector::Null,
                Some(ShownVersion::Id(id)) => VersionSelector::Id(id),
            },
            ..all.clone()
        };
    }
}

const NAMES: [&str; 24] = [
    "a",
    "a\0",
    "a\0\0b",
    "a\0\u{1}",
    "a/",
    "a/b",
    "a/b/c",
    "a/c",
    "a//",
    "a0",
    "ab",
    "b",
    "b/",
    "b/\0",
    "b/c/d",
    "b/d",
    "c\u{10ffff}",
    "c\u{10ffff}/x",
    "é",
    "é/é",
    "é/ß",
    "z",
    "z/z/z",
    "\u{7f}",
];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Object,
    Marker,
    Versions(usize),
    Null,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        5 => Just(Kind::Object),
        1 => Just(Kind::Marker),
        2 => (2..5_usize).prop_map(Kind::Versions),
        1 => Just(Kind::Null),
    ]
}

#[derive(Clone, Debug)]
struct Asked {
    prefix: &'static str,
    delimiter: Option<&'static str>,
    after: Option<&'static str>,
    entries_max: usize,
}

fn asked() -> impl Strategy<Value = Asked> {
    let prefix = select(vec!["", "a", "a/", "a\0", "b/", "é", "é/", "nothing", "c"]);
    let delimiter = select(vec![
        None,
        Some("/"),
        Some("b"),
        Some("\0"),
        Some("//"),
        Some("é"),
    ]);
    let after = proptest::option::of(select(
        NAMES
            .iter()
            .copied()
            .chain(["", "a/b/", "y"])
            .collect::<Vec<_>>(),
    ));
    (prefix, delimiter, after, 1..7_usize).prop_map(|(prefix, delimiter, after, entries_max)| {
        Asked {
            prefix,
            delimiter,
            after,
            entries_max,
        }
    })
}

/// A bucket of some keys, and what there is to list of it.
struct Listed {
    world: World,
    /// The keys of current objects.
    current: Vec<String>,
    /// The keys of versions and delete markers, each as often as there are.
    versions: Vec<String>,
}

async fn bucket_of(keys: &BTreeMap<&'static str, Kind>) -> Listed {
    let world = World::new().await;
    for (name, kind) in keys {
        if matches!(kind, Kind::Null) {
            world.put(name, "null").await;
        }
    }
    world.version(true).await;
    let (mut current, mut versions) = (Vec::new(), Vec::new());
    for (name, kind) in keys {
        let count = match kind {
            Kind::Object => 1,
            Kind::Versions(count) => *count,
            // The one under the null version.
            Kind::Null => 1,
            Kind::Marker => 1,
        };
        for number in 0..count {
            world.put(name, format!("{number}")).await;
        }
        let mut entries = count;
        match kind {
            Kind::Marker => {
                let deleted = world.delete(name, VersionSelector::Current).await;
                assert!(deleted.expect("a deletion").delete_marker);
                entries += 1;
            }
            Kind::Null => entries += 1,
            _ => {}
        }
        if !matches!(kind, Kind::Marker) {
            current.push((*name).to_owned());
        }
        versions.extend(std::iter::repeat_n((*name).to_owned(), entries));
    }
    Listed {
        world,
        current,
        versions,
    }
}

async fn compare(listed: &Listed, asked: &Asked) -> Result<(), TestCaseError> {
    let bucket = &listed.world.bucket;
    let request = ListObjects {
        bucket: bucket.clone(),
        prefix: asked.prefix.to_owned(),
        delimiter: asked.delimiter.map(str::to_owned),
        after: asked.after.map(str::to_owned),
        entries_max: asked.entries_max,
    };
    let found = list_objects(&listed.world, &request).await;
    prop_assert_eq!(
        found,
        expected(&listed.current, asked.prefix, asked.delimiter, asked.after)
    );
    let request = ListVersions {
        bucket: bucket.clone(),
        prefix: asked.prefix.to_owned(),
        delimiter: asked.delimiter.map(str::to_owned),
        after_key: asked.after.map(str::to_owned),
        after_version: VersionSelector::Current,
        entries_max: asked.entries_max,
    };
    let (found, versions) = list_versions(&listed.world, &request).await;
    prop_assert_eq!(
        found,
        expected(&listed.versions, asked.prefix, asked.delimiter, asked.after)
    );
    // None is listed twice, and the first of a key is its newest.
    let mut seen = BTreeSet::new();
    for (key, version, is_latest, _) in &versions {
        let is_first = !seen.iter().any(|(other, _)| other == key);
        prop_assert_eq!(*is_latest, is_first, "{}", key);
        prop_assert!(seen.insert((key.clone(), version.to_string())));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn pages_together_list_everything_once_and_in_order(
        keys in proptest::collection::btree_map(select(&NAMES[..]), kind(), 0..16),
        asked in proptest::collection::vec(asked(), 8),
    ) {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(async {
                let listed = bucket_of(&keys).await;
                for asked in &asked {
                    compare(&listed, asked).await?;
                }
                Ok::<_, TestCaseError>(())
            })?;
    }
}

#[tokio::test]
async fn a_listing_tells_of_objects_what_a_head_does() {
    let world = World::new().await;
    let written = world.put("object", "bytes").await;
    let page = world
        .store
        .list_objects(world.list_all())
        .await
        .expect("a listing");
    let [object] = page.objects.as_slice() else {
        panic!("there is one");
    };
    assert_eq!(
        (object.etag, object.size_bytes, object.modified),
        (written.etag, 5, written.modified)
    );
    assert_eq!(page.next, None);
}

#[tokio::test]
async fn a_page_is_bounded_and_an_empty_one_is_the_last() {
    let world = World::new().await;
    for number in 0..PAGE_ENTRIES_MAX + 5 {
        world.put(&format!("{number:05}"), "").await;
    }
    let request = ListObjects {
        entries_max: 1_000_000,
        ..world.list_all()
    };
    let page = world.store.list_objects(request).await.expect("a listing");
    assert_eq!(page.objects.len(), PAGE_ENTRIES_MAX);
    assert_eq!(page.next.as_deref(), Some("00999"));
    let request = ListObjects {
        after: page.next,
        ..world.list_all()
    };
    let page = world.store.list_objects(request).await.expect("a listing");
    assert_eq!((page.objects.len(), page.next), (5, None));
    let request = ListObjects {
        entries_max: 0,
        ..world.list_all()
    };
    let page = world.store.list_objects(request).await.expect("a listing");
    assert_eq!((page.objects.len(), page.next), (0, None));
    // Exactly full, with nothing behind: there is no next page.
    let request = ListObjects {
        after: Some("01003".to_owned()),
        entries_max: 1,
        ..world.list_all()
    };
    let page = world.store.list_objects(request).await.expect("a listing");
    assert_eq!((page.objects.len(), page.next), (1, None));
}

#[tokio::test]
async fn the_cost_of_a_rolled_up_page_is_that_of_the_page() {
    let world = World::new().await;
    for directory in 0..3 {
        for number in 0..600 {
            world.put(&format!("{directory}/{number}"), "").await;
        }
    }
    let before = world.meta.reads();
    let request = ListObjects {
        delimiter: Some("/".to_owned()),
        ..world.list_all()
    };
    let page = world.store.list_objects(request).await.expect("a listing");
    assert_eq!(page.common_prefixes, ["0/", "1/", "2/"]);
    assert!(
        world.meta.reads() - before <= 6,
        "it seeks past what it rolls up"
    );
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_not_listed() {
    let world = World::new().await;
    let absent = strongroom_store::BucketName::new("absent").expect("a name");
    let request = ListObjects {
        bucket: absent,
        ..world.list_all()
    };
    assert!(matches!(
        world.store.list_objects(request).await,
        Err(StoreError::NoSuchBucket)
    ));
}
