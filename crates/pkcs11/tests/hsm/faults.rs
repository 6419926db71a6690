//! What each error of the module, of each function, is answered with: a table, and what is seen of
//! it from outside.

use std::time::Duration;

use strongroom_pkcs11::{HsmToken, KeyLabel, SealedBytes, Token, TokenError, WrappedKey};
use strongroom_testkit::{Act, FaultyHsm, Rule};

const GENERAL_ERROR: u64 = 0x05;
const FUNCTION_FAILED: u64 = 0x06;
const DATA_LEN_RANGE: u64 = 0x21;
const DEVICE_ERROR: u64 = 0x30;
const DEVICE_REMOVED: u64 = 0x32;
const ENCRYPTED_DATA_INVALID: u64 = 0x40;
const FUNCTION_NOT_SUPPORTED: u64 = 0x54;
const KEY_HANDLE_INVALID: u64 = 0x60;
const KEY_FUNCTION_NOT_PERMITTED: u64 = 0x68;
const MECHANISM_INVALID: u64 = 0x70;
const OBJECT_HANDLE_INVALID: u64 = 0x82;
const OPERATION_ACTIVE: u64 = 0x90;
const PIN_INCORRECT: u64 = 0xA0;
const PIN_LOCKED: u64 = 0xA4;
const SESSION_CLOSED: u64 = 0xB0;
const SESSION_HANDLE_INVALID: u64 = 0xB3;
const TOKEN_NOT_PRESENT: u64 = 0xE0;
const UNWRAPPING_KEY_HANDLE_INVALID: u64 = 0xF0;
const USER_NOT_LOGGED_IN: u64 = 0x101;
const WRAPPED_KEY_INVALID: u64 = 0x110;
const CRYPTOKI_NOT_INITIALIZED: u64 = 0x190;
const VENDOR_DEFINED: u64 = 0x8000_0001;

/// What is done about a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cure {
    /// The session is opened anew, in the same process.
    Session,
    /// The key is found or unwrapped anew, in the same process.
    Handle,
    /// The process is replaced: the module is initialised, logged in to, and its keys found anew.
    Process,
    /// The canary is asked, and then the call is made once more, in the same process.
    Canary,
    /// It is told, and nothing is tried.
    Told,
    /// It is told, and the token is not asked for anything any more.
    Stop,
}

const TABLE: [(&str, &[u64], Cure); 15] = [
    (
        "C_SignInit",
        &[SESSION_HANDLE_INVALID, SESSION_CLOSED],
        Cure::Session,
    ),
    (
        "C_Encrypt",
        &[SESSION_HANDLE_INVALID, OPERATION_ACTIVE],
        Cure::Session,
    ),
    ("C_DecryptInit", &[SESSION_HANDLE_INVALID], Cure::Session),
    (
        "C_SignInit",
        &[KEY_HANDLE_INVALID, OBJECT_HANDLE_INVALID],
        Cure::Handle,
    ),
    (
        "C_DecryptInit",
        &[KEY_HANDLE_INVALID, UNWRAPPING_KEY_HANDLE_INVALID],
        Cure::Handle,
    ),
    (
        "C_Sign",
        &[
            DEVICE_ERROR,
            DEVICE_REMOVED,
            TOKEN_NOT_PRESENT,
            USER_NOT_LOGGED_IN,
            CRYPTOKI_NOT_INITIALIZED,
            GENERAL_ERROR,
            FUNCTION_FAILED,
            VENDOR_DEFINED,
        ],
        Cure::Process,
    ),
    (
        "C_Decrypt",
        &[
            DEVICE_ERROR,
            DEVICE_REMOVED,
            TOKEN_NOT_PRESENT,
            USER_NOT_LOGGED_IN,
        ],
        Cure::Process,
    ),
    ("C_Encrypt", &[DEVICE_ERROR, GENERAL_ERROR], Cure::Process),
    ("C_WrapKey", &[DEVICE_ERROR, GENERAL_ERROR], Cure::Process),
    (
        "C_Decrypt",
        &[
            GENERAL_ERROR,
            FUNCTION_FAILED,
            ENCRYPTED_DATA_INVALID,
            VENDOR_DEFINED,
        ],
        Cure::Canary,
    ),
    (
        "C_UnwrapKey",
        &[GENERAL_ERROR, WRAPPED_KEY_INVALID],
        Cure::Canary,
    ),
    (
        "C_SignInit",
        &[
            MECHANISM_INVALID,
            KEY_FUNCTION_NOT_PERMITTED,
            FUNCTION_NOT_SUPPORTED,
        ],
        Cure::Told,
    ),
    ("C_Encrypt", &[DATA_LEN_RANGE], Cure::Told),
    ("C_DecryptInit", &[MECHANISM_INVALID], Cure::Told),
    // After the process was replaced for another reason.
    ("C_Login", &[PIN_INCORRECT, PIN_LOCKED], Cure::Stop),
];

fn label(name: &str) -> KeyLabel {
    KeyLabel(name.to_owned())
}

async fn sealed_under_a_key(token: &HsmToken) -> (WrappedKey, SealedBytes) {
    let key = token.generate_wrapped(&label("kek")).await.expect("a key");
    let sealed = token.seal(&key, b"context", b"secret").await;
    (key, sealed.expect("sealed"))
}

struct Scene {
    hsm: FaultyHsm,
    token: std::sync::Arc<HsmToken>,
    key: WrappedKey,
    sealed: SealedBytes,
    other_key: WrappedKey,
    other_sealed: SealedBytes,
}

impl Scene {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut strongroom_pkcs11::HsmConfig)) -> Self {
        let hsm = FaultyHsm::new().await;
        let mut config = hsm.config();
        // One session, so that the one which fails is the one that is used next.
        config.sessions = 1;
        // One key is kept, so that of two used in turn each is unwrapped every time.
        config.cached_keys_max = 1;
        change(&mut config);
        let token = HsmToken::start(config).await.expect("it starts");
        token.create_kek(&label("kek")).await.expect("made");
        token.create_mac_key(&label("mac")).await.expect("made");
        token
            .create_signing_key(&label("sign"))
            .await
            .expect("made");
        let (key, sealed) = sealed_under_a_key(&token).await;
        let (other_key, other_sealed) = sealed_under_a_key(&token).await;
        let scene = Self {
            hsm,
            token,
            key,
            sealed,
            other_key,
            other_sealed,
        };
        scene.call("C_Sign").await.expect("well");
        scene
    }

    /// The call of the seam that comes to call `function`, with its answer checked.
    async fn call(&self, function: &str) -> Result<(), TokenError> {
        let token = &self.token;
        match function {
            "C_Sign" | "C_SignInit" | "C_Login" => {
                let mac = token.mac(&label("mac"), b"message").await?;
                assert_eq!(mac, token.mac(&label("mac"), b"message").await?);
            }
            "C_Encrypt" | "C_EncryptInit" => {
                let sealed = token.seal(&self.key, b"another", b"secret").await?;
                let opened = token.open(&self.key, b"another", &sealed).await?;
                assert_eq!(opened.as_slice(), b"secret");
            }
            "C_Decrypt" | "C_DecryptInit" => {
                let opened = token.open(&self.key, b"context", &self.sealed).await?;
                assert_eq!(opened.as_slice(), b"secret");
            }
            "C_UnwrapKey" => {
                for (key, sealed) in [
                    (&self.key, &self.sealed),
                    (&self.other_key, &self.other_sealed),
                ] {
                    let opened = token.open(key, b"context", sealed).await?;
                    assert_eq!(opened.as_slice(), b"secret");
                }
            }
            "C_WrapKey" => {
                let key = token.generate_wrapped(&label("kek")).await?;
                let sealed = token.seal(&key, b"context", b"secret").await?;
                let opened = token.open(&key, b"context", &sealed).await?;
                assert_eq!(opened.as_slice(), b"secret");
            }
            other => panic!("no call is known to come to {other}"),
        }
        Ok(())
    }

    fn calls(&self) -> Vec<usize> {
        ["C_OpenSession", "C_FindObjectsInit", "C_Login"]
            .map(|function| self.hsm.calls(function))
            .to_vec()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_return_value_of_each_function_is_answered_as_the_table_says() {
    let scene = Scene::new().await;
    for (function, codes, cure) in TABLE {
        for code in codes {
            if cure == Cure::Stop {
                continue;
            }
            let case = format!("{function} answers {code:#x}: {cure:?}");
            // The process may be a new one, which has not found its keys yet.
            scene.call(function).await.expect(&case);
            let pid = scene.token.pid();
            let before = scene.calls();
            scene.hsm.once(function, Act::Answer(*code));
            let answer = scene.call(function).await;
            let after = scene.calls();
            let more: Vec<usize> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
            let [sessions, searches, logins] = more[..] else {
                panic!("three functions are counted");
            };
            assert_eq!(scene.hsm.faults().standing(), [], "{case}: it was met");
            let same = scene.token.pid() == pid;
            match cure {
                Cure::Session | Cure::Canary => {
                    answer.expect(&case);
                    assert!(same && logins == 0 && sessions <= 1, "{case}: {more:?}");
                }
                Cure::Handle => {
                    answer.expect(&case);
                    assert!(same && logins == 0 && searches >= 1, "{case}: {more:?}");
                }
                Cure::Process => {
                    answer.expect(&case);
                    assert!(!same && logins == 1 && searches >= 1, "{case}: {more:?}");
                }
                Cure::Told | Cure::Stop => {
                    let error = answer.expect_err(&case);
                    assert!(
                        matches!(error, TokenError::Unsupported { .. }),
                        "{case}: {error:?}"
                    );
                    assert!(same && logins == 0 && searches == 0, "{case}: {more:?}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_pin_stops_the_token_for_good() {
    for (function, codes, cure) in TABLE {
        for code in codes.iter().filter(|_| cure == Cure::Stop) {
            let scene = Scene::new().await;
            let logins = scene.hsm.calls(function);
            scene.hsm.faults().set(&[
                Rule::once("C_Sign", Act::Crash),
                Rule::once(function, Act::Answer(*code)),
            ]);
            for _ in 0..3 {
                let error = scene.call("C_Sign").await.expect_err("stopped");
                assert!(matches!(error, TokenError::Pin { .. }), "{error:?}");
            }
            assert_eq!(scene.hsm.calls(function), logins + 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ciphertext_refused_again_and_again_by_a_token_that_is_well_is_not_authentic() {
    let scene = Scene::new().await;
    let pid = scene.token.pid();
    let mut changed = scene.sealed.clone();
    changed.bytes[0] ^= 1;
    let error = scene.token.open(&scene.key, b"context", &changed).await;
    let error = error.expect_err("it was changed");
    assert!(matches!(error, TokenError::NotAuthentic), "{error:?}");
    assert_eq!(scene.token.pid(), pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_or_after_the_work_is_mended_in_every_function() {
    let scene = Scene::new().await;
    for function in [
        "C_Sign",
        "C_Encrypt",
        "C_Decrypt",
        "C_WrapKey",
        "C_UnwrapKey",
    ] {
        for act in [
            Act::Crash,
            Act::CrashLate,
            Act::AnswerLate(DEVICE_ERROR),
            Act::AnswerLate(SESSION_HANDLE_INVALID),
        ] {
            scene.hsm.once(function, act);
            scene.call(function).await.expect("it is mended");
            assert_eq!(scene.hsm.faults().standing(), [], "{function} {act:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_of_a_wrong_length_or_with_a_wrong_bit_is_never_given_out() {
    let scene = Scene::new().await;
    for function in ["C_Sign", "C_Encrypt", "C_Decrypt", "C_WrapKey"] {
        for act in [
            Act::Overstate(8),
            Act::Understate(1),
            Act::Lengthen(4),
            Act::Shorten(1),
            Act::Corrupt(0),
            Act::Corrupt(61),
        ] {
            scene.hsm.once(function, act);
            scene.call(function).await.expect("the right answer");
            assert_eq!(scene.hsm.faults().standing(), [], "{function} {act:?}");
        }
    }
    let public = scene.token.public_key(&label("sign")).await.expect("there");
    scene.hsm.once("C_Sign", Act::Corrupt(9));
    let signature = scene.token.sign(&label("sign"), b"a checkpoint").await;
    aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, public)
        .verify(b"a checkpoint", &signature.expect("signed"))
        .expect("it verifies");
}

/// What the check of answers is for.
#[tokio::test(flavor = "multi_thread")]
async fn an_output_with_a_wrong_bit_is_given_out_where_answers_are_not_checked() {
    let scene = Scene::with(|config| config.checks_answers = false).await;
    scene.hsm.once("C_Decrypt", Act::Corrupt(0));
    let opened = scene.token.open(&scene.key, b"context", &scene.sealed);
    assert_eq!(opened.await.expect("opened").as_slice(), b"recret");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_overestimates_every_length_is_used_all_the_same() {
    let scene = Scene::new().await;
    let pid = scene.token.pid();
    scene.hsm.always("C_WrapKey", Act::Overstate(8));
    for _ in 0..3 {
        let key = scene.token.generate_wrapped(&label("kek")).await;
        assert_eq!(key.expect("a key").bytes.len(), 40);
    }
    assert_eq!(scene.token.pid(), pid);
}

/// The client of a remote module answers nothing but errors once its server was away, though the
/// server is back: it has to be initialised anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_has_lost_its_server_is_initialised_anew() {
    let scene = Scene::new().await;
    for function in ["C_Decrypt", "C_UnwrapKey", "C_Sign"] {
        scene.hsm.once(function, Act::Disconnect);
        let pid = scene.token.pid();
        scene.call(function).await.expect("it is mended");
        assert_ne!(scene.token.pid(), pid);
    }
    // Nobody calls in vain while the server is away, and the first call after it is answered.
    scene.hsm.faults().set(&[
        Rule::once("C_Sign", Act::Disconnect),
        Rule {
            times: 3,
            ..Rule::once("C_GetSlotList", Act::Answer(DEVICE_ERROR))
        },
    ]);
    scene
        .call("C_Sign")
        .await
        .expect("answered when it is back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_is_ended_by_the_watchdog_in_every_function() {
    let scene = Scene::with(|config| config.call_time_max = Duration::from_millis(300)).await;
    for function in ["C_Sign", "C_Encrypt", "C_Decrypt", "C_UnwrapKey"] {
        scene.hsm.once(function, Act::Hang);
        let pid = scene.token.pid();
        scene.call(function).await.expect("it is made again");
        assert_ne!(scene.token.pid(), pid, "{function}");
    }
    // A module that is slow, but within its time, is let be.
    let pid = scene.token.pid();
    scene.hsm.once("C_Sign", Act::Delay(100));
    scene.call("C_Sign").await.expect("slow");
    assert_eq!(scene.token.pid(), pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_module_loses_sight_of_once_is_not_said_to_be_missing() {
    let scene = Scene::new().await;
    // The handle is forgotten, and the search for it finds nothing the first time.
    scene.hsm.faults().set(&[
        Rule::once("C_SignInit", Act::Answer(KEY_HANDLE_INVALID)),
        Rule::once("C_FindObjects", Act::Answer(0)),
    ]);
    scene.call("C_Sign").await.expect("it is there");
    assert_eq!(scene.hsm.faults().standing(), []);
}
