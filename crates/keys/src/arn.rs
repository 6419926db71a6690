//! Naming KMS keys: ids, ARNs and aliases.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use strongroom_environment::Entropy;

use crate::error::KeyError;

/// A KMS key: a random UUID (RFC 9562, version 4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// A new id, never given before.
    #[must_use]
    pub(crate) fn random(entropy: &dyn Entropy) -> Self {
        let mut bytes: [u8; 16] = entropy.array();
        bytes[6] = (bytes[6] & 0x0F) | 0x40;
        bytes[8] = (bytes[8] & 0x3F) | 0x80;
        Self(bytes)
    }

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the UUID.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    /// Lower-case, with hyphens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    /// Reads the 36 characters of a UUID, in either case.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let not_an_id = KeyError::InvalidReference {
            rule: "a key id is a UUID",
        };
        let bytes = text.as_bytes();
        let hyphens = [8, 13, 18, 23];
        if bytes.len() != 36 || hyphens.iter().any(|at| bytes[*at] != b'-') {
            return Err(not_an_id);
        }
        let digits: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'-').collect();
        data_encoding::HEXLOWER_PERMISSIVE
            .decode(&digits)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(not_an_id)
    }
}

/// Which version of a KMS key's material, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyVersion(pub u32);

impl KeyVersion {
    /// All versions that a key can have, where key and version are an ordered pair.
    pub(crate) const fn all_of(key: KeyId) -> RangeInclusive<(KeyId, Self)> {
        (key, Self(0))..=(key, Self(u32::MAX))
    }
}

impl fmt::Display for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where the keys of this service are said to be: the region and account of their ARNs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Home {
    /// Such as `us-east-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
}

impl Home {
    /// The ARN of a key.
    #[must_use]
    pub fn arn(&self, key: KeyId) -> KeyArn {
        KeyArn(format!("arn:aws:kms:{}:{}:key/{key}", self.region, self.account).into())
    }

    /// The ARN of an alias.
    #[must_use]
    pub fn alias_arn(&self, alias: &AliasName) -> String {
        format!("arn:aws:kms:{}:{}:{alias}", self.region, self.account)
    }

    pub(crate) fn check(&self) -> Result<(), KeyError> {
        let sound = |text: &str| {
            (1..=32).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if !sound(&self.region) || !sound(&self.account) {
            return Err(KeyError::InvalidRequest {
                rule: "a region and an account have 1 to 32 letters, digits and hyphens",
            });
        }
        Ok(())
    }
}

/// The ARN of a KMS key: `arn:aws:kms:<region>:<account>:key/<uuid>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyArn(std::sync::Arc<str>);

impl KeyArn {
    /// The ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of an alias, with its `alias/` in front: up to 256 characters in all.
///
/// Source: AWS KMS API Reference, CreateAlias.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AliasName(String);

impl AliasName {
    const PREFIX: &'static str = "alias/";
    /// The longest name, in bytes.
    pub const LEN_BYTES_MAX: usize = 256;

    /// Checks a name.
    ///
    /// # Errors
    /// [`KeyError::InvalidReference`].
    pub fn new(name: impl Into<String>) -> Result<Self, KeyError> {
        let name = name.into();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-');
        match name.strip_prefix(Self::PREFIX) {
            Some(rest)
                if !rest.is_empty()
                    && name.len() <= Self::LEN_BYTES_MAX
                    && rest.bytes().all(allowed) =>
            {
                Ok(Self(name))
            }
            _ => Err(KeyError::InvalidReference {
                rule: "an alias is alias/ and then letters, digits, '/', '_' and '-', \
                       up to 256 characters",
            }),
        }
    }

    /// Whether only the service itself may make such an alias.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        ["alias/aws/", "alias/strongroom/"]
            .iter()
            .any(|reserved| self.0.starts_with(reserved))
    }

    /// The name, `alias/` included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A KMS key as a caller names it: key id, key ARN, alias name or alias ARN.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum KeyReference {
    /// A key id.
    Id(KeyId),
    /// A key id in an ARN of this region and account.
    Arn {
        /// The region of the ARN.
        region: String,
        /// The account of the ARN.
        account: String,
        /// The key.
        key: KeyId,
    },
    /// An alias.
    Alias(AliasName),
    /// An alias in an ARN.
    AliasArn {
        /// The region of the ARN.
        region: String,
        /// The account of the ARN.
        account: String,
        /// The alias.
        alias: AliasName,
    },
}

/// What a reference names, in the region and account where it is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named<'a> {
    /// A key.
    Key(KeyId),
    /// An alias.
    Alias(&'a AliasName),
}

impl KeyReference {
    /// The longest reference, in bytes.
    ///
    /// Source: AWS KMS API Reference, `KeyIdType`.
    pub const LEN_BYTES_MAX: usize = 2_048;
    /// The alias of the key under which objects are protected when nothing is asked (SSE-S3).
    pub const MANAGED_ALIAS: &'static str = "alias/strongroom/s3";
    /// The alias of the key under which the service keeps its own secrets.
    pub(crate) const SYSTEM_ALIAS: &'static str = "alias/strongroom/system";

    /// The key under which the service keeps its own secrets.
    #[must_use]
    pub fn system() -> Self {
        Self::Alias(AliasName(Self::SYSTEM_ALIAS.into()))
    }

    /// The key or the alias that is named, which is one of `home`: of its region and account.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`]: it is of another region or account.
    pub fn at(&self, home: &Home) -> Result<Named<'_>, KeyError> {
        let is_here =
            |region: &str, account: &str| region == home.region && account == home.account;
        match self {
            Self::Id(key) => Ok(Named::Key(*key)),
            Self::Alias(alias) => Ok(Named::Alias(alias)),
            Self::Arn {
                region,
                account,
                key,
            } if is_here(region, account) => Ok(Named::Key(*key)),
            Self::AliasArn {
                region,
                account,
                alias,
            } if is_here(region, account) => Ok(Named::Alias(alias)),
            Self::Arn { .. } | Self::AliasArn { .. } => Err(KeyError::NoSuchKey {
                reference: self.clone(),
            }),
        }
    }

    /// The key under which objects are protected when SSE-KMS is asked without naming one.
    #[must_use]
    pub fn managed() -> Self {
        Self::Alias(AliasName(Self::MANAGED_ALIAS.into()))
    }
}

impl From<KeyId> for KeyReference {
    fn from(key: KeyId) -> Self {
        Self::Id(key)
    }
}

impl FromStr for KeyReference {
    type Err = KeyError;

    /// Reads any of the four forms. That it is well-formed does not say that there is such a key.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.len() > Self::LEN_BYTES_MAX {
            return Err(KeyError::InvalidReference {
                rule: "what names a key has at most 2048 bytes",
            });
        }
        if text.starts_with(AliasName::PREFIX) {
            return AliasName::new(text).map(Self::Alias);
        }
        let Some(rest) = text.strip_prefix("arn:") else {
            return text.parse().map(Self::Id);
        };
        let not_an_arn = || KeyError::InvalidReference {
            rule: "an ARN of a key is arn:aws:kms:<region>:<account>:key/<id> or …:alias/<name>",
        };
        let mut parts = rest.splitn(5, ':');
        let (Some("aws"), Some("kms"), Some(region), Some(account), Some(resource)) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(not_an_arn());
        };
        let (region, account) = (region.to_owned(), account.to_owned());
        if let Some(key) = resource.strip_prefix("key/") {
            let key = key.parse()?;
            return Ok(Self::Arn {
                region,
                account,
                key,
            });
        }
        if resource.starts_with(AliasName::PREFIX) {
            let alias = AliasName::new(resource)?;
            return Ok(Self::AliasArn {
                region,
                account,
                alias,
            });
        }
        Err(not_an_arn())
    }
}

impl fmt::Display for KeyReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(key) => key.fmt(f),
            Self::Arn {
                region,
                account,
                key,
            } => write!(f, "arn:aws:kms:{region}:{account}:key/{key}"),
            Self::Alias(alias) => alias.fmt(f),
            Self::AliasArn {
                region,
                account,
                alias,
            } => write!(f, "arn:aws:kms:{region}:{account}:{alias}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use strongroom_environment::SeededEntropy;

    use super::*;

    #[test]
    fn each_form_of_a_reference_is_read_and_printed_back() {
        let key = KeyId::random(&SeededEntropy::new(1));
        assert_eq!(key.to_string().len(), 36);
        assert_eq!(key.to_string().as_bytes()[14], b'4', "{key}");
        for text in [
            key.to_string(),
            format!("arn:aws:kms:eu-1:000000000000:key/{key}"),
            "alias/a-b_c/D9".into(),
            "arn:aws:kms:eu-1:000000000000:alias/x".into(),
        ] {
            let reference: KeyReference = text.parse().expect("a reference");
            assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "",
            "alias/",
            "alias/with space",
            "alias/colon:x",
            "not-a-uuid",
            "00000000-0000-0000-0000-00000000000g",
            "00000000000000000000000000000000",
            "arn:aws:kms:eu-1:0:key/",
            "arn:aws:s3:eu-1:0:key/00000000-0000-4000-8000-000000000000",
            "arn:aws:kms:eu-1:0:grant/00000000-0000-4000-8000-000000000000",
            "arn:aws:kms",
            "ärn:aws:kms:eu-1:0:alias/x-ä",
            "alias/ä",
            "ääääääääääääääääää",
        ] {
            assert!(text.parse::<KeyReference>().is_err(), "{text}");
        }
        assert!(AliasName::new(format!("alias/{}", "x".repeat(250))).is_ok());
        assert!(AliasName::new(format!("alias/{}", "x".repeat(251))).is_err());
    }
}
