//! A token in software, for tests of what stands above.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap, KeyWrapPadded as _};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use parking_lot::Mutex;
use strongroom_environment::{Entropy, SystemEntropy};
use zeroize::Zeroizing;

use crate::limits;
use crate::memory_pairs;
use crate::spec::{
    CarriedKind, ImportPath, ImportWrapping, MacSpec, OaepHash, PairSpec, SignatureScheme,
};
use crate::token::{
    ExportedKeys, ImportedKey, KeyLabel, SealedBytes, Token, TokenError, TokenIdentity, WrappedKey,
    WrappedPair,
};

/// 32 bytes of key on the heap, wiped when dropped.
type KeyBytes = Box<Zeroizing<[u8; 32]>>;

/// The private key of a pair in PKCS#8, and the public key.
type EscrowPair = (Zeroizing<Vec<u8>>, Vec<u8>);

enum MemoryKey {
    Kek(KeyBytes),
    Mac(KeyBytes),
    Signing(KeyBytes),
    Escrow(Arc<EscrowPair>),
}

/// A [`Token`] that keeps its keys in this process and forgets them with it.
///
/// It gives none of the protection of a hardware token and is for tests only. Clones share one
/// set of keys.
#[derive(Clone)]
pub struct MemoryToken {
    keys: Arc<Mutex<HashMap<KeyLabel, MemoryKey>>>,
    entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for MemoryToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryToken")
    }
}

impl Default for MemoryToken {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryToken {
    /// A token with no keys on it.
    #[must_use]
    pub fn new() -> Self {
        Self::with_entropy(Arc::new(SystemEntropy))
    }

    /// A token with no keys on it that draws its keys and nonces from `entropy`.
    #[must_use]
    pub fn with_entropy(entropy: Arc<dyn Entropy>) -> Self {
        Self {
            keys: Arc::default(),
            entropy,
        }
    }

    fn fresh_key(&self) -> KeyBytes {
        let mut key = Box::new(Zeroizing::new([0; 32]));
        self.entropy.fill(key.as_mut_slice());
        key
    }

    fn create(&self, label: &KeyLabel, key: MemoryKey) -> Result<(), TokenError> {
        limits::check_label(&label.0)?;
        let mut keys = self.keys.lock();
        if keys.contains_key(label) {
            return Err(TokenError::KeyExists {
                label: label.clone(),
            });
        }
        keys.insert(label.clone(), key);
        Ok(())
    }

    /// Runs `use_key` on what `select` finds in the key labelled `label`.
    fn with_key<T>(
        &self,
        label: &KeyLabel,
        select: fn(&MemoryKey) -> Option<&KeyBytes>,
        use_key: impl FnOnce(&KeyBytes) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        limits::check_label(&label.0)?;
        let keys = self.keys.lock();
        let key = keys
            .get(label)
            .and_then(select)
            .ok_or_else(|| TokenError::NoSuchKey {
                label: label.clone(),
            })?;
        use_key(key)
    }

    /// An HMAC key or a private key, padded with zeros and wrapped.
    fn wrapped_private(&self, label: &KeyLabel, value: &[u8]) -> Result<WrappedKey, TokenError> {
        let mut padded = Zeroizing::new(value.to_vec());
        padded.resize(value.len().next_multiple_of(8), 0);
        let bytes = self.with_key(label, kek, |kek| {
            let mut bytes = vec![0; padded.len() + 8];
            wrapping(kek)?
                .wrap(&padded, &mut bytes)
                .map_err(|_| broken())?;
            Ok(bytes)
        })?;
        Ok(WrappedKey {
            kek: label.clone(),
            bytes,
        })
    }

    /// What was wrapped, with the zeros after it.
    fn unwrapped_private(&self, key: &WrappedKey) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        self.with_key(&key.kek, kek, |kek| {
            let mut value = Zeroizing::new(vec![0; key.bytes.len() - 8]);
            wrapping(kek)?
                .unwrap(&key.bytes, &mut value)
                .map_err(|_| TokenError::NotAuthentic)?;
            Ok(value)
        })
    }

    fn escrow(&self, label: &KeyLabel) -> Result<Arc<EscrowPair>, TokenError> {
        limits::check_label(&label.0)?;
        match self.keys.lock().get(label) {
            Some(MemoryKey::Escrow(pair)) => Ok(Arc::clone(pair)),
            _ => Err(TokenError::NoSuchKey {
                label: label.clone(),
            }),
        }
    }

    fn unwrapped(&self, key: &WrappedKey) -> Result<LessSafeKey, TokenError> {
        limits::check_wrapped(key)?;
        self.with_key(&key.kek, kek, |kek| {
            let mut value = Zeroizing::new([0; 32]);
            wrapping(kek)?
                .unwrap(&key.bytes, value.as_mut_slice())
                .map_err(|_| TokenError::NotAuthentic)?;
            UnboundKey::new(&AES_256_GCM, value.as_slice())
                .map(LessSafeKey::new)
                .map_err(|_| broken())
        })
    }
}

fn kek(key: &MemoryKey) -> Option<&KeyBytes> {
    match key {
        MemoryKey::Kek(bytes) => Some(bytes),
        _ => None,
    }
}

fn mac_key(key: &MemoryKey) -> Option<&KeyBytes> {
    match key {
        MemoryKey::Mac(bytes) => Some(bytes),
        _ => None,
    }
}

fn signing_key(key: &MemoryKey) -> Option<&KeyBytes> {
    match key {
        MemoryKey::Signing(bytes) => Some(bytes),
        _ => None,
    }
}

pub(crate) fn broken() -> TokenError {
    TokenError::Unavailable {
        reason: "the cryptographic library refused a sound request".into(),
    }
}

fn wrapping(kek: &KeyBytes) -> Result<AesKek, TokenError> {
    AesKek::new(&AES_256, kek.as_slice()).map_err(|_| broken())
}

fn key_pair(seed: &KeyBytes) -> Result<Ed25519KeyPair, TokenError> {
    Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| broken())
}

fn public_key_of(seed: &KeyBytes) -> Result<[u8; 32], TokenError> {
    key_pair(seed)?
        .public_key()
        .as_ref()
        .try_into()
        .map_err(|_| broken())
}

#[async_trait]
impl Token for MemoryToken {
    fn identity(&self) -> TokenIdentity {
        TokenIdentity {
            label: "memory".into(),
            serial: "0".into(),
            manufacturer: "Strongroom".into(),
            model: "in memory, for tests".into(),
            profile: "memory".into(),
        }
    }

    async fn health(&self) -> Result<(), TokenError> {
        Ok(())
    }

    async fn create_kek(&self, label: &KeyLabel) -> Result<(), TokenError> {
        self.create(label, MemoryKey::Kek(self.fresh_key()))
    }

    async fn create_mac_key(&self, label: &KeyLabel) -> Result<(), TokenError> {
        self.create(label, MemoryKey::Mac(self.fresh_key()))
    }

    async fn create_signing_key(&self, label: &KeyLabel) -> Result<[u8; 32], TokenError> {
        let seed = self.fresh_key();
        let public_key = public_key_of(&seed)?;
        self.create(label, MemoryKey::Signing(seed))?;
        Ok(public_key)
    }

    async fn has_key(&self, label: &KeyLabel) -> Result<bool, TokenError> {
        limits::check_label(&label.0)?;
        Ok(self.keys.lock().contains_key(label))
    }

    async fn public_key(&self, label: &KeyLabel) -> Result<[u8; 32], TokenError> {
        self.with_key(label, signing_key, public_key_of)
    }

    async fn generate_wrapped(&self, label: &KeyLabel) -> Result<WrappedKey, TokenError> {
        let value = self.fresh_key();
        let bytes = self.with_key(label, kek, |kek| {
            let mut bytes = vec![0; limits::WRAPPED_LEN_BYTES];
            wrapping(kek)?
                .wrap(value.as_slice(), &mut bytes)
                .map_err(|_| broken())?;
            Ok(bytes)
        })?;
        Ok(WrappedKey {
            kek: label.clone(),
            bytes,
        })
    }

    async fn seal(
        &self,
        key: &WrappedKey,
        context: &[u8],
        plaintext: &[u8],
    ) -> Result<SealedBytes, TokenError> {
        limits::check_context(context)?;
        limits::check_message(plaintext)?;
        let key = self.unwrapped(key)?;
        let mut nonce = [0; 12];
        self.entropy.fill(&mut nonce);
        // The tag's room is there from the beginning: growing would leave plaintext behind.
        let mut bytes = Vec::with_capacity(plaintext.len() + limits::TAG_LEN_BYTES);
        bytes.extend_from_slice(plaintext);
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context),
            &mut bytes,
        )
        .map_err(|_| broken())?;
        Ok(SealedBytes { nonce, bytes })
    }

    async fn open(
        &self,
        key: &WrappedKey,
        context: &[u8],
        sealed: &SealedBytes,
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        limits::check_context(context)?;
        limits::check_sealed(sealed)?;
        let key = self.unwrapped(key)?;
        let mut bytes = Zeroizing::new(sealed.bytes.clone());
        let len_bytes = key
            .open_in_place(
                Nonce::assume_unique_for_key(sealed.nonce),
                Aad::from(context),
                &mut bytes,
            )
            .map_err(|_| TokenError::NotAuthentic)?
            .len();
        bytes.truncate(len_bytes);
        Ok(bytes)
    }

    async fn mac(&self, label: &KeyLabel, message: &[u8]) -> Result<[u8; 32], TokenError> {
        limits::check_message(message)?;
        self.with_key(label, mac_key, |key| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_slice());
            hmac::sign(&key, message)
                .as_ref()
                .try_into()
                .map_err(|_| broken())
        })
    }

    async fn sign(&self, label: &KeyLabel, message: &[u8]) -> Result<[u8; 64], TokenError> {
        limits::check_message(message)?;
        self.with_key(label, signing_key, |seed| {
            key_pair(seed)?
                .sign(message)
                .as_ref()
                .try_into()
                .map_err(|_| broken())
        })
    }

    async fn generate_wrapped_mac_key(
        &self,
        label: &KeyLabel,
        spec: MacSpec,
    ) -> Result<WrappedKey, TokenError> {
        let mut value = Zeroizing::new(vec![0; spec.key_len_bytes()]);
        self.entropy.fill(&mut value);
        self.wrapped_private(label, &value)
    }

    async fn mac_by(
        &self,
        key: &WrappedKey,
        spec: MacSpec,
        message: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        limits::check_message(message)?;
        limits::check_wrapped_mac_key(key, spec)?;
        let value = self.unwrapped_private(key)?;
        Ok(memory_pairs::mac(spec, &value, message))
    }

    async fn generate_wrapped_pair(
        &self,
        label: &KeyLabel,
        spec: PairSpec,
    ) -> Result<WrappedPair, TokenError> {
        limits::check_label(&label.0)?;
        let (private, public) = memory_pairs::generate(spec)?;
        Ok(WrappedPair {
            private: self.wrapped_private(label, &private)?,
            public,
        })
    }

    async fn sign_by(
        &self,
        key: &WrappedKey,
        spec: PairSpec,
        scheme: SignatureScheme,
        digest: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        limits::check_scheme(spec, scheme, digest)?;
        limits::check_wrapped_private(key)?;
        memory_pairs::sign(spec, &self.unwrapped_private(key)?, scheme, digest)
    }

    async fn decrypt_by(
        &self,
        key: &WrappedKey,
        spec: PairSpec,
        hash: OaepHash,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        limits::check_rsa(spec, ciphertext)?;
        limits::check_wrapped_private(key)?;
        memory_pairs::decrypt(&self.unwrapped_private(key)?, hash, ciphertext)
    }

    async fn import_wrapped(
        &self,
        pair: &WrappedKey,
        spec: PairSpec,
        wrapping: ImportWrapping,
        material: &[u8],
    ) -> Result<ImportedKey, TokenError> {
        let (for_pair, by_transport) = limits::check_material(spec, wrapping, material)?;
        limits::check_wrapped_private(pair)?;
        let private = self.unwrapped_private(pair)?;
        let opened = memory_pairs::decrypt(&private, wrapping.hash(), for_pair)?;
        let value = match wrapping {
            ImportWrapping::Rsaes(_) => opened,
            ImportWrapping::RsaAes(_) => {
                let transport =
                    AesKek::new(&AES_256, &opened).map_err(|_| TokenError::NotAuthentic)?;
                let mut value = Zeroizing::new(vec![0; by_transport.len()]);
                let len_bytes = transport
                    .unwrap_with_padding(by_transport, &mut value)
                    .map_err(|_| TokenError::NotAuthentic)?
                    .len();
                value.truncate(len_bytes);
                value
            }
        };
        if value.len() != 32 {
            return Err(TokenError::WrongLength);
        }
        Ok(ImportedKey {
            key: self.wrapped_private(&pair.kek, &value)?,
            path: ImportPath::Token,
        })
    }

    async fn create_escrow_key(&self, label: &KeyLabel) -> Result<(), TokenError> {
        let pair = memory_pairs::generate(PairSpec::Rsa3072)?;
        self.create(label, MemoryKey::Escrow(Arc::new(pair)))
    }

    async fn escrow_public_key(&self, label: &KeyLabel) -> Result<Vec<u8>, TokenError> {
        Ok(self.escrow(label)?.1.clone())
    }

    async fn export_wrapped(
        &self,
        kek: &KeyLabel,
        keys: &[(CarriedKind, &WrappedKey)],
        recipient: &[u8],
    ) -> Result<ExportedKeys, TokenError> {
        limits::check_label(&kek.0)?;
        limits::check_recipient(recipient)?;
        limits::check_carried(keys.iter().map(|(kind, key)| (*kind, &key.bytes[..])))?;
        let transport = self.fresh_key();
        let keys = keys
            .iter()
            .map(|(kind, key)| {
                let key = WrappedKey {
                    kek: kek.clone(),
                    bytes: key.bytes.clone(),
                };
                let value = self.unwrapped_private(&key)?;
                let mut bytes = vec![0; key.bytes.len()];
                wrapping(&transport)?
                    .wrap(&value, &mut bytes)
                    .map_err(|_| broken())?;
                Ok((*kind, bytes))
            })
            .collect::<Result<_, TokenError>>()?;
        Ok(ExportedKeys {
            transport: memory_pairs::encrypt_sha1(recipient, transport.as_slice())?,
            keys,
        })
    }

    async fn take_over(
        &self,
        escrow: &KeyLabel,
        exported: &ExportedKeys,
        kek: &KeyLabel,
    ) -> Result<Vec<WrappedKey>, TokenError> {
        limits::check_label(&kek.0)?;
        limits::check_transport(&exported.transport)?;
        limits::check_carried(exported.keys.iter().map(|(kind, key)| (*kind, &key[..])))?;
        let private = self.escrow(escrow)?;
        let opened = memory_pairs::decrypt(&private.0, OaepHash::Sha1, &exported.transport)?;
        exported
            .keys
            .iter()
            .map(|(_, bytes)| {
                let transport =
                    AesKek::new(&AES_256, &opened).map_err(|_| TokenError::NotAuthentic)?;
                let mut value = Zeroizing::new(vec![0; bytes.len() - 8]);
                transport
                    .unwrap(bytes, &mut value)
                    .map_err(|_| TokenError::NotAuthentic)?;
                self.wrapped_private(kek, &value)
            })
            .collect()
    }

    async fn random(&self, len_bytes: usize) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        limits::check_random(len_bytes)?;
        let mut bytes = Zeroizing::new(vec![0; len_bytes]);
        self.entropy.fill(&mut bytes);
        Ok(bytes)
    }
}
