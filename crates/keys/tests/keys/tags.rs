//! Tags of keys, and what is said of them.

use strongroom_keys::{KeyError, KeyReference, Kms, NewKey, Tags};
use strongroom_meta::Table;

use crate::world::{World, caller, tags};

async fn tags_of(kms: &Kms, key: &KeyReference) -> Vec<(String, String)> {
    let page = kms.list_tags(key, None, 100).await.expect("tags");
    assert_eq!(page.next, None);
    page.items
}

fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    tags(given)
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

#[tokio::test]
async fn tags_are_given_changed_and_taken_away() {
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    let new = NewKey {
        description: "tagged".into(),
        tags: tags(&[("team", "imaging"), ("Team", "")]),
        ..NewKey::default()
    };
    let key = &kms.create_key(new, who).await.expect("a key").id.into();
    let other = &world.kms_key().await.id.into();
    assert_eq!(
        tags_of(kms, key).await,
        pairs(&[("Team", ""), ("team", "imaging")])
    );
    let given = tags(&[("team", "films"), ("cost centre", "ä/7")]);
    kms.tag_key(key, &given, who).await.expect("tagged");
    assert_eq!(
        tags_of(kms, key).await,
        pairs(&[("Team", ""), ("cost centre", "ä/7"), ("team", "films")])
    );
    let names = ["team".to_owned(), "never".to_owned()];
    kms.untag_key(key, &names, who).await.expect("untagged");
    assert_eq!(
        tags_of(kms, key).await,
        pairs(&[("Team", ""), ("cost centre", "ä/7")])
    );
    assert_eq!(tags_of(kms, other).await, []);
    kms.update_key_description(key, "said anew", who)
        .await
        .expect("described");
    let described = kms.describe_key(key).await.expect("a key");
    assert_eq!(described.description, "said anew");
    kms.update_key_description(key, "", who)
        .await
        .expect("nothing may be said");
}

#[tokio::test]
async fn a_key_has_fifty_tags_and_no_more() {
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    let key = &world.kms_key().await.id.into();
    let many = |numbers: std::ops::Range<u32>| {
        Tags::new(numbers.map(|number| (format!("tag {number:03}"), number.to_string())))
    };
    kms.tag_key(key, &many(0..49).expect("tags"), who)
        .await
        .expect("they fit");
    let error = kms.tag_key(key, &many(49..51).expect("tags"), who).await;
    assert!(
        matches!(error, Err(KeyError::LimitExceeded { .. })),
        "{error:?}"
    );
    assert_eq!(tags_of(kms, key).await.len(), 49, "nothing was changed");
    kms.tag_key(key, &many(48..50).expect("tags"), who)
        .await
        .expect("one of them is there already");
    assert!(matches!(many(0..51), Err(KeyError::LimitExceeded { .. })));

    let whole = tags_of(kms, key).await;
    for limit in [1, 7, 49, 50] {
        let (mut marker, mut found) = (None::<String>, Vec::new());
        loop {
            let page = kms.list_tags(key, marker.as_deref(), limit).await;
            let page = page.expect("a page");
            assert!(page.items.len() <= limit);
            found.extend(page.items);
            marker = page.next;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(found, whole, "{limit}");
    }
    let error = kms.list_tags(key, Some("no marker!"), 10).await;
    assert!(
        matches!(error, Err(KeyError::InvalidReference { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn tags_out_of_bounds_are_refused() {
    let longest = ("ä".repeat(128), "ä".repeat(256));
    assert!(Tags::new([longest.clone()]).is_ok());
    for (name, value, code) in [
        ("", "", "invalid-request"),
        (&*"x".repeat(129), "", "invalid-request"),
        ("x", &*"x".repeat(257), "invalid-request"),
        ("aws:x", "", "invalid-tag"),
        ("AWS:x", "", "invalid-tag"),
    ] {
        let error = Tags::new([(name.to_owned(), value.to_owned())]);
        assert_eq!(error.expect_err("refused").code(), code, "{name}");
    }
    assert!(Tags::new([("aws".to_owned(), String::new())]).is_ok());
    let twice = Tags::new(["a", "a"].map(|name| (name.to_owned(), String::new())));
    assert_eq!(twice.expect_err("twice").code(), "invalid-tag");

    let world = World::new().await;
    let key = &world.kms_key().await.id.into();
    let rows = world.rows_of(Table::new("kms_key_tags")).await;
    let kms = &world.service.kms;
    for (names, code) in [
        (vec![String::new()], "invalid-request"),
        (vec!["aws:x".to_owned()], "invalid-tag"),
        (vec!["a".to_owned(), "a".to_owned()], "invalid-tag"),
    ] {
        let error = kms.untag_key(key, &names, &caller()).await;
        assert_eq!(error.expect_err("refused").code(), code, "{names:?}");
    }
    assert_eq!(world.rows_of(Table::new("kms_key_tags")).await, rows);
}

#[tokio::test]
async fn tags_given_at_once_by_two_daemons_do_not_pass_the_limit() {
    let world = World::new().await;
    let key = &world.kms_key().await.id.into();
    let other = world.restarted().await.expect("a second daemon");
    let forty = Tags::new((0..40).map(|number| (format!("a{number}"), String::new())));
    let more = Tags::new((0..40).map(|number| (format!("b{number}"), String::new())));
    let (forty, more, who) = (forty.expect("tags"), more.expect("tags"), caller());
    let (first, second) = futures::join!(
        world.service.kms.tag_key(key, &forty, &who),
        other.kms.tag_key(key, &more, &who)
    );
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    assert_eq!(tags_of(&other.kms, key).await.len(), 40);
}
