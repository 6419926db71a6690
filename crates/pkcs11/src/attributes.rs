//! What a token says of one of its own keys.

use serde::{Deserialize, Serialize};

use crate::hsm::HsmToken;
use crate::limits;
use crate::token::{KeyLabel, TokenError, TokenFunction, TokenKeys};
use crate::wire::{Answer, KeyKind, Request};

/// The attributes of a key on the token, as the token tells them (PKCS#11 v3.1, sections 4.7 and
/// 4.8 to 4.10). `None` is what it does not tell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyAttributes {
    /// `CKA_LABEL`.
    pub label: String,
    /// What the key is: AES, HMAC, Ed25519 or RSA.
    pub kind: String,
    /// `CKA_ID`, in hexadecimal.
    pub id: String,
    /// `CKA_TOKEN`: it stays on the token.
    pub token: Option<bool>,
    /// `CKA_PRIVATE`: nobody sees it without the PIN.
    pub private: Option<bool>,
    /// `CKA_SENSITIVE`: its value is not given out.
    pub sensitive: Option<bool>,
    /// `CKA_ALWAYS_SENSITIVE`: it never was.
    pub always_sensitive: Option<bool>,
    /// `CKA_EXTRACTABLE`: it can be wrapped out.
    pub extractable: Option<bool>,
    /// `CKA_NEVER_EXTRACTABLE`: it never could be.
    pub never_extractable: Option<bool>,
    /// `CKA_LOCAL`: it was made on the token.
    pub local: Option<bool>,
    /// `CKA_MODIFIABLE`: its attributes can be changed.
    pub modifiable: Option<bool>,
}

impl KeyAttributes {
    /// Whether the token says that the key was made on it, is there for good, and can neither be
    /// read nor wrapped out now or ever before.
    #[must_use]
    pub fn never_left(&self) -> bool {
        self.token == Some(true)
            && self.private == Some(true)
            && self.sensitive == Some(true)
            && self.always_sensitive == Some(true)
            && self.extractable == Some(false)
            && self.never_extractable == Some(true)
            && self.local == Some(true)
    }
}

impl HsmToken {
    /// Reads back the attributes of the keys of a key service.
    ///
    /// # Errors
    /// [`TokenError::NoSuchKey`]: one of them is not there. [`TokenError`].
    pub async fn key_attributes(&self, keys: &TokenKeys) -> Result<Vec<KeyAttributes>, TokenError> {
        let mut all = Vec::new();
        for (kind, label) in [
            (KeyKind::Kek, &keys.kek),
            (KeyKind::Mac, &keys.mac),
            (KeyKind::Signing, &keys.signing),
        ] {
            all.push(self.attributes_of(kind, label).await?);
        }
        Ok(all)
    }

    async fn attributes_of(
        &self,
        kind: KeyKind,
        label: &KeyLabel,
    ) -> Result<KeyAttributes, TokenError> {
        limits::check_label(&label.0)?;
        let request = Request::Describe {
            kind,
            label: &label.0,
        };
        self.ask(TokenFunction::Describe, request, |answer| match answer {
            Answer::Attributes(attributes) => Some(attributes),
            _ => None,
        })
        .await
    }
}
