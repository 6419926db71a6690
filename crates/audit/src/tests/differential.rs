//! The tree against two other implementations: `ct-merkle` builds it in memory, `tlog_tiles` reads
//! it from the files.

use std::path::{Path, PathBuf};

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::Sha256;
use tlog_tiles::{Hash, Tile, TileHashReader, TileReader};

use super::{append, entry, open};
use crate::{LeafIndex, Log, ReadError, TreeHash, verify_consistency, verify_inclusion};

struct TheirTiles(PathBuf);

impl TileReader for TheirTiles {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        // They spell the height into the path, as the older layout of the Go checksum database
        // does; tlog-tiles leaves it out.
        let read = |tile: &Tile| {
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            std::fs::read(self.0.join(path)).unwrap()
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _tiles: &[Tile], _data: &[Vec<u8>]) {}
}

fn ours(hashes: &[Hash]) -> Vec<TreeHash> {
    hashes.iter().map(|hash| TreeHash(hash.0)).collect()
}

fn concatenated(hashes: &[TreeHash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

async fn log_of(dir: &Path, sizes: &[u64]) -> Log {
    let log = open(dir);
    for size in sizes {
        append(&log, *size - log.size()).await;
        log.publish().await.unwrap();
    }
    log
}

async fn compare(sizes: [u64; 2], places: [u64; 4]) {
    let dir = tempfile::tempdir().unwrap();
    let log = log_of(dir.path(), &sizes).await;
    let checkpoint = log.checkpoint().unwrap();
    let size = checkpoint.size();
    let mut memory = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let mut roots = vec![TreeHash(
        memory.root().as_bytes().as_slice().try_into().unwrap(),
    )];
    for index in 0..size {
        memory.push(entry(index));
        roots.push(TreeHash(
            memory.root().as_bytes().as_slice().try_into().unwrap(),
        ));
    }
    assert_eq!(checkpoint.root(), roots[size as usize]);

    let tiles = TheirTiles(dir.path().to_owned());
    let theirs = TileHashReader::new(size, Hash(checkpoint.root().0), &tiles);
    if size == 0 {
        return;
    }
    assert_eq!(
        tlog_tiles::tree_hash(size, &theirs).unwrap().0,
        checkpoint.root().0
    );
    for place in places {
        let index = place % size;
        let path = log.inclusion_proof(LeafIndex(index), size).unwrap();
        assert_eq!(
            path,
            ours(&tlog_tiles::prove_record(size, index, &theirs).unwrap())
        );
        assert_eq!(
            concatenated(&path),
            memory.prove_inclusion(index as usize).as_bytes()
        );
        let leaf = TreeHash::of_entry(&entry(index));
        verify_inclusion(&path, index, size, leaf, checkpoint.root()).unwrap();
        assert!(verify_inclusion(&path, index ^ 1, size, leaf, checkpoint.root()).is_err());

        let old = index + 1;
        let proof = log.consistency_proof(old, size).unwrap();
        assert_eq!(
            proof,
            ours(&tlog_tiles::prove_tree(size, old, &theirs).unwrap())
        );
        if old < size {
            let added = (size - old) as usize;
            assert_eq!(
                concatenated(&proof),
                memory.prove_consistency(added).as_bytes()
            );
        }
        let old_root = roots[old as usize];
        verify_consistency(&proof, (old, old_root), (size, checkpoint.root())).unwrap();
        let other = (old, TreeHash([1; 32]));
        assert!(verify_consistency(&proof, other, (size, checkpoint.root())).is_err());

        // Of a tree smaller than the published one, from the same tiles.
        let smaller = log.inclusion_proof(LeafIndex(index), old).unwrap();
        verify_inclusion(&smaller, index, old, leaf, old_root).unwrap();
    }
}

#[tokio::test]
async fn sizes_around_full_tiles_agree() {
    for size in [0, 1, 2, 3, 5, 255, 256, 257, 511, 512, 513] {
        compare([size, size], [0, 1, size / 2, size.saturating_sub(1)]).await;
    }
}

/// Two levels of full tiles, reached in leaps.
#[tokio::test]
async fn a_tree_of_three_levels_agrees() {
    compare([65_000, 65_600], [0, 255, 65_535, 65_599]).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_size_agrees(first in 0_u64..900, more in 0_u64..900, places: [u64; 4]) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(compare([first, first + more], places));
    }

    #[test]
    fn a_changed_proof_proves_nothing(size in 2_u64..80, place: u64, at: prop::sample::Index, with in 1_u8..) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let log = runtime.block_on(log_of(dir.path(), &[size]));
        let root = log.checkpoint().unwrap().root();
        let index = place % size;
        let leaf = TreeHash::of_entry(&entry(index));
        let path = log.inclusion_proof(LeafIndex(index), size).unwrap();
        let mut changed = path.clone();
        changed[at.index(path.len())].0[usize::from(with) % 32] ^= with;
        prop_assert!(verify_inclusion(&changed, index, size, leaf, root).is_err());
        prop_assert!(verify_inclusion(&path[1..], index, size, leaf, root).is_err());
        let mut longer = path;
        longer.push(root);
        prop_assert!(verify_inclusion(&longer, index, size, leaf, root).is_err());
    }
}

#[test]
fn consistency_has_no_hole_at_its_ends() {
    let empty = (0, TreeHash::of_empty_tree());
    let one = (1, TreeHash::of_entry(b"one"));
    assert!(verify_consistency(&[], empty, one).is_ok());
    assert!(verify_consistency(&[], one, one).is_ok());
    assert!(verify_consistency(&[one.1], empty, one).is_err());
    assert!(verify_consistency(&[], one, empty).is_err());
    assert!(verify_consistency(&[], (0, one.1), one).is_err());
    assert!(verify_consistency(&[], (3, one.1), (5, one.1)).is_err());
    assert!(verify_inclusion(&[], 0, 0, one.1, one.1).is_err());
}

#[tokio::test]
async fn proofs_beyond_the_checkpoint_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = log_of(dir.path(), &[3]).await;
    append(&log, 2).await;
    for (index, size) in [(0, 4), (3, 3), (4, 5), (0, 0), (u64::MAX, u64::MAX)] {
        assert!(
            matches!(
                log.inclusion_proof(LeafIndex(index), size),
                Err(ReadError::Beyond { .. })
            ),
            "{index} in {size}"
        );
    }
    assert!(matches!(
        log.tlog_proof(LeafIndex(3)),
        Err(ReadError::Beyond { .. })
    ));
    assert!(matches!(
        log.consistency_proof(1, 4),
        Err(ReadError::Beyond { .. })
    ));
    assert!(matches!(
        log.consistency_proof(0, 3),
        Err(ReadError::BadSizes { .. })
    ));
    assert!(matches!(
        log.consistency_proof(3, 2),
        Err(ReadError::BadSizes { .. })
    ));
}
