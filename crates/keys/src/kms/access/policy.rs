//! The policy of a key: a document in the language of IAM.
//!
//! Source: AWS KMS Developer Guide, "Key policies in AWS KMS"; AWS IAM User Guide, "Grammar of the
//! IAM JSON policy language".

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::json;

use super::condition::Condition;
use super::facts::{self, Facts};
use super::pattern;
use super::principal::Principal;
use crate::arn::Home;
use crate::error::KeyError;

/// A policy that was read and found sound.
#[derive(Clone, Debug)]
pub(in crate::kms) struct Policy {
    statements: Vec<Statement>,
}

#[derive(Clone, Debug)]
struct Statement {
    denies: bool,
    principals: Vec<Named>,
    /// Lower-case. A statement without actions or resources has no effect.
    actions: Option<Patterns>,
    resources: Option<Patterns>,
    conditions: Vec<Condition>,
}

/// Whom a statement is about.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Named {
    Everyone,
    One(Principal),
    /// A service of AWS. None acts here by itself.
    Service,
}

#[derive(Clone, Debug)]
struct Patterns {
    patterns: Vec<String>,
    /// Whatever is none of them.
    negated: bool,
}

/// What a policy says of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PolicyVerdict {
    Denies,
    /// To the caller, by name or as one of everybody.
    Allows,
    /// To the account, which leaves it to the role.
    AllowsAccount,
    Silent,
}

impl Policy {
    /// The longest policy, in bytes.
    ///
    /// Source: AWS KMS Developer Guide, "Resource quotas".
    pub(in crate::kms) const LEN_BYTES_MAX: usize = 32 * 1024;

    /// Reads a document.
    ///
    /// # Errors
    /// [`KeyError::MalformedPolicy`].
    pub(in crate::kms) fn parse(text: &str, home: &Home) -> Result<Self, KeyError> {
        let malformed = |why: String| KeyError::MalformedPolicy { why };
        let document: Document = serde_json::from_str(text)
            .map_err(|error| malformed(format!("the document is not one of a policy: {error}")))?;
        if let Some(version) = &document.version
            && !["2012-10-17", "2008-10-17"].contains(&version.as_str())
        {
            return Err(malformed("Version is 2012-10-17 or 2008-10-17".into()));
        }
        let mut sids: Vec<&str> = document
            .statement
            .0
            .iter()
            .filter_map(|statement| statement.sid.as_deref())
            .collect();
        sids.sort_unstable();
        if sids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(malformed("two statements have the same Sid".into()));
        }
        let has_variables = document.version.as_deref() == Some("2012-10-17");
        let statements = document
            .statement
            .0
            .iter()
            .map(|statement| statement.checked(home, has_variables))
            .collect::<Result<Vec<_>, String>>()
            .map_err(malformed)?;
        if statements.is_empty() {
            return Err(malformed("a policy has a statement".into()));
        }
        Ok(Self { statements })
    }

    /// The users that the policy names.
    pub(in crate::kms) fn principals(&self) -> impl Iterator<Item = &Principal> {
        self.statements
            .iter()
            .flat_map(|statement| &statement.principals)
            .filter_map(|named| match named {
                Named::One(principal) => Some(principal),
                Named::Everyone | Named::Service => None,
            })
    }

    pub(super) fn asks_for_tags(&self) -> bool {
        self.asks(facts::is_of_tags)
    }

    pub(super) fn asks_for_aliases(&self) -> bool {
        self.asks(facts::is_of_aliases)
    }

    fn asks(&self, about: impl Fn(&str) -> bool) -> bool {
        self.statements
            .iter()
            .flat_map(|statement| &statement.conditions)
            .any(|condition| about(condition.key()))
    }

    /// What the policy says of a request of whoever is each of `principals`. A statement that
    /// denies counts before all that allow.
    pub(super) fn judge(
        &self,
        principals: &[Principal],
        resource: &str,
        facts: &Facts<'_>,
    ) -> PolicyVerdict {
        let action = format!("kms:{}", facts.wish.action).to_ascii_lowercase();
        let mut verdict = PolicyVerdict::Silent;
        for statement in &self.statements {
            let Some(directly) = statement.is_about(principals) else {
                continue;
            };
            if !statement.applies(&action, resource, facts) {
                continue;
            }
            verdict = match (statement.denies, directly) {
                (true, _) => return PolicyVerdict::Denies,
                (false, true) => PolicyVerdict::Allows,
                (false, false) if verdict == PolicyVerdict::Silent => PolicyVerdict::AllowsAccount,
                (false, false) => verdict,
            };
        }
        verdict
    }
}

impl Statement {
    /// Whether it names the caller directly or only as one of the account; `None` if not at all.
    fn is_about(&self, principals: &[Principal]) -> Option<bool> {
        // The root user has no name but that of the account.
        let is_root_user = principals == [Principal::Account];
        let mut found = None;
        for named in &self.principals {
            match named {
                Named::Everyone => return Some(true),
                Named::One(Principal::Account) => found = found.or(Some(is_root_user)),
                Named::One(principal) if principals.contains(principal) => return Some(true),
                Named::One(_) | Named::Service => {}
            }
        }
        found
    }

    fn applies(&self, action: &str, resource: &str, facts: &Facts<'_>) -> bool {
        self.actions
            .as_ref()
            .is_some_and(|actions| actions.cover(action))
            && self
                .resources
                .as_ref()
                .is_some_and(|resources| resources.cover(resource))
            && self
                .conditions
                .iter()
                .all(|condition| condition.is_met(facts))
    }
}

impl Patterns {
    fn cover(&self, text: &str) -> bool {
        let is_covered = self
            .patterns
            .iter()
            .any(|pattern| pattern == "*" || pattern::matches(pattern, text));
        is_covered != self.negated
    }
}

/// The policy of a key that was given none: it leaves everything to the account.
///
/// Source: AWS KMS Developer Guide, "Default key policy".
pub(in crate::kms) fn default_document(home: &Home) -> String {
    let document = json!({
        "Version": "2012-10-17",
        "Id": "key-default-1",
        "Statement": [{
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": { "AWS": Principal::Account.arn(home) },
            "Action": "kms:*",
            "Resource": "*",
        }],
    });
    format!("{document:#}")
}

/// The policy of the service's own keys: everybody of the account may use them through the object
/// store, and the account may look at them.
///
/// Source: AWS KMS Developer Guide, "Viewing a key policy", of keys that AWS manages.
pub(in crate::kms) fn service_document(home: &Home) -> String {
    let document = json!({
        "Version": "2012-10-17",
        "Id": "auto-s3-2",
        "Statement": [
            {
                "Sid": "Allow access through S3 for all principals in the account that are authorized to use S3",
                "Effect": "Allow",
                "Principal": { "AWS": "*" },
                "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
                "Resource": "*",
                "Condition": { "StringEquals": {
                    "kms:CallerAccount": home.account,
                    "kms:ViaService": format!("s3.{}.amazonaws.com", home.region),
                } },
            },
            {
                "Sid": "Allow direct access to key metadata to the account",
                "Effect": "Allow",
                "Principal": { "AWS": Principal::Account.arn(home) },
                "Action": ["kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant"],
                "Resource": "*",
            },
            {
                "Sid": "Allow the account to give up versions of the key",
                "Effect": "Allow",
                "Principal": { "AWS": Principal::Account.arn(home) },
                "Action": ["kms:CompromiseKeyVersion", "kms:RewrapKeyVersion"],
                "Resource": "*",
            },
        ],
    });
    format!("{document:#}")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Document {
    version: Option<String>,
    #[serde(rename = "Id")]
    _id: Option<String>,
    statement: OneOrMany<RawStatement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct RawStatement {
    sid: Option<String>,
    effect: Effect,
    principal: Option<RawPrincipal>,
    action: Option<OneOrMany<Text>>,
    not_action: Option<OneOrMany<Text>>,
    resource: Option<OneOrMany<Text>>,
    not_resource: Option<OneOrMany<Text>>,
    condition: Option<Pairs<Pairs<OneOrMany<Text>>>>,
}

#[derive(Deserialize, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

impl RawStatement {
    fn checked(&self, home: &Home, has_variables: bool) -> Result<Statement, String> {
        let principals = match &self.principal {
            None => return Err("a statement of a key policy names a Principal".into()),
            Some(RawPrincipal::Everyone) => vec![Named::Everyone],
            Some(RawPrincipal::Kinds(kinds)) => kinds
                .0
                .iter()
                .flat_map(|(kind, names)| names.0.iter().map(move |name| (kind, &name.0)))
                .map(|(kind, name)| Named::read(kind, name, home))
                .collect::<Result<_, _>>()?,
        };
        if principals.is_empty() {
            return Err("a statement of a key policy names a Principal".into());
        }
        let actions = patterns(
            "Action",
            self.action.as_ref(),
            self.not_action.as_ref(),
            |action| match action.split_once(':') {
                Some((service, name)) if !service.is_empty() && !name.is_empty() => {
                    Ok(action.to_ascii_lowercase())
                }
                _ if action == "*" => Ok(action.to_owned()),
                _ => Err(format!("{action} is no action, such as kms:Decrypt")),
            },
        )?;
        let resources = patterns(
            "Resource",
            self.resource.as_ref(),
            self.not_resource.as_ref(),
            |resource| {
                if resource == "*" || resource.starts_with("arn:") {
                    Ok(resource.to_owned())
                } else {
                    Err(format!("{resource} is neither * nor an ARN"))
                }
            },
        )?;
        let mut conditions = Vec::new();
        for (operator, keys) in self.condition.iter().flat_map(|block| &block.0) {
            for (key, values) in &keys.0 {
                let values: Vec<String> = values.0.iter().map(|value| value.0.clone()).collect();
                // Taken for what they spell, they would never be met.
                if has_variables && values.iter().any(|value| value.contains("${")) {
                    return Err("policy variables are not offered".into());
                }
                conditions.push(Condition::parse(operator, key, &values)?);
            }
        }
        Ok(Statement {
            denies: self.effect == Effect::Deny,
            principals,
            actions,
            resources,
            conditions,
        })
    }
}

impl Named {
    fn read(kind: &str, name: &str, home: &Home) -> Result<Self, String> {
        match kind {
            "AWS" if name == "*" => Ok(Self::Everyone),
            "AWS" => Principal::parse(name, home).map(Self::One).ok_or_else(|| {
                format!("{name} is no principal of this account; Principal is invalid")
            }),
            "Service" if name.ends_with(".amazonaws.com") => Ok(Self::Service),
            "Service" => Err(format!("{name} is no service")),
            _ => Err(format!("principals of the kind {kind} are not offered")),
        }
    }
}

/// What stands under `name`, or, negated, under the name with `Not` before it.
fn patterns(
    name: &str,
    these: Option<&OneOrMany<Text>>,
    others: Option<&OneOrMany<Text>>,
    check: impl Fn(&str) -> Result<String, String>,
) -> Result<Option<Patterns>, String> {
    let (texts, negated) = match (these, others) {
        (Some(_), Some(_)) => return Err(format!("a statement has {name} or Not{name}, not both")),
        (Some(texts), None) => (texts, false),
        (None, Some(texts)) => (texts, true),
        (None, None) => return Ok(None),
    };
    let patterns = texts
        .0
        .iter()
        .map(|text| check(&text.0))
        .collect::<Result<_, _>>()?;
    Ok(Some(Patterns { patterns, negated }))
}

enum RawPrincipal {
    Everyone,
    Kinds(Pairs<OneOrMany<Text>>),
}

impl<'de> Deserialize<'de> for RawPrincipal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawPrincipal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"*\" or {\"AWS\": …}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawPrincipal, E> {
                if text == "*" {
                    Ok(RawPrincipal::Everyone)
                } else {
                    Err(E::custom("a Principal is \"*\" or {\"AWS\": …}"))
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawPrincipal, A::Error> {
                read_pairs(map).map(RawPrincipal::Kinds)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// One value, or a list of them.
struct OneOrMany<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or a list of values")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany<T>, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(OneOrMany(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(|value| OneOrMany(vec![value]))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany<T>, E> {
                T::deserialize(de::value::StrDeserializer::new(text))
                    .map(|value| OneOrMany(vec![value]))
            }

            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<OneOrMany<T>, E> {
                self.visit_str(&truth.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<OneOrMany<T>, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<OneOrMany<T>, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<OneOrMany<T>, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// A text; a number or a truth value counts as the text that it is written as.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl Visitor<'_> for Scalar {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, or true or false")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Text, E> {
                Ok(Text(truth.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
        }
        deserializer.deserialize_any(Scalar)
    }
}

/// The members of an object, in their order. None may come twice: readers of such a document
/// disagree on what it says.
struct Pairs<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Pairs<T>, A::Error> {
                read_pairs(map)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

fn read_pairs<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    mut map: A,
) -> Result<Pairs<T>, A::Error> {
    let mut pairs: Vec<(String, T)> = Vec::new();
    while let Some((name, value)) = map.next_entry::<String, T>()? {
        if pairs.iter().any(|(there, _)| *there == name) {
            return Err(de::Error::custom(format_args!("{name} comes twice")));
        }
        pairs.push((name, value));
    }
    Ok(Pairs(pairs))
}
