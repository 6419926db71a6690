//! What things are called: buckets, objects, versions, uploads, payloads, parts.

use std::fmt;
use std::net::Ipv4Addr;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};
use strongroom_environment::{Entropy, Timestamp};

/// Why a name is not one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// A bucket may not be called so.
    #[error("a bucket cannot have this name: {rule}")]
    Bucket {
        /// The rule that is broken.
        rule: &'static str,
    },
    /// An object key is longer than 1,024 bytes.
    #[error("an object key of {len_bytes} bytes is longer than 1024")]
    KeyTooLong {
        /// Its length.
        len_bytes: usize,
    },
    /// An object key is empty.
    #[error("an object key is empty")]
    KeyEmpty,
    /// No version can have this id.
    #[error("no version can have this id")]
    Version,
    /// No upload can have this id.
    #[error("no upload can have this id")]
    Upload,
    /// A part number is not between 1 and 10,000.
    #[error("part number {number} is not between 1 and 10000")]
    PartNumber {
        /// What was asked for.
        number: i64,
    },
}

/// The name of a bucket: 3 to 63 bytes of `a-z`, `0-9`, `.` and `-`.
///
/// Source: Amazon S3 User Guide, "Bucket naming rules" (general purpose buckets).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(Box<str>);

impl BucketName {
    /// The longest name, in bytes.
    pub const LEN_BYTES_MAX: usize = 63;

    /// Checks a name against the rules.
    ///
    /// # Errors
    /// [`NameError::Bucket`] names the rule that is broken.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let broken = |rule| Err(NameError::Bucket { rule });
        if !(3..=Self::LEN_BYTES_MAX).contains(&name.len()) {
            return broken("it has 3 to 63 characters");
        }
        if !name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
        {
            return broken("it holds only lower-case letters, digits, dots and hyphens");
        }
        let ends_well = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !ends_well(name.bytes().next()) || !ends_well(name.bytes().last()) {
            return broken("it begins and ends with a letter or a digit");
        }
        if name.contains("..") {
            return broken("no two dots stand side by side");
        }
        if name.parse::<Ipv4Addr>().is_ok() {
            return broken("it is not an IP address");
        }
        if ["xn--", "sthree-", "amzn-s3-demo-"]
            .iter()
            .any(|reserved| name.starts_with(reserved))
        {
            return broken("it does not begin with xn--, sthree- or amzn-s3-demo-");
        }
        if ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"]
            .iter()
            .any(|reserved| name.ends_with(reserved))
        {
            return broken("it does not end with -s3alias, --ol-s3, .mrap, --x-s3 or --table-s3");
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BucketName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        Self::new(&name)
    }
}

impl From<BucketName> for String {
    fn from(name: BucketName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The name of an object within its bucket: 1 to 1,024 bytes of UTF-8, ordered by its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(Box<str>);

impl ObjectKey {
    /// The longest key, in bytes.
    pub const LEN_BYTES_MAX: usize = 1024;

    /// Checks the length of a key.
    ///
    /// # Errors
    /// [`NameError::KeyEmpty`], [`NameError::KeyTooLong`].
    pub fn new(key: impl Into<Box<str>>) -> Result<Self, NameError> {
        let key = key.into();
        match key.len() {
            0 => Err(NameError::KeyEmpty),
            1..=Self::LEN_BYTES_MAX => Ok(Self(key)),
            len_bytes => Err(NameError::KeyTooLong { len_bytes }),
        }
    }

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = NameError;

    fn try_from(key: String) -> Result<Self, NameError> {
        Self::new(key)
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0.into()
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Sixteen random bytes that name something for good.
macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// A new id, never given before.
            #[must_use]
            pub fn random(entropy: &dyn Entropy) -> Self {
                Self(entropy.array())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

random_id! {
    /// The sealed bytes of an upload, which the copies of an object share. It is part of what the
    /// bytes are sealed to, so it never changes.
    PayloadId
}

random_id! {
    /// One attempt to upload one part of a payload. A part that is uploaded again has a new id, and
    /// with it bytes that are sealed to something else.
    PartId
}

/// One version of an object: when it was committed, and the binding that its key is wrapped to.
///
/// Printed as 32 characters of base64url. Versions of a key order by their commit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VersionId {
    sequence: u64,
    binding: [u8; 16],
}

impl VersionId {
    /// The length of the bytes of an id.
    pub const LEN_BYTES: usize = 24;

    /// The version that was committed as `sequence` and is bound to `binding`.
    #[must_use]
    pub const fn new(sequence: u64, binding: [u8; 16]) -> Self {
        Self { sequence, binding }
    }

    /// The place among the versions of its key: microseconds since the Unix epoch when it was
    /// committed, or one more than the version before where the clock stood still.
    #[must_use]
    pub const fn sequence(self) -> u64 {
        self.sequence
    }

    /// What the data key of the version is wrapped to.
    #[must_use]
    pub const fn binding(self) -> [u8; 16] {
        self.binding
    }

    /// The id as bytes that order as the ids do.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN_BYTES] {
        let mut bytes = [0; Self::LEN_BYTES];
        bytes[..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8..].copy_from_slice(&self.binding);
        bytes
    }

    /// Reads back what [`VersionId::to_bytes`] gave.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LEN_BYTES]) -> Self {
        let (sequence, binding) = bytes
            .split_first_chunk::<8>()
            .expect("24 bytes begin with 8");
        Self {
            sequence: u64::from_be_bytes(*sequence),
            binding: binding.try_into().expect("24 bytes less 8 are 16"),
        }
    }

    /// Reads back an id that was printed.
    ///
    /// # Errors
    /// [`NameError::Version`] for anything that no version was ever printed as.
    pub fn parse(printed: &str) -> Result<Self, NameError> {
        decode_24(printed)
            .map(|bytes| Self::from_bytes(&bytes))
            .ok_or(NameError::Version)
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.to_bytes()))
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A multipart upload: when it was begun, and the binding that its key is wrapped to.
///
/// Printed as 32 characters of base64url. Uploads of a key order by their beginning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UploadId {
    begun_micros: i64,
    binding: [u8; 16],
}

impl UploadId {
    /// The upload that was begun at `begun` and is bound to `binding`.
    #[must_use]
    pub const fn new(begun: Timestamp, binding: [u8; 16]) -> Self {
        Self {
            begun_micros: begun.micros(),
            binding,
        }
    }

    /// When the upload was begun.
    #[must_use]
    pub const fn begun(self) -> Timestamp {
        Timestamp::from_micros(self.begun_micros)
    }

    /// What the data key of the upload is wrapped to; the version it becomes keeps it.
    #[must_use]
    pub const fn binding(self) -> [u8; 16] {
        self.binding
    }

    /// The id as bytes that order as the ids do.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&ordered_micros(self.begun_micros).to_be_bytes());
        bytes[8..].copy_from_slice(&self.binding);
        bytes
    }

    /// Reads back what [`UploadId::to_bytes`] gave.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 24]) -> Self {
        let VersionId { sequence, binding } = VersionId::from_bytes(bytes);
        Self {
            begun_micros: micros_of_ordered(sequence),
            binding,
        }
    }

    /// Reads back an id that was printed.
    ///
    /// # Errors
    /// [`NameError::Upload`] for anything that no upload was ever printed as.
    pub fn parse(printed: &str) -> Result<Self, NameError> {
        decode_24(printed)
            .map(|bytes| Self::from_bytes(&bytes))
            .ok_or(NameError::Upload)
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.to_bytes()))
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The unsigned number that orders as the signed one does.
pub(crate) const fn ordered_micros(micros: i64) -> u64 {
    micros.cast_unsigned() ^ (1 << 63)
}

/// Takes back [`ordered_micros`].
pub(crate) const fn micros_of_ordered(ordered: u64) -> i64 {
    (ordered ^ (1 << 63)).cast_signed()
}

fn decode_24(printed: &str) -> Option<[u8; 24]> {
    if printed.len() != 32 {
        return None;
    }
    BASE64URL_NOPAD
        .decode(printed.as_bytes())
        .ok()?
        .try_into()
        .ok()
}

/// The place of a part in an object: 1 to 10,000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PartNumber(u16);

impl PartNumber {
    /// The largest number.
    pub const MAX: u16 = 10_000;

    /// Checks a number.
    ///
    /// # Errors
    /// [`NameError::PartNumber`].
    pub fn new(number: i64) -> Result<Self, NameError> {
        u16::try_from(number)
            .ok()
            .filter(|number| (1..=Self::MAX).contains(number))
            .map(Self)
            .ok_or(NameError::PartNumber { number })
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// Which version of an object is meant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum VersionSelector {
    /// The newest one.
    #[default]
    Current,
    /// The one that was written while the bucket was not versioned: `versionId=null`.
    Null,
    /// The one with this id.
    Id(VersionId),
}

impl VersionSelector {
    /// What a request's `versionId` means.
    ///
    /// # Errors
    /// [`NameError::Version`] when it is neither absent, nor `null`, nor an id.
    pub fn parse(version_id: Option<&str>) -> Result<Self, NameError> {
        match version_id {
            None => Ok(Self::Current),
            Some("null") => Ok(Self::Null),
            Some(printed) => VersionId::parse(printed).map(Self::Id),
        }
    }
}

/// How a version is named to clients: an id, or `null` for one that was written while the bucket
/// was not versioned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ShownVersion {
    /// Shown as `null`.
    Null,
    /// Shown by its id.
    Id(VersionId),
}

impl fmt::Display for ShownVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// One version of one object of one bucket, by its real id also where it is shown as `null`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct VersionName {
    /// The bucket.
    pub bucket: BucketName,
    /// The object.
    pub key: ObjectKey,
    /// The version.
    pub version: VersionId,
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} version {}", self.bucket, self.key, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_the_rules_of_the_protocol() {
        for good in ["abc", "my-bucket", "a.b.c", "0bucket9", &"a".repeat(63)] {
            assert_eq!(BucketName::new(good).expect(good).as_str(), good);
        }
        for bad in [
            "",
            "ab",
            &"a".repeat(64),
            "Upper",
            "under_score",
            "-start",
            "end-",
            ".start",
            "end.",
            "two..dots",
            "192.168.5.4",
            "xn--name",
            "sthree-name",
            "name-s3alias",
            "name--ol-s3",
            "na\0me",
            "näme",
        ] {
            assert!(BucketName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn object_keys_have_1_to_1024_bytes() {
        assert_eq!(ObjectKey::new(""), Err(NameError::KeyEmpty));
        assert!(ObjectKey::new("k".repeat(1024)).is_ok());
        assert_eq!(
            ObjectKey::new("ä".repeat(513)),
            Err(NameError::KeyTooLong { len_bytes: 1026 })
        );
    }

    #[test]
    fn a_version_id_is_read_back_as_printed_and_orders_by_commit() {
        let older = VersionId::new(7, [0xFF; 16]);
        let newer = VersionId::new(8, [0; 16]);
        assert!(older < newer && older.to_bytes() < newer.to_bytes());
        assert_eq!(older.to_string().len(), 32);
        assert_eq!(VersionId::parse(&older.to_string()), Ok(older));
        for bad in ["", "null", "AAAA", &"!".repeat(32), &"A".repeat(33)] {
            assert_eq!(VersionId::parse(bad), Err(NameError::Version), "{bad:?}");
        }
    }

    #[test]
    fn an_upload_id_is_read_back_as_printed_and_orders_by_its_beginning() {
        let before_1970 = UploadId::new(Timestamp::from_micros(-5), [1; 16]);
        let after = UploadId::new(Timestamp::from_micros(5), [0; 16]);
        assert!(before_1970.to_bytes() < after.to_bytes());
        assert_eq!(UploadId::parse(&before_1970.to_string()), Ok(before_1970));
        assert_eq!(UploadId::parse("nothing"), Err(NameError::Upload));
    }

    #[test]
    fn part_numbers_run_from_1_to_10000() {
        for bad in [i64::MIN, -1, 0, 10_001, 65_537] {
            assert!(PartNumber::new(bad).is_err(), "{bad}");
        }
        assert_eq!(PartNumber::new(10_000).map(PartNumber::get), Ok(10_000));
    }
}
