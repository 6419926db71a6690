//! Data key pairs: drawn here for use elsewhere, their private keys given in clear and encrypted
//! under a KMS key, like data keys.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_ASN1_SIGNING,
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _,
};
use strongroom_seal::scrub_stack;
use zeroize::Zeroizing;

use super::access::Wish;
use super::{KeyOperation, Kms};
use crate::arn::{KeyArn, KeyReference};
use crate::caller::Caller;
use crate::context::EncryptionContext;
use crate::error::KeyError;
use crate::journal::{Entry, Event};
use crate::kms::CiphertextBlob;

/// What [`Kms::generate_data_key_pair`] gives.
pub struct GeneratedDataKeyPair {
    /// The private key: PKCS#8 (RFC 5208) in DER.
    pub private: Zeroizing<Vec<u8>>,
    /// The same, encrypted.
    pub blob: CiphertextBlob,
    /// The public key: `SubjectPublicKeyInfo` (RFC 5280) in DER.
    pub public: Vec<u8>,
    /// The KMS key that the private key is encrypted under.
    pub key: KeyArn,
}

impl std::fmt::Debug for GeneratedDataKeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GeneratedDataKeyPair under {}", self.key)
    }
}

/// Which pair is to be drawn.
///
/// Source: AWS KMS API Reference, `DataKeyPairSpec`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataKeyPairSpec {
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
    /// Ed25519.
    Ed25519,
}

impl DataKeyPairSpec {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Rsa2048, "RSA_2048"),
        (Self::Rsa3072, "RSA_3072"),
        (Self::Rsa4096, "RSA_4096"),
        (Self::P256, "ECC_NIST_P256"),
        (Self::P384, "ECC_NIST_P384"),
        (Self::P521, "ECC_NIST_P521"),
        (Self::Secp256k1, "ECC_SECG_P256K1"),
        (Self::Ed25519, "ECC_NIST_EDWARDS25519"),
    ];

    /// The spec of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(_, known)| *known == name)
            .map(|(spec, _)| spec)
    }

    /// The name in the protocol.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(known, _)| *known == self)
            .map_or("", |(_, name)| name)
    }

    /// Draws a pair. The cryptographic library takes its randomness from its own generator, which
    /// is also what is below that of this program.
    fn draw(self) -> Result<Drawn, aws_lc_rs::error::Unspecified> {
        let curve = match self {
            Self::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            Self::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
            Self::P521 => &ECDSA_P521_SHA512_ASN1_SIGNING,
            Self::Secp256k1 => &ECDSA_P256K1_SHA256_ASN1_SIGNING,
            Self::Ed25519 => {
                let pair = Ed25519KeyPair::generate()?;
                let private = pair.to_pkcs8v1()?;
                let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
                return Ok(Drawn::of(private.as_ref(), public.as_ref()));
            }
            Self::Rsa2048 => return Drawn::rsa(KeySize::Rsa2048),
            Self::Rsa3072 => return Drawn::rsa(KeySize::Rsa3072),
            Self::Rsa4096 => return Drawn::rsa(KeySize::Rsa4096),
        };
        let pair = EcdsaKeyPair::generate(curve)?;
        let private = pair.to_pkcs8v1()?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
        Ok(Drawn::of(private.as_ref(), public.as_ref()))
    }
}

struct Drawn {
    private: Zeroizing<Vec<u8>>,
    public: Vec<u8>,
}

impl Drawn {
    fn of(private: &[u8], public: &[u8]) -> Self {
        Self {
            private: Zeroizing::new(private.to_vec()),
            public: public.to_vec(),
        }
    }

    fn rsa(size: KeySize) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let pair = rsa::KeyPair::generate(size)?;
        let private: Pkcs8V1Der<'_> = pair.as_der()?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
        Ok(Self::of(private.as_ref(), public.as_ref()))
    }
}

impl Kms {
    /// Draws a key pair and gives its private key in clear and encrypted.
    ///
    /// Source: AWS KMS API Reference, GenerateDataKeyPair.
    ///
    /// # Errors
    /// As for [`Kms::encrypt`].
    pub async fn generate_data_key_pair(
        &self,
        key: &KeyReference,
        context: &EncryptionContext,
        spec: DataKeyPairSpec,
        caller: &Caller,
    ) -> Result<GeneratedDataKeyPair, KeyError> {
        let operation = KeyOperation::GenerateDataKeyPair;
        let act = "generate-data-key-pair";
        self.generate_pair(key, context, spec, operation, act, caller)
            .await
    }

    /// Draws a key pair and gives its private key encrypted only.
    ///
    /// Source: AWS KMS API Reference, GenerateDataKeyPairWithoutPlaintext.
    ///
    /// # Errors
    /// As for [`Kms::encrypt`].
    pub async fn generate_data_key_pair_without_plaintext(
        &self,
        key: &KeyReference,
        context: &EncryptionContext,
        spec: DataKeyPairSpec,
        caller: &Caller,
    ) -> Result<GeneratedDataKeyPair, KeyError> {
        let operation = KeyOperation::GenerateDataKeyPairWithoutPlaintext;
        let act = "generate-data-key-pair-without-plaintext";
        let mut made = self
            .generate_pair(key, context, spec, operation, act, caller)
            .await?;
        made.private = Zeroizing::default();
        Ok(made)
    }

    async fn generate_pair(
        &self,
        key: &KeyReference,
        context: &EncryptionContext,
        spec: DataKeyPairSpec,
        operation: KeyOperation,
        act: &'static str,
        caller: &Caller,
    ) -> Result<GeneratedDataKeyPair, KeyError> {
        let mut grant = None;
        let result = async {
            // A pair is drawn only for whoever may have it: it takes the processor a while.
            let wish = Wish::to(operation.as_str()).with("kms:DataKeyPairSpec", spec.as_str());
            let (id, authority) = self.sealing_key(wish, (key, context), caller).await?;
            grant = authority.grant;
            let drawn = tokio::task::spawn_blocking(move || {
                let drawn = spec.draw();
                scrub_stack();
                drawn
            })
            .await;
            let Ok(Ok(drawn)) = drawn else {
                return Err(KeyError::TokenUnavailable(
                    strongroom_pkcs11::TokenError::Unavailable {
                        reason: "no key pair could be drawn".into(),
                    },
                ));
            };
            Ok(GeneratedDataKeyPair {
                blob: self.seal_under(id, context, &drawn.private).await?,
                private: drawn.private,
                public: drawn.public,
                key: self.home.arn(id),
            })
        }
        .await;
        let done = result.as_ref().ok();
        let named = super::cryptography::named(
            key,
            done.map(|made: &GeneratedDataKeyPair| (&made.blob, &made.key)),
        );
        let entry = Entry::new(Event::KeyUse, act)
            .key(named)
            .grant(grant)
            .context(context);
        let made = self.journal.settle(caller, entry, result).await?;
        self.note_use_of(&made.blob, operation, caller);
        Ok(made)
    }
}
