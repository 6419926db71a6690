//! No key is left in memory once whoever held it is gone.
//!
//! The test looks through its own memory. Keys are looked for by a masked copy, so that the
//! search doesn't find itself.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;

use strongroom_environment::{Entropy, SystemEntropy};
use strongroom_seal::{
    DataKey, Engine, KeyWrap, Opener, Salt, Sealer, WrappedDataKey, customer_kek_with_engine,
    scrub_stack,
};

const MASK: u8 = 0xA5;

/// A key that is looked for, masked.
struct Needle {
    name: &'static str,
    masked: [u8; 32],
}

impl Needle {
    #[inline(never)]
    fn of(name: &'static str, key: &[u8; 32]) -> Self {
        let mut masked = [0; 32];
        for (masked, byte) in masked.iter_mut().zip(key) {
            *masked = byte ^ MASK;
        }
        Self { name, masked }
    }
}

/// Needles by the first byte of what is looked for.
struct Needles<'needle>(Vec<Vec<(&'needle [u8], &'static str)>>);

impl<'needle> Needles<'needle> {
    /// Each half of a key is looked for: enough to be unmistakable, a round key of AES-256, so
    /// that a key schedule is found too, and one of them is left when the allocator writes its
    /// links into the start of freed memory.
    fn of(needles: &'needle [Needle]) -> Self {
        let mut by_first = vec![Vec::new(); 256];
        for needle in needles {
            for half in needle.masked.chunks_exact(16) {
                by_first[usize::from(half[0] ^ MASK)].push((half, needle.name));
            }
        }
        Self(by_first)
    }

    fn at(&self, bytes: &[u8]) -> Option<&'static str> {
        let candidates = &self.0[usize::from(bytes[0])];
        let is_here = |half: &[u8]| {
            bytes
                .iter()
                .zip(half)
                .all(|(byte, masked)| byte ^ MASK == *masked)
        };
        candidates
            .iter()
            .find(|(half, _)| is_here(half))
            .map(|(_, name)| *name)
    }
}

/// The names of the needles that are somewhere in the writable memory of this process.
#[inline(never)]
fn found(needles: &[Needle]) -> Vec<&'static str> {
    let needles = Needles::of(needles);
    let maps = fs::read_to_string("/proc/self/maps").expect("the map of this process");
    let memory = File::open("/proc/self/mem").expect("the memory of this process");
    let mut found = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(permissions)) = (fields.next(), fields.next()) else {
            continue;
        };
        if !permissions.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').expect("a range");
        let start = u64::from_str_radix(start, 16).expect("an address");
        let end = u64::from_str_radix(end, 16).expect("an address");
        // A page at a time, with the end of the page before in front, so that the copy of the
        // memory that is searched is small and is wiped by the page after.
        let mut window = vec![0; 4_096 + 15];
        for address in (start..end).step_by(4_096) {
            window.copy_within(4_096.., 0);
            if memory.read_exact_at(&mut window[15..], address).is_err() {
                continue;
            }
            found.extend(window.windows(16).filter_map(|bytes| needles.at(bytes)));
        }
        window.fill(0);
        black_box(&mut window);
    }
    found
}

/// Everything the crate does with keys, each in the hands it is made for.
#[inline(never)]
fn use_keys(engine: Engine) -> Vec<Needle> {
    let mut customer_key = Box::new(zeroize::Zeroizing::new([0; 32]));
    SystemEntropy.fill(customer_key.as_mut_slice());
    let mut needles = vec![Needle::of("customer key", &customer_key)];

    let key = DataKey::generate(&SystemEntropy);
    needles.push(Needle::of("data key", key.expose()));
    let bucket_key = DataKey::generate(&SystemEntropy);
    needles.push(Needle::of("bucket key", bucket_key.expose()));

    let salt = Salt::generate(&SystemEntropy);
    let (mut sealer, header) = Sealer::with_engine(engine, &key, &salt, b"context");
    let mut run = vec![1; 3 * 16_400 + 100];
    sealer.seal_run(&mut run[..16_400]).expect("sealed");
    sealer.seal_last(&mut run[16_400..]).expect("sealed");
    let opener = Opener::with_engine(engine, &key, b"context", &header).expect("committed");
    opener.open_run(0, true, &mut run).expect("authentic");

    let (under_customer, _) = customer_kek_with_engine(engine, &customer_key, &[3; 32], b"purpose");
    for wrap in [
        under_customer,
        KeyWrap::with_engine(engine, bucket_key.expose()),
    ] {
        let wrapped = wrap.wrap([5; 12], b"purpose", &key);
        let read = WrappedDataKey::from_bytes(wrapped.as_bytes()).expect("a wrapped key");
        let unwrapped = wrap.unwrap(b"purpose", &read).expect("authentic");
        assert_eq!(unwrapped.expose()[16..], key.expose()[16..]);
        assert!(wrap.unwrap(b"another", &read).is_err());
    }
    needles
}

#[test]
fn no_key_outlives_its_holder() {
    for engine in Engine::ALL {
        // Many times, so that the search can't by chance run over all that was left.
        let needles: Vec<_> = (0..16).flat_map(|_| use_keys(*engine)).collect();
        scrub_stack();
        assert_eq!(found(&needles), [""; 0], "{engine:?}");
    }
}

#[test]
fn a_key_that_is_held_is_found() {
    let key = DataKey::generate(&SystemEntropy);
    let needles = [Needle::of("held", key.expose())];
    assert!(found(&needles).contains(&"held"));
    black_box(&key);
}

#[test]
fn what_a_function_leaves_on_the_stack_is_wiped() {
    /// Fills its frame with a key, deeper than the search will reach by its own calls.
    #[inline(never)]
    fn leave(seed: u8) -> Needle {
        let mut frame = [[0_u8; 32]; 512];
        for key in &mut frame {
            for (byte, index) in key.iter_mut().zip(0_u8..) {
                *byte = seed.wrapping_mul(index).wrapping_add(index ^ 0x5C);
            }
        }
        Needle::of("left behind", &black_box(&mut frame)[0])
    }

    let needles = [leave(black_box(77))];
    assert!(!found(&needles).is_empty());
    let needles = [leave(black_box(78))];
    scrub_stack();
    assert_eq!(found(&needles), [""; 0]);
}
