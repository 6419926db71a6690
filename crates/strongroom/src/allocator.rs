//! The allocator of the daemon: it wipes every block before giving it back.
//!
//! A customer's key passes through buffers that are not ours: the HTTP parser's, the signature
//! check's, a string here and there. Wiping what we own is not enough, so whatever leaves the
//! heap leaves it as zeros. What is still held is the business of its owner.
#![allow(
    unsafe_code,
    reason = "an allocator cannot be written otherwise; this is the one module of the binary that may"
)]

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, with every freed block wiped first.
pub(crate) struct WipingAllocator;

// SAFETY: every call is passed on to `System` with the arguments it came with, so each obligation
// of the trait is met by `System`; `dealloc` writes only within the block that is being freed.
unsafe impl GlobalAlloc for WipingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's obligations are those of `System::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's obligations are those of `System::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller hands over a live block of `layout.size()` bytes and does not use it
        // again, so writing all of it is sound. The black box keeps the writes: without it they
        // would be removed as stores to memory that is about to be freed.
        unsafe {
            block.write_bytes(0, layout.size());
            std::hint::black_box(block);
            System.dealloc(block, layout);
        }
    }

    // `realloc` is left to the trait's own version, which allocates, copies and calls `dealloc`:
    // the system's might move the block and leave the old bytes behind.
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grown_and_shrunk_blocks_keep_their_bytes() {
        let layout = Layout::from_size_align(64, 8).expect("a valid layout");
        // SAFETY: the blocks are used within their sizes and freed once with their own layouts.
        unsafe {
            let block = WipingAllocator.alloc(layout);
            assert!(!block.is_null());
            block.write_bytes(7, 64);
            let grown = WipingAllocator.realloc(block, layout, 4_096);
            assert!(!grown.is_null());
            assert!((0..64).all(|at| *grown.add(at) == 7));
            let large = Layout::from_size_align(4_096, 8).expect("a valid layout");
            let shrunk = WipingAllocator.realloc(grown, large, 16);
            assert!((0..16).all(|at| *shrunk.add(at) == 7));
            WipingAllocator.dealloc(
                shrunk,
                Layout::from_size_align(16, 8).expect("a valid layout"),
            );
        }
    }
}
