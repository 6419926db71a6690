//! SoftHSM fixtures, fault-injecting seams, a daemon in a test; a dev-dependency only.
//!
//! A test binary that uses a [`SoftHsm`] names [`pkcs11_worker!`] once at its top level: the
//! module runs in a child process, which is the test binary itself, started again.

mod counts;
mod faulty_hsm;
mod faulty_token;
mod softhsm;
pub mod token_suite;
mod token_suite_imports;
mod token_suite_pairs;

pub use counts::Counts;
pub use faulty_hsm::FaultyHsm;
pub use faulty_token::FaultyToken;
pub use softhsm::{SoftHsm, worker_command};
pub use strongroom_faulty_module::{Act, Faults, Rule};
pub use token_suite_imports::wrap_for_import;

/// Makes this test binary able to be the child process that holds a PKCS#11 module.
///
/// It defines an ignored test, in which the child process spends its life. Run as a test, it has
/// nothing to do.
#[macro_export]
macro_rules! pkcs11_worker {
    () => {
        #[test]
        #[ignore = "the child process of the other tests lives in it"]
        fn pkcs11_worker() {
            $crate::be_worker_if_started_as_one();
        }
    };
}

/// What [`pkcs11_worker!`] expands to.
pub fn be_worker_if_started_as_one() {
    if strongroom_pkcs11::is_worker() {
        // It returns only on failure, which it has told on standard error.
        let _ = strongroom_pkcs11::worker_main();
        panic!("the child process could not do its work");
    }
}
