//! Calls per second on SoftHSM: through the supervised child process, and straight from one
//! process, which is what the supervision costs.
//!
//! `cargo bench -p strongroom-pkcs11 --bench rates`

#![expect(clippy::print_stdout, reason = "its output is the figures")]

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::Attribute;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use strongroom_environment::{Clock, SystemClock};
use strongroom_pkcs11::{
    HsmConfig, HsmToken, KeyLabel, SealedBytes, Token, WorkerCommand, WrappedKey,
};
use strongroom_testkit::SoftHsm;

const SECRET: [u8; 32] = [0x42; 32];
const CONTEXT: &[u8] = b"a context of about the usual length: bucket, key, version";
const MEASURED_FOR: Duration = Duration::from_secs(2);
const DIRECT: &str = "direct";

fn main() {
    if strongroom_pkcs11::is_worker() {
        let _ = strongroom_pkcs11::worker_main();
        return;
    }
    if std::env::args().nth(1).as_deref() == Some(DIRECT) {
        return direct();
    }
    // A module is configured by the environment, so what calls it directly is a process too.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let hsm = SoftHsm::new_with(worker()).await;
        println!("straight, one thread");
        let status = std::process::Command::new("/proc/self/exe")
            .arg(DIRECT)
            .env("MODULE", &hsm.module().module)
            .envs(hsm.module().env.iter().cloned())
            .status();
        assert!(status.expect("it runs").success());
        for (sessions, checks_answers) in [(1, true), (4, true), (4, false)] {
            let mut config = hsm.config_with(worker());
            (config.sessions, config.checks_answers) = (sessions, checks_answers);
            supervised(config).await;
        }
    });
}

fn worker() -> WorkerCommand {
    WorkerCommand {
        program: "/proc/self/exe".into(),
        args: vec![OsString::from("worker")],
    }
}

fn tell(what: &str, calls: u64, took: Duration) {
    let per_second = calls as f64 / took.as_secs_f64();
    println!("  {what:<18} {per_second:>9.0} /s");
}

async fn supervised(config: HsmConfig) {
    let (sessions, checks_answers) = (config.sessions, config.checks_answers);
    let token = HsmToken::start(config).await.expect("it starts");
    let label = |name: &str| KeyLabel(name.to_owned());
    if !token.has_key(&label("kek")).await.expect("asked") {
        token.create_kek(&label("kek")).await.expect("made");
        token.create_mac_key(&label("mac")).await.expect("made");
        token
            .create_signing_key(&label("sign"))
            .await
            .expect("made");
    }
    let key = token.generate_wrapped(&label("kek")).await.expect("made");
    let sealed = token.seal(&key, CONTEXT, &SECRET).await.expect("sealed");
    for tasks in [1, 32] {
        println!(
            "through the child, {tasks} at once, {sessions} sessions, answers {}",
            if checks_answers {
                "checked"
            } else {
                "not checked"
            }
        );
        for what in ["seal", "open", "mac", "sign", "random", "generate_wrapped"] {
            let clock = SystemClock::new();
            let begun = clock.monotonic();
            let mut running = tokio::task::JoinSet::new();
            for _ in 0..tasks {
                let (token, key, sealed) = (Arc::clone(&token), key.clone(), sealed.clone());
                let clock = SystemClock::new();
                running.spawn(async move {
                    let begun = clock.monotonic();
                    let mut calls = 0;
                    while clock.monotonic().since(begun) < MEASURED_FOR {
                        call(&token, what, &key, &sealed).await;
                        calls += 1;
                    }
                    calls
                });
            }
            let calls = running.join_all().await.into_iter().sum();
            tell(what, calls, clock.monotonic().since(begun));
        }
    }
}

async fn call(token: &HsmToken, what: &str, key: &WrappedKey, sealed: &SealedBytes) {
    let label = |name: &str| KeyLabel(name.to_owned());
    match what {
        "seal" => drop(token.seal(key, CONTEXT, &SECRET).await.expect("sealed")),
        "open" => drop(token.open(key, CONTEXT, sealed).await.expect("opened")),
        "mac" => drop(token.mac(&label("mac"), &SECRET).await.expect("a MAC")),
        "sign" => drop(token.sign(&label("sign"), &SECRET).await.expect("signed")),
        "random" => drop(token.random(32).await.expect("random bytes")),
        _ => drop(token.generate_wrapped(&label("kek")).await.expect("a key")),
    }
}

fn direct() {
    let module = std::env::var_os("MODULE").expect("set by the parent");
    let context = Pkcs11::new(module).expect("a module");
    context
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .expect("initialised");
    let slot = context.get_slots_with_initialized_token().expect("slots")[0];
    let session = context.open_rw_session(slot).expect("a session");
    session
        .login(UserType::User, Some(&AuthPin::from(SoftHsm::PIN)))
        .expect("the PIN");
    let aes = session
        .generate_key(
            &Mechanism::AesKeyGen,
            &[
                Attribute::ValueLen(32.into()),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
            ],
        )
        .expect("a key");
    let hmac = session
        .generate_key(
            &Mechanism::GenericSecretKeyGen,
            &[Attribute::ValueLen(32.into()), Attribute::Sign(true)],
        )
        .expect("a key");
    let (_, private) = session
        .generate_key_pair(
            &Mechanism::EccEdwardsKeyPairGen,
            &[Attribute::EcParams(vec![6, 3, 0x2B, 0x65, 0x70])],
            &[Attribute::Sign(true)],
        )
        .expect("a key pair");
    let seal = || {
        let mut nonce = [0; 12];
        session.generate_random_slice(&mut nonce).expect("a nonce");
        let parameters = GcmParams::new(&mut nonce, CONTEXT, 128.into()).expect("parameters");
        let sealed = session.encrypt(&Mechanism::AesGcm(parameters), aes, &SECRET);
        (nonce, sealed.expect("sealed"))
    };
    let (nonce, sealed) = seal();
    let pure = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
    assert_eq!(pure.mechanism_type(), MechanismType::EDDSA);
    measure("seal", || drop(seal()));
    measure("open", || {
        let mut nonce = nonce;
        let parameters = GcmParams::new(&mut nonce, CONTEXT, 128.into()).expect("parameters");
        let opened = session.decrypt(&Mechanism::AesGcm(parameters), aes, &sealed);
        assert_eq!(opened.expect("opened"), SECRET);
    });
    measure("mac", || {
        session
            .sign(&Mechanism::Sha256Hmac, hmac, &SECRET)
            .map(drop)
            .expect("a MAC");
    });
    measure("sign", || {
        session
            .sign(&pure, private, &SECRET)
            .map(drop)
            .expect("signed");
    });
}

fn measure(what: &str, mut call: impl FnMut()) {
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    let mut calls = 0;
    while clock.monotonic().since(begun) < MEASURED_FOR {
        call();
        calls += 1;
    }
    tell(what, calls, clock.monotonic().since(begun));
}
