//! The S3 service as clients meet it: real requests over a socket, signed and malformed by hand,
//! against engines in memory.

mod archives;
mod bad_input;
mod buckets;
mod client;
mod connections;
mod customer_keys;
mod failures;
mod kms_keys;
mod multipart;
mod objects;
mod secrets;
mod signatures;
mod versions;
mod world;
