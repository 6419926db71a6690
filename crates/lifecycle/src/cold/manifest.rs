//! The description of an archive, and how the directory engine writes it down.
//!
//! The layout is in `docs/format/lifecycle.md`, section "Cold tier directory".

use std::fmt;

use serde::{Deserialize, Serialize};
use strongroom_environment::Timestamp;

use super::seam::ArchiveId;
use crate::StorageClass;

/// What an archive is: enough to check it without a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveDescription {
    /// The class it was archived under.
    pub class: StorageClass,
    /// When it was handed over.
    pub archived: Timestamp,
    /// Its parts, in order.
    pub parts: Vec<PartDescription>,
}

impl ArchiveDescription {
    /// The length of all parts together, in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.parts
            .iter()
            .fold(0_u64, |sum, part| sum.saturating_add(part.len_bytes))
    }

    /// Where a part begins in the sequence of all parts, in bytes.
    #[must_use]
    pub fn offset_of(&self, part: usize) -> Option<u64> {
        (part < self.parts.len()).then(|| {
            self.parts
                .iter()
                .take(part)
                .fold(0_u64, |sum, part| sum.saturating_add(part.len_bytes))
        })
    }
}

/// A part of an archive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PartDescription {
    /// The length of the sealed part, in bytes.
    pub len_bytes: u64,
    /// The SHA-256 digest of the sealed part.
    pub sha256: [u8; 32],
}

impl fmt::Debug for PartDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PartDescription({} bytes, {})",
            self.len_bytes,
            data_encoding::HEXLOWER.encode(&self.sha256)
        )
    }
}

/// Why a manifest could not be understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It is not JSON of the expected form.
    #[error("it is not a manifest: {0}")]
    Form(#[from] serde_json::Error),
    /// It is of a later format.
    #[error("its format {0:?} is not known here")]
    Format(String),
    /// A value in it is not legal.
    #[error("its member {0} is not legal")]
    Value(&'static str),
}

/// The name of the format, with its version.
const FORMAT: &str = "strongroom-archive/v1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: String,
    archive: String,
    storage_class: String,
    archived_micros: i64,
    payload_len_bytes: u64,
    parts: Vec<ManifestPart>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestPart {
    len_bytes: u64,
    sha256: String,
}

impl ArchiveDescription {
    /// The manifest of this archive: one JSON object and a line feed.
    #[must_use]
    pub fn to_manifest(&self, archive: ArchiveId) -> Vec<u8> {
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            archive: archive.to_string(),
            storage_class: self.class.as_str().to_owned(),
            archived_micros: self.archived.micros(),
            payload_len_bytes: self.len_bytes(),
            parts: self
                .parts
                .iter()
                .map(|part| ManifestPart {
                    len_bytes: part.len_bytes,
                    sha256: data_encoding::HEXLOWER.encode(&part.sha256),
                })
                .collect(),
        };
        let mut bytes = serde_json::to_vec_pretty(&manifest)
            .expect("strings and integers serialise to memory without fail");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a manifest, and the name of the archive it is for.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn from_manifest(bytes: &[u8]) -> Result<(ArchiveId, Self), ManifestError> {
        let manifest: Manifest = serde_json::from_slice(bytes)?;
        if manifest.format != FORMAT {
            return Err(ManifestError::Format(manifest.format));
        }
        let archive = ArchiveId::parse(&manifest.archive).ok_or(ManifestError::Value("archive"))?;
        let class = StorageClass::parse(&manifest.storage_class)
            .ok_or(ManifestError::Value("storage_class"))?;
        let parts = manifest
            .parts
            .iter()
            .map(|part| {
                let digest = data_encoding::HEXLOWER
                    .decode(part.sha256.as_bytes())
                    .ok()
                    .and_then(|digest| digest.try_into().ok())
                    .ok_or(ManifestError::Value("sha256"))?;
                Ok(PartDescription {
                    len_bytes: part.len_bytes,
                    sha256: digest,
                })
            })
            .collect::<Result<_, ManifestError>>()?;
        let description = Self {
            class,
            archived: Timestamp::from_micros(manifest.archived_micros),
            parts,
        };
        if description.len_bytes() != manifest.payload_len_bytes {
            return Err(ManifestError::Value("payload_len_bytes"));
        }
        Ok((archive, description))
    }
}
