//! What custody promises, run by both engines: the one in the process, and the one over the link.

use std::sync::Arc;

use strongroom_environment::SystemEntropy;
use strongroom_keys::{
    AliasName, CustodyUse, GrantOperation, KeyCustody, KeyReference, KeyUseLimits, KeyVersion, Kms,
    NewGrant, NewPolicy, Role,
};
use strongroom_seal::DataKey;

use crate::world::*;

#[tokio::test]
async fn custody_in_the_process_keeps_its_promises() {
    let ground = Ground::new().await;
    let keyd = Keyd::start(&ground).await;
    let kms = Arc::clone(&keyd.service.kms);
    conforms(&ground, &keyd, kms).await;
}

#[tokio::test]
async fn custody_over_the_link_keeps_the_same_promises() {
    let ground = Ground::new().await;
    let keyd = Keyd::start(&ground).await;
    let custody = connect(config(&[keyd.address])).await.expect("a link");
    conforms(&ground, &keyd, custody).await;
}

async fn conforms(ground: &Ground, keyd: &Keyd, custody: Arc<dyn KeyCustody>) {
    let kms: &Arc<Kms> = &keyd.service.kms;
    let custody = &*custody;
    custody.heard().expect("it is heard of");
    names_are_resolved(keyd, custody).await;
    what_is_sealed_opens_once_and_again(ground, keyd, custody).await;
    states_are_kept_and_told(kms, keyd.key().await.id, custody).await;
    permission_is_by_policy_role_and_grant(kms, keyd.key().await.id, custody).await;
    what_is_compromised_is_told(kms, keyd.key().await.id, custody).await;
    limits_hold(kms, keyd.key().await.id, custody).await;
}

async fn names_are_resolved(keyd: &Keyd, custody: &dyn KeyCustody) {
    let key = keyd.key().await;
    let alias = AliasName::new("alias/conformance").expect("an alias");
    keyd.service
        .kms
        .create_alias(&alias, &key.id.into(), &admin())
        .await
        .expect("an alias");
    for name in [
        key.id.to_string(),
        key.arn.to_string(),
        alias.to_string(),
        home().alias_arn(&alias),
    ] {
        let reference: KeyReference = name.parse().expect("a reference");
        assert_eq!(custody.resolve(&reference).await.expect(&name), key.id);
    }
    assert_eq!(custody.arn(key.id), key.arn);
    for (name, code) in [
        ("alias/nobody".to_owned(), "no-such-alias"),
        (key.arn.as_str().replace("test-1", "test-2"), "no-such-key"),
        (
            "arn:aws:kms:test-1:000000000001:alias/conformance".to_owned(),
            "no-such-key",
        ),
    ] {
        let reference: KeyReference = name.parse().expect("a reference");
        let refused = custody.resolve(&reference).await.expect_err(&name);
        assert_eq!(refused.code(), code, "{name}");
    }
}

async fn what_is_sealed_opens_once_and_again(
    ground: &Ground,
    keyd: &Keyd,
    custody: &dyn KeyCustody,
) {
    let key = keyd.key().await;
    let (here, there) = (
        context(&[("a", "1"), ("b", "\u{e4}")]),
        context(&[("a", "2")]),
    );
    let data_key = DataKey::generate(&SystemEntropy);
    let before = ["seal-data-key", "open-data-key"].map(|act| ground.uses(act));
    let sealed = custody.seal(key.id, &here, &data_key, &user()).await;
    let sealed = sealed.expect("it is sealed");
    assert_eq!(
        (sealed.blob.key(), sealed.blob.version()),
        (key.id, KeyVersion(1))
    );
    assert_eq!(sealed.key, key.arn);
    for _ in 0..2 {
        let opened = custody.open(&sealed.blob, &here, &user()).await;
        assert_eq!(opened.expect("it opens").expose(), data_key.expose());
    }
    let other = custody.open(&sealed.blob, &there, &user()).await;
    assert_eq!(other.expect_err("bound to another").code(), "not-authentic");
    let after = ["seal-data-key", "open-data-key"].map(|act| ground.uses(act));
    assert_eq!((after[0] - before[0], after[1] - before[1]), (1, 3));

    let nobody = "00112233-4455-4677-8899-aabbccddeeff"
        .parse()
        .expect("an id");
    let refused = custody.seal(nobody, &here, &data_key, &user()).await;
    assert_eq!(refused.expect_err("there is none").code(), "no-such-key");
    let label = custody.root_of(key.id, KeyVersion(1)).await;
    assert_eq!(label.expect("a label"), "strongroom-root-kek-1");
    let refused = custody.root_of(key.id, KeyVersion(2)).await;
    assert_eq!(refused.expect_err("there is none").code(), "not-authentic");
}

async fn states_are_kept_and_told(
    kms: &Arc<Kms>,
    key: strongroom_keys::KeyId,
    custody: &dyn KeyCustody,
) {
    let told = Told::watching(custody);
    let (empty, data_key) = (context(&[]), DataKey::generate(&SystemEntropy));
    let sealed = custody.seal(key, &empty, &data_key, &user()).await;
    let sealed = sealed.expect("it is sealed");

    kms.rotate_key(&key.into(), &admin())
        .await
        .expect("a new version");
    until("the rotation is told", || {
        told.rotated.lock().contains(&key)
    })
    .await;
    let again = custody.seal(key, &empty, &data_key, &user()).await;
    assert_eq!(again.expect("it is sealed").blob.version(), KeyVersion(2));
    custody
        .open(&sealed.blob, &empty, &user())
        .await
        .expect("an old version opens");

    for (pending, code) in [(false, "disabled"), (true, "pending-deletion")] {
        told.suspended.lock().clear();
        if pending {
            kms.schedule_key_deletion(&key.into(), 7, &admin())
                .await
                .expect("it waits for its deletion");
        } else {
            kms.disable_key(&key.into(), &admin())
                .await
                .expect("it is disabled");
        }
        until("the end is told", || told.suspended.lock().contains(&key)).await;
        let refused = custody.seal(key, &empty, &data_key, &user()).await;
        assert_eq!(refused.expect_err("no use").code(), code);
        let refused = custody.open(&sealed.blob, &empty, &user()).await;
        assert_eq!(refused.expect_err("no use").code(), code);
    }
    kms.cancel_key_deletion(&key.into(), &admin())
        .await
        .expect("it stays");
    kms.enable_key(&key.into(), &admin())
        .await
        .expect("it is enabled");
    custody
        .open(&sealed.blob, &empty, &user())
        .await
        .expect("it opens");
    assert_eq!(told.unheard_count(), 0);
}

async fn permission_is_by_policy_role_and_grant(
    kms: &Arc<Kms>,
    key: strongroom_keys::KeyId,
    custody: &dyn KeyCustody,
) {
    let empty = context(&[]);
    let may = async |custody_use, who| {
        let asked = custody
            .authorize(key, custody_use, &empty, &caller(who))
            .await;
        asked.map_err(|error| error.to_string())
    };
    assert_eq!(may(CustodyUse::Open, Role::User).await, Ok(None));
    let refused = may(CustodyUse::Seal, Role::Auditor)
        .await
        .expect_err("no use");
    assert!(refused.contains("kms:GenerateDataKey"), "{refused}");

    let document = serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "AWS": "arn:aws:iam::000000000000:role/admin" },
            "Action": "kms:*",
            "Resource": "*",
        }],
    });
    let policy = NewPolicy {
        document: document.to_string(),
        bypass_lockout_check: false,
    };
    kms.put_key_policy(&key.into(), Kms::POLICY_NAME, &policy, &admin())
        .await
        .expect("a policy");
    let refused = may(CustodyUse::Open, Role::User).await.expect_err("no use");
    assert!(refused.contains("nor a grant allows it"), "{refused}");
    assert_eq!(may(CustodyUse::Open, Role::Admin).await, Ok(None));

    let grant = NewGrant {
        grantee: "arn:aws:iam::000000000000:role/user".into(),
        retiring: None,
        operations: vec![GrantOperation::Decrypt],
        constraint: None,
        name: None,
    };
    let granted = kms.create_grant(&key.into(), &grant, &admin()).await;
    let (grant, _) = granted.expect("a grant");
    assert_eq!(may(CustodyUse::Open, Role::User).await, Ok(Some(grant)));
}

async fn what_is_compromised_is_told(
    kms: &Arc<Kms>,
    key: strongroom_keys::KeyId,
    custody: &dyn KeyCustody,
) {
    let told = Told::watching(custody);
    assert_eq!(custody.compromised().await.expect("a list"), []);
    kms.compromise_version(&key.into(), None, "for tests", &admin())
        .await
        .expect("it is marked");
    until("the mark is told", || told.rotated.lock().contains(&key)).await;
    let versions = custody.compromised().await.expect("a list");
    assert_eq!(versions, [(key, KeyVersion(1))]);
}

async fn limits_hold(kms: &Arc<Kms>, key: strongroom_keys::KeyId, custody: &dyn KeyCustody) {
    let limits = KeyUseLimits {
        uses_max: Some(1),
        ..KeyUseLimits::default()
    };
    kms.set_limits(&key.into(), limits, &admin())
        .await
        .expect("limits");
    let (empty, data_key) = (context(&[]), DataKey::generate(&SystemEntropy));
    let sealed = custody.seal(key, &empty, &data_key, &user()).await;
    let sealed = sealed.expect("the one use");
    let refused = custody.seal(key, &empty, &data_key, &user()).await;
    let refused = refused.expect_err("no more");
    assert_eq!(refused.code(), "use-limited");
    assert!(refused.to_string().contains("raise the limit"), "{refused}");
    custody
        .open(&sealed.blob, &empty, &user())
        .await
        .expect("it opens all the same");
}
