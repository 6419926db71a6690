//! One token of a pair: whether it is well, and how it comes back.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{info, warn};

use super::agreement;
use crate::config::HsmConfig;
use crate::hsm::HsmToken;
use crate::token::{Token, TokenError, TokenIdentity, TokenKeys};

/// So often a token that serves, or stands by, is asked whether it is well.
const ASKED_WHEN_WELL: Duration = Duration::from_secs(5);
const ASKED_WHEN_AWAY_MIN: Duration = Duration::from_millis(100);
const ASKED_WHEN_AWAY_MAX: Duration = Duration::from_secs(2);

/// How a token of a pair is.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum MemberState {
    /// It answers. Of those that do, the first in the order of the configuration is asked.
    Well,
    /// It does not answer; it is asked again from time to time, and used again when it does.
    Away {
        /// What is known.
        reason: String,
    },
    /// It is not asked any more until the daemon is started anew: it refused the PIN, or holds
    /// other keys than its partner.
    Stopped {
        /// Why.
        reason: String,
    },
}

/// A token of a pair, for those who watch over it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct MemberStatus {
    /// Its name in the configuration: `token` or `second_token`.
    pub name: &'static str,
    /// Which token it is; nothing when it has not been seen since the start.
    pub identity: Option<TokenIdentity>,
    /// How it is.
    #[serde(flatten)]
    pub state: MemberState,
    /// Whether it is the one that is asked.
    pub serves: bool,
}

pub(super) struct Member {
    pub(super) name: &'static str,
    config: HsmConfig,
    inner: Mutex<Inner>,
    /// Says that the state of some member has changed.
    changes: watch::Sender<()>,
}

struct Inner {
    token: Option<Arc<HsmToken>>,
    state: MemberState,
}

impl Member {
    pub(super) fn new(
        name: &'static str,
        config: HsmConfig,
        started: Result<Arc<HsmToken>, TokenError>,
        changes: watch::Sender<()>,
    ) -> Self {
        let (token, state) = match started {
            Ok(token) => (Some(token), MemberState::Well),
            Err(error) => {
                warn!(member = name, %error, "a token of the pair is not there; its partner serves");
                let reason = error.to_string();
                (None, MemberState::Away { reason })
            }
        };
        let member = Self {
            name,
            config,
            inner: Mutex::new(Inner { token, state }),
            changes,
        };
        member.measure();
        member
    }

    /// The token, while it is well.
    pub(super) fn well(&self) -> Option<Arc<HsmToken>> {
        let inner = self.inner.lock();
        match inner.state {
            MemberState::Well => inner.token.clone(),
            _ => None,
        }
    }

    pub(super) fn state(&self) -> MemberState {
        self.inner.lock().state.clone()
    }

    pub(super) fn identity(&self) -> Option<TokenIdentity> {
        let inner = self.inner.lock();
        inner.token.as_ref().map(|token| token.identity())
    }

    /// Notes that a call was not served.
    pub(super) fn leave(&self, error: &TokenError) {
        let reason = error.to_string();
        let state = match error {
            TokenError::Pin { .. } => MemberState::Stopped { reason },
            // It has never served; one that has is the same token as before.
            TokenError::NoPair { .. } if self.identity().is_none() => {
                MemberState::Stopped { reason }
            }
            _ => MemberState::Away { reason },
        };
        let mut inner = self.inner.lock();
        let was_well = inner.state == MemberState::Well;
        if matches!(inner.state, MemberState::Stopped { .. }) {
            return;
        }
        inner.state = state;
        drop(inner);
        if was_well {
            warn!(member = self.name, %error, "a token of the pair does not serve");
        }
        self.changed();
    }

    fn come_back(&self, token: Arc<HsmToken>) {
        let mut inner = self.inner.lock();
        if inner.state == MemberState::Well {
            return;
        }
        *inner = Inner {
            token: Some(token),
            state: MemberState::Well,
        };
        drop(inner);
        info!(member = self.name, "a token of the pair serves again");
        self.changed();
    }

    fn changed(&self) {
        self.measure();
        self.changes.send_replace(());
    }

    fn measure(&self) {
        let well = self.inner.lock().state == MemberState::Well;
        gauge!("strongroom_hsm_member_well", "member" => self.name).set(f64::from(u8::from(well)));
    }

    /// Asks the token from time to time whether it is well. One that was never there is started, and must prove to `partner` that it holds the same keys.
    pub(super) async fn look_after(self: Arc<Self>, partner: Arc<Self>, keys: TokenKeys) {
        let mut delay = ASKED_WHEN_AWAY_MIN;
        let mut changes = self.changes.subscribe();
        loop {
            match self.state() {
                MemberState::Well => {
                    delay = ASKED_WHEN_AWAY_MIN;
                    tokio::select! {
                        () = tokio::time::sleep(ASKED_WHEN_WELL) => {}
                        // It may be this one that a call has just found not to answer.
                        _ = changes.changed() => continue,
                    }
                }
                MemberState::Away { .. } => {
                    tokio::time::sleep(delay).await;
                    delay = ASKED_WHEN_AWAY_MAX.min(delay * 2);
                }
                MemberState::Stopped { .. } => return,
            }
            match self.look(&partner, &keys).await {
                Ok(Some(token)) => self.come_back(token),
                // Its partner is away, so nothing can be proved.
                Ok(None) => {}
                Err(error) => self.leave(&error),
            }
        }
    }

    async fn look(
        &self,
        partner: &Self,
        keys: &TokenKeys,
    ) -> Result<Option<Arc<HsmToken>>, TokenError> {
        let known = self.inner.lock().token.clone();
        if let Some(token) = known {
            token.health().await?;
            if let Err(error) = agreement::holds(&token, keys).await {
                // The module has lost sight of them, and may see them again from the beginning.
                token.renew();
                return Err(error);
            }
            return Ok(Some(token));
        }
        let Some(partner) = partner.well() else {
            return Ok(None);
        };
        let token = HsmToken::start(self.config.clone()).await?;
        agreement::two_tokens(&token.identity(), &partner.identity())?;
        agreement::prove(&token, &partner, keys).await?;
        Ok(Some(token))
    }
}
