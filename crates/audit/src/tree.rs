//! The Merkle tree of RFC 6962, section 2.1: hashes, the growing right edge, and proofs.
//!
//! Building and proving live here; checking a proof lives in [`crate::proof`] and follows another
//! algorithm (RFC 9162), so that one does not inherit a mistake of the other.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

/// The hashes in a full tile (C2SP tlog-tiles), and the entries in a full bundle.
pub(crate) const TILE_WIDTH: usize = 256;

/// The base-2 logarithm of [`TILE_WIDTH`]: how many tree levels a tile spans.
pub(crate) const TILE_HEIGHT: u32 = 8;

/// The number of tile levels a tree of at most 2^64 - 1 entries can have.
pub(crate) const TILE_LEVELS: u8 = 8;

/// A SHA-256 hash in the tree: of an entry, of a node, or of the whole (RFC 6962).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TreeHash(pub [u8; 32]);

impl TreeHash {
    /// The root of the tree without entries: the hash of nothing.
    #[must_use]
    pub fn of_empty_tree() -> Self {
        Self(Sha256::digest([]).into())
    }

    /// The hash of an entry, `SHA-256(0x00 || entry)`.
    #[must_use]
    pub fn of_entry(entry: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([0x00]);
        hasher.update(entry);
        Self(hasher.finalize().into())
    }

    /// The hash of an inner node, `SHA-256(0x01 || left || right)`.
    #[must_use]
    pub fn of_node(left: Self, right: Self) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([0x01]);
        hasher.update(left.0);
        hasher.update(right.0);
        Self(hasher.finalize().into())
    }

    /// Reads the base64 text form.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeHash({self})")
    }
}

/// The root over consecutive equal subtrees; `hashes` is not empty.
///
/// The left part is always the largest power of two that leaves something to the right.
fn root_of(hashes: &[TreeHash]) -> TreeHash {
    match hashes {
        [] => TreeHash::of_empty_tree(),
        [one] => *one,
        many => {
            let (left, right) = many.split_at(largest_power_below(many.len() as u64) as usize);
            TreeHash::of_node(root_of(left), root_of(right))
        }
    }
}

/// The largest power of two smaller than `count`, which is at least 2.
fn largest_power_below(count: u64) -> u64 {
    1 << (u64::BITS - 1 - (count - 1).leading_zeros())
}

/// A tile that has just received its last hash.
pub(crate) struct FullTile {
    pub(crate) level: u8,
    pub(crate) number: u64,
    pub(crate) hashes: Vec<TreeHash>,
}

/// The right edge of a tree: per tile level, the hashes of the tile that is not yet full.
///
/// It is all that is needed to go on growing the tree and to state its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    size: u64,
    levels: Vec<Vec<TreeHash>>,
}

impl Edge {
    pub(crate) fn empty() -> Self {
        Self {
            size: 0,
            levels: Vec::new(),
        }
    }

    /// The edge of a tree of `size` entries whose partial tiles are `levels`, lowest first.
    ///
    /// `None` when a tile has not the width that the size asks for.
    pub(crate) fn from_tiles(size: u64, levels: Vec<Vec<TreeHash>>) -> Option<Self> {
        let widths_fit = levels
            .iter()
            .enumerate()
            .all(|(level, tile)| tile.len() == edge_width(size, level as u8));
        let none_missing = (levels.len()..usize::from(TILE_LEVELS))
            .all(|level| edge_width(size, level as u8) == 0);
        (levels.len() <= usize::from(TILE_LEVELS) && widths_fit && none_missing)
            .then_some(Self { size, levels })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the partial tile of `level`; empty when there is none.
    pub(crate) fn partial(&self, level: u8) -> &[TreeHash] {
        self.levels
            .get(usize::from(level))
            .map_or(&[], Vec::as_slice)
    }

    /// The number of tile levels that have ever had a hash.
    pub(crate) fn level_count(&self) -> u8 {
        self.levels.len() as u8
    }

    /// Adds the hash of the next entry, and says which tiles it filled.
    pub(crate) fn push(&mut self, leaf: TreeHash, full: &mut Vec<FullTile>) {
        let mut carried = Some(leaf);
        let mut level = 0_u8;
        self.size += 1;
        while let Some(hash) = carried.take() {
            if self.levels.len() == usize::from(level) {
                self.levels.push(Vec::with_capacity(TILE_WIDTH));
            }
            let tile = &mut self.levels[usize::from(level)];
            tile.push(hash);
            if tile.len() == TILE_WIDTH {
                let hashes = std::mem::replace(tile, Vec::with_capacity(TILE_WIDTH));
                carried = Some(root_of(&hashes));
                full.push(FullTile {
                    level,
                    number: (self.size >> (TILE_HEIGHT * (u32::from(level) + 1))) - 1,
                    hashes,
                });
                level += 1;
            }
        }
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> TreeHash {
        // From the smallest subtree, at the right end, to the largest. A partial tile of width w
        // is one subtree per bit of w, the largest first.
        let mut root = None;
        for tile in &self.levels {
            let mut rest = tile.as_slice();
            while !rest.is_empty() {
                let (left, right) = rest.split_at(rest.len() - (1 << rest.len().trailing_zeros()));
                let subtree = root_of(right);
                root = Some(match root {
                    None => subtree,
                    Some(smaller) => TreeHash::of_node(subtree, smaller),
                });
                rest = left;
            }
        }
        root.unwrap_or_else(TreeHash::of_empty_tree)
    }
}

/// How many hashes the partial tile of `level` has in a tree of `size` entries.
pub(crate) fn edge_width(size: u64, level: u8) -> usize {
    let hashes = size
        .checked_shr(TILE_HEIGHT * u32::from(level))
        .unwrap_or(0);
    (hashes % TILE_WIDTH as u64) as usize
}

/// Where the hashes of complete subtrees come from.
pub(crate) trait Subtrees {
    type Error;

    /// The root of the complete subtree over the `2^height` entries from `number * 2^height`.
    fn subtree(&mut self, height: u32, number: u64) -> Result<TreeHash, Self::Error>;
}

/// The root over the entries `start..end`, where the RFC's splitting led to that range.
fn range_root<S: Subtrees>(source: &mut S, start: u64, end: u64) -> Result<TreeHash, S::Error> {
    let mut root = None;
    let mut rest = end;
    while rest > start {
        let height = (rest - start).trailing_zeros();
        rest -= 1 << height;
        let subtree = source.subtree(height, rest >> height)?;
        root = Some(match root {
            None => subtree,
            Some(right) => TreeHash::of_node(subtree, right),
        });
    }
    Ok(root.unwrap_or_else(TreeHash::of_empty_tree))
}

/// The audit path of entry `index` in the tree of `size` entries, the leaf's sibling first
/// (RFC 6962, section 2.1.1). The caller has checked that `index < size`.
pub(crate) fn inclusion<S: Subtrees>(
    source: &mut S,
    index: u64,
    size: u64,
) -> Result<Vec<TreeHash>, S::Error> {
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + largest_power_below(end - start);
        if index < middle {
            path.push(range_root(source, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(source, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of `new` entries extends the one of `old` (RFC 6962, section 2.1.2).
/// The caller has checked that `0 < old <= new`.
pub(crate) fn consistency<S: Subtrees>(
    source: &mut S,
    old: u64,
    new: u64,
) -> Result<Vec<TreeHash>, S::Error> {
    let (mut start, mut end) = (0, new);
    let mut proof = Vec::new();
    while end != old {
        let middle = start + largest_power_below(end - start);
        if old <= middle {
            proof.push(range_root(source, middle, end)?);
            end = middle;
        } else {
            proof.push(range_root(source, start, middle)?);
            start = middle;
        }
    }
    // The verifier knows the old root; the last subtree is sent only when it is not that root.
    if start != 0 {
        proof.push(range_root(source, start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The subtree of `2^height` entries within one tile, from the tile's hashes.
///
/// `first` is the place of the subtree's first hash in the tile. `None` when it is not all there.
pub(crate) fn subtree_in_tile(hashes: &[TreeHash], first: usize, height: u32) -> Option<TreeHash> {
    let end = first.checked_add(1 << height)?;
    hashes.get(first..end).map(root_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge_of(size: u64) -> Edge {
        let mut edge = Edge::empty();
        for index in 0..size {
            edge.push(TreeHash::of_entry(&index.to_be_bytes()), &mut Vec::new());
        }
        edge
    }

    #[test]
    fn the_edge_gives_the_root_of_the_definition() {
        let leaves: Vec<_> = (0..700_u64)
            .map(|index| TreeHash::of_entry(&index.to_be_bytes()))
            .collect();
        for size in [0, 1, 2, 3, 7, 8, 255, 256, 257, 511, 512, 513, 700] {
            assert_eq!(
                edge_of(size).root(),
                root_of(&leaves[..size as usize]),
                "size {size}"
            );
        }
    }

    #[test]
    fn a_size_of_70000_has_the_tiles_that_tlog_tiles_counts() {
        assert_eq!(edge_width(70_000, 0), 112);
        assert_eq!(edge_width(70_000, 1), 17);
        assert_eq!(edge_width(70_000, 2), 1);
        let mut edge = Edge::empty();
        let mut full = Vec::new();
        for _ in 0..70_000 {
            edge.push(TreeHash([7; 32]), &mut full);
        }
        let of_level = |level| full.iter().filter(|tile| tile.level == level).count();
        assert_eq!((of_level(0), of_level(1), of_level(2)), (273, 1, 0));
        assert_eq!(
            full.iter()
                .rfind(|tile| tile.level == 0)
                .map(|tile| tile.number),
            Some(272)
        );
    }

    #[test]
    fn an_edge_of_other_widths_is_refused() {
        let edge = edge_of(300);
        let levels = vec![edge.partial(0).to_vec(), edge.partial(1).to_vec()];
        assert_eq!(Edge::from_tiles(300, levels.clone()), Some(edge));
        assert_eq!(Edge::from_tiles(301, levels.clone()), None);
        assert_eq!(Edge::from_tiles(300, levels[..1].to_vec()), None);
        assert_eq!(Edge::from_tiles(0, Vec::new()), Some(Edge::empty()));
    }
}
