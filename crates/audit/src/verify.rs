//! The offline verifier: a log's directory and its public key in, a verdict out.
//!
//! Every published byte is derived again from the entry bundles and compared with what lies
//! there: tiles of every level, partial ones too, the root, the signature over it. The journal is
//! held against the bundles where both have an entry. What stands in the journal beyond the
//! checkpoint is not signed yet: damage to it is found, a deliberate rewriting of it is not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{DiskError, INCOMING, read_if_there};
use crate::journal::{
    JOURNAL_DIR, JournalError, JournalReader, Next, last_full_bundle_end, list_segments,
    segment_path,
};
use crate::note::{Checkpoint, CheckpointError, VerifierKey, VerifierKeyError};
use crate::reader::{ATTEMPTS_MAX, CHECKPOINT};
use crate::tile::{TileKind, TilePath, encode_hashes, push_entry};
use crate::tile_files::{TileError, TileFiles};
use crate::tree::{Edge, FullTile, TILE_HEIGHT, TILE_WIDTH, TreeHash, edge_width};

/// A log that holds together, and is signed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Verified {
    /// The number of entries under the checkpoint.
    pub size: u64,
    /// The root over them.
    pub root: TreeHash,
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The number of entries in the journal that are not yet under a checkpoint.
    pub pending: u64,
    /// The length, bytes, of a record at the journal's end whose writing was cut short. It was
    /// never acknowledged, and the next start drops it.
    pub torn_len_bytes: u64,
}

/// Why a log does not hold together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The verifier key is not one.
    #[error(transparent)]
    Key(#[from] VerifierKeyError),
    /// There is no checkpoint.
    #[error("the log has no checkpoint")]
    NoCheckpoint,
    /// The checkpoint is not one of this log under this key.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A tile or bundle is missing, or not made up as its name says.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// A file is not what the entries give: it, or an entry that it covers, has been changed.
    #[error("{path} is not what the entries of the log give")]
    Differs {
        /// The path in the log's directory.
        path: String,
    },
    /// The entries do not give the root that was signed.
    #[error("the entries give the root {found}, but {signed} was signed for the {size} of them")]
    RootDiffers {
        /// The size of the tree.
        size: u64,
        /// The root that the entries give.
        found: TreeHash,
        /// The root in the checkpoint.
        signed: TreeHash,
    },
    /// The journal holds another entry than the bundle does.
    #[error("entry {index} in the journal is not the one in its bundle")]
    JournalDiffers {
        /// The entry.
        index: u64,
    },
    /// The journal is damaged or incomplete.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file that has no place in the log.
    #[error("{} has no place in the log", path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
    },
    /// The system could not read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Verifies the log in `dir` under the verifier key `vkey`.
///
/// Reads every byte of the log once and needs memory for one bundle. It takes no lock; should a
/// running log publish while it reads, it starts over.
///
/// # Errors
/// [`VerifyError`], which names the first thing found.
pub fn verify_dir(dir: &Path, vkey: &str) -> Result<Verified, VerifyError> {
    let verifier = VerifierKey::parse(vkey)?;
    let mut attempt = 1;
    loop {
        let text = read_if_there(&dir.join(CHECKPOINT))?.ok_or(VerifyError::NoCheckpoint)?;
        let outcome = verify_against(dir, &verifier, text.clone());
        // A running log replaces its checkpoint, and after that removes segments that are in
        // bundles by then.
        let has_moved = || {
            let is_missed = matches!(
                outcome,
                Err(VerifyError::Journal(JournalError::Missing { .. }))
            );
            let now = read_if_there(&dir.join(CHECKPOINT));
            is_missed || now.is_ok_and(|now| now.is_some_and(|now| now != text))
        };
        if outcome.is_ok() || attempt == ATTEMPTS_MAX || !has_moved() {
            return outcome;
        }
        attempt += 1;
    }
}

fn verify_against(
    dir: &Path,
    verifier: &VerifierKey,
    text: Vec<u8>,
) -> Result<Verified, VerifyError> {
    let text =
        String::from_utf8(text).map_err(|_| CheckpointError::Malformed("it is not UTF-8 text"))?;
    let checkpoint = Checkpoint::verify(&text, verifier)?;
    let size = checkpoint.size();
    // Names before content: a running log writes an entry before any tile that covers it.
    let furthest = walk(dir)?;
    let segments = list_segments(dir)?;
    let needed = last_full_bundle_end(size);
    let first = segments
        .first()
        .copied()
        .filter(|first| *first <= needed)
        .ok_or_else(|| JournalError::Missing {
            path: segment_path(dir, needed),
        })?;
    let mut journal = JournalReader::at_segment(dir, first)?;

    let mut rebuilt = Rebuilt::new(dir, size);
    let tiles = TileFiles::new(dir, size);
    while rebuilt.edge.size() < size {
        for entry in tiles.entries(rebuilt.edge.size() / TILE_WIDTH as u64)? {
            let index = rebuilt.edge.size();
            if index >= first {
                if journal.advance()? != Next::Entry {
                    return Err(JournalError::Short {
                        end: index,
                        published: size,
                    }
                    .into());
                }
                if journal.entry() != entry {
                    return Err(VerifyError::JournalDiffers { index });
                }
            }
            rebuilt.push(&entry)?;
        }
    }
    if rebuilt.edge.root() != checkpoint.root() {
        return Err(VerifyError::RootDiffers {
            size,
            found: rebuilt.edge.root(),
            signed: checkpoint.root(),
        });
    }
    let torn_len_bytes = loop {
        match journal.advance()? {
            Next::Entry => rebuilt.push(journal.entry())?,
            Next::End { torn_len_bytes } => break torn_len_bytes,
        }
    };
    journal.account_for(&segments)?;
    rebuilt.finish()?;
    if let Some((path, settled_at)) = furthest
        && settled_at > rebuilt.edge.size()
    {
        return Err(VerifyError::Unexpected { path });
    }
    Ok(Verified {
        size,
        root: checkpoint.root(),
        pending: rebuilt.edge.size() - size,
        checkpoint,
        torn_len_bytes,
    })
}

/// Looks at every name in the directory, and returns the tile that covers the latest entries.
fn walk(dir: &Path) -> Result<Option<(PathBuf, u64)>, VerifyError> {
    let mut furthest: Option<(PathBuf, u64)> = None;
    let mut dirs = vec![dir.to_owned()];
    while let Some(walked) = dirs.pop() {
        let failed = |error| DiskError::new("listing", &walked, error);
        let files = match fs::read_dir(&walked) {
            // A running log removes the directory of partial tiles that a full one has replaced.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            files => files.map_err(failed)?,
        };
        for file in files {
            let file = file.map_err(failed)?;
            let path = file.path();
            let kind = file.file_type().map_err(failed)?;
            let name = path.strip_prefix(dir).ok().and_then(Path::to_str);
            match name {
                Some(JOURNAL_DIR) if kind.is_dir() => {}
                Some(_) if kind.is_dir() => dirs.push(path),
                Some(CHECKPOINT | INCOMING) if kind.is_file() => {}
                Some(name) if kind.is_file() => {
                    let settled_at = TilePath::parse(name).and_then(TilePath::settled_at);
                    let Some(settled_at) = settled_at else {
                        return Err(VerifyError::Unexpected { path });
                    };
                    if furthest.as_ref().is_none_or(|(_, at)| settled_at > *at) {
                        furthest = Some((path, settled_at));
                    }
                }
                _ => return Err(VerifyError::Unexpected { path }),
            }
        }
    }
    Ok(furthest)
}

/// The tree, built again from the entries, and compared on the way with the files.
struct Rebuilt<'a> {
    dir: &'a Path,
    /// The number of entries under the checkpoint: their files must be there.
    published: u64,
    edge: Edge,
    bundle: Vec<u8>,
    /// Where in the bundle each entry ends.
    entry_ends: Vec<usize>,
    filled: Vec<FullTile>,
}

impl<'a> Rebuilt<'a> {
    fn new(dir: &'a Path, published: u64) -> Self {
        Self {
            dir,
            published,
            edge: Edge::empty(),
            bundle: Vec::new(),
            entry_ends: Vec::new(),
            filled: Vec::new(),
        }
    }

    fn push(&mut self, entry: &[u8]) -> Result<(), VerifyError> {
        push_entry(&mut self.bundle, entry);
        self.entry_ends.push(self.bundle.len());
        let mut filled = std::mem::take(&mut self.filled);
        self.edge.push(TreeHash::of_entry(entry), &mut filled);
        for tile in filled.drain(..) {
            self.check_hashes(tile.level, tile.number, &tile.hashes)?;
            if tile.level == 0 {
                self.check_bundle(tile.number)?;
                self.bundle.clear();
                self.entry_ends.clear();
            }
        }
        self.filled = filled;
        Ok(())
    }

    /// Compares the tiles at the right edge.
    fn finish(&self) -> Result<(), VerifyError> {
        for level in 0..self.edge.level_count() {
            let hashes = self.edge.partial(level);
            let hashed = self.edge.size() >> (TILE_HEIGHT * u32::from(level));
            let number = hashed / TILE_WIDTH as u64;
            if !hashes.is_empty() {
                self.check_hashes(level, number, hashes)?;
                if level == 0 {
                    self.check_bundle(number)?;
                }
            }
        }
        Ok(())
    }

    fn check_hashes(&self, level: u8, number: u64, hashes: &[TreeHash]) -> Result<(), VerifyError> {
        let bytes = encode_hashes(hashes);
        self.check_files(TileKind::Hashes { level }, number, |width| {
            bytes.get(..width * size_of::<TreeHash>())
        })
    }

    fn check_bundle(&self, number: u64) -> Result<(), VerifyError> {
        self.check_files(TileKind::Entries, number, |width| {
            let end = *self.entry_ends.get(width - 1)?;
            self.bundle.get(..end)
        })
    }

    /// Compares every form of a tile that is there, full or partial, with what it must be, and
    /// sees to it that the form which the checkpoint needs is there.
    fn check_files<'b>(
        &self,
        kind: TileKind,
        number: u64,
        content: impl Fn(usize) -> Option<&'b [u8]>,
    ) -> Result<(), VerifyError> {
        let full = TilePath::full(kind, number);
        let has_full = self.check_file(full, &content)?;
        let partial_dir = self.dir.join(full.partial_dir());
        let failed = |error| DiskError::new("listing", &partial_dir, error);
        let mut widths = Vec::new();
        match fs::read_dir(&partial_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            files => {
                for file in files.map_err(failed)? {
                    let path = file.map_err(failed)?.path();
                    let width = path
                        .strip_prefix(self.dir)
                        .ok()
                        .and_then(Path::to_str)
                        .and_then(TilePath::parse)
                        .map(|path| path.width)
                        .ok_or(VerifyError::Unexpected { path })?;
                    widths.push(width);
                }
            }
        }
        for width in &widths {
            let width = *width;
            self.check_file(
                TilePath {
                    kind,
                    number,
                    width,
                },
                &content,
            )?;
        }
        if has_full {
            return Ok(());
        }
        let hashed = self.published >> (TILE_HEIGHT * u32::from(kind.level()));
        let edge_number = hashed / TILE_WIDTH as u64;
        let width = edge_width(self.published, kind.level());
        let missing = if number < edge_number {
            Some(full)
        } else if number == edge_number && width > 0 && !widths.contains(&width) {
            Some(TilePath { width, ..full })
        } else {
            None
        };
        match missing {
            Some(path) => Err(TileError::Missing {
                path: path.to_string(),
            }
            .into()),
            None => Ok(()),
        }
    }

    /// Compares one file, if it is there.
    fn check_file<'b>(
        &self,
        path: TilePath,
        content: impl Fn(usize) -> Option<&'b [u8]>,
    ) -> Result<bool, VerifyError> {
        let Some(bytes) = read_if_there(&path.in_dir(self.dir))? else {
            return Ok(false);
        };
        match content(path.width) {
            Some(expected) if expected == bytes => Ok(true),
            _ => Err(VerifyError::Differs {
                path: path.to_string(),
            }),
        }
    }
}
