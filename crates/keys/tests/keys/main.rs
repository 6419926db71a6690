//! The key service as the rooms above it see it.

mod access;
mod acts;
mod aliases;
mod audit_trail;
mod backup;
mod bucket_keys;
mod destruction;
mod documents;
mod envelopes;
mod hsm;
mod impact;
mod imports;
mod kept;
mod key_states;
mod kms;
mod ledger;
mod limits;
mod objects;
mod page;
mod pairs;
mod quorum;
mod quorum_page;
mod rewrap;
mod rotation;
mod start;
mod tags;
mod token_faults;
mod users;
mod world;

strongroom_testkit::pkcs11_worker!();
