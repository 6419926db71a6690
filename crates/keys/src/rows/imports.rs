//! The rows of keys that come from elsewhere, and of backups, by which they go elsewhere.

use strongroom_environment::Timestamp;
use strongroom_pkcs11::ImportPath;

use super::{RowFormat, VERSION};
use crate::encoding::{Decoder, Encoder};
use crate::names::{KeyMaterialId, ProposalId};

/// What is known of the material of a version that was imported, also while it is not there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ImportRow {
    pub(crate) material: KeyMaterialId,
    /// When it was last imported.
    pub(crate) imported: Timestamp,
    /// When it is taken away again.
    pub(crate) expires: Option<Timestamp>,
    pub(crate) path: ImportPath,
    /// At most 256 characters.
    pub(crate) description: String,
}

impl RowFormat for ImportRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION)
            .fixed(self.material.as_bytes())
            .i64(self.imported.micros())
            .i64(self.expires.map_or(0, Timestamp::micros))
            .u8(match self.path {
                ImportPath::Token => 1,
                ImportPath::Process => 2,
            })
            .counted(self.description.as_bytes())
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            material: KeyMaterialId(fields.fixed()?),
            imported: Timestamp::from_micros(fields.i64()?),
            expires: moment(fields.i64()?),
            path: match fields.u8()? {
                1 => ImportPath::Token,
                2 => ImportPath::Process,
                _ => return None,
            },
            description: fields.text()?,
        };
        fields.finish(row)
    }
}

/// A backup of all keys that was begun, and may be gone on with for some time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BackupRow {
    pub(crate) begun: Timestamp,
    pub(crate) principal: String,
    /// The SHA-256 of the public key that the keys are wrapped for.
    pub(crate) escrow_key_sha256: [u8; 32],
    /// The proposal under which custodians have approved it, where they had to.
    pub(crate) proposal: Option<ProposalId>,
    /// The token's MAC over the row and the id of the backup.
    pub(crate) mac: [u8; 32],
}

impl BackupRow {
    /// What the token vouches for.
    pub(crate) fn mac_message(&self, backup: &str) -> Vec<u8> {
        const DOMAIN: &[u8] = b"strongroom/backup/v1\0";
        [DOMAIN, backup.as_bytes(), &self.vouched_for().finish()].concat()
    }

    fn vouched_for(&self) -> Encoder {
        let fields = Encoder::new(VERSION)
            .i64(self.begun.micros())
            .counted(self.principal.as_bytes())
            .fixed(&self.escrow_key_sha256);
        match &self.proposal {
            None => fields.u8(0),
            Some(proposal) => fields.u8(1).fixed(proposal.as_bytes()),
        }
    }
}

impl RowFormat for BackupRow {
    fn encode(&self) -> Vec<u8> {
        self.vouched_for().fixed(&self.mac).finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            begun: Timestamp::from_micros(fields.i64()?),
            principal: fields.text()?,
            escrow_key_sha256: fields.fixed()?,
            proposal: match fields.u8()? {
                0 => None,
                1 => Some(ProposalId(fields.fixed()?)),
                _ => return None,
            },
            mac: fields.fixed()?,
        };
        fields.finish(row)
    }
}

/// A moment that may be none, which is 0.
pub(super) fn moment(micros: i64) -> Option<Timestamp> {
    (micros != 0).then(|| Timestamp::from_micros(micros))
}
