//! The rule: who the custodians are, how many have to agree, and to what.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use strongroom_audit::VerifierKey;

use super::{GuardedOperation, GuardedRequest};
use crate::error::KeyError;

/// A rule that somebody wants to be in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewQuorumRule {
    /// How many custodians have to agree.
    pub threshold: usize,
    /// The custodians, by their names and public keys.
    pub custodians: Vec<VerifierKey>,
    /// What they have to agree to. [`GuardedOperation::ChangeQuorumRule`] is always among it.
    pub operations: Vec<GuardedOperation>,
}

impl NewQuorumRule {
    /// Whether it can be a rule at all.
    ///
    /// # Errors
    /// [`KeyError::InvalidRequest`].
    pub fn check(&self) -> Result<(), KeyError> {
        QuorumRule::new(self, 1).map(drop)
    }
}

/// A rule of dual control.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumRule {
    generation: u64,
    threshold: usize,
    custodians: Vec<VerifierKey>,
    operations: Vec<GuardedOperation>,
}

/// A rule as it is stored, and as it is on the audit log.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    generation: u64,
    threshold: usize,
    custodians: Vec<String>,
    operations: Vec<String>,
}

impl QuorumRule {
    /// The fewest custodians that have to agree: fewer would be no dual control.
    pub const THRESHOLD_MIN: usize = 2;
    /// The most custodians.
    pub const CUSTODIANS_MAX: usize = 16;
    /// The longest name of a custodian, in bytes.
    pub const NAME_LEN_BYTES_MAX: usize = 64;

    /// A rule that takes the place of that with the generation before.
    ///
    /// # Errors
    /// [`KeyError::InvalidRequest`].
    pub(crate) fn new(new: &NewQuorumRule, generation: u64) -> Result<Self, KeyError> {
        let invalid = |rule| Err(KeyError::InvalidRequest { rule });
        if new.custodians.len() > Self::CUSTODIANS_MAX {
            return invalid("there are at most 16 custodians");
        }
        if !(Self::THRESHOLD_MIN..=new.custodians.len()).contains(&new.threshold) {
            return invalid("the threshold is at least 2, and no more than there are custodians");
        }
        let mut custodians = new.custodians.clone();
        custodians.sort_by(|one, other| one.origin().as_str().cmp(other.origin().as_str()));
        for (at, custodian) in custodians.iter().enumerate() {
            if custodian.origin().as_str().len() > Self::NAME_LEN_BYTES_MAX {
                return invalid("the name of a custodian has at most 64 bytes");
            }
            for other in &custodians[..at] {
                if other.origin() == custodian.origin() {
                    return invalid("no two custodians have the same name");
                }
                if other.public_key() == custodian.public_key() {
                    return invalid("no two custodians have the same key");
                }
            }
        }
        let mut operations = new.operations.clone();
        operations.push(GuardedOperation::ChangeQuorumRule);
        operations.sort_unstable();
        operations.dedup();
        Ok(Self {
            generation,
            threshold: new.threshold,
            custodians,
            operations,
        })
    }

    /// How many rules there have been, with this one.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many custodians have to agree.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// The custodians, in the order of their names.
    #[must_use]
    pub fn custodians(&self) -> &[VerifierKey] {
        &self.custodians
    }

    /// What they have to agree to.
    #[must_use]
    pub fn operations(&self) -> &[GuardedOperation] {
        &self.operations
    }

    /// Whether it takes custodians to do this.
    #[must_use]
    pub fn guards(&self, operation: GuardedOperation) -> bool {
        self.operations.contains(&operation)
    }

    /// Whether it is what `new` wants, whatever the generation.
    pub(crate) fn is(&self, new: &Self) -> bool {
        Self {
            generation: self.generation,
            ..new.clone()
        } == *self
    }

    /// The rule in JSON.
    #[must_use]
    pub fn document(&self) -> String {
        let document = Document {
            generation: self.generation,
            threshold: self.threshold,
            custodians: self.custodians.iter().map(ToString::to_string).collect(),
            operations: self.operations.iter().map(ToString::to_string).collect(),
        };
        serde_json::to_string(&document).expect("strings and numbers always serialise")
    }

    /// Reads what [`QuorumRule::document`] gave; `None` for anything else.
    #[must_use]
    pub fn parse(document: &str) -> Option<Self> {
        let read: Document = serde_json::from_str(document).ok()?;
        let new = NewQuorumRule {
            threshold: read.threshold,
            custodians: read
                .custodians
                .iter()
                .map(|key| VerifierKey::parse(key).ok())
                .collect::<Option<_>>()?,
            operations: read
                .operations
                .iter()
                .map(|operation| operation.parse().ok())
                .collect::<Option<_>>()?,
        };
        let rule = Self::new(&new, read.generation).ok()?;
        (rule.document() == document).then_some(rule)
    }

    /// The SHA-256 of the document, in hexadecimal: what statements name a rule by.
    #[must_use]
    pub fn sha256(&self) -> String {
        HEXLOWER.encode(digest(&SHA256, self.document().as_bytes()).as_ref())
    }

    /// The request that this become the rule.
    pub(crate) fn request(&self) -> GuardedRequest {
        let custodians: Vec<String> = self.custodians.iter().map(ToString::to_string).collect();
        let operations: Vec<&str> = self.operations.iter().map(|one| one.as_str()).collect();
        GuardedRequest {
            operation: GuardedOperation::ChangeQuorumRule,
            key: None,
            members: serde_json::json!({
                "custodians": custodians,
                "operations": operations,
                "threshold": self.threshold,
            }),
        }
    }

    /// What the token makes a MAC of.
    pub(crate) fn mac_message(since_micros: i64, deployment: &str, document: &str) -> Vec<u8> {
        const DOMAIN: &[u8] = b"strongroom/quorum-rule/v1\0";
        let counted = |text: &str| {
            let len_bytes = u32::try_from(text.len()).expect("nothing of such a length is stored");
            [&len_bytes.to_be_bytes(), text.as_bytes()].concat()
        };
        [
            DOMAIN,
            &since_micros.to_be_bytes(),
            &counted(deployment),
            &counted(document),
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use strongroom_audit::Origin;

    use super::*;

    fn key(name: &str, seed: u8) -> VerifierKey {
        let name = Origin::new(name).expect("a name");
        strongroom_audit::NoteSigner::from_seed(name, &[seed; 32])
            .expect("a key")
            .verifier_key()
            .clone()
    }

    fn new(threshold: usize, custodians: &[(&str, u8)]) -> NewQuorumRule {
        NewQuorumRule {
            threshold,
            custodians: custodians
                .iter()
                .map(|(name, seed)| key(name, *seed))
                .collect(),
            operations: vec![],
        }
    }

    #[test]
    fn a_rule_is_read_as_it_is_written_and_names_no_order_of_its_maker() {
        let rule = QuorumRule::new(&new(2, &[("cleo", 3), ("ada", 1), ("ben", 2)]), 7);
        let rule = rule.expect("a rule");
        let names: Vec<&str> = rule
            .custodians()
            .iter()
            .map(|key| key.origin().as_str())
            .collect();
        assert_eq!(names, ["ada", "ben", "cleo"]);
        assert_eq!(rule.operations(), [GuardedOperation::ChangeQuorumRule]);
        assert_eq!(QuorumRule::parse(&rule.document()), Some(rule.clone()));
        let other = QuorumRule::new(&new(2, &[("ada", 1), ("cleo", 3), ("ben", 2)]), 8);
        let other = other.expect("a rule");
        assert!(rule.is(&other) && rule != other && rule.sha256() != other.sha256());
        for damaged in [
            rule.document()
                .replace("\"threshold\":2", "\"threshold\":1"),
            rule.document()
                .replace("\"threshold\":2", "\"threshold\":4"),
            rule.document().replace("ChangeQuorumRule", "Whatever"),
            rule.document()
                .replace("\"operations\":[\"ChangeQuorumRule\"]", "\"operations\":[]"),
            rule.document().replace("ada+", "eve+"),
            format!("{} ", rule.document()),
        ] {
            assert_eq!(QuorumRule::parse(&damaged), None, "{damaged}");
        }
    }

    #[test]
    fn a_rule_that_is_no_dual_control_is_refused() {
        let long = "x".repeat(65);
        let many: Vec<(String, u8)> = (0..17).map(|at| (format!("c{at}"), at + 1)).collect();
        let many: Vec<(&str, u8)> = many.iter().map(|(name, seed)| (&**name, *seed)).collect();
        for (threshold, custodians) in [
            (0, &[("ada", 1), ("ben", 2)][..]),
            (1, &[("ada", 1), ("ben", 2)]),
            (3, &[("ada", 1), ("ben", 2)]),
            (2, &[("ada", 1), ("ada", 2)]),
            (2, &[("ada", 1), ("ben", 1)]),
            (2, &[("ada", 1), (&long, 2)]),
            (2, &many),
            (2, &[]),
        ] {
            let refused = QuorumRule::new(&new(threshold, custodians), 1);
            assert!(
                matches!(refused, Err(KeyError::InvalidRequest { .. })),
                "{threshold} {custodians:?}"
            );
        }
    }
}
