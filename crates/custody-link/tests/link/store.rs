//! The keys of objects where custody is over the link: what costs a call, and what is refused when.

use std::sync::Arc;
use std::time::Duration;

use strongroom_audit::MemoryLog;
use strongroom_environment::{SystemClock, SystemEntropy, Timestamp};
use strongroom_keys::{
    BindingId, Caller, CustomerKey, EncryptionContext, KeyCustody, KeyId, KeyLimits, KeyVersion,
    NewPolicy, ObjectName, Protection, RewrapLevel, SealedSigner, StoreKeys,
};
use strongroom_meta::MemoryStore;

use crate::world::*;

async fn store(custody: Arc<dyn KeyCustody>, meta: &Arc<MemoryStore>) -> StoreKeys {
    StoreKeys::start(
        KeyLimits::default(),
        custody,
        Arc::clone(meta) as _,
        Arc::new(MemoryLog::new()),
        Arc::new(SystemClock::new()),
        Arc::new(SystemEntropy),
        serde_json::json!({}),
    )
    .await
    .expect("it starts")
}

fn object(key: &str) -> ObjectName {
    ObjectName {
        bucket: "photos".into(),
        key: key.into(),
        binding: BindingId::random(&SystemEntropy),
    }
}

fn under(key: KeyId) -> Protection {
    Protection::Kms {
        key: key.into(),
        context: EncryptionContext::empty(),
        bucket_key: true,
    }
}

fn patient() -> strongroom_custody_link::LinkConfig {
    strongroom_custody_link::LinkConfig {
        decision_age_max: Duration::from_secs(3_600),
        ..config(&[])
    }
}

#[tokio::test]
async fn objects_cost_no_call_once_their_bucket_key_is_open() {
    let ground = Ground::new().await;
    let keyd = Keyd::start(&ground).await;
    let key = keyd.key().await.id;
    let way = Way::to(keyd.address).await;
    let custody = connect(strongroom_custody_link::LinkConfig {
        urls: config(&[way.address]).urls,
        ..patient()
    });
    let meta = Arc::new(MemoryStore::new());
    let keys = store(custody.await.expect("a link"), &meta).await;
    for protection in [under(key), Protection::Managed] {
        let name = object("first");
        let (data_key, envelope) = keys
            .objects
            .create(&protection, &name, &user())
            .await
            .expect("a data key");
        let opened = keys.objects.open(&envelope, &name, None, &user()).await;
        assert_eq!(opened.expect("it opens").expose(), data_key.expose());
        let entries = ground.log.entries().len();
        for _ in 0..50 {
            let name = object("more");
            let made = keys.objects.create(&protection, &name, &user()).await;
            let (_, envelope) = made.expect("a data key");
            keys.objects
                .open(&envelope, &name, None, &user())
                .await
                .expect("it opens");
        }
        assert_eq!(ground.log.entries().len(), entries, "no call was made");
    }
}

#[tokio::test]
async fn a_key_that_ends_at_the_key_daemon_ends_in_the_store() {
    let ground = Ground::new().await;
    let keyd = Keyd::start(&ground).await;
    let (key, way) = (keyd.key().await.id, Way::to(keyd.address).await);
    let custody = connect(strongroom_custody_link::LinkConfig {
        urls: config(&[way.address]).urls,
        ..patient()
    });
    let custody = custody.await.expect("a link");
    let meta = Arc::new(MemoryStore::new());
    let keys = store(custody.clone(), &meta).await;
    let name = object("o");
    let made = keys.objects.create(&under(key), &name, &user()).await;
    let (_, envelope) = made.expect("a data key");
    let customer_key = CustomerKey::from_bytes(&[7; 32]);
    let by_customer = Protection::CustomerKey(CustomerKey::from_bytes(&[7; 32]));
    let made = keys.objects.create(&by_customer, &name, &user()).await;
    let (_, of_customer) = made.expect("a data key");
    let refusal = async || {
        let opened = keys.objects.open(&envelope, &name, None, &user()).await;
        opened.err().map(|error| error.code())
    };
    assert_eq!(refusal().await, None);

    // The link is there: it is told at once, and long before a silence would be noticed.
    keyd.service
        .kms
        .disable_key(&key.into(), &admin())
        .await
        .expect("disabled");
    let mut refused = refusal().await;
    while refused.is_none() {
        tokio::time::sleep(Duration::from_millis(2)).await;
        refused = refusal().await;
    }
    assert_eq!(refused, Some("disabled"));
    assert!(custody.heard().is_ok());
    keyd.service
        .kms
        .enable_key(&key.into(), &admin())
        .await
        .expect("enabled");
    assert_eq!(refusal().await, None);

    // It is not: what is opened goes on until the time of silence is over, and then no more.
    way.set(Mode::Hole);
    keyd.service
        .kms
        .disable_key(&key.into(), &admin())
        .await
        .expect("disabled");
    assert_eq!(refusal().await, None, "nobody could be told");
    until("it is silent for too long", || custody.heard().is_err()).await;
    assert_eq!(refusal().await, Some("custody-unavailable"));
    // A customer brings the key along.
    let opened = keys
        .objects
        .open(&of_customer, &name, Some(&customer_key), &user())
        .await;
    opened.expect("it opens");
    way.set(Mode::Pass);
    until("it is heard of again", || custody.heard().is_ok()).await;
    assert_eq!(refusal().await, Some("disabled"));
}

#[tokio::test]
async fn a_permission_that_is_taken_back_ends_within_its_time() {
    let ground = Ground::new().await;
    let keyd = Keyd::start(&ground).await;
    let key = keyd.key().await.id;
    let mut settings = config(&[keyd.address]);
    settings.decision_age_max = Duration::from_millis(50);
    let meta = Arc::new(MemoryStore::new());
    let keys = store(connect(settings).await.expect("a link"), &meta).await;
    let name = object("o");
    let made = keys.objects.create(&under(key), &name, &user()).await;
    let (_, envelope) = made.expect("a data key");
    let document = serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": { "AWS": "arn:aws:iam::000000000000:root" },
                "Action": "kms:*",
                "Resource": "*",
            },
            {
                "Effect": "Deny",
                "Principal": { "AWS": "*" },
                "Action": "kms:Decrypt",
                "Resource": "*",
                "Condition": { "StringEquals": { "strongroom:store": "store.example" } },
            },
        ],
    });
    let policy = NewPolicy {
        document: document.to_string(),
        bypass_lockout_check: false,
    };
    keyd.service
        .kms
        .put_key_policy(&key.into(), "default", &policy, &admin())
        .await
        .expect("a policy");
    let mut refused = None;
    while refused.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let opened = keys.objects.open(&envelope, &name, None, &user()).await;
        refused = opened.err();
    }
    let refused = refused.expect("it ends").to_string();
    assert!(
        refused.contains("with an explicit deny in the policy of the key"),
        "{refused}"
    );
}

#[tokio::test]
async fn what_is_compromised_at_the_key_daemon_is_to_be_rewrapped_in_the_store() {
    let ground = Ground::new().await;
    let keyd = Keyd::start(&ground).await;
    let key = keyd.key().await.id;
    let meta = Arc::new(MemoryStore::new());
    let custody = connect(config(&[keyd.address])).await.expect("a link");
    let keys = store(custody, &meta).await;
    let (daemon, now) = (Caller::daemon("keys:rewrap"), Timestamp::from_seconds(1));
    let ask = async || {
        let asked = keys.objects.ask_for_compromised(now, &daemon).await;
        let jobs = keys.objects.rewrap_jobs().await.expect("a list");
        (asked.expect("it is asked"), jobs.len())
    };
    assert_eq!(ask().await, (0, 0));
    let kms = &keyd.service.kms;
    kms.compromise_version(&key.into(), None, "for tests", &admin())
        .await
        .expect("it is marked");
    assert_eq!(ask().await, (1, 1));
    assert_eq!(ask().await, (0, 1), "it is asked for once");
    let jobs = keys.objects.rewrap_jobs().await.expect("a list");
    assert_eq!((jobs[0].key, jobs[0].version), (key, KeyVersion(1)));
    assert_eq!(jobs[0].progress.level, RewrapLevel::DataKeys);
}

#[tokio::test]
async fn a_store_finds_its_own_keys_again_and_no_other_store_does() {
    let ground = Ground::new().await;
    let keyd = Keyd::start(&ground).await;
    let meta = Arc::new(MemoryStore::new());
    let signer = async |meta: &Arc<MemoryStore>| {
        let custody = connect(config(&[keyd.address])).await.expect("a link");
        SealedSigner::open(&*custody, &**meta, &SystemClock::new(), &SystemEntropy).await
    };
    use strongroom_audit::CheckpointSigner as _;
    let first = signer(&meta).await.expect("a key");
    let again = signer(&meta).await.expect("the same");
    assert_eq!(first.public_key(), again.public_key());
    let signed = [&first, &again].map(|signer| signer.sign(b"checkpoint"));
    let [one, other] = signed;
    assert_eq!(one.await.expect("signed"), other.await.expect("signed"));
    let elsewhere = signer(&Arc::new(MemoryStore::new())).await.expect("a key");
    assert_ne!(first.public_key(), elsewhere.public_key());
    // Another key daemon cannot open them.
    let other = Keyd::start(&Ground::new().await).await;
    let custody = connect(config(&[other.address])).await.expect("a link");
    let refused = SealedSigner::open(&*custody, &*meta, &SystemClock::new(), &SystemEntropy).await;
    let refused = refused.expect_err("another's");
    assert!(
        ["no-such-key", "access-denied"].contains(&refused.code()),
        "{refused}"
    );
}
