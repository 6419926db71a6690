//! What happens, in order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use strongroom_environment::Timestamp;

/// Something that happens to an object, or at the start of a day. Of things that happen at the
/// same moment, those further up come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// An object is put.
    Created,
    /// A retrieval is over.
    Retrieved,
    /// The days of a restored copy may be over.
    CopyEnded,
    /// A rule may ask something of the object.
    RuleDue,
    /// The state of things is noted, and the restores of the day are drawn. Has no object.
    DayBegins,
    /// Someone asks for the object; the number is the demand.
    Asked(u32),
}

/// Events that are still to come. Events of the same moment come in the order of [`Event`], then
/// of objects, so that the order never depends on chance.
#[derive(Debug, Default)]
pub(super) struct Events {
    heap: BinaryHeap<Reverse<(Timestamp, Event, u32)>>,
}

impl Events {
    pub(super) fn push(&mut self, at: Timestamp, event: Event, object: u32) {
        self.heap.push(Reverse((at, event, object)));
    }

    /// The next event before `end`.
    pub(super) fn pop_before(&mut self, end: Timestamp) -> Option<(Timestamp, Event, u32)> {
        let Reverse(next) = self.heap.peek()?;
        if next.0 >= end {
            return None;
        }
        self.heap.pop().map(|Reverse(next)| next)
    }
}
