//! Rules that have been checked: every value of these types can be carried out.

use std::fmt;

use strongroom_environment::Timestamp;

use super::Tag;
use crate::StorageClass;

/// The name of a rule: 1 to 255 characters, unlike that of any other rule of its bucket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub(super) String);

impl RuleId {
    /// The name as the client wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The rules of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    pub(super) rules: Vec<Rule>,
    pub(super) minimum: TransitionMinimum,
}

impl RuleSet {
    /// The rules, in the client's order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules that are turned on.
    pub fn enabled(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.enabled)
    }

    /// Which small objects stay where they are.
    #[must_use]
    pub fn minimum(&self) -> TransitionMinimum {
        self.minimum
    }
}

/// Which small objects no transition moves, unless the filter of its rule speaks of sizes.
///
/// Source: Amazon S3 API Reference, `PutBucketLifecycleConfiguration`, header
/// `x-amz-transition-default-minimum-object-size`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransitionMinimum {
    /// `all_storage_classes_128K`: objects under 128 KiB stay, whatever the class.
    #[default]
    AllStorageClasses128K,
    /// `varies_by_storage_class`: objects under 128 KiB go to GLACIER and DEEP_ARCHIVE only.
    VariesByStorageClass,
}

impl TransitionMinimum {
    /// The size from which an object is moved, in bytes.
    pub const LEN_BYTES_MIN: u64 = 128 * 1024;

    /// The header's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllStorageClasses128K => "all_storage_classes_128K",
            Self::VariesByStorageClass => "varies_by_storage_class",
        }
    }

    /// Whether an object of this size may go to `class`.
    #[must_use]
    pub fn allows(self, len_bytes: u64, class: StorageClass) -> bool {
        len_bytes >= Self::LEN_BYTES_MIN
            || (self == Self::VariesByStorageClass && class.is_archived())
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub id: RuleId,
    /// Whether it is carried out.
    pub enabled: bool,
    /// Which objects it is for.
    pub filter: Filter,
    /// Changes of storage class of current versions.
    pub transitions: Vec<Transition>,
    /// The end of current versions.
    pub expiration: Option<Expiration>,
    /// Changes of storage class of noncurrent versions.
    pub noncurrent_transitions: Vec<NoncurrentTransition>,
    /// The end of noncurrent versions.
    pub noncurrent_expiration: Option<NoncurrentExpiration>,
    /// Days after which a multipart upload that was not completed is given up.
    pub abort_uploads_after_days: Option<u32>,
}

/// Which objects a rule is for: those for which every condition holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The object key begins so; empty is every key.
    pub prefix: String,
    /// The object carries all of these.
    pub tags: Vec<Tag>,
    /// The object is larger than this, in bytes.
    pub larger_than_bytes: Option<u64>,
    /// The object is smaller than this, in bytes.
    pub smaller_than_bytes: Option<u64>,
}

impl Filter {
    /// Whether an object of this key, tags and size is meant.
    #[must_use]
    pub fn matches(&self, key: &str, tags: &[Tag], len_bytes: u64) -> bool {
        key.starts_with(&self.prefix)
            && self.larger_than_bytes.is_none_or(|bound| len_bytes > bound)
            && self
                .smaller_than_bytes
                .is_none_or(|bound| len_bytes < bound)
            && self.tags.iter().all(|tag| tags.contains(tag))
    }

    /// Whether the filter speaks of sizes, which sets the default minimum aside.
    #[must_use]
    pub fn has_size_bound(&self) -> bool {
        self.larger_than_bytes.is_some() || self.smaller_than_bytes.is_some()
    }
}

/// When something becomes due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// So many days after the object's creation, at the next midnight UTC.
    AfterDays(u32),
    /// From this midnight UTC on.
    OnDate(Timestamp),
}

/// A change of storage class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// When.
    pub when: When,
    /// To which class.
    pub class: StorageClass,
}

/// The end of current versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiration {
    /// The version ends.
    When(When),
    /// A delete marker with no version behind it is removed; versions stay.
    LoneDeleteMarker,
}

/// A change of storage class of noncurrent versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoncurrentTransition {
    /// Days after the version became noncurrent.
    pub after_days: u32,
    /// How many newer noncurrent versions are left alone.
    pub newer_kept: u32,
    /// To which class.
    pub class: StorageClass,
}

/// The end of noncurrent versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoncurrentExpiration {
    /// Days after the version became noncurrent.
    pub after_days: u32,
    /// How many newer noncurrent versions are kept.
    pub newer_kept: u32,
}
