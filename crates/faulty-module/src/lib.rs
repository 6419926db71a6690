//! A PKCS#11 module for tests: it does what the module named by the environment variable
//! [`REAL_MODULE`] does, but where a [`Rule`] says otherwise.
//!
//! Rules lie in a directory, named by [`RULES_DIRECTORY`]; a test writes them with [`Faults`]
//! while the module is in use in another process. A rule names a function, how many of its calls
//! are spared, how many it befalls, and what happens to those. What it counts outlives the
//! process that holds the module, so a rule that kills it is not met again by the next one.

mod faults;
mod module;
mod rule;

use std::path::PathBuf;

pub use faults::Faults;
pub use rule::{Act, Rule};

/// The environment variable that names the module behind this one.
pub const REAL_MODULE: &str = "FAULTY_MODULE_REAL";
/// The environment variable that names the directory of the rules.
pub const RULES_DIRECTORY: &str = "FAULTY_MODULE_RULES";

/// Where the shared library is, seen from a test: cargo builds it with the tests that depend on
/// this crate, and puts it beside them.
///
/// # Panics
/// When the running program is no test or benchmark built by cargo.
#[must_use]
pub fn library() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let library = test.with_file_name("libstrongroom_faulty_module.so");
    assert!(
        library.exists(),
        "{} is built with the tests that depend on it",
        library.display()
    );
    library
}
