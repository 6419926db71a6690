//! The files of a directory tier. Everything here blocks.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use strongroom_environment::Timestamp;

use super::super::manifest::ArchiveDescription;
use super::super::retrievals::Requested;
use super::super::seam::{ArchiveId, ColdError};
use super::{OpenError, WrittenRetrievals};
use crate::RetrievalTier;

const MARKER: &str = "strongroom-cold-tier";
const MARKER_TEXT: &str = "strongroom-cold-tier/v1\n";
const RETRIEVAL_FORMAT: &str = "strongroom-retrieval/v1";
const PAYLOAD: &str = "payload";
const MANIFEST: &str = "manifest.json";
const SUMS: &str = "SHA256SUMS";

/// A tier's directory.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
}

/// An archive that is being written in `incoming/`. Dropped before it is in its place, it removes
/// itself.
#[derive(Debug)]
pub(super) struct Written {
    directory: PathBuf,
    payload: File,
    is_placed: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRetrieval {
    format: String,
    archive: String,
    tier: RetrievalTier,
    requested_micros: i64,
    ready_micros: i64,
}

/// What a failure of the system means before anything was changed.
fn not_done(doing: &'static str) -> impl Fn(io::Error) -> ColdError {
    move |error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ColdError::Full,
        _ => ColdError::Unavailable {
            doing,
            reason: error.to_string(),
        },
    }
}

/// What a failure of the system means once the change is visible.
fn unknown(doing: &'static str) -> impl Fn(io::Error) -> ColdError {
    move |error| ColdError::OutcomeUnknown {
        doing,
        reason: error.to_string(),
    }
}

fn flush_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn write_flushed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn hex(digest: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(digest)
}

impl Disk {
    pub(super) fn open(root: &Path) -> Result<(Self, File, WrittenRetrievals), OpenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        fs::create_dir_all(root).map_err(io(root))?;
        let marker = root.join(MARKER);
        match fs::read(&marker) {
            Ok(text) if text == MARKER_TEXT.as_bytes() => {}
            // A marker cut short by a crash is the beginning of ours.
            Ok(text) if !MARKER_TEXT.as_bytes().starts_with(&text) => {
                return Err(OpenError::Format {
                    path: marker,
                    reason: format!("{:?}", String::from_utf8_lossy(&text)),
                });
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io(&marker)(error));
            }
            Ok(_) | Err(_) => {
                let is_foreign = fs::read_dir(root)
                    .map_err(io(root))?
                    .any(|entry| entry.is_ok_and(|entry| entry.file_name() != MARKER));
                if is_foreign {
                    return Err(OpenError::Format {
                        path: root.to_owned(),
                        reason: "it holds other files".to_owned(),
                    });
                }
                let mut file = File::create(&marker).map_err(io(&marker))?;
                file.write_all(MARKER_TEXT.as_bytes())
                    .and_then(|()| file.sync_all())
                    .map_err(io(&marker))?;
            }
        }
        let lock = File::open(&marker).map_err(io(&marker))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            if error == rustix::io::Errno::WOULDBLOCK {
                OpenError::InUse {
                    path: root.to_owned(),
                }
            } else {
                OpenError::Io {
                    path: marker.clone(),
                    source: error.into(),
                }
            }
        })?;
        let disk = Self {
            root: root.to_owned(),
        };
        let incoming = disk.incoming();
        match fs::remove_dir_all(&incoming) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io(&incoming)(error));
            }
            Ok(()) | Err(_) => {}
        }
        for directory in [incoming, disk.archives(), disk.retrievals()] {
            fs::create_dir_all(&directory).map_err(io(&directory))?;
        }
        flush_directory(root).map_err(io(root))?;
        let requested = disk.read_retrievals()?;
        Ok((disk, lock, requested))
    }

    fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    fn archives(&self) -> PathBuf {
        self.root.join("archives")
    }

    fn retrievals(&self) -> PathBuf {
        self.root.join("retrievals")
    }

    /// Archives lie in 256 directories by the first byte of their name, so that none grows too
    /// large to list.
    fn shelf(&self, archive: ArchiveId) -> PathBuf {
        self.archives().join(hex(&archive.0[..1]))
    }

    fn place(&self, archive: ArchiveId) -> PathBuf {
        self.shelf(archive).join(archive.to_string())
    }

    fn retrieval_file(&self, archive: ArchiveId) -> PathBuf {
        self.retrievals().join(format!("{archive}.json"))
    }

    pub(super) fn begin(&self, archive: ArchiveId, attempt: u64) -> Result<Written, ColdError> {
        const DOING: &str = "began an archive";
        let directory = self.incoming().join(format!("{archive}.{attempt}"));
        fs::create_dir(&directory).map_err(not_done(DOING))?;
        let payload = File::create_new(directory.join(PAYLOAD)).map_err(not_done(DOING))?;
        Ok(Written {
            directory,
            payload,
            is_placed: false,
        })
    }

    /// Makes a written archive visible and durable.
    pub(super) fn put_in_place(
        &self,
        archive: ArchiveId,
        mut written: Written,
    ) -> Result<(), ColdError> {
        const DOING: &str = "put an archive in its place";
        let shelf = self.shelf(archive);
        fs::create_dir_all(&shelf).map_err(not_done(DOING))?;
        flush_directory(&self.archives()).map_err(not_done(DOING))?;
        // Commit point: from here on the archive is there.
        match fs::rename(&written.directory, self.place(archive)) {
            Ok(()) => written.is_placed = true,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                // Another submission of the same archive was quicker; it is as good as ours.
            }
            Err(error) => return Err(not_done(DOING)(error)),
        }
        flush_directory(&shelf).map_err(unknown(DOING))
    }

    /// The description of an archive that is durable.
    pub(super) fn durable_description(
        &self,
        archive: ArchiveId,
    ) -> Result<Option<ArchiveDescription>, ColdError> {
        let description = self.description(archive)?;
        if description.is_some() {
            // The process that renamed it may have died before it flushed the shelf.
            flush_directory(&self.shelf(archive)).map_err(not_done("looked an archive up"))?;
        }
        Ok(description)
    }

    /// The description of an archive that is in its place.
    pub(super) fn description(
        &self,
        archive: ArchiveId,
    ) -> Result<Option<ArchiveDescription>, ColdError> {
        const DOING: &str = "looked an archive up";
        let damaged = |reason: String| ColdError::Damaged { archive, reason };
        let place = self.place(archive);
        let read = |name: &str| match fs::read(place.join(name)) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(damaged(format!("{name} is missing")))
            }
            Err(error) => Err(not_done(DOING)(error)),
        };
        match fs::metadata(&place) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(not_done(DOING)(error)),
        }
        let manifest = read(MANIFEST)?;
        let sums = read(SUMS)?;
        let sum = format!("{}  {MANIFEST}", hex(&Sha256::digest(&manifest)));
        if !sums
            .split(|byte| *byte == b'\n')
            .any(|line| line == sum.as_bytes())
        {
            return Err(damaged(format!("{MANIFEST} is not what {SUMS} says")));
        }
        let (named, description) = ArchiveDescription::from_manifest(&manifest)
            .map_err(|error| damaged(error.to_string()))?;
        if named != archive {
            return Err(damaged(format!("it says that it is archive {named}")));
        }
        let payload = match fs::metadata(place.join(PAYLOAD)) {
            Ok(payload) => payload.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged(format!("{PAYLOAD} is missing")));
            }
            Err(error) => return Err(not_done(DOING)(error)),
        };
        if payload != description.len_bytes() {
            return Err(damaged(format!(
                "{PAYLOAD} has {payload} bytes, not {}",
                description.len_bytes()
            )));
        }
        Ok(Some(description))
    }

    pub(super) fn read(
        &self,
        archive: ArchiveId,
        offset: u64,
        mut buffer: BytesMut,
    ) -> Result<BytesMut, ColdError> {
        const DOING: &str = "read an archive";
        let file = File::open(self.place(archive).join(PAYLOAD)).map_err(not_done(DOING))?;
        match file.read_exact_at(&mut buffer, offset) {
            Ok(()) => Ok(buffer),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ColdError::Damaged {
                archive,
                reason: format!("{PAYLOAD} ends early"),
            }),
            Err(error) => Err(not_done(DOING)(error)),
        }
    }

    pub(super) fn remove(&self, archive: ArchiveId, attempt: u64) -> Result<(), ColdError> {
        const DOING: &str = "deleted an archive";
        let grave = self.incoming().join(format!("{archive}.{attempt}"));
        match fs::rename(self.place(archive), &grave) {
            Ok(()) => {}
            // It is gone already; its shelf may not have been flushed since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(not_done(DOING)(error)),
        }
        match flush_directory(&self.shelf(archive)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(unknown(DOING)(error));
            }
            Ok(()) | Err(_) => {}
        }
        match fs::remove_dir_all(&grave) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unknown(DOING)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub(super) fn write_retrieval(
        &self,
        archive: ArchiveId,
        requested: &Requested,
    ) -> Result<(), ColdError> {
        const DOING: &str = "wrote a retrieval down";
        let written = WrittenRetrieval {
            format: RETRIEVAL_FORMAT.to_owned(),
            archive: archive.to_string(),
            tier: requested.tier,
            requested_micros: requested.requested.micros(),
            ready_micros: requested.ready.micros(),
        };
        let bytes = serde_json::to_vec(&written)
            .expect("strings and integers serialise to memory without fail");
        let beside = self.incoming().join(format!("{archive}.retrieval"));
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(not_done(DOING)(error));
            }
            Ok(()) | Err(_) => {}
        }
        write_flushed(&beside, &bytes).map_err(not_done(DOING))?;
        fs::rename(&beside, self.retrieval_file(archive)).map_err(not_done(DOING))?;
        flush_directory(&self.retrievals()).map_err(unknown(DOING))
    }

    pub(super) fn remove_retrieval(&self, archive: ArchiveId) -> Result<(), ColdError> {
        const DOING: &str = "ended a retrieval";
        match fs::remove_file(self.retrieval_file(archive)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(not_done(DOING)(error));
            }
            Ok(()) | Err(_) => {}
        }
        flush_directory(&self.retrievals()).map_err(unknown(DOING))
    }

    fn read_retrievals(&self) -> Result<WrittenRetrievals, OpenError> {
        let mut requested = WrittenRetrievals::new();
        let directory = self.retrievals();
        let failed = |path: &Path, source| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        for entry in fs::read_dir(&directory).map_err(|source| failed(&directory, source))? {
            let path = entry.map_err(|source| failed(&directory, source))?.path();
            let bytes = fs::read(&path).map_err(|source| failed(&path, source))?;
            let format = |reason: String| OpenError::Format {
                path: path.clone(),
                reason,
            };
            let written: WrittenRetrieval =
                serde_json::from_slice(&bytes).map_err(|error| format(error.to_string()))?;
            if written.format != RETRIEVAL_FORMAT {
                return Err(format(format!("its format is {:?}", written.format)));
            }
            let archive = ArchiveId::parse(&written.archive)
                .ok_or_else(|| format(format!("it names archive {:?}", written.archive)))?;
            requested.insert(
                archive,
                Requested {
                    tier: written.tier,
                    requested: Timestamp::from_micros(written.requested_micros),
                    ready: Timestamp::from_micros(written.ready_micros),
                },
            );
        }
        Ok(requested)
    }
}

impl Written {
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), ColdError> {
        self.payload
            .write_all(bytes)
            .map_err(not_done("wrote an archive"))
    }

    /// Writes the manifest and the sums, and flushes everything.
    pub(super) fn describe(
        &mut self,
        archive: ArchiveId,
        description: &ArchiveDescription,
        payload_sha256: [u8; 32],
    ) -> Result<(), ColdError> {
        let manifest = description.to_manifest(archive);
        let sums = format!(
            "{}  {PAYLOAD}\n{}  {MANIFEST}\n",
            hex(&payload_sha256),
            hex(&Sha256::digest(&manifest))
        );
        self.payload
            .sync_all()
            .and_then(|()| write_flushed(&self.directory.join(MANIFEST), &manifest))
            .and_then(|()| write_flushed(&self.directory.join(SUMS), sums.as_bytes()))
            .and_then(|()| flush_directory(&self.directory))
            .map_err(not_done("wrote an archive"))
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if !self.is_placed
            && let Err(error) = fs::remove_dir_all(&self.directory)
        {
            // The next opening of the tier removes it.
            tracing::warn!(directory = %self.directory.display(), %error, "an unfinished archive stays");
        }
    }
}
