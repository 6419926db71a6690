//! The process: its runtime, its end, what nobody may look at, and secrets that it draws.

use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use strongroom_environment::{Entropy as _, SystemEntropy};
use zeroize::Zeroizing;

/// A new bearer token: 256 random bits as base64url.
pub(crate) fn new_bearer_token() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    SystemEntropy.fill(&mut *bytes);
    Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()))
}

/// Waits until the process is asked to end.
pub(crate) async fn asked_to_end() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("asked to end; requests under way are finished first");
    Ok(())
}

/// Makes sure that no memory of this process reaches a disk or another process.
pub(crate) fn harden() -> anyhow::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )
    .context("core dumps cannot be switched off")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("the process cannot be closed to debuggers")?;
    Ok(())
}

/// A runtime for serving.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}

/// How long the blocking pool may take to end after everything is closed.
pub(crate) const POOL_END_MAX: Duration = Duration::from_secs(5);
