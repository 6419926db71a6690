//! The rows of the use of KMS keys.

use strongroom_environment::Timestamp;

use super::{RowFormat, VERSION};
use crate::encoding::{Decoder, Encoder};
use crate::kms::{KeyOperation, LastUse};

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
