//! Whatever goes wrong in the PKCS#11 module, by any schedule: no wrong plaintext, no answer that
//! is not on the log, and nothing lost that was acknowledged.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use strongroom_keys::{EncryptionContext, KeyDescription, KeyEnvelope, KeyError, KeyLimits};
use strongroom_keys::{ObjectName, Protection};
use strongroom_pkcs11::HsmToken;
use strongroom_seal::DataKey;
use strongroom_testkit::{Act, FaultyHsm, Rule};

use crate::world::{World, by_kms_key, caller, context, object};

const CASES: u32 = 16;
/// So often the service is asked for a sign of life after the last fault. Each time it has itself
/// restarted the module as often as patience allows.
const ASKED_AFTERWARDS_MAX: usize = 10;

const FUNCTIONS: [&str; 14] = [
    "C_Encrypt",
    "C_EncryptInit",
    "C_Decrypt",
    "C_DecryptInit",
    "C_Sign",
    "C_SignInit",
    "C_WrapKey",
    "C_UnwrapKey",
    "C_GenerateKey",
    "C_GenerateRandom",
    "C_DestroyObject",
    "C_OpenSession",
    "C_FindObjects",
    "C_GetAttributeValue",
];

/// Every return value of PKCS#11 v2.40 that is an error, but those about a PIN: a refused PIN
/// stops the token for good, which no schedule recovers from.
fn any_code() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => prop::sample::select(vec![0x05, 0x06, 0x30, 0x32, 0x40, 0x60, 0x82, 0x90, 0xB3, 0xE0, 0x101, 0x110, 0x190]),
        1 => (1_u64..0x201).prop_filter("about a PIN", |code| !(0xA0..=0xA4).contains(code) && *code != 0x102),
    ]
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => any_code().prop_map(Act::Answer),
        3 => any_code().prop_map(Act::AnswerLate),
        2 => Just(Act::Crash),
        2 => Just(Act::CrashLate),
        1 => Just(Act::Hang),
        1 => Just(Act::Disconnect),
        1 => (1_u64..30).prop_map(Act::Delay),
        1 => (1_u64..64).prop_map(Act::Overstate),
        1 => (1_u64..64).prop_map(Act::Understate),
        1 => (1_u64..64).prop_map(Act::Lengthen),
        1 => (1_u64..64).prop_map(Act::Shorten),
        // Which bit it is, is added below.
        5 => Just(Act::Corrupt(0)),
    ]
}

/// A few rules, no two of which spoil the same bit: a module that gives the same wrong answer to
/// the same question twice is believed.
fn any_schedule() -> impl Strategy<Value = Vec<Rule>> {
    let rule = (
        prop::sample::select(FUNCTIONS.to_vec()),
        0_u32..12,
        1_u32..3,
        any_act(),
    );
    prop::collection::vec(rule, 1..5).prop_map(|rules| {
        let mut bit = 0;
        let rules = rules.into_iter().map(|(function, spared, times, act)| {
            let (times, act) = match act {
                Act::Corrupt(_) => {
                    bit += 1;
                    (1, Act::Corrupt(bit))
                }
                act => (times, act),
            };
            Rule {
                function: function.to_owned(),
                spared,
                times,
                act,
            }
        });
        rules.collect()
    })
}

/// Those that are given a ciphertext or a wrapped key.
const OPENS: [&str; 3] = ["C_Decrypt", "C_DecryptInit", "C_UnwrapKey"];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ask {
    Encrypt,
    Decrypt,
    DecryptElsewhere,
    ReEncrypt,
    GenerateDataKey,
    CreateKey,
    RotateKey,
    CreateObject(bool),
    OpenObject,
}

fn any_asks() -> impl Strategy<Value = Vec<Ask>> {
    let ask = prop::sample::select(vec![
        Ask::Encrypt,
        Ask::Decrypt,
        Ask::DecryptElsewhere,
        Ask::ReEncrypt,
        Ask::GenerateDataKey,
        Ask::CreateKey,
        Ask::RotateKey,
        Ask::CreateObject(false),
        Ask::CreateObject(true),
        Ask::OpenObject,
    ]);
    prop::collection::vec(ask, 4..12)
}

/// What the service has acknowledged, and so must not lose.
#[derive(Default)]
struct Acknowledged {
    keys: Vec<KeyDescription>,
    ciphertexts: Vec<(Vec<u8>, Vec<u8>)>,
    objects: Vec<(ObjectName, KeyEnvelope, DataKey)>,
    /// How many things were asked for.
    count: u64,
    /// How many faults of the schedule can befall what opens a ciphertext. Two in a row, from a
    /// token that opens a known ciphertext after each, cannot be told from a bad ciphertext.
    doubts: u32,
}

struct Scene {
    hsm: FaultyHsm,
    world: World,
    pairs: EncryptionContext,
}

/// The last of the list, or one before it, so that old ones are asked for as well.
fn pick<T>(list: &[T], number: u64) -> Option<&T> {
    let place = number % (list.len() as u64).max(1);
    list.iter().rev().nth(usize::try_from(place).ok()?)
}

impl Scene {
    async fn new() -> Self {
        let hsm = FaultyHsm::new().await;
        let mut config = hsm.config();
        config.sessions = 2;
        config.call_time_max = Duration::from_millis(400);
        config.patience = Duration::from_secs(5);
        config.cached_keys_max = 2;
        let token = HsmToken::start(config).await.expect("it starts");
        let world = World::on(Arc::clone(&token) as _, KeyLimits::default()).await;
        Self {
            hsm,
            world,
            pairs: context(&[("a", "b")]),
        }
    }

    /// Asks for one thing, and says what was wrong about the answer.
    async fn ask(&self, ask: Ask, kept: &mut Acknowledged) -> Result<(), TestCaseError> {
        kept.count += 1;
        let number = kept.count;
        let before = self.world.entry_count();
        let answered = self.answer(ask, number, kept).await?;
        let entries = self.world.entries_since(before);
        let last = entries.last().map(|entry| entry["outcome"].clone());
        match answered {
            Some(Ok(())) => prop_assert_eq!(last.unwrap_or_default(), "granted", "{:?}", ask),
            Some(Err(error)) => {
                prop_assert!(last.is_some_and(|outcome| outcome != "granted"), "{ask:?}");
                let is_the_tokens = matches!(error, KeyError::TokenUnavailable(_));
                let is_right = match ask {
                    Ask::DecryptElsewhere => matches!(error, KeyError::NotAuthentic),
                    Ask::RotateKey => matches!(error, KeyError::LimitExceeded { .. }),
                    _ => false,
                };
                let is_doubted = kept.doubts > 1
                    && matches!(error, KeyError::NotAuthentic | KeyError::Damaged { .. });
                prop_assert!(
                    is_the_tokens || is_right || is_doubted,
                    "{ask:?}: {error:?}"
                );
            }
            None => {}
        }
        Ok(())
    }

    /// Nothing when there is nothing yet that could be asked for.
    async fn answer(
        &self,
        ask: Ask,
        number: u64,
        kept: &mut Acknowledged,
    ) -> Result<Option<Result<(), KeyError>>, TestCaseError> {
        let (kms, keys) = (&self.world.service.kms, &self.world.service.objects);
        if ask == Ask::CreateKey {
            let made = kms.create_key("made among faults", &caller()).await;
            return Ok(Some(made.map(|made| kept.keys.push(made))));
        }
        let Some(key) = pick(&kept.keys, number).cloned() else {
            return Ok(None);
        };
        Ok(Some(match ask {
            Ask::CreateKey => return Ok(None),
            Ask::Encrypt => {
                let text = number.to_be_bytes();
                let made = kms
                    .encrypt(&key.id.into(), &self.pairs, &text, &caller())
                    .await;
                made.map(|made| kept.ciphertexts.push((made.blob.to_bytes(), text.to_vec())))
            }
            Ask::GenerateDataKey => {
                let made = kms
                    .generate_data_key(&key.id.into(), &self.pairs, 32, &caller())
                    .await;
                made.map(|made| {
                    let plaintext = made.plaintext.to_vec();
                    kept.ciphertexts.push((made.blob.to_bytes(), plaintext));
                })
            }
            Ask::Decrypt => {
                let Some((blob, text)) = pick(&kept.ciphertexts, number) else {
                    return Ok(None);
                };
                let opened = kms.decrypt(blob, &self.pairs, None, &caller()).await;
                if let Ok(opened) = &opened {
                    prop_assert_eq!(opened.plaintext.as_slice(), text.as_slice());
                }
                opened.map(drop)
            }
            Ask::DecryptElsewhere => {
                let Some((blob, _)) = pick(&kept.ciphertexts, number) else {
                    return Ok(None);
                };
                let elsewhere = context(&[("a", "c")]);
                let opened = kms.decrypt(blob, &elsewhere, None, &caller()).await;
                prop_assert!(opened.is_err(), "it opened in another context");
                opened.map(drop)
            }
            Ask::ReEncrypt => {
                let Some((blob, text)) = pick(&kept.ciphertexts, number).cloned() else {
                    return Ok(None);
                };
                let moved = kms
                    .re_encrypt(
                        &blob,
                        &self.pairs,
                        None,
                        &key.id.into(),
                        &self.pairs,
                        &caller(),
                    )
                    .await;
                moved.map(|moved| kept.ciphertexts.push((moved.blob.to_bytes(), text)))
            }
            Ask::RotateKey => kms.rotate_key(&key.id.into(), &caller()).await.map(drop),
            Ask::CreateObject(bucket_key) => {
                // A bucket of its own each time, so that the token has to work for each.
                let name = object(&format!("bucket-{number}"), "key");
                let protection: Protection = by_kms_key(&key, bucket_key);
                let made = keys.create(&protection, &name, &caller()).await;
                made.map(|(data_key, envelope)| kept.objects.push((name, envelope, data_key)))
            }
            Ask::OpenObject => {
                let Some((name, envelope, data_key)) = pick(&kept.objects, number) else {
                    return Ok(None);
                };
                let opened = keys.open(envelope, name, None, &caller()).await;
                if let Ok(opened) = &opened {
                    prop_assert!(opened.expose() == data_key.expose(), "another data key");
                }
                opened.map(drop)
            }
        }))
    }

    /// Everything that was acknowledged is there, through a service that remembers nothing.
    async fn nothing_is_lost(&self, kept: &Acknowledged) -> Result<(), TestCaseError> {
        let mut asked = 0;
        while let Err(error) = self.world.service.kms.health().await {
            asked += 1;
            prop_assert!(
                asked < ASKED_AFTERWARDS_MAX,
                "it does not recover: {error:?}"
            );
        }
        let service = self.world.restarted().await.expect("it starts");
        for (blob, text) in &kept.ciphertexts {
            let opened = service
                .kms
                .decrypt(blob, &self.pairs, None, &caller())
                .await;
            prop_assert!(
                opened.is_ok_and(|opened| *opened.plaintext == *text),
                "a ciphertext is lost"
            );
        }
        for key in &kept.keys {
            let sealed = service
                .kms
                .encrypt(&key.id.into(), &self.pairs, b"x", &caller())
                .await;
            prop_assert!(sealed.is_ok(), "a key is lost: {:?}", sealed.err());
        }
        for (name, envelope, data_key) in &kept.objects {
            let opened = service.objects.open(envelope, name, None, &caller()).await;
            prop_assert!(
                opened.is_ok_and(|opened| opened.expose() == data_key.expose()),
                "an object is lost"
            );
        }
        Ok(())
    }
}

#[test]
fn no_schedule_of_faults_gives_a_wrong_answer_or_loses_what_was_acknowledged() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let scene = runtime.block_on(Scene::new());
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 64,
        ..Config::default()
    });
    let checked = runner.run(&(any_schedule(), any_asks()), |(schedule, asks)| {
        runtime.block_on(async {
            let opens = |rule: &&Rule| OPENS.contains(&rule.function.as_str());
            let mut kept = Acknowledged {
                doubts: schedule.iter().filter(opens).map(|rule| rule.times).sum(),
                ..Acknowledged::default()
            };
            for ask in [Ask::CreateKey, Ask::Encrypt, Ask::CreateObject(false)] {
                scene.ask(ask, &mut kept).await?;
            }
            scene.hsm.faults().set(&schedule);
            for ask in asks {
                scene.ask(ask, &mut kept).await?;
            }
            scene.hsm.faults().heal();
            scene.nothing_is_lost(&kept).await
        })
    });
    if let Err(failure) = checked {
        panic!("{failure}");
    }
}
