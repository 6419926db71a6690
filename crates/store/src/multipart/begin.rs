//! Beginning an upload.

use strongroom_keys::{BindingId, Caller};
use strongroom_meta::Expected;

use crate::change::{Change, object_name};
use crate::put::{check_metadata, protection_in};
use crate::rows::{UploadRow, encode, keys};
use crate::{CreateUpload, CreatedUpload, PayloadId, Store, StoreError, UploadId};

impl Store {
    /// Begins a multipart upload. Its data key is made and wrapped, and opened again for each part.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::MetadataTooLarge`],
    /// [`StoreError::CustomerKeysBlocked`], [`StoreError::ChecksumTypeNotAllowed`],
    /// [`StoreError::Key`], and those of the machine.
    pub async fn create_upload(
        &self,
        request: CreateUpload,
        caller: &Caller,
    ) -> Result<CreatedUpload, StoreError> {
        let inner = &*self.inner;
        check_metadata(&request.metadata)?;
        let checksum = request.checksum_algorithm.map(|algorithm| {
            let asked = request.checksum_type;
            (algorithm, asked.unwrap_or(algorithm.type_of_upload()))
        });
        if let Some((algorithm, checksum_type)) = checksum
            && !algorithm.allows(checksum_type)
        {
            return Err(StoreError::ChecksumTypeNotAllowed {
                algorithm,
                checksum_type,
            });
        }
        let mut bucket = inner.bucket(&request.bucket).await?;
        let protection = protection_in(&bucket, request.protection)?;
        let binding = BindingId::random(&*inner.entropy).0;
        let name = object_name(&request.bucket, request.key.as_str(), binding);
        let (data_key, envelope) = inner.keys.create(&protection, &name, caller).await?;
        drop((data_key, protection));

        let encryption = inner.keys.mode_of(&envelope);
        let upload = UploadId::new(inner.clock.now(), binding);
        let row_key = keys::upload(&request.bucket, &request.key, upload);
        let row = encode(&UploadRow {
            payload: PayloadId::random(&*inner.entropy),
            envelope,
            metadata: request.metadata,
            class: request.class,
            checksum,
            initiator: caller.principal.clone(),
            being_closed: false,
        });
        let mut attempts = inner.attempts(&request.bucket, request.key.as_str());
        loop {
            let mut change = Change::new(inner);
            change.writes_into(&request.bucket, &bucket);
            change
                .batch
                .expect(keys::UPLOADS, row_key.clone(), Expected::Absent);
            change
                .batch
                .put(keys::UPLOADS, row_key.clone(), row.clone());
            if attempts.commit(change).await? {
                return Ok(CreatedUpload {
                    upload,
                    encryption,
                    checksum,
                });
            }
            bucket = inner.bucket(&request.bucket).await?;
        }
    }
}
