//! The rows of compromised key versions and of the re-wrap of what is under an old one.

use strongroom_environment::Timestamp;

use super::{RowFormat, VERSION};
use crate::encoding::{Decoder, Encoder};
use crate::kms::{RewrapLevel, RewrapProgress, RewrapState};

/// That a version of a key is compromised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CompromisedRow {
    pub(crate) marked: Timestamp,
    pub(crate) principal: String,
    pub(crate) reason: String,
}

impl RowFormat for CompromisedRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION)
            .i64(self.marked.micros())
            .counted(self.principal.as_bytes())
            .counted(self.reason.as_bytes())
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            marked: Timestamp::from_micros(fields.i64()?),
            principal: fields.text()?,
            reason: fields.text()?,
        };
        fields.finish(row)
    }
}

impl RowFormat for RewrapProgress {
    fn encode(&self) -> Vec<u8> {
        let level = match self.level {
            RewrapLevel::BucketKeys => 1,
            RewrapLevel::DataKeys => 2,
        };
        let (state, finished) = match self.state {
            RewrapState::UnderWay => (1, 0),
            RewrapState::Done { finished } => (2, finished.micros()),
        };
        Encoder::new(VERSION)
            .u8(level)
            .u8(state)
            .i64(self.asked.micros())
            .i64(finished)
            .u64(self.versions_expected)
            .u64(self.versions)
            .u64(self.bucket_keys)
            .u64(self.uploads)
            .u64(self.left)
            .u64(self.busy_micros)
            .counted(self.principal.as_bytes())
            .counted(self.error.as_bytes())
            .counted(&self.cursor)
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let level = match fields.u8()? {
            1 => RewrapLevel::BucketKeys,
            2 => RewrapLevel::DataKeys,
            _ => return None,
        };
        let state = fields.u8()?;
        let asked = Timestamp::from_micros(fields.i64()?);
        let state = match (state, fields.i64()?) {
            (1, 0) => RewrapState::UnderWay,
            (2, finished) => RewrapState::Done {
                finished: Timestamp::from_micros(finished),
            },
            _ => return None,
        };
        let row = Self {
            level,
            state,
            asked,
            versions_expected: fields.u64()?,
            versions: fields.u64()?,
            bucket_keys: fields.u64()?,
            uploads: fields.u64()?,
            left: fields.u64()?,
            busy_micros: fields.u64()?,
            principal: fields.text()?,
            error: fields.text()?,
            cursor: fields.counted()?.to_vec(),
        };
        fields.finish(row)
    }
}
