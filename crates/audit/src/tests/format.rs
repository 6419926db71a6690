//! The worked example of `docs/format/audit-log.md`, read out of the document.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{TestSigner, config};
use crate::verify::verify_dir;
use crate::{AuditLog, LeafIndex, Log, LogConfig, Origin, Reader, verify_tlog_proof};

const DOCUMENT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/format/audit-log.md"
);

/// The fenced blocks of the document that name a file, `text NAME` or `hex NAME`.
fn blocks() -> BTreeMap<String, Vec<u8>> {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let mut blocks = BTreeMap::new();
    for block in document.split("\n```").skip(1).step_by(2) {
        let (info, content) = block.split_once('\n').unwrap();
        let content = match info.split_once(' ') {
            Some(("text", _)) => format!("{content}\n").into_bytes(),
            Some(("hex", _)) => {
                let digits: String = content
                    .lines()
                    .flat_map(|line| line.split('#').next())
                    .flat_map(str::split_whitespace)
                    .collect();
                data_encoding::HEXLOWER.decode(digits.as_bytes()).unwrap()
            }
            _ => continue,
        };
        blocks.insert(info.split_once(' ').unwrap().1.to_owned(), content);
    }
    blocks
}

fn text(blocks: &BTreeMap<String, Vec<u8>>, name: &str) -> String {
    String::from_utf8(blocks[name].clone()).unwrap()
}

const FILES: [&str; 4] = [
    "checkpoint",
    "tile/0/000.p/3",
    "tile/entries/000.p/3",
    "journal/00000000000000000000",
];

#[tokio::test]
async fn the_log_in_the_document_is_the_one_that_is_written() {
    let blocks = blocks();
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig {
        origin: Origin::new("example.com/audit").unwrap(),
        ..config(dir.path())
    };
    let log = Log::open(config, TestSigner::from_seed(7)).unwrap();
    for entry in ["one", "two", "three"] {
        log.append(entry.into()).await.unwrap();
    }
    log.publish().await.unwrap();
    log.append("four".into()).await.unwrap();
    for file in FILES {
        let written = fs::read(dir.path().join(file)).unwrap();
        assert_eq!(
            data_encoding::HEXLOWER.encode(&written),
            data_encoding::HEXLOWER.encode(&blocks[file]),
            "{file}: {}",
            String::from_utf8_lossy(&written)
        );
    }
    assert_eq!(log.verifier_key(), text(&blocks, "verifier-key").trim_end());
    assert_eq!(
        log.tlog_proof(LeafIndex(1)).unwrap(),
        text(&blocks, "two.tlog-proof")
    );
}

#[test]
fn the_log_in_the_document_decodes_and_verifies() {
    let blocks = blocks();
    let dir = tempfile::tempdir().unwrap();
    for file in FILES {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).unwrap();
        fs::write(path, &blocks[file]).unwrap();
    }
    let vkey = text(&blocks, "verifier-key");
    let verified = verify_dir(dir.path(), vkey.trim_end()).unwrap();
    assert_eq!(
        (verified.size, verified.pending, verified.torn_len_bytes),
        (3, 1, 0)
    );
    let entries = Reader::new(dir.path()).entries(0..9).unwrap();
    assert_eq!(entries, [&b"one"[..], b"two", b"three", b"four"]);
    let proof = text(&blocks, "two.tlog-proof");
    let proven = verify_tlog_proof(&proof, b"two", vkey.trim_end()).unwrap();
    assert_eq!(proven.index, LeafIndex(1));
}
