//! A known answer that tells a bad ciphertext from a sick token.

use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use super::fault::Fault;
use super::objects::{self, Life};
use crate::wire::Profile;

const CONTEXT: &[u8] = b"strongroom canary";
const SONG: &[u8] = b"the token is well";

/// A key-encryption key, a key wrapped by it and a ciphertext under that key, all of the session.
///
/// Modules answer a changed ciphertext with `CKR_GENERAL_ERROR`, which is also what they say when
/// they are out of order. If the canary can be unwrapped and opened, it was the ciphertext.
pub(super) struct Canary {
    kek: ObjectHandle,
    wrapped: Vec<u8>,
    nonce: [u8; 12],
    sealed: Vec<u8>,
}

impl Canary {
    pub(super) fn hatch(anchor: &Session, profile: &Profile) -> Result<Self, Fault> {
        let kek = objects::generate_kek(anchor, Life::Session, profile)?;
        let key = objects::generate_data_key(anchor, profile)?;
        let wrapped = objects::wrap(anchor, kek, key)?;
        objects::destroy(anchor, key)?;
        let key = objects::unwrap(anchor, kek, &wrapped, profile)?;
        let (nonce, sealed) = objects::seal(anchor, key, CONTEXT, SONG)?;
        objects::destroy(anchor, key)?;
        Ok(Self {
            kek,
            wrapped,
            nonce,
            sealed,
        })
    }

    /// Unwraps, opens and compares.
    ///
    /// # Errors
    /// [`Fault::Broken`]: the token is not well.
    pub(super) fn sing(&self, anchor: &Session, profile: &Profile) -> Result<(), Fault> {
        let sung = objects::unwrap(anchor, self.kek, &self.wrapped, profile).and_then(|key| {
            let opened = objects::open(anchor, key, CONTEXT, self.nonce, &self.sealed);
            objects::destroy(anchor, key)?;
            opened
        });
        match sung {
            Ok(opened) if opened.as_slice() == SONG => Ok(()),
            Ok(_) => Err(Fault::Broken(
                "the token opens a known ciphertext to something else".into(),
            )),
            Err(fault) => Err(Fault::Broken(format!(
                "the token does not open a known ciphertext: {}",
                fault.reason()
            ))),
        }
    }
}
