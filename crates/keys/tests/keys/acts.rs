//! Everything that can be done with keys and users, and a service to do it with.

use std::time::Duration;

use secrecy::ExposeSecret;
use strongroom_keys::{
    AccessKeyId, AliasName, DataKeyPairSpec, EncryptionContext, GrantId, GrantOperation,
    GrantReference, KeyDescription, KeyEnvelope, KeyError, KeyReference, KeySpec, KeyVersion, Kms,
    NewGrant, NewKey, NewMaterial, NewPolicy, ObjectName, Protection, Role, SignedMessage,
    SigningAlgorithm, WrappingMethod,
};
use strongroom_seal::DataKey;

use crate::imports::external_key;
use crate::world::{
    World, a_grant, allow, as_user, by_customer_key, by_kms_key, caller, context, customer_key,
    object, open_policy, policy, tags,
};

pub(crate) const PLAINTEXT: &[u8] = b"what is encrypted here is not for the log";

fn ecdsa() -> SigningAlgorithm {
    SigningAlgorithm::named("ECDSA_SHA_256").expect("an algorithm")
}

/// A service with one of everything in it.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) key: KeyDescription,
    pub(crate) disabled: KeyDescription,
    pub(crate) pending: KeyDescription,
    /// It has no material yet.
    pub(crate) external: KeyDescription,
    /// Only administrators may use it, and users by a grant.
    pub(crate) guarded: KeyDescription,
    pub(crate) mac_key: KeyDescription,
    pub(crate) mac: Vec<u8>,
    pub(crate) pair: KeyDescription,
    pub(crate) signature: Vec<u8>,
    pub(crate) named_grant: NewGrant,
    pub(crate) grant: GrantId,
    pub(crate) alias: AliasName,
    pub(crate) name: ObjectName,
    pub(crate) customers: KeyEnvelope,
    pub(crate) direct: KeyEnvelope,
    pub(crate) bucket: KeyEnvelope,
    pub(crate) managed: KeyEnvelope,
    pub(crate) blob: Vec<u8>,
    pub(crate) user: AccessKeyId,
    pub(crate) disabled_user: AccessKeyId,
    /// What came out while it was set up.
    pub(crate) secrets: Vec<Vec<u8>>,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let world = World::new().await;
        let (kms, users) = (&world.service.kms, &world.service.users);
        let [key, disabled, pending, guarded] = [
            world.kms_key().await,
            world.kms_key().await,
            world.kms_key().await,
            world.kms_key().await,
        ];
        let external = external_key(kms).await;
        let done = kms.disable_key(&disabled.id.into(), &caller()).await;
        done.expect("it is disabled");
        let done = kms
            .schedule_key_deletion(&pending.id.into(), 7, &caller())
            .await;
        done.expect("it is scheduled");
        let mut special = Vec::new();
        for (spec, usage) in [
            ("HMAC_256", "GENERATE_VERIFY_MAC"),
            ("ECC_NIST_P256", "SIGN_VERIFY"),
        ] {
            let new = NewKey {
                spec: KeySpec::named(spec, usage).expect("a spec"),
                ..NewKey::default()
            };
            special.push(kms.create_key(new, &caller()).await.expect("a key"));
        }
        let [mac_key, pair] = special.try_into().expect("two");
        let made = kms
            .generate_mac(&mac_key.id.into(), "HMAC_SHA_256", PLAINTEXT, &caller())
            .await;
        let mac = made.expect("a MAC").1;
        let message = SignedMessage::Raw(PLAINTEXT);
        let signed = kms.sign(&pair.id.into(), ecdsa(), message, &caller()).await;
        let signature = signed.expect("a signature").1;
        let policy = NewPolicy {
            document: policy(&[allow("arn:aws:iam::000000000000:role/admin", "kms:*")]),
            bypass_lockout_check: false,
        };
        let done = kms
            .put_key_policy(&guarded.id.into(), Kms::POLICY_NAME, &policy, &caller())
            .await;
        done.expect("it has a policy");
        let for_users = NewGrant {
            operations: vec![GrantOperation::Encrypt],
            ..a_grant()
        };
        let done = kms
            .create_grant(&guarded.id.into(), &for_users, &caller())
            .await;
        done.expect("it has a grant");
        let named_grant = NewGrant {
            name: Some("stage".into()),
            ..a_grant()
        };
        let done = kms
            .create_grant(&key.id.into(), &named_grant, &caller())
            .await;
        let (grant, _) = done.expect("it has a grant");
        let set = tags(&[("stage", "set")]);
        let done = kms.tag_key(&key.id.into(), &set, &caller()).await;
        done.expect("it is tagged");
        let alias = AliasName::new("alias/here").expect("a name");
        let done = kms.create_alias(&alias, &key.id.into(), &caller()).await;
        done.expect("it is named");
        let name = object("bucket", "key");
        let mut secrets = Vec::new();
        let mut envelopes = Vec::new();
        for protection in [
            by_customer_key(1),
            by_kms_key(&key, false),
            by_kms_key(&key, true),
            Protection::Managed,
        ] {
            let made = world
                .service
                .objects
                .create(&protection, &name, &caller())
                .await;
            let (data_key, envelope) = made.expect("a data key");
            secrets.push(data_key.expose().to_vec());
            envelopes.push(envelope);
        }
        let [customers, direct, bucket, managed] = envelopes.try_into().expect("four");
        let encrypted = kms
            .encrypt(
                &key.id.into(),
                &context(&[("a", "b")]),
                PLAINTEXT,
                &caller(),
            )
            .await;
        let blob = encrypted.expect("a ciphertext").blob.to_bytes();
        let mut ids = Vec::new();
        for name in ["ann", "ben"] {
            let made = users.create(name, Role::User, &caller()).await;
            let made = made.expect("a user");
            secrets.extend(both_forms(made.secret.expose_secret()));
            ids.push(made.user.access_key_id);
        }
        let [user, disabled_user] = ids.try_into().expect("two");
        let done = users.disable(&disabled_user, &caller()).await;
        done.expect("it is disabled");
        Self {
            world,
            key,
            disabled,
            pending,
            external,
            guarded,
            mac_key,
            mac,
            pair,
            signature,
            named_grant,
            grant,
            alias,
            name,
            customers,
            direct,
            bucket,
            managed,
            blob,
            user,
            disabled_user,
            secrets,
        }
    }
}

/// A secret access key, and the bytes it was made of.
fn both_forms(secret: &str) -> [Vec<u8>; 2] {
    let bytes = data_encoding::BASE64URL_NOPAD.decode(secret.as_bytes());
    [secret.as_bytes().to_vec(), bytes.expect("base64url")]
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    CreateByCustomerKey,
    CreateByKmsKey,
    CreateByBucketKey,
    CreateByNewBucketKey,
    CreateManaged,
    CreateByDisabledKey,
    OpenByCustomerKey,
    OpenByWrongKey,
    OpenWithoutKey,
    OpenByKmsKey,
    OpenByBucketKey,
    OpenByForgottenBucketKey,
    OpenManaged,
    OpenInWrongPlace,
    Check,
    CheckByWrongKey,
    Rewrap,
    RewrapByWrongKey,
    Refuse,
    GenerateMac,
    GenerateMacByDataKey,
    VerifyMac,
    VerifyWrongMac,
    Sign,
    Verify,
    VerifyWrongSignature,
    GetPublicKey,
    GetNoPublicKey,
    GenerateDataKeyPair,
    GenerateDataKeyPairWithoutPlaintext,
    Encrypt,
    EncryptUnderNothing,
    Decrypt,
    DecryptInWrongContext,
    DecryptNonsense,
    ReEncrypt,
    GenerateDataKey,
    GenerateDataKeyWithoutPlaintext,
    GenerateRandom,
    CreateKey,
    UpdateKeyDescription,
    RotateKey,
    RotateDisabledKey,
    EnableKeyRotation,
    DisableKeyRotation,
    TagKey,
    UntagKey,
    PutKeyPolicy,
    PutBrokenKeyPolicy,
    CreateGrant,
    CreateSameGrant,
    RevokeGrant,
    RevokeNoGrant,
    RetireGrant,
    EncryptUnderGrant,
    LookInVain,
    DestroyKey,
    CompromiseKeyVersion,
    CompromiseSystemKey,
    RewrapKeyVersions,
    RewrapCurrentVersion,
    GetParametersForImport,
    GetNoParametersForImport,
    ImportNonsense,
    DeleteNoMaterial,
    EnableKey,
    DisableKey,
    DisableServiceKey,
    ScheduleKeyDeletion,
    CancelKeyDeletion,
    CreateAlias,
    UpdateAlias,
    DeleteAlias,
    CreateUser,
    EnableUser,
    DisableUser,
    DisableNobody,
    DeleteUser,
    ServiceEvent,
}

/// Every act, what its last entry says was done, and why not.
pub(crate) const ACTS: [(Act, &str, &str, Option<&str>); 79] = {
    use Act::*;
    const ADMINISTRATION: &str = "key-administration";
    const MISMATCH: Option<&str> = Some("customer-key-mismatch");
    const NOT_AUTHENTIC: Option<&str> = Some("not-authentic");
    [
        (CreateByCustomerKey, "key-use", "create", None),
        (CreateByKmsKey, "key-use", "create", None),
        (CreateByBucketKey, "key-use", "create", None),
        (CreateByNewBucketKey, "key-use", "create", None),
        (CreateManaged, "key-use", "create", None),
        (CreateByDisabledKey, "key-use", "create", Some("disabled")),
        (OpenByCustomerKey, "key-use", "open", None),
        (OpenByWrongKey, "key-use", "open", MISMATCH),
        (
            OpenWithoutKey,
            "key-use",
            "open",
            Some("customer-key-required"),
        ),
        (OpenByKmsKey, "key-use", "open", None),
        (OpenByBucketKey, "key-use", "open", None),
        (OpenByForgottenBucketKey, "key-use", "open", None),
        (OpenManaged, "key-use", "open", None),
        (OpenInWrongPlace, "key-use", "open", NOT_AUTHENTIC),
        (Check, "key-use", "check", None),
        (CheckByWrongKey, "key-use", "check", MISMATCH),
        (Rewrap, "key-use", "rewrap", None),
        (RewrapByWrongKey, "key-use", "rewrap", MISMATCH),
        (Refuse, "key-use", "refuse", Some("customer-key-malformed")),
        (GenerateMac, "key-use", "generate-mac", None),
        (
            GenerateMacByDataKey,
            "key-use",
            "generate-mac",
            Some("wrong-usage"),
        ),
        (VerifyMac, "key-use", "verify-mac", None),
        (VerifyWrongMac, "key-use", "verify-mac", Some("wrong-mac")),
        (Sign, "key-use", "sign", None),
        (Verify, "key-use", "verify", None),
        (
            VerifyWrongSignature,
            "key-use",
            "verify",
            Some("wrong-signature"),
        ),
        (GetPublicKey, "key-use", "get-public-key", None),
        (
            GetNoPublicKey,
            "key-use",
            "get-public-key",
            Some("not-for-this-key"),
        ),
        (
            GenerateDataKeyPair,
            "key-use",
            "generate-data-key-pair",
            None,
        ),
        (
            GenerateDataKeyPairWithoutPlaintext,
            "key-use",
            "generate-data-key-pair-without-plaintext",
            None,
        ),
        (Encrypt, "key-use", "encrypt", None),
        (
            EncryptUnderNothing,
            "key-use",
            "encrypt",
            Some("no-such-alias"),
        ),
        (Decrypt, "key-use", "decrypt", None),
        (DecryptInWrongContext, "key-use", "decrypt", NOT_AUTHENTIC),
        (DecryptNonsense, "key-use", "decrypt", NOT_AUTHENTIC),
        (ReEncrypt, "key-use", "re-encrypt", None),
        (GenerateDataKey, "key-use", "generate-data-key", None),
        (
            GenerateDataKeyWithoutPlaintext,
            "key-use",
            "generate-data-key-without-plaintext",
            None,
        ),
        (GenerateRandom, "key-use", "generate-random", None),
        (CreateKey, "key-administration", "create-key", None),
        (
            UpdateKeyDescription,
            ADMINISTRATION,
            "update-key-description",
            None,
        ),
        (RotateKey, ADMINISTRATION, "rotate-key", None),
        (
            RotateDisabledKey,
            ADMINISTRATION,
            "rotate-key",
            Some("disabled"),
        ),
        (
            EnableKeyRotation,
            ADMINISTRATION,
            "enable-key-rotation",
            None,
        ),
        (
            DisableKeyRotation,
            ADMINISTRATION,
            "disable-key-rotation",
            None,
        ),
        (TagKey, ADMINISTRATION, "tag-key", None),
        (UntagKey, ADMINISTRATION, "untag-key", None),
        (PutKeyPolicy, ADMINISTRATION, "put-key-policy", None),
        (
            PutBrokenKeyPolicy,
            ADMINISTRATION,
            "put-key-policy",
            Some("malformed-policy"),
        ),
        (CreateGrant, ADMINISTRATION, "create-grant", None),
        (CreateSameGrant, ADMINISTRATION, "create-grant", None),
        (RevokeGrant, ADMINISTRATION, "revoke-grant", None),
        (
            RevokeNoGrant,
            ADMINISTRATION,
            "revoke-grant",
            Some("no-such-grant"),
        ),
        (RetireGrant, ADMINISTRATION, "retire-grant", None),
        (EncryptUnderGrant, "key-use", "encrypt", None),
        (LookInVain, ADMINISTRATION, "look", Some("access-denied")),
        (DestroyKey, ADMINISTRATION, "destroy-key", None),
        (
            CompromiseKeyVersion,
            ADMINISTRATION,
            "compromise-key-version",
            None,
        ),
        (
            CompromiseSystemKey,
            ADMINISTRATION,
            "compromise-key-version",
            Some("managed-by-service"),
        ),
        (
            RewrapKeyVersions,
            ADMINISTRATION,
            "rewrap-key-version",
            None,
        ),
        (
            RewrapCurrentVersion,
            ADMINISTRATION,
            "rewrap-key-version",
            Some("invalid-request"),
        ),
        (
            GetParametersForImport,
            ADMINISTRATION,
            "get-parameters-for-import",
            None,
        ),
        (
            GetNoParametersForImport,
            ADMINISTRATION,
            "get-parameters-for-import",
            Some("not-for-this-key"),
        ),
        (
            ImportNonsense,
            ADMINISTRATION,
            "import-key-material",
            Some("invalid-import-token"),
        ),
        (
            DeleteNoMaterial,
            ADMINISTRATION,
            "delete-imported-key-material",
            None,
        ),
        (EnableKey, "key-administration", "enable-key", None),
        (DisableKey, "key-administration", "disable-key", None),
        (
            DisableServiceKey,
            "key-administration",
            "disable-key",
            Some("managed-by-service"),
        ),
        (
            ScheduleKeyDeletion,
            "key-administration",
            "schedule-key-deletion",
            None,
        ),
        (
            CancelKeyDeletion,
            "key-administration",
            "cancel-key-deletion",
            None,
        ),
        (CreateAlias, "key-administration", "create-alias", None),
        (UpdateAlias, "key-administration", "update-alias", None),
        (DeleteAlias, "key-administration", "delete-alias", None),
        (CreateUser, "user-administration", "create-user", None),
        (EnableUser, "user-administration", "enable-user", None),
        (DisableUser, "user-administration", "disable-user", None),
        (
            DisableNobody,
            "user-administration",
            "disable-user",
            Some("no-such-user"),
        ),
        (DeleteUser, "user-administration", "delete-user", None),
        (ServiceEvent, "service", "conformance", None),
    ]
};

impl Act {
    /// Does it, and gives every secret that comes out.
    pub(crate) async fn run(self, stage: &Stage) -> Result<Vec<Vec<u8>>, KeyError> {
        let (service, who, name) = (&stage.world.service, &caller(), &stage.name);
        let (keys, kms, users) = (&service.objects, &service.kms, &service.users);
        let (right, wrong) = (&customer_key(1), &customer_key(2));
        let key: &KeyReference = &stage.key.id.into();
        let pairs = &context(&[("a", "b")]);
        let nothing = |_| Vec::new();
        let made = |(data_key, _): (DataKey, KeyEnvelope)| vec![data_key.expose().to_vec()];
        let opened = |data_key: DataKey| vec![data_key.expose().to_vec()];
        let create = |protection, bucket| async move {
            let created = keys.create(&protection, &object(bucket, "new"), who).await;
            created.map(made)
        };
        match self {
            Self::CreateByCustomerKey => create(by_customer_key(3), "bucket").await,
            Self::CreateByKmsKey => create(by_kms_key(&stage.key, false), "bucket").await,
            Self::CreateByBucketKey => create(by_kms_key(&stage.key, true), "bucket").await,
            Self::CreateByNewBucketKey => create(by_kms_key(&stage.key, true), "another").await,
            Self::CreateManaged => create(Protection::Managed, "bucket").await,
            Self::CreateByDisabledKey => create(by_kms_key(&stage.disabled, true), "bucket").await,
            Self::OpenByCustomerKey => {
                let open = keys.open(&stage.customers, name, Some(right), who).await;
                open.map(opened)
            }
            Self::OpenByWrongKey => {
                let open = keys.open(&stage.customers, name, Some(wrong), who).await;
                open.map(opened)
            }
            Self::OpenWithoutKey => {
                let open = keys.open(&stage.customers, name, None, who).await;
                open.map(opened)
            }
            Self::OpenByKmsKey => keys.open(&stage.direct, name, None, who).await.map(opened),
            Self::OpenByBucketKey => keys.open(&stage.bucket, name, None, who).await.map(opened),
            Self::OpenByForgottenBucketKey => {
                stage.world.clock.pass(Duration::from_secs(301));
                keys.open(&stage.bucket, name, None, who).await.map(opened)
            }
            Self::OpenManaged => keys.open(&stage.managed, name, None, who).await.map(opened),
            Self::OpenInWrongPlace => {
                let place = object("bucket", "key");
                keys.open(&stage.direct, &place, None, who)
                    .await
                    .map(opened)
            }
            Self::Check => {
                let check = keys.check(&stage.customers, name, Some(right), who).await;
                check.map(nothing)
            }
            Self::CheckByWrongKey => {
                let check = keys.check(&stage.customers, name, Some(wrong), who).await;
                check.map(nothing)
            }
            Self::Rewrap | Self::RewrapByWrongKey => {
                let with = if self == Self::Rewrap { right } else { wrong };
                let (from, to) = (
                    (&stage.customers, name, Some(with)),
                    (&by_customer_key(4), &object("bucket", "copy")),
                );
                keys.rewrap(from, to, who).await.map(|_| Vec::new())
            }
            Self::Refuse => {
                let refusal = KeyError::CustomerKeyMalformed { rule: "a rule" };
                keys.log_refusal("bucket", "key", &refusal, who).await?;
                Err(refusal)
            }
            Self::GenerateMac | Self::GenerateMacByDataKey => {
                let by = if self == Self::GenerateMac {
                    &stage.mac_key.id.into()
                } else {
                    key
                };
                let made = kms.generate_mac(by, "HMAC_SHA_256", PLAINTEXT, who).await?;
                Ok(vec![made.1])
            }
            Self::VerifyMac | Self::VerifyWrongMac => {
                let by = &stage.mac_key.id.into();
                let mac = if self == Self::VerifyMac {
                    &stage.mac[..]
                } else {
                    &[7; 32]
                };
                let verified = kms
                    .verify_mac(by, "HMAC_SHA_256", PLAINTEXT, mac, who)
                    .await;
                verified.map(|_| Vec::new())
            }
            Self::Sign => {
                let by = &stage.pair.id.into();
                let message = SignedMessage::Raw(PLAINTEXT);
                let signed = kms.sign(by, ecdsa(), message, who).await;
                signed.map(|_| Vec::new())
            }
            Self::Verify | Self::VerifyWrongSignature => {
                let by = &stage.pair.id.into();
                let message = if self == Self::Verify {
                    SignedMessage::Raw(PLAINTEXT)
                } else {
                    SignedMessage::Raw(b"another")
                };
                let verified = kms
                    .verify(by, ecdsa(), message, &stage.signature, who)
                    .await;
                verified.map(|_| Vec::new())
            }
            Self::GetPublicKey => {
                let found = kms.public_key(&stage.pair.id.into(), who).await;
                found.map(|_| Vec::new())
            }
            Self::GetNoPublicKey => kms.public_key(key, who).await.map(|_| Vec::new()),
            Self::GenerateDataKeyPair => {
                let spec = DataKeyPairSpec::P256;
                let made = kms.generate_data_key_pair(key, pairs, spec, who).await?;
                Ok(vec![made.private.to_vec()])
            }
            Self::GenerateDataKeyPairWithoutPlaintext => {
                let spec = DataKeyPairSpec::P256;
                let made = kms
                    .generate_data_key_pair_without_plaintext(key, pairs, spec, who)
                    .await;
                made.map(|_| Vec::new())
            }
            Self::Encrypt => {
                let encrypt = kms.encrypt(key, pairs, PLAINTEXT, who).await;
                encrypt.map(|_| Vec::new())
            }
            Self::EncryptUnderNothing => {
                let nobody = &"alias/nobody".parse().expect("a name");
                let encrypt = kms.encrypt(nobody, pairs, PLAINTEXT, who).await;
                encrypt.map(|_| Vec::new())
            }
            Self::Decrypt => {
                let decrypted = kms.decrypt(&stage.blob, pairs, None, who).await?;
                Ok(vec![decrypted.plaintext.to_vec()])
            }
            Self::DecryptInWrongContext => {
                let empty = &EncryptionContext::empty();
                let decrypt = kms.decrypt(&stage.blob, empty, None, who).await;
                decrypt.map(|_| Vec::new())
            }
            Self::DecryptNonsense => {
                let decrypt = kms.decrypt(b"nonsense", pairs, None, who).await;
                decrypt.map(|_| Vec::new())
            }
            Self::ReEncrypt => {
                let empty = &EncryptionContext::empty();
                let again = kms
                    .re_encrypt(&stage.blob, pairs, None, key, empty, who)
                    .await;
                again.map(|_| Vec::new())
            }
            Self::GenerateDataKey => {
                let made = kms.generate_data_key(key, pairs, 32, who).await?;
                Ok(vec![made.plaintext.to_vec()])
            }
            Self::GenerateDataKeyWithoutPlaintext => {
                let made = kms
                    .generate_data_key_without_plaintext(key, pairs, 32, who)
                    .await;
                made.map(|_| Vec::new())
            }
            Self::GenerateRandom => Ok(vec![kms.generate_random(32, who).await?.to_vec()]),
            Self::CreateKey => kms.create_key("new", who).await.map(|_| Vec::new()),
            Self::UpdateKeyDescription => kms
                .update_key_description(key, "new", who)
                .await
                .map(nothing),
            Self::RotateKey => kms.rotate_key(key, who).await.map(|_| Vec::new()),
            Self::RotateDisabledKey => {
                let rotated = kms.rotate_key(&stage.disabled.id.into(), who).await;
                rotated.map(|_| Vec::new())
            }
            Self::EnableKeyRotation => kms.enable_key_rotation(key, 90, who).await.map(nothing),
            Self::DisableKeyRotation => kms.disable_key_rotation(key, who).await.map(nothing),
            Self::TagKey => {
                let tags = tags(&[("new", "what is not for the log")]);
                kms.tag_key(key, &tags, who).await.map(nothing)
            }
            Self::UntagKey => {
                let names = ["stage".into(), "new".into()];
                kms.untag_key(key, &names, who).await.map(nothing)
            }
            Self::PutKeyPolicy | Self::PutBrokenKeyPolicy => {
                let document = if self == Self::PutKeyPolicy {
                    open_policy()
                } else {
                    "broken".into()
                };
                let policy = NewPolicy {
                    document,
                    bypass_lockout_check: false,
                };
                kms.put_key_policy(key, Kms::POLICY_NAME, &policy, who)
                    .await
                    .map(nothing)
            }
            Self::CreateGrant => {
                let made = kms.create_grant(key, &a_grant(), who).await;
                made.map(|_| Vec::new())
            }
            Self::CreateSameGrant => {
                let made = kms.create_grant(key, &stage.named_grant, who).await?;
                assert_eq!(made.0, stage.grant);
                Ok(Vec::new())
            }
            Self::RevokeGrant => kms.revoke_grant(key, stage.grant, who).await.map(nothing),
            Self::RevokeNoGrant => {
                let none = GrantId([7; 32]);
                kms.revoke_grant(key, none, who).await.map(nothing)
            }
            Self::RetireGrant => {
                let named = GrantReference::Id(key.clone(), stage.grant);
                kms.retire_grant(&named, who).await.map(nothing)
            }
            Self::EncryptUnderGrant => {
                let user = &as_user();
                let guarded = &stage.guarded.id.into();
                let encrypt = kms.encrypt(guarded, pairs, PLAINTEXT, user).await;
                encrypt.map(|_| Vec::new())
            }
            Self::LookInVain => {
                let look = kms
                    .authorize_look(Some(key), "GetKeyPolicy", &as_user())
                    .await;
                look.map(nothing)
            }
            Self::DestroyKey => {
                stage.world.clock.pass(Duration::from_secs(7 * 86_400));
                kms.run_due(who).await.map(|_| Vec::new())
            }
            Self::CompromiseKeyVersion => {
                let done = kms.compromise_version(key, None, "it was seen", who).await;
                done.map(|_| Vec::new())
            }
            Self::CompromiseSystemKey => {
                let system = "alias/strongroom/system".parse().expect("an alias");
                let done = kms.compromise_version(&system, None, "", who).await;
                done.map(|_| Vec::new())
            }
            Self::RewrapKeyVersions => {
                let asked = kms.rewrap_versions(key, None, who).await;
                asked.map(|_| Vec::new())
            }
            Self::RewrapCurrentVersion => {
                let asked = kms.rewrap_versions(key, Some(KeyVersion(1)), who).await;
                asked.map(|_| Vec::new())
            }
            Self::GetParametersForImport | Self::GetNoParametersForImport => {
                let of = if self == Self::GetParametersForImport {
                    &stage.external.id.into()
                } else {
                    key
                };
                let method = WrappingMethod::named("RSAES_OAEP_SHA_1", "RSA_2048");
                let made = kms.parameters_for_import(of, method.expect("a method"), who);
                made.await.map(|_| Vec::new())
            }
            Self::ImportNonsense => {
                let new = NewMaterial {
                    import_token: b"nonsense".to_vec(),
                    encrypted: b"nonsense".to_vec(),
                    expires: None,
                    kind: None,
                    material: None,
                    description: None,
                };
                let of = &stage.external.id.into();
                let imported = kms.import_key_material(of, new, who).await;
                imported.map(|_| Vec::new())
            }
            Self::DeleteNoMaterial => {
                let of = &stage.external.id.into();
                let deleted = kms.delete_imported_key_material(of, None, who).await;
                deleted.map(|_| Vec::new())
            }
            Self::EnableKey => {
                let change = kms.enable_key(&stage.disabled.id.into(), who).await;
                change.map(|_| Vec::new())
            }
            Self::DisableKey => kms.disable_key(key, who).await.map(|_| Vec::new()),
            Self::DisableServiceKey => {
                let change = kms.disable_key(&KeyReference::managed(), who).await;
                change.map(|_| Vec::new())
            }
            Self::ScheduleKeyDeletion => {
                let change = kms.schedule_key_deletion(key, 30, who).await;
                change.map(|_| Vec::new())
            }
            Self::CancelKeyDeletion => {
                let change = kms.cancel_key_deletion(&stage.pending.id.into(), who).await;
                change.map(|_| Vec::new())
            }
            Self::CreateAlias => {
                let alias = AliasName::new("alias/new").expect("a name");
                kms.create_alias(&alias, key, who).await.map(nothing)
            }
            Self::UpdateAlias => {
                let other = &stage.disabled.id.into();
                kms.update_alias(&stage.alias, other, who)
                    .await
                    .map(nothing)
            }
            Self::DeleteAlias => kms.delete_alias(&stage.alias, who).await.map(nothing),
            Self::CreateUser => {
                let made = users.create("new", Role::Auditor, who).await?;
                Ok(both_forms(made.secret.expose_secret()).to_vec())
            }
            Self::EnableUser => {
                let change = users.enable(&stage.disabled_user, who).await;
                change.map(|_| Vec::new())
            }
            Self::DisableUser => users.disable(&stage.user, who).await.map(|_| Vec::new()),
            Self::DisableNobody => {
                let nobody = "SRAKAAAAAAAAAAAAAAAA".parse().expect("an id");
                users.disable(&nobody, who).await.map(|_| Vec::new())
            }
            Self::DeleteUser => users.delete(&stage.user, who).await.map(nothing),
            Self::ServiceEvent => {
                let detail = serde_json::json!({ "passed": true });
                service
                    .log_event("conformance", detail, who)
                    .await
                    .map(nothing)
            }
        }
    }
}
