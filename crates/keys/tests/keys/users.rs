//! Users: their secrets, their rows, and the end of a credential.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use secrecy::ExposeSecret;
use strongroom_keys::{AccessKeyId, KeyError, KeyLimits, Role, User, Users};
use strongroom_meta::{CommitFault, Table};

use crate::world::{World, caller};

const USERS: Table = Table::new("users");

async fn create(world: &World, name: &str, role: Role) -> (User, String) {
    let made = world.service.users.create(name, role, &caller()).await;
    let made = made.expect("a user");
    (made.user, made.secret.expose_secret().to_owned())
}

/// The secret of a user, or why there is none.
async fn secret_of(users: &Users, id: &AccessKeyId) -> Result<String, KeyError> {
    let credential = users.secret_of(id).await?;
    Ok(credential.secret.expose_secret().to_owned())
}

#[tokio::test]
async fn a_user_is_made_with_a_secret_of_her_own() {
    let world = World::new().await;
    let users = &world.service.users;
    let mut secrets = BTreeSet::new();
    for (name, role) in [
        ("a", Role::Admin),
        ("a", Role::User),
        ("ä b", Role::Auditor),
    ] {
        let (user, secret) = create(&world, name, role).await;
        assert_eq!(
            (&*user.name, user.role, user.is_disabled),
            (name, role, false)
        );
        assert_eq!(user.access_key_id.as_str().len(), 20);
        assert_eq!(
            user.access_key_id
                .as_str()
                .parse::<AccessKeyId>()
                .expect("an id"),
            user.access_key_id
        );
        assert_eq!(secret.len(), 40);
        assert!(
            secret
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        assert_eq!(
            secret_of(users, &user.access_key_id)
                .await
                .expect("a secret"),
            secret
        );
        let credential = users
            .secret_of(&user.access_key_id)
            .await
            .expect("a credential");
        assert_eq!(credential.user, user);
        assert!(!format!("{credential:?} {users:?}").contains(&secret));
        assert_eq!(users.get(&user.access_key_id).await.expect("a user"), user);
        let rows = world.rows_of(USERS).await;
        let seed = data_encoding::BASE64URL_NOPAD
            .decode(secret.as_bytes())
            .expect("base64url");
        for row in rows {
            assert!(
                !row.row
                    .value
                    .windows(40)
                    .any(|window| window == secret.as_bytes())
            );
            assert!(!row.row.value.windows(30).any(|window| window == seed));
        }
        assert!(secrets.insert(secret));
    }
}

#[tokio::test]
async fn names_and_ids_out_of_bounds_are_refused() {
    let world = World::new().await;
    let users = &world.service.users;
    for name in [
        String::new(),
        "n".repeat(129),
        "ä".repeat(65),
        "n".repeat(70_000),
    ] {
        let error = users
            .create(&name, Role::User, &caller())
            .await
            .expect_err("no name");
        assert!(
            matches!(error, KeyError::InvalidRequest { .. }),
            "{error:?}"
        );
    }
    create(&world, &"ä".repeat(64), Role::User).await;
    assert_eq!(world.rows_of(USERS).await.len(), 1);
    for id in [
        "",
        "SRAK",
        "AKIAAAAAAAAAAAAAAAAA",
        "SRAKaaaaaaaaaaaaaaaa",
        "SRAKAAAAAAAAAAAAAAAAA",
    ] {
        let error = id.parse::<AccessKeyId>().expect_err("no id");
        assert!(matches!(error, KeyError::NoSuchUser), "{error:?}");
    }
    let nobody: AccessKeyId = "SRAKAAAAAAAAAAAAAAAA".parse().expect("an id");
    for error in [
        users.get(&nobody).await.map(drop),
        users.secret_of(&nobody).await.map(drop),
        users.disable(&nobody, &caller()).await.map(drop),
        users.enable(&nobody, &caller()).await.map(drop),
        users.delete(&nobody, &caller()).await,
    ] {
        assert!(matches!(error, Err(KeyError::NoSuchUser)), "{error:?}");
    }
    for role in [Role::Admin, Role::User, Role::Auditor] {
        assert_eq!(role.as_str().parse::<Role>().expect("a role"), role);
    }
    assert!("Admin".parse::<Role>().is_err());
}

#[tokio::test]
async fn users_are_listed_in_pages_that_leave_nobody_out() {
    let world = World::new().await;
    let mut expected = Vec::new();
    for number in 0..11 {
        expected.push(
            create(&world, &format!("user {number}"), Role::User)
                .await
                .0,
        );
    }
    expected.sort_by(|one, other| one.access_key_id.cmp(&other.access_key_id));
    for limit in [0, 1, 4, 10, 11, 12, usize::MAX] {
        let (mut marker, mut found) = (None::<String>, Vec::new());
        loop {
            let page = world.service.users.list(marker.as_deref(), limit).await;
            let page = page.expect("a page");
            assert!(page.items.len() <= limit.max(1));
            found.extend(page.items);
            marker = page.next;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{limit}");
    }
}

#[tokio::test]
async fn an_opened_credential_ends_when_its_user_is_disabled_or_deleted() {
    let world = World::new().await;
    let users = &world.service.users;
    let (user, secret) = create(&world, "ann", Role::Admin).await;
    let (other, other_secret) = create(&world, "ben", Role::User).await;
    let id = &user.access_key_id;
    for _ in 0..2 {
        assert_eq!(secret_of(users, id).await.expect("a secret"), secret);
        let disabled = users.disable(id, &caller()).await.expect("it is disabled");
        assert!(disabled.is_disabled);
        let error = secret_of(users, id).await.expect_err("it is disabled");
        assert!(matches!(error, KeyError::UserDisabled), "{error:?}");
        assert!(users.get(id).await.expect("a user").is_disabled);
        let enabled = users.enable(id, &caller()).await.expect("it is enabled");
        assert_eq!(enabled, user, "all else stays");
    }
    assert_eq!(secret_of(users, id).await.expect("the same secret"), secret);
    users.delete(id, &caller()).await.expect("it goes");
    for error in [
        secret_of(users, id).await.map(drop),
        users.get(id).await.map(drop),
    ] {
        assert!(matches!(error, Err(KeyError::NoSuchUser)), "{error:?}");
    }
    assert_eq!(
        secret_of(users, &other.access_key_id)
            .await
            .expect("hers stays"),
        other_secret
    );
}

#[tokio::test]
async fn an_opened_credential_costs_no_look_at_its_row_for_a_minute() {
    let world = World::new().await;
    let users = &world.service.users;
    let (user, secret) = create(&world, "ann", Role::User).await;
    let id = &user.access_key_id;
    secret_of(users, id).await.expect("a secret");
    let reads = world.meta.reads();
    secret_of(users, id).await.expect("a secret");
    assert_eq!(world.meta.reads(), reads);

    // Another daemon on the same rows.
    let elsewhere = world.restarted().await.expect("it starts");
    assert_eq!(
        secret_of(&elsewhere.users, id).await.expect("the same"),
        secret
    );
    elsewhere
        .users
        .disable(id, &caller())
        .await
        .expect("it is disabled");
    world.clock.pass(Duration::from_secs(60));
    let error = secret_of(users, id).await.expect_err("a minute is over");
    assert!(matches!(error, KeyError::UserDisabled), "{error:?}");
}

#[tokio::test]
async fn no_more_credentials_are_opened_than_there_is_room_for() {
    let world = World::with_limits(KeyLimits {
        credentials_opened_max: NonZeroUsize::MIN,
        ..KeyLimits::default()
    })
    .await;
    let users = &world.service.users;
    let (one, _) = create(&world, "one", Role::User).await;
    let (other, _) = create(&world, "other", Role::User).await;
    for id in [&one.access_key_id, &other.access_key_id, &one.access_key_id] {
        let reads = world.meta.reads();
        secret_of(users, id).await.expect("a secret");
        assert_eq!(world.meta.reads(), reads + 1);
    }
}

#[tokio::test]
async fn a_row_changed_by_another_hand_opens_nothing() {
    let world = World::new().await;
    let users = &world.service.users;
    let (user, secret) = create(&world, "ann", Role::User).await;
    let id = &user.access_key_id;
    let key = id.as_str().as_bytes();
    let whole = world.rows_of(USERS).await[0].row.value.to_vec();
    let refused = async |value: &[u8]| {
        world.set(USERS, key, Some(value)).await;
        world.clock.pass(Duration::from_secs(60));
        for error in [
            users.secret_of(id).await.map(drop),
            users.disable(id, &caller()).await.map(drop),
            users.enable(id, &caller()).await.map(drop),
        ] {
            let error = error.expect_err("it was changed");
            let is_expected = matches!(error, KeyError::NotAuthentic | KeyError::Damaged { .. });
            assert!(is_expected, "{error:?}");
        }
        assert_eq!(
            *world.rows_of(USERS).await[0].row.value,
            *value,
            "it is left as it is"
        );
    };
    for bit in 0..whole.len() * 8 {
        let mut value = whole.clone();
        value[bit / 8] ^= 1 << (bit % 8);
        refused(&value).await;
    }
    for len_bytes in 0..whole.len() {
        refused(&whole[..len_bytes]).await;
    }
    refused(&[whole.as_slice(), &[0]].concat()).await;
    // To be an administrator, and never to have been disabled.
    for (at, value) in [(1, 1), (2, 1)] {
        let mut forged = whole.clone();
        forged[at] = value;
        refused(&forged).await;
    }
    world.set(USERS, key, Some(&whole)).await;
    assert_eq!(
        secret_of(users, id).await.expect("the whole one opens"),
        secret
    );
}

#[tokio::test]
async fn a_row_in_the_place_of_another_opens_nothing() {
    let world = World::new().await;
    let users = &world.service.users;
    // The same name, role and time: the rows differ in what is wrapped only.
    let (admin, _) = create(&world, "ann", Role::Admin).await;
    let (mine, my_secret) = create(&world, "ann", Role::Admin).await;
    let rows = world.rows_of(USERS).await;
    let of = |user: &User| {
        let key = user.access_key_id.as_str();
        rows.iter().find(|row| row.key == key).expect("a row")
    };
    let value = of(&mine).row.value.to_vec();
    world.set(USERS, &of(&admin).key, Some(&value)).await;
    let error = secret_of(users, &admin.access_key_id)
        .await
        .expect_err("it is another's");
    assert!(matches!(error, KeyError::NotAuthentic), "{error:?}");
    assert_eq!(
        secret_of(users, &mine.access_key_id)
            .await
            .expect("in its place"),
        my_secret
    );
    // What cannot be opened can still be taken away.
    users
        .delete(&admin.access_key_id, &caller())
        .await
        .expect("it goes");
}

#[tokio::test]
async fn a_change_that_may_have_been_written_is_not_believed_undone() {
    for (fault, is_disabled) in [
        (CommitFault::UnknownApplied, true),
        (CommitFault::UnknownNotApplied, false),
        (CommitFault::Full, false),
    ] {
        let world = World::new().await;
        let users = &world.service.users;
        let (user, _) = create(&world, "ann", Role::User).await;
        let id = &user.access_key_id;
        secret_of(users, id).await.expect("a secret");
        world.meta.fail_commit(0, fault);
        let error = users
            .disable(id, &caller())
            .await
            .expect_err("it is not acknowledged");
        assert!(matches!(error, KeyError::NotCommitted(_)), "{error:?}");
        world.meta.reopen();
        let found = secret_of(users, id).await;
        assert_eq!(found.is_err(), is_disabled, "{fault:?}: the row decides");
    }
    let world = World::new().await;
    world.meta.fail_commit(0, CommitFault::Full);
    let made = world
        .service
        .users
        .create("ann", Role::User, &caller())
        .await;
    assert!(matches!(made, Err(KeyError::NotCommitted(_))), "{made:?}");
    assert!(world.rows_of(USERS).await.is_empty());
}
