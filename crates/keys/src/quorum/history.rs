//! What the audit log says of dual control, checked with nothing but the log.

use std::collections::HashMap;

use serde_json::Value;
use strongroom_audit::note_signers;

use super::statement::{canonical, sha256_of};
use super::{GuardedOperation, QuorumRule, Statement};

/// Something that custodians have approved, and that was then done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuardedAct {
    /// The place of its entry on the log.
    pub entry: u64,
    /// What was done.
    pub operation: GuardedOperation,
    /// The ARN of the key.
    pub key: Option<String>,
    /// Who had it done.
    pub requester: String,
    /// The custodians whose signatures are under it.
    pub custodians: Vec<String>,
}

/// Something that should not be on the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumFinding {
    /// The place of the entry on the log.
    pub entry: u64,
    /// What is wrong with it.
    pub what: String,
}

/// What a log says of dual control.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QuorumReport {
    /// The rule that the last entry leaves in force.
    pub rule: Option<QuorumRule>,
    /// What was done with the approval of custodians, in order.
    pub acts: Vec<GuardedAct>,
    /// What was done without, or with an approval that does not hold.
    pub findings: Vec<QuorumFinding>,
    /// What only somebody who was there can judge: a stop of the daemon in the middle of a change.
    pub remarks: Vec<QuorumFinding>,
}

/// Goes through the entries of a log in order, and checks that whatever the rule guarded at the time
/// carries the signatures that it asks for.
#[derive(Debug)]
pub struct QuorumHistory {
    deployment: String,
    /// Which deployments the approvals name since the log was last handed over to another key.
    named: Vec<(u64, GuardedOperation, String)>,
    /// The last time that the log was handed over to another key.
    handed_over: Option<HandedOver>,
    report: QuorumReport,
    /// The rule before the last change, while nothing was done under the new one.
    before: Option<Option<QuorumRule>>,
    /// A rule whose change was not acknowledged. It may be in force all the same: the next start
    /// of the service says so.
    unacknowledged: Option<QuorumRule>,
    /// Where each proposal was carried out.
    carried_out: HashMap<String, u64>,
    /// The last thing that an entry said was done, of what can be guarded.
    last: Option<Done>,
    /// Backups that were begun with an approval, by their ids.
    backups: HashMap<String, Backup>,
    /// The last start of the service.
    started: u64,
}

/// Something that an entry says was done, by which the entry that takes it back is known.
#[derive(Debug)]
struct Done {
    operation: GuardedOperation,
    request_id: String,
    approval: Value,
}

/// From which key to which a log was handed over.
#[derive(Debug)]
struct HandedOver {
    entry: u64,
    from: String,
    to: String,
}

/// For which escrow key a backup is, and for whom.
#[derive(Debug)]
struct Backup {
    escrow_key_sha256: String,
    requester: String,
}

impl QuorumHistory {
    /// A history of the log with this verifier key, before its first entry.
    #[must_use]
    pub fn new(verifier_key: &str) -> Self {
        Self {
            deployment: verifier_key.to_owned(),
            named: Vec::new(),
            handed_over: None,
            report: QuorumReport::default(),
            before: None,
            unacknowledged: None,
            carried_out: HashMap::new(),
            last: None,
            backups: HashMap::new(),
            started: 0,
        }
    }

    /// What the entries have said.
    #[must_use]
    pub fn finish(mut self) -> QuorumReport {
        let deployment = std::mem::take(&mut self.deployment);
        if let Some(last) = self.handed_over.take()
            && last.to != deployment
        {
            self.find(
                last.entry,
                "the log was handed over to another key than this one".into(),
            );
        }
        self.check_named(&deployment);
        self.report
    }

    /// Whether the approvals since the last handing over are of the deployment with this key.
    fn check_named(&mut self, deployment: &str) {
        for (entry, operation, named) in std::mem::take(&mut self.named) {
            if named != deployment {
                self.report.acts.retain(|act| act.entry != entry);
                let what = format!("{operation} was done with an approval of another deployment");
                self.find(entry, what);
            }
        }
    }

    /// The keys were restored to another token, and the log goes on under its key. The entry is under
    /// a checkpoint of the key that the log has now, and the last one of the former key is signed by
    /// both.
    fn restored(&mut self, entry: u64, read: &Value) {
        let text = |at: &str| read["detail"][at].as_str().unwrap_or_default();
        let (from, to) = (text("former_verifier_key"), text("verifier_key"));
        match &self.handed_over {
            // A restore that is repeated hands nothing over.
            Some(last) if (last.from.as_str(), last.to.as_str()) == (from, to) => return,
            Some(last) if last.to != from => {
                let what = "the log was handed over by another key than its own";
                self.find(entry, what.into());
            }
            _ => {}
        }
        self.check_named(from);
        self.handed_over = Some(HandedOver {
            entry,
            from: from.to_owned(),
            to: to.to_owned(),
        });
    }

    /// Looks at the next entry.
    pub fn see(&mut self, entry: u64, bytes: &[u8]) {
        // Nearly all entries are uses of keys, and of no concern here. Inside a text each quotation
        // mark is escaped, so that nothing else looks like this member.
        const EVENT: &[u8] = b"\"event\":\"";
        const USE_OF_KEY: &[u8] = b"key-use";
        let event = bytes
            .windows(EVENT.len())
            .position(|window| window == EVENT)
            .map(|at| &bytes[at + EVENT.len()..]);
        if event.is_none_or(|event| event.starts_with(USE_OF_KEY)) {
            return;
        }
        let Ok(read) = serde_json::from_slice::<Value>(bytes) else {
            return;
        };
        let text = |at: &str| read[at].as_str().unwrap_or_default();
        if (text("event"), text("use")) == ("service", "start") {
            self.start(entry, &read);
            return;
        }
        if (text("use"), text("outcome")) == (GuardedOperation::BACKUP_GOES_ON, "granted") {
            self.goes_on(entry, &read);
            return;
        }
        if (text("event"), text("use")) == ("service", "restore") {
            self.restored(entry, &read);
            return;
        }
        let operation = GuardedOperation::ALL
            .into_iter()
            .find(|operation| operation.act() == text("use"));
        let Some(operation) = operation else {
            return;
        };
        match text("outcome") {
            "granted" => self.done(entry, operation, &read),
            "failed" => self.failed(operation, &read),
            _ => {}
        }
    }

    /// A page of a backup after the first, which was approved.
    fn goes_on(&mut self, entry: u64, read: &Value) {
        let operation = GuardedOperation::BackupKeys;
        let is_guarded = |rule: &QuorumRule| rule.guards(operation);
        if !self.report.rule.as_ref().is_some_and(is_guarded) {
            return;
        }
        let begun = read["detail"]["backup"].as_str();
        let begun = begun.and_then(|backup| self.backups.get(backup));
        let is_of = |begun: &Backup| {
            Some(begun.escrow_key_sha256.as_str()) == read["detail"]["escrow_key_sha256"].as_str()
                && Some(begun.requester.as_str()) == read["principal"].as_str()
        };
        if !begun.is_some_and(is_of) {
            let what = "a page is of a backup that was not begun with the approval of custodians";
            self.find(entry, what.into());
        }
    }

    fn done(&mut self, entry: u64, operation: GuardedOperation, read: &Value) {
        let rule = self.report.rule.clone();
        let text = |at: &str| read[at].as_str().unwrap_or_default();
        self.last = Some(Done {
            operation,
            request_id: text("request_id").to_owned(),
            approval: read["approval"].clone(),
        });
        if let Some(rule) = rule.filter(|rule| rule.guards(operation)) {
            match self.approved(entry, &rule, operation, read) {
                Ok(act) => {
                    if operation == GuardedOperation::BackupKeys {
                        let text = |at: &str| read["detail"][at].as_str().unwrap_or_default();
                        let backup = Backup {
                            escrow_key_sha256: text("escrow_key_sha256").to_owned(),
                            requester: act.requester.clone(),
                        };
                        self.backups.insert(text("backup").to_owned(), backup);
                    }
                    self.report.acts.push(act);
                }
                Err(what) => {
                    // No service puts a rule in force that was not approved.
                    self.find(entry, what);
                    return;
                }
            }
        }
        if operation == GuardedOperation::ChangeQuorumRule {
            let rule = read["detail"]["rule"].as_str().and_then(QuorumRule::parse);
            let Some(rule) = rule else {
                self.find(entry, "the rule is not one".into());
                return;
            };
            self.before = Some(self.report.rule.replace(rule));
        } else {
            self.before = None;
        }
    }

    /// The act that an entry tells of, once its approval is found to hold.
    fn approved(
        &mut self,
        entry: u64,
        rule: &QuorumRule,
        operation: GuardedOperation,
        read: &Value,
    ) -> Result<GuardedAct, String> {
        let note = read["approval"]["note"]
            .as_str()
            .ok_or_else(|| format!("{operation} was done without the approval of custodians"))?;
        let (text, signers) = note_signers(note, rule.custodians())
            .map_err(|error| format!("the approval of {operation}: {error}"))?;
        let statement = Statement::parse_approval(text)
            .ok_or_else(|| format!("what approves {operation} is not the text of an approval"))?;
        let key = read["key"]["arn"].as_str();
        let time = read["time"].as_str().unwrap_or_default();
        let requester = read["principal"].as_str().unwrap_or_default();
        for (holds, what) in [
            (
                statement.operation == operation.as_str(),
                "over another operation",
            ),
            (statement.key.as_deref() == key, "over another key"),
            (statement.requester == requester, "for another requester"),
            (statement.rule_sha256 == rule.sha256(), "under another rule"),
            (
                statement.opened.as_str() <= time && time < statement.expires.as_str(),
                "of another time",
            ),
            (
                statement
                    .request
                    .as_ref()
                    .is_none_or(|request| statement.is_about(&canonical(request))),
                "over a request with another hash",
            ),
            (
                statement
                    .request
                    .as_ref()
                    .is_none_or(|request| is_what_was_done(operation, request, &read["detail"])),
                "over something else than what was done",
            ),
            (
                signers.len() >= rule.threshold(),
                "by fewer custodians than the rule asks for",
            ),
        ] {
            if !holds {
                return Err(format!("{operation} was done with an approval {what}"));
            }
        }
        self.named
            .push((entry, operation, statement.deployment.clone()));
        if let Some(earlier) = self.carried_out.insert(statement.proposal.clone(), entry) {
            let what = format!(
                "proposal {} was carried out at entry {earlier} already",
                statement.proposal
            );
            if self.started <= earlier {
                return Err(what);
            }
            self.report.remarks.push(QuorumFinding {
                entry,
                what: format!("{what}, before the service was started anew"),
            });
        }
        Ok(GuardedAct {
            entry,
            operation,
            key: key.map(ToOwned::to_owned),
            requester: requester.to_owned(),
            custodians: signers
                .iter()
                .map(|place| rule.custodians()[*place].origin().to_string())
                .collect(),
        })
    }

    /// An entry that takes the one before it back.
    fn failed(&mut self, operation: GuardedOperation, read: &Value) {
        // Most acts that fail do so before an entry has said that they are done.
        let is_last = self.last.take_if(|last| {
            last.operation == operation
                && Some(last.request_id.as_str()) == read["request_id"].as_str()
                && last.approval == read["approval"]
        });
        if is_last.is_none() {
            return;
        }
        if let Some(proposal) = read["approval"]["proposal"].as_str()
            && let Some(entry) = self.carried_out.remove(proposal)
        {
            self.report.acts.retain(|act| act.entry != entry);
        }
        if operation == GuardedOperation::ChangeQuorumRule
            && let Some(before) = self.before.take()
        {
            self.unacknowledged = std::mem::replace(&mut self.report.rule, before);
        }
    }

    /// A start of the service, which says under which rule.
    fn start(&mut self, entry: u64, read: &Value) {
        self.started = entry;
        let told = read["detail"]["quorum_rule_sha256"].as_str();
        let is_told = |rule: &Option<QuorumRule>| {
            told.map(ToOwned::to_owned) == rule.as_ref().map(QuorumRule::sha256)
        };
        let (before, unacknowledged) = (self.before.take(), self.unacknowledged.take());
        if is_told(&self.report.rule) {
            return;
        }
        let what = if unacknowledged.is_some() && is_told(&unacknowledged) {
            self.report.rule = unacknowledged;
            "the last change of the rule was not acknowledged, and is in force"
        } else if let Some(before) = before.filter(|before| is_told(before)) {
            self.report.rule = before;
            "the last change of the rule was cut short by the end of the process"
        } else {
            self.find(
                entry,
                "the service was started under another rule than the log tells of".into(),
            );
            return;
        };
        self.report.remarks.push(QuorumFinding {
            entry,
            what: what.into(),
        });
    }

    fn find(&mut self, entry: u64, what: String) {
        self.report.findings.push(QuorumFinding { entry, what });
    }
}

/// Whether a request is the one whose act an entry tells of, as far as the entry tells.
fn is_what_was_done(operation: GuardedOperation, request: &Value, detail: &Value) -> bool {
    match operation {
        GuardedOperation::ScheduleKeyDeletion => request["days"] == detail["days"],
        GuardedOperation::PutKeyPolicy => {
            request["bypass_lockout_check"] == detail["bypass_lockout_check"]
                && request["policy"].as_str().map(sha256_of).as_deref()
                    == detail["policy_sha256"].as_str()
        }
        GuardedOperation::SetKeyLimits => ["uses_max", "size_bytes_max", "not_before", "not_after"]
            .into_iter()
            .all(|limit| request[limit] == detail[limit]),
        GuardedOperation::DeleteImportedKeyMaterial => {
            let named = &request["key_material_id"];
            let taken = detail["key_material"].as_array();
            (named.is_null() && taken.is_none_or(Vec::is_empty))
                || taken
                    .is_some_and(|taken| taken.iter().any(|one| one["key_material_id"] == *named))
        }
        GuardedOperation::BackupKeys => request["escrow_key_sha256"] == detail["escrow_key_sha256"],
        GuardedOperation::ChangeQuorumRule => detail["rule"]
            .as_str()
            .and_then(QuorumRule::parse)
            .is_some_and(|rule| rule.request().members == *request),
    }
}
