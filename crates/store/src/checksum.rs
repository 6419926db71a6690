//! The checksums that clients send and ask for, and how those of parts make that of an object.
//!
//! Source: Amazon S3 User Guide, "Checking object integrity". A checksum is over the plaintext; it
//! says nothing of the sealed bytes, which carry their own authentication.

use crc_fast::CrcAlgorithm;
use data_encoding::BASE64;
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Which checksum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum ChecksumAlgorithm {
    /// CRC-32 as in ISO-HDLC.
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME: the one that is computed when a client asks for none.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl ChecksumAlgorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// The name in the protocol: `CRC32`, `CRC32C`, `CRC64NVME`, `SHA1`, `SHA256`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The algorithm of this name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(name))
    }

    /// The length of a checksum, in bytes.
    #[must_use]
    pub const fn len_bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// How the checksum of a multipart upload is made when the client does not say.
    #[must_use]
    pub const fn type_of_upload(self) -> ChecksumType {
        match self {
            Self::Crc64Nvme => ChecksumType::FullObject,
            _ => ChecksumType::Composite,
        }
    }

    /// Whether the checksum of a multipart upload can be made in this way.
    #[must_use]
    pub const fn allows(self, checksum_type: ChecksumType) -> bool {
        match checksum_type {
            ChecksumType::FullObject => {
                matches!(self, Self::Crc32 | Self::Crc32c | Self::Crc64Nvme)
            }
            ChecksumType::Composite => !matches!(self, Self::Crc64Nvme),
        }
    }

    const fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

/// What the checksum of an object of several parts is over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ChecksumType {
    /// `FULL_OBJECT`: over the object's bytes.
    FullObject,
    /// `COMPOSITE`: over the checksums of its parts.
    Composite,
}

impl ChecksumType {
    /// The name in the protocol.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }
}

/// The checksum of a run of bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Checksum {
    algorithm: ChecksumAlgorithm,
    digest: Vec<u8>,
}

impl Checksum {
    /// The checksum of bytes that are held whole.
    #[must_use]
    pub fn of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Self {
        let mut running = RunningChecksum::new(algorithm);
        running.update(bytes);
        running.finish()
    }

    /// Reads the base64 of the protocol; `None` when it is not base64 or has not the length of the
    /// algorithm.
    #[must_use]
    pub fn from_base64(algorithm: ChecksumAlgorithm, printed: &str) -> Option<Self> {
        let digest = BASE64.decode(printed.as_bytes()).ok()?;
        (digest.len() == algorithm.len_bytes()).then_some(Self { algorithm, digest })
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// The bytes, most significant first.
    #[must_use]
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// The base64 of the protocol.
    #[must_use]
    pub fn to_base64(&self) -> String {
        BASE64.encode(&self.digest)
    }
}

/// The checksum of an object.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ObjectChecksum {
    /// The checksum.
    pub checksum: Checksum,
    /// What it is over.
    pub checksum_type: ChecksumType,
    /// For a composite checksum, over how many parts.
    pub part_count: Option<u16>,
}

impl ObjectChecksum {
    /// As the protocol prints it: base64, and `-` and the number of parts when it is composite.
    #[must_use]
    pub fn printed(&self) -> String {
        match self.part_count {
            Some(count) => format!("{}-{count}", self.checksum.to_base64()),
            None => self.checksum.to_base64(),
        }
    }
}

/// A checksum that is being computed.
pub(crate) enum RunningChecksum {
    Crc(ChecksumAlgorithm, crc_fast::Digest),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl RunningChecksum {
    pub(crate) fn new(algorithm: ChecksumAlgorithm) -> Self {
        match (algorithm.crc(), algorithm) {
            (Some(crc), _) => Self::Crc(algorithm, crc_fast::Digest::new(crc)),
            (None, ChecksumAlgorithm::Sha1) => Self::Sha1(Sha1::new()),
            (None, _) => Self::Sha256(Sha256::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(_, crc) => crc.update(bytes),
            Self::Sha1(sha1) => sha1.update(bytes),
            Self::Sha256(sha256) => sha256.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Checksum {
        match self {
            Self::Crc(algorithm, crc) => crc_checksum(algorithm, crc.finalize()),
            Self::Sha1(sha1) => Checksum {
                algorithm: ChecksumAlgorithm::Sha1,
                digest: sha1.finalize().to_vec(),
            },
            Self::Sha256(sha256) => Checksum {
                algorithm: ChecksumAlgorithm::Sha256,
                digest: sha256.finalize().to_vec(),
            },
        }
    }
}

fn crc_checksum(algorithm: ChecksumAlgorithm, value: u64) -> Checksum {
    let bytes = value.to_be_bytes();
    Checksum {
        algorithm,
        digest: bytes[bytes.len() - algorithm.len_bytes()..].to_vec(),
    }
}

fn crc_value(checksum: &Checksum) -> u64 {
    checksum
        .digest
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The checksum of an object from those of its parts, each with its length in bytes.
///
/// `None` when a part has a checksum of another algorithm, or the algorithm cannot be combined in
/// this way.
pub(crate) fn of_parts(
    algorithm: ChecksumAlgorithm,
    checksum_type: ChecksumType,
    parts: &[(&Checksum, u64)],
) -> Option<ObjectChecksum> {
    if parts.iter().any(|(part, _)| part.algorithm != algorithm) || !algorithm.allows(checksum_type)
    {
        return None;
    }
    match checksum_type {
        ChecksumType::Composite => {
            let mut running = RunningChecksum::new(algorithm);
            for (part, _) in parts {
                running.update(&part.digest);
            }
            Some(ObjectChecksum {
                checksum: running.finish(),
                checksum_type,
                part_count: u16::try_from(parts.len()).ok(),
            })
        }
        ChecksumType::FullObject => {
            let crc = algorithm.crc()?;
            let ((first, _), rest) = parts.split_first()?;
            let value = rest.iter().fold(crc_value(first), |value, (part, len)| {
                crc_fast::checksum_combine(crc, value, crc_value(part), *len)
            });
            Some(ObjectChecksum {
                checksum: crc_checksum(algorithm, value),
                checksum_type,
                part_count: None,
            })
        }
    }
}

/// An MD5 digest (RFC 1321), for ETags and `Content-MD5`; it authenticates nothing.
pub type Md5Digest = [u8; 16];

/// An MD5 that is computed only where the protocol or the client asks for it.
pub(crate) struct RunningMd5(Option<Md5>);

impl RunningMd5 {
    pub(crate) fn new(wanted: bool) -> Self {
        Self(wanted.then(Md5::new))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some(md5) = &mut self.0 {
            md5.update(bytes);
        }
    }

    pub(crate) fn finish(self) -> Option<Md5Digest> {
        self.0.map(|md5| md5.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksum(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Checksum {
        let mut running = RunningChecksum::new(algorithm);
        running.update(bytes);
        running.finish()
    }

    #[test]
    fn the_check_values_of_the_catalogues_come_out() {
        // CRC catalogue of Greg Cook, and FIPS 180-4 by `sha1sum` and `sha256sum`: "123456789".
        for (algorithm, hex) in [
            (ChecksumAlgorithm::Crc32, "cbf43926"),
            (ChecksumAlgorithm::Crc32c, "e3069283"),
            (ChecksumAlgorithm::Crc64Nvme, "ae8b14860a799888"),
            (
                ChecksumAlgorithm::Sha1,
                "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
            ),
            (
                ChecksumAlgorithm::Sha256,
                "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
            ),
        ] {
            let computed = checksum(algorithm, b"123456789");
            assert_eq!(data_encoding::HEXLOWER.encode(computed.digest()), hex);
            assert_eq!(
                Checksum::from_base64(algorithm, &computed.to_base64()),
                Some(computed)
            );
        }
    }

    #[test]
    fn a_checksum_of_the_wrong_length_or_alphabet_is_refused() {
        for bad in ["", "AAAA", "AAAAAA", "not base64!", "AAAAAAA="] {
            assert_eq!(
                Checksum::from_base64(ChecksumAlgorithm::Crc32, bad),
                None,
                "{bad}"
            );
        }
    }

    #[test]
    fn parts_combine_to_the_checksum_of_the_whole() {
        let (first, second) = (vec![7_u8; 100_000], b"tail".to_vec());
        let whole = [first.clone(), second.clone()].concat();
        for algorithm in [
            ChecksumAlgorithm::Crc32,
            ChecksumAlgorithm::Crc32c,
            ChecksumAlgorithm::Crc64Nvme,
        ] {
            let (one, two) = (checksum(algorithm, &first), checksum(algorithm, &second));
            let combined = of_parts(
                algorithm,
                ChecksumType::FullObject,
                &[(&one, 100_000), (&two, 4)],
            )
            .expect("a CRC combines");
            assert_eq!(combined.checksum, checksum(algorithm, &whole));
            assert_eq!(combined.printed(), combined.checksum.to_base64());
        }
    }

    #[test]
    fn a_composite_checksum_is_over_the_checksums_and_counts_the_parts() {
        let part = checksum(ChecksumAlgorithm::Sha256, b"part");
        let composite = of_parts(
            ChecksumAlgorithm::Sha256,
            ChecksumType::Composite,
            &[(&part, 4), (&part, 4)],
        )
        .expect("SHA-256 makes composites");
        let expected = checksum(
            ChecksumAlgorithm::Sha256,
            &[part.digest(), part.digest()].concat(),
        );
        assert_eq!(composite.printed(), format!("{}-2", expected.to_base64()));
        assert_eq!(
            of_parts(
                ChecksumAlgorithm::Sha256,
                ChecksumType::FullObject,
                &[(&part, 4)]
            ),
            None
        );
        assert_eq!(
            of_parts(
                ChecksumAlgorithm::Crc32,
                ChecksumType::Composite,
                &[(&part, 4)]
            ),
            None
        );
    }
}
