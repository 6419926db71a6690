//! Keys that were made elsewhere, and come wrapped for a pair of this token.
//!
//! Where the token unwraps them by itself, their value is in no memory but its own. Where it does
//! not know how, it does the RSA operation, and the rest is done here: the value is then in this
//! process for a moment, before it is a key of the token.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded as _};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use zeroize::{Zeroize as _, Zeroizing};

use super::fault::Fault;
use super::objects::{self, Life};
use super::signing;
use crate::limits::WRAPPED_LEN_BYTES;
use crate::spec::{ImportPath, ImportWrapping, OaepHash};
use crate::wire::{Profile, Refusal};

const KEY_LEN_BYTES: usize = 32;
/// What an imported key seals and opens once, before it is a key of the token.
const TRIAL: &[u8] = b"strongroom import";

/// What a key is taken in with.
pub(super) struct Import<'a> {
    /// The session of the calling thread.
    pub(super) session: &'a Session,
    /// The session that the objects belong to.
    pub(super) anchor: &'a Session,
    pub(super) kek: ObjectHandle,
    /// The private key that it comes wrapped for.
    pub(super) private: ObjectHandle,
    pub(super) wrapping: ImportWrapping,
    /// What is encrypted for the pair, and what is wrapped by that, which may be nothing.
    pub(super) for_pair: &'a [u8],
    pub(super) by_transport: &'a [u8],
    pub(super) profile: &'a Profile,
}

impl Import<'_> {
    /// The key, wrapped by the key-encryption key.
    pub(super) fn take(&self) -> Result<(Vec<u8>, ImportPath), Fault> {
        match self.in_token() {
            Ok(wrapped) => Ok((wrapped, ImportPath::Token)),
            Err(
                fault @ (Fault::StaleHandle(_)
                | Fault::StaleSession(_)
                | Fault::Refused(Refusal::WrongLength)),
            ) => Err(fault),
            // It may be that the token does not know how, or that what came is not sound: tokens
            // do not tell the two apart, and the other way does.
            Err(_) => Ok((self.through_process()?, ImportPath::Process)),
        }
    }

    fn in_token(&self) -> Result<Vec<u8>, Fault> {
        let (oaep, passing) = (oaep(self.wrapping.hash()), self.passing());
        let unwrap = |by: &Mechanism<'_>, with, wrapped: &[u8], attributes: &[Attribute]| {
            self.anchor
                .unwrap_key(by, with, wrapped, attributes)
                .map_err(Fault::from)
        };
        let key = match self.wrapping {
            ImportWrapping::Rsaes(_) => unwrap(&oaep, self.private, self.for_pair, &passing)?,
            ImportWrapping::RsaAes(_) => {
                let transport = unwrap(&oaep, self.private, self.for_pair, &self.transport())?;
                let pad = Mechanism::AesKeyWrapPad;
                let key = unwrap(&pad, transport, self.by_transport, &passing);
                objects::destroy(self.anchor, transport)?;
                key?
            }
        };
        self.wrap_out(key)
    }

    fn through_process(&self) -> Result<Vec<u8>, Fault> {
        let hash = self.wrapping.hash();
        let opened = signing::decrypt(self.session, self.private, hash, self.for_pair)?;
        let value = match self.wrapping {
            ImportWrapping::Rsaes(_) => opened,
            ImportWrapping::RsaAes(_) => unwrap_padded(&opened, self.by_transport)?,
        };
        if value.len() != KEY_LEN_BYTES {
            return Err(Fault::Refused(Refusal::WrongLength));
        }
        let mut attributes = vec![Attribute::Value(value.to_vec())];
        attributes.extend(self.passing());
        let key = self.anchor.create_object(&attributes);
        if let Some(Attribute::Value(value)) = attributes.first_mut() {
            value.zeroize();
        }
        self.wrap_out(key?)
    }

    /// Wraps the key by the key-encryption key, and destroys it.
    ///
    /// What is wrapped must be the key that came: it opens what that has sealed. A token that takes
    /// 31 bytes for an AES key fills them up when it wraps them, and only then they are one.
    fn wrap_out(&self, key: ObjectHandle) -> Result<Vec<u8>, Fault> {
        let trial = objects::seal(self.session, key, TRIAL, TRIAL);
        let wrapped = signing::wrap(self.anchor, self.kek, key);
        objects::destroy(self.anchor, key)?;
        let mut wrapped = wrapped?;
        if wrapped.len() < WRAPPED_LEN_BYTES {
            return Err(Fault::Refused(Refusal::WrongLength));
        }
        // Some modules overestimate the length when asked for it.
        wrapped.truncate(WRAPPED_LEN_BYTES);
        let (nonce, sealed) = trial?;
        let same = objects::unwrap(self.anchor, self.kek, &wrapped, self.profile)?;
        let opened = objects::open(self.session, same, TRIAL, nonce, &sealed);
        objects::destroy(self.anchor, same)?;
        if opened?.as_slice() != TRIAL {
            return Err(Fault::Broken(
                "it wraps another key than it was given".into(),
            ));
        }
        Ok(wrapped)
    }

    /// The attributes of an AES key that exists to be tried and wrapped once.
    fn passing(&self) -> Vec<Attribute> {
        let mut attributes = vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
        ];
        attributes.extend(objects::secret_attributes(Life::Session, true));
        attributes.extend([
            Attribute::Encrypt(true),
            Attribute::Decrypt(false),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
        ]);
        let trial = Some(MechanismType::AES_GCM);
        objects::restrict(&mut attributes, trial, self.profile);
        attributes
    }

    /// The attributes of the AES key that the key comes wrapped by.
    fn transport(&self) -> Vec<Attribute> {
        let mut attributes = vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
        ];
        attributes.extend(objects::secret_attributes(Life::Session, false));
        attributes.extend([Attribute::Unwrap(true), Attribute::Wrap(false)]);
        let pad = Some(MechanismType::AES_KEY_WRAP_PAD);
        objects::restrict(&mut attributes, pad, self.profile);
        attributes
    }
}

pub(super) fn oaep(hash: OaepHash) -> Mechanism<'static> {
    let (hash, mask) = match hash {
        OaepHash::Sha1 => (MechanismType::SHA1, PkcsMgfType::MGF1_SHA1),
        OaepHash::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
    };
    Mechanism::RsaPkcsOaep(PkcsOaepParams::new(hash, mask, PkcsOaepSource::empty()))
}

/// AES key unwrap with padding (RFC 5649), here.
fn unwrap_padded(transport: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let not_authentic = || Fault::Refused(Refusal::NotAuthentic);
    let transport = AesKek::new(&AES_256, transport).map_err(|_| not_authentic())?;
    let mut value = Zeroizing::new(vec![0; wrapped.len()]);
    let len_bytes = transport
        .unwrap_with_padding(wrapped, &mut value)
        .map_err(|_| not_authentic())?
        .len();
    value.truncate(len_bytes);
    Ok(value)
}
