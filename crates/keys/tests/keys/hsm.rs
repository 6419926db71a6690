//! The service on a real PKCS#11 module in a process of its own.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use strongroom_audit::CheckpointSigner;
use strongroom_keys::{
    EncryptionContext, KeyError, KeyLimits, Protection, TokenSigner, ensure_token_keys,
};
use strongroom_pkcs11::HsmToken;
use strongroom_testkit::{FaultyToken, SoftHsm};
use tokio::task::JoinSet;

use crate::world::{
    Ground, World, by_customer_key, by_kms_key, caller, context, customer_key, object,
};

async fn world_on(token: &Arc<HsmToken>) -> World {
    World::on(Arc::clone(token) as _, KeyLimits::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_works_and_is_there_after_a_restart_of_everything() {
    let hsm = SoftHsm::new().await;
    let token = hsm.start().await.expect("it starts");
    let world = world_on(&token).await;
    let (kms, keys) = (&world.service.kms, &world.service.objects);
    kms.health().await.expect("well");
    let key = world.kms_key().await;
    let mut kept = Vec::new();
    for protection in [
        by_customer_key(1),
        by_kms_key(&key, false),
        by_kms_key(&key, true),
        Protection::Managed,
    ] {
        let name = object("bucket", "key");
        let created = keys.create(&protection, &name, &caller()).await;
        let (data_key, envelope) = created.expect("a data key");
        kept.push((name, envelope, data_key));
    }
    let pairs = context(&[("a", "b")]);
    let encrypted = kms
        .encrypt(&key.id.into(), &pairs, &[7; 4_096], &caller())
        .await;
    let blob = encrypted.expect("a ciphertext").blob.to_bytes();
    let public_key = TokenSigner::open(Arc::clone(&token) as _).await;
    let public_key = public_key.expect("a signer").public_key();

    // Another process of the module, another service, the same token and rows.
    let ground = world.ground.clone();
    drop((world, token));
    let token = hsm.start().await.expect("it starts again");
    ensure_token_keys(&*token).await.expect("they are there");
    let ground = Ground {
        token: FaultyToken::new(Arc::clone(&token) as _),
        ..ground
    };
    let service = ground.start(KeyLimits::default()).await.expect("it starts");
    for (name, envelope, data_key) in &kept {
        let with = envelope.needs_customer_key().then(|| customer_key(1));
        let opened = service
            .objects
            .open(envelope, name, with.as_ref(), &caller())
            .await;
        assert_eq!(opened.expect("it opens").expose(), data_key.expose());
    }
    let decrypted = service.kms.decrypt(&blob, &pairs, None, &caller()).await;
    assert_eq!(*decrypted.expect("it opens").plaintext, [7; 4_096]);
    for at in [0, 5, 20, 24, 40, blob.len() - 1] {
        let mut changed = blob.clone();
        changed[at] ^= 1;
        let error = service.kms.decrypt(&changed, &pairs, None, &caller()).await;
        let error = error.expect_err("it was changed");
        assert!(
            matches!(error, KeyError::NotAuthentic | KeyError::NoSuchKey { .. }),
            "{error:?}"
        );
    }
    let error = service
        .kms
        .decrypt(&blob, &EncryptionContext::empty(), None, &caller())
        .await;
    let error = error.expect_err("another context");
    assert!(matches!(error, KeyError::NotAuthentic), "{error:?}");

    let signer = TokenSigner::open(Arc::clone(&token) as _)
        .await
        .expect("a signer");
    assert_eq!(signer.public_key(), public_key);
    let signature = signer.sign(b"a checkpoint").await.expect("a signature");
    let verified = UnparsedPublicKey::new(&ED25519, public_key).verify(b"a checkpoint", &signature);
    verified.expect("it verifies");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_another_token_are_refused() {
    let (mine, other) = (SoftHsm::new().await, SoftHsm::new().await);
    let world = world_on(&mine.start().await.expect("it starts")).await;
    let token = other.start().await.expect("it starts");
    ensure_token_keys(&*token).await.expect("keys on the token");
    let elsewhere = Ground {
        token: FaultyToken::new(token as _),
        ..world.ground.clone()
    };
    let error = elsewhere
        .start(KeyLimits::default())
        .await
        .expect_err("another token's");
    assert!(matches!(error, KeyError::Damaged { .. }), "{error:?}");
}

/// The child that serves, once there is one other than `before`.
async fn next_pid(token: &HsmToken, before: Option<u32>) -> u32 {
    loop {
        match token.pid() {
            Some(pid) if Some(pid) != before => return pid,
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_module_in_the_middle_costs_a_retry_and_no_wrong_answer() {
    const KILLS: u64 = 8;
    let hsm = SoftHsm::new().await;
    let token = hsm.start().await.expect("it starts");
    let world = Arc::new(world_on(&token).await);
    let key = world.kms_key().await;
    let entries = world.entry_count();
    let stop = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicU64::new(0));
    let mut traffic = JoinSet::new();
    for task in 0..8 {
        let (world, key) = (Arc::clone(&world), key.clone());
        let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
        traffic.spawn(async move {
            let (kms, keys) = (&world.service.kms, &world.service.objects);
            while !stop.load(Ordering::Relaxed) {
                let round = rounds.fetch_add(1, Ordering::Relaxed);
                // A bucket of its own each time, so that the token has to work for each.
                let name = object(&format!("bucket-{round}"), "key");
                let protection = by_kms_key(&key, task % 2 == 0);
                let created = keys.create(&protection, &name, &caller()).await;
                let (data_key, envelope) = created.expect("a data key");
                let opened = keys.open(&envelope, &name, None, &caller()).await;
                assert_eq!(opened.expect("it opens").expose(), data_key.expose());
                let mut elsewhere = name.clone();
                elsewhere.key.push('x');
                let opened = keys.open(&envelope, &elsewhere, None, &caller()).await;
                assert!(matches!(opened, Err(KeyError::NotAuthentic)), "{opened:?}");
                let text = round.to_be_bytes();
                let pairs = context(&[("round", &round.to_string())]);
                let encrypted = kms.encrypt(&key.id.into(), &pairs, &text, &caller()).await;
                let blob = encrypted.expect("a ciphertext").blob.to_bytes();
                let decrypted = kms.decrypt(&blob, &pairs, None, &caller()).await;
                assert_eq!(*decrypted.expect("it opens").plaintext, text);
            }
        });
    }
    let mut pid = next_pid(&token, None).await;
    for _ in 0..KILLS {
        let before = rounds.load(Ordering::Relaxed);
        while rounds.load(Ordering::Relaxed) < before + 8 {
            assert!(traffic.try_join_next().is_none(), "no task may end");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let killed = Command::new("kill")
            .args(["-KILL", &pid.to_string()])
            .status();
        assert!(killed.expect("there is such a command").success());
        pid = next_pid(&token, Some(pid)).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = traffic.join_next().await {
        done.expect("every answer was right");
    }
    for entry in world.entries_since(entries) {
        assert_ne!(entry["outcome"], "failed", "{entry}");
    }
}
