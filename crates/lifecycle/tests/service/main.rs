//! The lifecycle at work on a store: rules followed, objects archived and restored, and what
//! becomes of all that when engines fail and the daemon starts again.

mod archives;
mod faults;
mod restores;
mod rules;
mod world;
