//! What a grant says: who may do what, in which encryption contexts.

use strongroom_environment::Timestamp;

use crate::arn::{KeyArn, KeyReference};
use crate::context::EncryptionContext;
use crate::error::KeyError;
use crate::names::GrantId;

/// What a grant can allow.
///
/// Source: AWS KMS API Reference, `GrantOperation`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GrantOperation {
    /// Decrypt.
    Decrypt,
    /// Encrypt.
    Encrypt,
    /// GenerateDataKey.
    GenerateDataKey,
    /// GenerateDataKeyWithoutPlaintext.
    GenerateDataKeyWithoutPlaintext,
    /// ReEncrypt, of what is under the key.
    ReEncryptFrom,
    /// ReEncrypt, to the key.
    ReEncryptTo,
    /// Sign.
    Sign,
    /// Verify.
    Verify,
    /// GetPublicKey.
    GetPublicKey,
    /// CreateGrant, of no more than the grant itself allows.
    CreateGrant,
    /// RetireGrant, of the grant itself.
    RetireGrant,
    /// DescribeKey.
    DescribeKey,
    /// GenerateDataKeyPair.
    GenerateDataKeyPair,
    /// GenerateDataKeyPairWithoutPlaintext.
    GenerateDataKeyPairWithoutPlaintext,
    /// GenerateMac.
    GenerateMac,
    /// VerifyMac.
    VerifyMac,
}

impl GrantOperation {
    /// All of them. A row of a grant has a bit for each, in this order.
    pub const ALL: [Self; 16] = [
        Self::Decrypt,
        Self::Encrypt,
        Self::GenerateDataKey,
        Self::GenerateDataKeyWithoutPlaintext,
        Self::ReEncryptFrom,
        Self::ReEncryptTo,
        Self::Sign,
        Self::Verify,
        Self::GetPublicKey,
        Self::CreateGrant,
        Self::RetireGrant,
        Self::DescribeKey,
        Self::GenerateDataKeyPair,
        Self::GenerateDataKeyPairWithoutPlaintext,
        Self::GenerateMac,
        Self::VerifyMac,
    ];

    /// The name in the protocol, which is also that of the action.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decrypt => "Decrypt",
            Self::Encrypt => "Encrypt",
            Self::GenerateDataKey => "GenerateDataKey",
            Self::GenerateDataKeyWithoutPlaintext => "GenerateDataKeyWithoutPlaintext",
            Self::ReEncryptFrom => "ReEncryptFrom",
            Self::ReEncryptTo => "ReEncryptTo",
            Self::Sign => "Sign",
            Self::Verify => "Verify",
            Self::GetPublicKey => "GetPublicKey",
            Self::CreateGrant => "CreateGrant",
            Self::RetireGrant => "RetireGrant",
            Self::DescribeKey => "DescribeKey",
            Self::GenerateDataKeyPair => "GenerateDataKeyPair",
            Self::GenerateDataKeyPairWithoutPlaintext => "GenerateDataKeyPairWithoutPlaintext",
            Self::GenerateMac => "GenerateMac",
            Self::VerifyMac => "VerifyMac",
        }
    }

    /// The operation of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.as_str() == name)
    }

    /// Whether a key for `usage` has this operation.
    pub(in crate::kms) fn is_of(self, usage: &str) -> bool {
        match self {
            Self::CreateGrant | Self::RetireGrant | Self::DescribeKey => true,
            Self::Sign | Self::Verify => usage == "SIGN_VERIFY",
            Self::GenerateMac | Self::VerifyMac => usage == "GENERATE_VERIFY_MAC",
            Self::GetPublicKey => usage == "SIGN_VERIFY" || usage == "ENCRYPT_DECRYPT",
            _ => usage == "ENCRYPT_DECRYPT",
        }
    }

    /// Whether a constraint on the encryption context holds for it.
    pub(super) fn has_context(self) -> bool {
        matches!(
            self,
            Self::Decrypt
                | Self::Encrypt
                | Self::GenerateDataKey
                | Self::GenerateDataKeyWithoutPlaintext
                | Self::GenerateDataKeyPair
                | Self::GenerateDataKeyPairWithoutPlaintext
                | Self::ReEncryptFrom
                | Self::ReEncryptTo
        )
    }
}

/// What the encryption context must be for a grant to allow a use.
///
/// Source: AWS KMS API Reference, `GrantConstraints`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GrantConstraint {
    /// These pairs, and others.
    ContextSubset(EncryptionContext),
    /// Exactly these pairs.
    ContextEquals(EncryptionContext),
}

impl GrantConstraint {
    const PAIRS_MAX: usize = 8;
    const CHARS_MAX: usize = 384;

    pub(super) fn context(&self) -> &EncryptionContext {
        match self {
            Self::ContextSubset(context) | Self::ContextEquals(context) => context,
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::ContextSubset(_) => "EncryptionContextSubset",
            Self::ContextEquals(_) => "EncryptionContextEquals",
        }
    }

    pub(super) fn check(&self) -> Result<(), KeyError> {
        let chars = self
            .context()
            .pairs()
            .map(|(name, value)| name.chars().count() + value.chars().count());
        if self.context().pairs().count() > Self::PAIRS_MAX
            || chars.sum::<usize>() > Self::CHARS_MAX
        {
            return Err(KeyError::InvalidRequest {
                rule: "a constraint of a grant has at most 8 pairs and 384 characters",
            });
        }
        Ok(())
    }

    /// Whether a use with this context is allowed.
    pub(super) fn allows(&self, used: &EncryptionContext) -> bool {
        match self {
            Self::ContextSubset(wanted) => is_subset(wanted, used),
            Self::ContextEquals(wanted) => is_subset(wanted, used) && is_subset(used, wanted),
        }
    }

    /// Whether every use that `child` allows is one that this allows.
    pub(super) fn includes(&self, child: Option<&Self>) -> bool {
        match (self, child) {
            (Self::ContextSubset(wanted), Some(child)) => is_subset(wanted, child.context()),
            (Self::ContextEquals(_), Some(child)) => self == child,
            (_, None) => false,
        }
    }
}

fn is_subset(part: &EncryptionContext, whole: &EncryptionContext) -> bool {
    part.given()
        .all(|pair| whole.given().any(|other| other == pair))
}

/// What a new grant is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewGrant {
    /// The ARN of who may use the key.
    pub grantee: String,
    /// The ARN of who may retire the grant.
    pub retiring: Option<String>,
    /// What it allows; not empty.
    pub operations: Vec<GrantOperation>,
    /// In which encryption contexts.
    pub constraint: Option<GrantConstraint>,
    /// By which a request that is sent again is known: the same grant, of the same name, is made
    /// once.
    pub name: Option<String>,
}

/// A grant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// The key.
    pub key: KeyArn,
    /// When it was made.
    pub created: Timestamp,
    /// The ARN of who may use the key.
    pub grantee: String,
    /// The ARN of who may retire the grant.
    pub retiring: Option<String>,
    /// What it allows.
    pub operations: Vec<GrantOperation>,
    /// In which encryption contexts.
    pub constraint: Option<GrantConstraint>,
    /// What its maker called it.
    pub name: Option<String>,
}

/// Which grants of a key a list is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GrantFilter {
    /// All of them.
    All,
    /// One.
    Id(GrantId),
    /// Those whose grantee has this ARN.
    Grantee(String),
}

/// How a grant to be retired is named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GrantReference {
    /// By its token.
    Token(String),
    /// By its key and id.
    Id(KeyReference, GrantId),
}
