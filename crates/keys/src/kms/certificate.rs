//! The certificate of a destruction: what was destroyed and lost, signed by the key of the audit
//! log, with the proof that the log says so.
//!
//! The batch that destroys a key writes the statement and that it is due to be certified. It is
//! signed at once after that; if that fails it stays due, and [`Kms::run_due`] comes back to it.
//! Signing can be repeated: the statement is not changed by it.
//!
//! The form is described in `docs/format/destruction-certificate.md`.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use strongroom_audit::{
    LeafIndex, NoteError, ProofError, VerifierKey, VerifierKeyError, verify_note, verify_tlog_proof,
};
use strongroom_environment::Timestamp;
use strongroom_meta::{Batch, CommitError};

use super::Kms;
use crate::arn::{KeyArn, KeyId, KeyReference, KeyVersion};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::ledger::{ImpactGroup, Tally};
use crate::rows::{
    self, CERTIFICATES, CertificateRow, DUE, DeletionRow, Due, DueAct, KeyRow, KeyVersionRow,
    Material, Origin, Read,
};

/// The first line of the text that is signed.
const FIRST_LINE: &str = "strongroom/destruction-certificate/v1";
/// The most groups of lost objects, and the most versions of the key, that are named one by one, and
/// how much of its description: so that a certificate stays a text that a person can look through,
/// and that a note can carry.
const GROUPS_MAX: usize = 100;
const VERSIONS_MAX: usize = 300;
const DESCRIPTION_CHARS_MAX: usize = 1_000;

/// The certificate of a destruction, for whoever was promised it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The statement as a C2SP signed note of the audit log's key.
    pub note: String,
    /// The entry of the audit log that it tells of, exactly as it stands there.
    pub entry: String,
    /// The proof that the entry is under a signed checkpoint, as a C2SP tlog-proof.
    pub proof: String,
}

/// What there is of the certificate of a destruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CertificateState {
    /// The key is not destroyed.
    None,
    /// It is destroyed, and the certificate is not signed yet.
    Pending,
    /// Here it is.
    Signed(Certificate),
}

/// Why something is not the certificate of a destruction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The verifier key is not one.
    #[error(transparent)]
    Key(#[from] VerifierKeyError),
    /// The statement is not signed by the key of the log.
    #[error("the statement: {0}")]
    Note(#[from] NoteError),
    /// The entry is not proven to be on the log.
    #[error("the entry: {0}")]
    Proof(#[from] ProofError),
    /// What is signed is not a statement of this kind, or does not tell of that entry.
    #[error("{0}")]
    Disagrees(&'static str),
}

/// A certificate that holds.
#[derive(Clone, PartialEq, Debug)]
pub struct VerifiedCertificate {
    /// The statement: see `docs/format/destruction-certificate.md`.
    pub statement: serde_json::Value,
    /// The size of the log under the checkpoint of the proof.
    pub log_size: u64,
}

/// Checks a certificate with nothing but the verifier key of the audit log.
///
/// # Errors
/// [`CertificateError`].
pub fn verify_certificate(
    certificate: &Certificate,
    verifier_key: &str,
) -> Result<VerifiedCertificate, CertificateError> {
    use CertificateError::Disagrees;
    let key = VerifierKey::parse(verifier_key)?;
    let text = verify_note(&certificate.note, &key)?;
    let statement = text
        .strip_prefix(FIRST_LINE)
        .and_then(|rest| rest.strip_prefix('\n'))
        .ok_or(Disagrees("what is signed is not a destruction certificate"))?;
    let statement: Statement =
        serde_json::from_str(statement).map_err(|_| Disagrees("the statement is not one"))?;
    let entry = certificate.entry.as_bytes();
    let proven = verify_tlog_proof(&certificate.proof, entry, verifier_key)?;
    if proven.index.0 != statement.entry {
        return Err(Disagrees("the proof is of another entry"));
    }
    let logged: serde_json::Value =
        serde_json::from_slice(entry).map_err(|_| Disagrees("the entry is not JSON"))?;
    let is_it = logged["use"] == "destroy-key"
        && logged["outcome"] == "granted"
        && logged["key"]["arn"] == statement.key.arn.as_str();
    if !is_it {
        return Err(Disagrees("the entry is not of that destruction"));
    }
    let statement =
        serde_json::to_value(&statement).map_err(|_| Disagrees("the statement cannot be shown"))?;
    Ok(VerifiedCertificate {
        statement,
        log_size: proven.checkpoint.size(),
    })
}

/// What is signed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Statement {
    key: KeyStated,
    versions: Vec<VersionStated>,
    /// How many versions, the newest, are not named one by one.
    versions_left_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled: Option<ScheduledStated>,
    due: String,
    destroyed: String,
    destroyed_by: String,
    lost: LostStated,
    /// The place of the entry on the audit log.
    entry: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyStated {
    arn: String,
    description: String,
    created: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionStated {
    version: u32,
    created: String,
    made: String,
    wrapped_by: String,
    /// SHA-256 of the wrapped key that was destroyed.
    wrapped_sha256: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScheduledStated {
    by: String,
    at: String,
    entry: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LostStated {
    object_versions: u64,
    size_bytes: u64,
    groups: Vec<GroupStated>,
    /// How many groups are not named one by one.
    groups_left_out: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupStated {
    key_version: Option<u32>,
    bucket: String,
    storage_class: String,
    object_versions: u64,
    size_bytes: u64,
}

/// A key that is being destroyed.
pub(super) struct Destroyed<'a> {
    pub(super) arn: &'a KeyArn,
    pub(super) key: &'a KeyRow,
    pub(super) versions: &'a [(KeyVersion, KeyVersionRow)],
    pub(super) scheduled: Option<&'a DeletionRow>,
    pub(super) due: Timestamp,
    pub(super) now: Timestamp,
    pub(super) by: &'a str,
}

impl Statement {
    pub(super) fn new(of: Destroyed<'_>, impact: &BTreeMap<ImpactGroup, Tally>) -> Self {
        let mut total = Tally::default();
        for tally in impact.values() {
            total.add(*tally);
        }
        let groups = impact
            .iter()
            .take(GROUPS_MAX)
            .map(|(group, tally)| GroupStated {
                key_version: group.key_version.map(|version| version.0),
                bucket: group.bucket.clone(),
                storage_class: group.class.name().to_owned(),
                object_versions: tally.versions,
                size_bytes: tally.size_bytes,
            });
        Self {
            key: KeyStated {
                arn: of.arn.to_string(),
                description: (of.key.description.chars())
                    .take(DESCRIPTION_CHARS_MAX)
                    .collect(),
                created: of.key.created.to_string(),
            },
            versions: of.versions.iter().take(VERSIONS_MAX).map(stated).collect(),
            versions_left_out: of.versions.len().saturating_sub(VERSIONS_MAX) as u64,
            scheduled: of.scheduled.map(|row| ScheduledStated {
                by: row.principal.clone(),
                at: row.scheduled.to_string(),
                entry: row.entry.0,
            }),
            due: of.due.to_string(),
            destroyed: of.now.to_string(),
            destroyed_by: of.by.to_owned(),
            lost: LostStated {
                object_versions: total.versions,
                size_bytes: total.size_bytes,
                groups: groups.collect(),
                groups_left_out: impact.len().saturating_sub(GROUPS_MAX) as u64,
            },
            // Known when the entry is on the log.
            entry: 0,
        }
    }

    pub(super) fn total(&self) -> Tally {
        Tally {
            versions: self.lost.object_versions,
            size_bytes: self.lost.size_bytes,
        }
    }

    fn to_text(&self) -> String {
        let json =
            serde_json::to_string_pretty(self).expect("strings and numbers always serialise");
        format!("{FIRST_LINE}\n{json}\n")
    }
}

fn stated((version, row): &(KeyVersion, KeyVersionRow)) -> VersionStated {
    let wrapped_sha256 = match &row.material {
        Material::Wrapped { wrapped, .. } => {
            HEXLOWER.encode(digest(&SHA256, &wrapped.bytes).as_ref())
        }
        Material::Absent { .. } | Material::Destroyed { .. } => String::new(),
    };
    VersionStated {
        version: version.0,
        created: row.created.to_string(),
        made: match row.origin {
            Origin::Creation => "with-the-key",
            Origin::Automatic => "by-the-clock",
            Origin::OnDemand => "on-demand",
        }
        .to_owned(),
        wrapped_by: row.kek().to_string(),
        wrapped_sha256,
    }
}

impl Kms {
    /// The certificate of the destruction of a key.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`], [`KeyError::Metadata`],
    /// [`KeyError::Damaged`].
    pub async fn certificate(
        &self,
        reference: &KeyReference,
    ) -> Result<CertificateState, KeyError> {
        let (id, _) = self.find_record(reference).await?;
        Ok(match self.certificate_row(id).await?.map(|read| read.row) {
            None => CertificateState::None,
            Some(CertificateRow::Unsigned { .. }) => CertificateState::Pending,
            Some(CertificateRow::Signed { note, entry, proof }) => {
                CertificateState::Signed(Certificate { note, entry, proof })
            }
        })
    }

    /// Writes, in the batch that destroys a key, what is to be certified of it.
    pub(super) fn put_statement(
        batch: &mut Batch,
        id: KeyId,
        now: Timestamp,
        entry: LeafIndex,
        mut statement: Statement,
    ) {
        statement.entry = entry.0;
        let row = CertificateRow::Unsigned {
            entry,
            text: statement.to_text(),
        };
        rows::create(batch, CERTIFICATES, id.as_bytes(), &row);
        let due = Due {
            date: now,
            act: DueAct::Certify,
            key: id,
        };
        batch.put(DUE, due.to_bytes(), []);
    }

    /// Signs the certificate of a destruction; `false` when by now there is nothing to do.
    pub(super) async fn certify_due(&self, due: Due, caller: &Caller) -> Result<bool, KeyError> {
        let Some(read) = self.certificate_row(due.key).await? else {
            return Ok(false);
        };
        let CertificateRow::Unsigned { entry, text } = &read.row else {
            return Ok(false);
        };
        let certified = self.journal.certify(*entry, text).await?;
        let note_sha256 = HEXLOWER.encode(digest(&SHA256, certified.note.as_bytes()).as_ref());
        let entry = Entry::new(Event::KeyAdministration, "certify-destruction")
            .key(KeyNamed::kms(&self.home.arn(due.key)))
            .detail(serde_json::json!({ "entry": entry.0, "note_sha256": note_sha256 }));
        let row = CertificateRow::Signed {
            note: certified.note,
            entry: String::from_utf8(certified.entry).map_err(|_| KeyError::NotCertified {
                reason: "the entry on the log is not text".to_owned(),
            })?,
            proof: certified.proof,
        };
        let mut batch = Batch::new();
        read.replace(&mut batch, CERTIFICATES, due.key.as_bytes(), &row);
        batch.delete(DUE, due.to_bytes());
        let changed = self.journal.change(&*self.meta, caller, entry, Ok(batch));
        match changed.await {
            // Another one was faster.
            Err(KeyError::NotCommitted(CommitError::Conflict { .. })) => Ok(false),
            changed => changed.map(|()| true),
        }
    }

    async fn certificate_row(&self, id: KeyId) -> Result<Option<Read<CertificateRow>>, KeyError> {
        rows::read(&*self.meta, CERTIFICATES, id.as_bytes()).await
    }
}
