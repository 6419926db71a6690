//! What the rules ask for, of one version, at one moment: pure functions of values.
//!
//! The service and the simulator both ask here and nowhere else, so that a rehearsed policy and a
//! policy in force cannot differ.
//!
//! # Moments
//!
//! Everything becomes due at a midnight UTC. `Days` are counted from the creation of the version
//! (or from when it became noncurrent) and rounded up to the next midnight: an object made on
//! 15 January at 10:30 with `Days` 3 is due on 19 January at 00:00. One made exactly at midnight
//! is due a whole day after its last day. A `Date` counts from that midnight on; an object made
//! later is due at the midnight after its creation, as long as the rule stands. Source: Amazon S3
//! User Guide, "Lifecycle rules: Based on an object's age" and "… Based on a specific date".
//!
//! # Conflicts
//!
//! Permanent deletion goes before a transition, and a transition before a delete marker. Of
//! several expirations the earliest counts; of several transitions the one to the coldest
//! (cheapest) class. Source: Amazon S3 User Guide, "Conflicting lifecycle actions".

use std::fmt::Write as _;

use strongroom_environment::Timestamp;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::rules::{Expiration, Filter, Rule, RuleId, RuleSet, Tag, When};
use crate::{StorageClass, Waterfall as _};

/// What is known of a version when its rules are looked at.
#[derive(Clone, Copy, Debug)]
pub struct VersionFacts<'a> {
    /// The object key.
    pub key: &'a str,
    /// The object's tags.
    pub tags: &'a [Tag],
    /// The length of the plaintext, in bytes.
    pub len_bytes: u64,
    /// The class it lies in now.
    pub class: StorageClass,
    /// When it was created.
    pub created: Timestamp,
    /// Its place among the versions of its key.
    pub standing: Standing,
}

/// The place of a version among the versions of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The current version, with data, and what becomes of it when it expires.
    Current(OnExpiry),
    /// A current delete marker.
    DeleteMarker {
        /// Whether there is no other version of the key.
        is_lone: bool,
    },
    /// A noncurrent version or delete marker.
    Noncurrent {
        /// When its successor was created.
        since: Timestamp,
        /// How many noncurrent versions of the key are newer.
        newer_noncurrent: u32,
    },
}

/// What becomes of a current version when it expires.
///
/// Source: Amazon S3 User Guide, "Expiring objects".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExpiry {
    /// It is removed for good: the bucket was never versioned, or versioning is suspended and the
    /// version is the null version, whose place the delete marker takes.
    Gone,
    /// It becomes noncurrent behind a delete marker.
    Noncurrent,
}

/// Something to be done with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The current version expires: see [`OnExpiry`].
    Expire,
    /// This noncurrent version, or this lone delete marker, is deleted for good.
    DeleteVersion,
    /// The version goes to a colder class.
    Transition(StorageClass),
}

/// An action that is due, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'r> {
    /// What is to be done.
    pub action: Action,
    /// The rule that asks for it.
    pub rule: &'r RuleId,
    /// Since when it is due.
    pub due: Timestamp,
}

/// The next midnight UTC after `days` whole days from `base`.
#[must_use]
pub fn midnight_after(base: Timestamp, days: u32) -> Timestamp {
    Timestamp::start_of_day(base.day().saturating_add(i64::from(days)).saturating_add(1))
}

/// When something that is asked for `when` becomes due for a version created at `created`.
#[must_use]
pub fn due_at(created: Timestamp, when: When) -> Timestamp {
    match when {
        When::AfterDays(days) => midnight_after(created, days),
        When::OnDate(date) => date.max(midnight_after(created, 0)),
    }
}

/// What is due of a version at `now`, in the order in which it is to be done.
///
/// There is at most a transition, and after it an expiration that only adds a delete marker.
#[must_use]
pub fn decide<'r>(
    rules: &'r RuleSet,
    facts: &VersionFacts<'_>,
    now: Timestamp,
) -> Vec<Decision<'r>> {
    let mut removal: Option<Decision<'r>> = None;
    let mut transition: Option<(Decision<'r>, StorageClass)> = None;
    each_candidate(rules, facts, |candidate| {
        if candidate.due > now {
            return;
        }
        if let Action::Transition(class) = candidate.action {
            let wins = transition.as_ref().is_none_or(|(best, coldest)| {
                class.is_colder_than(*coldest) || (class == *coldest && candidate.due < best.due)
            });
            if wins {
                transition = Some((candidate, class));
            }
        } else if removal.as_ref().is_none_or(|best| candidate.due < best.due) {
            removal = Some(candidate);
        }
    });
    let is_permanent = match facts.standing {
        Standing::Current(on_expiry) => on_expiry == OnExpiry::Gone,
        Standing::DeleteMarker { .. } | Standing::Noncurrent { .. } => true,
    };
    match (removal, transition) {
        (Some(removal), _) if is_permanent => vec![removal],
        (removal, transition) => transition
            .map(|(decision, _)| decision)
            .into_iter()
            .chain(removal)
            .collect(),
    }
}

/// The earliest moment at which [`decide`] has something to do for this version as it stands now.
#[must_use]
pub fn next_due(rules: &RuleSet, facts: &VersionFacts<'_>) -> Option<Timestamp> {
    let mut earliest: Option<Timestamp> = None;
    each_candidate(rules, facts, |candidate| {
        earliest = Some(earliest.map_or(candidate.due, |known| known.min(candidate.due)));
    });
    earliest
}

/// Everything the enabled rules will ever ask of the version as it stands now.
fn each_candidate<'r>(
    rules: &'r RuleSet,
    facts: &VersionFacts<'_>,
    mut candidate: impl FnMut(Decision<'r>),
) {
    for rule in rules.enabled() {
        if !rule.filter.matches(facts.key, facts.tags, facts.len_bytes) {
            continue;
        }
        match facts.standing {
            Standing::Current(_) => {
                for transition in &rule.transitions {
                    if may_move(rules, rule, facts, transition.class) {
                        candidate(Decision {
                            action: Action::Transition(transition.class),
                            rule: &rule.id,
                            due: due_at(facts.created, transition.when),
                        });
                    }
                }
                if let Some(Expiration::When(when)) = rule.expiration {
                    candidate(Decision {
                        action: Action::Expire,
                        rule: &rule.id,
                        due: due_at(facts.created, when),
                    });
                }
            }
            Standing::DeleteMarker { is_lone: false } => {}
            Standing::DeleteMarker { is_lone: true } => {
                // A delete marker has no tags and no size, so only a rule without either is meant;
                // the filter has seen to that. An aged one goes with Days and Date too.
                let due = match rule.expiration {
                    Some(Expiration::LoneDeleteMarker) => midnight_after(facts.created, 0),
                    Some(Expiration::When(when)) => due_at(facts.created, when),
                    None => continue,
                };
                candidate(Decision {
                    action: Action::DeleteVersion,
                    rule: &rule.id,
                    due,
                });
            }
            Standing::Noncurrent {
                since,
                newer_noncurrent,
            } => {
                for transition in &rule.noncurrent_transitions {
                    if newer_noncurrent >= transition.newer_kept
                        && may_move(rules, rule, facts, transition.class)
                    {
                        candidate(Decision {
                            action: Action::Transition(transition.class),
                            rule: &rule.id,
                            due: midnight_after(since, transition.after_days),
                        });
                    }
                }
                if let Some(expiration) = rule.noncurrent_expiration
                    && newer_noncurrent >= expiration.newer_kept
                {
                    candidate(Decision {
                        action: Action::DeleteVersion,
                        rule: &rule.id,
                        due: midnight_after(since, expiration.after_days),
                    });
                }
            }
        }
    }
}

fn may_move(rules: &RuleSet, rule: &Rule, facts: &VersionFacts<'_>, class: StorageClass) -> bool {
    facts.class.may_go_to(class)
        && (rule.filter.has_size_bound() || rules.minimum().allows(facts.len_bytes, class))
}

/// When a multipart upload begun at `initiated` under `key` is to be given up.
///
/// Source: Amazon S3 User Guide, "Configuring a bucket lifecycle configuration to delete
/// incomplete multipart uploads".
#[must_use]
pub fn upload_abort_due<'r>(
    rules: &'r RuleSet,
    key: &str,
    initiated: Timestamp,
) -> Option<(Timestamp, &'r RuleId)> {
    rules
        .enabled()
        .filter(|rule| key.starts_with(&rule.filter.prefix))
        .filter_map(|rule| {
            let days = rule.abort_uploads_after_days?;
            Some((midnight_after(initiated, days), &rule.id))
        })
        .min_by_key(|(due, _)| *due)
}

/// When the current version expires, and by which rule: the header `x-amz-expiration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpirationNotice<'r> {
    /// From when on the version may be gone.
    pub expires: Timestamp,
    /// The rule that ends it.
    pub rule: &'r RuleId,
}

impl ExpirationNotice<'_> {
    /// The header's value: the date as in RFC 9110, the rule name percent-encoded.
    #[must_use]
    pub fn header_value(&self) -> String {
        format!(
            "expiry-date=\"{}\", rule-id=\"{}\"",
            http_date(self.expires),
            percent_encoded(self.rule.as_str())
        )
    }
}

/// The notice for a current version, if a rule ends it.
///
/// Source: Amazon S3 API Reference, `HeadObject`, `x-amz-expiration`.
#[must_use]
pub fn expiration_notice<'r>(
    rules: &'r RuleSet,
    key: &str,
    tags: &[Tag],
    len_bytes: u64,
    created: Timestamp,
) -> Option<ExpirationNotice<'r>> {
    let matches = |filter: &Filter| filter.matches(key, tags, len_bytes);
    rules
        .enabled()
        .filter(|rule| matches(&rule.filter))
        .filter_map(|rule| match rule.expiration {
            Some(Expiration::When(when)) => Some(ExpirationNotice {
                expires: due_at(created, when),
                rule: &rule.id,
            }),
            Some(Expiration::LoneDeleteMarker) | None => None,
        })
        .min_by_key(|notice| notice.expires)
}

/// A moment as HTTP writes it: `Fri, 21 Dec 2012 00:00:00 GMT` (RFC 9110, section 5.6.7).
#[must_use]
pub fn http_date(moment: Timestamp) -> String {
    const FORM: &[BorrowedFormatItem<'_>] = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    // The form asks only for members that every UTC moment has.
    moment
        .to_utc()
        .format(&FORM)
        .unwrap_or_else(|_| moment.to_string())
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
