//! Things of every kind that a service was given to keep, to be asked for again.

use secrecy::ExposeSecret;
use strongroom_keys::{
    AccessKeyId, AliasName, CustomerFingerprint, KeyDescription, KeyEnvelope, KeyError,
    KeyReference, KeyService, LedgerKey, ObjectName, ProtectedVersion, Protection, Role,
};
use strongroom_meta::Batch;

use crate::world::{
    World, by_customer_key, by_kms_key, caller, context, customer_key, object, weight,
};

/// Everything a service was given to keep, and what it gave for it.
pub(crate) struct Kept {
    pub(crate) key: KeyDescription,
    alias: AliasName,
    objects: Vec<(ObjectName, KeyEnvelope, Vec<u8>)>,
    pub(crate) blob: Vec<u8>,
    user: AccessKeyId,
    secret: String,
    fingerprint: CustomerFingerprint,
}

pub(crate) async fn keep(world: &World) -> Kept {
    let (service, who) = (&world.service, &caller());
    let key = world.kms_key().await;
    let alias = AliasName::new("alias/kept").expect("a name");
    let made = service.kms.create_alias(&alias, &key.id.into(), who).await;
    made.expect("an alias");
    let mut objects = Vec::new();
    for protection in [
        by_customer_key(1),
        by_kms_key(&key, false),
        by_kms_key(&key, true),
        Protection::Managed,
    ] {
        let name = object("bucket", "key");
        let created = service.objects.create(&protection, &name, who).await;
        let (data_key, envelope) = created.expect("a data key");
        let mut batch = Batch::new();
        let version = ProtectedVersion {
            object: name.clone(),
            sequence: 1,
        };
        service
            .objects
            .record(&mut batch, &envelope, &version, weight(1, "STANDARD"));
        world.commit(batch).await;
        objects.push((name, envelope, data_key.expose().to_vec()));
    }
    let pairs = context(&[("a", "b")]);
    let encrypted = service
        .kms
        .encrypt(&key.id.into(), &pairs, b"text", who)
        .await;
    let made = service
        .users
        .create("ann", Role::User, who)
        .await
        .expect("a user");
    Kept {
        key,
        alias,
        objects,
        blob: encrypted.expect("a ciphertext").blob.to_bytes(),
        user: made.user.access_key_id,
        secret: made.secret.expose_secret().to_owned(),
        fingerprint: service.objects.fingerprint_of(&customer_key(1)),
    }
}

impl Kept {
    /// Asks for everything again. An answer is the right one; how many are errors is counted.
    pub(crate) async fn ask(&self, service: &KeyService) -> usize {
        let who = &caller();
        let mut errors = 0;
        let mut count = |is_right: Result<bool, KeyError>| match is_right {
            Ok(is_right) => assert!(is_right, "a wrong answer"),
            Err(_) => errors += 1,
        };
        for (name, envelope, data_key) in &self.objects {
            let with = envelope.needs_customer_key().then(|| customer_key(1));
            let opened = service
                .objects
                .open(envelope, name, with.as_ref(), who)
                .await;
            count(opened.map(|opened| opened.expose().as_slice() == data_key));
            count(
                service
                    .objects
                    .chain_of(envelope)
                    .await
                    .map(|chain| !chain.is_empty()),
            );
        }
        let pairs = context(&[("a", "b")]);
        let decrypted = service.kms.decrypt(&self.blob, &pairs, None, who).await;
        count(decrypted.map(|decrypted| *decrypted.plaintext == b"text"));
        let named: KeyReference = KeyReference::Alias(self.alias.clone());
        let encrypted = service.kms.encrypt(&named, &pairs, b"new", who).await;
        count(encrypted.map(|_| true));
        count(service.kms.describe_key(&named).await.map(|_| true));
        count(service.kms.list_keys(None, 100).await.map(|_| true));
        count(
            service
                .kms
                .list_aliases(None, None, 100)
                .await
                .map(|_| true),
        );
        let of_key = service
            .kms
            .list_aliases(Some(&self.key.id.into()), None, 100)
            .await;
        count(of_key.map(|_| true));
        let credential = service.users.secret_of(&self.user).await;
        count(credential.map(|credential| credential.secret.expose_secret() == self.secret));
        count(service.users.list(None, 100).await.map(|_| true));
        let managed = service.kms.describe_key(&KeyReference::managed()).await;
        let mut ledger_keys = vec![LedgerKey::CustomerKey(self.fingerprint)];
        ledger_keys.extend(managed.ok().map(|managed| LedgerKey::KmsKey(managed.id)));
        ledger_keys.push(LedgerKey::KmsKey(self.key.id));
        for key in ledger_keys {
            let versions = service.objects.versions_of(key, None, 100).await;
            count(versions.map(|_| true));
        }
        let bucket_keys = service.objects.bucket_keys_of(self.key.id, None, 100).await;
        count(bucket_keys.map(|_| true));
        let fingerprint = service.objects.fingerprint_of(&customer_key(1));
        count(Ok(fingerprint == self.fingerprint));
        errors
    }
}
