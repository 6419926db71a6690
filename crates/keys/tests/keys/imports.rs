//! Keys whose material is imported.
//!
//! Source: AWS KMS Developer Guide, "Importing key material for AWS KMS keys".

use std::time::Duration;

use strongroom_audit::LogFault;
use strongroom_environment::{Clock, Timestamp};
use strongroom_keys::{
    EncryptionContext, ImportKind, ImportParameters, ImportedMaterial, KeyDescription, KeyError,
    KeyLimits, KeyMaterialId, KeyOrigin, KeyReference, KeyState, KeyVersion, Kms, MaterialState,
    NewKey, NewMaterial, VersionState, WrappingMethod,
};
use strongroom_meta::{CommitFault, Table};
use strongroom_pkcs11::{ImportWrapping, OaepHash, TokenError, TokenFunction};
use strongroom_testkit::{SoftHsm, wrap_for_import};

use crate::world::{Ground, World, allow, by_kms_key, caller, object, policy};

/// What is made to fail.
type Cut = fn(&World);

const DAY: Duration = Duration::from_secs(86_400);
const WRAPPING: ImportWrapping = ImportWrapping::Rsaes(OaepHash::Sha1);

fn method() -> WrappingMethod {
    WrappingMethod::named("RSAES_OAEP_SHA_1", "RSA_2048").expect("a method")
}

pub(crate) async fn external_key(kms: &Kms) -> KeyDescription {
    let new = NewKey {
        is_external: true,
        ..NewKey::default()
    };
    kms.create_key(new, &caller()).await.expect("a key")
}

async fn parameters(kms: &Kms, key: &KeyReference) -> ImportParameters {
    let made = kms.parameters_for_import(key, method(), &caller()).await;
    made.expect("parameters")
}

fn material(parameters: &ImportParameters, value: u8) -> NewMaterial {
    NewMaterial {
        import_token: parameters.import_token.clone(),
        encrypted: wrap_for_import(&parameters.public_key, WRAPPING, &[value; 32]),
        expires: None,
        kind: None,
        material: None,
        description: None,
    }
}

/// Imports material of 32 equal bytes into a key.
pub(crate) async fn import(world: &World, key: &KeyReference, value: u8) -> KeyMaterialId {
    let kms = &world.service.kms;
    let new = material(&parameters(kms, key).await, value);
    let imported = kms.import_key_material(key, new, &caller()).await;
    imported.expect("it is imported").1
}

/// Imports material that a key is then rotated to.
pub(crate) async fn import_new(world: &World, key: &KeyReference, value: u8) -> KeyMaterialId {
    let kms = &world.service.kms;
    let new = NewMaterial {
        kind: Some(ImportKind::New),
        ..material(&parameters(kms, key).await, value)
    };
    let imported = kms.import_key_material(key, new, &caller()).await;
    imported.expect("it is imported").1
}

/// The same, for a time.
pub(crate) async fn import_until(world: &World, key: &KeyReference, value: u8, until: Timestamp) {
    let kms = &world.service.kms;
    let new = NewMaterial {
        expires: Some(until),
        ..material(&parameters(kms, key).await, value)
    };
    let imported = kms.import_key_material(key, new, &caller()).await;
    imported.expect("it is imported");
}

async fn encrypted(kms: &Kms, key: &KeyReference) -> Result<Vec<u8>, KeyError> {
    let empty = EncryptionContext::empty();
    let made = kms.encrypt(key, &empty, b"text", &caller()).await;
    made.map(|made| made.blob.to_bytes())
}

async fn opens(kms: &Kms, blob: &[u8]) -> Result<(), KeyError> {
    let empty = EncryptionContext::empty();
    let opened = kms.decrypt(blob, &empty, None, &caller()).await?;
    assert_eq!(*opened.plaintext, b"text");
    Ok(())
}

async fn state(kms: &Kms, key: &KeyReference) -> KeyState {
    kms.describe_key(key).await.expect("a key").state
}

async fn known(kms: &Kms, key: &KeyReference) -> Vec<ImportedMaterial> {
    kms.imported_material(key).await.expect("a list")
}

fn code<T>(result: Result<T, KeyError>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "ok")
}

#[tokio::test]
async fn a_key_waits_for_its_material_and_is_used_with_it() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let created = external_key(kms).await;
    let key = &created.id.into();
    assert_eq!(created.state, KeyState::PendingImport);
    assert_eq!(created.origin, KeyOrigin::EXTERNAL);
    assert_eq!(code(encrypted(kms, key).await), "pending-import");
    assert!(known(kms, key).await.is_empty());

    let parameters = parameters(kms, key).await;
    assert_eq!(parameters.valid_to, world.clock.now() + DAY);
    let new = NewMaterial {
        description: Some("from the vault: 1/2".into()),
        ..material(&parameters, 1)
    };
    let before = world.entry_count();
    let (imported, id) = kms
        .import_key_material(key, new, &caller())
        .await
        .expect("it is imported");
    assert_eq!(imported.state, KeyState::Enabled);
    let [entry] = world.entries_since(before).try_into().expect("one");
    assert_eq!(entry["use"], "import-key-material");
    assert_eq!(entry["key"]["version"], 1);
    let detail = &entry["detail"];
    assert_eq!(detail["key_material_id"], id.to_string());
    assert_eq!(detail["import_type"], "NEW_KEY_MATERIAL");
    assert_eq!(detail["unwrapped"], "in-token");
    let [kept] = known(kms, key).await.try_into().expect("one");
    assert_eq!(kept.material, id);
    assert_eq!(kept.state, MaterialState::Current);
    assert!(kept.is_present && kept.expires.is_none());
    assert_eq!(kept.description, "from the vault: 1/2");
    assert_eq!(kept.unwrapped(), "in-token");

    let blob = encrypted(kms, key).await.expect("it may be used");
    opens(kms, &blob).await.expect("it opens");
    let service = world.restarted().await.expect("it starts");
    opens(&service.kms, &blob).await.expect("it still opens");

    // The id is of the material and of the key.
    let other = external_key(kms).await;
    let other_id = import(&world, &other.id.into(), 1).await;
    assert_ne!(other_id, id);
}

#[tokio::test]
async fn only_what_was_wrapped_for_this_import_is_taken() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let (mine, other) = (external_key(kms).await, external_key(kms).await);
    let (key, other) = (&mine.id.into(), &other.id.into());
    let (good, of_other) = (parameters(kms, key).await, parameters(kms, other).await);
    let rows = world.rows().await;
    let refused = async |new: NewMaterial| {
        let result = kms.import_key_material(key, new, &caller()).await;
        assert!(world.rows().await == rows, "nothing was changed");
        code(result)
    };
    let sound = material(&good, 1);
    for at in [0, 1, 17, 18, 19, 27, 60, sound.import_token.len() - 1] {
        let mut new = sound.clone();
        new.import_token[at] ^= 1;
        assert_eq!(refused(new).await, "invalid-import-token", "{at}");
    }
    for len_bytes in [0, 31, 32, 100, sound.import_token.len() - 1] {
        let mut new = sound.clone();
        new.import_token.truncate(len_bytes);
        assert_eq!(refused(new).await, "invalid-import-token");
    }
    let new = NewMaterial {
        import_token: of_other.import_token.clone(),
        ..sound.clone()
    };
    assert_eq!(refused(new).await, "invalid-import-token");
    let new = NewMaterial {
        encrypted: material(&of_other, 1).encrypted,
        ..sound.clone()
    };
    assert_eq!(refused(new).await, "not-authentic");
    let new = NewMaterial {
        encrypted: wrap_for_import(&good.public_key, WRAPPING, &[1; 16]),
        ..sound.clone()
    };
    assert_eq!(refused(new).await, "incorrect-key-material");
    let now = world.clock.now();
    for expires in [Timestamp::from_micros(0), now, now + 366 * DAY] {
        let new = NewMaterial {
            expires: Some(expires),
            ..sound.clone()
        };
        assert_eq!(refused(new).await, "invalid-request");
    }
    for description in ["a&b".to_owned(), "a".repeat(257)] {
        let new = NewMaterial {
            description: Some(description),
            ..sound.clone()
        };
        assert_eq!(refused(new).await, "invalid-request");
    }
    let new = NewMaterial {
        kind: Some(ImportKind::New),
        material: Some(KeyMaterialId([1; 32])),
        ..sound.clone()
    };
    assert_eq!(refused(new).await, "invalid-request");
    let new = NewMaterial {
        kind: Some(ImportKind::Existing),
        ..sound.clone()
    };
    assert_eq!(refused(new).await, "incorrect-key-material");

    // A key whose material the token makes takes none.
    let of_token = world.kms_key().await;
    let of_token = &of_token.id.into();
    let rule = "not-for-this-key";
    let who = &caller();
    let made = kms.parameters_for_import(of_token, method(), who).await;
    assert_eq!(code(made), rule);
    let import = kms.import_key_material(of_token, sound.clone(), who).await;
    assert_eq!(code(import), rule);
    let delete = kms.delete_imported_key_material(of_token, None, who).await;
    assert_eq!(code(delete), rule);
    // And no other kind of key is made without material.
    let new = NewKey {
        is_external: true,
        spec: strongroom_keys::KeySpec::named("HMAC_256", "GENERATE_VERIFY_MAC").expect("a spec"),
        ..NewKey::default()
    };
    assert_eq!(
        code(kms.create_key(new, &caller()).await),
        "invalid-request"
    );

    world.clock.pass(DAY - Duration::from_micros(1));
    let again = kms.import_key_material(key, sound.clone(), who).await;
    again.expect("in the last moment");
    world.clock.pass(Duration::from_micros(1));
    let late = kms.import_key_material(key, sound, &caller()).await;
    assert_eq!(code(late), "expired-import-token");
}

#[tokio::test]
async fn only_the_same_material_comes_back() {
    let world = World::new().await;
    let (kms, keys) = (&world.service.kms, &world.service.objects);
    let created = external_key(kms).await;
    let key = &created.id.into();
    let id = import(&world, key, 1).await;
    let name = object("bucket", "key");
    let made = keys
        .create(&by_kms_key(&created, true), &name, &caller())
        .await;
    let (data_key, envelope) = made.expect("a data key");
    let blob = encrypted(kms, key).await.expect("it may be used");

    let (deleted, which) = kms
        .delete_imported_key_material(key, None, &caller())
        .await
        .expect("it is deleted");
    assert_eq!(deleted.state, KeyState::PendingImport);
    assert_eq!(which, Some(id));
    // Also what a bucket key in memory would have opened.
    let opened = keys.open(&envelope, &name, None, &caller()).await;
    assert_eq!(code(opened), "pending-import");
    assert_eq!(code(opens(kms, &blob).await), "pending-import");
    let [kept] = known(kms, key).await.try_into().expect("one");
    assert!(!kept.is_present);
    let versions = kms.key_versions(key, None, 10).await.expect("a page");
    assert_eq!(versions.items[0].state, VersionState::Suspended);
    // Once more does nothing.
    let (_, which) = kms
        .delete_imported_key_material(key, Some(id), &caller())
        .await
        .expect("it is done");
    assert_eq!(which, Some(id));
    let other = kms
        .delete_imported_key_material(key, Some(KeyMaterialId([9; 32])), &caller())
        .await;
    assert_eq!(code(other), "incorrect-key-material");

    let parameters = parameters(kms, key).await;
    let refused = async |new: NewMaterial| {
        let result = kms.import_key_material(key, new, &caller()).await;
        assert_eq!(code(result), "incorrect-key-material");
        assert_eq!(state(kms, key).await, KeyState::PendingImport);
    };
    refused(material(&parameters, 2)).await;
    refused(NewMaterial {
        material: Some(KeyMaterialId([9; 32])),
        ..material(&parameters, 1)
    })
    .await;
    refused(NewMaterial {
        kind: Some(ImportKind::New),
        ..material(&parameters, 1)
    })
    .await;
    let new = NewMaterial {
        kind: Some(ImportKind::Existing),
        material: Some(id),
        ..material(&parameters, 1)
    };
    let (back, same) = kms
        .import_key_material(key, new, &caller())
        .await
        .expect("it is back");
    assert_eq!((back.state, same), (KeyState::Enabled, id));
    opens(kms, &blob).await.expect("it opens");
    let opened = keys.open(&envelope, &name, None, &caller()).await;
    assert_eq!(opened.expect("it opens").expose(), data_key.expose());
}

#[tokio::test]
async fn material_is_taken_away_when_its_time_is_over() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let created = external_key(kms).await;
    let key = &created.id.into();
    let expires = world.clock.now() + 10 * DAY;
    let until = |expires: Timestamp, parameters: &ImportParameters| NewMaterial {
        expires: Some(expires),
        ..material(parameters, 1)
    };
    let imported = kms
        .import_key_material(key, until(expires, &parameters(kms, key).await), &caller())
        .await;
    let (described, id) = imported.expect("it is imported");
    assert_eq!(
        described.origin,
        KeyOrigin::External {
            is_complete: true,
            expires: Some(expires)
        }
    );
    let blob = encrypted(kms, key).await.expect("it may be used");
    let report = kms.run_due(&caller()).await.expect("a run");
    assert_eq!((report.expired.len(), report.next), (0, Some(expires)));

    // In that moment, also before anything has taken it away.
    world.clock.pass(10 * DAY);
    assert_eq!(code(encrypted(kms, key).await), "pending-import");
    assert_eq!(code(opens(kms, &blob).await), "pending-import");
    assert_eq!(state(kms, key).await, KeyState::Enabled);
    let before = world.entry_count();
    let report = kms.run_due(&caller()).await.expect("a run");
    assert_eq!(report.expired, std::slice::from_ref(&created.arn));
    let [entry] = world.entries_since(before).try_into().expect("one");
    assert_eq!(entry["use"], "expire-key-material");
    let named = &entry["detail"]["key_material"][0];
    assert_eq!(named["key_material_id"], id.to_string());
    assert_eq!(state(kms, key).await, KeyState::PendingImport);
    assert!(!known(kms, key).await[0].is_present);
    // What was wrapped is in no row any more.
    let rows = world.rows_of(Table::new("kms_key_versions")).await;
    let of_key = rows
        .iter()
        .filter(|row| row.key.starts_with(created.id.as_bytes()));
    assert_eq!(of_key.map(|row| row.row.value.len()).sum::<usize>(), 42);

    // It comes back for longer, and then for good.
    let later = world.clock.now() + 20 * DAY;
    let imported = kms
        .import_key_material(key, until(later, &parameters(kms, key).await), &caller())
        .await;
    imported.expect("it is back");
    opens(kms, &blob).await.expect("it opens");
    import(&world, key, 1).await;
    world.clock.pass(400 * DAY);
    let report = kms.run_due(&caller()).await.expect("a run");
    assert!(report.expired.is_empty());
    opens(kms, &blob).await.expect("it opens");
}

#[tokio::test]
async fn a_key_is_rotated_to_material_that_waits_for_it() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let created = external_key(kms).await;
    let key = &created.id.into();
    let who = &caller();
    import(&world, key, 1).await;
    let old = encrypted(kms, key).await.expect("it may be used");
    for refused in [
        code(kms.rotate_key(key, who).await),
        code(kms.enable_key_rotation(key, 90, who).await),
        code(kms.compromise_version(key, None, "", who).await),
    ] {
        assert!(["no-pending-material", "not-for-this-key"].contains(&refused));
    }
    assert_eq!(
        kms.rotation_status(key).await.expect("a status").automatic,
        None
    );

    let new = |value, parameters: &ImportParameters| NewMaterial {
        kind: Some(ImportKind::New),
        ..material(parameters, value)
    };
    let waits = parameters(kms, key).await;
    let imported = kms.import_key_material(key, new(2, &waits), who).await;
    let (described, second) = imported.expect("it is imported");
    assert_eq!(described.current_version, KeyVersion(1));
    assert_eq!(
        known(kms, key).await[1].state,
        MaterialState::PendingRotation
    );
    let versions = kms.key_versions(key, None, 10).await.expect("a page").items;
    assert_eq!(versions[1].state, VersionState::PreActive);
    let (_, rotations) = kms
        .key_rotations(key, false, None, 10)
        .await
        .expect("a page");
    assert!(rotations.items.is_empty());
    let (_, all) = kms.key_rotations(key, true, None, 1).await.expect("a page");
    assert_eq!((all.items.len(), all.next.as_deref()), (1, Some("2")));
    // One waits at a time; it can be deleted, and is then not known any more.
    let third = kms.import_key_material(key, new(3, &waits), who).await;
    assert_eq!(code(third), "incorrect-key-material");
    let deleted = kms
        .delete_imported_key_material(key, Some(second), who)
        .await;
    assert_eq!(deleted.expect("deleted").0.state, KeyState::Enabled);
    assert_eq!(known(kms, key).await.len(), 1);
    let third = kms.import_key_material(key, new(3, &waits), who).await;
    third.expect("it is imported");
    world.clock.pass(DAY);
    let rotated = kms.rotate_key(key, who).await.expect("it is rotated");
    assert_eq!(rotated.current_version, KeyVersion(2));
    let recent = encrypted(kms, key).await.expect("it may be used");
    for blob in [&old, &recent] {
        opens(kms, blob).await.expect("it opens");
    }
    let (_, rotations) = kms
        .key_rotations(key, false, None, 10)
        .await
        .expect("a page");
    assert_eq!(rotations.items[0].created, world.clock.now());
    assert_eq!(code(kms.rotate_key(key, who).await), "no-pending-material");

    // Both are needed from now on.
    let [first, _] = known(kms, key).await.try_into().expect("two");
    let done = kms
        .delete_imported_key_material(key, Some(first.material), who)
        .await;
    assert_eq!(done.expect("deleted").0.state, KeyState::PendingImport);
    assert_eq!(code(encrypted(kms, key).await), "pending-import");
    import(&world, key, 1).await;
    for blob in [&old, &recent] {
        opens(kms, blob).await.expect("it opens");
    }
    // An old version can be marked: there is another that encrypts.
    let marked = kms.compromise_version(key, Some(KeyVersion(1)), "", who);
    assert_eq!(marked.await.expect("marked").current_version, KeyVersion(2));
}

#[tokio::test]
async fn what_waits_and_expires_is_not_rotated_to() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let created = external_key(kms).await;
    let key = &created.id.into();
    import(&world, key, 1).await;
    let waits = NewMaterial {
        kind: Some(ImportKind::New),
        expires: Some(world.clock.now() + DAY),
        ..material(&parameters(kms, key).await, 2)
    };
    let imported = kms.import_key_material(key, waits, &caller()).await;
    imported.expect("it waits");
    world.clock.pass(DAY);
    // The key itself needs it not.
    encrypted(kms, key).await.expect("it may be used");
    let rotated = kms.rotate_key(key, &caller()).await;
    assert_eq!(code(rotated), "no-pending-material");
    let report = kms.run_due(&caller()).await.expect("a run");
    assert_eq!((report.expired.len(), report.next.is_some()), (1, true));
    assert_eq!(known(kms, key).await.len(), 1);
    assert_eq!(state(kms, key).await, KeyState::Enabled);
}

#[tokio::test]
async fn a_deletion_goes_on_whatever_becomes_of_the_material() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let who = &caller();
    let created = external_key(kms).await;
    let key = &created.id.into();
    // Without material, and taken back.
    kms.schedule_key_deletion(key, 7, who)
        .await
        .expect("it is scheduled");
    let cancelled = kms.cancel_key_deletion(key, who).await;
    assert_eq!(cancelled.expect("cancelled").state, KeyState::Disabled);
    let enabled = kms.enable_key(key, who).await;
    assert_eq!(enabled.expect("enabled").state, KeyState::PendingImport);
    // Disabled, it is not enabled by an import.
    import(&world, key, 1).await;
    kms.disable_key(key, who).await.expect("disabled");
    let expires = NewMaterial {
        expires: Some(world.clock.now() + 3 * DAY),
        ..material(&parameters(kms, key).await, 1)
    };
    let imported = kms.import_key_material(key, expires.clone(), who).await;
    assert_eq!(imported.expect("imported").0.state, KeyState::Disabled);
    // Nor by taking its material away first.
    let deleted = kms.delete_imported_key_material(key, None, who).await;
    assert_eq!(deleted.expect("deleted").0.state, KeyState::Disabled);
    import(&world, key, 1).await;
    assert_eq!(state(kms, key).await, KeyState::Disabled);
    let imported = kms.import_key_material(key, expires, who).await;
    imported.expect("imported");
    let scheduled = kms.schedule_key_deletion(key, 7, who).await;
    scheduled.expect("it is scheduled");
    let pending = kms.parameters_for_import(key, method(), who).await;
    assert_eq!(code(pending), "pending-deletion");
    world.clock.pass(4 * DAY);
    let report = kms.run_due(who).await.expect("a run");
    assert_eq!((report.expired.len(), report.destroyed.len()), (1, 0));
    assert!(matches!(
        state(kms, key).await,
        KeyState::PendingDeletion { .. }
    ));
    world.clock.pass(4 * DAY);
    let report = kms.run_due(who).await.expect("a run");
    assert_eq!(report.destroyed.len(), 1);
    assert_eq!(code(kms.describe_key(key).await), "no-such-key");
    assert!(world.rows_of(Table::new("kms_due")).await.len() <= 2);
}

fn unplugged() -> TokenError {
    TokenError::Unavailable {
        reason: "unplugged".into(),
    }
}

#[tokio::test]
async fn an_import_that_is_cut_short_is_done_or_not_and_can_be_repeated() {
    let faults: [(&str, Cut); 6] = [
        ("token", |world| {
            world
                .token
                .fail_next(TokenFunction::ImportWrapped, unplugged());
        }),
        ("id", |world| {
            world.token.fail_next(TokenFunction::MacBy, unplugged())
        }),
        ("log", |world| world.log.fail_after(0, LogFault::Full)),
        ("full", |world| world.meta.fail_commit(0, CommitFault::Full)),
        ("not applied", |world| {
            world.meta.fail_commit(0, CommitFault::UnknownNotApplied);
        }),
        ("applied", |world| {
            world.meta.fail_commit(0, CommitFault::UnknownApplied);
        }),
    ];
    for (what, cut) in faults {
        let world = World::new().await;
        let kms = &world.service.kms;
        let created = external_key(kms).await;
        let key = &created.id.into();
        let new = material(&parameters(kms, key).await, 1);
        let rows = world.rows().await;
        cut(&world);
        let cut_short = kms.import_key_material(key, new.clone(), &caller()).await;
        assert!(cut_short.is_err(), "{what}");
        assert_eq!(world.rows().await != rows, what == "applied", "{what}");
        world.meta.reopen();
        world.log.recover();
        let service = world.restarted().await.expect("it starts");
        let again = service.kms.import_key_material(key, new, &caller()).await;
        assert_eq!(again.expect(what).0.state, KeyState::Enabled);
        let blob = encrypted(&service.kms, key).await.expect("it may be used");

        // And so is taking it away: what was told to drop is dropped in any case.
        let taken = |kms: std::sync::Arc<Kms>| async move {
            kms.delete_imported_key_material(key, None, &caller()).await
        };
        if matches!(what, "token" | "id") {
            continue;
        }
        cut(&world);
        let cut_short = taken(service.kms.clone()).await;
        assert!(cut_short.is_err(), "{what}");
        world.meta.reopen();
        world.log.recover();
        let opened = opens(&service.kms, &blob).await;
        assert_eq!(opened.is_err(), what == "applied", "{what}");
        let again = taken(service.kms.clone()).await;
        assert_eq!(again.expect(what).0.state, KeyState::PendingImport);
    }
}

#[tokio::test]
async fn a_policy_decides_how_and_for_how_long_material_is_imported() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let admin = "arn:aws:iam::000000000000:role/admin";
    let mut statements = vec![allow(admin, "kms:*")];
    for (action, name, value) in [
        (
            "kms:GetParametersForImport",
            "kms:WrappingAlgorithm",
            "RSAES_OAEP_SHA_256",
        ),
        (
            "kms:ImportKeyMaterial",
            "kms:ExpirationModel",
            "KEY_MATERIAL_DOES_NOT_EXPIRE",
        ),
        ("kms:DescribeKey", "kms:KeyOrigin", "AWS_KMS"),
    ] {
        statements.push(serde_json::json!({
            "Effect": "Deny",
            "Principal": { "AWS": admin },
            "Action": action,
            "Resource": "*",
            "Condition": { "StringEquals": { name: value } },
        }));
    }
    let new = NewKey {
        is_external: true,
        policy: Some(strongroom_keys::NewPolicy {
            document: policy(&statements),
            bypass_lockout_check: false,
        }),
        ..NewKey::default()
    };
    let key = &kms
        .create_key(new, &caller())
        .await
        .expect("a key")
        .id
        .into();
    let other = WrappingMethod::named("RSAES_OAEP_SHA_256", "RSA_2048").expect("a method");
    let denied = kms.parameters_for_import(key, other, &caller()).await;
    assert_eq!(code(denied), "access-denied");
    let parameters = parameters(kms, key).await;
    let denied = kms
        .import_key_material(key, material(&parameters, 1), &caller())
        .await;
    assert_eq!(code(denied), "access-denied");
    let new = NewMaterial {
        expires: Some(world.clock.now() + DAY),
        ..material(&parameters, 1)
    };
    let imported = kms.import_key_material(key, new, &caller()).await;
    imported.expect("it is allowed");
    let looked = kms
        .authorize_look(Some(key), "DescribeKey", &caller())
        .await;
    looked.expect("its origin is another");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_token_takes_material_in_and_says_which_way() {
    let hsm = SoftHsm::new().await;
    let token = hsm.start().await.expect("it starts");
    let ground = Ground::new(token as _).await;
    let service = ground.start(KeyLimits::default()).await.expect("it starts");
    let world = World { ground, service };
    let kms = &world.service.kms;
    let created = external_key(kms).await;
    let key = &created.id.into();
    let mut ids = Vec::new();
    for (name, wrapping, expected) in [
        (
            "RSA_AES_KEY_WRAP_SHA_1",
            ImportWrapping::RsaAes(OaepHash::Sha1),
            "in-token",
        ),
        (
            "RSA_AES_KEY_WRAP_SHA_256",
            ImportWrapping::RsaAes(OaepHash::Sha256),
            "in-module-process",
        ),
    ] {
        let method = WrappingMethod::named(name, "RSA_2048").expect("a method");
        let made = kms.parameters_for_import(key, method, &caller()).await;
        let parameters = made.expect("parameters");
        let new = NewMaterial {
            encrypted: wrap_for_import(&parameters.public_key, wrapping, &[7; 32]),
            ..material(&parameters, 7)
        };
        let imported = kms.import_key_material(key, new, &caller()).await;
        ids.push(imported.expect("it is imported").1);
        assert_eq!(known(kms, key).await[0].unwrapped(), expected);
    }
    assert_eq!(ids[0], ids[1], "it is the same material");
    let message = [
        b"strongroom/key-material/v1\0".as_slice(),
        created.id.as_bytes(),
    ]
    .concat();
    let outside = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[7; 32]);
    let expected = aws_lc_rs::hmac::sign(&outside, &message);
    assert_eq!(ids[0].as_bytes(), expected.as_ref());
    let blob = encrypted(kms, key).await.expect("it may be used");
    opens(kms, &blob).await.expect("it opens");
}
