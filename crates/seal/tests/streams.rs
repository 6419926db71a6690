//! What is sealed opens, to the bit and with any engine; what was tampered with does not.

use std::num::{NonZeroU64, NonZeroUsize};

use bytes::BytesMut;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use strongroom_environment::{Entropy, SeededEntropy};
use strongroom_seal::layout::{
    CHUNK_LEN_BYTES, SEALED_CHUNK_LEN_BYTES, chunk_span, last_chunk, plain_len_bytes, plain_pieces,
    sealed_len_bytes,
};
use strongroom_seal::{
    DataKey, Engine, HEADER_LEN_BYTES, OpenError, Opener, RunBuffer, Salt, Sealer,
};

/// A payload and all that it takes to seal it.
#[derive(Debug)]
struct Payload {
    key: DataKey,
    salt: Salt,
    context: Vec<u8>,
    plain: Vec<u8>,
}

impl Payload {
    fn of(len_bytes: usize, seed: u64) -> Self {
        let entropy = SeededEntropy::new(seed);
        let mut plain = vec![0; len_bytes];
        entropy.fill(&mut plain);
        let mut context = vec![0; 53];
        entropy.fill(&mut context);
        Self {
            key: DataKey::generate(&entropy),
            salt: Salt::generate(&entropy),
            context,
            plain,
        }
    }

    fn sealer(&self, engine: Engine) -> (Sealer, Vec<u8>) {
        let (sealer, header) = Sealer::with_engine(engine, &self.key, &self.salt, &self.context);
        (sealer, header.to_vec())
    }

    /// The sealed stream, in one run.
    fn sealed(&self, engine: Engine) -> Vec<u8> {
        let (sealer, mut stream) = self.sealer(engine);
        // A payload of full chunks ends with an empty one.
        for chunk in self.plain.chunks(CHUNK_LEN_BYTES) {
            stream.extend_from_slice(chunk);
            stream.extend_from_slice(&[0; 16]);
        }
        let len_bytes = sealed_len_bytes(self.plain.len() as u64).expect("short enough");
        stream.resize(len_bytes as usize, 0);
        sealer
            .seal_last(&mut stream[HEADER_LEN_BYTES..])
            .expect("sealed");
        stream
    }

    fn opener(&self, engine: Engine, header: &[u8]) -> Result<Opener, OpenError> {
        Opener::with_engine(engine, &self.key, &self.context, header)
    }

    /// Opens a whole stream as it comes, in runs of `run_chunks`.
    fn open(&self, engine: Engine, stream: &[u8], run_chunks: usize) -> Result<Vec<u8>, OpenError> {
        let (header, body) = stream.split_at(stream.len().min(HEADER_LEN_BYTES));
        let mut opened = self.opener(engine, header)?.into_stream();
        let mut plain = Vec::new();
        for run in body.chunks(run_chunks * SEALED_CHUNK_LEN_BYTES) {
            let mut run = run.to_vec();
            opened
                .open_run(&mut run)?
                .for_each(|piece| plain.extend_from_slice(piece));
        }
        opened.finish().map(|()| plain)
    }
}

fn engines() -> impl Strategy<Value = Engine> {
    select(Engine::ALL)
}

/// Lengths of zero to a few chunks, mostly near where a chunk ends.
fn lengths() -> impl Strategy<Value = usize> {
    let near_the_end_of_a_chunk = (0..5_usize, 0..5_usize)
        .prop_map(|(chunks, more)| (chunks * CHUNK_LEN_BYTES + more).saturating_sub(2));
    prop_oneof![near_the_end_of_a_chunk, 0..4 * CHUNK_LEN_BYTES]
}

fn payloads() -> impl Strategy<Value = Payload> {
    (lengths(), any::<u64>()).prop_map(|(len_bytes, seed)| Payload::of(len_bytes, seed))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_engines_seal_the_same_and_open_what_another_sealed(
        payload in payloads(),
        run_chunks in 1..5_usize,
    ) {
        let stream = payload.sealed(Engine::chosen());
        prop_assert_eq!(plain_len_bytes(stream.len() as u64), Ok(payload.plain.len() as u64));
        for sealing in Engine::ALL {
            prop_assert!(payload.sealed(*sealing) == stream);
            for opening in Engine::ALL {
                prop_assert!(payload.open(*opening, &stream, run_chunks)? == payload.plain);
            }
        }
    }

    #[test]
    fn every_way_of_sealing_gives_the_same_stream(
        payload in payloads(),
        engine in engines(),
        fills in prop::collection::vec(1..40_000_usize, 1..20),
        run_chunks in 1..4_usize,
    ) {
        let expected = payload.sealed(Engine::chosen());

        // Through a buffer, in whatever pieces the plaintext comes.
        let run_chunks = NonZeroUsize::new(run_chunks).expect("at least one");
        let (mut sealer, mut stream) = payload.sealer(engine);
        let mut buffer = RunBuffer::new(BytesMut::new(), run_chunks);
        let mut rest = payload.plain.as_slice();
        for fill in fills.iter().cycle() {
            let piece = &rest[..rest.len().min(*fill)];
            rest = &rest[buffer.fill(piece, &mut sealer)?..];
            if buffer.is_full() {
                let sealed = buffer.into_sealed()?;
                stream.extend_from_slice(&sealed);
                buffer = RunBuffer::new(sealed, run_chunks);
            } else if rest.is_empty() {
                break;
            }
        }
        stream.extend_from_slice(&buffer.into_last_sealed(sealer)?);
        prop_assert!(stream == expected);

        // In place, chunk by chunk.
        let (mut sealer, mut stream) = payload.sealer(engine);
        let full = payload.plain.chunks_exact(CHUNK_LEN_BYTES);
        let rest = full.remainder();
        for plain in full {
            let mut chunk = [0; SEALED_CHUNK_LEN_BYTES];
            chunk[..CHUNK_LEN_BYTES].copy_from_slice(plain);
            sealer.seal_chunk(&mut chunk)?;
            stream.extend_from_slice(&chunk);
        }
        let mut last = [rest, &[0; 16]].concat();
        prop_assert_eq!(sealer.sealed_chunks(), last_chunk(payload.plain.len() as u64));
        sealer.seal_last(&mut last)?;
        stream.extend_from_slice(&last);
        prop_assert!(stream == expected);
    }

    #[test]
    fn any_range_opens_alone(
        payload in payloads(),
        engine in engines(),
        cut in any::<(Index, Index)>(),
        run_chunks in 1..4_u64,
    ) {
        let stream = payload.sealed(Engine::chosen());
        let opener = payload.opener(engine, &stream[..HEADER_LEN_BYTES])?;
        let (one, other) = (cut.0.index(payload.plain.len() + 1), cut.1.index(payload.plain.len() + 1));
        let range = one.min(other)..one.max(other);
        let span = chunk_span(range.start as u64..range.end as u64, payload.plain.len() as u64)?;
        let mut wanted = Vec::new();
        for run in span.runs(NonZeroU64::new(run_chunks).expect("at least one")) {
            let sealed = run.sealed().start as usize..run.sealed().end as usize;
            let within = run.wanted_in_span().start as usize..run.wanted_in_span().end as usize;
            let mut sealed = stream[sealed].to_vec();

            let mut to_front = sealed.clone();
            let plain_len_bytes = opener.open_run_to_front(run.first(), run.holds_last(), &mut to_front)?;
            prop_assert_eq!(plain_len_bytes as u64, run.span_len_bytes());
            let plain = &to_front[..plain_len_bytes];
            wanted.extend_from_slice(&plain[within]);

            let len_bytes = opener.open_run(run.first(), run.holds_last(), &mut sealed)?;
            prop_assert_eq!(len_bytes, plain.len());
            let pieces = plain_pieces(sealed.len()).flat_map(|piece| &sealed[piece]);
            prop_assert!(pieces.eq(plain));
        }
        prop_assert!(wanted == payload.plain[range]);
    }

    #[test]
    fn a_flipped_bit_is_refused_where_it_is(
        payload in payloads(),
        engine in engines(),
        at in any::<Index>(),
        bit in 0..8_u32,
    ) {
        let mut stream = payload.sealed(Engine::chosen());
        let at = at.index(stream.len());
        stream[at] ^= 1 << bit;
        let result = payload.open(engine, &stream, 2);
        match at.checked_sub(HEADER_LEN_BYTES) {
            None => prop_assert_eq!(result, Err(OpenError::Commitment)),
            Some(at) => {
                let chunk = (at / SEALED_CHUNK_LEN_BYTES) as u64;
                prop_assert_eq!(result, Err(OpenError::NotAuthentic { chunk }));

                // The buffer of the chunk shows no byte of its plaintext.
                let opener = payload.opener(engine, &stream[..HEADER_LEN_BYTES])?;
                let start = HEADER_LEN_BYTES + chunk as usize * SEALED_CHUNK_LEN_BYTES;
                let end = stream.len().min(start + SEALED_CHUNK_LEN_BYTES);
                let is_last = chunk == last_chunk(payload.plain.len() as u64);
                let sealed = stream[start..end].to_vec();
                let zeros = vec![0; sealed.len() - 16];
                let mut opened = sealed.clone();
                prop_assert!(opener.open_chunk(chunk, is_last, &mut opened).is_err());
                let text = &opened[..zeros.len()];
                prop_assert!(text == &sealed[..zeros.len()] || text == zeros);
            }
        }
    }

    #[test]
    fn a_run_opened_to_its_front_shows_nothing_from_a_flipped_bit_on(
        mut payload in payloads(),
        engine in engines(),
        at in any::<Index>(),
        bit in 0..8_u32,
    ) {
        // Plaintext in which no 16 bytes occur twice, so that a trace of it is no accident.
        for (block, number) in payload.plain.chunks_exact_mut(16).zip(0_u128..) {
            block.copy_from_slice(&(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) << 7).to_be_bytes());
        }
        let stream = payload.sealed(Engine::chosen());
        let opener = payload.opener(engine, &stream[..HEADER_LEN_BYTES])?;
        let mut run = stream[HEADER_LEN_BYTES..].to_vec();
        let at = at.index(run.len());
        run[at] ^= 1 << bit;
        let chunk = at / SEALED_CHUNK_LEN_BYTES;
        prop_assert_eq!(
            opener.open_run_to_front(0, true, &mut run),
            Err(OpenError::NotAuthentic { chunk: chunk as u64 })
        );
        let unopened = payload.plain.get(chunk * CHUNK_LEN_BYTES..).unwrap_or_default();
        let behind = &run[chunk * CHUNK_LEN_BYTES..];
        for (plain, shown) in unopened.chunks_exact(16).zip(behind.chunks_exact(16)) {
            prop_assert!(plain != shown || plain == [0; 16]);
        }
    }

    #[test]
    fn a_truncated_or_extended_stream_is_refused(
        payload in payloads(),
        engine in engines(),
        cut in any::<Index>(),
        more in prop_oneof![1..40_usize, Just(SEALED_CHUNK_LEN_BYTES)],
    ) {
        let stream = payload.sealed(Engine::chosen());
        let cut = cut.index(stream.len());
        prop_assert!(payload.open(engine, &stream[..cut], 2).is_err());
        let whole_chunks = cut.saturating_sub(HEADER_LEN_BYTES) / SEALED_CHUNK_LEN_BYTES;
        let at_a_chunk = HEADER_LEN_BYTES + whole_chunks * SEALED_CHUNK_LEN_BYTES;
        prop_assert_eq!(
            payload.open(engine, &stream[..at_a_chunk], 2),
            Err(OpenError::Truncated { chunks: whole_chunks as u64 })
        );
        let extended = [stream.as_slice(), &vec![0; more]].concat();
        prop_assert!(payload.open(engine, &extended, 2).is_err());
        let repeated = [stream.as_slice(), &stream[HEADER_LEN_BYTES..]].concat();
        prop_assert!(payload.open(engine, &repeated, 1).is_err());
    }

    #[test]
    fn moved_chunks_are_refused(
        chunks in 2..6_usize,
        seed in any::<u64>(),
        engine in engines(),
        swap in any::<(Index, Index)>(),
    ) {
        let payload = Payload::of(chunks * CHUNK_LEN_BYTES + 9, seed);
        let stream = payload.sealed(Engine::chosen());
        let (one, other) = (swap.0.index(chunks), swap.1.index(chunks));
        prop_assume!(one != other);
        let at = |chunk: usize| HEADER_LEN_BYTES + chunk * SEALED_CHUNK_LEN_BYTES;
        let chunk = |index: usize| &stream[at(index)..at(index + 1)];
        let first = one.min(other) as u64;

        let mut swapped = stream.clone();
        swapped[at(one)..at(one + 1)].copy_from_slice(chunk(other));
        swapped[at(other)..at(other + 1)].copy_from_slice(chunk(one));
        prop_assert_eq!(
            payload.open(engine, &swapped, 3),
            Err(OpenError::NotAuthentic { chunk: first })
        );

        let mut repeated = stream.clone();
        repeated[at(one)..at(one + 1)].copy_from_slice(chunk(other));
        prop_assert_eq!(
            payload.open(engine, &repeated, 3),
            Err(OpenError::NotAuthentic { chunk: one as u64 })
        );

        let taken_out = [&stream[..at(one)], &stream[at(one + 1)..]].concat();
        prop_assert_eq!(
            payload.open(engine, &taken_out, 3),
            Err(OpenError::NotAuthentic { chunk: one as u64 })
        );
    }

    #[test]
    fn another_key_context_or_salt_is_refused_before_any_chunk(
        payload in payloads(),
        engine in engines(),
        bit in 0..256_usize,
        byte in any::<Index>(),
    ) {
        let stream = payload.sealed(Engine::chosen());
        let header = &stream[..HEADER_LEN_BYTES];
        let refused = |key: &DataKey, context: &[u8], header: &[u8]| {
            let result = Opener::with_engine(engine, key, context, header);
            matches!(result, Err(OpenError::Commitment))
        };
        let mut key = *payload.key.expose();
        key[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(refused(&DataKey::from_bytes(&key), &payload.context, header));
        let mut context = payload.context.clone();
        context[byte.index(53)] ^= 1;
        prop_assert!(refused(&payload.key, &context, header));
        prop_assert!(refused(&payload.key, &payload.context[..52], header));
        prop_assert!(refused(&payload.key, &[payload.context.as_slice(), &[0]].concat(), header));
        let mut header = header.to_vec();
        header[byte.index(HEADER_LEN_BYTES)] ^= 0x80;
        prop_assert!(refused(&payload.key, &payload.context, &header));
    }

    #[test]
    fn swapped_objects_are_refused(
        lengths in (lengths(), lengths()),
        engine in engines(),
        seed in any::<u64>(),
    ) {
        // Two payloads under one data key, as two parts of an upload are.
        let (one, mut other) = (Payload::of(lengths.0, seed), Payload::of(lengths.1, !seed));
        other.key = DataKey::from_bytes(one.key.expose());
        let (first, second) = (one.sealed(Engine::chosen()), other.sealed(Engine::chosen()));
        prop_assert_eq!(one.open(engine, &second, 2), Err(OpenError::Commitment));
        prop_assert_eq!(other.open(engine, &first, 2), Err(OpenError::Commitment));
        let crossed = [&first[..HEADER_LEN_BYTES], &second[HEADER_LEN_BYTES..]].concat();
        prop_assert_eq!(
            one.open(engine, &crossed, 2),
            Err(OpenError::NotAuthentic { chunk: 0 })
        );
    }

    #[test]
    fn what_is_not_the_last_chunk_does_not_pass_for_it(
        payload in payloads(),
        engine in engines(),
        cut in 0..CHUNK_LEN_BYTES,
    ) {
        let stream = payload.sealed(Engine::chosen());
        let opener = payload.opener(engine, &stream[..HEADER_LEN_BYTES])?;
        let last = last_chunk(payload.plain.len() as u64);
        let start = |chunk: u64| HEADER_LEN_BYTES + chunk as usize * SEALED_CHUNK_LEN_BYTES;
        let mut end = stream[start(last)..].to_vec();
        let wrong_length = OpenError::Length { first: last, len_bytes: end.len() };
        prop_assert_eq!(opener.open_chunk(last, false, &mut end), Err(wrong_length));
        let elsewhere = OpenError::NotAuthentic { chunk: last + 1 };
        prop_assert_eq!(opener.open_chunk(last + 1, true, &mut end), Err(elsewhere));
        if last > 0 {
            let mut full = stream[start(0)..start(1)].to_vec();
            let wrong_length = OpenError::Length { first: 0, len_bytes: full.len() };
            prop_assert_eq!(opener.open_chunk(0, true, &mut full), Err(wrong_length));
            // A full chunk cut short, so that it has the length of a last one.
            prop_assert_eq!(
                opener.open_chunk(0, true, &mut full[..cut + 16]),
                Err(OpenError::NotAuthentic { chunk: 0 })
            );
        }
    }
}

#[test]
fn a_header_of_another_length_is_refused() {
    let payload = Payload::of(10, 1);
    let stream = payload.sealed(Engine::chosen());
    for len_bytes in [0, 23, 24, 55, 57] {
        assert_eq!(
            payload.opener(Engine::chosen(), &stream[..len_bytes]).err(),
            Some(OpenError::Header { len_bytes })
        );
    }
}

#[test]
fn lengths_and_indices_from_outside_do_not_panic() {
    let payload = Payload::of(10, 1);
    let stream = payload.sealed(Engine::chosen());
    let opener = payload
        .opener(Engine::chosen(), &stream[..HEADER_LEN_BYTES])
        .expect("committed");
    for len_bytes in [0, 1, 15, 16_399, 16_400, 16_415] {
        for first in [0, 1, (1 << 38) - 1, 1 << 38, u64::MAX - 1, u64::MAX] {
            for holds_last in [false, true] {
                let mut run = vec![0; len_bytes];
                let nothing = len_bytes == 0 && !holds_last && first <= 1 << 38;
                let result = opener.open_run(first, holds_last, &mut run);
                assert_eq!(result.is_ok(), nothing, "{first} {holds_last} {len_bytes}");
            }
        }
    }
    assert!(matches!(
        opener.open_chunk(0, false, &mut vec![0; 2 * SEALED_CHUNK_LEN_BYTES]),
        Err(OpenError::Length { .. })
    ));
}

#[test]
fn a_stream_gives_nothing_behind_its_end_or_an_error() {
    let payload = Payload::of(10, 1);
    let stream = payload.sealed(Engine::chosen());
    let (header, body) = stream.split_at(HEADER_LEN_BYTES);
    let opened = || {
        let opener = payload.opener(Engine::chosen(), header).expect("committed");
        opener.into_stream()
    };
    let mut at_its_end = opened();
    assert!(at_its_end.open_run(&mut body.to_vec()).is_ok());
    assert!(at_its_end.open_run(&mut []).is_ok());
    assert!(matches!(
        at_its_end.open_run(&mut body.to_vec()).err(),
        Some(OpenError::Trailing)
    ));
    assert_eq!(at_its_end.finish(), Err(OpenError::Trailing));

    let mut damaged = opened();
    assert!(damaged.open_run(&mut [0; 16]).is_err());
    assert!(damaged.open_run(&mut body.to_vec()).is_err());
    assert_eq!(damaged.finish(), Err(OpenError::NotAuthentic { chunk: 0 }));
}
