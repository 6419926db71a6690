//! The few operations by which the log changes its directory.
//!
//! They stand behind a trait so that tests can let the process, or the machine, die before and
//! after each one. Reading needs no such seam and goes to the file system directly.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// An operation on the log's directory failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {source}", path.display())]
pub struct DiskError {
    /// What was being done.
    pub doing: &'static str,
    /// To which file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl DiskError {
    pub(crate) fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// The volume, or the owner's quota on it, is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }

    /// The system could not say that written bytes are durable. It may have dropped them and will
    /// not say so again, so trying once more proves nothing.
    pub(crate) fn leaves_doubt(&self) -> bool {
        self.doing == SYNCING
    }
}

const SYNCING: &str = "syncing";

/// What the log does to its directory.
pub(crate) trait Disk: Send + Sync + fmt::Debug + 'static {
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the file, or empties the one that is there.
    fn create_file(&self, path: &Path) -> io::Result<File>;
    fn write_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn set_len(&self, file: &File, path: &Path, len_bytes: u64) -> io::Result<()>;
    fn sync_file(&self, file: &File, path: &Path) -> io::Result<()>;
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
}

/// The file system.
#[derive(Debug)]
pub(crate) struct FileSystem;

impl Disk for FileSystem {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn create_file(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(path)
    }

    fn write_at(&self, file: &File, _path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn set_len(&self, file: &File, _path: &Path, len_bytes: u64) -> io::Result<()> {
        file.set_len(len_bytes)
    }

    fn sync_file(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }
}

/// The one temporary name: every file is written here whole, then renamed to its place.
pub(crate) const INCOMING: &str = "incoming";

/// Puts whole files in place in the log's directory, and remembers which directories must be
/// synced for their names to last. Only one may be at work in a directory at a time.
pub(crate) struct Placing<'a> {
    disk: &'a dyn Disk,
    root: &'a Path,
    unsynced: BTreeSet<PathBuf>,
}

impl<'a> Placing<'a> {
    pub(crate) fn new(disk: &'a dyn Disk, root: &'a Path) -> Self {
        Self {
            disk,
            root,
            unsynced: BTreeSet::new(),
        }
    }

    /// Makes a directory below the root, and those above it, unless they are there.
    pub(crate) fn make_dir(&mut self, path: &Path) -> Result<(), DiskError> {
        match self.disk.create_dir(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = path.parent().filter(|parent| parent.starts_with(self.root));
                let Some(parent) = parent else {
                    return Err(DiskError::new("making directory", path, error));
                };
                self.make_dir(parent)?;
                return self.make_dir(path);
            }
            Err(error) => return Err(DiskError::new("making directory", path, error)),
        }
        if let Some(parent) = path.parent() {
            self.unsynced.insert(parent.to_owned());
        }
        Ok(())
    }

    /// Writes a file, makes its bytes durable, and gives it its name.
    ///
    /// The name lasts through a loss of power only after [`Placing::sync_dirs`].
    pub(crate) fn place(&mut self, path: &Path, bytes: &[u8]) -> Result<File, DiskError> {
        let incoming = self.root.join(INCOMING);
        let parent = path.parent().unwrap_or(self.root);
        self.make_dir(parent)?;
        let file = self
            .disk
            .create_file(&incoming)
            .map_err(|error| DiskError::new("creating", &incoming, error))?;
        self.disk
            .write_at(&file, &incoming, bytes, 0)
            .map_err(|error| DiskError::new("writing", &incoming, error))?;
        sync_file(self.disk, &file, &incoming)?;
        self.disk
            .rename(&incoming, path)
            .map_err(|error| DiskError::new("renaming to", path, error))?;
        self.unsynced.insert(parent.to_owned());
        Ok(file)
    }

    /// Makes the names given so far durable.
    pub(crate) fn sync_dirs(&mut self) -> Result<(), DiskError> {
        while let Some(dir) = self.unsynced.first() {
            sync_dir(self.disk, dir)?;
            self.unsynced.pop_first();
        }
        Ok(())
    }
}

pub(crate) fn sync_file(disk: &dyn Disk, file: &File, path: &Path) -> Result<(), DiskError> {
    disk.sync_file(file, path)
        .map_err(|error| DiskError::new(SYNCING, path, error))
}

pub(crate) fn sync_dir(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    disk.sync_dir(path)
        .map_err(|error| DiskError::new(SYNCING, path, error))
}

/// The bytes of a file, or `None` when there is no such file.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(DiskError::new("reading", path, error)),
    }
}
