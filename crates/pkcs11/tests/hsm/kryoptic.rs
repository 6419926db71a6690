//! Kryoptic, whose module `STRONGROOM_TEST_KRYOPTIC` names: building it takes longer than all other
//! tests, so these are asked for by name (`hsm/kryoptic/README.md` says how).

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;
use strongroom_pkcs11::{
    HsmConfig, HsmToken, KeyLabel, ModuleConfig, PairSpec, Token, TokenError, TokenKeys, TokenPair,
    conformance, init_token, make_pair,
};
use strongroom_testkit::{SoftHsm, token_suite, worker_command};
use tempfile::TempDir;

/// An initialised token of Kryoptic in a temporary directory.
struct Kryoptic {
    _directory: TempDir,
    config: HsmConfig,
}

impl Kryoptic {
    async fn new() -> Self {
        let module = std::env::var_os("STRONGROOM_TEST_KRYOPTIC")
            .map(PathBuf::from)
            .expect("STRONGROOM_TEST_KRYOPTIC names the module");
        let directory = tempfile::tempdir().expect("a directory");
        let configuration = directory.path().join("kryoptic.conf");
        let database = directory.path().join("token.sql");
        std::fs::write(
            &configuration,
            format!(
                "[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n",
                database.display()
            ),
        )
        .expect("a file");
        let config = HsmConfig::new(
            ModuleConfig {
                module,
                env: vec![(
                    "KRYOPTIC_CONF".into(),
                    configuration.to_string_lossy().into_owned(),
                )],
                token_label: "strongroom-test".into(),
                reserved_init_args: None,
            },
            SecretString::from("a test's user PIN"),
            worker_command(),
        );
        init_token(&config, &SecretString::from("a test's officer PIN"))
            .await
            .expect("an empty token");
        Self {
            _directory: directory,
            config,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "building Kryoptic takes longer than all other tests"]
async fn it_is_fit_for_use_and_keeps_the_contract() {
    let hsm = Kryoptic::new().await;
    let report = conformance::run(&hsm.config).await.expect("a report");
    assert!(report.passed, "{report}");
    let token = HsmToken::start(hsm.config.clone())
        .await
        .expect("it starts");
    token_suite::run_but_pairs(Arc::clone(&token) as _).await;
    // It holds to RFC 3394, which wraps no private key of such a length.
    let kek = KeyLabel("kek".into());
    let error = token.generate_wrapped_pair(&kek, PairSpec::P256).await;
    let error = error.expect_err("it is not wrapped");
    assert!(matches!(error, TokenError::Unsupported { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "building Kryoptic takes longer than all other tests"]
async fn it_makes_a_pair_with_softhsm_either_way() {
    let label = |name: &str| KeyLabel(name.to_owned());
    let keys = TokenKeys {
        kek: label("kek"),
        mac: label("mac"),
        signing: label("signing"),
    };
    for kryoptic_first in [true, false] {
        let kryoptic = Kryoptic::new().await;
        let softhsm = SoftHsm::new().await;
        let mut configs = [kryoptic.config.clone(), softhsm.config()];
        if !kryoptic_first {
            configs.reverse();
        }
        let [first, second] = configs;
        let one = HsmToken::start(first.clone()).await.expect("it starts");
        let other = HsmToken::start(second.clone()).await.expect("it starts");
        make_pair(&one, &other, &keys).await.expect("blank tokens");
        drop((one, other));
        let pair = TokenPair::start(first, second, keys.clone())
            .await
            .expect("they are a pair");
        pair.health().await.expect("well");
    }
}
