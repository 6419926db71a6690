//! Checking proofs, and the text form of one (C2SP tlog-proof).
//!
//! Everything here needs a text, an entry and a key, and no access to the log.

use crate::note::{Checkpoint, CheckpointError, VerifierKey, VerifierKeyError, parse_decimal};
use crate::seam::LeafIndex;
use crate::tree::TreeHash;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// The path in a tree of 2^64 - 1 entries is never longer than this.
const PATH_LEN_MAX: usize = 64;

/// Why a proof does not prove what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// Not a `c2sp.org/tlog-proof@v1` text.
    #[error("the proof is malformed: {0}")]
    Malformed(&'static str),
    /// The verifier key is not one.
    #[error(transparent)]
    Key(#[from] VerifierKeyError),
    /// The checkpoint in the proof is not the log's.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The hashes do not lead from the entry, at its index, to the root.
    #[error("the proof does not lead from the entry to the root")]
    NotIncluded,
    /// The hashes do not lead from the old root to the new one.
    #[error("the proof does not show that the newer tree extends the older")]
    NotConsistent,
}

/// Checks that `leaf` is entry `index` of the tree of `size` entries with `root`
/// (RFC 9162, section 2.1.3.2).
///
/// # Errors
/// [`ProofError::NotIncluded`].
pub fn verify_inclusion(
    path: &[TreeHash],
    index: u64,
    size: u64,
    leaf: TreeHash,
    root: TreeHash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::NotIncluded);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in path {
        if last == 0 {
            return Err(ProofError::NotIncluded);
        }
        if node & 1 == 1 || node == last {
            hash = TreeHash::of_node(*sibling, hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = TreeHash::of_node(hash, *sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    (last == 0 && hash == root)
        .then_some(())
        .ok_or(ProofError::NotIncluded)
}

/// Checks that the tree of `new_size` entries with `new_root` starts with that of `old_size`
/// entries with `old_root` (RFC 9162, section 2.1.4.2). Every tree extends the empty one.
///
/// # Errors
/// [`ProofError::NotConsistent`].
pub fn verify_consistency(
    proof: &[TreeHash],
    (old_size, old_root): (u64, TreeHash),
    (new_size, new_root): (u64, TreeHash),
) -> Result<(), ProofError> {
    let refused = Err(ProofError::NotConsistent);
    if old_size > new_size {
        return refused;
    }
    if old_size == 0 || old_size == new_size {
        let known = if old_size == 0 {
            old_root == TreeHash::of_empty_tree()
        } else {
            old_root == new_root
        };
        return if proof.is_empty() && known {
            Ok(())
        } else {
            refused
        };
    }
    let (start, rest) = if old_size.is_power_of_two() {
        (old_root, proof)
    } else {
        match proof.split_first() {
            Some((first, rest)) => (*first, rest),
            None => return refused,
        }
    };
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (start, start);
    for sibling in rest {
        if last == 0 {
            return refused;
        }
        if node & 1 == 1 || node == last {
            old_hash = TreeHash::of_node(*sibling, old_hash);
            new_hash = TreeHash::of_node(*sibling, new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = TreeHash::of_node(new_hash, *sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 && old_hash == old_root && new_hash == new_root {
        Ok(())
    } else {
        refused
    }
}

/// Writes the proof that entry `index` is under `checkpoint`.
pub(crate) fn tlog_proof(index: u64, path: &[TreeHash], checkpoint: &Checkpoint) -> String {
    let mut text = format!("{FIRST_LINE}\nindex {index}\n");
    for hash in path {
        text.push_str(&hash.to_string());
        text.push('\n');
    }
    text.push('\n');
    text.push_str(checkpoint.text());
    text
}

/// What a checked proof says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proven {
    /// The place of the entry in the log.
    pub index: LeafIndex,
    /// The checkpoint that covers it.
    pub checkpoint: Checkpoint,
}

/// Checks, without access to the log, that `text` proves `entry` to be on the log of `vkey`.
///
/// The `extra` line, which the specification allows and nothing authenticates, is passed over.
///
/// # Errors
/// [`ProofError`].
pub fn verify_tlog_proof(text: &str, entry: &[u8], vkey: &str) -> Result<Proven, ProofError> {
    use ProofError::Malformed;
    let verifier = VerifierKey::parse(vkey)?;
    let rest = text
        .strip_prefix(FIRST_LINE)
        .and_then(|rest| rest.strip_prefix('\n'))
        .ok_or(Malformed("its first line is not c2sp.org/tlog-proof@v1"))?;
    let rest = match rest.strip_prefix("extra ") {
        Some(extra) => {
            extra
                .split_once('\n')
                .ok_or(Malformed("it ends after the extra line"))?
                .1
        }
        None => rest,
    };
    let (head, checkpoint) = rest
        .split_once("\n\n")
        .ok_or(Malformed("it has no empty line before its checkpoint"))?;
    let mut lines = head.split('\n');
    let index = lines
        .next()
        .and_then(|line| line.strip_prefix("index "))
        .and_then(parse_decimal)
        .ok_or(Malformed("it has no index"))?;
    let path: Vec<TreeHash> = lines
        .by_ref()
        .take(PATH_LEN_MAX)
        .map(TreeHash::from_base64)
        .collect::<Option<_>>()
        .ok_or(Malformed("a hash is not the base64 of 32 bytes"))?;
    if lines.next().is_some() {
        return Err(Malformed("it has more hashes than any tree is high"));
    }
    let checkpoint = Checkpoint::verify(checkpoint, &verifier)?;
    verify_inclusion(
        &path,
        index,
        checkpoint.size(),
        TreeHash::of_entry(entry),
        checkpoint.root(),
    )?;
    Ok(Proven {
        index: LeafIndex(index),
        checkpoint,
    })
}
