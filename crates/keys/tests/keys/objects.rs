//! Creating, opening, checking and wrapping anew.

use strongroom_keys::{
    EncryptionContext, EncryptionMode, KeyEnvelope, KeyError, KeyReference, Protection,
};

use crate::world::{World, by_customer_key, by_kms_key, caller, context, customer_key, object};

#[tokio::test]
async fn what_is_created_opens_in_every_mode() {
    let world = World::new().await;
    let keys = &world.service.objects;
    let kms_key = world.kms_key().await;
    for (protection, customer) in [
        (by_customer_key(1), Some(customer_key(1))),
        (by_kms_key(&kms_key, false), None),
        (by_kms_key(&kms_key, true), None),
        (
            Protection::Kms {
                key: KeyReference::managed(),
                context: context(&[("department", "9")]),
                bucket_key: false,
            },
            None,
        ),
        (Protection::Managed, None),
    ] {
        let name = object("bucket", "a/key");
        let (data_key, envelope) = keys
            .create(&protection, &name, &caller())
            .await
            .expect("a data key");
        let stored = KeyEnvelope::from_bytes(&envelope.to_bytes()).expect("an envelope");
        assert_eq!(stored, envelope);
        assert_eq!(stored.needs_customer_key(), customer.is_some());
        let opened = keys
            .open(&stored, &name, customer.as_ref(), &caller())
            .await
            .expect("it opens");
        assert_eq!(opened.expose(), data_key.expose());
        keys.check(&stored, &name, customer.as_ref(), &caller())
            .await
            .expect("it may be looked at");
        let bytes = envelope.to_bytes();
        assert!(!bytes.windows(32).any(|window| window == data_key.expose()));
        if let Some(customer) = customer_bytes(&protection) {
            assert!(!bytes.windows(32).any(|window| window == customer));
        }
    }
}

fn customer_bytes(protection: &Protection) -> Option<[u8; 32]> {
    matches!(protection, Protection::CustomerKey(_)).then_some([1; 32])
}

#[tokio::test]
async fn the_mode_is_told_as_it_was_asked_for() {
    let world = World::new().await;
    let keys = &world.service.objects;
    let kms_key = world.kms_key().await;
    let pairs = context(&[("a", "b")]);
    let name = object("bucket", "key");
    for bucket_key in [false, true] {
        let protection = Protection::Kms {
            key: kms_key.arn.as_str().parse().expect("an ARN"),
            context: pairs.clone(),
            bucket_key,
        };
        let (_, envelope) = keys
            .create(&protection, &name, &caller())
            .await
            .expect("a data key");
        assert_eq!(
            keys.mode_of(&envelope),
            EncryptionMode::Kms {
                key: kms_key.arn.clone(),
                context: pairs.clone(),
                bucket_key,
            }
        );
    }
    let (_, managed) = keys
        .create(&Protection::Managed, &name, &caller())
        .await
        .expect("a data key");
    assert_eq!(keys.mode_of(&managed), EncryptionMode::Managed);
    let (_, customers) = keys
        .create(&by_customer_key(3), &name, &caller())
        .await
        .expect("a data key");
    assert_eq!(
        keys.mode_of(&customers),
        EncryptionMode::CustomerKey {
            fingerprint: keys.fingerprint_of(&customer_key(3))
        }
    );
}

#[tokio::test]
async fn a_wrong_key_no_key_and_a_needless_key_are_told_apart() {
    let world = World::new().await;
    let keys = &world.service.objects;
    let name = object("bucket", "key");
    let (_, customers) = keys
        .create(&by_customer_key(1), &name, &caller())
        .await
        .expect("a data key");
    let (_, managed) = keys
        .create(&Protection::Managed, &name, &caller())
        .await
        .expect("a data key");
    let (right, wrong) = (customer_key(1), customer_key(2));

    macro_rules! refused {
        ($envelope:expr, $key:expr, $error:pat) => {
            let opened = keys.open($envelope, &name, $key, &caller()).await;
            assert!(matches!(opened, Err($error)), "{opened:?}");
            let checked = keys.check($envelope, &name, $key, &caller()).await;
            assert!(matches!(checked, Err($error)), "{checked:?}");
            let to = (&Protection::Managed, &name);
            let rewrapped = keys.rewrap(($envelope, &name, $key), to, &caller()).await;
            assert!(matches!(rewrapped, Err($error)), "{rewrapped:?}");
        };
    }
    refused!(&customers, None, KeyError::CustomerKeyRequired);
    refused!(&customers, Some(&wrong), KeyError::CustomerKeyMismatch);
    refused!(&managed, Some(&right), KeyError::CustomerKeyNotApplicable);
}

#[tokio::test]
async fn rewrapping_keeps_the_data_key_and_shuts_out_the_old_one() {
    let world = World::new().await;
    let keys = &world.service.objects;
    let kms_key = world.kms_key().await;
    let (old_name, new_name) = (object("bucket", "key"), object("other", "elsewhere"));
    let (data_key, old) = keys
        .create(&by_customer_key(1), &old_name, &caller())
        .await
        .expect("a data key");
    for (protection, customer) in [
        (by_customer_key(2), Some(customer_key(2))),
        (by_kms_key(&kms_key, false), None),
        (by_kms_key(&kms_key, true), None),
        (Protection::Managed, None),
    ] {
        let new = keys
            .rewrap(
                (&old, &old_name, Some(&customer_key(1))),
                (&protection, &new_name),
                &caller(),
            )
            .await
            .expect("it is wrapped anew");
        let opened = keys
            .open(&new, &new_name, customer.as_ref(), &caller())
            .await
            .expect("it opens");
        assert_eq!(opened.expose(), data_key.expose());
        let by_old = keys
            .open(&new, &new_name, Some(&customer_key(1)), &caller())
            .await;
        assert!(matches!(
            by_old,
            Err(KeyError::CustomerKeyMismatch | KeyError::CustomerKeyNotApplicable)
        ));
        // And back again, from each mode.
        let back = keys
            .rewrap(
                (&new, &new_name, customer.as_ref()),
                (&by_customer_key(1), &old_name),
                &caller(),
            )
            .await
            .expect("it is wrapped anew");
        let opened = keys
            .open(&back, &old_name, Some(&customer_key(1)), &caller())
            .await
            .expect("it opens");
        assert_eq!(opened.expose(), data_key.expose());
    }
}

#[tokio::test]
async fn a_key_that_is_not_there_is_not_used() {
    let world = World::new().await;
    let keys = &world.service.objects;
    for (reference, is_alias) in [
        ("alias/nobody", true),
        ("00000000-0000-4000-8000-000000000000", false),
        (
            "arn:aws:kms:elsewhere:000000000000:key/00000000-0000-4000-8000-000000000000",
            false,
        ),
    ] {
        for bucket_key in [false, true] {
            let protection = Protection::Kms {
                key: reference.parse().expect("a reference"),
                context: EncryptionContext::empty(),
                bucket_key,
            };
            let error = keys
                .create(&protection, &object("bucket", "key"), &caller())
                .await
                .expect_err("there is no such key");
            match error {
                KeyError::NoSuchAlias { .. } => assert!(is_alias),
                KeyError::NoSuchKey { .. } => assert!(!is_alias),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn names_out_of_bounds_are_refused() {
    let world = World::new().await;
    let keys = &world.service.objects;
    for name in [
        object("", "key"),
        object("bucket", ""),
        object(&"b".repeat(64), "key"),
        object("bucket", &"k".repeat(1_025)),
        object("bucket", &"k".repeat(70_000)),
    ] {
        for protection in [by_customer_key(1), Protection::Managed] {
            let created = keys.create(&protection, &name, &caller()).await;
            let is_refused = matches!(created, Err(KeyError::InvalidRequest { .. }));
            assert!(is_refused, "{created:?}");
        }
    }
}
