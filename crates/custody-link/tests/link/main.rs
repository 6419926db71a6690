//! The link between a store and a key daemon: what custody promises holds over it, and what becomes
//! of it when the link is lost, slow, or leads elsewhere.

mod conformance;
mod loss;
mod requests;
mod store;
mod world;
