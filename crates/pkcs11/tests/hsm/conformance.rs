//! The conformance test of real modules.

use std::path::{Path, PathBuf};
use std::process::Command;

use secrecy::SecretString;
use strongroom_pkcs11::conformance::{self, Outcome, Report, Weight};
use strongroom_pkcs11::{HsmConfig, HsmToken, ModuleConfig, TokenError};
use strongroom_testkit::{SoftHsm, worker_command};

fn files_below(directory: &Path) -> usize {
    std::fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| if path.is_dir() { files_below(&path) } else { 1 })
        .sum()
}

#[tokio::test]
async fn softhsm_is_fit_for_use() {
    let hsm = SoftHsm::new().await;
    let before = files_below(hsm.directory());
    let report = conformance::run(&hsm.config()).await.expect("a report");
    assert!(report.passed, "{report}");
    assert_eq!(report.token.profile, "kw+gcm");
    assert_eq!(report.token.serial, hsm.identity().serial);
    assert!(
        report
            .checks
            .iter()
            .all(|check| check.outcome == Outcome::Passed),
        "{report}"
    );
    assert!(report.checks.len() > 20);
    assert_eq!(
        files_below(hsm.directory()),
        before,
        "a key was left behind"
    );

    let json = serde_json::to_string(&report).expect("JSON");
    assert!(
        json.contains(r#""weight":"required","outcome":"passed""#),
        "{json}"
    );
    let again: Report = serde_json::from_str(&json).expect("a report");
    assert_eq!(again, report);
    let page = report.to_string();
    assert!(page.ends_with("Verdict  fit for use"), "{page}");
    assert!(!page.contains(SoftHsm::PIN) && !json.contains(SoftHsm::PIN));
}

#[tokio::test]
async fn two_tests_of_one_token_do_not_disturb_each_other() {
    let hsm = SoftHsm::new().await;
    let config = hsm.config();
    for (first, second) in [
        tokio::join!(conformance::run(&config), conformance::run(&config)),
        tokio::join!(conformance::run(&config), conformance::run(&config)),
    ] {
        assert!(first.expect("a report").passed);
        assert!(second.expect("a report").passed);
    }
}

const NSS_MODULES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/libsoftokn3.so",
    "/usr/lib/aarch64-linux-gnu/libsoftokn3.so",
    "/usr/lib64/libsoftokn3.so",
];

/// NSS softokn hands out keys that were made never to leave. It is the proof that the check
/// catches what it is there for, on a machine that has it (Debian: libnss3, libnss3-tools).
#[tokio::test]
async fn nss_is_refused_since_its_keys_leave_it() {
    let Some(module) = NSS_MODULES.iter().map(PathBuf::from).find(|it| it.exists()) else {
        println!("skipped: NSS is not installed");
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let password = directory.path().join("password");
    std::fs::write(&password, "a test's PIN\n").expect("a file");
    let database = format!("sql:{}", directory.path().display());
    let Ok(made) = Command::new("certutil")
        .args(["-N", "-d", &database, "-f"])
        .arg(&password)
        .status()
    else {
        println!("skipped: certutil is not installed");
        return;
    };
    assert!(made.success());
    let config = HsmConfig::new(
        ModuleConfig {
            module,
            env: Vec::new(),
            token_label: "NSS Certificate DB".into(),
            reserved_init_args: Some(format!(
                "configDir='{database}' certPrefix='' keyPrefix='' secmod='secmod.db' flags="
            )),
        },
        SecretString::from("a test's PIN"),
        worker_command(),
    );
    let report = conformance::run(&config).await.expect("a report");
    assert!(!report.passed, "{report}");
    let wrapped_out = report
        .checks
        .iter()
        .find(|check| check.name == "a key made never to leave refuses to be wrapped out")
        .expect("it was checked");
    assert_eq!(wrapped_out.weight, Weight::Required);
    assert_eq!(wrapped_out.outcome, Outcome::Failed, "{report}");
    assert!(
        wrapped_out.detail.contains("was wrapped out by"),
        "{report}"
    );
    let error = HsmToken::start(config).await.expect_err("it is not fit");
    let TokenError::Unsupported { reason } = error else {
        panic!("{error:?}");
    };
    assert!(reason.contains("refuses to be wrapped out"), "{reason}");
}
