//! What a person reads when a command fails: one line of cause, and one of what to do.

use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};

use http::StatusCode;
use strongroom_audit::AppendError;
use strongroom_blobs::BlobError;
use strongroom_keys::KeyError;
use strongroom_meta::CommitError;
use strongroom_pkcs11::TokenError;
use strongroom_store::StoreError;

use crate::config::ConfigError;

/// Says what to do about a failure where it is known best.
pub(crate) trait Advise<T> {
    /// Adds what to do, should this have failed.
    fn advise(self, what_to_do: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Advise<T> for Result<T, E> {
    fn advise(self, what_to_do: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| advised(error, what_to_do))
    }
}

/// A failure with what to do about it.
pub(crate) fn advised(
    error: impl Into<anyhow::Error>,
    what_to_do: impl Into<String>,
) -> anyhow::Error {
    anyhow::Error::new(Advised {
        error: error.into(),
        what_to_do: what_to_do.into(),
    })
}

#[derive(Debug)]
struct Advised {
    error: anyhow::Error,
    what_to_do: String,
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Advised {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// A daemon refused a request of the command line.
#[derive(Debug, thiserror::Error)]
#[error("{detail} ({status} to {request})")]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) detail: String,
    pub(crate) request: String,
}

/// Nobody reads standard output any more, as after `| head`. There is nobody to tell.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(crate) struct OutputClosed;

/// Prints why a command failed and what to do about it.
pub(crate) fn complain(error: &anyhow::Error) {
    if error.is::<OutputClosed>() {
        return;
    }
    let mut told = io::stderr().lock();
    // Where standard error is closed there is nobody to tell either.
    let _ = writeln!(
        told,
        "strongroom: {}\n  to do: {}",
        cause(error),
        what_to_do(error)
    );
}

/// The chain of causes in one line; many errors repeat the one below them, which is left out.
fn cause(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !told.contains(&text) {
            if !told.is_empty() {
                told.push_str(": ");
            }
            told.push_str(&text);
        }
    }
    told
}

fn what_to_do(error: &anyhow::Error) -> String {
    // Whatever else would be done: it fails again while there is no room.
    if error.chain().any(is_full) {
        return MAKE_ROOM.to_owned();
    }
    if let Some(advised) = error.downcast_ref::<Advised>() {
        return advised.what_to_do.clone();
    }
    error.chain().find_map(known).map_or_else(
        || {
            "`--help` after the command says what it needs; the daemon's log may say more"
                .to_owned()
        },
        str::to_owned,
    )
}

/// What to do about errors of a known kind.
fn known(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = cause.downcast_ref::<TokenError>() {
        return Some(about_token(error));
    }
    if let Some(error) = cause.downcast_ref::<ConfigError>() {
        return Some(match error {
            ConfigError::Unreadable { .. } => "name a configuration file that can be read",
            ConfigError::Faulty { .. } => {
                "correct them; `strongroom config reference` describes every setting"
            }
        });
    }
    if let Some(refused) = cause.downcast_ref::<Refused>() {
        return Some(about_refusal(refused.status));
    }
    if cause.is::<StoreError>() {
        return Some("`strongroom fsck` says what does not fit; nothing was changed");
    }
    cause.downcast_ref::<io::Error>().map(about_system)
}

const MAKE_ROOM: &str = "make room on the disk; what is stored is whole";

/// Whether an engine says that its disk is full.
fn is_full(cause: &(dyn Error + 'static)) -> bool {
    matches!(
        cause.downcast_ref::<KeyError>(),
        Some(
            KeyError::NotCommitted(CommitError::Full)
                | KeyError::AuditUnavailable(AppendError::Full)
        )
    ) || matches!(cause.downcast_ref::<StoreError>(), Some(StoreError::Full))
        || matches!(cause.downcast_ref::<BlobError>(), Some(BlobError::Full))
        || matches!(cause.downcast_ref::<CommitError>(), Some(CommitError::Full))
        || matches!(cause.downcast_ref::<AppendError>(), Some(AppendError::Full))
        || cause.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        })
}

fn about_token(error: &TokenError) -> &'static str {
    match error {
        TokenError::NoSuchToken { .. } => {
            "check `token.label` and `token.environment`; `strongroom init --blank-token` \
             initialises a token that is blank"
        }
        TokenError::TokenExists { .. } => {
            "leave out --blank-token to use that token as it is, or choose another `token.label`"
        }
        TokenError::Module { .. } => {
            "set `token.module` to the PKCS#11 module of your token, and `token.environment` to \
             what it needs"
        }
        TokenError::Pin { reason: "locked" } => {
            "have the token's security officer unlock it; then put the new PIN into the file that \
             `token.pin_file` names, and start again"
        }
        TokenError::Pin { .. } => {
            "put the right PIN into the file that `token.pin_file` names before you start again: \
             it was tried once, and a token locks after a few wrong ones"
        }
        TokenError::Unavailable { .. } => {
            "see that the token is there and answers, for example with `strongroom hsm test`; \
             then try again"
        }
        TokenError::Unsupported { .. } => {
            "see what `strongroom hsm test` shows, and use a token that passes; one in software \
             also fails where its disk is full"
        }
        TokenError::NoPair { .. } => {
            "`strongroom hsm pair` makes the same keys on two tokens that hold none; the keys of \
             one token alone cannot be brought to another"
        }
        TokenError::KeyExists { .. } => {
            "take tokens that hold no such keys; what is on these may protect something"
        }
        _ => "check the settings under `token`; `strongroom hsm test` says more",
    }
}

fn about_refusal(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => {
            "give the administrator's token of this daemon with --admin-token-file"
        }
        StatusCode::FORBIDDEN => "ask as somebody who may do this",
        StatusCode::NOT_FOUND => {
            "check the name; `list` commands and S3 listings show what is there"
        }
        StatusCode::CONFLICT => "nothing was changed; look at the present state first",
        status if status.is_server_error() => {
            "try again; /readyz and the daemon's log say what is missing"
        }
        _ => "nothing was changed; correct the request",
    }
}

fn about_system(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "check the path; relative ones begin at the working directory",
        io::ErrorKind::PermissionDenied => {
            "run as the user that owns it, or let this user read and write it"
        }
        io::ErrorKind::AddrInUse => "end what listens there, or choose another address or port",
        io::ErrorKind::AddrNotAvailable => "choose an address that this machine has",
        io::ErrorKind::ReadOnlyFilesystem => "choose a place that can be written",
        io::ErrorKind::AlreadyExists
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory => {
            "something else is at that path: move it away, or choose another path"
        }
        _ => "see what the system says about it, for example in `dmesg`",
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_cause_is_one_line_that_says_nothing_twice() {
        let system = io::Error::from(io::ErrorKind::NotFound);
        let text = system.to_string();
        let error = anyhow::Error::new(system)
            .context(format!("the volume failed: {text}"))
            .context("the store does not open");
        assert_eq!(
            cause(&error),
            format!("the store does not open: the volume failed: {text}")
        );
    }

    #[test]
    fn what_to_do_is_what_was_advised_or_what_the_kind_of_error_asks_for() {
        let advised: anyhow::Result<()> = Err(anyhow::anyhow!("no"))
            .advise("say yes")
            .context("above it");
        let error = advised.expect_err("it failed");
        assert_eq!(what_to_do(&error), "say yes");
        assert_eq!(cause(&error), "above it: no");
        let locked = anyhow::Error::new(TokenError::Pin { reason: "locked" }).context("above");
        assert!(what_to_do(&locked).contains("security officer"));
        let full = Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull))
            .context("above")
            .advise("do something else")
            .expect_err("it failed");
        assert_eq!(what_to_do(&full), MAKE_ROOM);
        let taken = anyhow::Error::new(io::Error::from(io::ErrorKind::AddrInUse)).context("above");
        assert!(what_to_do(&taken).contains("another address"));
    }
}
