//! A tier in a directory: what lies there, what outlives the process, and what is found damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use sha2::{Digest as _, Sha256};
use strongroom_environment::SimulatedClock;
use strongroom_lifecycle::cold::{
    ArchiveId, ColdError, ColdTier, DirectoryTier, Holding, OpenError, TierSettings,
};
use strongroom_lifecycle::{RetrievalTier, StorageClass};

use crate::suite::{HOUR, archive, clock, parts_of, read_all, wait};

/// A directory tier with one archive of two parts in it.
async fn directory_with_archive(
    directory: &Path,
    clock: &Arc<SimulatedClock>,
) -> (ArchiveId, PathBuf) {
    let id = ArchiveId([0xab; 16]);
    let tier = open(directory, clock);
    archive(
        &tier,
        clock,
        id,
        StorageClass::Glacier,
        &parts_of(&[100, 50]),
    )
    .await;
    (id, directory.join("archives/ab").join(id.to_string()))
}

fn open(directory: &Path, clock: &Arc<SimulatedClock>) -> DirectoryTier {
    DirectoryTier::open(directory, TierSettings::default(), clock.clone()).expect("it opens")
}

#[tokio::test]
async fn a_directory_outlives_its_process() {
    let clock = clock();
    let directory = tempfile::tempdir().expect("there is room");
    let (id, _) = directory_with_archive(directory.path(), &clock).await;
    {
        let tier = open(directory.path(), &clock);
        tier.request_retrieval(id, StorageClass::Glacier, RetrievalTier::Standard)
            .await
            .expect("it is there");
    }
    // What a crash leaves behind is cleared away.
    let unfinished = directory.path().join("incoming/00.7");
    fs::create_dir(&unfinished).expect("there is room");
    fs::write(unfinished.join("payload"), b"half").expect("there is room");
    let tier = open(directory.path(), &clock);
    assert!(!unfinished.exists());
    let Holding::Durable(description) = tier.lookup(id).await.expect("it answers") else {
        panic!("the archive was lost");
    };
    let time = wait(&tier, &clock, id).await;
    assert!((HOUR * 3..=HOUR * 5).contains(&time), "{time:?}");
    assert_eq!(
        read_all(&tier, id, &description).await,
        parts_of(&[100, 50])
    );
    // An archive that was taken away while its retrieval stayed is gone all the same.
    tier.expire(id).await.expect("it is there");
    drop(tier);
    let tier = open(directory.path(), &clock);
    assert_eq!(tier.lookup(id).await.expect("it answers"), Holding::Absent);
    assert!(matches!(
        tier.poll(id).await,
        Err(ColdError::NotFound { .. })
    ));
}

#[tokio::test]
async fn damage_to_a_directory_is_found() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("a payload that ends early", |place| {
            let payload = fs::read(place.join("payload")).expect("it is there");
            fs::write(place.join("payload"), &payload[..149]).expect("there is room");
        }),
        ("a payload that is missing", |place| {
            fs::remove_file(place.join("payload")).expect("it is there");
        }),
        ("a manifest that is missing", |place| {
            fs::remove_file(place.join("manifest.json")).expect("it is there");
        }),
        ("a manifest with a changed byte", |place| {
            let manifest = fs::read_to_string(place.join("manifest.json")).expect("it is there");
            fs::write(
                place.join("manifest.json"),
                manifest.replace("GLACIER", "GLACIEE"),
            )
            .expect("there is room");
        }),
        ("sums that are missing", |place| {
            fs::remove_file(place.join("SHA256SUMS")).expect("it is there");
        }),
        ("another archive in its place", |place| {
            for name in ["manifest.json", "SHA256SUMS"] {
                let text = fs::read_to_string(place.join(name)).expect("it is there");
                fs::write(
                    place.join(name),
                    text.replace(&"ab".repeat(16), &"cd".repeat(16)),
                )
                .expect("there is room");
            }
            let manifest = fs::read(place.join("manifest.json")).expect("it is there");
            let sums = fs::read_to_string(place.join("SHA256SUMS")).expect("it is there");
            let payload = sums
                .lines()
                .next()
                .expect("it names the payload")
                .to_owned();
            let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&manifest));
            fs::write(
                place.join("SHA256SUMS"),
                format!("{payload}\n{digest}  manifest.json\n"),
            )
            .expect("there is room");
        }),
    ];
    for (what, damage) in damages {
        let clock = clock();
        let directory = tempfile::tempdir().expect("there is room");
        let (id, place) = directory_with_archive(directory.path(), &clock).await;
        damage(&place);
        let tier = open(directory.path(), &clock);
        let found = tier.lookup(id).await;
        assert!(
            matches!(found, Err(ColdError::Damaged { archive, .. }) if archive == id),
            "{what}: {found:?}"
        );
        assert!(!found.expect_err("it is damaged").is_passing());
    }
}

#[tokio::test]
async fn a_changed_byte_of_a_payload_shows_in_the_digest() {
    let clock = clock();
    let directory = tempfile::tempdir().expect("there is room");
    let (id, place) = directory_with_archive(directory.path(), &clock).await;
    let mut payload = fs::read(place.join("payload")).expect("it is there");
    payload[120] ^= 1;
    fs::write(place.join("payload"), &payload).expect("there is room");
    let tier = open(directory.path(), &clock);
    tier.request_retrieval(id, StorageClass::Glacier, RetrievalTier::Expedited)
        .await
        .expect("it is there");
    wait(&tier, &clock, id).await;
    let Holding::Durable(description) = tier.lookup(id).await.expect("it answers") else {
        panic!("the archive was lost");
    };
    let digest = async |part: usize, len| {
        let bytes = tier
            .read(id, part, 0, BytesMut::zeroed(len))
            .await
            .expect("it is retrieved");
        <[u8; 32]>::from(Sha256::digest(&bytes))
    };
    assert_eq!(digest(0, 100).await, description.parts[0].sha256);
    assert_ne!(digest(1, 50).await, description.parts[1].sha256);
}

#[tokio::test]
async fn the_sums_are_those_of_sha256sum() {
    let clock = clock();
    let directory = tempfile::tempdir().expect("there is room");
    let (_, place) = directory_with_archive(directory.path(), &clock).await;
    let checked = std::process::Command::new("sha256sum")
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(&place)
        .output()
        .expect("sha256sum is part of every such system");
    assert!(checked.status.success(), "{checked:?}");
}

#[tokio::test]
async fn a_directory_is_opened_once_and_only_if_it_is_a_tier() {
    let clock = clock();
    let open = |path: &Path| DirectoryTier::open(path, TierSettings::default(), clock.clone());
    let directory = tempfile::tempdir().expect("there is room");
    let tier = open(directory.path()).expect("it opens");
    assert!(matches!(
        open(directory.path()),
        Err(OpenError::InUse { .. })
    ));
    drop(tier);
    open(directory.path()).expect("it opens again");

    let foreign = tempfile::tempdir().expect("there is room");
    fs::write(foreign.path().join("letters.txt"), b"dear").expect("there is room");
    assert!(matches!(
        open(foreign.path()),
        Err(OpenError::Format { .. })
    ));
    assert!(foreign.path().join("letters.txt").exists());

    let later = tempfile::tempdir().expect("there is room");
    fs::write(
        later.path().join("strongroom-cold-tier"),
        b"strongroom-cold-tier/v2\n",
    )
    .expect("there is room");
    assert!(matches!(open(later.path()), Err(OpenError::Format { .. })));

    // A marker cut short by a crash is made whole.
    let cut = tempfile::tempdir().expect("there is room");
    fs::write(cut.path().join("strongroom-cold-tier"), b"strong").expect("there is room");
    open(cut.path()).expect("it opens");
}
