//! Wiping what a customer key leaves on the stack.

use std::pin::Pin;
use std::task::{Context, Poll};

use strongroom_seal::scrub_stack;

/// A future after each of whose polls the stack below it is overwritten.
///
/// Digests and key schedules work on the stack, and leave there what they worked on. A request
/// that carries a customer key is handled inside one of these.
pub(crate) struct Scrubbed<F>(F);

impl<F: Future + Unpin> Scrubbed<F> {
    /// Wraps a future, on the heap: its state holds what outlives a poll.
    pub(crate) fn new(future: F) -> Self {
        Self(future)
    }
}

impl<F: Future + Unpin> Future for Scrubbed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let poll = Pin::new(&mut self.0).poll(context);
        scrub_stack();
        poll
    }
}
