//! Wiping the stack below a caller.

use std::hint::black_box;

/// How far below its caller [`scrub_stack`] wipes, in bytes.
const SCRUBBED_LEN_BYTES: usize = 32 * 1024;

/// Overwrites 32 KiB of the stack below the caller's frame with zeros.
///
/// Ciphers, hashes and moved values leave key schedules, hash blocks and copies in the frames of
/// functions that have returned. This wipes those frames. The caller's own frame stays: what is
/// secret belongs in functions that are not inlined into the one that calls this, and on the heap.
#[inline(never)]
pub fn scrub_stack() {
    let mut below = [0_u8; SCRUBBED_LEN_BYTES];
    // The compiler must take these zeros for read, and so has to write them.
    black_box(&mut below);
}
