//! What is known of a request, under the names of condition keys.
//!
//! Source: AWS KMS Developer Guide, "Condition keys for AWS KMS"; AWS IAM User Guide, "AWS global
//! condition context keys".

use strongroom_environment::Timestamp;

use super::principal::Principal;
use crate::arn::{Home, KeyReference};
use crate::caller::{Caller, Standing};
use crate::context::EncryptionContext;

/// What a request wants of a key.
#[derive(Clone, Debug)]
pub(in crate::kms) struct Wish<'a> {
    /// The action without its `kms:`, such as `Decrypt`.
    pub(in crate::kms) action: &'a str,
    pub(in crate::kms) context: Option<&'a EncryptionContext>,
    /// How the caller named the key.
    pub(in crate::kms) reference: Option<&'a KeyReference>,
    /// The object half asks on behalf of the caller.
    pub(in crate::kms) through_store: bool,
    more: Vec<(&'static str, Vec<String>)>,
}

impl<'a> Wish<'a> {
    pub(in crate::kms) fn to(action: &'a str) -> Self {
        Self {
            action,
            context: None,
            reference: None,
            through_store: false,
            more: Vec::new(),
        }
    }

    pub(in crate::kms) fn context(mut self, context: &'a EncryptionContext) -> Self {
        self.context = Some(context);
        self
    }

    pub(in crate::kms) fn reference(mut self, reference: &'a KeyReference) -> Self {
        self.reference = Some(reference);
        self
    }

    pub(in crate::kms) fn through_store(mut self) -> Self {
        self.through_store = true;
        self
    }

    /// A fact that only requests of this kind have, such as `kms:RotationPeriodInDays`.
    pub(in crate::kms) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.more.push((name, vec![value.to_string()]));
        self
    }

    /// The same with several values.
    pub(in crate::kms) fn with_all(
        mut self,
        name: &'static str,
        values: impl IntoIterator<Item = String>,
    ) -> Self {
        self.more.push((name, values.into_iter().collect()));
        self
    }
}

/// What is known of the key.
#[derive(Clone, Debug, Default)]
pub(in crate::kms) struct KeyFacts {
    pub(in crate::kms) spec: &'static str,
    pub(in crate::kms) usage: &'static str,
    pub(in crate::kms) origin: &'static str,
    /// Read only where a policy asks for them.
    pub(in crate::kms) tags: Vec<(String, String)>,
    /// Read only where a policy asks for them.
    pub(in crate::kms) aliases: Vec<String>,
}

/// Everything a condition can look at.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) home: &'a Home,
    pub(super) caller: &'a Caller,
    pub(super) key: &'a KeyFacts,
    pub(super) wish: &'a Wish<'a>,
    pub(super) now: Timestamp,
}

const CONTEXT: &str = "kms:encryptioncontext:";
const RESOURCE_TAG: &str = "aws:resourcetag/";

/// Whether a condition key asks for the tags of the key.
pub(super) fn is_of_tags(key: &str) -> bool {
    key.to_ascii_lowercase().starts_with(RESOURCE_TAG)
}

/// Whether a condition key asks for the aliases of the key.
pub(super) fn is_of_aliases(key: &str) -> bool {
    key.eq_ignore_ascii_case("kms:ResourceAliases")
}

impl Facts<'_> {
    /// The values of a condition key, whose name may be in any case; none where the request has
    /// no such key.
    pub(super) fn get(&self, key: &str) -> Vec<String> {
        let name = key.to_ascii_lowercase();
        if name.starts_with(CONTEXT) {
            let pairs = self
                .wish
                .context
                .into_iter()
                .flat_map(EncryptionContext::given);
            return named(pairs, &key[CONTEXT.len()..]);
        }
        if name.starts_with(RESOURCE_TAG) {
            let tags = self.key.tags.iter();
            let tags = tags.map(|(name, value)| (name.as_str(), value.as_str()));
            return named(tags, &key[RESOURCE_TAG.len()..]);
        }
        let one = |value: &str| vec![value.to_owned()];
        let arn = || Principal::arn_of(self.caller, self.home);
        match name.as_str() {
            "kms:calleraccount"
            | "aws:principalaccount"
            | "aws:resourceaccount"
            | "aws:sourceaccount" => one(&self.home.account),
            "kms:encryptioncontextkeys" => self
                .wish
                .context
                .into_iter()
                .flat_map(EncryptionContext::given)
                .map(|(name, _)| name.to_owned())
                .collect(),
            "kms:viaservice" if self.wish.through_store => {
                vec![format!("s3.{}.amazonaws.com", self.home.region)]
            }
            "aws:calledvia" | "aws:calledviafirst" | "aws:calledvialast"
                if self.wish.through_store =>
            {
                one("s3.amazonaws.com")
            }
            "strongroom:store" => self.caller.store.iter().map(ToString::to_string).collect(),
            "aws:viaawsservice" => vec![self.wish.through_store.to_string()],
            "kms:keyspec" | "kms:customermasterkeyspec" => one(self.key.spec),
            "kms:keyusage" | "kms:customermasterkeyusage" => one(self.key.usage),
            "kms:keyorigin" => one(self.key.origin),
            "kms:multiregion" => one("false"),
            "kms:resourcealiases" => self.key.aliases.clone(),
            "kms:requestalias" => match self.wish.reference {
                Some(KeyReference::Alias(alias) | KeyReference::AliasArn { alias, .. }) => {
                    one(alias.as_str())
                }
                _ => Vec::new(),
            },
            "aws:principalarn" => vec![arn()],
            "aws:principaltype" => one(match self.caller.standing {
                Standing::User(_) => "User",
                Standing::Root | Standing::Daemon => "Account",
            }),
            "aws:userid" => match self.caller.standing {
                Standing::User(_) => one(&self.caller.principal),
                Standing::Root | Standing::Daemon => one(&self.home.account),
            },
            "aws:username" => match self.caller.standing {
                Standing::User(_) => one(&self.caller.principal),
                Standing::Root | Standing::Daemon => Vec::new(),
            },
            "aws:requestedregion" => one(&self.home.region),
            "aws:sourceip" => self.caller.source.iter().map(ToString::to_string).collect(),
            "aws:currenttime" => vec![self.now.to_string()],
            "aws:epochtime" => vec![self.now.micros().div_euclid(1_000_000).to_string()],
            _ => self
                .wish
                .more
                .iter()
                .filter(|(more, _)| more.eq_ignore_ascii_case(key))
                .flat_map(|(_, values)| values.iter().cloned())
                .collect(),
        }
    }
}

/// The value under exactly that name, or else those under names that differ from it in case only.
fn named<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>, name: &str) -> Vec<String> {
    let alike: Vec<_> = pairs
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .collect();
    let exact = alike.iter().find(|(found, _)| *found == name);
    match exact {
        Some((_, value)) => vec![(*value).to_owned()],
        None => alike.iter().map(|(_, value)| (*value).to_owned()).collect(),
    }
}
