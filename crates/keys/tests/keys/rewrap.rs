//! Old and compromised versions: what is under them is wrapped anew.

use strongroom_keys::{
    KeyEnvelope, KeyError, KeyState, KeyVersion, LedgerKey, ObjectKeys, ObjectName,
    ProtectedVersion, Protection, RewrapJob, RewrapLevel, RewrapState, VersionState,
};
use strongroom_meta::Batch;

use crate::world::{World, by_kms_key, caller, object, weight};

/// An object version under a key, and its data key.
struct Kept {
    name: ObjectName,
    envelope: KeyEnvelope,
    data_key: Vec<u8>,
}

async fn keep(world: &World, protection: &Protection, bucket: &str) -> Kept {
    let keys = &world.service.objects;
    let name = object(bucket, "key");
    let created = keys.create(protection, &name, &caller()).await;
    let (data_key, envelope) = created.expect("a data key");
    let version = ProtectedVersion {
        object: name.clone(),
        sequence: 1,
    };
    let mut batch = Batch::new();
    keys.record(&mut batch, &envelope, &version, weight(1, "STANDARD"));
    world.commit(batch).await;
    Kept {
        name,
        envelope,
        data_key: data_key.expose().to_vec(),
    }
}

async fn opens(world: &World, kept: &Kept, envelope: &KeyEnvelope) {
    let keys = &world.service.objects;
    let opened = keys.open(envelope, &kept.name, None, &caller()).await;
    assert_eq!(opened.expect("it opens").expose().as_slice(), kept.data_key);
}

async fn job(world: &World, version: u32) -> RewrapJob {
    let jobs = world.service.objects.rewrap_jobs().await.expect("jobs");
    let mut jobs = jobs.into_iter();
    jobs.find(|job| job.version == KeyVersion(version))
        .expect("it was asked for")
}

/// The key versions that protect anything now, and how many object versions.
async fn under(world: &World, key: strongroom_keys::KeyId) -> Vec<(u32, u64)> {
    let part = world
        .service
        .objects
        .impact(LedgerKey::KmsKey(key), None, 1_000);
    let mut sums = std::collections::BTreeMap::new();
    for (group, tally) in part.await.expect("a part").groups {
        *sums
            .entry(group.key_version.expect("a version").0)
            .or_default() += tally.versions;
    }
    sums.into_iter().collect()
}

#[tokio::test]
async fn bucket_keys_are_sealed_anew_and_no_envelope_changes() {
    let world = World::new().await;
    let (kms, keys, who) = (&world.service.kms, &world.service.objects, &caller());
    let key = world.kms_key().await;
    let reference = &key.id.into();
    let through = keep(&world, &by_kms_key(&key, true), "bucket").await;
    let direct = keep(&world, &by_kms_key(&key, false), "bucket").await;
    kms.rotate_key(reference, who).await.expect("rotated");
    let asked = kms.rewrap_versions(reference, None, who).await;
    assert_eq!(asked.expect("asked"), [KeyVersion(1)]);
    let job = job(&world, 1).await;
    assert_eq!(job.progress.level, RewrapLevel::BucketKeys);

    let scope = keys.rewrap_scope(&job).await.expect("a scope");
    assert!(scope.is_due(&direct.envelope) && !scope.is_due(&through.envelope));
    let entries = keys.rewrap_entries(&scope, &[], 10).await.expect("entries");
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].version.object, direct.name);
    let found = keys.bucket_keys_to_reseal(&scope, None, 10).await;
    let [id] = found.expect("ids")[..] else {
        panic!("one bucket key");
    };
    assert!(keys.reseal_bucket_key(id, who).await.expect("sealed anew"));
    assert!(!keys.reseal_bucket_key(id, who).await.expect("as it is"));
    let found = keys.bucket_keys_to_reseal(&scope, None, 10).await;
    assert!(found.expect("none").is_empty());
    assert_eq!(under(&world, key.id).await, [(1, 1), (2, 1)]);

    // The envelope names the version it was made under, and opens; also in another process.
    opens(&world, &through, &through.envelope).await;
    let restarted = world.restarted().await.expect("it starts");
    let opened = restarted
        .objects
        .open(&through.envelope, &through.name, None, who);
    assert_eq!(
        opened.await.expect("it opens").expose().as_slice(),
        through.data_key
    );
    let chain = keys.chain_of(&through.envelope).await.expect("a chain");
    assert!(
        format!("{chain:?}").contains("version: KeyVersion(2)"),
        "{chain:?}"
    );
    let listed = keys.bucket_keys_of(key.id, None, 10).await.expect("a page");
    assert_eq!(listed.items[0].version, KeyVersion(2));
    let page = keys.versions_of(LedgerKey::BucketKey(id), None, 10).await;
    assert_eq!(page.expect("a page").items.len(), 1);

    let of = [(&direct.envelope, direct.name.clone())];
    let wrapped = keys.rewrap_batch(&scope, &of, who).await.expect("a batch");
    let [Ok(wrapped)] = &wrapped[..] else {
        panic!("it is wrapped");
    };
    assert!(!scope.is_due(wrapped));
    opens(&world, &direct, wrapped).await;
    opens(&world, &direct, &direct.envelope).await;
}

#[tokio::test]
async fn a_compromised_version_decrypts_only_and_bucket_keys_are_in_doubt_with_it() {
    let world = World::new().await;
    let (kms, keys, who) = (&world.service.kms, &world.service.objects, &caller());
    let key = world.kms_key().await;
    let reference = &key.id.into();
    let first = keep(&world, &by_kms_key(&key, true), "bucket").await;
    let before = world.entry_count();
    let marked = kms.compromise_version(reference, None, "it was seen", who);
    let marked = marked.await.expect("marked");
    assert_eq!(marked.current_version, KeyVersion(2));
    let entries = world.entries_since(before);
    let [entry] = &entries[..] else {
        panic!("{entries:#?}");
    };
    assert_eq!(entry["use"], "compromise-key-version");
    assert_eq!(entry["key"]["version"], 1);
    let expected = serde_json::json!({ "reason": "it was seen", "current_version": 2 });
    assert_eq!(entry["detail"], expected);

    let states = async || -> Vec<VersionState> {
        let page = kms.key_versions(reference, None, 10).await.expect("a page");
        page.items.iter().map(|version| version.state).collect()
    };
    let [VersionState::Compromised { date }, VersionState::Active] = states().await[..] else {
        panic!("{:?}", states().await);
    };
    opens(&world, &first, &first.envelope).await;
    let second = keep(&world, &by_kms_key(&key, true), "bucket").await;
    let job = job(&world, 1).await;
    assert_eq!(job.progress.level, RewrapLevel::DataKeys);
    assert_eq!(job.progress.state, RewrapState::UnderWay);
    let scope = keys.rewrap_scope(&job).await.expect("a scope");
    assert!(scope.is_due(&first.envelope) && !scope.is_due(&second.envelope));
    assert_eq!(keys.rewrap_count(&scope).await.expect("a count"), 1);
    let none = keys.bucket_keys_to_reseal(&scope, None, 10).await;
    assert!(none.expect("none").is_empty());
    let of = [(&first.envelope, first.name.clone())];
    let before = world.entry_count();
    let wrapped = keys.rewrap_batch(&scope, &of, who).await.expect("a batch");
    let entries = world.entries_since(before);
    let entry = entries.last().expect("an entry");
    assert_eq!(entry["use"], "rewrap-batch");
    assert_eq!(entry["from_key"]["version"], 1);
    assert_eq!(entry["key"]["version"], 2);
    assert_eq!(entry["detail"]["object_versions"], 1);
    opens(&world, &first, wrapped[0].as_ref().expect("wrapped")).await;

    // The older version is marked without a rotation, and a disabled key can be marked.
    kms.disable_key(reference, who).await.expect("disabled");
    let again = kms.compromise_version(reference, Some(KeyVersion(1)), "again", who);
    let again = again.await.expect("marked");
    assert_eq!(
        (again.current_version, again.state),
        (KeyVersion(2), KeyState::Disabled)
    );
    let refused = keys.rewrap_batch(&scope, &of, who).await;
    assert!(
        matches!(refused, Err(KeyError::Disabled { .. })),
        "{refused:?}"
    );

    kms.schedule_key_deletion(reference, 7, who)
        .await
        .expect("scheduled");
    let refused = kms.compromise_version(reference, None, "", who).await;
    assert!(matches!(refused, Err(KeyError::PendingDeletion { .. })));
    world.clock.pass(std::time::Duration::from_secs(7 * 86_400));
    kms.run_due(who).await.expect("a run");
    let [gone, other] = states().await[..] else {
        panic!("two versions");
    };
    assert!(matches!(
        gone,
        VersionState::Destroyed {
            was_compromised: true,
            ..
        }
    ));
    assert!(matches!(
        other,
        VersionState::Destroyed {
            was_compromised: false,
            ..
        }
    ));
    assert!(date < strongroom_environment::Clock::now(&*world.clock));
}

#[tokio::test]
async fn a_bucket_key_that_was_sealed_under_a_compromised_version_is_in_doubt_wherever_it_is_now() {
    let world = World::new().await;
    let (kms, keys, who) = (&world.service.kms, &world.service.objects, &caller());
    let key = world.kms_key().await;
    let reference = &key.id.into();
    let kept = keep(&world, &by_kms_key(&key, true), "bucket").await;
    // From 1 to 2, and from 2 to 3.
    for last in [1, 2] {
        kms.rotate_key(reference, who).await.expect("rotated");
        kms.rewrap_versions(reference, Some(KeyVersion(last)), who)
            .await
            .expect("asked");
        let scope = keys
            .rewrap_scope(&job(&world, last).await)
            .await
            .expect("a scope");
        for id in keys
            .bucket_keys_to_reseal(&scope, None, 10)
            .await
            .expect("ids")
        {
            assert!(keys.reseal_bucket_key(id, who).await.expect("sealed anew"));
        }
    }
    assert_eq!(under(&world, key.id).await, [(3, 1)]);
    let other = keep(&world, &by_kms_key(&key, true), "bucket").await;
    for version in [1, 2, 3] {
        let marked = kms.compromise_version(reference, Some(KeyVersion(version)), "", who);
        marked.await.expect("marked");
        let scope = keys
            .rewrap_scope(&job(&world, version).await)
            .await
            .expect("a scope");
        assert!(scope.is_due(&kept.envelope), "{version}");
        assert_eq!(scope.is_due(&other.envelope), version == 3);
        let entries = keys.rewrap_entries(&scope, &[], 10).await.expect("entries");
        assert_eq!(entries.len(), if version == 3 { 2 } else { 1 });
        // In pages of one, from row to row.
        let (mut after, mut seen) = (Vec::new(), Vec::new());
        while let Some(entry) = keys
            .rewrap_entries(&scope, &after, 1)
            .await
            .expect("one")
            .pop()
        {
            after = entry.place.clone();
            seen.push(entry);
        }
        assert_eq!(seen, entries);
    }
}

#[tokio::test]
async fn what_cannot_be_given_up_is_refused() {
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    let key = world.kms_key().await;
    let reference = &key.id.into();
    for version in [0, 2, u32::MAX] {
        let version = Some(KeyVersion(version));
        let refused = kms.compromise_version(reference, version, "", who).await;
        assert!(matches!(refused, Err(KeyError::NoSuchKeyVersion { .. })));
        let refused = kms.rewrap_versions(reference, version, who).await;
        assert!(matches!(refused, Err(KeyError::NoSuchKeyVersion { .. })));
    }
    let long = "x".repeat(1_001);
    let refused = kms.compromise_version(reference, None, &long, who).await;
    assert!(matches!(refused, Err(KeyError::InvalidRequest { .. })));
    let refused = kms
        .rewrap_versions(reference, Some(KeyVersion(1)), who)
        .await;
    assert!(matches!(refused, Err(KeyError::InvalidRequest { .. })));
    assert!(kms.rewraps(reference).await.expect("none").is_empty());
    let versions = kms.key_versions(reference, None, 10).await.expect("a page");
    assert_eq!(versions.items.len(), 1);

    // The service's key of objects can be given up, and its own secrets' key cannot.
    let managed = strongroom_keys::KeyReference::managed();
    let marked = kms.compromise_version(&managed, None, "", who).await;
    assert_eq!(marked.expect("marked").current_version, KeyVersion(2));
    let mut batch = Batch::new();
    let mut done = kms.rewraps(&managed).await.expect("a job").remove(0);
    done.progress.versions = 7;
    ObjectKeys::put_rewrap(&mut batch, &done);
    world.commit(batch).await;
    assert_eq!(kms.rewraps(&managed).await.expect("a job"), [done]);
}
