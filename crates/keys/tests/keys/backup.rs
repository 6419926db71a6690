//! Keys backed up for another token, proved there, and taken over by it.

use std::sync::Arc;

use strongroom_audit::MemoryLog;
use strongroom_environment::SystemEntropy;
use strongroom_keys::{
    Backup, BackupPage, Caller, EncryptionContext, KeyError, KeyLimits, KeyReference, KeyService,
    KeySpec, Kms, NewKey, Protection, SignedMessage, SigningAlgorithm, drill_backup,
    ensure_escrow_key, ensure_token_keys, restore_backup,
};
use strongroom_meta::{CommitFault, MetaStore, Table};
use strongroom_pkcs11::{MemoryToken, TokenError, TokenFunction};
use strongroom_testkit::FaultyToken;

use crate::imports::{external_key, import, import_new};
use crate::world::{Ground, World, as_user, by_kms_key, caller, object};

/// A service, and a token that can take its keys over.
struct Story {
    world: World,
    escrow: Arc<MemoryToken>,
    recipient: Vec<u8>,
}

impl Story {
    async fn new() -> Self {
        let escrow = Arc::new(MemoryToken::new());
        let recipient = ensure_escrow_key(&*escrow).await.expect("an escrow key");
        let again = ensure_escrow_key(&*escrow).await.expect("it is there");
        assert_eq!(again, recipient);
        Self {
            world: World::new().await,
            escrow,
            recipient,
        }
    }

    fn kms(&self) -> &Arc<Kms> {
        &self.world.service.kms
    }

    async fn backup(&self) -> Vec<BackupPage> {
        let id = Backup::new_id(&SystemEntropy);
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = self
                .kms()
                .backup_page(&self.recipient, &id, after.as_deref(), &caller())
                .await
                .expect("a page");
            after = page.next.clone();
            pages.push(page);
            if after.is_none() {
                return pages;
            }
        }
    }

    fn verified(&self, pages: &[BackupPage]) -> Backup {
        Backup::verify(pages, &MemoryLog::verifier_key()).expect("it is whole")
    }

    /// The service on the rows and the log, with the token that has taken the keys over.
    async fn started(&self) -> Result<KeyService, KeyError> {
        let ground = Ground {
            token: FaultyToken::new(Arc::clone(&self.escrow) as _),
            ..self.world.ground.clone()
        };
        ground.start(KeyLimits::default()).await
    }
}

async fn special(kms: &Kms, spec: &str, usage: &str) -> KeyReference {
    let new = NewKey {
        spec: KeySpec::named(spec, usage).expect("a spec"),
        ..NewKey::default()
    };
    kms.create_key(new, &caller())
        .await
        .expect("a key")
        .id
        .into()
}

#[tokio::test]
async fn another_token_takes_everything_over() {
    let story = Story::new().await;
    let (kms, keys) = (story.kms(), &story.world.service.objects);
    let who = &caller();
    let empty = &EncryptionContext::empty();
    let rotated = story.world.kms_key().await;
    let mut written = Vec::new();
    for protection in [
        by_kms_key(&rotated, false),
        by_kms_key(&rotated, true),
        Protection::Managed,
    ] {
        let name = object("bucket", "key");
        let made = keys.create(&protection, &name, who).await;
        let (data_key, envelope) = made.expect("a data key");
        written.push((name, envelope, data_key));
    }
    kms.rotate_key(&rotated.id.into(), who)
        .await
        .expect("rotated");
    let brought = external_key(kms).await;
    import(&story.world, &brought.id.into(), 7).await;
    let waits = external_key(kms).await;
    let mac_key = special(kms, "HMAC_384", "GENERATE_VERIFY_MAC").await;
    let pair = special(kms, "ECC_NIST_P256", "SIGN_VERIFY").await;
    let decrypts = special(kms, "RSA_2048", "ENCRYPT_DECRYPT").await;
    let blob = kms.encrypt(&brought.id.into(), empty, b"text", who).await;
    let blob = blob.expect("a ciphertext").blob.to_bytes();
    let mac = kms.generate_mac(&mac_key, "HMAC_SHA_384", b"m", who).await;
    let mac = mac.expect("a MAC").1;
    let for_pair = kms
        .encrypt_by_pair(&decrypts, "RSAES_OAEP_SHA_256", b"p", who)
        .await;
    let for_pair = for_pair.expect("a ciphertext").1;
    let doomed = story.world.kms_key().await;
    let scheduled = kms.schedule_key_deletion(&doomed.id.into(), 7, who).await;
    scheduled.expect("it is in it all the same");

    let pages = story.backup().await;
    let backup = story.verified(&pages);
    // The two keys of the service; two versions, and one each of the others but the one that waits.
    assert_eq!(backup.versions(), 2 + 2 + 1 + 3 + 1);
    let drill = drill_backup(&*story.escrow, &backup)
        .await
        .expect("a drill");
    assert!(drill.passed(), "{drill:?}");
    assert_eq!(drill.keys.len(), backup.versions());
    let nobody = MemoryToken::new();
    assert!(drill_backup(&nobody, &backup).await.is_err());
    ensure_escrow_key(&nobody).await.expect("another one");
    let error = drill_backup(&nobody, &backup)
        .await
        .expect_err("not for it");
    assert_eq!(error.code(), "invalid-request");

    // What comes later is lost with the token.
    let late = story.world.kms_key().await;
    let meta: Arc<dyn MetaStore> = Arc::clone(&story.world.meta) as _;
    ensure_token_keys(&*story.escrow).await.expect("root keys");
    let before = story.started().await;
    before.expect_err("the rows are of another token");
    let report = restore_backup(&*story.escrow, &meta, &backup).await;
    let report = report.expect("it is restored");
    assert_eq!(report.restored, backup.versions());
    assert_eq!(report.lost, [format!("{}/1", late.id)]);
    assert!(report.not_needed.is_empty() && report.failed.is_empty());

    let service = story.started().await.expect("it starts");
    for (name, envelope, data_key) in &written {
        let opened = service.objects.open(envelope, name, None, who).await;
        assert_eq!(opened.expect("it opens").expose(), data_key.expose());
    }
    let kms = &service.kms;
    let opened = kms.decrypt(&blob, empty, None, who).await;
    assert_eq!(*opened.expect("it opens").plaintext, b"text");
    kms.verify_mac(&mac_key, "HMAC_SHA_384", b"m", &mac, who)
        .await
        .expect("the same key");
    let opened = kms
        .decrypt_by_pair(&decrypts, "RSAES_OAEP_SHA_256", &for_pair, who)
        .await;
    assert_eq!(*opened.expect("the same pair").1, b"p");
    let algorithm = SigningAlgorithm::named("ECDSA_SHA_256").expect("an algorithm");
    let message = SignedMessage::Raw(b"m");
    let signed = kms.sign(&pair, algorithm, message, who).await;
    let signature = signed.expect("a signature").1;
    kms.verify(&pair, algorithm, message, &signature, who)
        .await
        .expect("the same pair");
    let lost = kms.encrypt(&late.id.into(), empty, b"x", who).await;
    assert_eq!(lost.expect_err("it is lost").code(), "damaged");
    let waiting = kms.encrypt(&waits.id.into(), empty, b"x", who).await;
    assert_eq!(waiting.expect_err("it waits").code(), "pending-import");
    kms.rotate_key(&rotated.id.into(), who)
        .await
        .expect("it goes on");
}

#[tokio::test]
async fn a_restore_that_is_cut_short_is_done_again() {
    for (fault, commits) in [
        (CommitFault::Full, 0),
        (CommitFault::UnknownApplied, 0),
        (CommitFault::UnknownNotApplied, 1),
        (CommitFault::UnknownApplied, 1),
    ] {
        let story = Story::new().await;
        let key = story.world.kms_key().await;
        let empty = &EncryptionContext::empty();
        let blob = story
            .kms()
            .encrypt(&key.id.into(), empty, b"text", &caller())
            .await;
        let blob = blob.expect("a ciphertext").blob.to_bytes();
        let backup = story.verified(&story.backup().await);
        ensure_token_keys(&*story.escrow).await.expect("root keys");
        let meta: Arc<dyn MetaStore> = Arc::clone(&story.world.meta) as _;
        story.world.meta.fail_commit(commits, fault);
        let cut_short = restore_backup(&*story.escrow, &meta, &backup).await;
        assert!(cut_short.is_err(), "{fault:?}");
        story.world.meta.reopen();
        let is_done = fault == CommitFault::UnknownApplied && commits == 1;
        assert_eq!(
            story.started().await.is_ok(),
            is_done,
            "{fault:?} {commits}"
        );
        let again = restore_backup(&*story.escrow, &meta, &backup).await;
        assert_eq!(again.expect("it is restored").restored, 3);
        let service = story.started().await.expect("it starts");
        let opened = service.kms.decrypt(&blob, empty, None, &caller()).await;
        assert_eq!(*opened.expect("it opens").plaintext, b"text");
    }
}

#[tokio::test]
async fn many_keys_have_many_pages_and_none_may_be_missing() {
    let story = Story::new().await;
    for _ in 0..205 {
        story.world.kms_key().await;
    }
    let pages = story.backup().await;
    assert_eq!(pages.len(), 3);
    let vkey = &MemoryLog::verifier_key();
    assert_eq!(story.verified(&pages).versions(), 207);
    let refused = |pages: &[BackupPage]| {
        Backup::verify(pages, vkey).expect_err("it is not whole");
    };
    refused(&[]);
    refused(&pages[..2]);
    refused(&pages[1..]);
    refused(&[pages[0].clone(), pages[2].clone()]);
    refused(&[
        pages[0].clone(),
        pages[0].clone(),
        pages[1].clone(),
        pages[2].clone(),
    ]);
    refused(&[pages[1].clone(), pages[0].clone(), pages[2].clone()]);
    let other = story.backup().await;
    refused(&[pages[0].clone(), pages[1].clone(), other[2].clone()]);
    for change in [
        |page: &mut BackupPage| page.note = page.note.replace("enabled", "disabled"),
        |page: &mut BackupPage| page.entry = page.entry.replace("granted", "refused"),
        |page: &mut BackupPage| page.proof.clear(),
    ] {
        let mut pages = pages.clone();
        change(&mut pages[1]);
        refused(&pages);
    }
    let mut pages = pages.clone();
    (pages[0].entry, pages[0].proof) = (pages[1].entry.clone(), pages[1].proof.clone());
    refused(&pages);
    let stranger = "example.com/log+00000000+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert!(Backup::verify(&other, stranger).is_err());
}

#[tokio::test]
async fn a_backup_is_on_the_log_and_for_administrators() {
    let story = Story::new().await;
    let key = story.world.kms_key().await;
    let id = Backup::new_id(&SystemEntropy);
    let kms = story.kms();
    let by = async |backup: &str, after: Option<&str>, who: &Caller| {
        let page = kms.backup_page(&story.recipient, backup, after, who).await;
        page.map_or_else(|error| error.code(), |_| "ok")
    };
    assert_eq!(by(&id, None, &as_user()).await, "access-denied");
    assert_eq!(by("nonsense", None, &caller()).await, "invalid-request");
    assert_eq!(
        by(&id, Some("nonsense"), &caller()).await,
        "invalid-reference"
    );
    let none = kms.backup_page(b"no key", &id, None, &caller()).await;
    assert_eq!(none.expect_err("it is no key").code(), "token-unavailable");
    assert_eq!(by(&id, None, &caller()).await, "ok");
    let told: Vec<serde_json::Value> = story
        .world
        .entries_since(0)
        .into_iter()
        .filter(|entry| {
            let act = entry["use"].as_str().expect("a word");
            act.starts_with("backup-keys")
        })
        .collect();
    let outcomes: Vec<&str> = told
        .iter()
        .map(|entry| entry["outcome"].as_str().expect("a word"))
        .collect();
    assert_eq!(
        outcomes,
        ["refused", "refused", "refused", "failed", "granted"]
    );
    let named = told[4]["detail"]["keys"].as_array().expect("a list");
    assert!(named.contains(&format!("{}/1", key.id).into()));
    assert_eq!(named.len(), 3);
}

#[tokio::test]
async fn a_version_that_was_lost_keeps_no_other_out_of_a_backup() {
    let story = Story::new().await;
    let (sound, damaged) = (story.world.kms_key().await, story.world.kms_key().await);
    let table = Table::new("kms_key_versions");
    let rows = story.world.rows_of(table).await;
    let row = rows
        .iter()
        .find(|row| row.key.starts_with(damaged.id.as_bytes()))
        .expect("its row");
    let mut value = row.row.value.to_vec();
    value[45] ^= 1;
    story.world.set(table, &row.key, Some(&value)).await;
    let kms = story.world.restarted().await.expect("it starts").kms;
    let id = Backup::new_id(&SystemEntropy);
    let page = kms
        .backup_page(&story.recipient, &id, None, &caller())
        .await;
    let backup = story.verified(&[page.expect("a page")]);
    let left_out: Vec<&str> = backup.left_out().collect();
    assert_eq!(left_out, [format!("{}/1", damaged.id)]);
    let drilled = drill_backup(&*story.escrow, &backup)
        .await
        .expect("a drill");
    let of = |id: &str| drilled.keys.iter().any(|one| one.version.starts_with(id));
    assert!(of(&sound.id.to_string()) && !of(&damaged.id.to_string()));
    let entries = story.world.entries_since(0);
    assert_eq!(
        entries.last().expect("its entry")["detail"]["left_out"][0],
        left_out[0]
    );
}

#[tokio::test]
async fn material_that_took_the_number_of_another_is_not_mixed_up_with_it() {
    let story = Story::new().await;
    let (world, kms) = (&story.world, story.kms());
    let key: KeyReference = external_key(kms).await.id.into();
    import(world, &key, 1).await;
    let first = import_new(world, &key, 2).await;
    let backup = story.verified(&story.backup().await);
    kms.delete_imported_key_material(&key, Some(first), &caller())
        .await
        .expect("deleted");
    let second = import_new(world, &key, 3).await;
    assert_ne!(first, second);
    kms.rotate_key(&key, &caller()).await.expect("rotated");
    // What is encrypted now is under the material that is there, also after a start.
    let context = EncryptionContext::empty();
    let made = kms.encrypt(&key, &context, b"text", &caller()).await;
    let blob = made.expect("encrypted").blob.to_bytes();
    let service = world.restarted().await.expect("it starts");
    let opened = service.kms.decrypt(&blob, &context, None, &caller()).await;
    assert_eq!(*opened.expect("it opens").plaintext, b"text");
    // A restore does not put the former one in its place.
    ensure_token_keys(&*story.escrow)
        .await
        .expect("keys of its own");
    let meta = Arc::clone(&world.ground.meta) as Arc<dyn MetaStore>;
    let report = restore_backup(&*story.escrow, &meta, &backup).await;
    let failed = report.expect("restored").failed;
    assert!(failed.len() == 1 && failed[0].ends_with("/2"), "{failed:?}");
}

#[tokio::test]
async fn a_drill_on_a_token_that_fails_is_no_verdict() {
    let story = Story::new().await;
    let backup = story.verified(&story.backup().await);
    let token = FaultyToken::new(Arc::clone(&story.escrow) as _);
    token.take_down(TokenError::Unavailable {
        reason: "unplugged".into(),
    });
    let error = drill_backup(&*token, &backup)
        .await
        .expect_err("no verdict");
    assert!(matches!(error, KeyError::TokenUnavailable(_)));
    token.heal();
    let drill = drill_backup(&*token, &backup).await.expect("a drill");
    assert!(drill.passed());
}

#[tokio::test]
async fn one_version_that_is_not_sound_keeps_no_other_from_being_taken_over() {
    let story = Story::new().await;
    story.world.kms_key().await;
    let backup = story.verified(&story.backup().await);
    let token = FaultyToken::new(Arc::clone(&story.escrow) as _);
    ensure_token_keys(&*token).await.expect("root keys");
    // The page as a whole, and then the first of its versions.
    let is_damaged = || {
        for _ in 0..2 {
            token.fail_next(TokenFunction::TakeOver, TokenError::NotAuthentic);
        }
    };
    is_damaged();
    let drill = drill_backup(&*token, &backup).await.expect("a drill");
    let failures: Vec<bool> = drill.keys.iter().map(|key| key.failure.is_some()).collect();
    assert_eq!(failures, [true, false, false]);
    is_damaged();
    let meta: Arc<dyn MetaStore> = Arc::clone(&story.world.meta) as _;
    let report = restore_backup(&*token, &meta, &backup).await;
    let report = report.expect("the others are restored");
    assert_eq!((report.restored, report.failed.len()), (2, 1));
    assert!(report.lost.is_empty());
}
