//! Checks a requested configuration as AWS does.
//!
//! Codes and messages follow what Amazon S3 answers to `PutBucketLifecycleConfiguration`; where
//! the reference is silent about the words, only the code follows.

use std::collections::BTreeSet;

use strongroom_environment::{Entropy, Timestamp};

use super::requested::{
    RequestedConfiguration, RequestedExpiration, RequestedFilter, RequestedRule,
    RequestedTransition, RuleDate, Tag,
};
use super::rule::{
    Expiration, Filter, NoncurrentExpiration, NoncurrentTransition, Rule, RuleId, RuleSet,
    Transition, TransitionMinimum, When,
};
use crate::{StorageClass, Waterfall as _};

/// The most rules a bucket may have (Amazon S3 User Guide, "Setting an S3 Lifecycle
/// configuration").
const RULES_MAX: usize = 1_000;
/// The longest rule name, in characters.
const ID_CHARS_MAX: usize = 255;
/// The most newer noncurrent versions a rule may keep.
const NEWER_NONCURRENT_MAX: i32 = 100;

/// Why a configuration was refused. The client is at fault, and nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// The form is wrong: S3 code `MalformedXML`.
    #[error("the lifecycle configuration is not well-formed: {reason}")]
    MalformedXml {
        /// What was wrong, for the log; S3 says only that the XML is not well-formed.
        reason: String,
    },
    /// A value is wrong: S3 code `InvalidArgument`.
    #[error("{message}")]
    InvalidArgument {
        /// What to tell the client.
        message: String,
    },
    /// The parts do not go together: S3 code `InvalidRequest`.
    #[error("{message}")]
    InvalidRequest {
        /// What to tell the client.
        message: String,
    },
    /// The rule is valid, but asks for what is not carried out here: S3 code `NotImplemented`.
    #[error("{feature} is not implemented")]
    NotImplemented {
        /// What was asked for.
        feature: &'static str,
    },
}

fn malformed(reason: impl Into<String>) -> RuleError {
    RuleError::MalformedXml {
        reason: reason.into(),
    }
}

fn argument(message: impl Into<String>) -> RuleError {
    RuleError::InvalidArgument {
        message: message.into(),
    }
}

fn request(message: impl Into<String>) -> RuleError {
    RuleError::InvalidRequest {
        message: message.into(),
    }
}

impl RequestedConfiguration {
    /// Names the rules that came without a name, as S3 does.
    pub fn name_rules(&mut self, entropy: &dyn Entropy) {
        for rule in &mut self.rules {
            if rule.id.as_deref().is_none_or(str::is_empty) {
                let mut random = [0; 16];
                entropy.fill(&mut random);
                rule.id = Some(data_encoding::HEXLOWER.encode(&random));
            }
        }
    }

    /// Checks the configuration whole.
    ///
    /// # Errors
    /// [`RuleError`], for the first thing found wrong.
    pub fn validate(&self) -> Result<RuleSet, RuleError> {
        if self.rules.is_empty() {
            return Err(malformed("there is no rule"));
        }
        if self.rules.len() > RULES_MAX {
            return Err(request(format!(
                "The number of lifecycle rules must not exceed the allowed limit of {RULES_MAX} rules"
            )));
        }
        let minimum = match self.transition_default_minimum_object_size.as_deref() {
            None | Some("all_storage_classes_128K") => TransitionMinimum::AllStorageClasses128K,
            Some("varies_by_storage_class") => TransitionMinimum::VariesByStorageClass,
            Some(other) => {
                return Err(request(format!(
                    "Invalid TransitionDefaultMinimumObjectSize found: {other}"
                )));
            }
        };
        let mut names = BTreeSet::new();
        let mut rules = Vec::with_capacity(self.rules.len());
        for requested in &self.rules {
            let rule = requested.validate()?;
            if !names.insert(rule.id.clone()) {
                return Err(argument(
                    "Rule ID must be unique. Found same ID for more than one rule",
                ));
            }
            rules.push(rule);
        }
        Ok(RuleSet { rules, minimum })
    }
}

impl RequestedRule {
    fn validate(&self) -> Result<Rule, RuleError> {
        let id = match self.id.as_deref() {
            None | Some("") => return Err(malformed("a rule has no ID")),
            Some(id) if id.chars().count() > ID_CHARS_MAX => {
                return Err(argument(format!(
                    "ID length should not exceed allowed limit of {ID_CHARS_MAX}"
                )));
            }
            Some(id) => RuleId(id.to_owned()),
        };
        let enabled = match self.status.as_str() {
            "Enabled" => true,
            "Disabled" => false,
            other => return Err(malformed(format!("Status is {other:?}"))),
        };
        let filter = match (&self.filter, &self.prefix) {
            (Some(filter), None) => filter.validate()?,
            (None, Some(prefix)) => Filter {
                prefix: prefix.clone(),
                ..Filter::default()
            },
            (None, None) => return Err(malformed("a rule has neither Filter nor Prefix")),
            (Some(_), Some(_)) => return Err(malformed("a rule has both Filter and Prefix")),
        };
        let transitions = self.transitions(&filter)?;
        let expiration = self
            .expiration
            .as_ref()
            .map(RequestedExpiration::validate)
            .transpose()?
            .flatten();
        let noncurrent_transitions = self.noncurrent_transitions(&filter)?;
        let noncurrent_expiration = self.noncurrent_expiration()?;
        let abort_uploads_after_days = self.abort()?;

        if transitions.is_empty()
            && self.expiration.is_none()
            && noncurrent_transitions.is_empty()
            && noncurrent_expiration.is_none()
            && abort_uploads_after_days.is_none()
        {
            return Err(request(
                "At least one action needs to be specified in a rule",
            ));
        }
        for (present, action) in [
            (
                abort_uploads_after_days.is_some(),
                "AbortIncompleteMultipartUpload",
            ),
            (
                expiration == Some(Expiration::LoneDeleteMarker),
                "ExpiredObjectDeleteMarker",
            ),
        ] {
            if present && !filter.tags.is_empty() {
                return Err(request(format!("{action} cannot be specified with Tags.")));
            }
            if present && filter.has_size_bound() {
                return Err(request(format!(
                    "{action} cannot be specified with Object Size."
                )));
            }
        }
        check_order(&transitions, expiration, &filter)?;
        if let Some(expiration) = noncurrent_expiration {
            for transition in &noncurrent_transitions {
                if transition.after_days >= expiration.after_days {
                    return Err(argument(format!(
                        "'NoncurrentDays' in the NoncurrentVersionExpiration action for filter '{}' must be greater than 'NoncurrentDays' in the NoncurrentVersionTransition action",
                        shown(&filter)
                    )));
                }
            }
        }
        Ok(Rule {
            id,
            enabled,
            filter,
            transitions,
            expiration,
            noncurrent_transitions,
            noncurrent_expiration,
            abort_uploads_after_days,
        })
    }

    fn transitions(&self, filter: &Filter) -> Result<Vec<Transition>, RuleError> {
        let mut transitions: Vec<Transition> = Vec::new();
        for requested in &self.transitions {
            let transition = requested.validate()?;
            if transitions
                .iter()
                .any(|other| other.class == transition.class)
            {
                return Err(same_class("Transition", filter));
            }
            transitions.push(transition);
        }
        Ok(transitions)
    }

    fn noncurrent_transitions(
        &self,
        filter: &Filter,
    ) -> Result<Vec<NoncurrentTransition>, RuleError> {
        const ACTION: &str = "NoncurrentVersionTransition";
        let mut transitions: Vec<NoncurrentTransition> = Vec::new();
        for requested in &self.noncurrent_version_transitions {
            let days = requested
                .noncurrent_days
                .ok_or_else(|| malformed(format!("{ACTION} has no NoncurrentDays")))?;
            let transition = NoncurrentTransition {
                after_days: u32::try_from(days).map_err(|_| {
                    argument(format!(
                        "'NoncurrentDays' in {ACTION} action must be nonnegative"
                    ))
                })?,
                newer_kept: newer_kept(requested.newer_noncurrent_versions, ACTION)?,
                class: transition_class(requested.storage_class.as_deref())?,
            };
            if transitions
                .iter()
                .any(|other| other.class == transition.class)
            {
                return Err(same_class(ACTION, filter));
            }
            for other in &transitions {
                check_pair(
                    (u64::from(other.after_days), other.class),
                    (u64::from(transition.after_days), transition.class),
                    "NoncurrentDays",
                    ACTION,
                    filter,
                )?;
            }
            transitions.push(transition);
        }
        Ok(transitions)
    }

    fn noncurrent_expiration(&self) -> Result<Option<NoncurrentExpiration>, RuleError> {
        const ACTION: &str = "NoncurrentVersionExpiration";
        let Some(requested) = &self.noncurrent_version_expiration else {
            return Ok(None);
        };
        let days = requested
            .noncurrent_days
            .ok_or_else(|| malformed(format!("{ACTION} has no NoncurrentDays")))?;
        Ok(Some(NoncurrentExpiration {
            after_days: positive(days, "NoncurrentDays", ACTION)?,
            newer_kept: newer_kept(requested.newer_noncurrent_versions, ACTION)?,
        }))
    }

    fn abort(&self) -> Result<Option<u32>, RuleError> {
        const ACTION: &str = "AbortIncompleteMultipartUpload";
        let Some(requested) = &self.abort_incomplete_multipart_upload else {
            return Ok(None);
        };
        let days = requested
            .days_after_initiation
            .ok_or_else(|| malformed(format!("{ACTION} has no DaysAfterInitiation")))?;
        positive(days, "DaysAfterInitiation", ACTION).map(Some)
    }
}

impl RequestedFilter {
    fn validate(&self) -> Result<Filter, RuleError> {
        let outside = [
            self.prefix.is_some(),
            self.tag.is_some(),
            self.object_size_greater_than.is_some(),
            self.object_size_less_than.is_some(),
            self.and.is_some(),
        ];
        if outside.iter().filter(|present| **present).count() > 1 {
            return Err(malformed("a Filter has several conditions outside of And"));
        }
        let filter = if let Some(and) = &self.and {
            let conditions = usize::from(and.prefix.is_some())
                + and.tags.len()
                + usize::from(and.object_size_greater_than.is_some())
                + usize::from(and.object_size_less_than.is_some());
            if conditions < 2 {
                return Err(malformed("an And has fewer than two conditions"));
            }
            Filter {
                prefix: and.prefix.clone().unwrap_or_default(),
                tags: and.tags.clone(),
                larger_than_bytes: size(and.object_size_greater_than, "ObjectSizeGreaterThan", 0)?,
                smaller_than_bytes: size(and.object_size_less_than, "ObjectSizeLessThan", 1)?,
            }
        } else {
            Filter {
                prefix: self.prefix.clone().unwrap_or_default(),
                tags: self.tag.iter().cloned().collect(),
                larger_than_bytes: size(self.object_size_greater_than, "ObjectSizeGreaterThan", 0)?,
                smaller_than_bytes: size(self.object_size_less_than, "ObjectSizeLessThan", 1)?,
            }
        };
        check_tags(&filter.tags)?;
        if let (Some(larger), Some(smaller)) = (filter.larger_than_bytes, filter.smaller_than_bytes)
            && larger >= smaller
        {
            return Err(request(
                "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.",
            ));
        }
        Ok(filter)
    }
}

impl RequestedTransition {
    fn validate(&self) -> Result<Transition, RuleError> {
        let class = transition_class(self.storage_class.as_deref())?;
        let when = match (self.days, self.date) {
            (Some(days), None) => When::AfterDays(
                u32::try_from(days)
                    .map_err(|_| argument("'Days' in Transition action must be nonnegative"))?,
            ),
            (None, Some(date)) => When::OnDate(midnight(date)?),
            (None, None) => return Err(malformed("a Transition has neither Days nor Date")),
            (Some(_), Some(_)) => return Err(malformed("a Transition has both Days and Date")),
        };
        Ok(Transition { when, class })
    }
}

impl RequestedExpiration {
    /// `None` is `ExpiredObjectDeleteMarker` given as false: an action that does nothing.
    fn validate(&self) -> Result<Option<Expiration>, RuleError> {
        match (self.days, self.date, self.expired_object_delete_marker) {
            (Some(days), None, None) => Ok(Some(Expiration::When(When::AfterDays(positive(
                days,
                "Days",
                "Expiration",
            )?)))),
            (None, Some(date), None) => Ok(Some(Expiration::When(When::OnDate(midnight(date)?)))),
            (None, None, Some(wanted)) => Ok(wanted.then_some(Expiration::LoneDeleteMarker)),
            (None, None, None) => Err(malformed("an Expiration says nothing")),
            _ => Err(malformed(
                "an Expiration has more than one of Days, Date and ExpiredObjectDeleteMarker",
            )),
        }
    }
}

/// The class a transition may name; anything else is not in the schema, so the form is wrong.
fn transition_class(name: Option<&str>) -> Result<StorageClass, RuleError> {
    let name = name.ok_or_else(|| malformed("a transition has no StorageClass"))?;
    match StorageClass::parse(name) {
        Some(StorageClass::Standard | StorageClass::ReducedRedundancy) | None => {
            Err(malformed(format!("no transition goes to {name:?}")))
        }
        Some(class) => Ok(class),
    }
}

fn positive(days: i32, member: &str, action: &str) -> Result<u32, RuleError> {
    match u32::try_from(days) {
        Ok(days) if days > 0 => Ok(days),
        _ => Err(argument(format!(
            "'{member}' for {action} action must be a positive integer"
        ))),
    }
}

fn newer_kept(count: Option<i32>, action: &str) -> Result<u32, RuleError> {
    match count {
        None => Ok(0),
        Some(count) if (1..=NEWER_NONCURRENT_MAX).contains(&count) => Ok(count.unsigned_abs()),
        Some(_) => Err(argument(format!(
            "'NewerNoncurrentVersions' for {action} action must be between 1 and {NEWER_NONCURRENT_MAX}"
        ))),
    }
}

fn midnight(date: RuleDate) -> Result<Timestamp, RuleError> {
    if Timestamp::start_of_day(date.0.day()) == date.0 {
        Ok(date.0)
    } else {
        Err(argument("'Date' must be at midnight GMT"))
    }
}

fn size(bound: Option<i64>, member: &str, least: u64) -> Result<Option<u64>, RuleError> {
    bound
        .map(|bound| {
            u64::try_from(bound)
                .ok()
                .filter(|bound| *bound >= least)
                .ok_or_else(|| argument(format!("'{member}' must be at least {least}")))
        })
        .transpose()
}

fn check_tags(tags: &[Tag]) -> Result<(), RuleError> {
    let mut keys = BTreeSet::new();
    for tag in tags {
        if !(1..=128).contains(&tag.key.chars().count()) || tag.key.starts_with("aws:") {
            return Err(request("The TagKey you have provided is invalid"));
        }
        if tag.value.chars().count() > 256 {
            return Err(request("The TagValue you have provided is invalid"));
        }
        if !keys.insert(&tag.key) {
            return Err(request("Duplicate Tag Keys are not allowed."));
        }
    }
    Ok(())
}

/// Checks that a rule's actions on current versions come in an order that can be followed.
fn check_order(
    transitions: &[Transition],
    expiration: Option<Expiration>,
    filter: &Filter,
) -> Result<(), RuleError> {
    let expiration = match expiration {
        Some(Expiration::When(when)) => Some(when),
        Some(Expiration::LoneDeleteMarker) | None => None,
    };
    let moments = || {
        transitions
            .iter()
            .map(|transition| transition.when)
            .chain(expiration)
    };
    if moments().any(|when| matches!(when, When::AfterDays(_)))
        && moments().any(|when| matches!(when, When::OnDate(_)))
    {
        return Err(request(format!(
            "Found mixed 'Date' and 'Days' based Expiration and Transition actions in lifecycle rule for filter '{}'",
            shown(filter)
        )));
    }
    for (position, later) in transitions.iter().enumerate() {
        for earlier in &transitions[..position] {
            let member = match later.when {
                When::AfterDays(_) => "Days",
                When::OnDate(_) => "Date",
            };
            check_pair(
                (order_of(earlier.when), earlier.class),
                (order_of(later.when), later.class),
                member,
                "Transition",
                filter,
            )?;
        }
    }
    let Some(end) = expiration else {
        return Ok(());
    };
    if transitions
        .iter()
        .any(|transition| order_of(transition.when) >= order_of(end))
    {
        return Err(match end {
            When::AfterDays(_) => argument(format!(
                "'Days' in the Expiration action for filter '{}' must be greater than 'Days' in the Transition action",
                shown(filter)
            )),
            When::OnDate(_) => request(format!(
                "'Date' in the Expiration action for filter '{}' must be later than 'Date' in the Transition action",
                shown(filter)
            )),
        });
    }
    Ok(())
}

/// A number that grows with the moment, to compare moments of one kind.
fn order_of(when: When) -> u64 {
    match when {
        When::AfterDays(days) => u64::from(days),
        // Shifted so that the order of dates before 1970 stays.
        When::OnDate(date) => date.micros().cast_unsigned() ^ (1 << 63),
    }
}

/// Checks that the colder of two classes of a rule comes later than the warmer.
fn check_pair(
    one: (u64, StorageClass),
    other: (u64, StorageClass),
    member: &str,
    action: &str,
    filter: &Filter,
) -> Result<(), RuleError> {
    let (warmer, colder) = if one.1.is_colder_than(other.1) {
        (other, one)
    } else {
        (one, other)
    };
    if colder.0 > warmer.0 {
        return Ok(());
    }
    Err(argument(format!(
        "'{member}' in the {action} action for StorageClass '{}' for filter '{}' must be greater than '{member}' in the {action} action for StorageClass '{}'",
        colder.1.as_str(),
        shown(filter),
        warmer.1.as_str(),
    )))
}

fn same_class(action: &str, filter: &Filter) -> RuleError {
    request(format!(
        "'StorageClass' must be different for '{action}' actions in same 'Rule' with filter '{}'",
        shown(filter)
    ))
}

/// A filter as S3 shows it in messages.
fn shown(filter: &Filter) -> String {
    format!("(prefix={})", filter.prefix)
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
