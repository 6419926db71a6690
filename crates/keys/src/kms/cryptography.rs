//! Encrypting and decrypting under KMS keys.

use strongroom_pkcs11::SealedBytes;
use strongroom_seal::scrub_stack;
use zeroize::Zeroizing;

use super::access::{Authority, Wish, action_of};
use super::{CiphertextBlob, KeyOperation, KeySpec, Kms};
use crate::arn::{KeyArn, KeyId, KeyReference, KeyVersion};
use crate::caller::Caller;
use crate::context::EncryptionContext;
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::names::GrantId;
use crate::rows::KEY_VERSIONS;

/// What [`Kms::encrypt`] gives.
#[derive(Clone, Debug)]
pub struct Encrypted {
    /// The ciphertext.
    pub blob: CiphertextBlob,
    /// The key it is under.
    pub key: KeyArn,
}

/// What [`Kms::decrypt`] gives.
#[derive(Clone)]
pub struct Decrypted {
    /// The plaintext.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// The key it was under.
    pub key: KeyArn,
}

impl std::fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Decrypted under {}", self.key)
    }
}

/// What [`Kms::generate_data_key`] gives.
#[derive(Clone)]
pub struct GeneratedDataKey {
    /// The data key.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// The same, encrypted.
    pub blob: CiphertextBlob,
    /// The key it is encrypted under.
    pub key: KeyArn,
}

impl std::fmt::Debug for GeneratedDataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GeneratedDataKey under {}", self.key)
    }
}

/// What [`Kms::re_encrypt`] gives.
#[derive(Clone, Debug)]
pub struct Reencrypted {
    /// The new ciphertext.
    pub blob: CiphertextBlob,
    /// The key it is under.
    pub key: KeyArn,
    /// The key it was under before.
    pub source_key: KeyArn,
}

impl Kms {
    /// The longest plaintext, in bytes.
    pub const PLAINTEXT_LEN_BYTES_MAX: usize = 4_096;
    /// The longest data key and the most random bytes, in bytes.
    pub const RANDOM_LEN_BYTES_MAX: usize = 1_024;

    /// Encrypts 1 to 4,096 bytes under the current version of a key, bound to `context`.
    ///
    /// # Errors
    /// [`KeyError::InvalidRequest`], [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`],
    /// [`KeyError::Disabled`], [`KeyError::PendingDeletion`], [`KeyError::ManagedByService`],
    /// [`KeyError::TokenUnavailable`], [`KeyError::AuditUnavailable`], [`KeyError::Metadata`],
    /// [`KeyError::Damaged`].
    pub async fn encrypt(
        &self,
        key: &KeyReference,
        context: &EncryptionContext,
        plaintext: &[u8],
        caller: &Caller,
    ) -> Result<Encrypted, KeyError> {
        let result = self
            .encrypt_for_caller(Wish::to("Encrypt"), (key, context), plaintext, caller)
            .await;
        let named = named(
            key,
            result
                .as_ref()
                .ok()
                .map(|(done, _)| (&done.blob, &done.key)),
        );
        let (result, grant) = split(result);
        let entry = Entry::new(Event::KeyUse, "encrypt")
            .key(named)
            .grant(grant)
            .context(context);
        let done = self.journal.settle(caller, entry, result).await?;
        self.note_use_of(&done.blob, KeyOperation::Encrypt, caller);
        Ok(done)
    }

    /// Decrypts what [`Kms::encrypt`] or [`Kms::generate_data_key`] encrypted with the same
    /// context. With `expected`, only under that key.
    ///
    /// # Errors
    /// [`KeyError::NotAuthentic`], [`KeyError::IncorrectKey`], and as for [`Kms::encrypt`].
    pub async fn decrypt(
        &self,
        blob: &[u8],
        context: &EncryptionContext,
        expected: Option<&KeyReference>,
        caller: &Caller,
    ) -> Result<Decrypted, KeyError> {
        let read = CiphertextBlob::from_bytes(blob);
        let entry = Entry::new(Event::KeyUse, "decrypt")
            .key(self.named_source(read.as_ref().ok()))
            .context(context);
        let result = match &read {
            Ok(blob) => {
                let wish = (Wish::to("Decrypt"), context);
                self.decrypt_for_caller(blob, wish, expected, caller).await
            }
            Err(_) => Err(KeyError::NotAuthentic),
        };
        let (result, grant) = split(result);
        let done = self
            .journal
            .settle(caller, entry.grant(grant), result)
            .await?;
        if let Ok(blob) = &read {
            self.note_use_of(blob, KeyOperation::Decrypt, caller);
        }
        Ok(done)
    }

    /// Decrypts a ciphertext and encrypts it again, under another key or with another context.
    ///
    /// # Errors
    /// As for [`Kms::decrypt`] and [`Kms::encrypt`].
    pub async fn re_encrypt(
        &self,
        blob: &[u8],
        source_context: &EncryptionContext,
        expected: Option<&KeyReference>,
        key: &KeyReference,
        context: &EncryptionContext,
        caller: &Caller,
    ) -> Result<Reencrypted, KeyError> {
        let read = CiphertextBlob::from_bytes(blob);
        let source = self.named_source(read.as_ref().ok());
        let mut source_grant = None;
        let result = async {
            let blob = read.as_ref().map_err(|_| KeyError::NotAuthentic)?;
            let is_same = self.id_of(key).await? == blob.key;
            let wish = Wish::to("ReEncryptFrom").with("kms:ReEncryptOnSameKey", is_same);
            let (opened, authority) = self
                .decrypt_for_caller(blob, (wish, source_context), expected, caller)
                .await?;
            source_grant = authority.grant;
            let wish = Wish::to("ReEncryptTo").with("kms:ReEncryptOnSameKey", is_same);
            let (sealed, authority) = self
                .encrypt_for_caller(wish, (key, context), &opened.plaintext, caller)
                .await?;
            let done = Reencrypted {
                blob: sealed.blob,
                key: sealed.key,
                source_key: opened.key,
            };
            Ok((done, authority))
        }
        .await;
        let named = named(
            key,
            result
                .as_ref()
                .ok()
                .map(|(done, _): &(Reencrypted, _)| (&done.blob, &done.key)),
        );
        let (result, grant) = split(result);
        let entry = Entry::new(Event::KeyUse, "re-encrypt")
            .key(named)
            .from(source, None)
            .grant(grant)
            .source_grant(source_grant)
            .context(context)
            .source_context(source_context);
        let done = self.journal.settle(caller, entry, result).await?;
        for blob in [read.as_ref().ok(), Some(&done.blob)].into_iter().flatten() {
            self.note_use_of(blob, KeyOperation::ReEncrypt, caller);
        }
        Ok(done)
    }

    /// Draws a data key of `len_bytes` (1 to 1,024) and gives it in clear and encrypted.
    ///
    /// # Errors
    /// As for [`Kms::encrypt`].
    pub async fn generate_data_key(
        &self,
        key: &KeyReference,
        context: &EncryptionContext,
        len_bytes: usize,
        caller: &Caller,
    ) -> Result<GeneratedDataKey, KeyError> {
        self.generate(key, context, len_bytes, "generate-data-key", caller)
            .await
    }

    /// Draws a data key of `len_bytes` (1 to 1,024) and gives it encrypted only.
    ///
    /// # Errors
    /// As for [`Kms::encrypt`].
    pub async fn generate_data_key_without_plaintext(
        &self,
        key: &KeyReference,
        context: &EncryptionContext,
        len_bytes: usize,
        caller: &Caller,
    ) -> Result<Encrypted, KeyError> {
        let act = "generate-data-key-without-plaintext";
        let made = self.generate(key, context, len_bytes, act, caller).await?;
        Ok(Encrypted {
            blob: made.blob,
            key: made.key,
        })
    }

    /// `len_bytes` (1 to 1,024) random bytes of the token.
    ///
    /// # Errors
    /// [`KeyError::InvalidRequest`], [`KeyError::TokenUnavailable`],
    /// [`KeyError::AuditUnavailable`].
    pub async fn generate_random(
        &self,
        len_bytes: usize,
        caller: &Caller,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let result = async {
            self.check_role("GenerateRandom", caller)?;
            check_random(len_bytes)?;
            Ok(self.token.random(len_bytes).await?)
        }
        .await;
        let entry = Entry::new(Event::KeyUse, "generate-random");
        self.journal.settle(caller, entry, result).await
    }

    async fn generate(
        &self,
        key: &KeyReference,
        context: &EncryptionContext,
        len_bytes: usize,
        act: &'static str,
        caller: &Caller,
    ) -> Result<GeneratedDataKey, KeyError> {
        let result = async {
            check_random(len_bytes)?;
            let mut plaintext = Zeroizing::new(vec![0; len_bytes]);
            self.entropy.fill(&mut plaintext);
            let action = action_of(act);
            let (sealed, authority) = self
                .encrypt_for_caller(Wish::to(&action), (key, context), &plaintext, caller)
                .await?;
            let made = GeneratedDataKey {
                plaintext,
                blob: sealed.blob,
                key: sealed.key,
            };
            Ok((made, authority))
        }
        .await;
        let named = named(
            key,
            result
                .as_ref()
                .ok()
                .map(|(made, _): &(GeneratedDataKey, _)| (&made.blob, &made.key)),
        );
        let (result, grant) = split(result);
        let entry = Entry::new(Event::KeyUse, act)
            .key(named)
            .grant(grant)
            .context(context);
        let made = self.journal.settle(caller, entry, result).await?;
        let operation = match act {
            "generate-data-key" => KeyOperation::GenerateDataKey,
            _ => KeyOperation::GenerateDataKeyWithoutPlaintext,
        };
        self.note_use_of(&made.blob, operation, caller);
        Ok(made)
    }

    async fn encrypt_for_caller(
        &self,
        wish: Wish<'_>,
        (key, context): (&KeyReference, &EncryptionContext),
        plaintext: &[u8],
        caller: &Caller,
    ) -> Result<(Encrypted, Authority), KeyError> {
        if !(1..=Self::PLAINTEXT_LEN_BYTES_MAX).contains(&plaintext.len()) {
            return Err(KeyError::InvalidRequest {
                rule: "a plaintext has 1 to 4096 bytes",
            });
        }
        let (id, authority) = self.sealing_key(wish, (key, context), caller).await?;
        let done = Encrypted {
            blob: self.seal_under(id, context, plaintext).await?,
            key: self.home.arn(id),
        };
        Ok((done, authority))
    }

    /// A key under which the caller may have something sealed, and by whose leave.
    pub(super) async fn sealing_key(
        &self,
        wish: Wish<'_>,
        (key, context): (&KeyReference, &EncryptionContext),
        caller: &Caller,
    ) -> Result<(KeyId, Authority), KeyError> {
        let wish = wish
            .reference(key)
            .context(context)
            .with("kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT");
        let (id, read) = self.find(key).await?;
        self.check_manager(id, &read.row)?;
        let authority = self.authorize(id, &wish, caller).await?;
        Ok((id, authority))
    }

    async fn decrypt_for_caller(
        &self,
        blob: &CiphertextBlob,
        (wish, context): (Wish<'_>, &EncryptionContext),
        expected: Option<&KeyReference>,
        caller: &Caller,
    ) -> Result<(Decrypted, Authority), KeyError> {
        let mut wish = wish
            .context(context)
            .with("kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT");
        if let Some(expected) = expected {
            wish = wish.reference(expected);
        }
        if let Some(expected) = expected {
            let expected = self.find(expected).await?.0;
            if expected != blob.key {
                return Err(KeyError::IncorrectKey {
                    key: self.home.arn(expected),
                });
            }
        }
        let (id, read) = self.find(&KeyReference::Id(blob.key)).await?;
        self.check_manager(id, &read.row)?;
        let authority = self.authorize(id, &wish, caller).await?;
        let done = Decrypted {
            plaintext: self.open_blob(blob, context).await?,
            key: self.home.arn(id),
        };
        Ok((done, authority))
    }

    pub(super) async fn seal_under(
        &self,
        id: KeyId,
        context: &EncryptionContext,
        plaintext: &[u8],
    ) -> Result<CiphertextBlob, KeyError> {
        let row = self.usable(id).await?;
        if row.spec != KeySpec::Symmetric {
            return Err(self.wrong_usage(id));
        }
        let version = row.current;
        let wrapped = match self.wrapped_version(id, version).await {
            // Nothing that the caller gave names this version: the rows do.
            Err(KeyError::NotAuthentic) => {
                return Err(KeyError::Damaged {
                    table: KEY_VERSIONS.name(),
                    what: "the version that encrypts is not there",
                });
            }
            found => found?,
        };
        self.take_use(id, version, plaintext.len()).await?;
        let bound = bound_bytes(id, version, context);
        let sealed = self.token.seal(&wrapped, &bound, plaintext).await;
        scrub_stack();
        let SealedBytes { nonce, bytes } = sealed?;
        Ok(CiphertextBlob {
            key: id,
            version,
            nonce,
            sealed: bytes,
        })
    }

    pub(super) async fn open_blob(
        &self,
        blob: &CiphertextBlob,
        context: &EncryptionContext,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let row = self.usable(blob.key).await?;
        // Nothing was ever encrypted under a version that waits for a rotation.
        if row.spec != KeySpec::Symmetric || blob.version > row.current {
            return Err(KeyError::NotAuthentic);
        }
        let wrapped = self.wrapped_version(blob.key, blob.version).await?;
        let bound = bound_bytes(blob.key, blob.version, context);
        let sealed = SealedBytes {
            nonce: blob.nonce,
            bytes: blob.sealed.clone(),
        };
        let opened = self.token.open(&wrapped, &bound, &sealed).await;
        scrub_stack();
        Ok(opened?)
    }

    /// Notes the use of the version of a key that a ciphertext is under.
    pub(super) fn note_use_of(
        &self,
        blob: &CiphertextBlob,
        operation: KeyOperation,
        caller: &Caller,
    ) {
        self.note_use(blob.key, blob.version, operation, caller);
    }

    pub(super) fn named_source(&self, blob: Option<&CiphertextBlob>) -> KeyNamed {
        blob.map_or_else(KeyNamed::default, |blob| {
            KeyNamed::kms(&self.home.arn(blob.key)).with_version(blob.version)
        })
    }
}

/// The key of an entry: as it was found, or else as the caller named it.
pub(super) fn named(key: &KeyReference, done: Option<(&CiphertextBlob, &KeyArn)>) -> KeyNamed {
    match done {
        Some((blob, arn)) => KeyNamed::kms(arn).with_version(blob.version),
        None => KeyNamed::reference(key),
    }
}

/// The result by itself, and the grant that allowed it.
fn split<T>(result: Result<(T, Authority), KeyError>) -> (Result<T, KeyError>, Option<GrantId>) {
    match result {
        Ok((done, authority)) => (Ok(done), authority.grant),
        Err(error) => (Err(error), None),
    }
}

fn check_random(len_bytes: usize) -> Result<(), KeyError> {
    if !(1..=Kms::RANDOM_LEN_BYTES_MAX).contains(&len_bytes) {
        return Err(KeyError::InvalidRequest {
            rule: "1 to 1024 bytes can be drawn",
        });
    }
    Ok(())
}

/// What the token binds a ciphertext to: key id, version and encryption context.
fn bound_bytes(id: KeyId, version: KeyVersion, context: &EncryptionContext) -> Vec<u8> {
    const DOMAIN: &[u8] = b"strongroom/kms-ciphertext/v1\0";
    [
        DOMAIN,
        id.as_bytes(),
        &version.0.to_be_bytes(),
        &context.to_canonical(),
    ]
    .concat()
}
