//! The binary: configuration, wiring, command line.
#![deny(unsafe_code)]

mod allocator;
mod command;
mod config;
mod daemon;
mod data_dir;
mod due;
mod listen;
mod logging;
mod remote;

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
    let arguments = command::Arguments::parse();
    match command::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            command::complain(&error);
            ExitCode::FAILURE
        }
    }
}
