//! SoftHSM behind the module that fails as it is told.

use strongroom_faulty_module::{Act, Faults, REAL_MODULE, RULES_DIRECTORY, Rule, library};
use strongroom_pkcs11::HsmConfig;

use crate::softhsm::SoftHsm;

/// An initialised SoftHSM token whose module can be made to fail.
#[derive(Debug)]
pub struct FaultyHsm {
    hsm: SoftHsm,
    faults: Faults,
}

impl FaultyHsm {
    /// Makes the token; nothing fails yet.
    ///
    /// # Panics
    /// As [`SoftHsm::new`].
    pub async fn new() -> Self {
        let hsm = SoftHsm::new().await;
        let directory = hsm.directory().join("faults");
        std::fs::create_dir(&directory).expect("a directory for the rules");
        Self {
            faults: Faults::at(&directory),
            hsm,
        }
    }

    /// What [`HsmToken::start`](strongroom_pkcs11::HsmToken::start) needs.
    #[must_use]
    pub fn config(&self) -> HsmConfig {
        let mut config = self.hsm.config();
        let real = std::mem::replace(&mut config.module.module, library());
        for (name, path) in [
            (REAL_MODULE, real.as_path()),
            (RULES_DIRECTORY, self.faults.directory()),
        ] {
            let path = path.to_string_lossy().into_owned();
            config.module.env.push((name.to_owned(), path));
        }
        config
    }

    /// The token behind the module.
    #[must_use]
    pub fn token(&self) -> &SoftHsm {
        &self.hsm
    }

    /// What goes wrong, and what was called.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// `act` befalls the next call of `function`, and no other rule holds.
    pub fn once(&self, function: &str, act: Act) {
        self.faults.set(&[Rule::once(function, act)]);
    }

    /// `act` befalls every call of `function`, and no other rule holds.
    pub fn always(&self, function: &str, act: Act) {
        self.faults.set(&[Rule::always(function, act)]);
    }

    /// How often `function` was called, in all processes.
    #[must_use]
    pub fn calls(&self, function: &str) -> usize {
        self.faults.calls(function)
    }
}
