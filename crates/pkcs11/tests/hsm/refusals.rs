//! What is wrong at the start is told at once, by its name, and tried once.

use std::path::PathBuf;

use secrecy::SecretString;
use strongroom_pkcs11::{HsmConfig, HsmToken, TokenError, WorkerCommand, conformance, init_token};
use strongroom_testkit::{Act, FaultyHsm, SoftHsm};

const DEVICE_ERROR: u64 = 0x30;
const PIN_EXPIRED: u64 = 0xA3;
const PIN_LOCKED: u64 = 0xA4;

async fn refusal(config: HsmConfig) -> TokenError {
    HsmToken::start(config)
        .await
        .expect_err("it must be refused")
}

#[tokio::test]
async fn a_wrong_pin_is_told_and_tried_once() {
    let hsm = FaultyHsm::new().await;
    let mut config = hsm.config();
    config.pin = SecretString::from("not the PIN");
    let error = refusal(config).await;
    assert!(
        matches!(
            error,
            TokenError::Pin {
                reason: "incorrect"
            }
        ),
        "{error:?}"
    );
    assert_eq!(hsm.calls("C_Login"), 1);
    // The token is as it was.
    HsmToken::start(hsm.config()).await.expect("the right PIN");
}

#[tokio::test]
async fn an_empty_or_overlong_pin_is_a_wrong_one() {
    let hsm = SoftHsm::new().await;
    for pin in [String::new(), "x".repeat(10_000)] {
        let mut config = hsm.config();
        config.pin = SecretString::from(pin);
        assert!(matches!(refusal(config).await, TokenError::Pin { .. }));
    }
}

#[tokio::test]
async fn a_locked_and_an_expired_pin_are_told_and_tried_once() {
    for (code, expected) in [(PIN_LOCKED, "locked"), (PIN_EXPIRED, "expired")] {
        let hsm = FaultyHsm::new().await;
        hsm.once("C_Login", Act::Answer(code));
        let error = refusal(hsm.config()).await;
        assert!(
            matches!(error, TokenError::Pin { reason } if reason == expected),
            "{error:?}"
        );
        assert_eq!(hsm.calls("C_Login"), 1);
    }
}

#[tokio::test]
async fn a_missing_token_is_told_by_its_label() {
    let hsm = SoftHsm::new().await;
    let mut config = hsm.config();
    config.module.token_label = "another".into();
    let error = refusal(config).await;
    assert!(
        matches!(&error, TokenError::NoSuchToken { label } if label == "another"),
        "{error:?}"
    );
    let error = refusal(SoftHsm::empty().config()).await;
    assert!(matches!(error, TokenError::NoSuchToken { .. }), "{error:?}");
}

#[tokio::test]
async fn a_missing_module_and_a_file_that_is_none_are_told_by_their_path() {
    let hsm = SoftHsm::empty();
    let no_module = hsm.directory().join("softhsm2.conf");
    for path in [PathBuf::from("/nowhere/libnothing.so"), no_module] {
        let mut config = hsm.config();
        config.module.module = path.clone();
        let error = refusal(config).await;
        assert!(
            matches!(&error, TokenError::Module { path: told, .. } if *told == path),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_module_that_cannot_read_its_configuration_is_told() {
    let hsm = SoftHsm::empty();
    let mut config = hsm.config();
    config.module.env = vec![("SOFTHSM2_CONF".into(), "/nowhere/softhsm2.conf".into())];
    let error = refusal(config).await;
    assert!(
        matches!(
            error,
            TokenError::Module { .. } | TokenError::NoSuchToken { .. }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_program_that_is_no_worker_is_told() {
    let hsm = SoftHsm::new().await;
    for program in ["/nowhere/strongroom", "/bin/true", "/bin/cat"] {
        let mut config = hsm.config();
        config.worker = WorkerCommand {
            program: program.into(),
            args: Vec::new(),
        };
        config.start_time_max = std::time::Duration::from_secs(2);
        let error = refusal(config).await;
        assert!(matches!(error, TokenError::Unavailable { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_module_that_crashes_or_hangs_at_the_start_is_told() {
    let hsm = FaultyHsm::new().await;
    for act in [Act::Crash, Act::Hang] {
        hsm.once("C_UnwrapKey", act);
        let mut config = hsm.config();
        config.start_time_max = std::time::Duration::from_secs(2);
        let error = refusal(config).await;
        assert!(matches!(error, TokenError::Unavailable { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_token_that_fails_a_required_check_is_refused_by_the_name_of_the_check() {
    let hsm = FaultyHsm::new().await;
    // A token that answers a changed ciphertext as if the device were broken.
    hsm.always("C_Decrypt", Act::Answer(DEVICE_ERROR));
    let error = refusal(hsm.config()).await;
    let TokenError::Unsupported { reason } = error else {
        panic!("{error:?}");
    };
    assert!(
        reason.contains("sealed bytes open to themselves"),
        "{reason}"
    );
    let report = conformance::run(&hsm.config()).await.expect("a report");
    assert!(!report.passed && report.failures().count() > 0);
    assert!(report.to_string().contains("REFUSED"), "{report}");
}

#[tokio::test]
async fn a_token_is_initialised_once() {
    let hsm = SoftHsm::empty();
    let officer = SecretString::from(SoftHsm::SECURITY_OFFICER_PIN);
    let made = init_token(&hsm.config(), &officer)
        .await
        .expect("an empty token");
    assert_eq!(made.label, SoftHsm::LABEL);
    assert!(!made.serial.is_empty());
    let error = init_token(&hsm.config(), &officer)
        .await
        .expect_err("it is there already");
    assert!(
        matches!(&error, TokenError::TokenExists { label } if label == SoftHsm::LABEL),
        "{error:?}"
    );
    let token = hsm.start().await.expect("its PIN is set");
    assert_eq!(token.report().token.serial, made.serial);
}

#[tokio::test]
async fn a_token_is_not_left_half_made_for_a_pin_or_label_that_does_not_fit() {
    let hsm = SoftHsm::empty();
    let officer = SecretString::from(SoftHsm::SECURITY_OFFICER_PIN);
    let mut short = hsm.config();
    short.pin = SecretString::from("1");
    let error = init_token(&short, &officer).await.expect_err("too short");
    assert!(matches!(error, TokenError::Invalid { .. }), "{error:?}");
    for label in ["", "ends in a space ", &"x".repeat(33)] {
        let mut config = hsm.config();
        config.module.token_label = label.to_owned();
        let error = init_token(&config, &officer).await.expect_err("no label");
        assert!(matches!(error, TokenError::Invalid { .. }), "{error:?}");
    }
    init_token(&hsm.config(), &officer)
        .await
        .expect("it is still empty");
}
