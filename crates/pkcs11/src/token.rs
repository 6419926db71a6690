//! The seam: what the key service may ask of a token.

use std::fmt;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::spec::{
    CarriedKind, ImportPath, ImportWrapping, MacSpec, OaepHash, PairSpec, SignatureScheme,
};

/// The label (`CKA_LABEL`) under which a key lives on the token for good.
#[derive(
    Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize,
)]
pub struct KeyLabel(pub String);

impl fmt::Display for KeyLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The keys that a key service keeps on its token for good.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct TokenKeys {
    /// The key-encryption key.
    pub kek: KeyLabel,
    /// The HMAC key.
    pub mac: KeyLabel,
    /// The Ed25519 key pair.
    pub signing: KeyLabel,
}

impl TokenKeys {
    /// All labels.
    #[must_use]
    pub fn labels(&self) -> [&KeyLabel; 3] {
        [&self.kek, &self.mac, &self.signing]
    }
}

/// A key wrapped by a key-encryption key of the token (RFC 3394): an AES-256 key, which has 40
/// bytes then, an HMAC key, or the private key of a pair (PKCS#8), padded with zeros.
///
/// Its value has never been outside the token, unless it was made elsewhere and imported.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct WrappedKey {
    /// The key-encryption key that wraps it.
    pub kek: KeyLabel,
    /// The wrapped key.
    pub bytes: Vec<u8>,
}

/// A key pair made in the token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrappedPair {
    /// The private key.
    pub private: WrappedKey,
    /// The public key: `SubjectPublicKeyInfo` (RFC 5280) in DER.
    pub public: Vec<u8>,
}

/// An AES-256 key that was made elsewhere, as the token has taken it in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportedKey {
    /// The key, wrapped as any other.
    pub key: WrappedKey,
    /// Where its value has been on its way in.
    pub path: ImportPath,
}

/// Keys on their way to another token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportedKeys {
    /// An AES-256 key that wraps the others, encrypted by RSAES-OAEP with SHA-1 (RFC 8017) for the
    /// escrow key of the token that is to have them.
    pub transport: Vec<u8>,
    /// The keys, each of its kind, wrapped as RFC 3394 says, in the order that they were given in.
    pub keys: Vec<(CarriedKind, Vec<u8>)>,
}

/// Bytes sealed with AES-256-GCM (NIST SP 800-38D) inside the token.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct SealedBytes {
    /// The 96-bit nonce.
    pub nonce: [u8; 12],
    /// The ciphertext, followed by the 16-byte tag.
    pub bytes: Vec<u8>,
}

/// Which token this is, for the audit log and for people.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct TokenIdentity {
    /// The token's label.
    pub label: String,
    /// The token's serial number.
    pub serial: String,
    /// Who made it.
    pub manufacturer: String,
    /// Which model it is.
    pub model: String,
    /// The mechanism profile in use, chosen by the conformance test.
    pub profile: String,
}

/// Why a token did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// What was to be opened does not open: it was changed, or belongs to another key or context.
    /// The token is well. Asking again gives the same answer.
    #[error("the sealed bytes or the wrapped key do not belong to this key and context")]
    NotAuthentic,
    /// A key that is to be taken in is not of the length of its kind.
    #[error("the imported key is not one of 32 bytes")]
    WrongLength,
    /// There is no such key on the token.
    #[error("there is no key labelled {label} on the token")]
    NoSuchKey {
        /// The label that was looked for.
        label: KeyLabel,
    },
    /// The token that was named is not in any slot of the module.
    #[error("the module has no token labelled {label}; is it plugged in, and initialised?")]
    NoSuchToken {
        /// The token's label that was looked for.
        label: String,
    },
    /// A token with this label is there already, so it was not initialised again.
    #[error("there is a token labelled {label} already")]
    TokenExists {
        /// The token's label.
        label: String,
    },
    /// The PKCS#11 module could not be loaded or initialised.
    #[error("the PKCS#11 module {} is of no use: {reason}", path.display())]
    Module {
        /// Where it was looked for.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is a key with this label already.
    #[error("there is a key labelled {label} on the token already")]
    KeyExists {
        /// The label.
        label: KeyLabel,
    },
    /// The PIN was refused. It is never tried again by itself, since a token locks after a few.
    #[error("the token refused the PIN ({reason}); give the right one and restart")]
    Pin {
        /// `incorrect`, `locked`, `expired` or `not set`.
        reason: &'static str,
    },
    /// The token, its module or its process cannot serve now, and recovery within the time
    /// allowed did not succeed. The operation is certainly not visible to anybody; it may be
    /// asked again.
    #[error("the token cannot serve now: {reason}")]
    Unavailable {
        /// What is known.
        reason: String,
    },
    /// The token cannot do this at all: a mechanism is missing, or its conformance test failed.
    #[error("the token cannot do this: {reason}")]
    Unsupported {
        /// What is missing.
        reason: String,
    },
    /// Two tokens that are to serve as one do not hold the same keys.
    #[error("the two tokens are no pair: {reason}")]
    NoPair {
        /// What is different.
        reason: String,
    },
    /// The caller asked for something no token would do, such as a nonce of a wrong length.
    #[error("the request to the token is not valid: {reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
}

/// A hardware security module, as the key service sees it.
///
/// # Contract
///
/// - **Keys stay inside.** No method returns the value of a key that was made by
///   [`Token::create_kek`], [`Token::create_mac_key`], [`Token::create_signing_key`] or one of the
///   `generate_wrapped` methods.
/// - **One kind.** A wrapped key does not say of which kind it is: it is for whoever keeps it to
///   know, and to have vouched for. Used as another kind it is refused or gives nothing of use.
/// - **No handles.** A key is named by its label, or carried wrapped. An engine may keep an
///   unwrapped key as a session object, bounded in number, to save the unwrapping.
/// - **Repeatable.** Every method may be called again after [`TokenError::Unavailable`]; an engine
///   does so itself a few times while it recovers, but never after [`TokenError::Pin`].
/// - **Certain.** [`TokenError::NotAuthentic`] is only answered after the token has shown with a
///   known answer that it is well.
/// - **Narrow.** Whatever exceeds a stated length, and an empty context, is [`TokenError::Invalid`]
///   without the token being asked. A key is found only by the method it was made for: to
///   [`Token::mac`] the label of a key-encryption key is [`TokenError::NoSuchKey`].
/// - **Concurrent.** All methods may be called from many tasks at once.
#[async_trait]
pub trait Token: Send + Sync + fmt::Debug + 'static {
    /// Which token this is.
    fn identity(&self) -> TokenIdentity;

    /// Whether the token serves now, by a cheap call to it.
    ///
    /// # Errors
    /// [`TokenError`]: why not.
    async fn health(&self) -> Result<(), TokenError>;

    /// Makes a key-encryption key for good: AES-256, sensitive, never extractable, for wrapping
    /// and unwrapping only.
    ///
    /// # Errors
    /// [`TokenError::KeyExists`].
    async fn create_kek(&self, label: &KeyLabel) -> Result<(), TokenError>;

    /// Makes an HMAC-SHA-256 key for good (256 bits, sensitive, never extractable).
    ///
    /// # Errors
    /// [`TokenError::KeyExists`].
    async fn create_mac_key(&self, label: &KeyLabel) -> Result<(), TokenError>;

    /// Makes an Ed25519 key pair for good (private key sensitive, never extractable) and returns
    /// the 32-byte public key.
    ///
    /// # Errors
    /// [`TokenError::KeyExists`].
    async fn create_signing_key(&self, label: &KeyLabel) -> Result<[u8; 32], TokenError>;

    /// Leaves a mark on the token for good, unless it is there: an HMAC key of the token's own
    /// that is used for nothing. [`Token::has_key`] finds it, also when every row that tells of it
    /// is gone. Where two tokens serve as one both get one.
    ///
    /// # Errors
    /// [`TokenError::Unavailable`]: a token that is to get it does not serve; it may be asked again.
    async fn mark(&self, label: &KeyLabel) -> Result<(), TokenError> {
        match self.create_mac_key(label).await {
            Err(TokenError::KeyExists { .. }) => Ok(()),
            made => made,
        }
    }

    /// Whether a key is on the token under `label`.
    ///
    /// # Errors
    /// [`TokenError`].
    async fn has_key(&self, label: &KeyLabel) -> Result<bool, TokenError>;

    /// The 32-byte Ed25519 public key of the pair under `label`.
    ///
    /// # Errors
    /// [`TokenError::NoSuchKey`].
    async fn public_key(&self, label: &KeyLabel) -> Result<[u8; 32], TokenError>;

    /// Makes an AES-256 key inside the token and gives it out wrapped by `kek`.
    ///
    /// # Errors
    /// [`TokenError::NoSuchKey`].
    async fn generate_wrapped(&self, kek: &KeyLabel) -> Result<WrappedKey, TokenError>;

    /// Seals up to 64 KiB with AES-256-GCM under a wrapped key, bound to `context` (not empty).
    ///
    /// # Errors
    /// [`TokenError::NotAuthentic`] when the wrapped key is not one of this token.
    async fn seal(
        &self,
        key: &WrappedKey,
        context: &[u8],
        plaintext: &[u8],
    ) -> Result<SealedBytes, TokenError>;

    /// Opens what [`Token::seal`] sealed under the same key and context.
    ///
    /// # Errors
    /// [`TokenError::NotAuthentic`].
    async fn open(
        &self,
        key: &WrappedKey,
        context: &[u8],
        sealed: &SealedBytes,
    ) -> Result<Zeroizing<Vec<u8>>, TokenError>;

    /// The HMAC-SHA-256 of `message` (up to 64 KiB) under the MAC key `label`.
    ///
    /// # Errors
    /// [`TokenError::NoSuchKey`].
    async fn mac(&self, label: &KeyLabel, message: &[u8]) -> Result<[u8; 32], TokenError>;

    /// The Ed25519 signature of `message` (up to 64 KiB) by the key pair `label`.
    ///
    /// # Errors
    /// [`TokenError::NoSuchKey`].
    async fn sign(&self, label: &KeyLabel, message: &[u8]) -> Result<[u8; 64], TokenError>;

    /// Makes an HMAC key inside the token and gives it out wrapped by `kek`.
    ///
    /// # Errors
    /// [`TokenError::NoSuchKey`]; [`TokenError::Unsupported`]: the token wraps no such keys.
    async fn generate_wrapped_mac_key(
        &self,
        kek: &KeyLabel,
        spec: MacSpec,
    ) -> Result<WrappedKey, TokenError>;

    /// The MAC of `message` (up to 64 KiB) under a wrapped HMAC key.
    ///
    /// # Errors
    /// [`TokenError::NotAuthentic`] when the wrapped key is not one of this token.
    async fn mac_by(
        &self,
        key: &WrappedKey,
        spec: MacSpec,
        message: &[u8],
    ) -> Result<Vec<u8>, TokenError>;

    /// Makes a key pair inside the token and gives it out, its private key wrapped by `kek`.
    ///
    /// # Errors
    /// [`TokenError::NoSuchKey`]; [`TokenError::Unsupported`]: the token makes or wraps no such
    /// pairs.
    async fn generate_wrapped_pair(
        &self,
        kek: &KeyLabel,
        spec: PairSpec,
    ) -> Result<WrappedPair, TokenError>;

    /// The signature of a digest by a wrapped private key.
    ///
    /// # Errors
    /// [`TokenError::Invalid`]: the scheme is not one of the pair, or the digest not of its length.
    /// [`TokenError::NotAuthentic`] when the wrapped key is not one of this token.
    async fn sign_by(
        &self,
        key: &WrappedKey,
        spec: PairSpec,
        scheme: SignatureScheme,
        digest: &[u8],
    ) -> Result<Vec<u8>, TokenError>;

    /// What was encrypted with RSAES-OAEP for a wrapped private key.
    ///
    /// # Errors
    /// [`TokenError::Invalid`]: it is no RSA key. [`TokenError::NotAuthentic`]: it was not
    /// encrypted for this key so, or the wrapped key is not one of this token.
    async fn decrypt_by(
        &self,
        key: &WrappedKey,
        spec: PairSpec,
        hash: OaepHash,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TokenError>;

    /// Takes in an AES-256 key that was made elsewhere and is wrapped for `pair`, an RSA pair of
    /// this token, and gives it out wrapped by the key-encryption key of the pair. The same key has
    /// the same wrapped form each time.
    ///
    /// # Errors
    /// [`TokenError::NotAuthentic`]: it was not wrapped for this pair so, or the wrapped private key
    /// is not one of this token. [`TokenError::WrongLength`]: it is no key of 32 bytes.
    /// [`TokenError::Invalid`]: it is no RSA pair.
    async fn import_wrapped(
        &self,
        pair: &WrappedKey,
        spec: PairSpec,
        wrapping: ImportWrapping,
        material: &[u8],
    ) -> Result<ImportedKey, TokenError>;

    /// Makes an escrow key for good: an RSA pair of 3,072 bits whose private key is sensitive, never
    /// extractable, and unwraps what was exported for it.
    ///
    /// # Errors
    /// [`TokenError::KeyExists`].
    async fn create_escrow_key(&self, label: &KeyLabel) -> Result<(), TokenError>;

    /// The public key of the escrow key `label`: `SubjectPublicKeyInfo` (RFC 5280) in DER.
    ///
    /// # Errors
    /// [`TokenError::NoSuchKey`].
    async fn escrow_public_key(&self, label: &KeyLabel) -> Result<Vec<u8>, TokenError>;

    /// Gives out keys that are wrapped by `kek`, up to 48 KiB of them, so that only the token with
    /// the private key to `recipient` (`SubjectPublicKeyInfo` of an RSA key of 3,072 bits) can use
    /// them. Their values are in no memory but the token's.
    ///
    /// # Errors
    /// [`TokenError::NotAuthentic`] when a wrapped key is not one of this token;
    /// [`TokenError::Invalid`]: `recipient` is no such key, or there are none or too many.
    async fn export_wrapped(
        &self,
        kek: &KeyLabel,
        keys: &[(CarriedKind, &WrappedKey)],
        recipient: &[u8],
    ) -> Result<ExportedKeys, TokenError>;

    /// Takes over keys that another token exported for the escrow key `escrow` of this one, and gives
    /// them out wrapped by `kek`. Nothing stays on the token.
    ///
    /// # Errors
    /// [`TokenError::NotAuthentic`]: they were not exported for this escrow key, or were changed.
    /// [`TokenError::NoSuchKey`]. [`TokenError::Invalid`]: there are none or too many.
    async fn take_over(
        &self,
        escrow: &KeyLabel,
        exported: &ExportedKeys,
        kek: &KeyLabel,
    ) -> Result<Vec<WrappedKey>, TokenError>;

    /// `len_bytes` (1 to 1,024) random bytes from the token's generator.
    ///
    /// # Errors
    /// [`TokenError::Invalid`] for another length.
    async fn random(&self, len_bytes: usize) -> Result<Zeroizing<Vec<u8>>, TokenError>;
}

/// The functions of a [`Token`], as metrics and injected faults name them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TokenFunction {
    /// [`Token::health`].
    Health,
    /// [`Token::create_kek`].
    CreateKek,
    /// [`Token::create_mac_key`].
    CreateMacKey,
    /// [`Token::create_signing_key`].
    CreateSigningKey,
    /// [`Token::has_key`].
    HasKey,
    /// [`Token::public_key`].
    PublicKey,
    /// The attributes of a key are read back.
    Describe,
    /// [`Token::generate_wrapped`].
    GenerateWrapped,
    /// [`Token::seal`].
    Seal,
    /// [`Token::open`].
    Open,
    /// [`Token::mac`].
    Mac,
    /// [`Token::sign`].
    Sign,
    /// [`Token::generate_wrapped_mac_key`].
    GenerateWrappedMacKey,
    /// [`Token::mac_by`].
    MacBy,
    /// [`Token::generate_wrapped_pair`].
    GenerateWrappedPair,
    /// [`Token::sign_by`].
    SignBy,
    /// [`Token::decrypt_by`].
    DecryptBy,
    /// [`Token::import_wrapped`].
    ImportWrapped,
    /// [`Token::create_escrow_key`].
    CreateEscrowKey,
    /// [`Token::escrow_public_key`].
    EscrowPublicKey,
    /// [`Token::export_wrapped`].
    ExportWrapped,
    /// [`Token::take_over`].
    TakeOver,
    /// [`Token::random`].
    Random,
    /// A step of [`make_pair`](crate::make_pair).
    Pair,
}

impl TokenFunction {
    /// The name used as the label `function` of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::CreateKek => "create_kek",
            Self::CreateMacKey => "create_mac_key",
            Self::CreateSigningKey => "create_signing_key",
            Self::HasKey => "has_key",
            Self::PublicKey => "public_key",
            Self::Describe => "describe",
            Self::GenerateWrapped => "generate_wrapped",
            Self::Seal => "seal",
            Self::Open => "open",
            Self::Mac => "mac",
            Self::Sign => "sign",
            Self::GenerateWrappedMacKey => "generate_wrapped_mac_key",
            Self::MacBy => "mac_by",
            Self::GenerateWrappedPair => "generate_wrapped_pair",
            Self::SignBy => "sign_by",
            Self::DecryptBy => "decrypt_by",
            Self::ImportWrapped => "import_wrapped",
            Self::CreateEscrowKey => "create_escrow_key",
            Self::EscrowPublicKey => "escrow_public_key",
            Self::ExportWrapped => "export_wrapped",
            Self::TakeOver => "take_over",
            Self::Random => "random",
            Self::Pair => "pair",
        }
    }
}
