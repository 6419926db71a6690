//! The rows of the end of KMS keys: who asked for it, and what is certified of it.

use strongroom_audit::LeafIndex;
use strongroom_environment::Timestamp;

use super::{RowFormat, VERSION};
use crate::encoding::{Decoder, Encoder};

/// That somebody said that a key is to be deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct DeletionRow {
    /// When it was said.
    pub(crate) scheduled: Timestamp,
    /// The entry of the log that says so.
    pub(crate) entry: LeafIndex,
    /// Who said it.
    pub(crate) principal: String,
}

impl RowFormat for DeletionRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION)
            .i64(self.scheduled.micros())
            .u64(self.entry.0)
            .counted(self.principal.as_bytes())
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            scheduled: Timestamp::from_micros(fields.i64()?),
            entry: LeafIndex(fields.u64()?),
            principal: fields.text()?,
        };
        fields.finish(row)
    }
}

/// The certificate of a destruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum CertificateRow {
    /// What is to be signed, and the entry of the log that it tells of.
    Unsigned { entry: LeafIndex, text: String },
    /// What was signed, the entry, and the proof that the entry is on the log.
    Signed {
        note: String,
        entry: String,
        proof: String,
    },
}

impl RowFormat for CertificateRow {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Unsigned { entry, text } => Encoder::new(VERSION)
                .u8(1)
                .u64(entry.0)
                .long(text.as_bytes()),
            Self::Signed { note, entry, proof } => Encoder::new(VERSION)
                .u8(2)
                .long(note.as_bytes())
                .long(entry.as_bytes())
                .long(proof.as_bytes()),
        }
        .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = match fields.u8()? {
            1 => Self::Unsigned {
                entry: LeafIndex(fields.u64()?),
                text: text(fields.long()?)?,
            },
            2 => Self::Signed {
                note: text(fields.long()?)?,
                entry: text(fields.long()?)?,
                proof: text(fields.long()?)?,
            },
            _ => return None,
        };
        fields.finish(row)
    }
}
