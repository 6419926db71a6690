//! The child process dies, hangs, or reports breakdowns; callers notice a delay.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use rustix::process::{Pid, Signal, kill_process};
use secrecy::SecretString;
use strongroom_pkcs11::{HsmToken, KeyLabel, Token, TokenError, WrappedKey};
use strongroom_testkit::{Act, FaultyHsm, SoftHsm};

const GENERAL_ERROR: u64 = 0x05;
const DEVICE_ERROR: u64 = 0x30;
const PIN_INCORRECT: u64 = 0xA0;

fn label(name: &str) -> KeyLabel {
    KeyLabel(name.to_owned())
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

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // It may have gone by itself.
    let _ = kill_process(pid.expect("a process number"), signal);
}

async fn with_keys(token: &dyn Token) -> WrappedKey {
    token.create_kek(&label("kek")).await.expect("a new label");
    token
        .create_mac_key(&label("mac"))
        .await
        .expect("a new label");
    token
        .create_signing_key(&label("signing"))
        .await
        .expect("a new label");
    token.generate_wrapped(&label("kek")).await.expect("a key")
}

/// Uses every function of the token once and checks every answer.
async fn use_once(token: &dyn Token, key: &WrappedKey, number: u64) {
    let public = token
        .public_key(&label("signing"))
        .await
        .expect("it is there");
    let message = number.to_be_bytes();
    let sealed = token
        .seal(key, &message, b"a secret")
        .await
        .expect("it seals");
    let opened = token.open(key, &message, &sealed).await.expect("it opens");
    assert_eq!(opened.as_slice(), b"a secret");
    let wrong = token.open(key, b"another context", &sealed).await;
    assert!(matches!(wrong, Err(TokenError::NotAuthentic)), "{wrong:?}");
    let mac = token.mac(&label("mac"), &message).await.expect("a MAC");
    assert_eq!(
        token.mac(&label("mac"), &message).await.expect("a MAC"),
        mac
    );
    let signature = token
        .sign(&label("signing"), &message)
        .await
        .expect("a signature");
    UnparsedPublicKey::new(&ED25519, public)
        .verify(&message, &signature)
        .expect("it verifies");
    let fresh = token.generate_wrapped(&label("kek")).await.expect("a key");
    let sealed = token
        .seal(&fresh, &message, &message)
        .await
        .expect("it seals");
    let opened = token
        .open(&fresh, &message, &sealed)
        .await
        .expect("it opens");
    assert_eq!(opened.as_slice(), message);
    assert!(token.has_key(&label("mac")).await.expect("asked"));
    token.random(32).await.expect("random bytes");
    token.health().await.expect("well");
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_child_in_heavy_traffic_costs_a_retry() {
    const KILLS: usize = 25;
    let hsm = SoftHsm::new().await;
    let token = hsm.start().await.expect("it starts");
    let key = with_keys(&*token).await;
    let expected_mac = token.mac(&label("mac"), b"always").await.expect("a MAC");

    let stop = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicU64::new(0));
    let mut traffic = tokio::task::JoinSet::new();
    for task in 0..24_u64 {
        let (token, key) = (Arc::clone(&token), key.clone());
        let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
        traffic.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let round = rounds.fetch_add(1, Ordering::Relaxed);
                use_once(&*token, &key, round << 8 | task).await;
                let mac = token.mac(&label("mac"), b"always").await.expect("a MAC");
                assert_eq!(mac, expected_mac);
            }
        });
    }
    let mut pids = HashSet::new();
    let mut pid = next_pid(&token, None).await;
    for _ in 0..KILLS {
        // Let it do some work, so that each death is in the middle of it.
        let before = rounds.load(Ordering::Relaxed);
        while rounds.load(Ordering::Relaxed) < before + 10 {
            assert_eq!(traffic.len(), 24);
            assert!(traffic.try_join_next().is_none(), "no task may end");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        pids.insert(pid);
        signal(pid, Signal::KILL);
        pid = next_pid(&token, Some(pid)).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = traffic.join_next().await {
        done.expect("every answer was right");
    }
    assert_eq!(pids.len(), KILLS, "each was another process");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_once_while_the_child_is_killed() {
    let hsm = SoftHsm::new().await;
    let token = hsm.start().await.expect("it starts");
    for number in 0..20_u64 {
        // Fewer deaths than a call is tried, at other moments each time.
        let killer = tokio::spawn({
            let token = Arc::clone(&token);
            async move {
                let mut pid = None;
                for death in 0..4 {
                    let now = next_pid(&token, pid).await;
                    let delay = (number * 7 + death * 3) % 17;
                    tokio::time::sleep(Duration::from_millis(delay)).await;
                    signal(now, Signal::KILL);
                    pid = Some(now);
                }
            }
        });
        let kek = label(&format!("kek {number}"));
        let signing = label(&format!("signing {number}"));
        token.create_kek(&kek).await.expect("made once");
        let public = token.create_signing_key(&signing).await.expect("made once");
        assert_eq!(token.public_key(&signing).await.expect("there"), public);
        let signature = token.sign(&signing, b"m").await.expect("a signature");
        UnparsedPublicKey::new(&ED25519, public)
            .verify(b"m", &signature)
            .expect("the public key is the private one's");
        token
            .generate_wrapped(&kek)
            .await
            .expect("one key of that label");
        killer.await.expect("it kills four times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_child_is_killed_and_the_call_answered() {
    let hsm = SoftHsm::new().await;
    let mut config = hsm.config();
    config.call_time_max = Duration::from_millis(500);
    let token = HsmToken::start(config).await.expect("it starts");
    let key = with_keys(&*token).await;
    let pid = next_pid(&token, None).await;
    signal(pid, Signal::STOP);
    use_once(&*token, &key, 1).await;
    assert_ne!(token.pid(), Some(pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_hangs_in_one_call_is_replaced() {
    let hsm = FaultyHsm::new().await;
    let mut config = hsm.config();
    config.call_time_max = Duration::from_millis(500);
    let token = HsmToken::start(config).await.expect("it starts");
    let key = with_keys(&*token).await;
    hsm.once("C_Sign", Act::Hang);
    use_once(&*token, &key, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sick_token_is_never_taken_for_a_changed_ciphertext() {
    let hsm = FaultyHsm::new().await;
    let mut config = hsm.config();
    config.patience = Duration::from_secs(5);
    let token = HsmToken::start(config).await.expect("it starts");
    let key = with_keys(&*token).await;
    let sealed = token
        .seal(&key, b"context", b"secret")
        .await
        .expect("sealed");
    for code in [GENERAL_ERROR, DEVICE_ERROR] {
        hsm.always("C_Decrypt", Act::Answer(code));
        let error = token
            .open(&key, b"context", &sealed)
            .await
            .expect_err("nothing opens now");
        assert!(matches!(error, TokenError::Unavailable { .. }), "{error:?}");
        hsm.faults().heal();
        let opened = token.open(&key, b"context", &sealed).await;
        assert_eq!(opened.expect("it is well again").as_slice(), b"secret");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_kills_the_module_every_time_is_given_up() {
    let hsm = FaultyHsm::new().await;
    let token = HsmToken::start(hsm.config()).await.expect("it starts");
    let key = with_keys(&*token).await;
    hsm.always("C_Sign", Act::Crash);
    let error = token
        .sign(&label("signing"), b"message")
        .await
        .expect_err("it cannot be signed");
    assert!(matches!(error, TokenError::Unavailable { .. }), "{error:?}");
    hsm.faults().heal();
    use_once(&*token, &key, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_made_just_before_the_crash_is_the_callers() {
    let hsm = FaultyHsm::new().await;
    let token = HsmToken::start(hsm.config()).await.expect("it starts");
    hsm.once("C_GenerateKey", Act::CrashLate);
    token.create_kek(&label("kek")).await.expect("made once");
    hsm.once("C_GenerateKeyPair", Act::CrashLate);
    let public = token
        .create_signing_key(&label("signing"))
        .await
        .expect("made once");
    assert_eq!(
        token.public_key(&label("signing")).await.expect("there"),
        public
    );
    for taken in [label("kek"), label("signing")] {
        let error = token.create_kek(&taken).await.expect_err("taken");
        assert!(matches!(error, TokenError::KeyExists { .. }), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_refused_after_a_restart_is_not_tried_again() {
    let hsm = FaultyHsm::new().await;
    let token = HsmToken::start(hsm.config()).await.expect("it starts");
    let pid = next_pid(&token, None).await;
    let logins = hsm.calls("C_Login");
    hsm.always("C_Login", Act::Answer(PIN_INCORRECT));
    signal(pid, Signal::KILL);
    for _ in 0..3 {
        let error = token.random(8).await.expect_err("no login, no token");
        assert!(matches!(error, TokenError::Pin { .. }), "{error:?}");
    }
    assert_eq!(hsm.calls("C_Login"), logins + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_in_the_place_of_the_examined_one_is_not_taken() {
    let (hsm, other) = (SoftHsm::new().await, SoftHsm::new().await);
    let mut config = hsm.config();
    config.patience = Duration::from_secs(2);
    let token = HsmToken::start(config).await.expect("it starts");
    let tokens = hsm.directory().join("tokens");
    std::fs::rename(&tokens, hsm.directory().join("kept")).expect("moved away");
    std::fs::rename(other.directory().join("tokens"), &tokens).expect("put in its place");
    signal(next_pid(&token, None).await, Signal::KILL);
    // The signal is delivered before the call, but the death may be noticed after it.
    while token.random(8).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let error = token.random(8).await.expect_err("another token");
    let TokenError::Unavailable { reason } = &error else {
        panic!("{error:?}");
    };
    assert!(reason.contains(&other.identity().serial), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_pulled_and_put_back_serves_again() {
    let hsm = SoftHsm::new().await;
    let mut config = hsm.config();
    config.patience = Duration::from_secs(1);
    let token = HsmToken::start(config).await.expect("it starts");
    let key = with_keys(&*token).await;
    let (tokens, kept) = (hsm.directory().join("tokens"), hsm.directory().join("kept"));
    std::fs::rename(&tokens, &kept).expect("pulled");
    std::fs::create_dir(&tokens).expect("an empty slot");
    signal(next_pid(&token, None).await, Signal::KILL);
    let error = loop {
        if let Err(error) = token.random(8).await {
            break error;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(matches!(error, TokenError::Unavailable { .. }), "{error:?}");
    std::fs::remove_dir_all(&tokens).expect("removed");
    std::fs::rename(&kept, &tokens).expect("put back");
    while token.health().await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    use_once(&*token, &key, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_keys_than_are_kept_are_all_right() {
    let hsm = SoftHsm::new().await;
    let mut config = hsm.config();
    config.cached_keys_max = 3;
    let token = HsmToken::start(config).await.expect("it starts");
    with_keys(&*token).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..12_u8 {
        let token = Arc::clone(&token);
        tasks.spawn(async move {
            let key = token.generate_wrapped(&label("kek")).await.expect("a key");
            for _ in 0..20 {
                let sealed = token.seal(&key, &[task], &[task]).await.expect("sealed");
                let opened = token.open(&key, &[task], &sealed).await.expect("opened");
                assert_eq!(opened.as_slice(), [task]);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("every answer was right");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_disturbs_nobody() {
    let hsm = SoftHsm::new().await;
    let token = hsm.start().await.expect("it starts");
    let key = with_keys(&*token).await;
    let pid = token.pid();
    let mac = label("mac");
    for number in 0..200_u64 {
        let call = token.mac(&mac, b"message");
        // Polled once, which sends it, and dropped.
        let _ = tokio::time::timeout(Duration::ZERO, call).await;
        if number % 50 == 0 {
            use_once(&*token, &key, number).await;
        }
    }
    assert_eq!(token.pid(), pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_being_made_is_finished_before_the_child_goes() {
    let hsm = FaultyHsm::new().await;
    let token = HsmToken::start(hsm.config()).await.expect("it starts");
    let pid = token.pid().expect("it serves");
    hsm.once("C_GenerateKey", Act::Delay(500));
    let calls = hsm.calls("C_GenerateKey");
    let kek = label("kek");
    {
        let mut making = Box::pin(token.create_kek(&kek));
        while hsm.calls("C_GenerateKey") == calls {
            let made = tokio::time::timeout(Duration::from_millis(1), &mut making).await;
            assert!(made.is_err(), "it takes half a second");
        }
    }
    drop(token);
    crate::process::gone(pid).await;
    let token = HsmToken::start(hsm.config()).await.expect("it starts");
    token.generate_wrapped(&kek).await.expect("a whole key");
}

#[tokio::test]
async fn a_wrong_pin_at_the_start_leaves_no_process_behind() {
    let hsm = SoftHsm::new().await;
    let mut config = hsm.config();
    config.pin = SecretString::from("not the PIN");
    let before = crate::process::children();
    HsmToken::start(config).await.expect_err("a wrong PIN");
    // The child ends by itself once its end of the socket is closed.
    while crate::process::children()
        .difference(&before)
        .next()
        .is_some()
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
