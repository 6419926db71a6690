//! Reading the tiles and bundles of a tree of a given size.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::disk::{DiskError, read_if_there};
use crate::tile::{TileKind, TilePath, decode_entries, decode_hashes};
use crate::tree::{
    Edge, Subtrees, TILE_HEIGHT, TILE_LEVELS, TILE_WIDTH, TreeHash, edge_width, subtree_in_tile,
};

/// Why a tile or an entry bundle cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TileError {
    /// The tree needs a file that is not there.
    #[error("{path} is missing")]
    Missing {
        /// The path in the log's directory.
        path: String,
    },
    /// A file is not made up as its name says.
    #[error("{path} is damaged")]
    Damaged {
        /// The path in the log's directory.
        path: String,
    },
    /// The system could not read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The files of the tree of `size` entries.
#[derive(Debug)]
pub(crate) struct TileFiles {
    dir: PathBuf,
    size: u64,
    /// The hash tiles read so far. A proof comes back to the same few.
    read: HashMap<(u8, u64), Vec<TreeHash>>,
}

impl TileFiles {
    pub(crate) fn new(dir: &Path, size: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            size,
            read: HashMap::new(),
        }
    }

    /// The width that tile `number` has in this tree; 0 when the tree does not reach it.
    fn width(&self, kind: TileKind, number: u64) -> usize {
        let in_level = self
            .size
            .checked_shr(TILE_HEIGHT * u32::from(kind.level()))
            .unwrap_or(0);
        let before = number.saturating_mul(TILE_WIDTH as u64);
        in_level.saturating_sub(before).min(TILE_WIDTH as u64) as usize
    }

    /// The bytes of a tile, with the width that they have. A partial tile may have given way to
    /// the full one, which starts with the same content.
    fn tile(&self, kind: TileKind, number: u64) -> Result<(Vec<u8>, TilePath), TileError> {
        let path = TilePath {
            kind,
            number,
            width: self.width(kind, number),
        };
        let full = TilePath::full(kind, number);
        if let Some(bytes) = read_if_there(&path.in_dir(&self.dir))? {
            return Ok((bytes, path));
        }
        match read_if_there(&full.in_dir(&self.dir))? {
            Some(bytes) => Ok((bytes, full)),
            None => Err(TileError::Missing {
                path: path.to_string(),
            }),
        }
    }

    /// The hashes that the tree has in a tile.
    fn hashes(&self, level: u8, number: u64) -> Result<Vec<TreeHash>, TileError> {
        let kind = TileKind::Hashes { level };
        let (bytes, path) = self.tile(kind, number)?;
        let mut hashes = decode_hashes(&bytes, path.width).ok_or_else(|| TileError::Damaged {
            path: path.to_string(),
        })?;
        hashes.truncate(self.width(kind, number));
        Ok(hashes)
    }

    /// The entries that the tree has in a bundle.
    pub(crate) fn entries(&self, number: u64) -> Result<Vec<Vec<u8>>, TileError> {
        let (bytes, path) = self.tile(TileKind::Entries, number)?;
        let entries = decode_entries(&bytes, path.width).ok_or_else(|| TileError::Damaged {
            path: path.to_string(),
        })?;
        Ok(entries
            .into_iter()
            .take(self.width(TileKind::Entries, number))
            .map(<[u8]>::to_vec)
            .collect())
    }

    /// The right edge of the tree.
    pub(crate) fn edge(&self) -> Result<Edge, TileError> {
        let mut levels = Vec::new();
        for level in 0..TILE_LEVELS {
            let shift = TILE_HEIGHT * u32::from(level);
            if self.size >> shift == 0 {
                break;
            }
            let number = (self.size >> shift) / TILE_WIDTH as u64;
            levels.push(match edge_width(self.size, level) {
                0 => Vec::new(),
                _ => self.hashes(level, number)?,
            });
        }
        // The widths were cut to those that the size asks for.
        Ok(Edge::from_tiles(self.size, levels).expect("the tiles have the widths of the size"))
    }
}

impl Subtrees for TileFiles {
    type Error = TileError;

    fn subtree(&mut self, height: u32, number: u64) -> Result<TreeHash, TileError> {
        let level = (height / TILE_HEIGHT) as u8;
        let height_in_tile = height % TILE_HEIGHT;
        let place = number << height_in_tile;
        let tile = place / TILE_WIDTH as u64;
        let first = (place % TILE_WIDTH as u64) as usize;
        if !self.read.contains_key(&(level, tile)) {
            let hashes = self.hashes(level, tile)?;
            self.read.insert((level, tile), hashes);
        }
        self.read
            .get(&(level, tile))
            .and_then(|hashes| subtree_in_tile(hashes, first, height_in_tile))
            .ok_or_else(|| TileError::Missing {
                path: TilePath::full(TileKind::Hashes { level }, tile).to_string(),
            })
    }
}
