//! The rows of the key service. Their bytes are described in `docs/format/keys.md`.

mod access;
mod data_keys;
mod ends;
mod imports;
mod kms_keys;
mod pairs;
mod quorum;
mod rewraps;
#[cfg(test)]
pub(crate) mod tests;
mod uses;

use strongroom_meta::{Batch, Expected, MetaStore, Revision, Row, Scan, ScannedRow, Table};

use crate::error::KeyError;

pub(crate) use access::{GrantCountRow, GrantRow, PolicyRow};
pub(crate) use data_keys::{BucketKeyRow, MovedBucketKeyRow, ServiceKeyRow, moved_key};
pub(crate) use ends::{CertificateRow, DeletionRow};
pub(crate) use imports::{BackupRow, ImportRow};
pub(crate) use kms_keys::{
    AliasRow, Due, DueAct, KeyRow, KeyVersionRow, Material, Origin, TagRow, material_message,
    tag_key, version_key, version_mac_message,
};
pub(crate) use pairs::{PublicKeyRow, wrapped_mac_message};
pub(crate) use quorum::{AskedRow, ProposalEnd, ProposalRow, QuorumRuleRow, StoredApproval};
pub(crate) use rewraps::CompromisedRow;
pub(crate) use uses::{CountRow, LastUseRow};

/// KMS keys, by key id.
pub(crate) const KEYS: Table = Table::new("kms_keys");
/// The versions of KMS keys, by key id and version.
pub(crate) const KEY_VERSIONS: Table = Table::new("kms_key_versions");
/// What is known of the imported material of KMS keys, by key id and version.
pub(crate) const IMPORTS: Table = Table::new("kms_imports");
/// Backups that were begun, by their ids.
pub(crate) const BACKUPS: Table = Table::new("kms_backups");
/// Aliases, by name.
pub(crate) const ALIASES: Table = Table::new("kms_aliases");
/// The names of the aliases of a key, by key id and name.
pub(crate) const KEY_ALIASES: Table = Table::new("kms_key_aliases");
/// The tags of KMS keys, by key id and tag key.
pub(crate) const KEY_TAGS: Table = Table::new("kms_key_tags");
/// The public keys of key pairs, by key id.
pub(crate) const PUBLIC_KEYS: Table = Table::new("kms_public_keys");
/// The policies of KMS keys that were given one, by key id.
pub(crate) const KEY_POLICIES: Table = Table::new("kms_key_policies");
/// Grants, by key id and grant id.
pub(crate) const GRANTS: Table = Table::new("kms_grants");
/// The grants of a principal, by key id, principal and grant id.
pub(crate) const GRANTS_OF: Table = Table::new("kms_grants_of");
/// The grants that a principal may retire, by principal, key id and grant id.
pub(crate) const RETIRABLE_GRANTS: Table = Table::new("kms_retirable_grants");
/// How many grants a KMS key has, by key id.
pub(crate) const GRANT_COUNTS: Table = Table::new("kms_grant_counts");
/// What is to be done with a KMS key at a date, by date.
pub(crate) const DUE: Table = Table::new("kms_due");
/// Who said that a KMS key is to be deleted, by key id.
pub(crate) const DELETIONS: Table = Table::new("kms_deletions");
/// What is certified of destroyed KMS keys, by key id.
pub(crate) const CERTIFICATES: Table = Table::new("kms_certificates");
/// Compromised versions of KMS keys, by key id and version.
pub(crate) const COMPROMISED: Table = Table::new("kms_compromised");
/// Re-wraps of what is under a version of a KMS key, by key id and version.
pub(crate) const REWRAPS: Table = Table::new("kms_rewraps");
/// The last uses of the versions of KMS keys, by key id and version.
pub(crate) const LAST_USES: Table = Table::new("kms_last_uses");
/// The limits of KMS keys that have some, by key id.
pub(crate) const LIMITS: Table = Table::new("kms_limits");
/// What the versions of KMS keys have protected, by key id and version.
pub(crate) const COUNTS: Table = Table::new("kms_counts");
/// Bucket keys, by bucket key id.
pub(crate) const BUCKET_KEYS: Table = Table::new("bucket_keys");
/// The bucket keys of a KMS key, by key id, version and bucket key id.
pub(crate) const BUCKET_KEYS_OF: Table = Table::new("bucket_keys_of");
/// Bucket keys that were sealed anew, by key id of the KMS key and bucket key id.
pub(crate) const BUCKET_KEYS_MOVED: Table = Table::new("bucket_keys_moved");
/// The rule of dual control: one row, [`QUORUM_RULE_KEY`].
pub(crate) const QUORUM_RULE: Table = Table::new("quorum_rule");
/// The key of the one row of [`QUORUM_RULE`].
pub(crate) const QUORUM_RULE_KEY: &[u8] = b"rule";
/// Proposals for the custodians, by proposal id.
pub(crate) const QUORUM_PROPOSALS: Table = Table::new("quorum_proposals");
/// The proposal over exactly this request, by a hash of it.
pub(crate) const QUORUM_ASKED: Table = Table::new("quorum_asked");
/// The service's own data keys, by purpose.
pub(crate) const SERVICE_KEYS: Table = Table::new("service_keys");

const VERSION: u8 = 1;

/// A row that can be put into bytes and back.
pub(crate) trait RowFormat: Sized {
    fn encode(&self) -> Vec<u8>;
    /// `None` for anything that [`RowFormat::encode`] does not give.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// A row as it was read, and which write of it this is.
pub(crate) struct Read<R> {
    pub(crate) row: R,
    revision: Revision,
}

impl<R: RowFormat> Read<R> {
    /// A row that a scan has found.
    pub(crate) fn of(table: Table, found: &Row) -> Result<Self, KeyError> {
        Ok(Self {
            row: decoded(table, &found.value)?,
            revision: found.revision,
        })
    }

    /// Puts `row` in its place, unless somebody else changed it meanwhile.
    pub(crate) fn replace(&self, batch: &mut Batch, table: Table, key: &[u8], row: &R) {
        batch.expect(table, key, Expected::Revision(self.revision));
        batch.put(table, key, row.encode());
    }

    /// Expects that nobody else changes the row meanwhile. It stays as it is.
    pub(crate) fn expect(&self, batch: &mut Batch, table: Table, key: &[u8]) {
        batch.expect(table, key, Expected::Revision(self.revision));
    }

    /// Deletes the row, unless somebody else changed it meanwhile.
    pub(crate) fn delete(&self, batch: &mut Batch, table: Table, key: &[u8]) {
        batch.expect(table, key, Expected::Revision(self.revision));
        batch.delete(table, key);
    }
}

/// The row under `key`, if there is one.
pub(crate) async fn read<R: RowFormat>(
    meta: &dyn MetaStore,
    table: Table,
    key: &[u8],
) -> Result<Option<Read<R>>, KeyError> {
    meta.get(table, key)
        .await?
        .map(|found| Read::of(table, &found))
        .transpose()
}

pub(crate) fn decoded<R: RowFormat>(table: Table, bytes: &[u8]) -> Result<R, KeyError> {
    R::decode(bytes).ok_or(KeyError::Damaged {
        table: table.name(),
        what: "it is not a row of a version this program knows",
    })
}

/// How many rows [`scan_all`] reads at a time.
const ROWS_AT_ONCE: usize = 10_000;

/// All rows whose keys begin with `prefix`: for tables that are known to have few such.
pub(crate) async fn scan_all(
    meta: &dyn MetaStore,
    table: Table,
    prefix: &[u8],
) -> Result<Vec<ScannedRow>, KeyError> {
    let mut all = Vec::new();
    let mut start = prefix.to_vec();
    loop {
        let scan = Scan::within(prefix, start, ROWS_AT_ONCE);
        let found = meta.scan(table, scan).await?;
        let is_last = found.len() < ROWS_AT_ONCE;
        all.extend(found);
        match all.last() {
            Some(last) if !is_last => start = [&last.key[..], &[0]].concat(),
            _ => return Ok(all),
        }
    }
}

/// Puts a new row, unless there is one.
pub(crate) fn create<R: RowFormat>(batch: &mut Batch, table: Table, key: &[u8], row: &R) {
    batch.expect(table, key, Expected::Absent);
    batch.put(table, key, row.encode());
}
