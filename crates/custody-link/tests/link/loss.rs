//! What becomes of a store when its link is lost, slow, or leads elsewhere.

use std::time::Duration;

use strongroom_environment::{Entropy as _, SeededEntropy, SystemEntropy};
use strongroom_keys::{KeyCustody, KeyError};
use strongroom_seal::DataKey;

use crate::world::*;

#[tokio::test]
async fn what_is_lost_is_refused_after_the_stated_time_and_found_again() {
    for lost in [Mode::Cut, Mode::Hole] {
        let ground = Ground::new().await;
        let keyd = Keyd::start(&ground).await;
        let key = keyd.key().await.id;
        let way = Way::to(keyd.address).await;
        let custody = connect(config(&[way.address])).await.expect("a link");
        let told = Told::watching(&*custody);
        let (empty, data_key) = (context(&[]), DataKey::generate(&SystemEntropy));
        let sealed = custody.seal(key, &empty, &data_key, &user()).await;
        let sealed = sealed.expect("it is sealed");

        way.set(lost);
        let refused = custody.open(&sealed.blob, &empty, &user()).await;
        let refused = refused.expect_err("no way");
        assert!(
            matches!(refused, KeyError::CustodyUnavailable { .. }),
            "{refused}"
        );
        until("it is silent for too long", || custody.heard().is_err()).await;
        until("all is dropped", || told.unheard_count() > 0).await;
        // Without a try, so that many who come at once are all answered at once.
        let calls_before = ground.uses("seal-data-key");
        for _ in 0..100 {
            let refused = custody.seal(key, &empty, &data_key, &user()).await;
            assert_eq!(refused.expect_err("no way").code(), "custody-unavailable");
        }
        assert_eq!(ground.uses("seal-data-key"), calls_before);
        let status = custody.status();
        assert!(
            status.url.is_none() && !status.trouble.is_empty(),
            "{status:?}"
        );

        // While nobody could be told.
        keyd.service
            .kms
            .disable_key(&key.into(), &admin())
            .await
            .expect("disabled");
        way.set(Mode::Pass);
        until("it is heard of again", || custody.heard().is_ok()).await;
        let refused = custody.open(&sealed.blob, &empty, &user()).await;
        assert_eq!(refused.expect_err("disabled").code(), "disabled");
        until("the change is told", || {
            told.suspended.lock().contains(&key)
        })
        .await;
        keyd.service
            .kms
            .enable_key(&key.into(), &admin())
            .await
            .expect("enabled");
        let opened = custody.open(&sealed.blob, &empty, &user()).await;
        assert_eq!(opened.expect("it opens").expose(), data_key.expose());
    }
}

#[tokio::test]
async fn a_slow_link_serves_and_one_that_is_too_slow_is_given_up() {
    let ground = Ground::new().await;
    let keyd = Keyd::start(&ground).await;
    let key = keyd.key().await.id;
    let way = Way::to(keyd.address).await;
    way.set(Mode::Slow(CALL_TIME_MAX / 5));
    let custody = connect(config(&[way.address])).await.expect("a link");
    let (empty, data_key) = (context(&[]), DataKey::generate(&SystemEntropy));
    custody
        .seal(key, &empty, &data_key, &user())
        .await
        .expect("slowly");

    way.set(Mode::Cut);
    until("it is lost", || custody.status().url.is_none()).await;
    way.set(Mode::Slow(CALL_TIME_MAX * 4));
    until("it is given up", || custody.heard().is_err()).await;
    way.set(Mode::Pass);
    until("it is heard of again", || custody.heard().is_ok()).await;
    custody
        .seal(key, &empty, &data_key, &user())
        .await
        .expect("at once");
}

#[tokio::test]
async fn where_one_address_fails_the_next_one_serves_and_nothing_is_refused() {
    let ground = Ground::new().await;
    let keyd = Keyd::start(&ground).await;
    let key = keyd.key().await.id;
    for lost in [Mode::Cut, Mode::Hole] {
        let ways = [Way::to(keyd.address).await, Way::to(keyd.address).await];
        let addresses = [ways[0].address, ways[1].address];
        let custody = connect(config(&addresses)).await.expect("a link");
        let told = Told::watching(&*custody);
        let (empty, data_key) = (context(&[]), DataKey::generate(&SystemEntropy));
        for broken in [0, 1, 0] {
            ways[broken].set(lost);
            let sealed = custody.seal(key, &empty, &data_key, &user()).await;
            sealed.expect("by the other way");
            ways[broken].set(Mode::Pass);
        }
        // It was the same key daemon all the time, and nothing was missed.
        assert_eq!(told.unheard_count(), 0);
    }
    // Also when the first one is dead from the beginning.
    let way = Way::to(keyd.address).await;
    way.set(Mode::Cut);
    let custody = connect(config(&[way.address, keyd.address]))
        .await
        .expect("a link");
    assert_eq!(
        custody
            .status()
            .url
            .expect("one")
            .authority()
            .expect("an address")
            .as_str(),
        keyd.address.to_string()
    );
}

#[tokio::test]
async fn after_a_restart_of_the_key_daemon_all_that_was_opened_is_dropped() {
    let ground = Ground::new().await;
    let keyd = Keyd::start(&ground).await;
    let key = keyd.key().await.id;
    let way = Way::to(keyd.address).await;
    let custody = connect(config(&[way.address])).await.expect("a link");
    let told = Told::watching(&*custody);
    let (empty, data_key) = (context(&[]), DataKey::generate(&SystemEntropy));
    let sealed = custody.seal(key, &empty, &data_key, &user()).await;
    let sealed = sealed.expect("it is sealed");

    let again = Keyd::start(&ground).await;
    way.lead_to(again.address);
    // A question for the run that is over is not answered by the next one before that is followed.
    let opened = custody.open(&sealed.blob, &empty, &user()).await;
    assert_eq!(opened.expect("it opens").expose(), data_key.expose());
    assert_eq!(told.unheard_count(), 1);
}

#[tokio::test]
async fn another_key_daemon_is_not_taken_for_the_one() {
    let ground = Ground::new().await;
    let keyd = Keyd::start(&ground).await;
    let other = Keyd::start(&Ground::new().await).await;
    let key = keyd.key().await.id;
    let way = Way::to(keyd.address).await;
    let custody = connect(config(&[way.address, other.address]))
        .await
        .expect("a link");
    let (empty, data_key) = (context(&[]), DataKey::generate(&SystemEntropy));
    custody
        .seal(key, &empty, &data_key, &user())
        .await
        .expect("sealed");
    way.set(Mode::Cut);
    until("it is silent for too long", || custody.heard().is_err()).await;
    way.set(Mode::Pass);
    until("it is heard of again", || custody.heard().is_ok()).await;
    custody
        .seal(key, &empty, &data_key, &user())
        .await
        .expect("sealed");

    let mut elsewhere = config(&[keyd.address]);
    elsewhere.home.region = "test-2".into();
    let refused = connect(elsewhere).await.expect_err("other ARNs");
    assert!(
        refused.to_string().contains("`region` and `account`"),
        "{refused}"
    );
}

#[tokio::test]
async fn with_no_key_daemon_there_is_no_link() {
    let ground = Ground::new().await;
    let keyd = Keyd::start(&ground).await;
    let way = Way::to(keyd.address).await;
    for lost in [Mode::Cut, Mode::Hole] {
        way.set(lost);
        let refused = connect(config(&[way.address])).await.expect_err("no link");
        assert!(
            matches!(refused, KeyError::CustodyUnavailable { .. }),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn whatever_the_link_does_no_wrong_key_comes_out() {
    let ground = Ground::new().await;
    let keyd = Keyd::start(&ground).await;
    let key = keyd.key().await.id;
    let ways = [Way::to(keyd.address).await, Way::to(keyd.address).await];
    let addresses = [ways[0].address, ways[1].address];
    // Here a busy machine may be taken for a link that is lost: that is refused too.
    let custody = connect(strongroom_custody_link::LinkConfig {
        call_time_max: CALL_TIME_MAX / 4,
        silence_max: SILENCE_MAX / 4,
        ..config(&addresses)
    });
    let custody = custody.await.expect("a link");
    let empty = context(&[]);
    let entropy = SeededEntropy::new(7);
    for round in 0..25_u32 {
        let mut drawn = [0_u8; 2];
        entropy.fill(&mut drawn);
        let [which, what] = drawn;
        ways[usize::from(which % 2)].set(match what % 4 {
            0 => Mode::Cut,
            1 => Mode::Hole,
            2 => Mode::Slow(Duration::from_millis(u64::from(what))),
            _ => Mode::Pass,
        });
        let data_key = DataKey::generate(&entropy);
        let sealed = match custody.seal(key, &empty, &data_key, &user()).await {
            Ok(sealed) => sealed,
            Err(error) => {
                assert_eq!(error.code(), "custody-unavailable", "round {round}");
                ways.iter().for_each(|way| way.set(Mode::Pass));
                until("it is heard of again", || custody.heard().is_ok()).await;
                continue;
            }
        };
        match custody.open(&sealed.blob, &empty, &user()).await {
            Ok(opened) => assert_eq!(opened.expose(), data_key.expose(), "round {round}"),
            Err(error) => assert_eq!(error.code(), "custody-unavailable", "round {round}"),
        }
    }
}
