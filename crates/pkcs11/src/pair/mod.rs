//! [`Token`] by two tokens that hold the same keys: when one dies, the other serves.

mod agreement;
mod ceremony;
mod member;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use metrics::counter;
use tokio::sync::watch;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

pub use ceremony::{Transcript, make_pair};
pub use member::{MemberState, MemberStatus};

use crate::config::HsmConfig;
use crate::hsm::HsmToken;
use crate::spec::{CarriedKind, ImportWrapping, MacSpec, OaepHash, PairSpec, SignatureScheme};
use crate::token::{
    ExportedKeys, ImportedKey, KeyLabel, SealedBytes, Token, TokenError, TokenIdentity, TokenKeys,
    WrappedKey, WrappedPair,
};
use member::Member;

/// The names of the two in the configuration, in metrics and in log lines.
const NAMES: [&str; 2] = ["token", "second_token"];

/// A call is made so often, on either, before it is taken to be what brings them down.
const CALLS_MAX: u32 = 10;

/// Two tokens that serve as one.
///
/// The first that is well, in the order given, is asked. A call that one does not serve is made
/// on the other, so nobody waits for a token that is started again; when neither serves, callers
/// wait as long as patience allows. A token that was away is used again when it answers.
pub struct TokenPair {
    members: [Arc<Member>; 2],
    keys: TokenKeys,
    changes: watch::Receiver<()>,
    patience: Duration,
    /// Ends with this.
    _care: JoinSet<()>,
}

impl fmt::Debug for TokenPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenPair")
            .field("members", &self.statuses())
            .finish_non_exhaustive()
    }
}

impl TokenPair {
    /// Starts both tokens and has them prove that they hold the same `keys`.
    ///
    /// One of the two may be away: it is taken in when it comes, after the same proof.
    ///
    /// # Errors
    /// [`TokenError::NoPair`] when a key is missing or not the same on both, or the two are one.
    /// As for [`HsmToken::start`] when neither is there, or when the settings of one are at fault.
    pub async fn start(
        first: HsmConfig,
        second: HsmConfig,
        keys: TokenKeys,
    ) -> Result<Arc<Self>, TokenError> {
        let patience = first.patience;
        let configs = [first, second].map(|config| HsmConfig {
            has_partner: true,
            ..config
        });
        let [one, other] = configs.clone().map(HsmToken::start);
        let (one, other) = tokio::join!(one, other);
        match (&one, &other) {
            (Ok(one), Ok(other)) => {
                agreement::two_tokens(&one.identity(), &other.identity())?;
                agreement::prove(one, other, &keys).await?;
            }
            (Ok(there), Err(error)) | (Err(error), Ok(there)) if may_come_back(error) => {
                agreement::holds(there, &keys).await?;
            }
            (_, Err(error)) | (Err(error), _) => return Err(error.clone()),
        }
        let (change, changes) = watch::channel(());
        let [first, second] = configs;
        let members = [
            Arc::new(Member::new(NAMES[0], first, one, change.clone())),
            Arc::new(Member::new(NAMES[1], second, other, change)),
        ];
        let mut care = JoinSet::new();
        for (member, partner) in [(0, 1), (1, 0)] {
            let [member, partner] =
                [member, partner].map(|place: usize| Arc::clone(&members[place]));
            care.spawn(member.look_after(partner, keys.clone()));
        }
        Ok(Arc::new(Self {
            members,
            keys,
            changes,
            patience,
            _care: care,
        }))
    }

    /// How each of the two is.
    #[must_use]
    pub fn statuses(&self) -> [MemberStatus; 2] {
        let states = [0, 1].map(|place: usize| self.members[place].state());
        let serving = states.iter().position(|state| *state == MemberState::Well);
        let mut place = 0;
        states.map(|state| {
            let member = &self.members[place];
            let status = MemberStatus {
                name: member.name,
                identity: member.identity(),
                state,
                serves: serving == Some(place),
            };
            place += 1;
            status
        })
    }

    /// Has `call` served by the first token that can.
    async fn ask<T, F>(&self, call: impl Fn(Arc<HsmToken>) -> F) -> Result<T, TokenError>
    where
        F: Future<Output = Result<T, TokenError>>,
    {
        let asked = tokio::time::timeout(self.patience, self.ask_patiently(call)).await;
        asked.unwrap_or_else(|_| Err(self.neither()))
    }

    async fn ask_patiently<T, F>(&self, call: impl Fn(Arc<HsmToken>) -> F) -> Result<T, TokenError>
    where
        F: Future<Output = Result<T, TokenError>>,
    {
        let mut changes = self.changes.clone();
        let mut calls = 0;
        while calls < CALLS_MAX {
            changes.mark_unchanged();
            for member in &self.members {
                let Some(token) = member.well() else {
                    continue;
                };
                calls += 1;
                match call(token).await {
                    Err(error) if self.is_away(&error) => {
                        member.leave(&error);
                        counter!("strongroom_hsm_failovers_total", "member" => member.name)
                            .increment(1);
                    }
                    answer => {
                        counter!("strongroom_hsm_member_calls_total", "member" => member.name)
                            .increment(1);
                        return answer;
                    }
                }
            }
            let states = [0, 1].map(|place: usize| self.members[place].state());
            if states.contains(&MemberState::Well) {
                continue;
            }
            let stopped = |state: &MemberState| matches!(state, MemberState::Stopped { .. });
            if states.iter().all(stopped) || changes.changed().await.is_err() {
                break;
            }
        }
        Err(self.neither())
    }

    /// Whether the other of the two is to be asked. The keys of the pair are on both, so one that
    /// does not find them is not what it was.
    fn is_away(&self, error: &TokenError) -> bool {
        match error {
            TokenError::Unavailable { .. } | TokenError::Pin { .. } => true,
            TokenError::NoSuchKey { label } => self.keys.labels().contains(&label),
            _ => false,
        }
    }

    fn neither(&self) -> TokenError {
        let told: Vec<String> = self
            .members
            .iter()
            .map(|member| match member.state() {
                MemberState::Well => format!("{} does not answer in time", member.name),
                MemberState::Away { reason } | MemberState::Stopped { reason } => {
                    format!("{}: {reason}", member.name)
                }
            })
            .collect();
        TokenError::Unavailable {
            reason: told.join("; "),
        }
    }
}

/// Whether a token that did not start may come back by itself; otherwise its settings are at
/// fault, which is told at once.
fn may_come_back(error: &TokenError) -> bool {
    matches!(
        error,
        TokenError::Unavailable { .. } | TokenError::NoSuchToken { .. }
    )
}

/// A key that is made on one of the two is none of the pair's.
fn made_by_ceremony() -> TokenError {
    TokenError::Unsupported {
        reason: "a pair's keys are made on both tokens at once, by `strongroom hsm pair`".into(),
    }
}

#[async_trait]
impl Token for TokenPair {
    /// Both, with ` + ` between them, as far as they have been seen.
    fn identity(&self) -> TokenIdentity {
        let seen: Vec<TokenIdentity> = self
            .members
            .iter()
            .filter_map(|member| member.identity())
            .collect();
        let both = |part: fn(&TokenIdentity) -> &str| {
            let parts: Vec<&str> = seen.iter().map(part).collect();
            parts.join(" + ")
        };
        TokenIdentity {
            label: both(|identity| &identity.label),
            serial: both(|identity| &identity.serial),
            manufacturer: both(|identity| &identity.manufacturer),
            model: both(|identity| &identity.model),
            profile: both(|identity| &identity.profile),
        }
    }

    async fn health(&self) -> Result<(), TokenError> {
        self.ask(|token| async move { token.health().await }).await
    }

    async fn create_kek(&self, _: &KeyLabel) -> Result<(), TokenError> {
        Err(made_by_ceremony())
    }

    async fn create_mac_key(&self, _: &KeyLabel) -> Result<(), TokenError> {
        Err(made_by_ceremony())
    }

    async fn create_signing_key(&self, _: &KeyLabel) -> Result<[u8; 32], TokenError> {
        Err(made_by_ceremony())
    }

    async fn mark(&self, label: &KeyLabel) -> Result<(), TokenError> {
        // Whichever of the two answers later is to know of it.
        for member in &self.members {
            let token = member.well().ok_or_else(|| TokenError::Unavailable {
                reason: format!(
                    "{} does not serve, and a mark is left on both tokens",
                    member.name
                ),
            })?;
            token.mark(label).await?;
        }
        Ok(())
    }

    async fn has_key(&self, label: &KeyLabel) -> Result<bool, TokenError> {
        self.ask(|token| async move { token.has_key(label).await })
            .await
    }

    async fn public_key(&self, label: &KeyLabel) -> Result<[u8; 32], TokenError> {
        self.ask(|token| async move { token.public_key(label).await })
            .await
    }

    async fn generate_wrapped(&self, kek: &KeyLabel) -> Result<WrappedKey, TokenError> {
        self.ask(|token| async move { token.generate_wrapped(kek).await })
            .await
    }

    async fn seal(
        &self,
        key: &WrappedKey,
        context: &[u8],
        plaintext: &[u8],
    ) -> Result<SealedBytes, TokenError> {
        self.ask(|token| async move { token.seal(key, context, plaintext).await })
            .await
    }

    async fn open(
        &self,
        key: &WrappedKey,
        context: &[u8],
        sealed: &SealedBytes,
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        self.ask(|token| async move { token.open(key, context, sealed).await })
            .await
    }

    async fn mac(&self, label: &KeyLabel, message: &[u8]) -> Result<[u8; 32], TokenError> {
        self.ask(|token| async move { token.mac(label, message).await })
            .await
    }

    async fn sign(&self, label: &KeyLabel, message: &[u8]) -> Result<[u8; 64], TokenError> {
        self.ask(|token| async move { token.sign(label, message).await })
            .await
    }

    async fn generate_wrapped_mac_key(
        &self,
        kek: &KeyLabel,
        spec: MacSpec,
    ) -> Result<WrappedKey, TokenError> {
        self.ask(|token| async move { token.generate_wrapped_mac_key(kek, spec).await })
            .await
    }

    async fn mac_by(
        &self,
        key: &WrappedKey,
        spec: MacSpec,
        message: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        self.ask(|token| async move { token.mac_by(key, spec, message).await })
            .await
    }

    async fn generate_wrapped_pair(
        &self,
        kek: &KeyLabel,
        spec: PairSpec,
    ) -> Result<WrappedPair, TokenError> {
        self.ask(|token| async move { token.generate_wrapped_pair(kek, spec).await })
            .await
    }

    async fn sign_by(
        &self,
        key: &WrappedKey,
        spec: PairSpec,
        scheme: SignatureScheme,
        digest: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        self.ask(|token| async move { token.sign_by(key, spec, scheme, digest).await })
            .await
    }

    async fn decrypt_by(
        &self,
        key: &WrappedKey,
        spec: PairSpec,
        hash: OaepHash,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        self.ask(|token| async move { token.decrypt_by(key, spec, hash, ciphertext).await })
            .await
    }

    async fn import_wrapped(
        &self,
        pair: &WrappedKey,
        spec: PairSpec,
        wrapping: ImportWrapping,
        material: &[u8],
    ) -> Result<ImportedKey, TokenError> {
        self.ask(|token| async move { token.import_wrapped(pair, spec, wrapping, material).await })
            .await
    }

    async fn create_escrow_key(&self, _: &KeyLabel) -> Result<(), TokenError> {
        Err(made_by_ceremony())
    }

    async fn escrow_public_key(&self, label: &KeyLabel) -> Result<Vec<u8>, TokenError> {
        self.ask(|token| async move { token.escrow_public_key(label).await })
            .await
    }

    async fn export_wrapped(
        &self,
        kek: &KeyLabel,
        keys: &[(CarriedKind, &WrappedKey)],
        recipient: &[u8],
    ) -> Result<ExportedKeys, TokenError> {
        self.ask(|token| async move { token.export_wrapped(kek, keys, recipient).await })
            .await
    }

    async fn take_over(
        &self,
        escrow: &KeyLabel,
        exported: &ExportedKeys,
        kek: &KeyLabel,
    ) -> Result<Vec<WrappedKey>, TokenError> {
        self.ask(|token| async move { token.take_over(escrow, exported, kek).await })
            .await
    }

    async fn random(&self, len_bytes: usize) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        self.ask(|token| async move { token.random(len_bytes).await })
            .await
    }
}
