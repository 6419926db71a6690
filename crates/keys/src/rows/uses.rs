//! The rows of the use of KMS keys.

use strongroom_environment::Timestamp;

use super::{RowFormat, VERSION};
use crate::encoding::{Decoder, Encoder};
use crate::kms::{KeyOperation, KeyUseCount, KeyUseLimits, LastUse};

/// The last use of a version of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LastUseRow(pub(crate) LastUse);

impl RowFormat for LastUseRow {
    fn encode(&self) -> Vec<u8> {
        let Self(used) = self;
        let operation = match used.operation {
            KeyOperation::Encrypt => 1,
            KeyOperation::Decrypt => 2,
            KeyOperation::ReEncrypt => 3,
            KeyOperation::GenerateDataKey => 4,
            KeyOperation::GenerateDataKeyWithoutPlaintext => 5,
            KeyOperation::GenerateDataKeyPair => 6,
            KeyOperation::GenerateDataKeyPairWithoutPlaintext => 7,
            KeyOperation::GenerateMac => 8,
            KeyOperation::VerifyMac => 9,
            KeyOperation::Sign => 10,
            KeyOperation::Verify => 11,
        };
        Encoder::new(VERSION)
            .i64(used.at.micros())
            .u8(operation)
            .counted(used.request_id.as_bytes())
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let at = Timestamp::from_micros(fields.i64()?);
        let place = usize::from(fields.u8()?).checked_sub(1)?;
        let used = LastUse {
            at,
            operation: *KeyOperation::ALL.get(place)?,
            request_id: fields.text()?,
        };
        fields.finish(Self(used))
    }
}

/// A limit is kept as one more than it is, and 0 where there is none.
impl RowFormat for KeyUseLimits {
    fn encode(&self) -> Vec<u8> {
        let number = |max: Option<u64>| max.map_or(0, |max| max.saturating_add(1));
        let date = |date: Option<Timestamp>| date.map_or(0, Timestamp::micros);
        Encoder::new(VERSION)
            .u64(number(self.uses_max))
            .u64(number(self.size_bytes_max))
            .i64(date(self.not_before))
            .i64(date(self.not_after))
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let date = |micros: i64| (micros != 0).then(|| Timestamp::from_micros(micros));
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            uses_max: fields.u64()?.checked_sub(1),
            size_bytes_max: fields.u64()?.checked_sub(1),
            not_before: date(fields.i64()?),
            not_after: date(fields.i64()?),
        };
        fields.finish(row)
    }
}

/// What a version of a key has protected, or has reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CountRow(pub(crate) KeyUseCount);

impl RowFormat for CountRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION)
            .u64(self.0.uses)
            .u64(self.0.size_bytes)
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self(KeyUseCount {
            uses: fields.u64()?,
            size_bytes: fields.u64()?,
        });
        fields.finish(row)
    }
}
