//! The store as the rooms above it see it, on seams in memory.

mod multipart;
mod objects;
mod world;
