//! What stands in requests and answers on the link. See `docs/format/custody-link.md`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize};
use strongroom_environment::Entropy;
use strongroom_keys::{Caller, CustodyUse, Role, Standing, StoreName};
use zeroize::Zeroizing;

/// The header that says which operation of the KMS protocol is asked for.
pub(crate) const TARGET: &str = "x-amz-target";
/// The header by which a question is for one run of the key daemon and no other.
pub(crate) const EPOCH: &str = "x-strongroom-epoch";
/// The longest body of a request, in bytes.
pub(crate) const BODY_LEN_BYTES_MAX: usize = 64 * 1024;
/// The longest body of an answer, in bytes.
pub(crate) const ANSWER_LEN_BYTES_MAX: usize = 1024 * 1024;

/// What can be asked on the link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Encrypt,
    Decrypt,
    DescribeKey,
    Authorize,
    Root,
    Compromised,
    Changes,
}

impl Operation {
    pub(crate) const ALL: [Self; 7] = [
        Self::Encrypt,
        Self::Decrypt,
        Self::DescribeKey,
        Self::Authorize,
        Self::Root,
        Self::Compromised,
        Self::Changes,
    ];

    /// Its name in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "Encrypt",
            Self::Decrypt => "Decrypt",
            Self::DescribeKey => "DescribeKey",
            Self::Authorize => "authorize",
            Self::Root => "root",
            Self::Compromised => "compromised",
            Self::Changes => "changes",
        }
    }

    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Encrypt | Self::Decrypt | Self::DescribeKey => "/",
            Self::Authorize => "/v1/custody/authorize",
            Self::Root => "/v1/custody/root",
            Self::Compromised => "/v1/custody/compromised",
            Self::Changes => "/v1/custody/changes",
        }
    }

    /// The target of an operation of the KMS protocol.
    pub(crate) const fn target(self) -> Option<&'static str> {
        match self {
            Self::Encrypt => Some("TrentService.Encrypt"),
            Self::Decrypt => Some("TrentService.Decrypt"),
            Self::DescribeKey => Some("TrentService.DescribeKey"),
            Self::Authorize | Self::Root | Self::Compromised | Self::Changes => None,
        }
    }

    /// The operation at that path and with that target.
    pub(crate) fn of(path: &str, target: Option<&str>) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.path() == path && operation.target() == target)
    }
}

/// One run of a key daemon: what it tells of changes is in one order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Epoch([u8; 16]);

impl Epoch {
    pub(crate) fn random(entropy: &dyn Entropy) -> Self {
        Self(entropy.array())
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl std::str::FromStr for Epoch {
    type Err = NotAnEpoch;

    fn from_str(text: &str) -> Result<Self, NotAnEpoch> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| NotAnEpoch)?;
        bytes.try_into().map(Self).map_err(|_| NotAnEpoch)
    }
}

#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("an epoch is 32 hexadecimal digits")]
pub(crate) struct NotAnEpoch;

impl Serialize for Epoch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// On whose behalf a store asks.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct OnBehalfOf {
    principal: String,
    standing: StandingSent,
    request_id: String,
    operation: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
}

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
enum StandingSent {
    Daemon,
    Root,
    Admin,
    User,
    Auditor,
}

impl OnBehalfOf {
    pub(crate) fn new(caller: &Caller) -> Self {
        Self {
            principal: caller.principal.clone(),
            standing: match caller.standing {
                Standing::Daemon => StandingSent::Daemon,
                Standing::Root => StandingSent::Root,
                Standing::User(Role::Admin) => StandingSent::Admin,
                Standing::User(Role::User) => StandingSent::User,
                Standing::User(Role::Auditor) => StandingSent::Auditor,
            },
            request_id: caller.request_id.clone(),
            operation: caller.operation.clone(),
            source: caller.source,
        }
    }

    /// The caller, for whom `store` vouches.
    pub(crate) fn caller(self, store: &StoreName) -> Caller {
        Caller {
            principal: self.principal,
            standing: match self.standing {
                StandingSent::Daemon => Standing::Daemon,
                StandingSent::Root => Standing::Root,
                StandingSent::Admin => Standing::User(Role::Admin),
                StandingSent::User => Standing::User(Role::User),
                StandingSent::Auditor => Standing::User(Role::Auditor),
            },
            request_id: self.request_id,
            operation: self.operation,
            source: self.source,
            store: Some(store.clone()),
        }
    }

    /// Whether each part is short enough for an entry of the audit log.
    pub(crate) fn is_short(&self) -> bool {
        [&self.principal, &self.request_id, &self.operation]
            .iter()
            .all(|text| text.len() <= 256)
    }
}

/// Text that is wiped when it is dropped.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

fn sent_secret<S: serde::Serializer>(
    text: &Zeroizing<String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

type Pairs = BTreeMap<String, String>;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Encrypt {
    pub(crate) key_id: String,
    #[serde(deserialize_with = "secret", serialize_with = "sent_secret")]
    pub(crate) plaintext: Zeroizing<String>,
    pub(crate) encryption_context: Pairs,
    pub(crate) on_behalf_of: OnBehalfOf,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Encrypted {
    pub(crate) ciphertext_blob: String,
    pub(crate) key_id: String,
    pub(crate) encryption_algorithm: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Decrypt {
    pub(crate) ciphertext_blob: String,
    pub(crate) encryption_context: Pairs,
    pub(crate) on_behalf_of: OnBehalfOf,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Decrypted {
    #[serde(deserialize_with = "secret", serialize_with = "sent_secret")]
    pub(crate) plaintext: Zeroizing<String>,
    pub(crate) key_id: String,
    pub(crate) encryption_algorithm: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeKey {
    pub(crate) key_id: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Described {
    pub(crate) key_metadata: KeyMetadata,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KeyMetadata {
    pub(crate) key_id: String,
    pub(crate) arn: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Authorize {
    pub(crate) key: String,
    #[serde(rename = "use")]
    pub(crate) custody_use: UseSent,
    pub(crate) context: Pairs,
    pub(crate) on_behalf_of: OnBehalfOf,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UseSent {
    Seal,
    Open,
}

impl From<CustodyUse> for UseSent {
    fn from(custody_use: CustodyUse) -> Self {
        match custody_use {
            CustodyUse::Seal => Self::Seal,
            CustodyUse::Open => Self::Open,
        }
    }
}

impl From<UseSent> for CustodyUse {
    fn from(sent: UseSent) -> Self {
        match sent {
            UseSent::Seal => Self::Seal,
            UseSent::Open => Self::Open,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Authorized {
    pub(crate) grant: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Root {
    pub(crate) key: String,
    pub(crate) version: u32,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct RootLabel {
    pub(crate) label: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compromised {}

#[derive(Serialize, Deserialize)]
pub(crate) struct CompromisedVersions {
    /// Ids of keys, each with a version of it.
    pub(crate) versions: Vec<(String, u32)>,
}

/// Up to where changes are known.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    pub(crate) epoch: Epoch,
    pub(crate) position: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Changes {
    /// `None`: nothing is known.
    pub(crate) after: Option<Place>,
    /// For how long to wait for a change, in milliseconds.
    pub(crate) wait_ms: u64,
}

#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct Changed {
    /// Names the keys that this key daemon has custody of: the id of its system key.
    pub(crate) custody: String,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) place: Place,
    /// What was changed since; `None` when that is not known, and everything may have been.
    pub(crate) changes: Option<Vec<Change>>,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    pub(crate) key: String,
    pub(crate) change: ChangeKind,
}

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChangeKind {
    Suspended,
    Rotated,
}

#[cfg(test)]
mod tests {
    use strongroom_environment::SeededEntropy;

    use super::*;

    #[test]
    fn each_operation_is_found_at_its_path_and_nowhere_else() {
        for operation in Operation::ALL {
            let found = Operation::of(operation.path(), operation.target());
            assert_eq!(found, Some(operation));
        }
        for (path, target) in [
            ("/", None),
            ("/", Some("TrentService.CreateKey")),
            ("/v1/custody/root", Some("TrentService.Encrypt")),
            ("/v1/keys", None),
        ] {
            assert_eq!(Operation::of(path, target), None);
        }
    }

    #[test]
    fn a_caller_comes_back_with_the_store_that_vouches() {
        let store: StoreName = "store.example".parse().expect("a name");
        for standing in [
            Standing::Daemon,
            Standing::Root,
            Standing::User(Role::Admin),
            Standing::User(Role::User),
            Standing::User(Role::Auditor),
        ] {
            let caller = Caller {
                principal: "SRAK".into(),
                standing,
                request_id: "r".into(),
                operation: "s3:GetObject".into(),
                source: Some([192, 0, 2, 7].into()),
                store: None,
            };
            let sent = serde_json::to_string(&OnBehalfOf::new(&caller)).expect("JSON");
            let read: OnBehalfOf = serde_json::from_str(&sent).expect("the same");
            let expected = Caller {
                store: Some(store.clone()),
                ..caller
            };
            assert_eq!(read.caller(&store), expected);
        }
    }

    #[test]
    fn an_epoch_is_read_as_it_is_written() {
        let epoch = Epoch::random(&SeededEntropy::new(1));
        assert_eq!(epoch.to_string().parse::<Epoch>().expect("it"), epoch);
        for wrong in ["", "00", &"0".repeat(31), &"G".repeat(32)] {
            assert!(wrong.parse::<Epoch>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_documented_request_is_one() {
        let page = include_str!("../../../docs/format/custody-link.md");
        let example = page
            .split("```json\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .expect("an example");
        let asked: Encrypt = serde_json::from_str(example).expect("a request");
        assert_eq!(
            asked.plaintext.as_str(),
            "EBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8="
        );
        assert_eq!(asked.encryption_context.len(), 2);
        let store = "store-1.example".parse().expect("a name");
        let caller = asked.on_behalf_of.clone().caller(&store);
        assert_eq!(caller.standing, Standing::User(Role::User));
        assert_eq!(caller.source, Some([192, 0, 2, 7].into()));
        let again = serde_json::to_value(&asked).expect("JSON");
        let read: serde_json::Value = serde_json::from_str(example).expect("JSON");
        assert_eq!(again, read);
        for operation in Operation::ALL {
            assert!(page.contains(operation.target().unwrap_or(operation.path())));
        }
    }
}
