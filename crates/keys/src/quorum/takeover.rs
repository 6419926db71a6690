//! The rule when another token takes the keys over.
//!
//! The lost token vouched for the row of the rule, and nobody can ask it any more. The rule is on the
//! audit log as well, which is signed; so what the log says is in force is put in the rows again, and
//! the new token vouches for it. Proposals were made for the deployment as its log named it before,
//! and end: they are on the log too.
//!
//! # Order
//!
//! 1. The new token is marked, so that nobody can take the rule away in between.
//! 2. The proposals are deleted, and in the last batch the row of the rule is written. **This is the
//!    commit point.** Until then the service has a rule that nobody vouches for, and refuses whatever
//!    may be guarded; all of it can be repeated.

use strongroom_environment::Timestamp;
use strongroom_meta::{Batch, MetaStore};
use strongroom_pkcs11::{KeyLabel, Token};

use super::QuorumRule;
use crate::error::KeyError;
use crate::rows::{
    self, QUORUM_ASKED, QUORUM_PROPOSALS, QUORUM_RULE, QUORUM_RULE_KEY, QuorumRuleRow,
    RowFormat as _,
};
use crate::token_keys::{MAC_KEY, QUORUM_MARK};

/// Puts the rule that the audit log tells of in force on a token that has taken the keys over.
/// `verifier_key` is that of the log from now on, `now` since when.
///
/// # Errors
/// [`KeyError::TokenUnavailable`], [`KeyError::Metadata`], [`KeyError::NotCommitted`].
pub async fn restore_quorum_rule(
    token: &dyn Token,
    meta: &dyn MetaStore,
    rule: &QuorumRule,
    verifier_key: &str,
    now: Timestamp,
) -> Result<(), KeyError> {
    token.mark(&KeyLabel(QUORUM_MARK.into())).await?;
    let mut batch = Batch::new();
    for table in [QUORUM_ASKED, QUORUM_PROPOSALS] {
        for row in rows::scan_all(meta, table, &[]).await? {
            batch.delete(table, &*row.key);
            if batch.writes.len() == Batch::WRITES_MAX - 1 {
                meta.commit(std::mem::take(&mut batch)).await?;
            }
        }
    }
    let document = rule.document();
    let message = QuorumRule::mac_message(now.micros(), verifier_key, &document);
    let row = QuorumRuleRow {
        since: now,
        mac: token.mac(&KeyLabel(MAC_KEY.into()), &message).await?,
        document,
    };
    batch.put(QUORUM_RULE, QUORUM_RULE_KEY, row.encode());
    Ok(meta.commit(batch).await?)
}
