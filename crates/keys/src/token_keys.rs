//! The keys that live on the token for good.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use strongroom_audit::{CheckpointSigner, SignError};
use strongroom_pkcs11::{KeyLabel, Token, TokenError, TokenKeys};

use crate::error::KeyError;

/// Wraps the versions of KMS keys.
pub(crate) const ROOT_KEK: &str = "strongroom-root-kek-1";
/// Vouches for which key and version a wrapped key is.
pub(crate) const MAC_KEY: &str = "strongroom-mac-1";
/// Signs the checkpoints of the audit log.
pub(crate) const AUDIT_KEY: &str = "strongroom-audit-1";

/// The pair that keys are wrapped for which a token is to be able to take over.
const ESCROW_KEY: &str = "strongroom-escrow-1";
/// Wraps keys that are taken over for a drill.
const ESCROW_KEK: &str = "strongroom-escrow-kek-1";

/// The escrow key, and the key-encryption key beside it.
pub(crate) fn escrow_keys() -> (KeyLabel, KeyLabel) {
    (KeyLabel(ESCROW_KEY.into()), KeyLabel(ESCROW_KEK.into()))
}

/// Makes the escrow key of a token, unless it is there, and gives its public key:
/// `SubjectPublicKeyInfo` (RFC 5280) in DER.
///
/// # Errors
/// [`KeyError::TokenUnavailable`].
pub async fn ensure_escrow_key(token: &dyn Token) -> Result<Vec<u8>, KeyError> {
    let (escrow, kek) = escrow_keys();
    if !token.has_key(&kek).await? {
        unless_there(token.create_kek(&kek).await)?;
    }
    if !token.has_key(&escrow).await? {
        unless_there(token.create_escrow_key(&escrow).await)?;
    }
    Ok(token.escrow_public_key(&escrow).await?)
}
/// Says that there is a rule of dual control; it is used for nothing else.
pub(crate) const QUORUM_MARK: &str = "strongroom-quorum-1";

/// The keys of the service that are on its token for good.
#[must_use]
pub fn token_keys() -> TokenKeys {
    let label = |text: &str| KeyLabel(text.into());
    TokenKeys {
        kek: label(ROOT_KEK),
        mac: label(MAC_KEY),
        signing: label(AUDIT_KEY),
    }
}

/// Makes those of the service's own keys that are not on the token yet: root KEK, MAC key, audit
/// signing key. The audit log needs its signing key before it exists, so this comes first.
///
/// # Errors
/// [`KeyError::TokenUnavailable`].
pub async fn ensure_token_keys(token: &dyn Token) -> Result<(), KeyError> {
    let TokenKeys { kek, mac, signing } = token_keys();
    if !token.has_key(&kek).await? {
        unless_there(token.create_kek(&kek).await)?;
    }
    if !token.has_key(&mac).await? {
        unless_there(token.create_mac_key(&mac).await)?;
    }
    if !token.has_key(&signing).await? {
        unless_there(token.create_signing_key(&signing).await.map(|_| ()))?;
    }
    Ok(())
}

/// Another daemon on the same token may have been faster.
fn unless_there(made: Result<(), TokenError>) -> Result<(), TokenError> {
    match made {
        Err(TokenError::KeyExists { .. }) => Ok(()),
        other => other,
    }
}

/// Signs the checkpoints of the audit log with the token's signing key.
pub struct TokenSigner {
    token: Arc<dyn Token>,
    label: KeyLabel,
    public_key: [u8; 32],
}

impl TokenSigner {
    /// The signer on `token`, on which [`ensure_token_keys`] has been.
    ///
    /// # Errors
    /// [`KeyError::TokenUnavailable`].
    pub async fn open(token: Arc<dyn Token>) -> Result<Self, KeyError> {
        let label = KeyLabel(AUDIT_KEY.into());
        let public_key = token.public_key(&label).await?;
        Ok(Self {
            token,
            label,
            public_key,
        })
    }
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSigner({})", self.label)
    }
}

#[async_trait]
impl CheckpointSigner for TokenSigner {
    fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        self.token
            .sign(&self.label, message)
            .await
            .map_err(|error| SignError {
                reason: error.to_string(),
            })
    }
}
