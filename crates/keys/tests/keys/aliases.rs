//! Aliases, and the lists of keys and aliases.

use strongroom_keys::{AliasName, KeyError, KeyId, KeyReference};
use strongroom_meta::Table;

use crate::world::{World, caller};

fn alias(name: &str) -> AliasName {
    AliasName::new(name).expect("a name")
}

fn reference(text: &str) -> KeyReference {
    text.parse().expect("a reference")
}

#[tokio::test]
async fn an_alias_names_one_key_at_a_time() {
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    let (one, other) = (world.kms_key().await, world.kms_key().await);
    let (first, second) = (alias("alias/a"), alias("alias/b"));
    let named = async |key: &KeyReference| -> Vec<String> {
        let page = kms
            .list_aliases(Some(key), None, 10)
            .await
            .expect("aliases");
        page.items
            .iter()
            .map(|alias| alias.name.to_string())
            .collect()
    };
    let resolved = async |alias: &AliasName| {
        let described = kms.describe_key(&KeyReference::Alias(alias.clone())).await;
        described.map(|key| key.id)
    };
    let (one_key, other_key) = (&one.id.into(), &other.id.into());
    kms.create_alias(&first, one_key, who)
        .await
        .expect("an alias");
    kms.create_alias(&second, &reference("alias/a"), who)
        .await
        .expect("an alias of an alias");
    assert_eq!(named(one_key).await, ["alias/a", "alias/b"]);
    for key in [one_key, other_key] {
        let error = kms
            .create_alias(&first, key, who)
            .await
            .expect_err("it is there");
        assert!(matches!(error, KeyError::AliasExists { .. }), "{error:?}");
    }
    kms.update_alias(&first, one_key, who)
        .await
        .expect("to the same key");
    assert_eq!(named(one_key).await, ["alias/a", "alias/b"]);
    world.clock.pass(std::time::Duration::from_secs(9));
    kms.update_alias(&first, other_key, who)
        .await
        .expect("to another");
    assert_eq!(named(one_key).await, ["alias/b"]);
    assert_eq!(named(other_key).await, ["alias/a"]);
    assert_eq!(resolved(&first).await.expect("a key"), other.id);
    let page = kms
        .list_aliases(Some(other_key), None, 10)
        .await
        .expect("aliases");
    let listed = &page.items[0];
    assert_eq!(listed.arn, "arn:aws:kms:test-1:000000000000:alias/a");
    assert_eq!(listed.key, other.id);
    assert_eq!(listed.updated.since(listed.created).as_secs(), 9);

    kms.delete_alias(&first, who).await.expect("it goes");
    assert!(named(other_key).await.is_empty());
    for error in [
        resolved(&first).await.expect_err("gone"),
        kms.delete_alias(&first, who).await.expect_err("gone"),
        kms.update_alias(&first, one_key, who)
            .await
            .expect_err("gone"),
    ] {
        assert!(matches!(error, KeyError::NoSuchAlias { .. }), "{error:?}");
    }
    let index = world.rows_of(Table::new("kms_key_aliases")).await;
    assert_eq!(index.len(), 3, "the service's two, and alias/b");
    let nobody = &reference("00000000-0000-4000-8000-000000000000");
    let error = kms
        .create_alias(&first, nobody, who)
        .await
        .expect_err("no key");
    assert!(matches!(error, KeyError::NoSuchKey { .. }), "{error:?}");
}

#[tokio::test]
async fn lists_come_in_pages_that_leave_nothing_out() {
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    let mut ids: Vec<KeyId> = Vec::new();
    for name in ["alias/strongroom/s3", "alias/strongroom/system"] {
        ids.push(kms.describe_key(&reference(name)).await.expect("a key").id);
    }
    for _ in 0..21 {
        ids.push(world.kms_key().await.id);
    }
    let mine = world.kms_key().await;
    ids.push(mine.id);
    ids.sort_unstable();
    let mut names: Vec<String> = (0..23)
        .map(|number| format!("alias/n-{number:02}"))
        .collect();
    for name in &names {
        kms.create_alias(&alias(name), &mine.id.into(), who)
            .await
            .expect("an alias");
    }
    for limit in [0, 1, 7, 23, 24, 25, usize::MAX] {
        let (mut marker, mut found, mut pages) = (None::<String>, Vec::new(), 0);
        loop {
            let page = kms
                .list_keys(marker.as_deref(), limit)
                .await
                .expect("a page");
            assert!(page.items.len() <= limit.max(1));
            found.extend(page.items.iter().map(|key| key.id));
            pages += 1;
            marker = page.next;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(found, ids, "{limit}");
        assert_eq!(pages, ids.len().div_ceil(limit.max(1)), "{limit}");

        let (mut marker, mut found) = (None::<String>, Vec::new());
        loop {
            let mine = &mine.id.into();
            let page = kms.list_aliases(Some(mine), marker.as_deref(), limit).await;
            let page = page.expect("a page");
            found.extend(page.items.iter().map(|alias| alias.name.to_string()));
            marker = page.next;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(found, names, "{limit}");
    }
    names.extend([
        "alias/strongroom/s3".into(),
        "alias/strongroom/system".into(),
    ]);
    let all = kms.list_aliases(None, None, 1_000).await.expect("aliases");
    let all: Vec<String> = all
        .items
        .iter()
        .map(|alias| alias.name.to_string())
        .collect();
    assert_eq!(all, names);

    for marker in ["", "nonsense", "alias/"] {
        for error in [
            kms.list_keys(Some(marker), 10).await.map(drop),
            kms.list_aliases(None, Some(marker), 10).await.map(drop),
        ] {
            assert!(
                matches!(error, Err(KeyError::InvalidReference { .. })),
                "{error:?}"
            );
        }
    }
}
