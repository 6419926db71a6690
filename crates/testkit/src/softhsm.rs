//! A token of one's own for each test.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use strongroom_pkcs11::{
    HsmConfig, HsmToken, ModuleConfig, TokenError, TokenIdentity, WorkerCommand, init_token,
};
use tempfile::TempDir;

/// Where distributions put SoftHSM 2.
const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// An initialised SoftHSM token in a temporary directory that goes with this value.
///
/// Every one has a configuration and a store of its own, so any number may be used at once. The
/// module is never loaded into the test's own process.
#[derive(Debug)]
pub struct SoftHsm {
    directory: TempDir,
    identity: TokenIdentity,
    module: ModuleConfig,
}

impl SoftHsm {
    /// The user PIN of every such token.
    pub const PIN: &str = "a test's user PIN";
    /// The security officer's PIN of every such token.
    pub const SECURITY_OFFICER_PIN: &str = "a test's officer PIN";
    /// The label of every such token.
    pub const LABEL: &str = "strongroom-test";

    /// Makes the directory and initialises the token, in a child process.
    ///
    /// # Panics
    /// When SoftHSM is not installed, the test binary does not name
    /// [`pkcs11_worker!`](crate::pkcs11_worker), or the token cannot be initialised.
    pub async fn new() -> Self {
        Self::new_with(worker_command()).await
    }

    /// The same with another command for the child process, for programs that are no tests.
    ///
    /// # Panics
    /// As [`SoftHsm::new`].
    pub async fn new_with(worker: WorkerCommand) -> Self {
        let mut hsm = Self::empty();
        let officer = SecretString::from(Self::SECURITY_OFFICER_PIN);
        hsm.identity = init_token(&hsm.config_with(worker), &officer)
            .await
            .expect("the token is initialised");
        hsm
    }

    /// The same with an empty token, which nobody has initialised.
    ///
    /// # Panics
    /// When SoftHSM is not installed.
    #[must_use]
    pub fn empty() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let tokens = directory.path().join("tokens");
        std::fs::create_dir(&tokens).expect("a directory for the tokens");
        let configuration = directory.path().join("softhsm2.conf");
        std::fs::write(
            &configuration,
            format!(
                "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
                tokens.display()
            ),
        )
        .expect("a configuration file");
        let module = ModuleConfig {
            module: softhsm_module(),
            env: vec![(
                "SOFTHSM2_CONF".into(),
                configuration.to_string_lossy().into_owned(),
            )],
            token_label: Self::LABEL.into(),
            reserved_init_args: None,
        };
        Self {
            directory,
            identity: TokenIdentity {
                label: Self::LABEL.into(),
                serial: String::new(),
                manufacturer: String::new(),
                model: String::new(),
                profile: String::new(),
            },
            module,
        }
    }

    /// Where everything of this token lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Which token was made.
    #[must_use]
    pub fn identity(&self) -> &TokenIdentity {
        &self.identity
    }

    /// The module path, environment and token label.
    #[must_use]
    pub fn module(&self) -> &ModuleConfig {
        &self.module
    }

    /// What [`HsmToken::start`] needs, with this test binary as the child process.
    #[must_use]
    pub fn config(&self) -> HsmConfig {
        self.config_with(worker_command())
    }

    /// The same with another command for the child process.
    #[must_use]
    pub fn config_with(&self, worker: WorkerCommand) -> HsmConfig {
        HsmConfig::new(self.module.clone(), SecretString::from(Self::PIN), worker)
    }

    /// Starts the token.
    ///
    /// # Errors
    /// As [`HsmToken::start`].
    pub async fn start(&self) -> Result<std::sync::Arc<HsmToken>, TokenError> {
        HsmToken::start(self.config()).await
    }
}

/// The SoftHSM module of this machine; `STRONGROOM_TEST_SOFTHSM` names another.
fn softhsm_module() -> PathBuf {
    std::env::var_os("STRONGROOM_TEST_SOFTHSM")
        .map(PathBuf::from)
        .or_else(|| MODULES.iter().map(PathBuf::from).find(|path| path.exists()))
        .expect("SoftHSM 2 is installed (Debian: apt-get install softhsm2)")
}

/// The command that starts this test binary as the child process, in the test that
/// [`pkcs11_worker!`](crate::pkcs11_worker) defines.
#[must_use]
pub fn worker_command() -> WorkerCommand {
    WorkerCommand {
        program: PathBuf::from("/proc/self/exe"),
        args: [
            "--exact",
            "pkcs11_worker",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ]
        .map(Into::into)
        .to_vec(),
    }
}
