//! Paths and contents of tiles and entry bundles (C2SP tlog-tiles).

use std::fmt;
use std::path::{Path, PathBuf};

use crate::tree::{TILE_HEIGHT, TILE_WIDTH, TreeHash};

/// The longest entry that a bundle can carry, bytes.
pub const ENTRY_LEN_BYTES_MAX: usize = u16::MAX as usize;

/// What a tile holds: hashes of a level of the tree, or the entries themselves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum TileKind {
    Hashes { level: u8 },
    Entries,
}

impl TileKind {
    /// How many entries of the log one place in the tile stands for, as a power of 256.
    pub(crate) fn level(self) -> u8 {
        match self {
            Self::Hashes { level } => level,
            Self::Entries => 0,
        }
    }
}

/// The name of one tile file: `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct TilePath {
    pub(crate) kind: TileKind,
    pub(crate) number: u64,
    /// From 1 to 256; 256 is the full tile.
    pub(crate) width: usize,
}

impl TilePath {
    pub(crate) fn full(kind: TileKind, number: u64) -> Self {
        Self {
            kind,
            number,
            width: TILE_WIDTH,
        }
    }

    /// The tree size from which on this file's content is settled; `None` beyond 2^64 - 1.
    pub(crate) fn settled_at(self) -> Option<u64> {
        let hashes = self
            .number
            .checked_mul(TILE_WIDTH as u64)?
            .checked_add(self.width as u64)?;
        hashes.checked_mul(1_u64.checked_shl(TILE_HEIGHT * u32::from(self.kind.level()))?)
    }

    /// The directory of the tile's partial forms, relative to the log's.
    pub(crate) fn partial_dir(self) -> String {
        format!("{}.p", Self::full(self.kind, self.number))
    }

    pub(crate) fn in_dir(self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }

    /// Reads a path in its one canonical spelling; anything else is `None`, so a path that passed
    /// cannot leave the log's directory.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("tile/")?;
        let (kind, rest) = rest.split_once('/')?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes {
                level: level.parse().ok().filter(|level| *level < 64)?,
            },
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (
                number,
                width
                    .parse()
                    .ok()
                    .filter(|width| (1..TILE_WIDTH).contains(width))?,
            ),
            None => (rest, TILE_WIDTH),
        };
        let number = number.split('/').try_fold(0_u64, |sum, element| {
            let digits = element.strip_prefix('x').unwrap_or(element);
            let value: u64 = digits.parse().ok().filter(|value| *value < 1000)?;
            sum.checked_mul(1000)?.checked_add(value)
        })?;
        let parsed = Self {
            kind,
            number,
            width,
        };
        // Leading zeroes, signs, a missing or superfluous `x`: all show when it is written again.
        (parsed.to_string() == path).then_some(parsed)
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Entries => write!(f, "tile/entries/")?,
            TileKind::Hashes { level } => write!(f, "tile/{level}/")?,
        }
        let mut groups = vec![self.number % 1000];
        let mut rest = self.number / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for group in groups.iter().skip(1).rev() {
            write!(f, "x{group:03}/")?;
        }
        write!(f, "{:03}", groups[0])?;
        if self.width < TILE_WIDTH {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

/// The bytes of a tile of hashes.
pub(crate) fn encode_hashes(hashes: &[TreeHash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes of a tile, or `None` when the file is not `width` hashes long.
pub(crate) fn decode_hashes(bytes: &[u8], width: usize) -> Option<Vec<TreeHash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    (hashes.len() == width && rest.is_empty())
        .then(|| hashes.iter().copied().map(TreeHash).collect())
}

/// Adds an entry to a bundle: its length as a big-endian 16-bit number, then its bytes.
///
/// The caller has checked the length against [`ENTRY_LEN_BYTES_MAX`].
pub(crate) fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) {
    bundle.extend_from_slice(&(entry.len() as u16).to_be_bytes());
    bundle.extend_from_slice(entry);
}

/// The entries of a bundle, or `None` when the file is not `width` whole entries.
pub(crate) fn decode_entries(bundle: &[u8], width: usize) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::with_capacity(width);
    let mut rest = bundle;
    while let Some((len, after)) = rest.split_first_chunk::<2>() {
        let (entry, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        entries.push(entry);
        rest = after;
    }
    (rest.is_empty() && entries.len() == width).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_spelled_as_the_specification_spells_them() {
        let full = TilePath::full(TileKind::Hashes { level: 0 }, 1_234_067);
        assert_eq!(full.to_string(), "tile/0/x001/x234/067");
        assert_eq!(full.partial_dir(), "tile/0/x001/x234/067.p");
        let partial = TilePath {
            kind: TileKind::Entries,
            number: 273,
            width: 112,
        };
        assert_eq!(partial.to_string(), "tile/entries/273.p/112");
        assert_eq!(partial.settled_at(), Some(70_000));
        for path in [full, partial] {
            assert_eq!(TilePath::parse(&path.to_string()), Some(path));
        }
    }

    #[test]
    fn any_other_spelling_is_refused() {
        for path in [
            "",
            "/",
            "checkpoint",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/1",
            "tile/0/0001",
            "tile/00/001",
            "tile/64/001",
            "tile/-1/001",
            "tile/+1/001",
            "tile/0/x001",
            "tile/0/001/002",
            "tile/0/x000/001",
            "tile/0/x01/001",
            "tile/0/001.p/0",
            "tile/0/001.p/256",
            "tile/0/001.p/01",
            "tile/0/001.p/+1",
            "tile/0/001.p/",
            "tile/0/001.p",
            "tile/0/001/",
            "tile//0/001",
            "tile/0/../../checkpoint",
            "../tile/0/001",
            "tile/entries/../0/001",
            "tile/entries/00a",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
            "tile/0/\u{0661}\u{0661}\u{0661}",
            "tile/data/001",
        ] {
            assert_eq!(TilePath::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_bundle_is_whole_or_nothing() {
        let mut bundle = Vec::new();
        push_entry(&mut bundle, b"one");
        push_entry(&mut bundle, b"");
        assert_eq!(decode_entries(&bundle, 2), Some(vec![&b"one"[..], b""]));
        assert_eq!(decode_entries(&bundle, 1), None);
        assert_eq!(decode_entries(&bundle, 3), None);
        for len in 0..bundle.len() {
            assert_eq!(decode_entries(&bundle[..len], 2), None, "{len} bytes");
        }
        bundle.push(0);
        assert_eq!(decode_entries(&bundle, 2), None);
    }
}
