//! The token seam with real PKCS#11 modules behind it, well and unwell.

mod conformance;
mod engines;
mod faults;
mod kryoptic;
mod metrics;
mod pair;
mod process;
mod provisioning;
mod refusals;
mod resilience;

strongroom_testkit::pkcs11_worker!();
