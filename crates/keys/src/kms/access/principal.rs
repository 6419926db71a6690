//! How principals are named in policies and grants, and which of them a caller is.
//!
//! | name | who |
//! |---|---|
//! | `*` | everybody |
//! | `arn:aws:iam::ACCOUNT:root`, `ACCOUNT` | the account: every user as far as the role allows, and the administrator |
//! | `arn:aws:iam::ACCOUNT:role/ROLE` | every user of the role `admin`, `user` or `auditor` |
//! | `arn:aws:iam::ACCOUNT:user/ACCESS-KEY-ID` | one user |

use std::fmt;

use crate::arn::Home;
use crate::caller::{Caller, Standing};
use crate::users::{AccessKeyId, Role};

/// Somebody of the account, as an ARN names them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Principal {
    /// The account as a whole.
    Account,
    /// Every user of a role.
    Role(Role),
    /// One user.
    User(AccessKeyId),
}

impl Principal {
    /// Reads an ARN, or the number of the account. `None` when it names nobody of this account.
    #[must_use]
    pub fn parse(text: &str, home: &Home) -> Option<Self> {
        if text == home.account {
            return Some(Self::Account);
        }
        let resource = text
            .strip_prefix("arn:aws:iam::")?
            .strip_prefix(home.account.as_str())?
            .strip_prefix(':')?;
        match resource.split_once('/') {
            None if resource == "root" => Some(Self::Account),
            Some(("role", role)) => role.parse().ok().map(Self::Role),
            Some(("user", id)) => id.parse().ok().map(Self::User),
            _ => None,
        }
    }

    /// The ARN.
    #[must_use]
    pub fn arn(&self, home: &Home) -> String {
        format!("arn:aws:iam::{}:{self}", home.account)
    }

    /// The principals that a caller is, the closest first. The last is the account.
    pub(in crate::kms) fn all_of(caller: &Caller) -> Vec<Self> {
        let mut all = Vec::with_capacity(3);
        if let Standing::User(role) = caller.standing {
            all.extend(caller.principal.parse().map(Self::User));
            all.push(Self::Role(role));
        }
        all.push(Self::Account);
        all
    }

    /// The ARN of a caller, as refusals and the condition key `aws:PrincipalArn` have it.
    pub(in crate::kms) fn arn_of(caller: &Caller, home: &Home) -> String {
        match caller.standing {
            Standing::User(_) => format!("arn:aws:iam::{}:user/{}", home.account, caller.principal),
            Standing::Root | Standing::Daemon => Self::Account.arn(home),
        }
    }
}

impl fmt::Display for Principal {
    /// The resource of the ARN.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account => f.write_str("root"),
            Self::Role(role) => write!(f, "role/{}", role.as_str()),
            Self::User(id) => write!(f, "user/{id}"),
        }
    }
}

/// What a role says of an action, which counts where the policy of a key leaves it to the account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RoleVerdict {
    Allows,
    Silent,
    /// Whatever any key policy or grant says.
    Forbids,
}

/// Uses of keys, and what it takes to find one.
const USES: [&str; 17] = [
    "Decrypt",
    "DescribeKey",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "GenerateRandom",
    "GetPublicKey",
    "ListAliases",
    "ListKeys",
    "ReEncryptFrom",
    "ReEncryptTo",
    "Sign",
    "Verify",
    "VerifyMac",
];

/// What of a key an auditor looks at.
const LOOKS: [&str; 9] = [
    "DescribeKey",
    "GetKeyPolicy",
    "GetKeyRotationStatus",
    "ListAliases",
    "ListGrants",
    "ListKeyPolicies",
    "ListKeyRotations",
    "ListKeys",
    "ListResourceTags",
];

/// The identity policy of a caller, in the words of IAM.
pub(super) fn role_verdict(standing: Standing, action: &str) -> RoleVerdict {
    match standing {
        Standing::Daemon | Standing::Root | Standing::User(Role::Admin) => RoleVerdict::Allows,
        Standing::User(Role::User) if USES.contains(&action) => RoleVerdict::Allows,
        Standing::User(Role::User) => RoleVerdict::Silent,
        Standing::User(Role::Auditor) if LOOKS.contains(&action) => RoleVerdict::Allows,
        Standing::User(Role::Auditor) => RoleVerdict::Forbids,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_read_as_it_is_printed() {
        let home = Home {
            region: "test-1".into(),
            account: "000000000000".into(),
        };
        for text in [
            "root",
            "role/admin",
            "role/auditor",
            "user/SRAKAAAAAAAAAAAAAAAA",
        ] {
            let arn = format!("arn:aws:iam::000000000000:{text}");
            let principal = Principal::parse(&arn, &home).expect("somebody");
            assert_eq!(principal.arn(&home), arn);
        }
        assert_eq!(
            Principal::parse("000000000000", &home),
            Some(Principal::Account)
        );
        for text in [
            "*",
            "",
            "111111111111",
            "arn:aws:iam::111111111111:root",
            "arn:aws:iam::000000000000:role/king",
            "arn:aws:iam::000000000000:user/ann",
            "arn:aws:iam::000000000000:user/*",
            "arn:aws:iam::000000000000",
            "arn:aws:sts::000000000000:root",
        ] {
            assert_eq!(Principal::parse(text, &home), None, "{text}");
        }
    }
}
