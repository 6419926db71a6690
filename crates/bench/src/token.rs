//! A SoftHSM token called directly from one thread: what the key service is measured against.
//!
//! It does what the key service has a token do for one request: draw a nonce and seal 32 bytes with
//! a context by AES-256-GCM, or open them, under a key that is there already.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::Attribute;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use serde::{Deserialize, Serialize};

const PIN: &str = "a benchmark's PIN";
const SECRET: [u8; 32] = [0x42; 32];
const CONTEXT: &[u8] = b"a context of about the usual length: bucket, key, version";

#[derive(Args)]
pub(crate) struct TokenArguments {
    #[arg(long)]
    module: PathBuf,
    #[arg(long)]
    duration_s: f64,
}

/// Calls per second of one thread.
#[derive(Serialize, Deserialize)]
pub(crate) struct Rates {
    pub(crate) seal_per_s: f64,
    pub(crate) open_per_s: f64,
}

/// Measures in a process of its own, since the module is configured by the environment.
pub(crate) fn measure(module: &Path, duration_s: f64) -> anyhow::Result<Rates> {
    let directory = tempfile::tempdir()?;
    let configuration = directory.path().join("softhsm2.conf");
    std::fs::write(
        &configuration,
        format!("directories.tokendir = {}\n", directory.path().display()),
    )?;
    let output = std::process::Command::new(std::env::current_exe()?)
        .args(["token", "--module"])
        .arg(module)
        .args(["--duration-s", &duration_s.to_string()])
        .env("SOFTHSM2_CONF", &configuration)
        .output()?;
    anyhow::ensure!(
        output.status.success(),
        "the token could not be measured: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

pub(crate) fn run(arguments: &TokenArguments) -> anyhow::Result<()> {
    let module = Pkcs11::new(&arguments.module)
        .with_context(|| format!("cannot load {}", arguments.module.display()))?;
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let pin = AuthPin::from(PIN);
    let slot = *module.get_slots_with_token()?.first().context("no slot")?;
    module.init_token(slot, &pin, "benchmark")?;
    // SoftHSM moves an initialised token to a slot of another number.
    let slot = *module
        .get_slots_with_initialized_token()?
        .first()
        .context("no token")?;
    let session = module.open_rw_session(slot)?;
    session.login(UserType::So, Some(&pin))?;
    session.init_pin(&pin)?;
    session.logout()?;
    session.login(UserType::User, Some(&pin))?;
    let key = session.generate_key(
        &Mechanism::AesKeyGen,
        &[
            Attribute::ValueLen(32.into()),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
        ],
    )?;
    let seal = || -> anyhow::Result<_> {
        let mut nonce = [0; 12];
        session.generate_random_slice(&mut nonce)?;
        let parameters = GcmParams::new(&mut nonce, CONTEXT, 128.into())?;
        let sealed = session.encrypt(&Mechanism::AesGcm(parameters), key, &SECRET)?;
        Ok((nonce, sealed))
    };
    let (nonce, sealed) = seal()?;
    let duration = Duration::from_secs_f64(arguments.duration_s);
    let rates = Rates {
        seal_per_s: rate(duration, || seal().map(drop))?,
        open_per_s: rate(duration, || {
            let mut nonce = nonce;
            let parameters = GcmParams::new(&mut nonce, CONTEXT, 128.into())?;
            let opened = session.decrypt(&Mechanism::AesGcm(parameters), key, &sealed)?;
            anyhow::ensure!(opened == SECRET, "the token opened something else");
            Ok(())
        })?,
    };
    println!("{}", serde_json::to_string(&rates)?);
    Ok(())
}

fn rate(duration: Duration, mut call: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut calls = 0_u64;
    while begun.elapsed() < duration {
        call()?;
        calls += 1;
    }
    Ok(calls as f64 / begun.elapsed().as_secs_f64())
}
