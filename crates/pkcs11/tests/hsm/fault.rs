//! SoftHSM behind the module that fails as it is told (`examples/faulty_module.rs`).

use std::path::PathBuf;

use strongroom_pkcs11::HsmConfig;
use strongroom_testkit::SoftHsm;

/// An initialised SoftHSM token whose module can be made to fail.
pub(crate) struct FaultyHsm {
    hsm: SoftHsm,
    faults: PathBuf,
}

impl FaultyHsm {
    pub(crate) async fn new() -> Self {
        let hsm = SoftHsm::new().await;
        let faults = hsm.directory().join("faults");
        std::fs::create_dir(&faults).expect("a directory for the faults");
        Self { hsm, faults }
    }

    pub(crate) fn config(&self) -> HsmConfig {
        let mut config = self.hsm.config();
        let real = std::mem::replace(&mut config.module.module, faulty_module());
        for (name, path) in [
            ("FAULTY_MODULE_REAL", &real),
            ("FAULTY_MODULE_FAULTS", &self.faults),
        ] {
            let path = path.to_string_lossy().into_owned();
            config.module.env.push((name.to_owned(), path));
        }
        config
    }

    /// Has the next calls of the C function `function` do `what`.
    pub(crate) fn set(&self, function: &str, what: &str) {
        // Renamed into place, so that the module reads it whole.
        let part = self.faults.join("part");
        std::fs::write(&part, what).expect("a file");
        std::fs::rename(part, self.faults.join(function)).expect("renamed");
    }

    pub(crate) fn heal(&self, function: &str) {
        std::fs::remove_file(self.faults.join(function)).expect("the fault was set");
    }

    /// How often `function` was called, in all processes.
    pub(crate) fn calls(&self, function: &str) -> usize {
        let file = self.faults.join(format!("{function}.calls"));
        std::fs::read(file).map_or(0, |calls| calls.len())
    }
}

/// Cargo builds the examples of a package with its tests.
fn faulty_module() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let module = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("a test lies in target/<profile>/deps")
        .join("examples/libfaulty_module.so");
    assert!(
        module.exists(),
        "{} is built with the tests of this package",
        module.display()
    );
    module
}
