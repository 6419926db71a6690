//! Two tokens that hold the same keys and serve as one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use strongroom_pkcs11::{
    HsmConfig, HsmToken, KeyLabel, MemberState, Token, TokenError, TokenKeys, TokenPair, make_pair,
};
use strongroom_testkit::{Act, FaultyHsm, Rule};

const DEVICE_ERROR: u64 = 0x30;
const MECHANISM_INVALID: u64 = 0x70;
const PIN_INCORRECT: u64 = 0xA0;

fn keys() -> TokenKeys {
    let label = |name: &str| KeyLabel(name.to_owned());
    TokenKeys {
        kek: label("kek"),
        mac: label("mac"),
        signing: label("signing"),
    }
}

/// Two tokens on which nothing is.
struct Two {
    first: FaultyHsm,
    second: FaultyHsm,
}

impl Two {
    async fn blank() -> Self {
        let (first, second) = tokio::join!(FaultyHsm::new(), FaultyHsm::new());
        Self { first, second }
    }

    /// The same after the ceremony.
    async fn paired() -> Self {
        let two = Self::blank().await;
        two.make_pair().await.expect("blank tokens");
        two
    }

    async fn make_pair(&self) -> Result<strongroom_pkcs11::Transcript, TokenError> {
        let first = HsmToken::start(self.first.config()).await?;
        let second = HsmToken::start(self.second.config()).await?;
        make_pair(&first, &second, &keys()).await
    }

    fn configs(&self) -> [HsmConfig; 2] {
        [&self.first, &self.second].map(|hsm| {
            let mut config = hsm.config();
            config.call_time_max = Duration::from_millis(500);
            config
        })
    }

    async fn start(&self) -> Result<Arc<TokenPair>, TokenError> {
        let [first, second] = self.configs();
        TokenPair::start(first, second, keys()).await
    }
}

/// Uses every function once and checks every answer.
async fn use_once(pair: &TokenPair, number: u64) {
    let (keys, message) = (keys(), number.to_be_bytes());
    let key = pair.generate_wrapped(&keys.kek).await.expect("a key");
    let sealed = pair.seal(&key, &message, b"a secret").await;
    let opened = pair.open(&key, &message, &sealed.expect("sealed")).await;
    assert_eq!(opened.expect("it opens").as_slice(), b"a secret");
    let mac = pair.mac(&keys.mac, &message).await.expect("a MAC");
    assert_eq!(pair.mac(&keys.mac, &message).await.expect("the same"), mac);
    let signature = pair.sign(&keys.signing, &message).await.expect("signed");
    let public = pair.public_key(&keys.signing).await.expect("it is there");
    UnparsedPublicKey::new(&ED25519, public)
        .verify(&message, &signature)
        .expect("it verifies");
    assert!(pair.has_key(&keys.mac).await.expect("asked"));
    pair.random(16).await.expect("random bytes");
    pair.health().await.expect("well");
}

/// Waits until the pair is as wanted, so many looks of 20 ms at most.
async fn until(pair: &TokenPair, wanted: impl Fn([bool; 2]) -> bool) {
    for _ in 0..1_000 {
        if wanted(
            pair.statuses()
                .map(|status| status.state == MemberState::Well),
        ) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not come to that: {:?}", pair.statuses());
}

fn serving(pair: &TokenPair) -> Vec<&'static str> {
    let statuses = pair.statuses();
    let serving = statuses.iter().filter(|status| status.serves);
    serving.map(|status| status.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ceremony_puts_the_same_keys_on_both_and_on_nothing_else() {
    let two = Two::blank().await;
    let transcript = two.make_pair().await.expect("blank tokens");
    assert_eq!(transcript.first.serial, two.first.token().identity().serial);
    assert_eq!(
        transcript.second.serial,
        two.second.token().identity().serial
    );
    // A second one would take the keys away from what they protect.
    let error = two.make_pair().await.expect_err("there are keys");
    assert!(matches!(error, TokenError::KeyExists { .. }), "{error:?}");

    let pair = two.start().await.expect("they are a pair");
    use_once(&pair, 1).await;
    assert_eq!(serving(&pair), ["token"]);
    let public = pair.public_key(&keys().signing).await.expect("there");
    assert_eq!(
        transcript.public_key,
        public.map(|byte| format!("{byte:02x}")).concat()
    );
    // A mark is left on both, whichever answers later.
    let mark = KeyLabel("mark".into());
    assert!(!pair.has_key(&mark).await.expect("asked"));
    for _ in 0..2 {
        pair.mark(&mark).await.expect("both serve");
    }
    // Each alone is a token like any other; a key that could leave it would not be used.
    for hsm in [&two.first, &two.second] {
        let alone = HsmToken::start(hsm.config()).await.expect("it starts");
        assert!(alone.has_key(&mark).await.expect("asked"));
        // What the two share was wrapped on its way, and can be so no more.
        let attributes = alone.key_attributes(&keys()).await.expect("they are there");
        for key in &attributes {
            assert_eq!(
                (key.sensitive, key.extractable),
                (Some(true), Some(false)),
                "{key:?}"
            );
            assert!(!key.never_left(), "{key:?}");
        }
        let key = alone.generate_wrapped(&keys().kek).await.expect("a key");
        let sealed = alone.seal(&key, b"context", b"secret").await;
        let opened = pair.open(&key, b"context", &sealed.expect("sealed")).await;
        assert_eq!(opened.expect("it opens").as_slice(), b"secret");
        assert_eq!(
            alone.public_key(&keys().signing).await.expect("there"),
            public
        );
    }
    // Keys are made on both or not at all.
    for refused in [
        pair.create_kek(&KeyLabel("another".into())).await.err(),
        pair.create_mac_key(&KeyLabel("another".into())).await.err(),
        pair.create_signing_key(&KeyLabel("another".into()))
            .await
            .err(),
    ] {
        let Some(TokenError::Unsupported { reason }) = refused else {
            panic!("{refused:?}");
        };
        assert!(reason.contains("strongroom hsm pair"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ceremony_that_fails_leaves_nothing_and_can_be_held_again() {
    let two = Two::blank().await;
    let first = HsmToken::start(two.first.config()).await.expect("started");
    let second = HsmToken::start(two.second.config()).await.expect("started");
    let refused = Act::Answer(MECHANISM_INVALID);
    for (hsm, function, spared, act) in [
        (&two.second, "C_UnwrapKey", 2, Act::Crash),
        (&two.first, "C_UnwrapKey", 1, refused),
        (&two.first, "C_CreateObject", 2, Act::Crash),
    ] {
        hsm.faults().set(&[Rule::once(function, act).after(spared)]);
        let error = make_pair(&first, &second, &keys()).await;
        let error = error.expect_err("the token broke down");
        match act {
            Act::Crash => assert!(matches!(error, TokenError::Unavailable { .. }), "{error:?}"),
            _ => assert!(matches!(error, TokenError::Unsupported { .. }), "{error:?}"),
        }
        assert_eq!(hsm.faults().standing(), [], "{function}");
        for token in [&first, &second] {
            for label in keys().labels() {
                assert!(!token.has_key(label).await.expect("asked"), "{function}");
            }
        }
    }
    drop((first, second));
    two.make_pair().await.expect("nothing was left");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_with_other_keys_or_none_or_one_token_twice_are_no_pair() {
    let two = Two::blank().await;
    let refused = two.start().await.expect_err("no keys");
    assert!(
        matches!(&refused, TokenError::NoPair { reason } if reason.contains("holds no key labelled kek")),
        "{refused:?}"
    );
    for hsm in [&two.first, &two.second] {
        let token = HsmToken::start(hsm.config()).await.expect("it starts");
        token.create_kek(&keys().kek).await.expect("made");
        token.create_mac_key(&keys().mac).await.expect("made");
        token
            .create_signing_key(&keys().signing)
            .await
            .expect("made");
    }
    let refused = two.start().await.expect_err("each has its own");
    assert!(
        matches!(&refused, TokenError::NoPair { reason } if reason.contains("not the same on both")),
        "{refused:?}"
    );
    let [first, _] = two.configs();
    let refused = TokenPair::start(first.clone(), first, keys()).await;
    let refused = refused.expect_err("one token");
    assert!(
        matches!(&refused, TokenError::NoPair { reason } if reason.contains("both settings lead to")),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_dies_again_and_again_and_nothing_is_refused() {
    let two = Two::paired().await;
    let pair = two.start().await.expect("they are a pair");
    let stop = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicU64::new(0));
    let mut traffic = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (pair, stop, rounds) = (Arc::clone(&pair), Arc::clone(&stop), Arc::clone(&rounds));
        traffic.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                use_once(&pair, rounds.fetch_add(1, Ordering::Relaxed)).await;
            }
        });
    }
    for act in [
        Act::Crash,
        Act::Hang,
        Act::Answer(DEVICE_ERROR),
        Act::CrashLate,
        Act::Disconnect,
    ] {
        for hsm in [&two.first, &two.second] {
            // Both are well, the first serves, and the fault befalls the one that is used.
            until(&pair, |well| well == [true, true]).await;
            if std::ptr::eq(hsm, &two.second) {
                two.first.once("C_Sign", act);
            }
            hsm.once("C_Sign", act);
            let before = rounds.load(Ordering::Relaxed);
            while rounds.load(Ordering::Relaxed) < before + 16 {
                assert!(traffic.try_join_next().is_none(), "no task may end");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = traffic.join_next().await {
        done.expect("every answer was right");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_away_is_used_again_when_it_is_back() {
    let two = Two::paired().await;
    let pair = two.start().await.expect("they are a pair");
    let (tokens, kept) = (
        two.first.token().directory().join("tokens"),
        two.first.token().directory().join("kept"),
    );
    std::fs::rename(&tokens, &kept).expect("pulled");
    std::fs::create_dir(&tokens).expect("an empty slot");
    for number in 0..20 {
        use_once(&pair, number).await;
    }
    assert_eq!(serving(&pair), ["second_token"]);
    assert!(matches!(pair.statuses()[0].state, MemberState::Away { .. }));
    std::fs::remove_dir_all(&tokens).expect("removed");
    std::fs::rename(&kept, &tokens).expect("put back");
    until(&pair, |well| well == [true, true]).await;
    assert_eq!(serving(&pair), ["token"]);
    let signs = two.second.calls("C_Sign");
    use_once(&pair, 21).await;
    assert_eq!(two.second.calls("C_Sign"), signs, "the first is asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_away_at_the_start_comes_in_later_if_it_holds_the_same_keys() {
    for same_keys in [true, false] {
        let two = Two::paired().await;
        let (tokens, kept) = (
            two.first.token().directory().join("tokens"),
            two.first.token().directory().join("kept"),
        );
        std::fs::rename(&tokens, &kept).expect("pulled");
        std::fs::create_dir(&tokens).expect("an empty slot");
        let pair = two.start().await.expect("one is enough");
        assert_eq!(serving(&pair), ["second_token"]);
        use_once(&pair, 1).await;
        std::fs::remove_dir(&tokens).expect("empty");
        if same_keys {
            std::fs::rename(&kept, &tokens).expect("put back");
            until(&pair, |well| well == [true, true]).await;
            assert_eq!(serving(&pair), ["token"]);
        } else {
            // Another token of the same label and PIN, with other keys.
            let other = Two::paired().await;
            let others = other.first.token().directory().join("tokens");
            std::fs::rename(others, &tokens).expect("put in its place");
            while !matches!(pair.statuses()[0].state, MemberState::Stopped { .. }) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(serving(&pair), ["second_token"]);
        }
        use_once(&pair, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_refuses_the_pin_is_asked_once_and_the_other_serves() {
    let two = Two::paired().await;
    let pair = two.start().await.expect("they are a pair");
    let logins = two.first.calls("C_Login");
    two.first.faults().set(&[
        Rule::once("C_Sign", Act::Crash),
        Rule::always("C_Login", Act::Answer(PIN_INCORRECT)),
    ]);
    for number in 0..5 {
        use_once(&pair, number).await;
    }
    while !matches!(pair.statuses()[0].state, MemberState::Stopped { .. }) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(two.first.calls("C_Login"), logins + 1);
    use_once(&pair, 6).await;
    // At the start it is told: the PIN file may be the wrong one.
    let error = two.start().await.expect_err("a wrong PIN");
    assert!(matches!(error, TokenError::Pin { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_both_die_at_once_callers_wait_and_are_answered() {
    let two = Two::paired().await;
    let pair = two.start().await.expect("they are a pair");
    for number in 0..4 {
        two.first.once("C_Sign", Act::Crash);
        two.second.once("C_Sign", Act::Crash);
        use_once(&pair, number).await;
    }
    until(&pair, |well| well == [true, true]).await;
    // A call that brings down whichever it is made on is given up.
    two.first.always("C_Sign", Act::Crash);
    two.second.always("C_Sign", Act::Crash);
    let error = pair.mac(&keys().mac, b"message").await;
    let error = error.expect_err("it is given up");
    assert!(matches!(error, TokenError::Unavailable { .. }), "{error:?}");
    two.first.faults().heal();
    two.second.faults().heal();
    use_once(&pair, 9).await;
}
