//! What the store tells of an object.

use std::fmt;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use strongroom_environment::Timestamp;
use strongroom_keys::EncryptionMode;

use crate::{
    Checksum, ObjectChecksum, ObjectMetadata, PartNumber, RetrievalTier, ShownVersion,
    StorageClass, VersionId,
};

/// An entity tag (RFC 9110, section 8.8.3), always strong.
///
/// That of an object of one part under SSE-S3 is the MD5 of its bytes; one under SSE-KMS or SSE-C
/// is random; that of an object of several parts is the MD5 of the tags of the parts, and says how
/// many they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ETag {
    digest: [u8; 16],
    part_count: Option<u16>,
}

impl ETag {
    /// The tag of an object of one part, or of a part.
    #[must_use]
    pub const fn whole(digest: [u8; 16]) -> Self {
        Self {
            digest,
            part_count: None,
        }
    }

    /// The tag of an object of `part_count` parts.
    #[must_use]
    pub const fn of_parts(digest: [u8; 16], part_count: u16) -> Self {
        Self {
            digest,
            part_count: Some(part_count),
        }
    }

    /// Reads a tag, with or without quotation marks; `None` for what no tag of ours looks like.
    #[must_use]
    pub fn parse(printed: &str) -> Option<Self> {
        let bare = printed
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(printed);
        let (hex, part_count) = match bare.split_once('-') {
            Some((hex, count)) => (hex, Some(count.parse().ok()?)),
            None => (bare, None),
        };
        let digest = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?;
        Some(Self {
            digest: digest.try_into().ok()?,
            part_count,
        })
    }

    /// The sixteen bytes of the tag.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 16] {
        &self.digest
    }

    /// How many parts the tag says the object has.
    #[must_use]
    pub const fn part_count(&self) -> Option<u16> {
        self.part_count
    }
}

impl fmt::Display for ETag {
    /// Without quotation marks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.digest))?;
        match self.part_count {
            Some(count) => write!(f, "-{count}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The restore of an archived version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum RestoreState {
    /// A retrieval is under way.
    InProgress {
        /// When it was asked for.
        #[serde(with = "crate::moment")]
        requested: Timestamp,
        /// For how many days the copy is kept from the moment it is there.
        days: u32,
        /// How fast it is wanted.
        tier: RetrievalTier,
    },
    /// There is a warm copy for a while.
    Restored {
        /// When it goes away.
        #[serde(with = "crate::moment")]
        until: Timestamp,
    },
}

/// A version of an object that is not a delete marker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectInfo {
    /// How the version is named to clients; `None` in a bucket that never kept versions.
    pub version: Option<ShownVersion>,
    /// The version's real id.
    pub version_id: VersionId,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Its entity tag.
    pub etag: ETag,
    /// When it was written; for a multipart upload, when that was begun.
    pub modified: Timestamp,
    /// Its storage class.
    pub class: StorageClass,
    /// What the client said about it.
    pub metadata: ObjectMetadata,
    /// How it is encrypted.
    pub encryption: EncryptionMode,
    /// Its checksum.
    pub checksum: Option<ObjectChecksum>,
    /// How many parts it was uploaded in; `None` when it was uploaded whole.
    pub part_count: Option<u16>,
    /// Its restore, when it is archived and one was asked for.
    pub restore: Option<RestoreState>,
}

/// A part of an object that was uploaded in parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectPart {
    /// Its number, counted from 1 without gaps.
    pub number: PartNumber,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Its checksum.
    pub checksum: Option<Checksum>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_read_back_as_printed() {
        let whole = ETag::whole([0xAB; 16]);
        let parts = ETag::of_parts([0xCD; 16], 10_000);
        for tag in [whole, parts] {
            assert_eq!(ETag::parse(&tag.to_string()), Some(tag));
            assert_eq!(ETag::parse(&format!("\"{tag}\"")), Some(tag));
        }
        assert_eq!(parts.to_string(), format!("{}-10000", "cd".repeat(16)));
        for bad in ["", "\"", "abc", "zz", &"a".repeat(34), "ab-1", "*"] {
            assert_eq!(ETag::parse(bad), None, "{bad:?}");
        }
    }
}
