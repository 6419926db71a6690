//! What chunking, nonces and layout cost beside the bare cipher.
//!
//! A payload of 16 MiB is sealed and opened in runs of 1 MiB, key derivation included, and the same
//! bytes with the same calls of AES-256-GCM under one key and nothing else. The buffers are
//! those a stream uses, 1 MiB, so the figures are of a warm second-level cache or of the third.
//!
//! Last come the ratios that decide: both measured in turns within one run, since the speed of a
//! machine drifts by more than they differ.

use std::hint::black_box;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use strongroom_environment::{Clock, SystemClock, SystemEntropy};
use strongroom_seal::layout::{CHUNK_LEN_BYTES, SEALED_CHUNK_LEN_BYTES};
use strongroom_seal::{DataKey, Engine, Opener, Salt, Sealer};

const RUN_CHUNKS: usize = 64;
const RUNS: usize = 16;
const RUN_LEN_BYTES: usize = RUN_CHUNKS * SEALED_CHUNK_LEN_BYTES;
const PLAIN_LEN_BYTES: u64 = (RUNS * RUN_CHUNKS * CHUNK_LEN_BYTES) as u64;

fn raw_nonce(index: usize) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&(index as u64).to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn raw_key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("an AES-256 key"))
}

/// Seals as many bytes as a payload, run by run, under a new key.
fn raw_seal(run: &mut [u8]) {
    let key = raw_key();
    for first in (0..RUNS).map(|run| run * RUN_CHUNKS) {
        for (chunk, number) in run.chunks_exact_mut(SEALED_CHUNK_LEN_BYTES).zip(first..) {
            let (text, tag) = chunk.split_at_mut(CHUNK_LEN_BYTES);
            key.seal_in_place_scatter(raw_nonce(number), Aad::empty(), text, &[], tag)
                .expect("sealed");
        }
    }
}

/// A run of zeros, sealed.
fn raw_sealed() -> Vec<u8> {
    let key = raw_key();
    let mut run = vec![0; RUN_LEN_BYTES];
    for (chunk, number) in run.chunks_exact_mut(SEALED_CHUNK_LEN_BYTES).zip(0..) {
        let (text, tag) = chunk.split_at_mut(CHUNK_LEN_BYTES);
        key.seal_in_place_scatter(raw_nonce(number), Aad::empty(), text, &[], tag)
            .expect("sealed");
    }
    run
}

/// Opens as many bytes as a payload, run by run, into another buffer.
fn raw_open(sealed: &[u8], plain: &mut [u8]) {
    let key = raw_key();
    for _ in 0..RUNS {
        let chunks = sealed.chunks_exact(SEALED_CHUNK_LEN_BYTES);
        let rooms = plain.chunks_exact_mut(CHUNK_LEN_BYTES);
        for ((chunk, room), number) in chunks.zip(rooms).zip(0..) {
            let (text, tag) = chunk.split_at(CHUNK_LEN_BYTES);
            key.open_separate_gather(raw_nonce(number), Aad::empty(), text, tag, room)
                .expect("authentic");
        }
    }
}

fn sealing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    group.throughput(Throughput::Bytes(PLAIN_LEN_BYTES));
    let mut run = vec![0; RUN_LEN_BYTES];
    let plain = vec![0; RUN_CHUNKS * CHUNK_LEN_BYTES];

    group.bench_function("raw AES-256-GCM", |bencher| {
        bencher.iter(|| raw_seal(&mut run));
    });
    for engine in Engine::ALL {
        group.bench_function(format!("in place, {engine:?}"), |bencher| {
            let key = DataKey::generate(&SystemEntropy);
            bencher.iter(|| {
                let salt = Salt::generate(&SystemEntropy);
                let (mut sealer, header) = Sealer::with_engine(*engine, &key, &salt, b"context");
                for _ in 0..RUNS {
                    sealer.seal_run(&mut run).expect("sealed");
                }
                sealer.seal_last(&mut [0; 16]).expect("sealed");
                black_box(header)
            });
        });
        group.bench_function(format!("into another buffer, {engine:?}"), |bencher| {
            let key = DataKey::generate(&SystemEntropy);
            bencher.iter(|| {
                let salt = Salt::generate(&SystemEntropy);
                let (mut sealer, header) = Sealer::with_engine(*engine, &key, &salt, b"context");
                for _ in 0..RUNS {
                    sealer.seal_run_from(&plain, &mut run).expect("sealed");
                }
                sealer.seal_last(&mut [0; 16]).expect("sealed");
                black_box(header)
            });
        });
    }
    group.finish();
}

fn opening(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    group.throughput(Throughput::Bytes(PLAIN_LEN_BYTES));
    let mut plain = vec![0; RUN_CHUNKS * CHUNK_LEN_BYTES];

    group.bench_function("raw AES-256-GCM", |bencher| {
        let sealed = raw_sealed();
        bencher.iter(|| raw_open(&sealed, &mut plain));
    });
    for engine in Engine::ALL {
        group.bench_function(format!("into another buffer, {engine:?}"), |bencher| {
            let key = DataKey::generate(&SystemEntropy);
            let salt = Salt::generate(&SystemEntropy);
            let (mut sealer, header) = Sealer::with_engine(*engine, &key, &salt, b"context");
            let mut sealed = vec![0; RUN_LEN_BYTES];
            sealer.seal_run(&mut sealed).expect("sealed");
            bencher.iter(|| {
                let opener =
                    Opener::with_engine(*engine, &key, b"context", &header).expect("committed");
                for _ in 0..RUNS {
                    opener
                        .open_run_into(0, false, &sealed, &mut plain)
                        .expect("authentic");
                }
            });
        });
    }
    group.finish();
}

/// Opening in place uses its input up, so each turn gets a fresh run of 1 MiB, outside the clock.
fn opening_in_place(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open in place");
    group.throughput(Throughput::Bytes((RUN_CHUNKS * CHUNK_LEN_BYTES) as u64));

    let key = raw_key();
    let sealed = raw_sealed();
    group.bench_function("raw AES-256-GCM", |bencher| {
        let open = |run: &mut Vec<u8>| {
            for (chunk, number) in run.chunks_exact_mut(SEALED_CHUNK_LEN_BYTES).zip(0..) {
                let (text, tag) = chunk.split_at_mut(CHUNK_LEN_BYTES);
                key.open_in_place_separate_tag(raw_nonce(number), Aad::empty(), tag, text)
                    .expect("authentic");
            }
        };
        bencher.iter_batched_ref(|| sealed.clone(), open, BatchSize::PerIteration);
    });

    let key = DataKey::generate(&SystemEntropy);
    let salt = Salt::generate(&SystemEntropy);
    for engine in Engine::ALL {
        let (mut sealer, header) = Sealer::with_engine(*engine, &key, &salt, b"context");
        let mut sealed = vec![0; RUN_LEN_BYTES];
        sealer.seal_run(&mut sealed).expect("sealed");
        let opener = Opener::with_engine(*engine, &key, b"context", &header).expect("committed");
        group.bench_function(format!("{engine:?}"), |bencher| {
            let open = |run: &mut Vec<u8>| opener.open_run(0, false, run).expect("authentic");
            bencher.iter_batched_ref(|| sealed.clone(), open, BatchSize::PerIteration);
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
    let mut plain = vec![0; 4_096];
    group.bench_function("open", |bencher| {
        bencher.iter(|| {
            let opener = Opener::new(&key, b"context", &header).expect("committed");
            opener
                .open_run_into(0, true, &chunk, &mut plain)
                .expect("authentic")
        });
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
    let key = DataKey::generate(&SystemEntropy);
    let (mut raw_run, mut run) = (vec![0; RUN_LEN_BYTES], vec![0; RUN_LEN_BYTES]);
    let seal = ratio(
        || raw_seal(&mut raw_run),
        || {
            let salt = Salt::generate(&SystemEntropy);
            let (mut sealer, _) = Sealer::new(&key, &salt, b"context");
            for _ in 0..RUNS {
                sealer.seal_run(&mut run).expect("sealed");
            }
            sealer.seal_last(&mut [0; 16]).expect("sealed");
        },
    );
    println!("seal: {seal:.3} of raw AES-256-GCM in chunks of 16 KiB");

    let (raw_sealed, mut raw_plain) = (raw_sealed(), vec![0; RUN_CHUNKS * CHUNK_LEN_BYTES]);
    let salt = Salt::generate(&SystemEntropy);
    let (mut sealer, header) = Sealer::new(&key, &salt, b"context");
    sealer.seal_run(&mut run).expect("sealed");
    let mut plain = vec![0; RUN_CHUNKS * CHUNK_LEN_BYTES];
    let open = ratio(
        || raw_open(&raw_sealed, &mut raw_plain),
        || {
            let opener = Opener::new(&key, b"context", &header).expect("committed");
            for _ in 0..RUNS {
                opener
                    .open_run_into(0, false, &run, &mut plain)
                    .expect("authentic");
            }
        },
    );
    println!("open: {open:.3} of raw AES-256-GCM in chunks of 16 KiB");
}

criterion_group!(benches, sealing, opening, opening_in_place, small, ratios);
criterion_main!(benches);
