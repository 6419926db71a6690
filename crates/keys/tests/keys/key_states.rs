//! What may be done with a KMS key in which state.
//!
//! Source: AWS KMS Developer Guide, "Key states of AWS KMS keys", table of operations and states.

use std::time::Duration;

use strongroom_keys::{
    AliasName, DataKeyPairSpec, EncryptionContext, GrantFilter, GrantId, GrantReference,
    KeyDescription, KeyEnvelope, KeyError, KeyManager, KeyReference, KeySpec, KeyState, Kms,
    LedgerKey, NewKey, NewPolicy, ObjectName, Protection, SignedMessage, SigningAlgorithm,
};

use crate::imports::{external_key, import};
use crate::world::{
    ACCOUNT, World, a_grant, by_customer_key, by_kms_key, caller, customer_key, object,
    open_policy, tags,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Enabled,
    Disabled,
    PendingDeletion,
    Destroyed,
    PendingImport,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    DescribeKey,
    ListKeys,
    EnableKey,
    DisableKey,
    ScheduleKeyDeletion,
    CancelKeyDeletion,
    CreateAlias,
    UpdateAliasToIt,
    UpdateAliasFromIt,
    DeleteAlias,
    ListAliases,
    UpdateKeyDescription,
    RotateKeyOnDemand,
    EnableKeyRotation,
    DisableKeyRotation,
    GetKeyRotationStatus,
    ListKeyRotations,
    KeyVersions,
    TagResource,
    UntagResource,
    ListResourceTags,
    GetKeyPolicy,
    PutKeyPolicy,
    CreateGrant,
    ListGrants,
    ListRetirableGrants,
    RevokeGrant,
    RetireGrant,
    RetireGrantByToken,
    RunDue,
    GenerateMac,
    VerifyMac,
    Sign,
    Verify,
    GetPublicKey,
    EncryptByPair,
    DecryptByPair,
    GenerateDataKeyPair,
    GenerateDataKeyPairWithoutPlaintext,
    Encrypt,
    Decrypt,
    DecryptAsExpected,
    ReEncryptFromIt,
    ReEncryptToIt,
    GenerateDataKey,
    GenerateDataKeyWithoutPlaintext,
    CreateObject,
    CreateObjectByBucketKey,
    OpenObject,
    OpenObjectByBucketKey,
    CheckObject,
    RewrapFromIt,
    RewrapFromItsBucketKey,
    RewrapToIt,
    RewrapToItsBucketKey,
    ChainOf,
    VersionsOf,
}

const OK: &str = "ok";
const DISABLED: &str = "disabled";
const PENDING: &str = "pending-deletion";
const IMPORT: &str = "pending-import";
const NOT_FOR: &str = "not-for-this-key";
/// Keys of other kinds have no imported material.
const NONE: &str = "";
const NOT_PENDING: &str = "not-pending-deletion";
const NO_KEY: &str = "no-such-key";
const NO_ALIAS: &str = "no-such-alias";

/// For each operation, what comes of it when the key is enabled, disabled, pending deletion, destroyed,
/// pending import.
const TABLE: [(Operation, [&str; 5]); 57] = {
    use Operation::*;
    [
        (DescribeKey, [OK, OK, OK, NO_KEY, OK]),
        (ListKeys, [OK, OK, OK, OK, OK]),
        (EnableKey, [OK, OK, PENDING, NO_KEY, IMPORT]),
        (DisableKey, [OK, OK, PENDING, NO_KEY, IMPORT]),
        (ScheduleKeyDeletion, [OK, OK, PENDING, NO_KEY, OK]),
        (
            CancelKeyDeletion,
            [NOT_PENDING, NOT_PENDING, OK, NO_KEY, NOT_PENDING],
        ),
        (CreateAlias, [OK, OK, PENDING, NO_KEY, OK]),
        (UpdateAliasToIt, [OK, OK, PENDING, NO_KEY, OK]),
        (UpdateAliasFromIt, [OK, OK, OK, NO_ALIAS, OK]),
        (DeleteAlias, [OK, OK, OK, NO_ALIAS, OK]),
        (ListAliases, [OK, OK, OK, NO_KEY, OK]),
        (UpdateKeyDescription, [OK, OK, PENDING, NO_KEY, OK]),
        (RotateKeyOnDemand, [OK, DISABLED, PENDING, NO_KEY, IMPORT]),
        (EnableKeyRotation, [OK, DISABLED, PENDING, NO_KEY, NOT_FOR]),
        (DisableKeyRotation, [OK, DISABLED, PENDING, NO_KEY, NOT_FOR]),
        (GetKeyRotationStatus, [OK, OK, OK, NO_KEY, OK]),
        (ListKeyRotations, [OK, OK, OK, NO_KEY, OK]),
        (KeyVersions, [OK, OK, OK, OK, OK]),
        (TagResource, [OK, OK, PENDING, NO_KEY, OK]),
        (UntagResource, [OK, OK, PENDING, NO_KEY, OK]),
        (ListResourceTags, [OK, OK, OK, NO_KEY, OK]),
        (GetKeyPolicy, [OK, OK, OK, NO_KEY, OK]),
        (PutKeyPolicy, [OK, OK, OK, NO_KEY, OK]),
        (CreateGrant, [OK, DISABLED, PENDING, NO_KEY, IMPORT]),
        (ListGrants, [OK, OK, OK, NO_KEY, OK]),
        (ListRetirableGrants, [OK, OK, OK, OK, OK]),
        (RevokeGrant, [OK, OK, OK, NO_KEY, OK]),
        (RetireGrant, [OK, OK, OK, NO_KEY, OK]),
        (RetireGrantByToken, [OK, OK, OK, NO_KEY, OK]),
        (RunDue, [OK, OK, OK, OK, OK]),
        (GenerateMac, [OK, DISABLED, PENDING, NO_KEY, NONE]),
        (VerifyMac, [OK, DISABLED, PENDING, NO_KEY, NONE]),
        (Sign, [OK, DISABLED, PENDING, NO_KEY, NONE]),
        (Verify, [OK, DISABLED, PENDING, NO_KEY, NONE]),
        (GetPublicKey, [OK, DISABLED, PENDING, NO_KEY, NONE]),
        (EncryptByPair, [OK, DISABLED, PENDING, NO_KEY, NONE]),
        (DecryptByPair, [OK, DISABLED, PENDING, NO_KEY, NONE]),
        (GenerateDataKeyPair, [OK, DISABLED, PENDING, NO_KEY, IMPORT]),
        (
            GenerateDataKeyPairWithoutPlaintext,
            [OK, DISABLED, PENDING, NO_KEY, IMPORT],
        ),
        (Encrypt, [OK, DISABLED, PENDING, NO_KEY, IMPORT]),
        (Decrypt, [OK, DISABLED, PENDING, NO_KEY, IMPORT]),
        (DecryptAsExpected, [OK, DISABLED, PENDING, NO_KEY, IMPORT]),
        (ReEncryptFromIt, [OK, DISABLED, PENDING, NO_KEY, IMPORT]),
        (ReEncryptToIt, [OK, DISABLED, PENDING, NO_KEY, IMPORT]),
        (GenerateDataKey, [OK, DISABLED, PENDING, NO_KEY, IMPORT]),
        (
            GenerateDataKeyWithoutPlaintext,
            [OK, DISABLED, PENDING, NO_KEY, IMPORT],
        ),
        (CreateObject, [OK, DISABLED, PENDING, NO_KEY, IMPORT]),
        (
            CreateObjectByBucketKey,
            [OK, DISABLED, PENDING, NO_KEY, IMPORT],
        ),
        (OpenObject, [OK, DISABLED, PENDING, NO_KEY, IMPORT]),
        (
            OpenObjectByBucketKey,
            [OK, DISABLED, PENDING, NO_KEY, IMPORT],
        ),
        (CheckObject, [OK, OK, OK, OK, OK]),
        (RewrapFromIt, [OK, DISABLED, PENDING, NO_KEY, IMPORT]),
        (
            RewrapFromItsBucketKey,
            [OK, DISABLED, PENDING, NO_KEY, IMPORT],
        ),
        (RewrapToIt, [OK, DISABLED, PENDING, NO_KEY, IMPORT]),
        (
            RewrapToItsBucketKey,
            [OK, DISABLED, PENDING, NO_KEY, IMPORT],
        ),
        (ChainOf, [OK, OK, OK, OK, OK]),
        (VersionsOf, [OK, OK, OK, OK, OK]),
    ]
};

const MAC: &str = "HMAC_SHA_256";
const OAEP: &str = "RSAES_OAEP_SHA_256";

fn ecdsa() -> SigningAlgorithm {
    SigningAlgorithm::named("ECDSA_SHA_256").expect("an algorithm")
}

struct Stage {
    state: State,
    world: World,
    key: KeyDescription,
    other: KeyDescription,
    alias: AliasName,
    other_alias: AliasName,
    name: ObjectName,
    direct: KeyEnvelope,
    bucket: KeyEnvelope,
    customers: KeyEnvelope,
    blob: Vec<u8>,
    other_blob: Vec<u8>,
    grant: (GrantId, String),
    /// Of the spec that the operation wants, in the same state.
    special: KeyDescription,
    /// What it made while it was enabled: a MAC, a signature, a ciphertext.
    made: Vec<u8>,
}

impl Stage {
    async fn new(state: State, operation: Operation) -> Self {
        let world = World::new().await;
        let (special, made) = Self::special(&world, operation).await;
        let kms = &world.service.kms;
        let key = if state == State::PendingImport {
            let key = external_key(kms).await;
            import(&world, &key.id.into(), 1).await;
            key
        } else {
            world.kms_key().await
        };
        let other = world.kms_key().await;
        let mut aliases = Vec::new();
        for (name, of) in [("alias/it", &key), ("alias/other", &other)] {
            let alias = AliasName::new(name).expect("a name");
            let made = kms.create_alias(&alias, &of.id.into(), &caller()).await;
            made.expect("an alias");
            aliases.push(alias);
        }
        let [alias, other_alias] = aliases.try_into().expect("two");
        let name = object("bucket", "key");
        let mut envelopes = Vec::new();
        for protection in [
            by_kms_key(&key, false),
            by_kms_key(&key, true),
            by_customer_key(1),
        ] {
            let created = world
                .service
                .objects
                .create(&protection, &name, &caller())
                .await;
            envelopes.push(created.expect("a data key").1);
        }
        let [direct, bucket, customers] = envelopes.try_into().expect("three");
        let mut blobs = Vec::new();
        for of in [&key, &other] {
            let empty = EncryptionContext::empty();
            let encrypted = kms.encrypt(&of.id.into(), &empty, b"text", &caller()).await;
            blobs.push(encrypted.expect("a ciphertext").blob.to_bytes());
        }
        let [blob, other_blob] = blobs.try_into().expect("two");
        let grant = kms
            .create_grant(&key.id.into(), &a_grant(), &caller())
            .await
            .expect("a grant");
        if state == State::PendingImport {
            let deleted = kms
                .delete_imported_key_material(&key.id.into(), None, &caller())
                .await;
            deleted.expect("it is deleted");
        }
        for of in [&key, &special] {
            let of = &of.id.into();
            match state {
                State::PendingImport => {}
                State::Enabled => {}
                State::Disabled => {
                    let changed = kms.disable_key(of, &caller()).await;
                    changed.expect("it is disabled");
                }
                State::PendingDeletion | State::Destroyed => {
                    let changed = kms.schedule_key_deletion(of, 7, &caller()).await;
                    changed.expect("it is scheduled");
                }
            }
        }
        if state == State::Destroyed {
            world.clock.pass(Duration::from_secs(7 * 86_400));
            let report = kms.run_due(&caller()).await.expect("it is destroyed");
            assert_eq!(report.destroyed.len(), 2);
        }
        Self {
            state,
            world,
            key,
            other,
            alias,
            other_alias,
            name,
            direct,
            bucket,
            customers,
            blob,
            other_blob,
            grant,
            special,
            made,
        }
    }

    async fn special(world: &World, operation: Operation) -> (KeyDescription, Vec<u8>) {
        let kms = &world.service.kms;
        let spec = match operation {
            Operation::GenerateMac | Operation::VerifyMac => {
                KeySpec::named("HMAC_256", "GENERATE_VERIFY_MAC")
            }
            Operation::EncryptByPair | Operation::DecryptByPair => {
                KeySpec::named("RSA_2048", "ENCRYPT_DECRYPT")
            }
            _ => KeySpec::named("ECC_NIST_P256", "SIGN_VERIFY"),
        };
        let new = NewKey {
            spec: spec.expect("a spec"),
            ..NewKey::default()
        };
        let special = kms.create_key(new, &caller()).await.expect("a key");
        let (key, who) = (&special.id.into(), &caller());
        let made = match operation {
            Operation::VerifyMac => kms.generate_mac(key, MAC, b"text", who).await,
            Operation::Verify => {
                let message = SignedMessage::Raw(b"text");
                kms.sign(key, ecdsa(), message, who).await
            }
            Operation::DecryptByPair => kms.encrypt_by_pair(key, OAEP, b"text", who).await,
            _ => Ok((special.arn.clone(), Vec::new())),
        };
        let made = made.expect("it is enabled").1;
        (special, made)
    }

    async fn run(&self, operation: Operation) -> Result<(), KeyError> {
        use Operation as Op;
        let (kms, keys, who) = (
            &self.world.service.kms,
            &self.world.service.objects,
            &caller(),
        );
        let (key, other): (&KeyReference, &KeyReference) =
            (&self.key.id.into(), &self.other.id.into());
        let special: &KeyReference = &self.special.id.into();
        let empty = &EncryptionContext::empty();
        let new_name = &object("bucket", "new");
        let rewrap = |from: KeyEnvelope, with: Option<u8>, to: Protection| async move {
            let with = with.map(customer_key);
            let from = (&from, &self.name, with.as_ref());
            keys.rewrap(from, (&to, new_name), who).await.map(drop)
        };
        match operation {
            Op::DescribeKey => kms.describe_key(key).await.map(drop),
            Op::ListKeys => {
                let page = kms.list_keys(None, 10).await?;
                assert!(page.items.iter().any(|item| item.id == self.key.id));
                Ok(())
            }
            Op::EnableKey => kms.enable_key(key, who).await.map(drop),
            Op::DisableKey => kms.disable_key(key, who).await.map(drop),
            Op::ScheduleKeyDeletion => kms.schedule_key_deletion(key, 30, who).await.map(drop),
            Op::CancelKeyDeletion => kms.cancel_key_deletion(key, who).await.map(drop),
            Op::CreateAlias => {
                let alias = AliasName::new("alias/new").expect("a name");
                kms.create_alias(&alias, key, who).await
            }
            Op::UpdateAliasToIt => kms.update_alias(&self.other_alias, key, who).await,
            Op::UpdateAliasFromIt => kms.update_alias(&self.alias, other, who).await,
            Op::DeleteAlias => kms.delete_alias(&self.alias, who).await,
            Op::ListAliases => {
                let page = kms.list_aliases(Some(key), None, 10).await?;
                assert_eq!(page.items.len(), 1);
                Ok(())
            }
            Op::UpdateKeyDescription => kms.update_key_description(key, "new", who).await,
            Op::RotateKeyOnDemand => kms.rotate_key(key, who).await.map(drop),
            Op::EnableKeyRotation => kms.enable_key_rotation(key, 90, who).await,
            Op::DisableKeyRotation => kms.disable_key_rotation(key, who).await,
            Op::GetKeyRotationStatus => kms.rotation_status(key).await.map(drop),
            Op::ListKeyRotations => kms.key_rotations(key, false, None, 10).await.map(drop),
            Op::KeyVersions => {
                assert_eq!(kms.key_versions(key, None, 10).await?.items.len(), 1);
                Ok(())
            }
            Op::TagResource => kms.tag_key(key, &tags(&[("a", "b")]), who).await,
            Op::UntagResource => kms.untag_key(key, &["a".into()], who).await,
            Op::ListResourceTags => kms.list_tags(key, None, 10).await.map(drop),
            Op::GetKeyPolicy => {
                let policy = kms.key_policy(key, Kms::POLICY_NAME, who).await;
                policy.map(drop)
            }
            Op::PutKeyPolicy => {
                let policy = NewPolicy {
                    document: open_policy(),
                    bypass_lockout_check: false,
                };
                kms.put_key_policy(key, Kms::POLICY_NAME, &policy, who)
                    .await
            }
            Op::CreateGrant => kms.create_grant(key, &a_grant(), who).await.map(drop),
            Op::ListGrants => {
                let page = kms
                    .list_grants(key, &GrantFilter::All, None, 10, who)
                    .await?;
                assert_eq!(page.items.len(), 1);
                Ok(())
            }
            Op::ListRetirableGrants => {
                let page = kms.list_retirable_grants(ACCOUNT, None, 10, who).await;
                page.map(drop)
            }
            Op::RevokeGrant => kms.revoke_grant(key, self.grant.0, who).await,
            Op::RetireGrant => {
                let named = GrantReference::Id(key.clone(), self.grant.0);
                kms.retire_grant(&named, who).await
            }
            Op::RetireGrantByToken => {
                let named = GrantReference::Token(self.grant.1.clone());
                kms.retire_grant(&named, who).await
            }
            Op::RunDue => {
                assert!(kms.run_due(who).await?.failed.is_empty());
                Ok(())
            }
            Op::GenerateMac => kms.generate_mac(special, MAC, b"text", who).await.map(drop),
            Op::VerifyMac => {
                let verified = kms.verify_mac(special, MAC, b"text", &self.made, who).await;
                verified.map(drop)
            }
            Op::Sign => {
                let message = SignedMessage::Raw(b"text");
                kms.sign(special, ecdsa(), message, who).await.map(drop)
            }
            Op::Verify => {
                let message = SignedMessage::Raw(b"text");
                let verified = kms.verify(special, ecdsa(), message, &self.made, who).await;
                verified.map(drop)
            }
            Op::GetPublicKey => kms.public_key(special, who).await.map(drop),
            Op::EncryptByPair => {
                let encrypted = kms.encrypt_by_pair(special, OAEP, b"text", who).await;
                encrypted.map(drop)
            }
            Op::DecryptByPair => {
                let opened = kms.decrypt_by_pair(special, OAEP, &self.made, who).await?;
                assert_eq!(*opened.1, b"text");
                Ok(())
            }
            Op::GenerateDataKeyPair => {
                let spec = DataKeyPairSpec::P256;
                let made = kms.generate_data_key_pair(key, empty, spec, who).await;
                made.map(drop)
            }
            Op::GenerateDataKeyPairWithoutPlaintext => {
                let spec = DataKeyPairSpec::P256;
                let made = kms
                    .generate_data_key_pair_without_plaintext(key, empty, spec, who)
                    .await?;
                assert!(made.private.is_empty());
                Ok(())
            }
            Op::Encrypt => kms.encrypt(key, empty, b"text", who).await.map(drop),
            Op::Decrypt => kms.decrypt(&self.blob, empty, None, who).await.map(drop),
            Op::DecryptAsExpected => {
                let decrypted = kms.decrypt(&self.blob, empty, Some(key), who).await;
                decrypted.map(drop)
            }
            Op::ReEncryptFromIt => {
                let again = kms
                    .re_encrypt(&self.blob, empty, None, other, empty, who)
                    .await;
                again.map(drop)
            }
            Op::ReEncryptToIt => {
                let again = kms
                    .re_encrypt(&self.other_blob, empty, None, key, empty, who)
                    .await;
                again.map(drop)
            }
            Op::GenerateDataKey => kms.generate_data_key(key, empty, 32, who).await.map(drop),
            Op::GenerateDataKeyWithoutPlaintext => {
                let made = kms
                    .generate_data_key_without_plaintext(key, empty, 32, who)
                    .await;
                made.map(drop)
            }
            Op::CreateObject | Op::CreateObjectByBucketKey => {
                let bucket_key = operation == Op::CreateObjectByBucketKey;
                let protection = by_kms_key(&self.key, bucket_key);
                keys.create(&protection, new_name, who).await.map(drop)
            }
            Op::OpenObject | Op::OpenObjectByBucketKey => {
                let envelope = if operation == Op::OpenObject {
                    &self.direct
                } else {
                    &self.bucket
                };
                keys.open(envelope, &self.name, None, who).await.map(drop)
            }
            Op::CheckObject => keys.check(&self.direct, &self.name, None, who).await,
            Op::RewrapFromIt => rewrap(self.direct.clone(), None, Protection::Managed).await,
            Op::RewrapFromItsBucketKey => {
                rewrap(self.bucket.clone(), None, by_customer_key(2)).await
            }
            Op::RewrapToIt | Op::RewrapToItsBucketKey => {
                let to = by_kms_key(&self.key, operation == Op::RewrapToItsBucketKey);
                rewrap(self.customers.clone(), Some(1), to).await
            }
            Op::ChainOf => {
                assert_eq!(keys.chain_of(&self.direct).await?.len(), 2);
                assert_eq!(keys.chain_of(&self.bucket).await?.len(), 3);
                Ok(())
            }
            Op::VersionsOf => {
                let versions = keys
                    .versions_of(LedgerKey::KmsKey(self.key.id), None, 10)
                    .await;
                versions.map(drop)
            }
        }
    }
}

/// What changes a key that waits for its material, or what is asked of it afterwards.
const CHANGES_WHAT_WAITS: [Operation; 8] = [
    Operation::ScheduleKeyDeletion,
    Operation::CreateAlias,
    Operation::UpdateAliasToIt,
    Operation::UpdateAliasFromIt,
    Operation::DeleteAlias,
    Operation::RevokeGrant,
    Operation::RetireGrant,
    Operation::RetireGrantByToken,
];

/// To import material takes an RSA pair, which takes its time: one stage serves for many.
#[tokio::test]
async fn each_operation_answers_of_a_key_that_waits_for_its_material() {
    let shared = Stage::new(State::PendingImport, Operation::DescribeKey).await;
    for (operation, [.., expected]) in TABLE {
        if expected == NONE {
            continue;
        }
        let fresh = if CHANGES_WHAT_WAITS.contains(&operation) {
            Some(Stage::new(State::PendingImport, operation).await)
        } else {
            None
        };
        answers(fresh.as_ref().unwrap_or(&shared), operation, expected).await;
    }
}

async fn answers(stage: &Stage, operation: Operation, expected: &str) {
    let rows = stage.world.rows().await;
    let result = stage.run(operation).await;
    let code = result.as_ref().map_or_else(KeyError::code, |()| OK);
    let state = stage.state;
    assert_eq!(code, expected, "{operation:?} on a key that is {state:?}");
    if result.is_err() {
        let is_changed = stage.world.rows().await != rows;
        assert!(!is_changed, "{operation:?} on a key that is {state:?}");
    }
}

#[tokio::test]
async fn each_operation_answers_by_the_state_of_the_key() {
    for (operation, expected) in TABLE {
        let states = [
            State::Enabled,
            State::Disabled,
            State::PendingDeletion,
            State::Destroyed,
        ];
        for (state, expected) in states.into_iter().zip(expected) {
            let stage = Stage::new(state, operation).await;
            answers(&stage, operation, expected).await;
        }
    }
}

#[tokio::test]
async fn the_states_follow_one_another() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let key = &world.kms_key().await.id.into();
    let state = async || kms.describe_key(key).await.expect("a key").state;
    assert_eq!(state().await, KeyState::Enabled);
    kms.disable_key(key, &caller()).await.expect("disabled");
    assert_eq!(state().await, KeyState::Disabled);
    kms.enable_key(key, &caller()).await.expect("enabled");
    assert_eq!(state().await, KeyState::Enabled);
    for (days, is_allowed) in [(0, false), (6, false), (7, true), (30, true), (31, false)] {
        let before = kms.describe_key(key).await.expect("a key");
        let scheduled = kms.schedule_key_deletion(key, days, &caller()).await;
        if !is_allowed {
            let error = scheduled.expect_err("it is no such number");
            assert!(
                matches!(error, KeyError::InvalidRequest { .. }),
                "{error:?}"
            );
            assert_eq!(kms.describe_key(key).await.expect("a key"), before);
            continue;
        }
        let wait = Duration::from_secs(u64::from(days) * 86_400);
        let date = strongroom_environment::Clock::now(&*world.clock) + wait;
        let expected = KeyState::PendingDeletion { date };
        assert_eq!(scheduled.expect("scheduled").state, expected);
        assert_eq!(state().await, expected);
        let cancelled = kms.cancel_key_deletion(key, &caller()).await;
        assert_eq!(cancelled.expect("cancelled").state, KeyState::Disabled);
        assert_eq!(state().await, KeyState::Disabled);
    }
}

#[tokio::test]
async fn the_service_s_own_keys_cannot_be_used_or_changed_from_outside() {
    let world = World::new().await;
    let (kms, who, empty) = (&world.service.kms, &caller(), &EncryptionContext::empty());
    let mine = &world.kms_key().await.id.into();
    let encrypted = kms.encrypt(mine, empty, b"text", who).await;
    let blob = encrypted.expect("a ciphertext").blob.to_bytes();
    for name in ["alias/strongroom/s3", "alias/strongroom/system"] {
        let key: &KeyReference = &name.parse().expect("a reference");
        let described = kms.describe_key(key).await.expect("it may be looked at");
        assert_eq!(described.manager, KeyManager::Service);
        // A ciphertext that says it is under this key.
        let mut forged = blob.clone();
        forged[1..17].copy_from_slice(described.id.as_bytes());
        let rows = world.rows().await;
        let alias = &AliasName::new("alias/mine").expect("a name");
        let refused = [
            kms.enable_key(key, who).await.map(drop),
            kms.disable_key(key, who).await.map(drop),
            kms.schedule_key_deletion(key, 7, who).await.map(drop),
            kms.cancel_key_deletion(key, who).await.map(drop),
            kms.create_alias(alias, key, who).await,
            kms.encrypt(key, empty, b"text", who).await.map(drop),
            kms.decrypt(&forged, empty, None, who).await.map(drop),
            kms.re_encrypt(&blob, empty, None, key, empty, who)
                .await
                .map(drop),
            kms.re_encrypt(&forged, empty, None, mine, empty, who)
                .await
                .map(drop),
            kms.generate_data_key(key, empty, 32, who).await.map(drop),
            kms.generate_data_key_without_plaintext(key, empty, 32, who)
                .await
                .map(drop),
            kms.update_key_description(key, "mine", who).await,
            kms.rotate_key(key, who).await.map(drop),
            kms.enable_key_rotation(key, 90, who).await,
            kms.disable_key_rotation(key, who).await,
            kms.tag_key(key, &tags(&[("a", "b")]), who).await,
            kms.untag_key(key, &["a".into()], who).await,
            kms.put_key_policy(
                key,
                Kms::POLICY_NAME,
                &NewPolicy {
                    document: open_policy(),
                    bypass_lockout_check: false,
                },
                who,
            )
            .await,
            kms.create_grant(key, &a_grant(), who).await.map(drop),
            kms.revoke_grant(key, GrantId([1; 32]), who).await,
        ];
        for (at, result) in refused.into_iter().enumerate() {
            let error = result.expect_err("it is the service's");
            assert!(
                matches!(error, KeyError::ManagedByService { .. }),
                "{at}: {error:?}"
            );
        }
        let reserved = &AliasName::new(name).expect("a name");
        for result in [
            kms.create_alias(reserved, mine, who).await,
            kms.update_alias(reserved, mine, who).await,
            kms.delete_alias(reserved, who).await,
        ] {
            let error = result.expect_err("it is the service's");
            assert!(matches!(error, KeyError::AliasReserved { .. }), "{error:?}");
        }
        assert!(world.rows().await == rows, "nothing was changed");
    }
}
