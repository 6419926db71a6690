//! The KMS as the object half sees it.

use std::sync::Weak;

use async_trait::async_trait;
use strongroom_seal::{DataKey, scrub_stack};

use super::{CiphertextBlob, Kms};
use crate::arn::{KeyArn, KeyId, KeyReference, KeyVersion};
use crate::caller::Caller;
use crate::context::EncryptionContext;
use crate::custody::{KeyCustody, SealedDataKey, StateObserver};
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::rows::Material;

#[async_trait]
impl KeyCustody for Kms {
    async fn resolve(&self, reference: &KeyReference) -> Result<KeyId, KeyError> {
        self.id_of(reference).await
    }

    fn arn(&self, key: KeyId) -> KeyArn {
        self.home.arn(key)
    }

    async fn seal(
        &self,
        key: KeyId,
        context: &EncryptionContext,
        data_key: &DataKey,
        caller: &Caller,
    ) -> Result<SealedDataKey, KeyError> {
        let arn = self.home.arn(key);
        let result = self.seal_under(key, context, data_key.expose()).await;
        let named = match &result {
            Ok(blob) => KeyNamed::kms(&arn).with_version(blob.version),
            Err(_) => KeyNamed::kms(&arn),
        };
        let entry = Entry::new(Event::KeyUse, "seal-data-key")
            .key(named)
            .context(context);
        let result = result.map(|blob| SealedDataKey { blob, key: arn });
        self.journal.settle(caller, entry, result).await
    }

    async fn open(
        &self,
        blob: &CiphertextBlob,
        context: &EncryptionContext,
        caller: &Caller,
    ) -> Result<DataKey, KeyError> {
        let result = self.open_blob(blob, context).await.and_then(|opened| {
            let key = opened
                .first_chunk()
                .filter(|_| opened.len() == DataKey::LEN_BYTES)
                .map(DataKey::from_bytes);
            scrub_stack();
            key.ok_or(KeyError::NotAuthentic)
        });
        let entry = Entry::new(Event::KeyUse, "open-data-key")
            .key(self.named_source(Some(blob)))
            .context(context);
        self.journal.settle(caller, entry, result).await
    }

    async fn root_of(&self, key: KeyId, version: KeyVersion) -> Result<String, KeyError> {
        let row = self.version_row(key, version).await?;
        match row.material {
            // The token vouches for the label of what it wraps; of what is gone nothing depends on it.
            Material::Destroyed { kek, .. } => Ok(kek.to_string()),
            Material::Wrapped { .. } => {
                Ok(self.wrapped_version(key, version).await?.kek.to_string())
            }
        }
    }

    fn watch(&self, observer: Weak<dyn StateObserver>) {
        self.observers.lock().0.push(observer);
    }
}
