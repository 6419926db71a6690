//! Structured logs on standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::prelude::*;

use crate::config::LogSettings;

/// Targets that print whole requests when asked for detail. They stay at `info` whatever the
/// level is, because a request may hold a customer's key.
const NEVER_IN_DETAIL: [&str; 3] = ["hyper=info", "hyper_util=info", "h2=info"];

/// Starts logging for the whole process.
pub(crate) fn start(settings: &LogSettings) -> anyhow::Result<()> {
    let mut filter = EnvFilter::try_new(&settings.level)?;
    for directive in NEVER_IN_DETAIL {
        filter = filter.add_directive(directive.parse()?);
    }
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    let registry = tracing_subscriber::registry().with(filter);
    if settings.json {
        registry.with(layer.json()).try_init()?;
    } else {
        registry.with(layer.with_ansi(false)).try_init()?;
    }
    Ok(())
}
