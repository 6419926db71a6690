//! What it takes to reach a token: the module, the PIN, the process, the patience.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// A PKCS#11 module and the token in it.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ModuleConfig {
    /// The shared library.
    pub module: PathBuf,
    /// Environment variables for the module, such as `SOFTHSM2_CONF`.
    ///
    /// The child process gets these, and of the daemon's own environment only what locates
    /// libraries, home and language: a secret in the daemon's environment does not reach it.
    pub env: Vec<(String, String)>,
    /// The label of the token.
    pub token_label: String,
    /// The string some modules want in `pReserved` of `C_Initialize` (NSS softokn does).
    pub reserved_init_args: Option<String>,
}

impl fmt::Debug for ModuleConfig {
    /// Names the environment variables without their values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ModuleConfig")
            .field("module", &self.module)
            .field("env", &names)
            .field("token_label", &self.token_label)
            .field("reserved_init_args", &self.reserved_init_args)
            .finish()
    }
}

/// How to start the child process: a program that calls [`worker_main`](crate::worker_main).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments. They are visible to every user of the machine; nothing secret is in them.
    pub args: Vec<OsString>,
}

impl WorkerCommand {
    /// The running executable itself with the argument `subcommand`.
    ///
    /// It is named by `/proc/self/exe`, so that it is the same program even after the file was
    /// replaced by an upgrade.
    #[must_use]
    pub fn this_executable(subcommand: &str) -> Self {
        Self {
            program: PathBuf::from("/proc/self/exe"),
            args: vec![subcommand.into()],
        }
    }
}

/// Everything [`HsmToken::start`](crate::HsmToken::start) needs.
#[derive(Clone)]
pub struct HsmConfig {
    /// The module and the token.
    pub module: ModuleConfig,
    /// The user PIN. It reaches the child process in its first message only.
    pub pin: SecretString,
    /// How to start the child process.
    pub worker: WorkerCommand,
    /// How many sessions, each with a thread, work at once in the child process (1 to 64).
    pub sessions: usize,
    /// How many unwrapped keys are kept on the token as session objects.
    pub cached_keys_max: usize,
    /// Whether the token is asked twice where its answer cannot be checked otherwise: what was
    /// sealed is opened again, and what is opened or authenticated is so twice. A module that
    /// gives wrong bytes and reports success is found out by it, at about twice the work. Keys
    /// that are wrapped and signatures are checked in any case.
    pub checks_answers: bool,
    /// Whether another token serves in the place of this one while it is started again: callers
    /// are then told so at once, and not kept waiting.
    pub has_partner: bool,
    /// A call that has run longer means a hung module: its process is killed.
    pub call_time_max: Duration,
    /// Loading the module, logging in and the conformance test may take this long.
    pub start_time_max: Duration,
    /// How long a caller waits in all, over restarts, before it is told
    /// [`TokenError::Unavailable`](crate::TokenError::Unavailable).
    pub patience: Duration,
}

impl HsmConfig {
    /// A configuration with the usual limits: 4 sessions, 1,024 kept keys, answers checked, 10 s
    /// for a call, 60 s for a start, 30 s of patience.
    #[must_use]
    pub fn new(module: ModuleConfig, pin: SecretString, worker: WorkerCommand) -> Self {
        Self {
            module,
            pin,
            worker,
            sessions: 4,
            cached_keys_max: 1_024,
            checks_answers: true,
            has_partner: false,
            call_time_max: Duration::from_secs(10),
            start_time_max: Duration::from_secs(60),
            patience: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for HsmConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HsmConfig")
            .field("module", &self.module)
            .field("worker", &self.worker)
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}
