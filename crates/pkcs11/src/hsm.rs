//! [`Token`] by a PKCS#11 module in a supervised child process.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use metrics::{counter, gauge, histogram};
use strongroom_environment::{Clock as _, Monotonic, SystemClock};
use tokio::sync::{Semaphore, watch};
use tracing::debug;
use zeroize::Zeroizing;

use crate::config::{HsmConfig, ModuleConfig};
use crate::conformance::Report;
use crate::limits;
use crate::spec::{CarriedKind, ImportWrapping, MacSpec, OaepHash, PairSpec, SignatureScheme};
use crate::supervisor::{self, Stage, Supervised, Worker};
use crate::token::{
    ExportedKeys, ImportedKey, KeyLabel, SealedBytes, Token, TokenError, TokenFunction,
    TokenIdentity, TokenKeys, WrappedKey, WrappedPair,
};
use crate::wire::{self, Answer, Carried, KeyKind, Request, SetupAnswer};

/// So many calls are in the child at once; the others wait their turn here, where waiting does
/// not count against the time a call may take.
const IN_FLIGHT_MAX: usize = 64;
/// A call is sent so often before it is taken to be what kills the module.
const SENDS_MAX: u32 = 10;
/// A module that says so often of one call that it is broken is believed.
const BROKEN_MAX: u32 = 3;

/// Measures a call from its being asked to its answer, or to its caller's going away.
struct Measured<'a> {
    function: TokenFunction,
    clock: &'a SystemClock,
    begun: Monotonic,
}

impl<'a> Measured<'a> {
    fn begin(function: TokenFunction, clock: &'a SystemClock) -> Self {
        gauge!("strongroom_hsm_calls_in_flight").increment(1);
        Self {
            function,
            clock,
            begun: clock.monotonic(),
        }
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        gauge!("strongroom_hsm_calls_in_flight").decrement(1);
        let took = self.clock.monotonic().since(self.begun);
        histogram!("strongroom_hsm_call_duration_seconds", "function" => self.function.as_str())
            .record(took);
    }
}

/// A token behind a PKCS#11 module.
///
/// The module runs in a child process. When the process dies or hangs, or the module reports a
/// breakdown, it is killed and started again, and every call that was under way is sent again:
/// the callers notice a delay. The process ends when this is dropped.
pub struct HsmToken {
    identity: TokenIdentity,
    report: Report,
    module: ModuleConfig,
    stages: watch::Receiver<Stage>,
    in_flight: Semaphore,
    clock: SystemClock,
    has_partner: bool,
    call_time_max: Duration,
    start_time_max: Duration,
    patience: Duration,
}

impl fmt::Debug for HsmToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HsmToken")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl HsmToken {
    /// Starts the child process, logs in, and has the token pass its conformance test.
    ///
    /// Nothing is tried twice: what is wrong at the start is told at once. Must be called within
    /// a tokio runtime, which the supervision then lives in.
    ///
    /// # Errors
    /// [`TokenError::Module`], [`TokenError::NoSuchToken`], [`TokenError::Pin`];
    /// [`TokenError::Unsupported`] naming the required checks that the token failed;
    /// [`TokenError::Unavailable`] when the process cannot be started, crashes, or is not ready in
    /// time.
    pub async fn start(config: HsmConfig) -> Result<Arc<Self>, TokenError> {
        let launched = supervisor::launch(&config, Supervised::task(&config, None)).await?;
        let SetupAnswer::Serving {
            identity,
            profile,
            report: Some(report),
        } = &launched.answer
        else {
            return Err(supervisor::wrong_answer());
        };
        let (identity, profile, report) = (identity.clone(), profile.clone(), report.clone());
        let module = config.module.clone();
        let (has_partner, patience) = (config.has_partner, config.patience);
        let (call_time_max, start_time_max) = (config.call_time_max, config.start_time_max);
        let supervised = Supervised {
            config,
            identity: identity.clone(),
            profile,
        };
        Ok(Arc::new(Self {
            identity,
            report,
            module,
            stages: supervised.supervise(launched),
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
            clock: SystemClock::new(),
            has_partner,
            call_time_max,
            start_time_max,
            patience,
        }))
    }

    /// What the conformance test at the start found.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The child process that serves now, for diagnostics; none while it is being replaced.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match &*self.stages.borrow() {
            Stage::Serving(worker) => worker.pid,
            _ => None,
        }
    }

    /// Has `request` answered, over as many restarts as patience allows.
    pub(crate) async fn ask<T>(
        &self,
        function: TokenFunction,
        request: Request<'_>,
        take: impl Fn(Answer<'_>) -> Option<T> + Send,
    ) -> Result<T, TokenError> {
        counter!("strongroom_hsm_calls_total", "function" => function.as_str()).increment(1);
        let _measured = Measured::begin(function, &self.clock);
        let patience = self.patience.max(self.time_max(function));
        tokio::time::timeout(patience, self.ask_patiently(function, request, take))
            .await
            .unwrap_or_else(|_| {
                Err(TokenError::Unavailable {
                    reason: match &*self.stages.borrow() {
                        Stage::Recovering { reason, .. } => reason.clone(),
                        _ => format!("no answer within {} s", patience.as_secs()),
                    },
                })
            })
    }

    /// How long one call may take. To make an RSA key, as a ceremony does too, takes a token seconds.
    fn time_max(&self, function: TokenFunction) -> Duration {
        match function {
            TokenFunction::Pair
            | TokenFunction::GenerateWrappedPair
            | TokenFunction::CreateEscrowKey
            // A hundred keys and more at once.
            | TokenFunction::ExportWrapped
            | TokenFunction::TakeOver => self.start_time_max,
            _ => self.call_time_max,
        }
    }

    async fn ask_patiently<T>(
        &self,
        function: TokenFunction,
        request: Request<'_>,
        take: impl Fn(Answer<'_>) -> Option<T> + Send,
    ) -> Result<T, TokenError> {
        let _turn = self.in_flight.acquire().await;
        let mut failed_generation = None;
        let mut broken = 0;
        let mut trouble = "it ended".to_owned();
        let sends_max = if self.has_partner { 1 } else { SENDS_MAX };
        for _ in 0..sends_max {
            let worker = self.serving(failed_generation).await?;
            failed_generation = Some(worker.generation);
            if let Ok(frame) = worker.call(&request, self.time_max(function)).await {
                match wire::message_of(&frame) {
                    Ok(Answer::Refused(refusal)) => return Err(refusal.into_error(&self.module)),
                    Ok(Answer::Broken { reason }) => {
                        worker.condemn();
                        broken += 1;
                        if broken == BROKEN_MAX {
                            return Err(TokenError::Unavailable { reason });
                        }
                        debug!(function = function.as_str(), reason, "the token broke down");
                        trouble = reason;
                    }
                    Ok(answer) => return take(answer).ok_or_else(supervisor::wrong_answer),
                    Err(_) => worker.condemn(),
                }
            }
            counter!("strongroom_hsm_retries_total", "function" => function.as_str()).increment(1);
        }
        Err(TokenError::Unavailable {
            reason: format!(
                "the process of the module is replaced over a call of {} that was sent {sends_max} \
                 times: {trouble}",
                function.as_str()
            ),
        })
    }

    /// The child that serves, once there is one younger than that which failed.
    async fn serving(&self, failed_generation: Option<u64>) -> Result<Arc<Worker>, TokenError> {
        let mut stages = self.stages.clone();
        loop {
            match &*stages.borrow_and_update() {
                Stage::Serving(worker) if Some(worker.generation) > failed_generation => {
                    return Ok(Arc::clone(worker));
                }
                Stage::Serving(_) if !self.has_partner => {}
                Stage::Serving(_) => return Err(supervisor::unavailable("it is started again")),
                Stage::Recovering {
                    hopeless: false, ..
                } if !self.has_partner => {}
                Stage::Recovering { reason, .. } => {
                    return Err(TokenError::Unavailable {
                        reason: reason.clone(),
                    });
                }
                Stage::Stopped(error) => return Err(error.clone()),
            }
            if stages.changed().await.is_err() {
                return Err(TokenError::Unavailable {
                    reason: "the runtime that supervised the token has ended".into(),
                });
            }
        }
    }

    /// Makes a key. Its `CKA_ID` is drawn first, so that a second try recognises the key which the
    /// first one made before the process died.
    async fn create(
        &self,
        function: TokenFunction,
        kind: KeyKind,
        label: &KeyLabel,
    ) -> Result<Option<[u8; 32]>, TokenError> {
        limits::check_label(&label.0)?;
        let id = self
            .ask(
                TokenFunction::Random,
                Request::Random { len_bytes: 16 },
                array::<16>,
            )
            .await?;
        let request = Request::Create {
            kind,
            label: &label.0,
            id,
        };
        self.ask(function, request, |answer| match answer {
            Answer::Done => Some(None),
            answer => array::<32>(answer).map(Some),
        })
        .await
    }
}

impl HsmToken {
    /// Has the process of the module replaced.
    pub(crate) fn renew(&self) {
        if let Stage::Serving(worker) = &*self.stages.borrow() {
            worker.condemn();
        }
    }
}

/// The steps of a ceremony that makes keys on two tokens: see [`make_pair`](crate::make_pair).
impl HsmToken {
    pub(crate) async fn offer(&self) -> Result<Vec<u8>, TokenError> {
        let take = |answer: Answer<'_>| match answer {
            Answer::Bytes(bytes) => Some(bytes.to_vec()),
            _ => None,
        };
        self.ask(TokenFunction::Pair, Request::Offer, take).await
    }

    pub(crate) async fn make_shared(&self, modulus: &[u8]) -> Result<Carried, TokenError> {
        let take = |answer: Answer<'_>| match answer {
            Answer::Carried(carried) => Some(carried),
            _ => None,
        };
        let request = Request::MakeShared { modulus };
        self.ask(TokenFunction::Pair, request, take).await
    }

    pub(crate) async fn take_shared(
        &self,
        carried: &Carried,
        keys: &TokenKeys,
        id: [u8; 16],
    ) -> Result<(), TokenError> {
        let request = Request::TakeShared {
            carried: carried.clone(),
            keys: keys.clone(),
            id,
        };
        self.ask(TokenFunction::Pair, request, done).await
    }

    pub(crate) async fn drop_shared(
        &self,
        keys: &TokenKeys,
        id: [u8; 16],
    ) -> Result<(), TokenError> {
        let request = Request::DropShared {
            keys: keys.clone(),
            id,
        };
        self.ask(TokenFunction::Pair, request, done).await
    }
}

fn array<const N: usize>(answer: Answer<'_>) -> Option<[u8; N]> {
    match answer {
        Answer::Bytes(bytes) => bytes.try_into().ok(),
        _ => None,
    }
}

fn bytes(answer: Answer<'_>) -> Option<Vec<u8>> {
    match answer {
        Answer::Bytes(bytes) => Some(bytes.to_vec()),
        _ => None,
    }
}

fn secret(answer: Answer<'_>) -> Option<Zeroizing<Vec<u8>>> {
    match answer {
        Answer::Bytes(bytes) => Some(Zeroizing::new(bytes.to_vec())),
        _ => None,
    }
}

fn done(answer: Answer<'_>) -> Option<()> {
    matches!(answer, Answer::Done).then_some(())
}

#[async_trait]
impl Token for HsmToken {
    fn identity(&self) -> TokenIdentity {
        self.identity.clone()
    }

    async fn health(&self) -> Result<(), TokenError> {
        self.ask(TokenFunction::Health, Request::Health, done).await
    }

    async fn create_kek(&self, label: &KeyLabel) -> Result<(), TokenError> {
        self.create(TokenFunction::CreateKek, KeyKind::Kek, label)
            .await
            .map(drop)
    }

    async fn create_mac_key(&self, label: &KeyLabel) -> Result<(), TokenError> {
        self.create(TokenFunction::CreateMacKey, KeyKind::Mac, label)
            .await
            .map(drop)
    }

    async fn create_signing_key(&self, label: &KeyLabel) -> Result<[u8; 32], TokenError> {
        self.create(TokenFunction::CreateSigningKey, KeyKind::Signing, label)
            .await?
            .ok_or_else(supervisor::wrong_answer)
    }

    async fn has_key(&self, label: &KeyLabel) -> Result<bool, TokenError> {
        limits::check_label(&label.0)?;
        let request = Request::HasKey { label: &label.0 };
        self.ask(TokenFunction::HasKey, request, |answer| match answer {
            Answer::Truth(truth) => Some(truth),
            _ => None,
        })
        .await
    }

    async fn public_key(&self, label: &KeyLabel) -> Result<[u8; 32], TokenError> {
        limits::check_label(&label.0)?;
        let request = Request::PublicKey { label: &label.0 };
        self.ask(TokenFunction::PublicKey, request, array::<32>)
            .await
    }

    async fn generate_wrapped(&self, kek: &KeyLabel) -> Result<WrappedKey, TokenError> {
        limits::check_label(&kek.0)?;
        let request = Request::GenerateWrapped { kek: &kek.0 };
        let bytes = self
            .ask(
                TokenFunction::GenerateWrapped,
                request,
                array::<{ limits::WRAPPED_LEN_BYTES }>,
            )
            .await?;
        Ok(WrappedKey {
            kek: kek.clone(),
            bytes: bytes.to_vec(),
        })
    }

    async fn seal(
        &self,
        key: &WrappedKey,
        context: &[u8],
        plaintext: &[u8],
    ) -> Result<SealedBytes, TokenError> {
        limits::check_context(context)?;
        limits::check_message(plaintext)?;
        limits::check_wrapped(key)?;
        let request = Request::Seal {
            kek: &key.kek.0,
            wrapped: &key.bytes,
            context,
            plaintext,
        };
        self.ask(TokenFunction::Seal, request, |answer| match answer {
            Answer::Sealed { nonce, bytes } => Some(SealedBytes {
                nonce,
                bytes: bytes.to_vec(),
            }),
            _ => None,
        })
        .await
    }

    async fn open(
        &self,
        key: &WrappedKey,
        context: &[u8],
        sealed: &SealedBytes,
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        limits::check_context(context)?;
        limits::check_wrapped(key)?;
        limits::check_sealed(sealed)?;
        let request = Request::Open {
            kek: &key.kek.0,
            wrapped: &key.bytes,
            context,
            nonce: sealed.nonce,
            sealed: &sealed.bytes,
        };
        self.ask(TokenFunction::Open, request, secret).await
    }

    async fn mac(&self, label: &KeyLabel, message: &[u8]) -> Result<[u8; 32], TokenError> {
        limits::check_label(&label.0)?;
        limits::check_message(message)?;
        let request = Request::Mac {
            label: &label.0,
            message,
        };
        self.ask(TokenFunction::Mac, request, array::<32>).await
    }

    async fn sign(&self, label: &KeyLabel, message: &[u8]) -> Result<[u8; 64], TokenError> {
        limits::check_label(&label.0)?;
        limits::check_message(message)?;
        let request = Request::Sign {
            label: &label.0,
            message,
        };
        self.ask(TokenFunction::Sign, request, array::<64>).await
    }

    async fn generate_wrapped_mac_key(
        &self,
        kek: &KeyLabel,
        spec: MacSpec,
    ) -> Result<WrappedKey, TokenError> {
        limits::check_label(&kek.0)?;
        let request = Request::GenerateWrappedMacKey { kek: &kek.0, spec };
        let bytes = self
            .ask(TokenFunction::GenerateWrappedMacKey, request, bytes)
            .await?;
        Ok(WrappedKey {
            kek: kek.clone(),
            bytes,
        })
    }

    async fn mac_by(
        &self,
        key: &WrappedKey,
        spec: MacSpec,
        message: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        limits::check_message(message)?;
        limits::check_wrapped_mac_key(key, spec)?;
        let request = Request::MacBy {
            kek: &key.kek.0,
            wrapped: &key.bytes,
            spec,
            message,
        };
        self.ask(TokenFunction::MacBy, request, bytes).await
    }

    async fn generate_wrapped_pair(
        &self,
        kek: &KeyLabel,
        spec: PairSpec,
    ) -> Result<WrappedPair, TokenError> {
        limits::check_label(&kek.0)?;
        let request = Request::GenerateWrappedPair { kek: &kek.0, spec };
        let (private, public) = self
            .ask(
                TokenFunction::GenerateWrappedPair,
                request,
                |answer| match answer {
                    Answer::Pair { private, public } => Some((private.to_vec(), public.to_vec())),
                    _ => None,
                },
            )
            .await?;
        Ok(WrappedPair {
            private: WrappedKey {
                kek: kek.clone(),
                bytes: private,
            },
            public,
        })
    }

    async fn sign_by(
        &self,
        key: &WrappedKey,
        spec: PairSpec,
        scheme: SignatureScheme,
        digest: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        limits::check_scheme(spec, scheme, digest)?;
        limits::check_wrapped_private(key)?;
        let request = Request::SignBy {
            kek: &key.kek.0,
            wrapped: &key.bytes,
            spec,
            scheme,
            digest,
        };
        self.ask(TokenFunction::SignBy, request, bytes).await
    }

    async fn decrypt_by(
        &self,
        key: &WrappedKey,
        spec: PairSpec,
        hash: OaepHash,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        limits::check_rsa(spec, ciphertext)?;
        limits::check_wrapped_private(key)?;
        let request = Request::DecryptBy {
            kek: &key.kek.0,
            wrapped: &key.bytes,
            spec,
            hash,
            ciphertext,
        };
        self.ask(TokenFunction::DecryptBy, request, secret).await
    }

    async fn import_wrapped(
        &self,
        pair: &WrappedKey,
        spec: PairSpec,
        wrapping: ImportWrapping,
        material: &[u8],
    ) -> Result<ImportedKey, TokenError> {
        let (for_pair, by_transport) = limits::check_material(spec, wrapping, material)?;
        limits::check_wrapped_private(pair)?;
        let request = Request::Import {
            kek: &pair.kek.0,
            wrapped: &pair.bytes,
            spec,
            wrapping,
            for_pair,
            by_transport,
        };
        self.ask(
            TokenFunction::ImportWrapped,
            request,
            |answer| match answer {
                Answer::Imported { wrapped, path } => Some(ImportedKey {
                    key: WrappedKey {
                        kek: pair.kek.clone(),
                        bytes: wrapped.to_vec(),
                    },
                    path,
                }),
                _ => None,
            },
        )
        .await
    }

    async fn create_escrow_key(&self, label: &KeyLabel) -> Result<(), TokenError> {
        self.create(TokenFunction::CreateEscrowKey, KeyKind::Escrow, label)
            .await
            .map(drop)
    }

    async fn escrow_public_key(&self, label: &KeyLabel) -> Result<Vec<u8>, TokenError> {
        limits::check_label(&label.0)?;
        let request = Request::EscrowPublicKey { label: &label.0 };
        self.ask(TokenFunction::EscrowPublicKey, request, bytes)
            .await
    }

    async fn export_wrapped(
        &self,
        kek: &KeyLabel,
        keys: &[(CarriedKind, &WrappedKey)],
        recipient: &[u8],
    ) -> Result<ExportedKeys, TokenError> {
        limits::check_label(&kek.0)?;
        let modulus = limits::check_recipient(recipient)?;
        let keys: Vec<_> = keys
            .iter()
            .map(|(kind, key)| (*kind, key.bytes.as_slice()))
            .collect();
        limits::check_carried(keys.iter().copied())?;
        let kinds: Vec<_> = keys.iter().map(|(kind, _)| *kind).collect();
        let request = Request::Export {
            kek: &kek.0,
            keys,
            modulus,
        };
        self.ask(
            TokenFunction::ExportWrapped,
            request,
            |answer| match answer {
                Answer::Keys { transport, keys } if keys.len() == kinds.len() => {
                    Some(ExportedKeys {
                        transport,
                        keys: kinds.iter().copied().zip(keys).collect(),
                    })
                }
                _ => None,
            },
        )
        .await
    }

    async fn take_over(
        &self,
        escrow: &KeyLabel,
        exported: &ExportedKeys,
        kek: &KeyLabel,
    ) -> Result<Vec<WrappedKey>, TokenError> {
        limits::check_label(&escrow.0)?;
        limits::check_label(&kek.0)?;
        limits::check_transport(&exported.transport)?;
        let keys: Vec<_> = exported
            .keys
            .iter()
            .map(|(kind, key)| (*kind, key.as_slice()))
            .collect();
        limits::check_carried(keys.iter().copied())?;
        let count = keys.len();
        let request = Request::TakeOver {
            escrow: &escrow.0,
            transport: &exported.transport,
            keys,
            kek: &kek.0,
        };
        self.ask(TokenFunction::TakeOver, request, |answer| match answer {
            Answer::Keys { keys, .. } if keys.len() == count => Some(
                keys.into_iter()
                    .map(|bytes| WrappedKey {
                        kek: kek.clone(),
                        bytes,
                    })
                    .collect(),
            ),
            _ => None,
        })
        .await
    }

    async fn random(&self, len_bytes: usize) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        limits::check_random(len_bytes)?;
        self.ask(TokenFunction::Random, Request::Random { len_bytes }, secret)
            .await
    }
}
