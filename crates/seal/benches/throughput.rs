//! What chunking, nonces and layout cost beside the bare cipher.
//!
//! A payload of 16 MiB is sealed and opened in runs of 128 KiB, as the store does it, key derivation
//! included; beside it the same bytes with the same calls of AES-256-GCM under one key and nothing
//! else, by the library of the same engine.
//!
//! Last come the ratios that decide: both measured in turns within one run, since the speed of a
//! machine drifts by more than they differ.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use strongroom_environment::{Clock, SystemClock, SystemEntropy};
use strongroom_seal::layout::{CHUNK_LEN_BYTES, SEALED_CHUNK_LEN_BYTES};
use strongroom_seal::{DataKey, Engine, Opener, Salt, Sealer};

const RUN_CHUNKS: usize = 8;
const RUNS: usize = 128;
const RUN_LEN_BYTES: usize = RUN_CHUNKS * SEALED_CHUNK_LEN_BYTES;
const PLAIN_LEN_BYTES: u64 = (RUNS * RUN_CHUNKS * CHUNK_LEN_BYTES) as u64;

fn raw_nonce(index: usize) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&(index as u64).to_be_bytes());
    nonce
}

/// The bare cipher of a library.
enum Raw {
    AwsLc(aws_lc_rs::aead::LessSafeKey),
    Ring(Box<ring::aead::LessSafeKey>),
}

impl Raw {
    /// That of the engine which the store uses on this processor.
    fn chosen() -> Self {
        match Engine::chosen() {
            Engine::Ring => Self::ring(),
            _ => Self::aws_lc(),
        }
    }

    fn aws_lc() -> Self {
        use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("an AES-256 key");
        Self::AwsLc(LessSafeKey::new(key))
    }

    fn ring() -> Self {
        use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("an AES-256 key");
        Self::Ring(Box::new(LessSafeKey::new(key)))
    }

    fn seal_run(&self, run: &mut [u8], first: usize) {
        for (chunk, number) in run.chunks_exact_mut(SEALED_CHUNK_LEN_BYTES).zip(first..) {
            let (text, tag) = chunk.split_at_mut(CHUNK_LEN_BYTES);
            match self {
                Self::AwsLc(key) => {
                    use aws_lc_rs::aead::{Aad, Nonce};
                    let nonce = Nonce::assume_unique_for_key(raw_nonce(number));
                    key.seal_in_place_scatter(nonce, Aad::empty(), text, &[], tag)
                        .expect("sealed");
                }
                Self::Ring(key) => {
                    use ring::aead::{Aad, Nonce};
                    let nonce = Nonce::assume_unique_for_key(raw_nonce(number));
                    let made = key
                        .seal_in_place_separate_tag(nonce, Aad::empty(), text)
                        .expect("sealed");
                    tag.copy_from_slice(made.as_ref());
                }
            }
        }
    }

    fn open_run(&self, run: &mut [u8]) {
        for (chunk, number) in run.chunks_exact_mut(SEALED_CHUNK_LEN_BYTES).zip(0..) {
            match self {
                Self::AwsLc(key) => {
                    use aws_lc_rs::aead::{Aad, Nonce};
                    let nonce = Nonce::assume_unique_for_key(raw_nonce(number));
                    key.open_in_place(nonce, Aad::empty(), chunk)
                        .expect("authentic");
                }
                Self::Ring(key) => {
                    use ring::aead::{Aad, Nonce};
                    let nonce = Nonce::assume_unique_for_key(raw_nonce(number));
                    key.open_in_place(nonce, Aad::empty(), chunk)
                        .expect("authentic");
                }
            }
        }
    }

    /// A run of zeros, sealed.
    fn sealed_run(&self) -> Vec<u8> {
        let mut run = vec![0; RUN_LEN_BYTES];
        self.seal_run(&mut run, 0);
        run
    }
}

/// Seals as many bytes as a payload, run by run, under a new key.
fn raw_seal(raw: fn() -> Raw, run: &mut [u8]) {
    let raw = raw();
    for first in (0..RUNS).map(|run| run * RUN_CHUNKS) {
        raw.seal_run(run, first);
    }
}

/// Opens as many bytes as a payload, run by run; each run is copied in first, as it is by a read.
fn raw_open(raw: fn() -> Raw, sealed: &[u8], run: &mut [u8]) {
    let raw = raw();
    for _ in 0..RUNS {
        run.copy_from_slice(sealed);
        raw.open_run(run);
    }
}

fn seal_payload(engine: Engine, key: &DataKey, run: &mut [u8]) {
    let salt = Salt::generate(&SystemEntropy);
    let (mut sealer, header) = Sealer::with_engine(engine, key, &salt, b"context");
    for _ in 0..RUNS {
        sealer.seal_run(run).expect("sealed");
    }
    sealer.seal_last(&mut [0; 16]).expect("sealed");
    black_box(header);
}

/// A run that is sealed, and what opens it.
struct SealedRun {
    key: DataKey,
    header: [u8; strongroom_seal::HEADER_LEN_BYTES],
    bytes: Vec<u8>,
}

impl SealedRun {
    fn new(engine: Engine) -> Self {
        let key = DataKey::generate(&SystemEntropy);
        let salt = Salt::generate(&SystemEntropy);
        let (mut sealer, header) = Sealer::with_engine(engine, &key, &salt, b"context");
        let mut bytes = vec![0; RUN_LEN_BYTES];
        sealer.seal_run(&mut bytes).expect("sealed");
        Self { key, header, bytes }
    }

    fn opener(&self, engine: Engine) -> Opener {
        Opener::with_engine(engine, &self.key, b"context", &self.header).expect("committed")
    }

    fn open_payload(&self, engine: Engine, run: &mut [u8]) {
        let opener = self.opener(engine);
        for _ in 0..RUNS {
            run.copy_from_slice(&self.bytes);
            opener.open_run_to_front(0, false, run).expect("authentic");
        }
    }
}

fn sealing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    group.throughput(Throughput::Bytes(PLAIN_LEN_BYTES));
    let mut run = vec![0; RUN_LEN_BYTES];
    group.bench_function("raw AES-256-GCM, aws-lc", |bencher| {
        bencher.iter(|| raw_seal(Raw::aws_lc, &mut run));
    });
    group.bench_function("raw AES-256-GCM, ring", |bencher| {
        bencher.iter(|| raw_seal(Raw::ring, &mut run));
    });
    for engine in Engine::ALL {
        group.bench_function(format!("{engine:?}"), |bencher| {
            let key = DataKey::generate(&SystemEntropy);
            bencher.iter(|| seal_payload(*engine, &key, &mut run));
        });
    }
    group.finish();
}

/// Opening uses its input up, so each run is copied in anew; that costs the same on all sides.
fn opening(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    group.throughput(Throughput::Bytes(PLAIN_LEN_BYTES));
    let mut run = vec![0; RUN_LEN_BYTES];
    for (name, raw) in [
        ("raw AES-256-GCM, aws-lc", Raw::aws_lc as fn() -> Raw),
        ("raw AES-256-GCM, ring", Raw::ring),
    ] {
        let sealed = raw().sealed_run();
        group.bench_function(name, |bencher| {
            bencher.iter(|| raw_open(raw, &sealed, &mut run));
        });
    }
    for engine in Engine::ALL {
        let sealed = SealedRun::new(*engine);
        group.bench_function(format!("{engine:?}"), |bencher| {
            bencher.iter(|| sealed.open_payload(*engine, &mut run));
        });
    }
    group.finish();
}

fn small(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("payload of 4 KiB");
    let key = DataKey::generate(&SystemEntropy);
    let salt = Salt::generate(&SystemEntropy);
    let mut chunk = vec![0; 4_096 + 16];
    group.throughput(Throughput::Bytes(4_096));
    group.bench_function("seal", |bencher| {
        bencher.iter(|| {
            let (sealer, header) = Sealer::new(&key, &salt, b"context");
            sealer.seal_last(&mut chunk).expect("sealed");
            black_box(header)
        });
    });
    let (sealer, header) = Sealer::new(&key, &salt, b"context");
    sealer.seal_last(&mut chunk).expect("sealed");
    group.bench_function("open", |bencher| {
        let open = |chunk: &mut Vec<u8>| {
            Opener::new(&key, b"context", &header)
                .expect("committed")
                .open_run_to_front(0, true, chunk)
                .expect("authentic")
        };
        bencher.iter_batched_ref(|| chunk.clone(), open, BatchSize::SmallInput);
    });
    group.finish();
}

/// The median over many turns of how fast `sealing` is, where `raw` is one.
fn ratio(mut raw: impl FnMut(), mut sealing: impl FnMut()) -> f64 {
    const TURNS: usize = 201;

    let clock = SystemClock::new();
    let seconds_of = |work: &mut dyn FnMut()| {
        let start = clock.monotonic();
        work();
        clock.monotonic().since(start).as_secs_f64()
    };
    let mut ratios: Vec<f64> = (0..TURNS)
        .map(|turn| {
            // Who goes first alternates too.
            if turn % 2 == 0 {
                seconds_of(&mut raw) / seconds_of(&mut sealing)
            } else {
                let sealing = seconds_of(&mut sealing);
                seconds_of(&mut raw) / sealing
            }
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios[TURNS / 2]
}

#[expect(clippy::print_stdout, reason = "the ratios are what is run for")]
fn ratios(_: &mut Criterion) {
    let engine = Engine::chosen();
    let key = DataKey::generate(&SystemEntropy);
    let (mut raw_run, mut run) = (vec![0; RUN_LEN_BYTES], vec![0; RUN_LEN_BYTES]);
    let seal = ratio(
        || raw_seal(Raw::chosen, &mut raw_run),
        || seal_payload(engine, &key, &mut run),
    );
    println!("seal: {seal:.3} of raw AES-256-GCM in chunks of 16 KiB, {engine:?}");

    let raw_sealed = Raw::chosen().sealed_run();
    let sealed = SealedRun::new(engine);
    let open = ratio(
        || raw_open(Raw::chosen, &raw_sealed, &mut raw_run),
        || sealed.open_payload(engine, &mut run),
    );
    println!("open: {open:.3} of raw AES-256-GCM in chunks of 16 KiB, {engine:?}");
}

criterion_group!(benches, sealing, opening, small, ratios);
criterion_main!(benches);
