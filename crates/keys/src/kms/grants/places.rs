//! Where the rows of grants stand: by key, by grantee, and by who may retire them.

use strongroom_meta::{ScannedRow, Table};

use crate::arn::KeyId;
use crate::error::KeyError;
use crate::names::GrantId;

pub(super) fn misplaced(table: Table) -> KeyError {
    KeyError::Damaged {
        table: table.name(),
        what: "a row is not under a grant",
    }
}

pub(super) fn grant_key(key: KeyId, grant: GrantId) -> Vec<u8> {
    [&key.as_bytes()[..], grant.as_bytes()].concat()
}

pub(super) fn grantee_prefix(key: KeyId, grantee: &str) -> Vec<u8> {
    [&key.as_bytes()[..], grantee.as_bytes(), &[0]].concat()
}

pub(super) fn grantee_key(key: KeyId, grantee: &str, grant: GrantId) -> Vec<u8> {
    [&grantee_prefix(key, grantee)[..], grant.as_bytes()].concat()
}

pub(super) fn retiring_prefix(retiring: &str) -> Vec<u8> {
    [retiring.as_bytes(), &[0]].concat()
}

pub(super) fn retiring_key(retiring: &str, key: KeyId, grant: GrantId) -> Vec<u8> {
    [
        &retiring_prefix(retiring)[..],
        key.as_bytes(),
        grant.as_bytes(),
    ]
    .concat()
}

/// The grant at the end of the key of a row.
pub(super) fn grant_in(table: Table, found: &ScannedRow) -> Result<GrantId, KeyError> {
    found
        .key
        .last_chunk()
        .map(|id| GrantId(*id))
        .ok_or(misplaced(table))
}
