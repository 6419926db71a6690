//! What lies where in a data directory, and the files only its owner may read.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use zeroize::Zeroizing;

use crate::failure::advised;

/// The metadata engine's file.
pub(crate) const METADATA: &str = "metadata.redb";
/// The directory of the blob volumes.
pub(crate) const VOLUMES: &str = "volumes";
/// The file that makes a directory a cold tier; see `docs/format/lifecycle.md`.
pub(crate) const COLD_TIER_MARK: &str = "strongroom-cold-tier";
/// The directory of the audit log.
pub(crate) const AUDIT: &str = "audit";
/// The file beside the audit log that holds its verifier key.
pub(crate) const VERIFIER_KEY: &str = "audit.vkey";
/// What a client needs to reach a `strongroom dev` of this directory.
pub(crate) const CLIENT_FILE: &str = "client.json";
/// The token of `strongroom dev`.
pub(crate) const TOKEN: &str = "token";
/// The date of the simulated clock.
pub(crate) const SIMULATED_CLOCK: &str = "simulated-clock";

/// Makes a directory that only its owner may enter, and those above it.
pub(crate) fn make(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))
}

/// Replaces a file, durably, by one that only its owner may read.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let told = || format!("cannot write {}", path.display());
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .with_context(told)?;
    file.write_all(content).with_context(told)?;
    file.sync_all().with_context(told)?;
    std::fs::rename(&new, path).with_context(told)?;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))
        .and_then(|directory| directory.sync_all())
        .with_context(told)
}

/// Writes a new file, durably, that only its owner may read. One that is there already is kept.
pub(crate) fn create_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let told = || format!("cannot write {}", path.display());
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(advised(
                anyhow!("there is a file {} already", path.display()),
                "nothing was written; choose another path, or move that file away",
            ));
        }
        opened => opened.with_context(told)?,
    };
    file.write_all(content).with_context(told)?;
    file.sync_all().with_context(told)
}

/// Reads a secret from a file that nobody but its owner may read.
pub(crate) fn read_secret(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let told = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(told)?;
    let mode = file.metadata().with_context(told)?.mode();
    if mode & 0o077 != 0 {
        return Err(advised(
            anyhow!(
                "{} may be read by others (mode {:03o})",
                path.display(),
                mode & 0o777
            ),
            format!("run `chmod 600 {}`", path.display()),
        ));
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).with_context(told)?;
    let secret = Zeroizing::new(text.trim().to_owned());
    if secret.is_empty() {
        return Err(advised(
            anyhow!("{} is empty", path.display()),
            "write the secret into it",
        ));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("pin");
        write_private(&path, b"1234\n").expect("written");
        assert_eq!(read_secret(&path).expect("readable").as_str(), "1234");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
        let error = read_secret(&path).expect_err("others may read it");
        assert!(error.to_string().contains("may be read by others"));
    }

    #[test]
    fn a_file_that_is_there_is_not_written_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ada.key");
        create_private(&path, b"one").expect("written");
        assert_eq!(read_secret(&path).expect("readable").as_str(), "one");
        create_private(&path, b"two").expect_err("it is there");
        assert_eq!(read_secret(&path).expect("readable").as_str(), "one");
    }

    #[test]
    fn an_empty_file_is_not_a_secret() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("pin");
        write_private(&path, b"\n").expect("written");
        let error = read_secret(&path).expect_err("it is empty");
        assert!(error.to_string().ends_with("pin is empty"));
    }
}
