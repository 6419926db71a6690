//! What kinds of keys are carried wrapped besides AES-256 keys, and what is done with them.

use serde::{Deserialize, Serialize};

/// An HMAC key (FIPS 198-1), by the hash that it is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum MacSpec {
    /// HMAC-SHA-224, with a key of 32 bytes: RFC 3394 wraps no key of 28.
    Sha224,
    /// HMAC-SHA-256, with a key of 32 bytes.
    Sha256,
    /// HMAC-SHA-384, with a key of 48 bytes.
    Sha384,
    /// HMAC-SHA-512, with a key of 64 bytes.
    Sha512,
}

impl MacSpec {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// How long a key is, in bytes.
    #[must_use]
    pub const fn key_len_bytes(self) -> usize {
        match self {
            Self::Sha224 | Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// How long a MAC is, in bytes.
    #[must_use]
    pub const fn mac_len_bytes(self) -> usize {
        match self {
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// A key pair: RSA (RFC 8017) of so many bits, or of an elliptic curve (SEC 2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum PairSpec {
    /// RSA, 2,048 bits.
    Rsa2048,
    /// RSA, 3,072 bits.
    Rsa3072,
    /// RSA, 4,096 bits.
    Rsa4096,
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// secp256k1.
    Secp256k1,
}

impl PairSpec {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::P256,
        Self::P384,
        Self::P521,
        Self::Secp256k1,
    ];

    /// How many bits an RSA modulus has; `None` for a curve.
    #[must_use]
    pub const fn modulus_len_bits(self) -> Option<usize> {
        match self {
            Self::Rsa2048 => Some(2_048),
            Self::Rsa3072 => Some(3_072),
            Self::Rsa4096 => Some(4_096),
            Self::P256 | Self::P384 | Self::P521 | Self::Secp256k1 => None,
        }
    }
}

/// What the private key of a pair is for. It does nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum PairUse {
    /// It signs.
    Sign,
    /// It decrypts; RSA only.
    Decrypt,
}

/// The hash of what is signed (FIPS 180-4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum SignatureHash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl SignatureHash {
    /// How long a digest is, in bytes.
    #[must_use]
    pub const fn len_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// How a digest is signed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum SignatureScheme {
    /// RSASSA-PKCS1-v1_5 (RFC 8017, section 8.2).
    Pkcs1V15(SignatureHash),
    /// RSASSA-PSS (RFC 8017, section 8.1), with MGF1 by the same hash and a salt of its length.
    Pss(SignatureHash),
    /// ECDSA (FIPS 186-5); the signature is in DER (RFC 3279).
    Ecdsa(SignatureHash),
}

impl SignatureScheme {
    /// The hash whose digests it signs.
    #[must_use]
    pub const fn hash(self) -> SignatureHash {
        match self {
            Self::Pkcs1V15(hash) | Self::Pss(hash) | Self::Ecdsa(hash) => hash,
        }
    }

    /// Whether a pair signs so: RSA by either RSA scheme, a curve by ECDSA with the hash of its
    /// strength.
    #[must_use]
    pub const fn is_of(self, spec: PairSpec) -> bool {
        matches!(
            (self, spec),
            (
                Self::Pkcs1V15(_) | Self::Pss(_),
                PairSpec::Rsa2048 | PairSpec::Rsa3072 | PairSpec::Rsa4096,
            ) | (
                Self::Ecdsa(SignatureHash::Sha256),
                PairSpec::P256 | PairSpec::Secp256k1
            ) | (Self::Ecdsa(SignatureHash::Sha384), PairSpec::P384)
                | (Self::Ecdsa(SignatureHash::Sha512), PairSpec::P521)
        )
    }
}

/// How a key that was made elsewhere comes wrapped for an RSA pair of the token.
///
/// Source: AWS KMS API Reference, GetParametersForImport; PKCS#11 v3.0, `CKM_RSA_AES_KEY_WRAP`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ImportWrapping {
    /// RSAES-OAEP of the key.
    Rsaes(OaepHash),
    /// RSAES-OAEP of an AES-256 key, and after it the key wrapped by that with padding (RFC 5649).
    RsaAes(OaepHash),
}

impl ImportWrapping {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Rsaes(OaepHash::Sha1),
        Self::Rsaes(OaepHash::Sha256),
        Self::RsaAes(OaepHash::Sha1),
        Self::RsaAes(OaepHash::Sha256),
    ];

    /// The hash of the encoding.
    #[must_use]
    pub const fn hash(self) -> OaepHash {
        match self {
            Self::Rsaes(hash) | Self::RsaAes(hash) => hash,
        }
    }
}

/// As what a wrapped key is unwrapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum CarriedKind {
    /// An AES-256 key.
    Aes,
    /// An HMAC key.
    Mac(MacSpec),
    /// The private key of a pair.
    Pair(PairSpec),
}

/// Where the value of an imported key has been on its way in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ImportPath {
    /// Nowhere but in the token, which unwrapped it.
    Token,
    /// For a moment in the memory of the process that drives the module: the token did the RSA
    /// operation, and does not know the rest of the wrapping.
    Process,
}

/// RSAES-OAEP (RFC 8017, section 7.1), with MGF1 by the same hash and no label.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum OaepHash {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}
