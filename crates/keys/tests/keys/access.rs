//! Policies and grants: who gets to use a key, through every way to it.

use std::sync::Arc;
use std::time::Duration;

use strongroom_keys::{
    Caller, EncryptionContext, GrantConstraint, GrantFilter, GrantId, GrantOperation,
    GrantReference, KeyError, KeyReference, Kms, NewGrant, NewKey, NewPolicy, Protection, Role,
    Standing,
};
use strongroom_meta::CommitFault;

use crate::world::{
    ACCOUNT, World, a_grant, allow, as_user, by_kms_key, caller, context, object, open_policy,
    policy,
};

fn deny(principal: &str, actions: &str) -> serde_json::Value {
    let mut statement = allow(principal, actions);
    statement["Effect"] = "Deny".into();
    statement
}

fn new_policy(document: String) -> NewPolicy {
    NewPolicy {
        document,
        bypass_lockout_check: false,
    }
}

async fn put(kms: &Arc<Kms>, key: &KeyReference, document: String) {
    let policy = new_policy(document);
    kms.put_key_policy(key, Kms::POLICY_NAME, &policy, &caller())
        .await
        .expect("it is put");
}

fn code<T>(result: &Result<T, KeyError>) -> &'static str {
    result.as_ref().err().map_or("ok", KeyError::code)
}

/// A user that there is, as a caller.
async fn user(world: &World, role: Role) -> (Caller, String) {
    let made = world.service.users.create("a user", role, &caller()).await;
    let id = made.expect("a user").user.access_key_id;
    let arn = format!("arn:aws:iam::000000000000:user/{id}");
    let who = Caller {
        principal: id.to_string(),
        standing: Standing::User(role),
        ..caller()
    };
    (who, arn)
}

#[tokio::test]
async fn a_policy_holds_on_every_way_to_a_key_at_once() {
    let world = World::new().await;
    let (kms, keys) = (&world.service.kms, &world.service.objects);
    let described = world.kms_key().await;
    let key: &KeyReference = &described.id.into();
    let (ann, arn) = user(&world, Role::User).await;
    let (ben, _) = user(&world, Role::User).await;
    let name = object("bucket", "key");
    let empty = &EncryptionContext::empty();
    let sealed = kms.encrypt(key, empty, b"text", &ann).await;
    let blob = sealed.expect("it is allowed").blob.to_bytes();
    let mut envelopes = Vec::new();
    for through in [false, true] {
        let made = keys
            .create(&by_kms_key(&described, through), &name, &ann)
            .await;
        envelopes.push(made.expect("it is allowed").1);
    }
    put(
        kms,
        key,
        policy(&[allow(ACCOUNT, "kms:*"), deny(&arn, "kms:*")]),
    )
    .await;
    for (who, expected) in [(&ann, "access-denied"), (&ben, "ok")] {
        assert_eq!(code(&kms.encrypt(key, empty, b"text", who).await), expected);
        assert_eq!(code(&kms.decrypt(&blob, empty, None, who).await), expected);
        assert_eq!(
            code(&kms.generate_data_key(key, empty, 32, who).await),
            expected
        );
        let again = kms.re_encrypt(&blob, empty, None, key, empty, who).await;
        assert_eq!(code(&again), expected);
        for (through, envelope) in [false, true].into_iter().zip(&envelopes) {
            // The bucket key is open, for others.
            let open = keys.open(envelope, &name, None, &ben).await;
            assert_eq!(code(&open), "ok");
            assert_eq!(code(&keys.open(envelope, &name, None, who).await), expected);
            let protection = by_kms_key(&described, through);
            let new = object("bucket", "new");
            assert_eq!(code(&keys.create(&protection, &new, who).await), expected);
            let rewrapped = keys
                .rewrap((envelope, &name, None), (&Protection::Managed, &new), who)
                .await;
            assert_eq!(code(&rewrapped), expected);
            let made = keys.create(&Protection::Managed, &name, who).await;
            let managed = made.expect("SSE-S3 asks no policy").1;
            let rewrapped = keys
                .rewrap((&managed, &name, None), (&protection, &new), who)
                .await;
            assert_eq!(code(&rewrapped), expected);
        }
    }
    let refusal = world.entries_since(0);
    let refusal = refusal
        .iter()
        .find(|entry| entry["use"] == "encrypt" && entry["outcome"] == "refused")
        .expect("it is on the log");
    assert_eq!(refusal["principal"], ann.principal.as_str());
    assert_eq!(refusal["reason"], "access-denied");
    put(kms, key, open_policy()).await;
    assert_eq!(
        code(&keys.open(&envelopes[1], &name, None, &ann).await),
        "ok"
    );
}

#[tokio::test]
async fn a_policy_can_want_the_object_store_and_the_object() {
    let world = World::new().await;
    let (kms, keys) = (&world.service.kms, &world.service.objects);
    let described = world.kms_key().await;
    let key: &KeyReference = &described.id.into();
    let mut through_store = allow(ACCOUNT, "kms:GenerateDataKey");
    through_store["Condition"] = serde_json::json!({
        "StringEquals": { "kms:ViaService": "s3.test-1.amazonaws.com" },
        "StringLike": { "kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::photos*" },
    });
    let administration = allow(ACCOUNT, "kms:PutKeyPolicy");
    put(kms, key, policy(&[through_store, administration])).await;
    let empty = &EncryptionContext::empty();
    let made = kms.generate_data_key(key, empty, 32, &caller()).await;
    assert_eq!(code(&made), "access-denied");
    let spoofed = &context(&[("aws:s3:arn", "arn:aws:s3:::photos")]);
    let made = kms.generate_data_key(key, spoofed, 32, &caller()).await;
    assert_eq!(code(&made), "access-denied");
    for through in [false, true] {
        for (bucket, expected) in [("photos", "ok"), ("films", "access-denied")] {
            let protection = by_kms_key(&described, through);
            let made = keys
                .create(&protection, &object(bucket, "a"), &caller())
                .await;
            assert_eq!(code(&made), expected, "{bucket} {through}");
        }
    }
}

#[tokio::test]
async fn nobody_shuts_himself_out_unless_he_says_so() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let key: &KeyReference = &world.kms_key().await.id.into();
    let (_, arn) = user(&world, Role::Admin).await;
    let closed = policy(&[allow(&arn, "kms:*")]);
    let rows = world.rows().await;
    for document in [
        closed.clone(),
        policy(&[allow(ACCOUNT, "kms:Encrypt")]),
        policy(&[allow(ACCOUNT, "kms:*"), deny(ACCOUNT, "kms:Put*")]),
        policy(&[
            allow(
                "arn:aws:iam::000000000000:user/SRAKAAAAAAAAAAAAAAAA",
                "kms:*",
            ),
            allow(ACCOUNT, "kms:*"),
        ]),
        "{}".into(),
    ] {
        let policy = new_policy(document);
        let put = kms
            .put_key_policy(key, Kms::POLICY_NAME, &policy, &caller())
            .await;
        assert_eq!(code(&put), "malformed-policy", "{policy:?}");
        let new = NewKey {
            policy: Some(policy),
            ..NewKey::default()
        };
        assert_eq!(
            code(&kms.create_key(new, &caller()).await),
            "malformed-policy"
        );
    }
    let long = new_policy(" ".repeat(32 * 1024) + &open_policy());
    let put = kms
        .put_key_policy(key, Kms::POLICY_NAME, &long, &caller())
        .await;
    assert_eq!(code(&put), "limit-exceeded");
    let put = kms
        .put_key_policy(key, "another", &new_policy(open_policy()), &caller())
        .await;
    assert_eq!(code(&put), "no-such-policy");
    assert!(world.rows().await == rows, "nothing was changed");

    let bypassing = NewPolicy {
        document: closed.clone(),
        bypass_lockout_check: true,
    };
    kms.put_key_policy(key, Kms::POLICY_NAME, &bypassing, &caller())
        .await
        .expect("it is put");
    let read = kms.key_policy(key, Kms::POLICY_NAME, &caller()).await;
    assert_eq!(code(&read), "access-denied");
    let new = NewKey {
        policy: Some(bypassing),
        ..NewKey::default()
    };
    let made = kms.create_key(new, &caller()).await.expect("a key");
    let encrypted = kms
        .encrypt(
            &made.id.into(),
            &EncryptionContext::empty(),
            b"x",
            &caller(),
        )
        .await;
    assert_eq!(code(&encrypted), "access-denied");
}

#[tokio::test]
async fn a_policy_is_read_as_it_was_put_and_stays_over_a_restart() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let key: &KeyReference = &world.kms_key().await.id.into();
    let read = kms.key_policy(key, Kms::POLICY_NAME, &caller()).await;
    assert!(
        read.expect("a policy")
            .contains("Enable IAM User Permissions")
    );
    let document = policy(&[
        allow(ACCOUNT, "kms:*"),
        deny("arn:aws:iam::000000000000:role/user", "kms:Encrypt"),
    ]);
    put(kms, key, document.clone()).await;
    let again = world.restarted().await.expect("it starts");
    for kms in [kms, &again.kms] {
        let read = kms.key_policy(key, Kms::POLICY_NAME, &caller()).await;
        assert_eq!(read.expect("a policy"), document);
        let empty = &EncryptionContext::empty();
        assert_eq!(
            code(&kms.encrypt(key, empty, b"x", &as_user()).await),
            "access-denied"
        );
    }
    // A policy that was not written does not hold.
    world.meta.fail_commit(0, CommitFault::Unavailable);
    let put = kms
        .put_key_policy(key, Kms::POLICY_NAME, &new_policy(open_policy()), &caller())
        .await;
    assert_eq!(code(&put), "not-committed");
    let empty = &EncryptionContext::empty();
    assert_eq!(
        code(&kms.encrypt(key, empty, b"x", &as_user()).await),
        "access-denied"
    );
}

#[tokio::test]
async fn a_policy_that_another_daemon_changes_holds_here_within_a_minute() {
    let world = World::new().await;
    let other = world.restarted().await.expect("a second daemon");
    let described = world.kms_key().await;
    let key: &KeyReference = &described.id.into();
    let (ann, arn) = user(&world, Role::User).await;
    let here = &world.service.kms;
    let empty = &EncryptionContext::empty();
    let sealed = here.encrypt(key, empty, b"text", &ann).await;
    assert_eq!(code(&sealed), "ok");
    let denied = policy(&[allow(ACCOUNT, "kms:*"), deny(&arn, "kms:Encrypt")]);
    put(&other.kms, key, denied).await;
    world.ground.clock.pass(Duration::from_secs(60));
    let refused = here.encrypt(key, empty, b"text", &ann).await;
    assert_eq!(code(&refused), "access-denied");
}

#[tokio::test]
async fn roles_say_what_the_default_policy_leaves_to_them() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let key: &KeyReference = &world.kms_key().await.id.into();
    let auditor = Caller {
        standing: Standing::User(Role::Auditor),
        ..caller()
    };
    let root = Caller {
        standing: Standing::Root,
        ..caller()
    };
    let empty = &EncryptionContext::empty();
    let (yes, no) = ("ok", "access-denied");
    for (who, uses, changes, looks) in [
        (&caller(), yes, yes, yes),
        (&root, yes, yes, yes),
        (&as_user(), yes, no, no),
        (&auditor, no, no, yes),
    ] {
        assert_eq!(code(&kms.encrypt(key, empty, b"x", who).await), uses);
        assert_eq!(code(&kms.generate_random(8, who).await), uses);
        assert_eq!(
            code(&kms.update_key_description(key, "x", who).await),
            changes
        );
        assert_eq!(code(&kms.create_key("x", who).await), changes);
        let named = |name| strongroom_keys::AliasName::new(name).expect("a name");
        let (new, there) = (named("alias/new"), named("alias/there"));
        kms.create_alias(&there, key, &caller())
            .await
            .expect("an alias");
        assert_eq!(code(&kms.create_alias(&new, key, who).await), changes);
        assert_eq!(code(&kms.delete_alias(&there, who).await), changes);
        for alias in [&new, &there] {
            let _ = kms.delete_alias(alias, &caller()).await;
        }
        let policy = kms.key_policy(key, Kms::POLICY_NAME, who).await;
        assert_eq!(code(&policy), looks);
    }
}

#[tokio::test]
async fn a_grant_allows_what_it_says_and_is_on_the_log() {
    let world = World::new().await;
    let (kms, keys) = (&world.service.kms, &world.service.objects);
    let described = world.kms_key().await;
    let key: &KeyReference = &described.id.into();
    put(
        kms,
        key,
        policy(&[allow("arn:aws:iam::000000000000:role/admin", "kms:*")]),
    )
    .await;
    let (ann, arn) = user(&world, Role::User).await;
    let empty = &EncryptionContext::empty();
    assert_eq!(
        code(&kms.encrypt(key, empty, b"x", &ann).await),
        "access-denied"
    );
    let new = NewGrant {
        grantee: arn.clone(),
        operations: vec![GrantOperation::Encrypt, GrantOperation::GenerateDataKey],
        constraint: Some(GrantConstraint::ContextSubset(context(&[("a", "1")]))),
        ..a_grant()
    };
    let (grant, token) = kms
        .create_grant(key, &new, &caller())
        .await
        .expect("a grant");
    kms.check_grant_token(&token).await.expect("it is one");
    for (pairs, expected) in [
        (vec![("a", "1")], "ok"),
        (vec![("a", "1"), ("b", "2")], "ok"),
        (vec![("a", "2")], "access-denied"),
        (vec![], "access-denied"),
    ] {
        let pairs = &context(&pairs);
        assert_eq!(code(&kms.encrypt(key, pairs, b"x", &ann).await), expected);
    }
    let pairs = &context(&[("a", "1")]);
    let sealed = kms.encrypt(key, pairs, b"x", &ann).await.expect("allowed");
    let entry = world.entries_since(0).pop().expect("an entry");
    assert_eq!(entry["grant"], grant.to_string());
    let blob = sealed.blob.to_bytes();
    assert_eq!(
        code(&kms.decrypt(&blob, pairs, None, &ann).await),
        "access-denied"
    );
    // Through the object store, with what is bound there.
    let name = object("bucket", "key");
    for through in [false, true] {
        let made = keys
            .create(&by_kms_key(&described, through), &name, &ann)
            .await;
        assert_eq!(code(&made), "access-denied", "a is not bound");
    }
    let of_bucket = NewGrant {
        grantee: arn,
        operations: vec![GrantOperation::GenerateDataKey],
        constraint: Some(GrantConstraint::ContextEquals(context(&[(
            "aws:s3:arn",
            "arn:aws:s3:::bucket",
        )]))),
        ..a_grant()
    };
    let made = kms.create_grant(key, &of_bucket, &caller()).await;
    let (of_bucket, _) = made.expect("a grant");
    let made = keys
        .create(&by_kms_key(&described, true), &name, &ann)
        .await;
    assert_eq!(code(&made), "ok");
    let entry = world.entries_since(0).pop().expect("an entry");
    assert_eq!(
        (&entry["use"], &entry["grant"]),
        (&"create".into(), &of_bucket.to_string().into())
    );
    kms.revoke_grant(key, grant, &caller())
        .await
        .expect("revoked");
    assert_eq!(
        code(&kms.encrypt(key, pairs, b"x", &ann).await),
        "access-denied"
    );
    assert_eq!(
        code(&kms.check_grant_token(&token).await),
        "invalid-grant-token"
    );
}

#[tokio::test]
async fn a_grant_of_grants_gives_no_more_than_itself() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let key: &KeyReference = &world.kms_key().await.id.into();
    let (ann, arn) = user(&world, Role::User).await;
    let (_, to) = user(&world, Role::User).await;
    let parent = NewGrant {
        grantee: arn,
        operations: vec![GrantOperation::Encrypt, GrantOperation::CreateGrant],
        constraint: Some(GrantConstraint::ContextSubset(context(&[("a", "1")]))),
        ..a_grant()
    };
    kms.create_grant(key, &parent, &caller())
        .await
        .expect("a grant");
    let subset = |pairs: &[(&str, &str)]| Some(GrantConstraint::ContextSubset(context(pairs)));
    let equals = |pairs: &[(&str, &str)]| Some(GrantConstraint::ContextEquals(context(pairs)));
    let (encrypt, decrypt) = (GrantOperation::Encrypt, GrantOperation::Decrypt);
    for (operations, constraint, expected) in [
        (vec![encrypt], subset(&[("a", "1")]), "ok"),
        (vec![encrypt], subset(&[("a", "1"), ("b", "2")]), "ok"),
        (vec![encrypt], equals(&[("a", "1"), ("b", "2")]), "ok"),
        (vec![encrypt], equals(&[("b", "2")]), "access-denied"),
        (vec![encrypt], subset(&[("a", "2")]), "access-denied"),
        (vec![encrypt], None, "access-denied"),
        (
            vec![encrypt, decrypt],
            subset(&[("a", "1")]),
            "access-denied",
        ),
    ] {
        let child = NewGrant {
            grantee: to.clone(),
            operations,
            constraint,
            ..a_grant()
        };
        let made = kms.create_grant(key, &child, &ann).await;
        assert_eq!(code(&made), expected, "{child:?}");
    }
}

#[tokio::test]
async fn a_grant_is_retired_by_whom_it_names() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let key: &KeyReference = &world.kms_key().await.id.into();
    let (retiring, retiring_arn) = user(&world, Role::User).await;
    let (grantee, grantee_arn) = user(&world, Role::User).await;
    let (other, _) = user(&world, Role::User).await;
    let new = |operations: &[GrantOperation]| NewGrant {
        grantee: grantee_arn.clone(),
        retiring: Some(retiring_arn.clone()),
        operations: operations.to_vec(),
        ..a_grant()
    };
    let plain = new(&[GrantOperation::Encrypt]);
    let retirable = new(&[GrantOperation::Encrypt, GrantOperation::RetireGrant]);
    for (new, who, expected) in [
        (&plain, &retiring, "ok"),
        (&plain, &grantee, "access-denied"),
        (&plain, &other, "access-denied"),
        (&plain, &caller(), "ok"),
        (&retirable, &grantee, "ok"),
        (&retirable, &other, "access-denied"),
    ] {
        let made = kms.create_grant(key, new, &caller()).await;
        let (grant, token) = made.expect("a grant");
        let by_token = GrantReference::Token(token);
        assert_eq!(code(&kms.retire_grant(&by_token, who).await), expected);
        let gone = kms.retire_grant(&by_token, &caller()).await;
        let then = if expected == "ok" {
            "invalid-grant-token"
        } else {
            "ok"
        };
        assert_eq!(code(&gone), then);
        let by_id = GrantReference::Id(key.clone(), grant);
        assert_eq!(code(&kms.retire_grant(&by_id, who).await), "no-such-grant");
    }
    for token in ["", "x", "AQ", &"A".repeat(76)] {
        let named = GrantReference::Token(token.into());
        let retired = kms.retire_grant(&named, &caller()).await;
        assert!(
            matches!(code(&retired), "invalid-grant-token" | "no-such-key"),
            "{token}: {retired:?}"
        );
    }
}

#[tokio::test]
async fn grants_are_listed_in_pages_and_made_once_under_a_name() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let key: &KeyReference = &world.kms_key().await.id.into();
    let other: &KeyReference = &world.kms_key().await.id.into();
    let (who, arn) = user(&world, Role::User).await;
    let mut made = Vec::new();
    for number in 0..5 {
        let new = NewGrant {
            grantee: if number < 2 {
                ACCOUNT.into()
            } else {
                arn.clone()
            },
            retiring: Some(arn.clone()),
            name: Some(format!("grant-{number}")),
            ..a_grant()
        };
        let (first, token) = kms.create_grant(key, &new, &caller()).await.expect("one");
        let (again, other_token) = kms.create_grant(key, &new, &caller()).await.expect("one");
        assert_eq!(first, again);
        assert_ne!(token, other_token);
        let different = NewGrant {
            operations: vec![GrantOperation::Encrypt],
            ..new
        };
        if number == 0 {
            let (another, _) = kms
                .create_grant(other, &different, &caller())
                .await
                .expect("one");
            assert_ne!(another, first);
        }
        made.push(first);
    }
    made.sort_unstable();
    for (filter, count) in [
        (GrantFilter::All, 5),
        (GrantFilter::Grantee(arn.clone()), 3),
        (GrantFilter::Grantee(ACCOUNT.into()), 2),
        (GrantFilter::Id(made[3]), 1),
        (GrantFilter::Id(GrantId([0; 32])), 0),
    ] {
        let (mut found, mut marker) = (Vec::new(), None::<String>);
        loop {
            let page = kms
                .list_grants(key, &filter, marker.as_deref(), 2, &caller())
                .await
                .expect("a page");
            assert!(page.items.len() <= 2);
            found.extend(page.items);
            marker = page.next;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(found.len(), count, "{filter:?}");
        assert!(found.is_sorted_by_key(|grant| grant.id));
        assert!(found.iter().all(|grant| made.contains(&grant.id)));
    }
    let (mut count, mut marker) = (0, None::<String>);
    loop {
        let page = kms
            .list_retirable_grants(&arn, marker.as_deref(), 4, &who)
            .await
            .expect("a page");
        count += page.items.len();
        marker = page.next;
        if marker.is_none() {
            break;
        }
    }
    assert_eq!(count, 6);
    let others = kms.list_retirable_grants(ACCOUNT, None, 4, &who).await;
    assert_eq!(code(&others), "ok", "of the account one is too");
    for wrong in ["", "zz", "AAAA"] {
        let page = kms
            .list_grants(key, &GrantFilter::All, Some(wrong), 2, &caller())
            .await;
        assert_eq!(code(&page), "invalid-reference");
        let page = kms.list_retirable_grants(&arn, Some(wrong), 2, &who).await;
        assert_eq!(code(&page), "invalid-reference");
    }
}

#[tokio::test]
async fn grants_that_cannot_be_are_refused() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let key: &KeyReference = &world.kms_key().await.id.into();
    let long = "x".repeat(385);
    let pairs: Vec<(String, String)> = (0..9).map(|at| (at.to_string(), "x".into())).collect();
    let nine = EncryptionContext::new(pairs).expect("a context");
    let rows = world.rows().await;
    for (new, expected) in [
        (
            NewGrant {
                operations: vec![],
                ..a_grant()
            },
            "invalid-request",
        ),
        (
            NewGrant {
                operations: vec![GrantOperation::Sign],
                ..a_grant()
            },
            "invalid-request",
        ),
        (
            NewGrant {
                operations: vec![GrantOperation::GenerateMac],
                ..a_grant()
            },
            "invalid-request",
        ),
        (
            NewGrant {
                grantee: "ann".into(),
                ..a_grant()
            },
            "invalid-principal",
        ),
        (
            NewGrant {
                grantee: "arn:aws:iam::111111111111:root".into(),
                ..a_grant()
            },
            "invalid-principal",
        ),
        (
            NewGrant {
                retiring: Some("arn:aws:iam::000000000000:user/SRAKAAAAAAAAAAAAAAAA".into()),
                ..a_grant()
            },
            "invalid-principal",
        ),
        (
            NewGrant {
                name: Some(String::new()),
                ..a_grant()
            },
            "invalid-request",
        ),
        (
            NewGrant {
                name: Some("a b".into()),
                ..a_grant()
            },
            "invalid-request",
        ),
        (
            NewGrant {
                name: Some("x".repeat(257)),
                ..a_grant()
            },
            "invalid-request",
        ),
        (
            NewGrant {
                constraint: Some(GrantConstraint::ContextSubset(context(&[("a", &long)]))),
                ..a_grant()
            },
            "invalid-request",
        ),
        (
            NewGrant {
                constraint: Some(GrantConstraint::ContextEquals(nine)),
                ..a_grant()
            },
            "invalid-request",
        ),
    ] {
        let made = kms.create_grant(key, &new, &caller()).await;
        assert_eq!(code(&made), expected, "{new:?}");
    }
    assert!(world.rows().await == rows, "nothing was changed");
    // A damaged count is as many as there can be.
    let count = [&[1][..], &Kms::GRANTS_MAX.to_be_bytes()].concat();
    let table = strongroom_meta::Table::new("kms_grant_counts");
    let KeyReference::Id(id) = key else {
        panic!("it is an id");
    };
    world.set(table, id.as_bytes(), Some(&count)).await;
    let made = kms.create_grant(key, &a_grant(), &caller()).await;
    assert_eq!(code(&made), "limit-exceeded");
}
