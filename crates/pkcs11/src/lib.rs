//! The one crate that sees PKCS#11: module worker process, sessions, mechanism profiles, token
//! conformance test.
//!
//! Above it stands [`Token`]: a few narrow operations with no handle, session or mechanism in
//! them. A caller names keys by label or carries them wrapped, so a token process that dies and
//! is started again is not noticed by anybody.
//!
//! Three engines: [`HsmToken`], a PKCS#11 module in a supervised child process; [`TokenPair`], two
//! of those that serve as one; and [`MemoryToken`], software for tests. The daemon itself never loads a module: the child is the
//! daemon's own executable, started with a hidden subcommand that calls [`worker_main`].

mod attributes;
mod config;
pub mod conformance;
mod der;
mod hsm;
mod limits;
mod memory;
mod memory_pairs;
mod pair;
mod provision;
mod spec;
mod supervisor;
mod token;
mod wire;
mod worker;

pub use attributes::KeyAttributes;
pub use config::{HsmConfig, ModuleConfig, WorkerCommand};
pub use hsm::HsmToken;
pub use memory::MemoryToken;
pub use pair::{MemberState, MemberStatus, TokenPair, Transcript, make_pair};
pub use provision::init_token;
pub use spec::{
    CarriedKind, ImportPath, ImportWrapping, MacSpec, OaepHash, PairSpec, PairUse, SignatureHash,
    SignatureScheme,
};
pub use token::{
    ExportedKeys, ImportedKey, KeyLabel, SealedBytes, Token, TokenError, TokenFunction,
    TokenIdentity, TokenKeys, WrappedKey, WrappedPair,
};
pub use worker::{is_worker, worker_main};
