//! Who the custodians are: the rule in force, and its change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strongroom_environment::{Clock, Entropy, Timestamp};
use strongroom_meta::{Batch, MetaStore};
use strongroom_pkcs11::{KeyLabel, Token};

use super::GuardedOperation;
use super::rule::{NewQuorumRule, QuorumRule};
use crate::caller::{Caller, Standing};
use crate::error::KeyError;
use crate::journal::{ApprovalNamed, Entry, Event, Journal};
use crate::kms::Kms;
use crate::rows::{self, QUORUM_RULE, QUORUM_RULE_KEY, QuorumRuleRow, Read, RowFormat as _};
use crate::token_keys::{MAC_KEY, QUORUM_MARK};
use crate::users::Role;

/// Dual control over the keys of a deployment.
#[derive(Debug)]
pub struct Quorum {
    pub(super) token: Arc<dyn Token>,
    pub(super) meta: Arc<dyn MetaStore>,
    pub(super) journal: Arc<Journal>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    /// Held while a key, the rule or a proposal is changed.
    pub(crate) administration: Arc<tokio::sync::Mutex<()>>,
    /// Whether there is a rule for all we know, also if its row is gone.
    is_marked: AtomicBool,
}

/// The rule in force as it was read.
pub(super) struct Found {
    pub(super) rule: QuorumRule,
    pub(super) since: Timestamp,
    pub(super) read: Read<QuorumRuleRow>,
}

const NOT_VOUCHED_FOR: KeyError = KeyError::Damaged {
    table: QUORUM_RULE.name(),
    what: "the token does not vouch for the rule of dual control; put the row back from a backup",
};

impl Quorum {
    pub(crate) fn new(
        token: Arc<dyn Token>,
        meta: Arc<dyn MetaStore>,
        journal: Arc<Journal>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            token,
            meta,
            journal,
            clock,
            entropy,
            administration: Arc::default(),
            is_marked: AtomicBool::default(),
        }
    }

    /// Looks whether there is a rule: in the rows, and by the mark on the token, which is left there
    /// now if the first rule was cut short.
    ///
    /// Gives the rule; where it is damaged or gone the service starts, and whatever may be guarded
    /// is refused.
    pub(crate) async fn start(&self) -> Result<Option<QuorumRule>, KeyError> {
        let mark = KeyLabel(QUORUM_MARK.into());
        let is_marked = self.token.has_key(&mark).await?;
        self.is_marked.store(is_marked, Ordering::Relaxed);
        match self.found().await {
            Ok(Some(found)) => {
                // Also where there is one: of two tokens that serve as one, the other may lack it.
                if let Err(error) = self.token.mark(&mark).await {
                    tracing::error!(%error, "the token could not be marked; the next start tries again");
                }
                Ok(Some(found.rule))
            }
            Ok(None) => Ok(None),
            Err(error @ KeyError::Damaged { .. }) => {
                tracing::error!(%error, "what custodians may guard is refused");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The deployment as statements name it: the verifier key of its audit log.
    #[must_use]
    pub fn deployment(&self) -> String {
        self.journal.deployment()
    }

    /// The rule in force, and since when; `None` while no custodians were named.
    ///
    /// # Errors
    /// [`KeyError::Damaged`]: the row is gone, or was changed past the service.
    /// [`KeyError::Metadata`], [`KeyError::TokenUnavailable`].
    pub async fn rule(&self) -> Result<Option<(QuorumRule, Timestamp)>, KeyError> {
        let found = self.found().await?;
        Ok(found.map(|found| (found.rule, found.since)))
    }

    /// Whether custodians have to agree to an operation.
    pub(crate) async fn guards(&self, operation: GuardedOperation) -> Result<bool, KeyError> {
        let found = self.found().await?;
        Ok(found.is_some_and(|found| found.rule.guards(operation)))
    }

    /// Puts a rule in the place of the one in force. The first is put by an administrator; each
    /// later one takes the approval of custodians by the rule as it is. Open proposals end with it.
    ///
    /// Putting the rule that is in force again changes nothing and is always allowed.
    ///
    /// # Errors
    /// [`KeyError::InvalidRequest`]; [`KeyError::AccessDenied`]: not by an administrator.
    /// [`KeyError::ApprovalNeeded`], [`KeyError::ApprovalRejected`]; [`KeyError::TokenUnavailable`]:
    /// the rule is not vouched for, or, where it is the first, in force and not marked on the token
    /// yet: ask again. [`KeyError::Damaged`], [`KeyError::AuditUnavailable`],
    /// [`KeyError::NotCommitted`].
    pub async fn set_rule(
        self: &Arc<Self>,
        new: &NewQuorumRule,
        caller: &Caller,
    ) -> Result<QuorumRule, KeyError> {
        let (quorum, new, caller) = (Arc::clone(self), new.clone(), caller.clone());
        // From its entry to the mark on the token, also when whoever asked has gone away.
        Kms::to_the_end(async move { quorum.put_rule(&new, &caller).await }).await
    }

    async fn put_rule(&self, new: &NewQuorumRule, caller: &Caller) -> Result<QuorumRule, KeyError> {
        let _alone = self.administration.lock().await;
        let since = self.clock.now();
        let mut approval = None;
        let mut document = None;
        let mut in_force = None;
        let prepared = async {
            check_administrator(caller)?;
            let found = self.found().await?.map(|found| found.rule);
            let generation = found.as_ref().map_or(0, QuorumRule::generation) + 1;
            let rule = QuorumRule::new(new, generation)?;
            in_force = found.filter(|found| found.is(&rule));
            if in_force.is_some() {
                return Ok(None);
            }
            let mut batch = Batch::new();
            self.consume(&rule.request(), caller, &mut approval, &mut batch)
                .await?;
            document = Some(rule.document());
            let row = self.row(since, rule.document()).await?;
            batch.put(QUORUM_RULE, QUORUM_RULE_KEY, row.encode());
            Ok(Some((rule, batch)))
        }
        .await;
        let prepared = match prepared {
            Ok(None) => {
                self.mark().await?;
                return in_force.ok_or(NOT_VOUCHED_FOR);
            }
            Ok(Some((rule, batch))) => Ok((rule, batch)),
            Err(error) => Err(error),
        };
        let entry = Entry::new(Event::Quorum, "change-quorum-rule")
            .approval(approval)
            .detail(serde_json::json!({ "rule": document }));
        let (rule, prepared) = match prepared {
            Ok((rule, batch)) => (Some(rule), Ok(batch)),
            Err(error) => (None, Err(error)),
        };
        self.journal
            .change(&*self.meta, caller, entry, prepared)
            .await?;
        self.mark().await?;
        rule.ok_or(NOT_VOUCHED_FOR)
    }

    /// Leaves on the token that there is a rule, so that nobody can take it away with the row.
    async fn mark(&self) -> Result<(), KeyError> {
        self.is_marked.store(true, Ordering::Relaxed);
        Ok(self.token.mark(&KeyLabel(QUORUM_MARK.into())).await?)
    }

    /// The rule in force, once the token has vouched for it.
    pub(super) async fn found(&self) -> Result<Option<Found>, KeyError> {
        let read = rows::read::<QuorumRuleRow>(&*self.meta, QUORUM_RULE, QUORUM_RULE_KEY).await?;
        let Some(read) = read else {
            return if self.is_marked.load(Ordering::Relaxed) {
                Err(KeyError::Damaged {
                    table: QUORUM_RULE.name(),
                    what: "the token has a mark that there is a rule of dual control, and the rule \
                           is gone; put the row back from a backup",
                })
            } else {
                Ok(None)
            };
        };
        self.is_marked.store(true, Ordering::Relaxed);
        let row = &read.row;
        let expected = self.row(row.since, row.document.clone()).await?;
        if aws_lc_rs::constant_time::verify_slices_are_equal(&expected.mac, &row.mac).is_err() {
            return Err(NOT_VOUCHED_FOR);
        }
        let rule = QuorumRule::parse(&row.document).ok_or(NOT_VOUCHED_FOR)?;
        Ok(Some(Found {
            rule,
            since: row.since,
            read,
        }))
    }

    async fn row(&self, since: Timestamp, document: String) -> Result<QuorumRuleRow, KeyError> {
        let message = QuorumRule::mac_message(since.micros(), &self.deployment(), &document);
        let mac = self.token.mac(&KeyLabel(MAC_KEY.into()), &message).await?;
        Ok(QuorumRuleRow {
            since,
            document,
            mac,
        })
    }
}

fn check_administrator(caller: &Caller) -> Result<(), KeyError> {
    match caller.standing {
        Standing::Root | Standing::Daemon | Standing::User(Role::Admin) => Ok(()),
        Standing::User(_) => Err(KeyError::AccessDenied {
            principal: caller.principal.clone(),
            action: "ChangeQuorumRule".into(),
            key: None,
            because: "because the role does not allow it".into(),
        }),
    }
}

/// What an entry says of the approval that something was done with.
pub(super) fn approval_named(proposal: impl ToString, note: Option<String>) -> ApprovalNamed {
    ApprovalNamed {
        proposal: proposal.to_string(),
        note,
    }
}
