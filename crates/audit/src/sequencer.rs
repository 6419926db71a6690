//! From journal to tree: the step that writes tiles and entry bundles.

use std::fs;
use std::io;
use std::path::Path;

use crate::disk::{Disk, DiskError, Placing};
use crate::journal::{JournalError, JournalReader, Next, Position};
use crate::tile::{TileKind, TilePath, encode_hashes, push_entry};
use crate::tree::{Edge, FullTile, TILE_HEIGHT, TILE_WIDTH, TreeHash};

/// How far the tree has been built.
#[derive(Debug)]
pub(crate) struct Sequencer {
    edge: Edge,
    /// The bytes of the entry bundle that is not yet full.
    bundle: Vec<u8>,
    /// Where in the journal the next entry of the tree is.
    place: Position,
}

/// Why the tree could not be built further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntegrateError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Sequencer {
    pub(crate) fn new(edge: Edge, bundle: Vec<u8>, place: Position) -> Self {
        Self {
            edge,
            bundle,
            place,
        }
    }

    pub(crate) fn edge(&self) -> &Edge {
        &self.edge
    }

    /// Builds the tree up to `size` entries, and makes its files durable.
    ///
    /// Order: tiles and bundles, each written whole and durable before it has its name; the
    /// names; only then the partial tiles go that a full one has replaced. Nothing here commits
    /// to anything: until the checkpoint is replaced, the files are those of a tree that nobody
    /// has heard of, and after a crash the same bytes are written again.
    pub(crate) fn integrate(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        size: u64,
    ) -> Result<(), IntegrateError> {
        let mut edge = self.edge.clone();
        let mut bundle = self.bundle.clone();
        let mut journal = JournalReader::resume(dir, self.place)?;
        let mut placing = Placing::new(disk, dir);
        let mut filled = Vec::new();
        let mut completed = Vec::new();
        while edge.size() < size {
            if journal.advance()? != Next::Entry {
                return Err(JournalError::Short {
                    end: edge.size(),
                    published: size,
                }
                .into());
            }
            push_entry(&mut bundle, journal.entry());
            edge.push(TreeHash::of_entry(journal.entry()), &mut filled);
            for tile in filled.drain(..) {
                if tile.level == 0 {
                    let path = TilePath::full(TileKind::Entries, tile.number);
                    placing.place(&path.in_dir(dir), &bundle)?;
                    bundle.clear();
                    completed.push(path);
                }
                completed.push(place_full(&mut placing, dir, &tile)?);
            }
        }
        for level in 0..edge.level_count() {
            let Some(path) = partial_path(&edge, level) else {
                continue;
            };
            if partial_path(&self.edge, level) == Some(path) {
                continue;
            }
            placing.place(&path.in_dir(dir), &encode_hashes(edge.partial(level)))?;
            if level == 0 {
                let path = TilePath {
                    kind: TileKind::Entries,
                    ..path
                };
                placing.place(&path.in_dir(dir), &bundle)?;
            }
        }
        placing.sync_dirs()?;
        for path in completed {
            remove_partials(disk, &dir.join(path.partial_dir()))?;
        }
        *self = Self {
            edge,
            bundle,
            place: journal.position(),
        };
        Ok(())
    }
}

fn place_full(
    placing: &mut Placing<'_>,
    dir: &Path,
    tile: &FullTile,
) -> Result<TilePath, DiskError> {
    let path = TilePath::full(TileKind::Hashes { level: tile.level }, tile.number);
    placing.place(&path.in_dir(dir), &encode_hashes(&tile.hashes))?;
    Ok(path)
}

/// The path of the partial tile that a tree ends with in a level.
fn partial_path(edge: &Edge, level: u8) -> Option<TilePath> {
    let width = edge.partial(level).len();
    let hashed = edge.size() >> (TILE_HEIGHT * u32::from(level));
    let number = hashed / TILE_WIDTH as u64;
    (width > 0).then_some(TilePath {
        kind: TileKind::Hashes { level },
        number,
        width,
    })
}

/// Removes the partial forms of a tile that is there in full.
fn remove_partials(disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
    let failed = |error| DiskError::new("removing", dir, error);
    let partials = match fs::read_dir(dir) {
        Ok(partials) => partials,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for partial in partials {
        disk.remove_file(&partial.map_err(failed)?.path())
            .map_err(failed)?;
    }
    disk.remove_dir(dir).map_err(failed)
}
