//! The script that makes a directory for a SoftHSM token.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use secrecy::SecretString;
use strongroom_pkcs11::{HsmConfig, HsmToken, ModuleConfig, Token, init_token};
use strongroom_testkit::{SoftHsm, worker_command};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../hsm/softhsm/provision");

fn pin(directory: &Path, name: &str) -> SecretString {
    let file = directory.join(name);
    let mode = fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "{name}");
    SecretString::from(fs::read_to_string(file).expect("text"))
}

#[tokio::test]
async fn what_the_script_makes_becomes_a_token_and_is_not_made_twice() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path().join("a token's");
    let provision = || {
        Command::new(SCRIPT)
            .arg(&directory)
            .output()
            .expect("it runs")
    };
    let made = provision();
    assert!(made.status.success(), "{made:?}");
    let section = String::from_utf8(made.stdout).expect("text");
    let configuration = directory.join("softhsm2.conf");
    let expected = format!(
        r#"environment = ["SOFTHSM2_CONF={}"]"#,
        configuration.display()
    );
    assert!(section.contains(&expected), "{section}");

    let config = HsmConfig::new(
        ModuleConfig {
            module: SoftHsm::empty().module().module.clone(),
            env: vec![(
                "SOFTHSM2_CONF".into(),
                configuration.to_string_lossy().into_owned(),
            )],
            token_label: "strongroom".into(),
            reserved_init_args: None,
        },
        pin(&directory, "user.pin"),
        worker_command(),
    );
    init_token(&config, &pin(&directory, "officer.pin"))
        .await
        .expect("an empty token");
    let token = HsmToken::start(config).await.expect("a token");
    token.health().await.expect("well");

    let before = fs::read(directory.join("user.pin")).expect("there");
    let again = provision();
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert_eq!(fs::read(directory.join("user.pin")).expect("there"), before);
    let usage = Command::new(SCRIPT).output().expect("it runs");
    assert_eq!(usage.status.code(), Some(2));
}
