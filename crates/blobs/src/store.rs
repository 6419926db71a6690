//! The seam: what every blob engine promises.

use std::fmt;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

/// Sixteen bytes by which the caller knows a blob's owner again; opaque to the engine, stored with
/// the blob, and given back by [`BlobStore::unsettled`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlobOwner(pub [u8; 16]);

/// Where an engine keeps a blob: up to 64 bytes that only the engine reads and the caller stores.
///
/// A reference is never reused for another blob of the same engine.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobRef(Box<[u8]>);

impl BlobRef {
    /// The longest reference an engine may make, in bytes.
    pub const LEN_BYTES_MAX: usize = 64;

    /// A reference read back from where the caller stored it.
    ///
    /// An engine answers [`BlobError::NotFound`] or [`BlobError::Corrupt`] for one it did not make.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for BlobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "BlobRef({})",
            data_encoding::HEXLOWER.encode(self.as_bytes())
        )
    }
}

/// A blob that was begun or finished since the engine was last told that all is settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnsettledBlob {
    /// Where it is.
    pub blob: BlobRef,
    /// Whose it is, as given to [`BlobStore::create`].
    pub owner: BlobOwner,
}

/// Why an engine could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// There is no such blob: it was deleted, or never made here.
    #[error("there is no such blob")]
    NotFound,
    /// What is on the medium is not what was written.
    #[error("a blob is damaged: {reason}")]
    Corrupt {
        /// What was found.
        reason: String,
    },
    /// There is no room. Nothing was kept.
    #[error("the blob volume is full")]
    Full,
    /// The medium failed. A blob under creation is not kept; a read may be retried.
    #[error("the blob volume failed while it {doing}: {source}")]
    Io {
        /// What the engine was doing.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The caller wrote more or fewer bytes than it announced, or read past the end.
    #[error("a blob of {expected} bytes was given or asked for {actual}")]
    Length {
        /// The length announced.
        expected: u64,
        /// The length met.
        actual: u64,
    },
    /// The engine failed while it made a blob durable. The blob is not to be used; the engine
    /// takes no more writes to that volume until it is opened again.
    #[error("it is not known whether a blob is durable: {reason}")]
    OutcomeUnknown {
        /// What the engine said.
        reason: String,
    },
}

/// A blob under creation. Dropping it gives its space back.
#[async_trait]
pub trait BlobWriter: Send {
    /// Appends `bytes` and gives an empty buffer for the next ones: the same or another one of a
    /// pool, so that a stream runs without allocating.
    ///
    /// The bytes may still be on their way when this returns; a failure then comes out of a later
    /// call.
    ///
    /// # Errors
    /// [`BlobError`]; the blob is then lost and the writer only good for dropping.
    async fn append(&mut self, bytes: BytesMut) -> Result<BytesMut, BlobError>;

    /// Makes the blob durable and names it.
    ///
    /// When this returns, the blob survives loss of power.
    ///
    /// # Errors
    /// [`BlobError::Length`] when fewer bytes were appended than announced; otherwise as `append`.
    async fn finish(self: Box<Self>) -> Result<BlobRef, BlobError>;
}

/// A store of immutable blobs.
///
/// # Contract
///
/// - **Immutable.** A blob never changes between `finish` and `delete`.
/// - **Nothing half-written.** A blob is readable only through the reference that `finish` gave.
/// - **Durable.** When `finish` returns, the blob survives loss of power. Writers that finish at
///   the same time share one flush.
/// - **Deletion.** When `delete` returns, the blob is not readable again; its space may be given
///   back later. Deleting what is not there is no error, so that a deletion may be retried.
///   A read that runs beside a deletion gives the blob's bytes, `NotFound` or `Corrupt`; what is
///   read is sealed, so a wrong byte is always noticed by the reader.
/// - **Unsettled.** An engine can list every blob that was created since the last `settle` and is
///   not deleted, across restarts and crashes, so that the caller can delete those that nobody
///   refers to. It may list more than those.
/// - **Concurrent.** All methods may be called from many tasks at once.
#[async_trait]
pub trait BlobStore: Send + Sync + fmt::Debug + 'static {
    /// Begins a blob of exactly `len_bytes` bytes (0 is allowed) that belongs to `owner`.
    ///
    /// # Errors
    /// [`BlobError::Full`] at once, when the room is not there.
    async fn create(
        &self,
        owner: BlobOwner,
        len_bytes: u64,
    ) -> Result<Box<dyn BlobWriter>, BlobError>;

    /// Fills all of `buffer` from `offset` bytes into the blob, and gives it back.
    ///
    /// # Errors
    /// [`BlobError::Length`] when the blob ends before the buffer does.
    async fn read(
        &self,
        blob: &BlobRef,
        offset: u64,
        buffer: BytesMut,
    ) -> Result<BytesMut, BlobError>;

    /// Deletes a blob.
    ///
    /// # Errors
    /// [`BlobError::Io`]; the deletion may be retried.
    async fn delete(&self, blob: &BlobRef) -> Result<(), BlobError>;

    /// Blobs created since the last `settle` and not deleted, and perhaps older ones.
    ///
    /// # Errors
    /// [`BlobError::Io`], [`BlobError::Corrupt`].
    async fn unsettled(&self) -> Result<Vec<UnsettledBlob>, BlobError>;

    /// Says that every blob that `unsettled` listed has been looked at. Blobs that were begun or
    /// finished after that listing stay unsettled.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    async fn settle(&self) -> Result<(), BlobError>;

    /// The whole of a small blob in one step: `create`, `append`, `finish`.
    ///
    /// # Errors
    /// As those.
    async fn put(&self, owner: BlobOwner, bytes: &Bytes) -> Result<BlobRef, BlobError> {
        let mut writer = self.create(owner, bytes.len() as u64).await?;
        if !bytes.is_empty() {
            writer.append(BytesMut::from(bytes.as_ref())).await?;
        }
        writer.finish().await
    }
}
