//! HMAC keys and key pairs: MACs, signatures, and encryption under a public key.
//!
//! The value of such a key is made in the token, leaves it only wrapped by the root KEK, and is
//! used in it. A public key is used here.

use std::sync::Arc;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256K1_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use strongroom_meta::Batch;
use strongroom_pkcs11::{
    KeyLabel, OaepHash, PairSpec, PairUse, SignatureHash, SignatureScheme, Token, TokenError,
    WrappedKey,
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::access::{Authority, Wish};
use super::spec::{KeySpec, SigningAlgorithm};
use super::{KeyOperation, Kms};
use crate::arn::{KeyArn, KeyId, KeyReference, KeyVersion};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::rows::{
    self, KEY_VERSIONS, KeyRow, KeyVersionRow, Material, Origin, PUBLIC_KEYS, PublicKeyRow,
    version_key, wrapped_mac_message,
};
use crate::token_keys;

/// What is signed or verified.
#[derive(Clone, Copy, Debug)]
pub enum SignedMessage<'a> {
    /// A message of 1 to 4,096 bytes, whose digest is taken here.
    Raw(&'a [u8]),
    /// Its digest.
    Digest(&'a [u8]),
}

impl SignedMessage<'_> {
    fn kind(self) -> &'static str {
        match self {
            Self::Raw(_) => "RAW",
            Self::Digest(_) => "DIGEST",
        }
    }

    fn len_bytes(self) -> usize {
        match self {
            Self::Raw(bytes) | Self::Digest(bytes) => bytes.len(),
        }
    }

    fn digest(self, hash: SignatureHash) -> Result<Digest, KeyError> {
        let algorithm = match hash {
            SignatureHash::Sha256 => &digest::SHA256,
            SignatureHash::Sha384 => &digest::SHA384,
            SignatureHash::Sha512 => &digest::SHA512,
        };
        match self {
            Self::Raw(message) => {
                check_message(message)?;
                Ok(digest::digest(algorithm, message))
            }
            Self::Digest(digest) => {
                Digest::import_less_safe(digest, algorithm).map_err(|_| KeyError::InvalidRequest {
                    rule: "Digest is invalid length for algorithm",
                })
            }
        }
    }
}

/// A public key and what it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicKey {
    /// The key.
    pub key: KeyArn,
    /// What it is and what it is for.
    pub spec: KeySpec,
    /// `SubjectPublicKeyInfo` (RFC 5280) in DER.
    pub der: Vec<u8>,
}

/// The value of an HMAC key or a key pair, as the token's MAC key vouches for it.
#[derive(Debug)]
pub(super) struct VouchedKey {
    wrapped: WrappedKey,
    /// Empty for an HMAC key.
    public: Vec<u8>,
}

impl Kms {
    /// The MAC of 1 to 4,096 bytes.
    ///
    /// Source: AWS KMS API Reference, GenerateMac.
    ///
    /// # Errors
    /// [`KeyError::WrongUsage`]: the key is not for this algorithm. [`KeyError::InvalidRequest`],
    /// [`KeyError::AccessDenied`], [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`],
    /// [`KeyError::Disabled`], [`KeyError::PendingDeletion`], [`KeyError::TokenUnavailable`],
    /// [`KeyError::AuditUnavailable`], [`KeyError::Metadata`], [`KeyError::Damaged`].
    pub async fn generate_mac(
        &self,
        key: &KeyReference,
        algorithm: &str,
        message: &[u8],
        caller: &Caller,
    ) -> Result<(KeyArn, Vec<u8>), KeyError> {
        let wish = Wish::to("GenerateMac").with("kms:MacAlgorithm", algorithm);
        let made = self.mac_for(key, wish, algorithm, message, caller).await;
        let operation = Some(KeyOperation::GenerateMac);
        self.settle_use("generate-mac", operation, key, caller, made)
            .await
    }

    /// Whether `mac` is that of a message.
    ///
    /// Source: AWS KMS API Reference, VerifyMac.
    ///
    /// # Errors
    /// [`KeyError::WrongMac`], and as for [`Kms::generate_mac`].
    pub async fn verify_mac(
        &self,
        key: &KeyReference,
        algorithm: &str,
        message: &[u8],
        mac: &[u8],
        caller: &Caller,
    ) -> Result<KeyArn, KeyError> {
        let wish = Wish::to("VerifyMac").with("kms:MacAlgorithm", algorithm);
        let made = self.mac_for(key, wish, algorithm, message, caller).await;
        let verified = made.and_then(|(id, made, authority)| {
            if bool::from(made.ct_eq(mac)) {
                Ok((id, (), authority))
            } else {
                Err(KeyError::WrongMac)
            }
        });
        let operation = Some(KeyOperation::VerifyMac);
        let (arn, ()) = self
            .settle_use("verify-mac", operation, key, caller, verified)
            .await?;
        Ok(arn)
    }

    /// Signs a message by the private key of a pair.
    ///
    /// Source: AWS KMS API Reference, Sign.
    ///
    /// # Errors
    /// As for [`Kms::generate_mac`].
    pub async fn sign(
        &self,
        key: &KeyReference,
        algorithm: SigningAlgorithm,
        message: SignedMessage<'_>,
        caller: &Caller,
    ) -> Result<(KeyArn, Vec<u8>), KeyError> {
        let signed = async {
            let digest = message.digest(algorithm.0.hash())?;
            let wish = signing_wish("Sign", algorithm, message);
            let (id, row, authority) = self.find_for_use(key, wish, caller).await?;
            let pair = self.signing_pair(id, &row, algorithm)?;
            let vouched = self.vouched(id, &row).await?;
            self.take_use_without_nonce(id, ONLY_VERSION, message.len_bytes())
                .await?;
            let signature = self
                .token
                .sign_by(&vouched.wrapped, pair, algorithm.0, digest.as_ref())
                .await?;
            // None is given out that nobody accepts.
            UnparsedPublicKey::new(verification(pair, algorithm.0), &vouched.public)
                .verify_digest(&digest, &signature)
                .map_err(|_| broken("its signature does not verify"))?;
            Ok((id, signature, authority))
        }
        .await;
        let operation = Some(KeyOperation::Sign);
        self.settle_use("sign", operation, key, caller, signed)
            .await
    }

    /// Whether a signature is one of a message, by the public key.
    ///
    /// Source: AWS KMS API Reference, Verify.
    ///
    /// # Errors
    /// [`KeyError::WrongSignature`], and as for [`Kms::generate_mac`].
    pub async fn verify(
        &self,
        key: &KeyReference,
        algorithm: SigningAlgorithm,
        message: SignedMessage<'_>,
        signature: &[u8],
        caller: &Caller,
    ) -> Result<KeyArn, KeyError> {
        let verified = async {
            let digest = message.digest(algorithm.0.hash())?;
            let wish = signing_wish("Verify", algorithm, message);
            let (id, row, authority) = self.find_for_use(key, wish, caller).await?;
            let pair = self.signing_pair(id, &row, algorithm)?;
            let vouched = self.vouched(id, &row).await?;
            UnparsedPublicKey::new(verification(pair, algorithm.0), &vouched.public)
                .verify_digest(&digest, signature)
                .map_err(|_| KeyError::WrongSignature)?;
            Ok((id, (), authority))
        }
        .await;
        let operation = Some(KeyOperation::Verify);
        let (arn, ()) = self
            .settle_use("verify", operation, key, caller, verified)
            .await?;
        Ok(arn)
    }

    /// The public key of a pair.
    ///
    /// Source: AWS KMS API Reference, GetPublicKey.
    ///
    /// # Errors
    /// [`KeyError::NotForThisKey`]: it is no pair. As for [`Kms::generate_mac`].
    pub async fn public_key(
        &self,
        key: &KeyReference,
        caller: &Caller,
    ) -> Result<PublicKey, KeyError> {
        let found = async {
            let (id, row, authority) = self
                .find_for_use(key, Wish::to("GetPublicKey"), caller)
                .await?;
            if !matches!(row.spec, KeySpec::Pair(..)) {
                return Err(KeyError::NotForThisKey {
                    key: self.home.arn(id),
                    rule: "only a key pair has a public key",
                });
            }
            let der = self.vouched(id, &row).await?.public.clone();
            Ok((id, (row.spec, der), authority))
        }
        .await;
        let (key, (spec, der)) = self
            .settle_use("get-public-key", None, key, caller, found)
            .await?;
        Ok(PublicKey { key, spec, der })
    }

    /// Encrypts under the public key of an RSA pair.
    ///
    /// Source: AWS KMS API Reference, Encrypt, of asymmetric keys.
    ///
    /// # Errors
    /// As for [`Kms::generate_mac`].
    pub async fn encrypt_by_pair(
        &self,
        key: &KeyReference,
        algorithm: &str,
        plaintext: &[u8],
        caller: &Caller,
    ) -> Result<(KeyArn, Vec<u8>), KeyError> {
        let encrypted = async {
            let wish = Wish::to("Encrypt").with("kms:EncryptionAlgorithm", algorithm);
            let (id, row, authority) = self.find_for_use(key, wish, caller).await?;
            let (_, hash) = self.encrypting_pair(id, &row, algorithm)?;
            let vouched = self.vouched(id, &row).await?;
            self.take_use_without_nonce(id, ONLY_VERSION, plaintext.len())
                .await?;
            let ciphertext = encrypt_outside(&vouched.public, hash, plaintext)?;
            Ok((id, ciphertext, authority))
        }
        .await;
        let operation = Some(KeyOperation::Encrypt);
        self.settle_use("encrypt", operation, key, caller, encrypted)
            .await
    }

    /// Decrypts by the private key of an RSA pair.
    ///
    /// Source: AWS KMS API Reference, Decrypt, of asymmetric keys.
    ///
    /// # Errors
    /// [`KeyError::NotAuthentic`], and as for [`Kms::generate_mac`].
    pub async fn decrypt_by_pair(
        &self,
        key: &KeyReference,
        algorithm: &str,
        ciphertext: &[u8],
        caller: &Caller,
    ) -> Result<(KeyArn, Zeroizing<Vec<u8>>), KeyError> {
        let decrypted = async {
            let wish = Wish::to("Decrypt").with("kms:EncryptionAlgorithm", algorithm);
            let (id, row, authority) = self.find_for_use(key, wish, caller).await?;
            let (pair, hash) = self.encrypting_pair(id, &row, algorithm)?;
            let vouched = self.vouched(id, &row).await?;
            let plaintext = self
                .token
                .decrypt_by(&vouched.wrapped, pair, hash, ciphertext)
                .await?;
            Ok((id, plaintext, authority))
        }
        .await;
        let operation = Some(KeyOperation::Decrypt);
        self.settle_use("decrypt", operation, key, caller, decrypted)
            .await
    }

    async fn mac_for(
        &self,
        key: &KeyReference,
        wish: Wish<'_>,
        algorithm: &str,
        message: &[u8],
        caller: &Caller,
    ) -> Result<(KeyId, Vec<u8>, Authority), KeyError> {
        check_message(message)?;
        let makes = wish.action == "GenerateMac";
        let (id, row, authority) = self.find_for_use(key, wish, caller).await?;
        let KeySpec::Mac(spec) = row.spec else {
            return Err(self.wrong_usage(id));
        };
        if row.spec.mac_algorithm() != Some(algorithm) {
            return Err(self.wrong_usage(id));
        }
        let vouched = self.vouched(id, &row).await?;
        if makes {
            self.take_use_without_nonce(id, ONLY_VERSION, message.len())
                .await?;
        }
        let mac = self.token.mac_by(&vouched.wrapped, spec, message).await?;
        Ok((id, mac, authority))
    }

    /// A key that may be used, and by whose leave.
    async fn find_for_use(
        &self,
        key: &KeyReference,
        wish: Wish<'_>,
        caller: &Caller,
    ) -> Result<(KeyId, KeyRow, Authority), KeyError> {
        let (id, read) = self.find(key).await?;
        self.check_manager(id, &read.row)?;
        let authority = self.authorize(id, &wish.reference(key), caller).await?;
        self.check_enabled(id, &read.row)?;
        Ok((id, read.row, authority))
    }

    /// Lets the result of a use out once it is on the log.
    async fn settle_use<T>(
        &self,
        act: &'static str,
        operation: Option<KeyOperation>,
        key: &KeyReference,
        caller: &Caller,
        done: Result<(KeyId, T, Authority), KeyError>,
    ) -> Result<(KeyArn, T), KeyError> {
        let entry = Entry::new(Event::KeyUse, act);
        let used = done.as_ref().ok().map(|(id, ..)| *id);
        let (entry, result) = match done {
            Ok((id, result, authority)) => {
                let arn = self.home.arn(id);
                let named = KeyNamed::kms(&arn).with_version(ONLY_VERSION);
                let entry = entry.key(named).grant(authority.grant);
                (entry, Ok((arn, result)))
            }
            Err(error) => (entry.key(KeyNamed::reference(key)), Err(error)),
        };
        let settled = self.journal.settle(caller, entry, result).await?;
        if let (Some(id), Some(operation)) = (used, operation) {
            self.note_use(id, ONLY_VERSION, operation, caller);
        }
        Ok(settled)
    }

    pub(super) fn wrong_usage(&self, id: KeyId) -> KeyError {
        KeyError::WrongUsage {
            key: self.home.arn(id),
        }
    }

    fn signing_pair(
        &self,
        id: KeyId,
        row: &KeyRow,
        algorithm: SigningAlgorithm,
    ) -> Result<PairSpec, KeyError> {
        match row.spec {
            KeySpec::Pair(pair, PairUse::Sign) if algorithm.0.is_of(pair) => Ok(pair),
            _ => Err(self.wrong_usage(id)),
        }
    }

    fn encrypting_pair(
        &self,
        id: KeyId,
        row: &KeyRow,
        algorithm: &str,
    ) -> Result<(PairSpec, OaepHash), KeyError> {
        let hash = match algorithm {
            "RSAES_OAEP_SHA_1" => Some(OaepHash::Sha1),
            "RSAES_OAEP_SHA_256" => Some(OaepHash::Sha256),
            _ => None,
        };
        match (row.spec, hash) {
            (KeySpec::Pair(pair, PairUse::Decrypt), Some(hash)) => Ok((pair, hash)),
            _ => Err(self.wrong_usage(id)),
        }
    }

    /// Has the token make the value of an HMAC key or a key pair, and vouch for it.
    pub(super) async fn prepare_special(
        &self,
        id: KeyId,
        row: &KeyRow,
        batch: &mut Batch,
    ) -> Result<(), KeyError> {
        let kek = KeyLabel(token_keys::ROOT_KEK.into());
        let (wrapped, public) = match row.spec {
            KeySpec::Mac(spec) => (
                self.token.generate_wrapped_mac_key(&kek, spec).await?,
                Vec::new(),
            ),
            KeySpec::Pair(pair, _) => {
                let made = self.token.generate_wrapped_pair(&kek, pair).await?;
                (made.private, made.public)
            }
            KeySpec::Symmetric => return Ok(()),
        };
        try_out(&*self.token, row.spec, &wrapped, &public).await?;
        let mac = self.mac_of(id, row.spec, &wrapped, &public).await?;
        let version = KeyVersionRow {
            origin: Origin::Creation,
            created: row.created,
            material: Material::Wrapped { wrapped, mac },
        };
        let place = version_key(id, ONLY_VERSION);
        rows::create(batch, KEY_VERSIONS, &place, &version);
        if !public.is_empty() {
            let row = PublicKeyRow { der: public };
            rows::create(batch, PUBLIC_KEYS, id.as_bytes(), &row);
        }
        Ok(())
    }

    async fn mac_of(
        &self,
        id: KeyId,
        spec: KeySpec,
        wrapped: &WrappedKey,
        public: &[u8],
    ) -> Result<[u8; 32], KeyError> {
        let message = wrapped_mac_message(id, ONLY_VERSION, spec, wrapped, public);
        let label = KeyLabel(token_keys::MAC_KEY.into());
        Ok(self.token.mac(&label, &message).await?)
    }

    /// The value of an HMAC key or a key pair, still wrapped, and its public key, for whoever keeps them.
    pub(super) async fn vouched_parts(
        &self,
        id: KeyId,
        row: &KeyRow,
    ) -> Result<(WrappedKey, Vec<u8>), KeyError> {
        let vouched = self.vouched(id, row).await?;
        Ok((vouched.wrapped.clone(), vouched.public.clone()))
    }

    /// The value of an HMAC key or a key pair, still wrapped, and its public key.
    async fn vouched(&self, id: KeyId, row: &KeyRow) -> Result<Arc<VouchedKey>, KeyError> {
        if let Some(vouched) = self.vouched.lock().get(&id) {
            return Ok(Arc::clone(vouched));
        }
        let Material::Wrapped { wrapped, mac } = self.version_row(id, ONLY_VERSION).await?.material
        else {
            return Err(KeyError::NoSuchKey {
                reference: KeyReference::Id(id),
            });
        };
        let public = rows::read::<PublicKeyRow>(&*self.meta, PUBLIC_KEYS, id.as_bytes()).await?;
        let public = public.map(|read| read.row.der).unwrap_or_default();
        let expected = self.mac_of(id, row.spec, &wrapped, &public).await?;
        if !bool::from(expected.ct_eq(&mac)) {
            return Err(KeyError::Damaged {
                table: KEY_VERSIONS.name(),
                what: "the token does not vouch for a wrapped key",
            });
        }
        let vouched = Arc::new(VouchedKey { wrapped, public });
        self.vouched.lock().put(id, Arc::clone(&vouched));
        Ok(vouched)
    }
}

/// Has a new key do once what it is for, so that none is kept that does not work.
pub(super) async fn try_out(
    token: &dyn Token,
    spec: KeySpec,
    wrapped: &WrappedKey,
    public: &[u8],
) -> Result<(), KeyError> {
    const TRIAL: &[u8] = b"a trial";
    match spec {
        KeySpec::Symmetric => Ok(()),
        KeySpec::Mac(spec) => Ok(token.mac_by(wrapped, spec, TRIAL).await.map(drop)?),
        KeySpec::Pair(pair, PairUse::Sign) => {
            let names = spec.signing_algorithms();
            let algorithm = names.first().and_then(|name| SigningAlgorithm::named(name));
            let SigningAlgorithm(scheme) =
                algorithm.ok_or_else(|| broken("a pair signs by no algorithm"))?;
            let digest = SignedMessage::Raw(TRIAL).digest(scheme.hash())?;
            let signature = token.sign_by(wrapped, pair, scheme, digest.as_ref());
            let signature = signature.await?;
            UnparsedPublicKey::new(verification(pair, scheme), public)
                .verify_digest(&digest, &signature)
                .map_err(|_| broken("its signature does not verify"))
        }
        KeySpec::Pair(pair, PairUse::Decrypt) => {
            let hash = OaepHash::Sha256;
            let ciphertext = encrypt_outside(public, hash, TRIAL)?;
            let opened = token.decrypt_by(wrapped, pair, hash, &ciphertext);
            if *opened.await? == TRIAL {
                Ok(())
            } else {
                Err(broken("it decrypts to something else"))
            }
        }
    }
}

/// HMAC keys and key pairs are not rotated.
const ONLY_VERSION: KeyVersion = KeyVersion(1);

fn signing_wish(
    action: &'static str,
    algorithm: SigningAlgorithm,
    message: SignedMessage<'_>,
) -> Wish<'static> {
    Wish::to(action)
        .with("kms:SigningAlgorithm", algorithm.as_str())
        .with("kms:MessageType", message.kind())
}

/// Encrypts with RSAES-OAEP under a public key.
fn encrypt_outside(public: &[u8], hash: OaepHash, plaintext: &[u8]) -> Result<Vec<u8>, KeyError> {
    let refused = || broken("it gave a public key that is none");
    let public = PublicEncryptingKey::from_der(public).map_err(|_| refused())?;
    let public = OaepPublicEncryptingKey::new(public).map_err(|_| refused())?;
    let oaep = match hash {
        OaepHash::Sha1 => &OAEP_SHA1_MGF1SHA1,
        OaepHash::Sha256 => &OAEP_SHA256_MGF1SHA256,
    };
    if plaintext.is_empty() || plaintext.len() > public.max_plaintext_size(oaep) {
        return Err(KeyError::InvalidRequest {
            rule: "the plaintext is empty, or longer than the key and algorithm take",
        });
    }
    let mut ciphertext = vec![0; public.ciphertext_size()];
    public
        .encrypt(oaep, plaintext, &mut ciphertext, None)
        .map_err(|_| refused())?;
    Ok(ciphertext)
}

/// A token that answers what cannot be is not well.
fn broken(reason: &str) -> KeyError {
    KeyError::TokenUnavailable(TokenError::Unavailable {
        reason: reason.to_owned(),
    })
}

fn check_message(message: &[u8]) -> Result<(), KeyError> {
    if (1..=Kms::PLAINTEXT_LEN_BYTES_MAX).contains(&message.len()) {
        Ok(())
    } else {
        Err(KeyError::InvalidRequest {
            rule: "a message has 1 to 4096 bytes",
        })
    }
}

fn verification(pair: PairSpec, scheme: SignatureScheme) -> &'static dyn VerificationAlgorithm {
    match (scheme, pair) {
        (SignatureScheme::Pkcs1V15(SignatureHash::Sha256), _) => &RSA_PKCS1_2048_8192_SHA256,
        (SignatureScheme::Pkcs1V15(SignatureHash::Sha384), _) => &RSA_PKCS1_2048_8192_SHA384,
        (SignatureScheme::Pkcs1V15(SignatureHash::Sha512), _) => &RSA_PKCS1_2048_8192_SHA512,
        (SignatureScheme::Pss(SignatureHash::Sha256), _) => &RSA_PSS_2048_8192_SHA256,
        (SignatureScheme::Pss(SignatureHash::Sha384), _) => &RSA_PSS_2048_8192_SHA384,
        (SignatureScheme::Pss(SignatureHash::Sha512), _) => &RSA_PSS_2048_8192_SHA512,
        (SignatureScheme::Ecdsa(_), PairSpec::Secp256k1) => &ECDSA_P256K1_SHA256_ASN1,
        (SignatureScheme::Ecdsa(SignatureHash::Sha256), _) => &ECDSA_P256_SHA256_ASN1,
        (SignatureScheme::Ecdsa(SignatureHash::Sha384), _) => &ECDSA_P384_SHA384_ASN1,
        (SignatureScheme::Ecdsa(SignatureHash::Sha512), _) => &ECDSA_P521_SHA512_ASN1,
    }
}
