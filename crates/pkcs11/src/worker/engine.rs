//! Requests carried out on the token.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use cryptoki::context::Pkcs11;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};
use zeroize::Zeroizing;

use super::canary::Canary;
use super::escrow;
use super::fault::Fault;
use super::import::Import;
use super::module::OpenToken;
use super::objects::{self, Life};
use super::shared::{self, Transport};
use super::signing;
use crate::attributes::KeyAttributes;
use crate::spec::{ImportPath, MacSpec, PairSpec, PairUse};
use crate::token::{KeyLabel, WrappedKey};
use crate::wire::{Carried, KeyKind, Profile, Refusal, Request, ServeLimits};

/// What a request came to.
pub(super) enum Reply {
    Done,
    Truth(bool),
    Attributes(KeyAttributes),
    Bytes(Zeroizing<Vec<u8>>),
    Sealed {
        nonce: [u8; 12],
        bytes: Vec<u8>,
    },
    Carried(Carried),
    Pair {
        private: Vec<u8>,
        public: Vec<u8>,
    },
    Imported {
        wrapped: Vec<u8>,
        path: ImportPath,
    },
    Keys {
        transport: Vec<u8>,
        keys: Vec<Vec<u8>>,
    },
}

impl Reply {
    fn bytes(bytes: Vec<u8>) -> Self {
        Self::Bytes(Zeroizing::new(bytes))
    }
}

/// Where one thread keeps its session, opened when first needed.
#[derive(Default)]
pub(super) struct Seat {
    session: Option<Session>,
}

/// A token in service.
///
/// All objects, of the token and of the session, are made and destroyed under the lock of
/// `anchor`: SoftHSM breaks down when several threads do so at once, and a session's objects go
/// with it, so they must belong to one that stays.
pub(super) struct Engine {
    context: Pkcs11,
    slot: Slot,
    profile: Profile,
    checks_answers: bool,
    canary: Canary,
    anchor: Mutex<Session>,
    /// Finding an object takes a token time in proportion to all it holds.
    handles: Mutex<HashMap<(KeyKind, String), ObjectHandle>>,
    /// Keys that were found once; they do not go by themselves.
    found: Mutex<HashSet<(KeyKind, String)>>,
    /// The public keys of key pairs that have signed.
    public_keys: Mutex<HashMap<String, Zeroizing<Vec<u8>>>>,
    unwrapped: Mutex<LruCache<(Kind, WrappedKey), Arc<SessionKey>>>,
    dropped: Arc<Mutex<Vec<ObjectHandle>>>,
    /// Between the steps of a ceremony.
    transport: Mutex<Option<Transport>>,
}

/// As what a wrapped key is unwrapped. The same bytes as another kind are another session key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Data,
    Mac(MacSpec),
    Pair(PairSpec, PairUse),
    /// A private key for which keys come wrapped that were made elsewhere.
    Import(PairSpec),
}

/// An unwrapped key in the session. When its last user is done with it, it is put on the list of
/// what the holder of the anchor is to destroy next.
struct SessionKey {
    handle: ObjectHandle,
    dropped: Arc<Mutex<Vec<ObjectHandle>>>,
}

impl Drop for SessionKey {
    fn drop(&mut self) {
        self.dropped.lock().push(self.handle);
    }
}

impl Engine {
    pub(super) fn new(
        token: OpenToken,
        profile: Profile,
        limits: &ServeLimits,
    ) -> Result<Self, Fault> {
        Ok(Self {
            canary: Canary::hatch(&token.anchor, &profile)?,
            context: token.context,
            slot: token.slot,
            profile,
            checks_answers: limits.checks_answers,
            anchor: Mutex::new(token.anchor),
            handles: Mutex::default(),
            found: Mutex::default(),
            public_keys: Mutex::default(),
            unwrapped: Mutex::new(LruCache::new(
                NonZeroUsize::new(limits.cached_keys_max).unwrap_or(NonZeroUsize::MIN),
            )),
            dropped: Arc::default(),
            transport: Mutex::default(),
        })
    }

    /// Waits for the object that is being made, and lets none be made after it while what is
    /// returned is held.
    pub(super) fn settle(&self, time_max: Duration) -> Option<MutexGuard<'_, Session>> {
        self.anchor.try_lock_for(time_max)
    }

    /// Carries out `request`, with one more try on a fresh handle or session where the old one is
    /// no longer good.
    pub(super) fn perform(&self, seat: &mut Seat, request: &Request<'_>) -> Result<Reply, Fault> {
        let mut renewed = 0;
        let mut was_doubtful = false;
        loop {
            let session = match &mut seat.session {
                Some(session) => &*session,
                none => none.insert(self.context.open_rw_session(self.slot)?),
            };
            match self.attempt(session, request) {
                Err(Fault::StaleHandle(_)) if renewed < 2 => {
                    self.handles.lock().clear();
                    self.unwrapped.lock().clear();
                    renewed += 1;
                }
                Err(Fault::StaleSession(_)) if renewed < 2 => {
                    seat.session = None;
                    renewed += 1;
                }
                Err(Fault::Doubtful(_)) => {
                    // After an error an operation may still be active in the session, and a handle
                    // may have come to stand for another key.
                    seat.session = None;
                    self.forget(request);
                    self.canary.sing(&self.anchor.lock(), &self.profile)?;
                    // The token is well, and was so both times: it is what it was given.
                    if was_doubtful {
                        return Err(Fault::Refused(Refusal::NotAuthentic));
                    }
                    was_doubtful = true;
                }
                Err(fault @ Fault::Broken(_)) => {
                    seat.session = None;
                    return Err(fault);
                }
                other => return other,
            }
        }
    }

    fn attempt(&self, session: &Session, request: &Request<'_>) -> Result<Reply, Fault> {
        match *request {
            Request::Health => {
                self.canary.sing(&self.anchor.lock(), &self.profile)?;
                Ok(Reply::Done)
            }
            Request::Create { kind, label, id } => self.create(kind, label, &id),
            Request::HasKey { label } => {
                let found = objects::all_labelled(&self.anchor.lock(), label)?;
                Ok(Reply::Truth(!found.is_empty()))
            }
            Request::PublicKey { label } => {
                let private = self.key(KeyKind::Signing, label)?;
                public_key(&self.anchor.lock(), private)
            }
            Request::Describe { kind, label } => {
                let key = self.key(kind, label)?;
                objects::attributes(&self.anchor.lock(), kind, label, key).map(Reply::Attributes)
            }
            Request::GenerateWrapped { kek: label } => {
                let kek = self.key(KeyKind::Kek, label)?;
                let anchor = self.anchor.lock();
                self.bury(&anchor)?;
                let key = objects::generate_data_key(&anchor, &self.profile)?;
                let wrapped = objects::wrap(&anchor, kek, key);
                objects::destroy(&anchor, key)?;
                let wrapped = wrapped?;
                // What does not unwrap now never will. The key is used next as a rule, so it is kept.
                self.unwrap(&anchor, kek, label, &wrapped, Kind::Data)
                    .map_err(Fault::not_of_the_caller)?;
                Ok(Reply::bytes(wrapped))
            }
            Request::Seal {
                kek,
                wrapped,
                context,
                plaintext,
            } => {
                let key = self.unwrapped(kek, wrapped, Kind::Data)?;
                let (nonce, bytes) = objects::seal(session, key.handle, context, plaintext)?;
                if self.checks_answers {
                    let opened = objects::open(session, key.handle, context, nonce, &bytes);
                    let opened = opened.map_err(Fault::not_of_the_caller)?;
                    same(&opened, plaintext, "what it sealed opens to something else")?;
                }
                Ok(Reply::Sealed { nonce, bytes })
            }
            Request::Open {
                kek,
                wrapped,
                context,
                nonce,
                sealed,
            } => {
                let key = self.unwrapped(kek, wrapped, Kind::Data)?;
                let opened = objects::open(session, key.handle, context, nonce, sealed)?;
                if self.checks_answers {
                    let again = objects::open(session, key.handle, context, nonce, sealed);
                    let again = again.map_err(Fault::not_of_the_caller)?;
                    same(&again, &opened, "it opens one ciphertext to two plaintexts")?;
                }
                Ok(Reply::Bytes(opened))
            }
            Request::Mac { label, message } => {
                let key = self.key(KeyKind::Mac, label)?;
                let mac = objects::mac(session, key, message)?;
                if self.checks_answers {
                    let again = objects::mac(session, key, message)?;
                    same(&again, &mac, "one message has two MACs")?;
                }
                Ok(Reply::bytes(mac))
            }
            Request::Sign { label, message } => {
                let key = self.key(KeyKind::Signing, label)?;
                let signature = objects::sign(session, key, message)?;
                self.check_signature(label, key, message, &signature)?;
                Ok(Reply::bytes(signature))
            }
            Request::GenerateWrappedMacKey { kek: label, spec } => {
                let kek = self.key(KeyKind::Kek, label)?;
                let anchor = self.anchor.lock();
                self.bury(&anchor)?;
                let key = signing::generate_mac_key(&anchor, spec, &self.profile)?;
                let wrapped = signing::wrap(&anchor, kek, key);
                objects::destroy(&anchor, key)?;
                let mut wrapped = wrapped?;
                // Some modules overestimate the length when asked for it.
                wrapped.truncate(spec.key_len_bytes() + 8);
                // As with a data key: what does not unwrap now never will.
                self.unwrap(&anchor, kek, label, &wrapped, Kind::Mac(spec))
                    .map_err(Fault::not_of_the_caller)?;
                Ok(Reply::bytes(wrapped))
            }
            Request::MacBy {
                kek,
                wrapped,
                spec,
                message,
            } => {
                let key = self.unwrapped(kek, wrapped, Kind::Mac(spec))?;
                let mac = signing::mac(session, key.handle, spec, message)?;
                if self.checks_answers {
                    let again = signing::mac(session, key.handle, spec, message)?;
                    same(&again, &mac, "one message has two MACs")?;
                }
                Ok(Reply::bytes(mac))
            }
            Request::GenerateWrappedPair { kek, spec } => {
                let kek = self.key(KeyKind::Kek, kek)?;
                let anchor = self.anchor.lock();
                self.bury(&anchor)?;
                let (public, private) = signing::generate_pair(&anchor, spec, &self.profile)?;
                let wrapped = signing::wrap(&anchor, kek, private);
                objects::destroy(&anchor, private)?;
                let info = signing::public_key(&anchor, public, spec);
                objects::destroy(&anchor, public)?;
                Ok(Reply::Pair {
                    private: wrapped?,
                    public: info?,
                })
            }
            Request::SignBy {
                kek,
                wrapped,
                spec,
                scheme,
                digest,
            } => {
                let key = self.unwrapped(kek, wrapped, Kind::Pair(spec, PairUse::Sign))?;
                signing::sign(session, key.handle, scheme, digest).map(Reply::bytes)
            }
            Request::DecryptBy {
                kek,
                wrapped,
                spec,
                hash,
                ciphertext,
            } => {
                let key = self.unwrapped(kek, wrapped, Kind::Pair(spec, PairUse::Decrypt))?;
                let opened = signing::decrypt(session, key.handle, hash, ciphertext)?;
                if self.checks_answers {
                    let again = signing::decrypt(session, key.handle, hash, ciphertext);
                    let again = again.map_err(Fault::not_of_the_caller)?;
                    same(&again, &opened, "it opens one ciphertext to two plaintexts")?;
                }
                Ok(Reply::Bytes(opened))
            }
            Request::Import {
                kek: label,
                wrapped,
                spec,
                wrapping,
                for_pair,
                by_transport,
            } => {
                let pair = self.unwrapped(label, wrapped, Kind::Import(spec))?;
                let kek = self.key(KeyKind::Kek, label)?;
                let anchor = self.anchor.lock();
                self.bury(&anchor)?;
                let import = Import {
                    session,
                    anchor: &anchor,
                    kek,
                    private: pair.handle,
                    wrapping,
                    for_pair,
                    by_transport,
                    profile: &self.profile,
                };
                let (wrapped, path) = import.take()?;
                if self.checks_answers {
                    let (again, _) = import.take().map_err(Fault::not_of_the_caller)?;
                    same(&again, &wrapped, "it unwraps one key to two")?;
                }
                Ok(Reply::Imported { wrapped, path })
            }
            Request::EscrowPublicKey { label } => {
                let private = self.key(KeyKind::Escrow, label)?;
                let anchor = self.anchor.lock();
                let id = objects::id_of(&anchor, private)?;
                escrow::public_key(&anchor, &id).map(Reply::bytes)
            }
            Request::Export {
                kek,
                ref keys,
                modulus,
            } => {
                let kek = self.key(KeyKind::Kek, kek)?;
                let anchor = self.anchor.lock();
                self.bury(&anchor)?;
                let (transport, keys) = escrow::export(&anchor, kek, keys, modulus, &self.profile)?;
                Ok(Reply::Keys { transport, keys })
            }
            Request::TakeOver {
                escrow,
                transport,
                ref keys,
                kek,
            } => {
                let private = self.key(KeyKind::Escrow, escrow)?;
                let kek = self.key(KeyKind::Kek, kek)?;
                let anchor = self.anchor.lock();
                self.bury(&anchor)?;
                let profile = &self.profile;
                let keys = escrow::take_over(&anchor, private, transport, keys, kek, profile)?;
                Ok(Reply::Keys {
                    transport: Vec::new(),
                    keys,
                })
            }
            Request::Random { len_bytes } => {
                let mut bytes = Zeroizing::new(vec![0; len_bytes]);
                objects::random(session, &mut bytes)?;
                Ok(Reply::Bytes(bytes))
            }
            Request::Offer => {
                let (transport, modulus) = shared::offer(&self.anchor.lock())?;
                *self.transport.lock() = Some(transport);
                Ok(Reply::bytes(modulus))
            }
            Request::MakeShared { modulus } => {
                let (transport, carried) = shared::make(&self.anchor.lock(), modulus)?;
                *self.transport.lock() = Some(transport);
                Ok(Reply::Carried(carried))
            }
            Request::TakeShared {
                ref carried,
                ref keys,
                ref id,
            } => {
                let transport = self.transport.lock().take().ok_or_else(|| {
                    Fault::Refused(Refusal::Unavailable(
                        "the process of the module was replaced in the middle of the ceremony"
                            .into(),
                    ))
                })?;
                let anchor = self.anchor.lock();
                shared::take(&anchor, transport, carried, keys, id, &self.profile)?;
                Ok(Reply::Done)
            }
            Request::DropShared { ref keys, ref id } => {
                shared::drop_taken(&self.anchor.lock(), keys, id)?;
                Ok(Reply::Done)
            }
        }
    }

    /// The handle of a key that is on the token for good.
    fn key(&self, kind: KeyKind, label: &str) -> Result<ObjectHandle, Fault> {
        let name = (kind, label.to_owned());
        if let Some(handle) = self.handles.lock().get(&name) {
            return Ok(*handle);
        }
        let handle = match objects::find(&self.anchor.lock(), kind, label) {
            // A module that has lost sight of a key is not to make a caller think there was none.
            Err(Fault::Refused(Refusal::NoSuchKey(_))) if self.found.lock().contains(&name) => {
                return Err(Fault::Broken(format!(
                    "it has lost the key labelled {label}"
                )));
            }
            Err(Fault::Refused(Refusal::NoSuchKey(_))) => {
                objects::find(&self.context.open_rw_session(self.slot)?, kind, label)?
            }
            found => found?,
        };
        self.found.lock().insert(name.clone());
        self.handles.lock().insert(name, handle);
        Ok(handle)
    }

    /// Has the keys that `request` names found and unwrapped anew.
    fn forget(&self, request: &Request<'_>) {
        let (kek, wrapped, kind) = match *request {
            Request::Seal { kek, wrapped, .. } | Request::Open { kek, wrapped, .. } => {
                (kek, wrapped, Kind::Data)
            }
            Request::MacBy {
                kek, wrapped, spec, ..
            } => (kek, wrapped, Kind::Mac(spec)),
            Request::SignBy {
                kek, wrapped, spec, ..
            } => (kek, wrapped, Kind::Pair(spec, PairUse::Sign)),
            Request::DecryptBy {
                kek, wrapped, spec, ..
            } => (kek, wrapped, Kind::Pair(spec, PairUse::Decrypt)),
            Request::Import {
                kek, wrapped, spec, ..
            } => (kek, wrapped, Kind::Import(spec)),
            _ => return,
        };
        self.handles.lock().remove(&(KeyKind::Kek, kek.to_owned()));
        self.unwrapped
            .lock()
            .pop(&(kind, wrapped_key(kek, wrapped)));
    }

    /// Verifies a signature outside the token, so that none is given out that nobody accepts.
    fn check_signature(
        &self,
        label: &str,
        private: ObjectHandle,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Fault> {
        let known = self.public_keys.lock().get(label).cloned();
        let public = match known {
            Some(public) => public,
            None => {
                let Reply::Bytes(public) = public_key(&self.anchor.lock(), private)? else {
                    return Err(Fault::Broken("a public key is no bytes".into()));
                };
                let mut known = self.public_keys.lock();
                known.entry(label.to_owned()).or_insert(public).clone()
            }
        };
        UnparsedPublicKey::new(&ED25519, public.as_slice())
            .verify(message, signature)
            .map_err(|_| Fault::Broken("its signature does not verify".into()))
    }

    /// The handle of a wrapped key, unwrapped once and kept.
    fn unwrapped(&self, kek: &str, wrapped: &[u8], kind: Kind) -> Result<Arc<SessionKey>, Fault> {
        let name = (kind, wrapped_key(kek, wrapped));
        if let Some(key) = self.unwrapped.lock().get(&name) {
            return Ok(Arc::clone(key));
        }
        let handle = self.key(KeyKind::Kek, kek)?;
        let anchor = self.anchor.lock();
        // Another thread may have unwrapped it while this one waited.
        if let Some(key) = self.unwrapped.lock().get(&name) {
            return Ok(Arc::clone(key));
        }
        self.bury(&anchor)?;
        self.unwrap(&anchor, handle, kek, wrapped, kind)
    }

    /// Unwraps a key by the key-encryption key `kek`, which is labelled `label`, and keeps it.
    fn unwrap(
        &self,
        anchor: &Session,
        kek: ObjectHandle,
        label: &str,
        wrapped: &[u8],
        kind: Kind,
    ) -> Result<Arc<SessionKey>, Fault> {
        let profile = &self.profile;
        let key = Arc::new(SessionKey {
            handle: match kind {
                Kind::Data => objects::unwrap(anchor, kek, wrapped, profile)?,
                Kind::Mac(spec) => signing::unwrap_mac_key(anchor, kek, wrapped, spec, profile)?,
                Kind::Pair(spec, pair_use) => {
                    signing::unwrap_private_key(anchor, kek, wrapped, spec, pair_use, profile)?
                }
                Kind::Import(spec) => {
                    signing::unwrap_import_key(anchor, kek, wrapped, spec, profile)?
                }
            },
            dropped: Arc::clone(&self.dropped),
        });
        let name = (kind, wrapped_key(label, wrapped));
        self.unwrapped.lock().put(name, Arc::clone(&key));
        Ok(key)
    }

    /// Destroys the session keys that nobody uses any more.
    fn bury(&self, anchor: &Session) -> Result<(), Fault> {
        let dropped = std::mem::take(&mut *self.dropped.lock());
        for handle in dropped {
            match objects::destroy(anchor, handle) {
                // It is gone, which is all that was wanted.
                Ok(()) | Err(Fault::StaleHandle(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Makes a key for good, unless the label is taken.
    ///
    /// A key with the same `CKA_ID` is the one this very call made before the process died. It is
    /// taken if it works; a process that dies while it makes a key can leave one that does not.
    fn create(&self, kind: KeyKind, label: &str, id: &[u8; 16]) -> Result<Reply, Fault> {
        let anchor = self.anchor.lock();
        let life = Life::Token { label, id };
        for key in objects::all_labelled(&anchor, label)? {
            if objects::id_of(&anchor, key)? != id {
                return Err(Fault::Refused(Refusal::KeyExists(KeyLabel(
                    label.to_owned(),
                ))));
            }
            if let Ok(reply) = self.made_before(&anchor, kind, key) {
                return Ok(reply);
            }
            // Was it the key, or is it the token?
            self.canary.sing(&anchor, &self.profile)?;
            objects::destroy(&anchor, key)?;
        }
        match kind {
            KeyKind::Kek => objects::generate_kek(&anchor, life, &self.profile)?,
            KeyKind::Mac => objects::generate_mac_key(&anchor, life, &self.profile)?,
            KeyKind::Signing => {
                for half in objects::public_keys(&anchor, id)? {
                    objects::destroy(&anchor, half)?;
                }
                let (public, _) = objects::generate_signing_key(&anchor, life, &self.profile)?;
                return objects::public_key_bytes(&anchor, public).map(Reply::bytes);
            }
            KeyKind::Escrow => {
                for half in escrow::public_halves(&anchor, id)? {
                    objects::destroy(&anchor, half)?;
                }
                escrow::generate_pair(&anchor, label, id, &self.profile)?;
                return Ok(Reply::Done);
            }
        };
        Ok(Reply::Done)
    }

    /// What the maker of `key` is to be answered, if the key works.
    fn made_before(
        &self,
        anchor: &Session,
        kind: KeyKind,
        key: ObjectHandle,
    ) -> Result<Reply, Fault> {
        match kind {
            KeyKind::Kek => {
                let free = objects::generate_data_key(anchor, &self.profile)?;
                let wrapped = objects::wrap(anchor, key, free);
                objects::destroy(anchor, free)?;
                let unwrapped = objects::unwrap(anchor, key, &wrapped?, &self.profile)?;
                objects::destroy(anchor, unwrapped)?;
                Ok(Reply::Done)
            }
            KeyKind::Mac => objects::mac(anchor, key, b"a trial").map(|_| Reply::Done),
            KeyKind::Escrow => {
                escrow::public_key(anchor, &objects::id_of(anchor, key)?).map(|_| Reply::Done)
            }
            KeyKind::Signing => {
                objects::sign(anchor, key, b"a trial")?;
                public_key(anchor, key)
            }
        }
    }
}

fn wrapped_key(kek: &str, wrapped: &[u8]) -> WrappedKey {
    WrappedKey {
        kek: KeyLabel(kek.to_owned()),
        bytes: wrapped.to_vec(),
    }
}

/// Two answers that must be one; a token that gives two is not well.
fn same(one: &[u8], other: &[u8], otherwise: &str) -> Result<(), Fault> {
    verify_slices_are_equal(one, other).map_err(|_| Fault::Broken(otherwise.to_owned()))
}

fn public_key(anchor: &Session, private: ObjectHandle) -> Result<Reply, Fault> {
    let id = objects::id_of(anchor, private)?;
    match objects::public_keys(anchor, &id)?[..] {
        [public] => objects::public_key_bytes(anchor, public).map(Reply::bytes),
        ref found => Err(Fault::Refused(Refusal::Unsupported(format!(
            "{} public keys of the token belong to one private key",
            found.len()
        )))),
    }
}
