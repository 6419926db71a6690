//! A lifecycle configuration as a client states it.
//!
//! The member names are those of the AWS API, so that the JSON form is the one the AWS CLI reads
//! (`aws s3api put-bucket-lifecycle-configuration --lifecycle-configuration file://…`). Source:
//! Amazon S3 API Reference, `BucketLifecycleConfiguration`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strongroom_environment::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A lifecycle configuration, not yet checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RequestedConfiguration {
    /// The rules, in the client's order.
    #[serde(default)]
    pub rules: Vec<RequestedRule>,
    /// The header `x-amz-transition-default-minimum-object-size`, where it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition_default_minimum_object_size: Option<String>,
}

/// One rule, not yet checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RequestedRule {
    /// The rule's name; one is made for a rule without.
    #[serde(rename = "ID", default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `Enabled` or `Disabled`.
    #[serde(default)]
    pub status: String,
    /// The prefix in its old place, outside of a filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Which objects the rule is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<RequestedFilter>,
    /// Changes of storage class of current versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transitions: Vec<RequestedTransition>,
    /// The end of current versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<RequestedExpiration>,
    /// Changes of storage class of noncurrent versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub noncurrent_version_transitions: Vec<RequestedNoncurrentTransition>,
    /// The end of noncurrent versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noncurrent_version_expiration: Option<RequestedNoncurrentExpiration>,
    /// The end of multipart uploads that were never completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_incomplete_multipart_upload: Option<RequestedAbort>,
}

/// A filter: at most one member, or several inside `And`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RequestedFilter {
    /// The object key begins so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The object carries this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// The object is larger, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_size_greater_than: Option<i64>,
    /// The object is smaller, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_size_less_than: Option<i64>,
    /// All of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub and: Option<RequestedAnd>,
}

/// Several conditions of a filter, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RequestedAnd {
    /// The object key begins so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The object carries all of these tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// The object is larger, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_size_greater_than: Option<i64>,
    /// The object is smaller, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_size_less_than: Option<i64>,
}

/// An object tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Tag {
    /// The tag's key: 1 to 128 characters.
    pub key: String,
    /// The tag's value: up to 256 characters.
    pub value: String,
}

/// A change of storage class, after days or on a date.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RequestedTransition {
    /// Days after the object's creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<i32>,
    /// The date from which it is done, at midnight UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<RuleDate>,
    /// The storage class it goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
}

/// The end of current versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RequestedExpiration {
    /// Days after the object's creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<i32>,
    /// The date from which it is done, at midnight UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<RuleDate>,
    /// Whether a delete marker with no version behind it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired_object_delete_marker: Option<bool>,
}

/// A change of storage class of noncurrent versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RequestedNoncurrentTransition {
    /// Days after the version became noncurrent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noncurrent_days: Option<i32>,
    /// How many newer noncurrent versions are left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newer_noncurrent_versions: Option<i32>,
    /// The storage class it goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
}

/// The end of noncurrent versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RequestedNoncurrentExpiration {
    /// Days after the version became noncurrent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noncurrent_days: Option<i32>,
    /// How many newer noncurrent versions are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newer_noncurrent_versions: Option<i32>,
}

/// The end of multipart uploads that were never completed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RequestedAbort {
    /// Days after the upload was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days_after_initiation: Option<i32>,
}

/// A date of a rule: a moment in UTC, written as RFC 3339 or as a bare `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleDate(pub Timestamp);

impl RuleDate {
    /// Reads an RFC 3339 moment, or a bare date as its midnight in UTC.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let moment = if text.len() == "YYYY-MM-DD".len() {
            OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339)
        } else {
            OffsetDateTime::parse(text, &Rfc3339)
        };
        moment.ok().map(|moment| Self(Timestamp::from(moment)))
    }
}

impl fmt::Display for RuleDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for RuleDate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RuleDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format_args!("{text:?} is not a date (RFC 3339)"))
        })
    }
}
