//! A disk that lets the process die at a chosen operation, fails once, or loses what was not synced.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, FileSystem};

/// What happens at the chosen operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The process dies before it.
    DieBefore,
    /// The process dies after it.
    DieAfter,
    /// The process dies when half of what is to be written is written.
    DieHalfway,
    /// It is not done and fails; the process lives on.
    FailNotDone(io::ErrorKind),
    /// It is done and fails all the same; the process lives on.
    FailDone(io::ErrorKind),
}

#[derive(Debug, Default)]
struct State {
    operations: Vec<String>,
    plan: Option<(usize, Fault)>,
    is_dead: bool,
    /// The content that a loss of power would leave of each file that was written to.
    durable: HashMap<PathBuf, Vec<u8>>,
    /// Names changed since their directory was synced, and what takes each back.
    unsynced: Vec<(PathBuf, Undo)>,
}

#[derive(Debug)]
enum Undo {
    File(PathBuf, Option<Vec<u8>>),
    MadeDir(PathBuf),
    RemovedDir(PathBuf),
}

#[derive(Debug)]
pub(crate) struct FaultyDisk {
    state: Mutex<State>,
}

fn name(path: &Path) -> PathBuf {
    path.parent().unwrap().to_owned()
}

impl FaultyDisk {
    pub(crate) fn new(plan: Option<(usize, Fault)>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                plan,
                ..State::default()
            }),
        })
    }

    /// Plans a fault at the operation that comes after `later` more.
    pub(crate) fn fault_in(&self, later: usize, fault: Fault) {
        let mut state = self.state.lock();
        state.plan = Some((state.operations.len() + later, fault));
    }

    pub(crate) fn operations(&self) -> Vec<String> {
        self.state.lock().operations.clone()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state.lock().is_dead
    }

    /// Takes from the directory what was not synced: all of it, or, as the disk pleases, of the
    /// changed names those for which `lasts` says so, and half of what was written to a file.
    pub(crate) fn lose_power(&self, lasts: Option<fn(usize) -> bool>) {
        let state = std::mem::take(&mut *self.state.lock());
        for (path, durable) in &state.durable {
            if let Ok(mut content) = fs::read(path) {
                let is_longer = content.starts_with(durable) && lasts.is_some();
                content.truncate(durable.len().midpoint(content.len()));
                let left = if is_longer { &content } else { durable };
                fs::write(path, left).unwrap();
            }
        }
        for (at, (dir, undo)) in state.unsynced.into_iter().enumerate().rev() {
            // A directory that is gone for good took its unsynced names with it.
            if !dir.exists() || lasts.is_some_and(|lasts| lasts(at)) {
                continue;
            }
            match undo {
                Undo::File(path, Some(content)) => fs::write(path, content).unwrap(),
                Undo::File(path, None) => drop(fs::remove_file(path)),
                Undo::MadeDir(path) => drop(fs::remove_dir_all(path)),
                Undo::RemovedDir(path) => fs::create_dir(path).unwrap(),
            }
        }
    }

    fn run<T>(
        &self,
        operation: &str,
        path: &Path,
        half: impl FnOnce(),
        work: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let died = || io::Error::other("the process is dead");
        let mut state = self.state.lock();
        if state.is_dead {
            return Err(died());
        }
        let at = state.operations.len();
        state
            .operations
            .push(format!("{operation} {}", path.display()));
        let fault = state
            .plan
            .filter(|(planned, _)| *planned == at)
            .map(|(_, fault)| fault);
        match fault {
            None => work(&mut state),
            Some(Fault::DieBefore) => {
                state.is_dead = true;
                Err(died())
            }
            Some(Fault::DieHalfway) => {
                half();
                state.is_dead = true;
                Err(died())
            }
            Some(Fault::DieAfter) => {
                state.is_dead = true;
                work(&mut state).and(Err(died()))
            }
            Some(Fault::FailNotDone(kind)) => Err(kind.into()),
            Some(Fault::FailDone(kind)) => work(&mut state).and(Err(kind.into())),
        }
    }
}

impl State {
    fn remember(&mut self, path: &Path) {
        if !self.durable.contains_key(path) {
            self.durable
                .insert(path.to_owned(), fs::read(path).unwrap());
        }
    }

    /// What a loss of power would now leave under this name.
    fn durable_content(&self, path: &Path) -> Option<Vec<u8>> {
        self.durable
            .get(path)
            .cloned()
            .or_else(|| fs::read(path).ok())
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.run(
            "create_dir",
            path,
            || {},
            |state| {
                FileSystem.create_dir(path)?;
                state
                    .unsynced
                    .push((name(path), Undo::MadeDir(path.to_owned())));
                Ok(())
            },
        )
    }

    fn create_file(&self, path: &Path) -> io::Result<File> {
        self.run(
            "create_file",
            path,
            || {},
            |state| {
                let before = path.exists().then(|| state.durable_content(path)).flatten();
                let file = FileSystem.create_file(path)?;
                state.durable.insert(path.to_owned(), Vec::new());
                state
                    .unsynced
                    .push((name(path), Undo::File(path.to_owned(), before)));
                Ok(file)
            },
        )
    }

    fn write_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        let operation = format!("write {}", bytes.len());
        let half = || {
            FileSystem
                .write_at(file, path, &bytes[..bytes.len() / 2], offset)
                .unwrap()
        };
        self.run(&operation, path, half, |state| {
            state.remember(path);
            FileSystem.write_at(file, path, bytes, offset)
        })
    }

    fn set_len(&self, file: &File, path: &Path, len_bytes: u64) -> io::Result<()> {
        self.run(
            "set_len",
            path,
            || {},
            |state| {
                state.remember(path);
                FileSystem.set_len(file, path, len_bytes)
            },
        )
    }

    fn sync_file(&self, _file: &File, path: &Path) -> io::Result<()> {
        self.run(
            "sync_file",
            path,
            || {},
            |state| {
                state.durable.insert(path.to_owned(), fs::read(path)?);
                Ok(())
            },
        )
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.run(
            "sync_dir",
            path,
            || {},
            |state| {
                state.unsynced.retain(|(dir, _)| dir != path);
                Ok(())
            },
        )
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(
            "rename",
            to,
            || {},
            |state| {
                let before = to.exists().then(|| state.durable_content(to)).flatten();
                FileSystem.rename(from, to)?;
                let content = state.durable.remove(from).unwrap();
                state.durable.insert(to.to_owned(), content);
                state
                    .unsynced
                    .push((name(to), Undo::File(to.to_owned(), before)));
                Ok(())
            },
        )
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.run(
            "remove_file",
            path,
            || {},
            |state| {
                let before = state.durable_content(path);
                FileSystem.remove_file(path)?;
                state.durable.remove(path);
                state
                    .unsynced
                    .push((name(path), Undo::File(path.to_owned(), before)));
                Ok(())
            },
        )
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.run(
            "remove_dir",
            path,
            || {},
            |state| {
                FileSystem.remove_dir(path)?;
                state
                    .unsynced
                    .push((name(path), Undo::RemovedDir(path.to_owned())));
                Ok(())
            },
        )
    }
}
