//! The rows that say who may use KMS keys: policies and grants.

use strongroom_environment::Timestamp;

use super::{RowFormat, VERSION};
use crate::context::EncryptionContext;
use crate::encoding::{Decoder, Encoder};
use crate::kms::{GrantConstraint, GrantOperation};

/// The policy of a KMS key that was given one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PolicyRow {
    /// JSON, at most 32,768 bytes.
    pub(crate) document: String,
}

impl RowFormat for PolicyRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION)
            .counted(self.document.as_bytes())
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            document: fields.text()?,
        };
        fields.finish(row)
    }
}

/// A grant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GrantRow {
    pub(crate) created: Timestamp,
    /// In the order of [`GrantOperation::ALL`], each once.
    pub(crate) operations: Vec<GrantOperation>,
    pub(crate) constraint: Option<GrantConstraint>,
    /// The resource of the principal's ARN, such as `role/user`.
    pub(crate) grantee: String,
    pub(crate) retiring: Option<String>,
    pub(crate) name: Option<String>,
}

impl RowFormat for GrantRow {
    fn encode(&self) -> Vec<u8> {
        let operations = GrantOperation::ALL
            .iter()
            .enumerate()
            .filter(|(_, operation)| self.operations.contains(operation))
            .fold(0, |bits, (at, _)| bits | 1_u32 << at);
        let (kind, context) = match &self.constraint {
            None => (0, Vec::new()),
            Some(GrantConstraint::ContextSubset(context)) => (1, context.to_canonical()),
            Some(GrantConstraint::ContextEquals(context)) => (2, context.to_canonical()),
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default().into_bytes();
        Encoder::new(VERSION)
            .i64(self.created.micros())
            .u32(operations)
            .u8(kind)
            .counted(&context)
            .counted(self.grantee.as_bytes())
            .counted(&text(&self.retiring))
            .counted(&text(&self.name))
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let created = Timestamp::from_micros(fields.i64()?);
        let bits = fields.u32()?;
        if bits == 0 || bits >> GrantOperation::ALL.len() != 0 {
            return None;
        }
        let operations = GrantOperation::ALL
            .iter()
            .enumerate()
            .filter(|(at, _)| bits & 1 << at != 0)
            .map(|(_, operation)| *operation)
            .collect();
        let (kind, context) = (fields.u8()?, fields.counted()?);
        let constraint = match kind {
            0 if context.is_empty() => None,
            1 => Some(GrantConstraint::ContextSubset(
                EncryptionContext::from_canonical(context)?,
            )),
            2 => Some(GrantConstraint::ContextEquals(
                EncryptionContext::from_canonical(context)?,
            )),
            _ => return None,
        };
        let grantee = fields.text()?;
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let (retiring, name) = (some(fields.text()?), some(fields.text()?));
        fields.finish(Self {
            created,
            operations,
            constraint,
            grantee,
            retiring,
            name,
        })
    }
}

/// How many grants a key has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct GrantCountRow {
    pub(crate) count: u32,
}

impl RowFormat for GrantCountRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION).u32(self.count).finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            count: fields.u32()?,
        };
        fields.finish(row)
    }
}
