//! A log that goes on under another key, because the one that signed it is lost.

use std::path::Path;

use crate::disk::{DiskError, FileSystem, Placing};
use crate::log::{OpenError, lock_dir, read_checkpoint};
use crate::note::{Checkpoint, VerifierKey, checkpoint_body};
use crate::reader::CHECKPOINT;
use crate::seam::CheckpointSigner;

/// Why a log was not handed over. It is as it was, and can be tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandOverError {
    /// The log cannot be read, is in use, or its checkpoint is not signed by the former key.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It could not be signed.
    #[error("the checkpoint could not be signed by the new key: {0}")]
    Sign(String),
    /// It could not be written.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A log that goes on under another key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HandedOver {
    /// The checkpoint with which it goes on, signed by both keys: nothing was added or left out
    /// between them. `None` where it was handed over before and has gone on since.
    pub checkpoint: Option<String>,
    /// The verifier key from now on.
    pub verifier_key: String,
}

/// Has the log in `dir` go on under the key of `signer`, in the place of the key of `former`. Nobody
/// may have it open.
///
/// The last checkpoint is verified with the former key, and signed by the new one as well: the same
/// tree, of the same size. The replacement of the checkpoint file is the commit point. A log that was
/// handed over already is left as it is.
///
/// # Errors
/// [`HandOverError`].
pub async fn hand_over(
    dir: &Path,
    former: &VerifierKey,
    signer: &dyn CheckpointSigner,
) -> Result<HandedOver, HandOverError> {
    let verifier =
        VerifierKey::new(former.origin().clone(), &signer.public_key()).map_err(OpenError::from)?;
    let _lock = lock_dir(dir)?;
    let last = match read_checkpoint(dir, &verifier) {
        Ok(Some(checkpoint)) => {
            let is_both = Checkpoint::verify(checkpoint.text(), former).is_ok();
            return Ok(HandedOver {
                checkpoint: is_both.then(|| checkpoint.text().to_owned()),
                verifier_key: verifier.to_string(),
            });
        }
        Ok(None) => return Err(OpenError::NoCheckpoint.into()),
        Err(_) => read_checkpoint(dir, former)?.ok_or(OpenError::NoCheckpoint)?,
    };
    let body = checkpoint_body(last.origin(), last.size(), last.root());
    let signature = signer
        .sign(body.as_bytes())
        .await
        .map_err(|error| HandOverError::Sign(error.to_string()))?;
    let sealed = Checkpoint::seal(&body, &signature, &verifier)
        .map_err(|error| HandOverError::Sign(error.to_string()))?;
    let added = sealed.text().strip_prefix(&format!("{body}\n"));
    let both = format!("{}{}", last.text(), added.unwrap_or_default());
    for key in [former, &verifier] {
        Checkpoint::verify(&both, key).map_err(OpenError::from)?;
    }
    let mut placing = Placing::new(&FileSystem, dir);
    placing.place(&dir.join(CHECKPOINT), both.as_bytes())?;
    placing.sync_dirs()?;
    Ok(HandedOver {
        checkpoint: Some(both),
        verifier_key: verifier.to_string(),
    })
}
