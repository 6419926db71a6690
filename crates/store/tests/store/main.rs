//! The store as the rooms above it see it, on seams in memory.

mod copy;
mod crash;
mod damage;
mod listing;
mod multipart;
mod objects;
mod rewrap;
mod tiering;
mod versions;
mod world;
