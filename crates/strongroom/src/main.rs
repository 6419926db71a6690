//! The binary: configuration, wiring, command line.
#![deny(unsafe_code)]

mod allocator;
mod command;
mod config;
mod daemon;
mod data_dir;
mod due;
mod engines;
mod escrow;
mod failure;
mod key_daemon;
mod listen;
mod logging;
mod process;
mod remote;
mod rewrap;
mod terminal;
mod tls;
mod token;

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: allocator::WipingAllocator = allocator::WipingAllocator;

/// The hidden subcommand under which this executable drives a PKCS#11 module.
pub(crate) const WORKER_SUBCOMMAND: &str = "pkcs11-worker";

fn main() -> ExitCode {
    // The module's process takes its orders from the daemon, not from a command line.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == WORKER_SUBCOMMAND)
    {
        return strongroom_pkcs11::worker_main();
    }
    panics_in_one_line();
    let arguments = command::Arguments::parse();
    match command::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            failure::complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Where a panic is not news: the metadata engine panics on pages that something else has changed,
/// and `strongroom-meta` turns that into the finding that they are damaged.
const CAUGHT_IN: &str = "/redb-";

/// A panic is a fault of this program. It is told in one line of the log, without a backtrace
/// that would show what lay in memory.
fn panics_in_one_line() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(|| "somewhere".to_owned(), ToString::to_string);
        if place.contains(CAUGHT_IN) {
            tracing::debug!(place, "the metadata engine panicked");
            return;
        }
        let reason = panic.payload_as_str().unwrap_or("without a reason");
        if tracing::dispatcher::has_been_set() {
            tracing::error!(place, reason, "a part of the program panicked");
        } else {
            let told = format!("strongroom: panicked at {place}: {reason}; please report this\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), told.as_bytes());
        }
    }));
}
