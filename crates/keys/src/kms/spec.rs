//! What kinds of KMS keys there are.

use strongroom_pkcs11::{MacSpec, PairSpec, PairUse, SignatureHash, SignatureScheme};

/// What a KMS key is and what it is for. It never changes.
///
/// Source: AWS KMS Developer Guide, "Key spec reference".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum KeySpec {
    /// AES-256, for encryption and decryption.
    #[default]
    Symmetric,
    /// An HMAC key, to make and verify MACs.
    Mac(MacSpec),
    /// A key pair, to sign and verify, or to encrypt and decrypt.
    Pair(PairSpec, PairUse),
}

/// How a message is signed.
///
/// Source: AWS KMS API Reference, `SigningAlgorithmSpec`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SigningAlgorithm(pub(crate) SignatureScheme);

impl SigningAlgorithm {
    const ALL: [(&'static str, SignatureScheme); 9] = {
        use SignatureHash::{Sha256, Sha384, Sha512};
        use SignatureScheme::{Ecdsa, Pkcs1V15, Pss};
        [
            ("RSASSA_PSS_SHA_256", Pss(Sha256)),
            ("RSASSA_PSS_SHA_384", Pss(Sha384)),
            ("RSASSA_PSS_SHA_512", Pss(Sha512)),
            ("RSASSA_PKCS1_V1_5_SHA_256", Pkcs1V15(Sha256)),
            ("RSASSA_PKCS1_V1_5_SHA_384", Pkcs1V15(Sha384)),
            ("RSASSA_PKCS1_V1_5_SHA_512", Pkcs1V15(Sha512)),
            ("ECDSA_SHA_256", Ecdsa(Sha256)),
            ("ECDSA_SHA_384", Ecdsa(Sha384)),
            ("ECDSA_SHA_512", Ecdsa(Sha512)),
        ]
    };

    /// The algorithm of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, scheme)| Self(scheme))
    }

    /// The name in the protocol.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(_, scheme)| *scheme == self.0)
            .map_or("", |(name, _)| name)
    }
}

impl KeySpec {
    /// All of them, with their names in the protocol and the byte that a row has for each.
    const ALL: [(Self, &'static str, u8); 15] = {
        use PairUse::{Decrypt, Sign};
        [
            (Self::Symmetric, "SYMMETRIC_DEFAULT", 0),
            (Self::Mac(MacSpec::Sha224), "HMAC_224", 1),
            (Self::Mac(MacSpec::Sha256), "HMAC_256", 2),
            (Self::Mac(MacSpec::Sha384), "HMAC_384", 3),
            (Self::Mac(MacSpec::Sha512), "HMAC_512", 4),
            (Self::Pair(PairSpec::Rsa2048, Sign), "RSA_2048", 5),
            (Self::Pair(PairSpec::Rsa3072, Sign), "RSA_3072", 6),
            (Self::Pair(PairSpec::Rsa4096, Sign), "RSA_4096", 7),
            (Self::Pair(PairSpec::Rsa2048, Decrypt), "RSA_2048", 8),
            (Self::Pair(PairSpec::Rsa3072, Decrypt), "RSA_3072", 9),
            (Self::Pair(PairSpec::Rsa4096, Decrypt), "RSA_4096", 10),
            (Self::Pair(PairSpec::P256, Sign), "ECC_NIST_P256", 11),
            (Self::Pair(PairSpec::P384, Sign), "ECC_NIST_P384", 12),
            (Self::Pair(PairSpec::P521, Sign), "ECC_NIST_P521", 13),
            (Self::Pair(PairSpec::Secp256k1, Sign), "ECC_SECG_P256K1", 14),
        ]
    };

    /// The spec of these names in the protocol: `KeySpec` and `KeyUsage`.
    #[must_use]
    pub fn named(spec: &str, usage: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .map(|(known, _, _)| known)
            .find(|known| known.as_str() == spec && known.usage() == usage)
    }

    /// Whether there is any key of that `KeySpec`.
    #[must_use]
    pub fn is_named(spec: &str) -> bool {
        Self::ALL.iter().any(|(_, name, _)| *name == spec)
    }

    pub(crate) fn code(self) -> u8 {
        Self::ALL
            .into_iter()
            .find(|(known, ..)| *known == self)
            .map_or(0, |(_, _, code)| code)
    }

    pub(crate) fn of_code(code: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(_, _, known)| *known == code)
            .map(|(spec, ..)| spec)
    }

    /// The `KeySpec` of the protocol.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(known, ..)| *known == self)
            .map_or("", |(_, name, _)| name)
    }

    /// The `KeyUsage` of the protocol.
    #[must_use]
    pub const fn usage(self) -> &'static str {
        match self {
            Self::Symmetric | Self::Pair(_, PairUse::Decrypt) => "ENCRYPT_DECRYPT",
            Self::Mac(_) => "GENERATE_VERIFY_MAC",
            Self::Pair(_, PairUse::Sign) => "SIGN_VERIFY",
        }
    }

    /// The algorithms by which the key encrypts.
    #[must_use]
    pub const fn encryption_algorithms(self) -> &'static [&'static str] {
        match self {
            Self::Symmetric => &["SYMMETRIC_DEFAULT"],
            Self::Pair(_, PairUse::Decrypt) => &["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"],
            _ => &[],
        }
    }

    /// The algorithms by which the key signs.
    #[must_use]
    pub fn signing_algorithms(self) -> Vec<&'static str> {
        let Self::Pair(pair, PairUse::Sign) = self else {
            return Vec::new();
        };
        SigningAlgorithm::ALL
            .into_iter()
            .filter(|(_, scheme)| scheme.is_of(pair))
            .map(|(name, _)| name)
            .collect()
    }

    /// The algorithm by which the key makes MACs.
    #[must_use]
    pub const fn mac_algorithm(self) -> Option<&'static str> {
        match self {
            Self::Mac(MacSpec::Sha224) => Some("HMAC_SHA_224"),
            Self::Mac(MacSpec::Sha256) => Some("HMAC_SHA_256"),
            Self::Mac(MacSpec::Sha384) => Some("HMAC_SHA_384"),
            Self::Mac(MacSpec::Sha512) => Some("HMAC_SHA_512"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spec_has_a_byte_and_a_name_of_its_own() {
        for (spec, name, code) in KeySpec::ALL {
            assert_eq!(KeySpec::of_code(code), Some(spec));
            assert_eq!(spec.code(), code);
            assert_eq!(KeySpec::named(name, spec.usage()), Some(spec));
            let algorithms = spec.encryption_algorithms().len()
                + spec.signing_algorithms().len()
                + spec.mac_algorithm().iter().len();
            assert!(algorithms > 0, "{name}");
        }
        assert_eq!(KeySpec::of_code(15), None);
        assert_eq!(KeySpec::named("HMAC_256", "ENCRYPT_DECRYPT"), None);
        for (name, _) in SigningAlgorithm::ALL {
            let algorithm = SigningAlgorithm::named(name).expect("there is one");
            assert_eq!(algorithm.as_str(), name);
        }
    }
}
