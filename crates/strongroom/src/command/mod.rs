//! The command line.
//!
//! Exit status: 0 done; 1 refused or failed, with one line of cause and one of what to do;
//! 2 usage.

mod audit;
mod ceremony;
mod config;
mod custodian;
mod dev;
mod escrow;
mod fsck;
mod hsm;
mod imports;
mod init;
mod keys;
mod lifecycle;
mod objects;
mod output;
mod quorum;
mod serve;
mod simulate;
mod user;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::failure::advised;
use crate::remote::RemoteArguments;

/// An S3-compatible object store in which every byte is encrypted, the keys stay in your HSM,
/// and every use of a key is on a log that others can verify.
#[derive(Parser)]
#[command(name = "strongroom", version = version(), max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Print data as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Everything on one machine with no configuration: for a first look, and for tests.
    Dev(dev::DevArguments),
    /// Serve objects, keys and the HTTP API as a configuration file says.
    Serve(serve::ServeArguments),
    /// Serve the key service alone: the KMS protocol and the audit log, no objects.
    Keyd(serve::ServeArguments),
    /// Look at configuration files.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Prepare a token and a data directory for `strongroom serve`.
    Init(init::InitArguments),
    /// Users and their access keys.
    User(WithRemote<user::UserCommand>),
    /// KMS keys: list, create, import, enable, disable, rotate, delete, back up, and what they protect.
    Keys(WithRemote<keys::KeysCommand>),
    /// Dual control: name the custodians, see what they have to approve, approve, reject.
    Quorum(WithRemote<quorum::QuorumCommand>),
    /// A custodian's signing key, and signing without a daemon.
    #[command(subcommand)]
    Custodian(custodian::CustodianCommand),
    /// Objects: which key protects each version, archive, restore.
    Objects(WithRemote<objects::ObjectsCommand>),
    /// Lifecycle: run what is due, show jobs.
    Lifecycle(WithRemote<lifecycle::LifecycleCommand>),
    /// The audit log: verify it offline, read its events, fetch proofs.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Rehearse a lifecycle policy on years of simulated time.
    Simulate(simulate::SimulateArguments),
    /// Tokens: the conformance test, making two of them a pair, the ceremony of the first day, and
    /// the escrow key.
    #[command(subcommand)]
    Hsm(hsm::HsmCommand),
    /// Check the rows of a stopped store against each other, and that the stored bytes are there.
    ///
    /// No key is used, so bytes that were changed in place are not noticed here; a read of the
    /// object notices, because every chunk is authenticated.
    Fsck(fsck::FsckArguments),
    /// Check that the stored bytes of every object of a running daemon are there, none missing.
    ///
    /// No key is used, so bytes that were changed in place are not noticed here; a read of the
    /// object notices, because every chunk is authenticated.
    Scrub(RemoteArguments),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// A subcommand that talks to a running daemon.
#[derive(Args)]
struct WithRemote<C: Subcommand> {
    #[command(flatten)]
    remote: RemoteArguments,
    #[command(subcommand)]
    what: C,
}

/// Performs a command.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let json = arguments.json;
    if !strongroom_seal::SEALS && !matches!(arguments.command, Command::Dev(_)) {
        return Err(advised(
            anyhow::anyhow!(
                "this build seals nothing and exists for benchmarks; it knows `strongroom dev` only"
            ),
            "build with `cargo build --release`",
        ));
    }
    match arguments.command {
        Command::Dev(arguments) => dev::run(arguments),
        Command::Serve(arguments) => serve::run(&arguments, crate::daemon::Scope::Whole),
        Command::Keyd(arguments) => serve::run(&arguments, crate::daemon::Scope::KeysOnly),
        Command::Config(command) => config::run(command),
        Command::Init(arguments) => client(init::run(arguments)),
        Command::User(asked) => client(user::run(asked, json)),
        Command::Keys(asked) => client(keys::run(asked, json)),
        Command::Quorum(asked) => client(quorum::run(asked, json)),
        Command::Custodian(command) => custodian::run(command, json),
        Command::Objects(asked) => client(objects::run(asked, json)),
        Command::Lifecycle(asked) => client(lifecycle::run(asked, json)),
        Command::Audit(command) => client(audit::run(command, json)),
        Command::Simulate(arguments) => simulate::run(&arguments, json),
        Command::Hsm(command) => client(hsm::run(command, json)),
        Command::Fsck(arguments) => client(fsck::run(arguments, json)),
        Command::Scrub(remote) => client(fsck::scrub(remote, json)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "strongroom", &mut script);
            output::text(&String::from_utf8_lossy(&script))
        }
    }
}

/// Runs a command that needs no more than one thread.
fn client(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

fn version() -> &'static str {
    if strongroom_seal::SEALS {
        env!("CARGO_PKG_VERSION")
    } else {
        concat!(
            env!("CARGO_PKG_VERSION"),
            " (SEALS NOTHING; for benchmarks)"
        )
    }
}
