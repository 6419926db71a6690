//! The KMS as the object half sees it.

use std::sync::Weak;

use async_trait::async_trait;
use strongroom_seal::{DataKey, scrub_stack};

use super::access::{Authority, Wish};
use super::{CiphertextBlob, KeyOperation, Kms};
use crate::arn::{KeyArn, KeyId, KeyReference, KeyVersion};
use crate::caller::Caller;
use crate::context::EncryptionContext;
use crate::custody::{CustodyUse, KeyCustody, SealedDataKey, StateObserver};
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::names::GrantId;
use crate::rows::Material;

#[async_trait]
impl KeyCustody for Kms {
    async fn resolve(&self, reference: &KeyReference) -> Result<KeyId, KeyError> {
        self.id_of(reference).await
    }

    fn arn(&self, key: KeyId) -> KeyArn {
        self.home.arn(key)
    }

    async fn authorize(
        &self,
        key: KeyId,
        custody_use: CustodyUse,
        context: &EncryptionContext,
        caller: &Caller,
    ) -> Result<Option<GrantId>, KeyError> {
        self.authorize_use(key, custody_use, context, caller)
            .await
            .map(|authority| authority.grant)
    }

    async fn seal(
        &self,
        key: KeyId,
        context: &EncryptionContext,
        data_key: &DataKey,
        caller: &Caller,
    ) -> Result<SealedDataKey, KeyError> {
        let arn = self.home.arn(key);
        let mut grant = None;
        let result = async {
            // A key that is not there is told before it is denied.
            self.find(&KeyReference::Id(key)).await?;
            let authority = self
                .authorize_use(key, CustodyUse::Seal, context, caller)
                .await?;
            grant = authority.grant;
            self.seal_under(key, context, data_key.expose()).await
        }
        .await;
        let named = match &result {
            Ok(blob) => KeyNamed::kms(&arn).with_version(blob.version),
            Err(_) => KeyNamed::kms(&arn),
        };
        let entry = Entry::new(Event::KeyUse, "seal-data-key")
            .key(named)
            .grant(grant)
            .context(context);
        let result = result.map(|blob| SealedDataKey { blob, key: arn });
        let sealed = self.journal.settle(caller, entry, result).await?;
        self.note_use_of(&sealed.blob, KeyOperation::GenerateDataKey, caller);
        Ok(sealed)
    }

    async fn open(
        &self,
        blob: &CiphertextBlob,
        context: &EncryptionContext,
        caller: &Caller,
    ) -> Result<DataKey, KeyError> {
        let mut grant = None;
        let opened = async {
            self.find(&KeyReference::Id(blob.key())).await?;
            let authority = self
                .authorize_use(blob.key(), CustodyUse::Open, context, caller)
                .await?;
            grant = authority.grant;
            self.open_blob(blob, context).await
        }
        .await;
        let result = opened.and_then(|opened| {
            let key = opened
                .first_chunk()
                .filter(|_| opened.len() == DataKey::LEN_BYTES)
                .map(DataKey::from_bytes);
            scrub_stack();
            key.ok_or(KeyError::NotAuthentic)
        });
        let entry = Entry::new(Event::KeyUse, "open-data-key")
            .key(self.named_source(Some(blob)))
            .grant(grant)
            .context(context);
        let opened = self.journal.settle(caller, entry, result).await?;
        self.note_use_of(blob, KeyOperation::Decrypt, caller);
        Ok(opened)
    }

    async fn root_of(&self, key: KeyId, version: KeyVersion) -> Result<String, KeyError> {
        let row = self.version_row(key, version).await?;
        match row.material {
            // The token vouches for the label of what it wraps; of what is gone nothing depends on it.
            Material::Absent { kek, .. } | Material::Destroyed { kek, .. } => Ok(kek.to_string()),
            Material::Wrapped { .. } => {
                Ok(self.wrapped_version(key, version).await?.kek.to_string())
            }
        }
    }

    async fn compromised(&self) -> Result<Vec<(KeyId, KeyVersion)>, KeyError> {
        self.compromised_versions().await
    }

    fn heard(&self) -> Result<(), KeyError> {
        // Observers are told before a change is acknowledged.
        Ok(())
    }

    fn watch(&self, observer: Weak<dyn StateObserver>) {
        self.observers.lock().0.push(observer);
    }
}

impl Kms {
    async fn authorize_use(
        &self,
        key: KeyId,
        custody_use: CustodyUse,
        context: &EncryptionContext,
        caller: &Caller,
    ) -> Result<Authority, KeyError> {
        let action = match custody_use {
            CustodyUse::Seal => "GenerateDataKey",
            CustodyUse::Open => "Decrypt",
        };
        let wish = Wish::to(action)
            .context(context)
            .with("kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT")
            .through_store();
        self.authorize(key, &wish, caller).await
    }
}
