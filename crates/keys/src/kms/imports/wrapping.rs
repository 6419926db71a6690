//! How material comes wrapped.

use strongroom_pkcs11::{ImportWrapping, OaepHash, PairSpec};

/// How material is wrapped on its way to the token, and for what kind of pair.
///
/// Source: AWS KMS API Reference, GetParametersForImport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrappingMethod {
    pub(super) wrapping: ImportWrapping,
    pub(super) spec: PairSpec,
}

impl WrappingMethod {
    /// The names of the wrapping algorithms in the protocol.
    pub const ALGORITHMS: [&'static str; 4] = [
        "RSAES_OAEP_SHA_1",
        "RSAES_OAEP_SHA_256",
        "RSA_AES_KEY_WRAP_SHA_1",
        "RSA_AES_KEY_WRAP_SHA_256",
    ];
    /// The names of the wrapping key specs in the protocol.
    pub const KEY_SPECS: [&'static str; 3] = ["RSA_2048", "RSA_3072", "RSA_4096"];

    /// The method of these names in the protocol.
    #[must_use]
    pub fn named(algorithm: &str, key_spec: &str) -> Option<Self> {
        let wrapping = match algorithm {
            "RSAES_OAEP_SHA_1" => ImportWrapping::Rsaes(OaepHash::Sha1),
            "RSAES_OAEP_SHA_256" => ImportWrapping::Rsaes(OaepHash::Sha256),
            "RSA_AES_KEY_WRAP_SHA_1" => ImportWrapping::RsaAes(OaepHash::Sha1),
            "RSA_AES_KEY_WRAP_SHA_256" => ImportWrapping::RsaAes(OaepHash::Sha256),
            _ => return None,
        };
        let spec = match key_spec {
            "RSA_2048" => PairSpec::Rsa2048,
            "RSA_3072" => PairSpec::Rsa3072,
            "RSA_4096" => PairSpec::Rsa4096,
            _ => return None,
        };
        Some(Self { wrapping, spec })
    }

    /// The wrapping algorithm in the protocol.
    #[must_use]
    pub const fn algorithm(self) -> &'static str {
        match self.wrapping {
            ImportWrapping::Rsaes(OaepHash::Sha1) => "RSAES_OAEP_SHA_1",
            ImportWrapping::Rsaes(OaepHash::Sha256) => "RSAES_OAEP_SHA_256",
            ImportWrapping::RsaAes(OaepHash::Sha1) => "RSA_AES_KEY_WRAP_SHA_1",
            ImportWrapping::RsaAes(OaepHash::Sha256) => "RSA_AES_KEY_WRAP_SHA_256",
        }
    }

    /// The wrapping key spec in the protocol.
    #[must_use]
    pub const fn key_spec(self) -> &'static str {
        match self.spec {
            PairSpec::Rsa3072 => "RSA_3072",
            PairSpec::Rsa4096 => "RSA_4096",
            _ => "RSA_2048",
        }
    }

    pub(super) fn code(self) -> [u8; 2] {
        let wrapping = match self.wrapping {
            ImportWrapping::Rsaes(OaepHash::Sha1) => 1,
            ImportWrapping::Rsaes(OaepHash::Sha256) => 2,
            ImportWrapping::RsaAes(OaepHash::Sha1) => 3,
            ImportWrapping::RsaAes(OaepHash::Sha256) => 4,
        };
        let spec = match self.spec {
            PairSpec::Rsa3072 => 2,
            PairSpec::Rsa4096 => 3,
            _ => 1,
        };
        [wrapping, spec]
    }

    pub(super) fn of_code([wrapping, spec]: [u8; 2]) -> Option<Self> {
        let at = |code: u8| usize::from(code).checked_sub(1);
        let algorithm = Self::ALGORITHMS.get(at(wrapping)?)?;
        Self::named(algorithm, Self::KEY_SPECS.get(at(spec)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_has_names_and_bytes_of_its_own() {
        for algorithm in WrappingMethod::ALGORITHMS {
            for key_spec in WrappingMethod::KEY_SPECS {
                let method = WrappingMethod::named(algorithm, key_spec).expect("a method");
                assert_eq!(method.algorithm(), algorithm);
                assert_eq!(method.key_spec(), key_spec);
                assert_eq!(WrappingMethod::of_code(method.code()), Some(method));
            }
        }
        assert_eq!(WrappingMethod::named("RSAES_PKCS1_V1_5", "RSA_2048"), None);
        assert_eq!(WrappingMethod::named("RSAES_OAEP_SHA_1", "SM2"), None);
        for code in [[0, 1], [1, 0], [5, 1], [1, 4]] {
            assert_eq!(WrappingMethod::of_code(code), None);
        }
    }
}
