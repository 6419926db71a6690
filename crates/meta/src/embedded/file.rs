//! Opening the file, and the engine's own table in it.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, StorageBackend, StorageError,
    TableDefinition, TableError,
};

/// The engine's own table: what it has to know of the file before it reads a row.
pub(super) const ENGINE_TABLE: TableDefinition<'static, &'static str, u64> =
    TableDefinition::new("engine");
/// The version of the layout of the file, [`FILE_VERSION`].
const VERSION_KEY: &str = "version";
/// No row in the file has a revision of this number or above.
pub(super) const REVISION_CEILING_KEY: &str = "revision_ceiling";
/// The layout that this code writes, and the only one it reads.
const FILE_VERSION: u64 = 1;

/// Why a metadata file could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The system failed.
    #[error("the metadata file could not be opened: the system failed while it {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another process, or another store of this one, has the file open.
    #[error("the metadata file is open already")]
    AlreadyOpen,
    /// The file is not a metadata file, or is damaged beyond recovery.
    #[error("the metadata file is damaged: {reason}")]
    Corrupt {
        /// What was found, without row contents.
        reason: String,
    },
    /// The file was written by another version of this program.
    #[error("the metadata file has the unknown format version {version}")]
    UnknownVersion {
        /// The version found.
        version: u64,
    },
}

impl OpenError {
    fn corrupt(reason: impl ToString) -> Self {
        Self::Corrupt {
            reason: reason.to_string(),
        }
    }
}

impl From<StorageError> for OpenError {
    fn from(error: StorageError) -> Self {
        match error {
            // redb says so of a file that is not one of its own, or is cut short.
            StorageError::Io(source)
                if matches!(
                    source.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                Self::corrupt(source)
            }
            StorageError::Io(source) => Self::Io {
                doing: "read or recovered it",
                source,
            },
            error => Self::corrupt(error),
        }
    }
}

impl From<DatabaseError> for OpenError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::AlreadyOpen,
            DatabaseError::Storage(error) => error.into(),
            DatabaseError::UpgradeRequired(version) => Self::UnknownVersion {
                version: version.into(),
            },
            error => Self::corrupt(error),
        }
    }
}

/// An open database, which is closed without a panic.
///
/// redb writes to the file when it closes it, and may panic on one that something else has changed.
/// What it would have written is a help for the next opening, which then does without.
pub(super) struct Opened(Option<Database>);

impl Deref for Opened {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0.as_ref().expect("it is taken only to be closed")
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let database = self.0.take();
        if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
            tracing::error!("the metadata file is damaged and could not be closed in order");
        }
    }
}

/// Opens or creates the file at `path`.
pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Opened, OpenError> {
    let failed = |doing| move |source| OpenError::Io { doing, source };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed("opened it"))?;
    let is_new = file.metadata().map_err(failed("measured it"))?.len() == 0;
    let backend = redb::backends::FileBackend::new(file)?;
    let database = open_backend(backend, cache_bytes)?;
    if is_new {
        // A file whose name is not durable is not durable.
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))
            .and_then(|directory| directory.sync_all())
            .map_err(failed("made its name durable"))?;
    }
    Ok(database)
}

/// Opens or creates the database in `backend`.
pub(super) fn open_backend(
    backend: impl StorageBackend,
    cache_bytes: usize,
) -> Result<Opened, OpenError> {
    // redb may panic on a file that something else has changed. What it was opening is dropped.
    catch_unwind(AssertUnwindSafe(|| {
        Builder::new()
            .set_cache_size(cache_bytes)
            .create_with_backend(backend)
            .map(|database| Opened(Some(database)))
            .map_err(OpenError::from)
    }))
    .unwrap_or_else(|_| Err(OpenError::corrupt("a page does not make sense")))
}

/// Checks the version of the file, and gives the first revision that no row has.
pub(super) fn prepare(database: &Database) -> Result<u64, OpenError> {
    catch_unwind(AssertUnwindSafe(|| {
        let failed = |error: redb::Error| OpenError::corrupt(error);
        let snapshot = database
            .begin_read()
            .map_err(|error| failed(error.into()))?;
        let engine = match snapshot.open_table(ENGINE_TABLE) {
            Ok(engine) => engine,
            Err(TableError::TableDoesNotExist(_)) => {
                drop(snapshot);
                return begin(database);
            }
            Err(error) => return Err(failed(error.into())),
        };
        let entry = |key| engine.get(key).map_err(OpenError::from);
        let version = entry(VERSION_KEY)?.map(|entry| entry.value());
        match version {
            Some(FILE_VERSION) => {}
            Some(version) => return Err(OpenError::UnknownVersion { version }),
            None => return Err(OpenError::corrupt("the format version is missing")),
        }
        let ceiling = entry(REVISION_CEILING_KEY)?.map(|entry| entry.value());
        ceiling.ok_or_else(|| OpenError::corrupt("the revision ceiling is missing"))
    }))
    .unwrap_or_else(|_| Err(OpenError::corrupt("a page does not make sense")))
}

/// Writes the engine's table into a new file.
fn begin(database: &Database) -> Result<u64, OpenError> {
    let first = 1;
    let written = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut engine = transaction.open_table(ENGINE_TABLE)?;
            engine.insert(VERSION_KEY, FILE_VERSION)?;
            engine.insert(REVISION_CEILING_KEY, first)?;
        }
        transaction.commit()?;
        Ok(())
    };
    written().map_err(|error| match error {
        redb::Error::Io(source) => OpenError::Io {
            doing: "wrote its first page",
            source,
        },
        error => OpenError::corrupt(error),
    })?;
    Ok(first)
}
