//! KMS keys (SSE-KMS) and the service's own (SSE-S3), asked for by request or by bucket.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use strongroom_keys::{Caller, KeyReference};

use crate::client::request;
use crate::world::World;

const TEXT: &[u8] = b"a text under a named key";
const ENCRYPTION: &str = "x-amz-server-side-encryption";
const KEY_ID: &str = "x-amz-server-side-encryption-aws-kms-key-id";

async fn world() -> (World, String) {
    let world = World::new().await;
    request("PUT", "/bucket").send(&world).await.done(200);
    let key = world
        .keys
        .kms
        .create_key("a key of a test", &Caller::daemon("test"))
        .await
        .expect("a key");
    (world, key.id.to_string())
}

#[tokio::test]
async fn every_object_is_encrypted_also_when_nothing_is_asked() {
    let (world, _) = world().await;
    for put in [
        request("PUT", "/bucket/k").body(TEXT),
        request("PUT", "/bucket/k")
            .body(TEXT)
            .header(ENCRYPTION, "AES256"),
    ] {
        let put = put.send(&world).await.done(200);
        assert_eq!(put.header(ENCRYPTION), Some("AES256"));
    }
    let get = request("GET", "/bucket/k").send(&world).await.done(200);
    assert_eq!(get.header(ENCRYPTION), Some("AES256"));
    assert_eq!(get.body, TEXT);
}

#[tokio::test]
async fn a_named_key_with_context_and_bucket_key_is_told_as_aws_tells_it() {
    let (world, key) = world().await;
    let context = BASE64.encode(br#"{"project":"alpha"}"#);
    let put = request("PUT", "/bucket/k")
        .header(ENCRYPTION, "aws:kms")
        .header(KEY_ID, &key)
        .header("x-amz-server-side-encryption-context", &context)
        .header("x-amz-server-side-encryption-bucket-key-enabled", "true")
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    let arn = format!("arn:aws:kms:us-east-1:000000000000:key/{key}");
    assert_eq!(put.header(ENCRYPTION), Some("aws:kms"));
    assert_eq!(put.header(KEY_ID), Some(arn.as_str()));
    assert_eq!(
        put.header("x-amz-server-side-encryption-bucket-key-enabled"),
        Some("true")
    );
    assert_eq!(
        put.header("x-amz-server-side-encryption-context"),
        Some(context.as_str())
    );
    let get = request("GET", "/bucket/k").send(&world).await.done(200);
    assert_eq!(
        (get.header(KEY_ID), get.body.as_slice()),
        (Some(arn.as_str()), TEXT)
    );
    assert_eq!(get.header("x-amz-server-side-encryption-context"), None);
}

#[tokio::test]
async fn a_disabled_key_makes_its_objects_unreadable_until_it_is_enabled() {
    let (world, key) = world().await;
    let put = || {
        request("PUT", "/bucket/k")
            .header(ENCRYPTION, "aws:kms")
            .header(KEY_ID, &key)
            .body(TEXT)
    };
    put().send(&world).await.done(200);
    let reference: KeyReference = key.parse().unwrap();
    let caller = Caller::daemon("test");
    world
        .keys
        .kms
        .disable_key(&reference, &caller)
        .await
        .unwrap();
    request("GET", "/bucket/k")
        .send(&world)
        .await
        .refused(400, "KMS.DisabledException");
    put()
        .send(&world)
        .await
        .refused(400, "KMS.DisabledException");
    world
        .keys
        .kms
        .enable_key(&reference, &caller)
        .await
        .unwrap();
    request("GET", "/bucket/k").send(&world).await.done(200);
    put()
        .header(KEY_ID, "x")
        .send(&world)
        .await
        .refused(403, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn a_key_that_is_not_there_is_named_in_the_refusal() {
    let (world, _) = world().await;
    for name in [
        "alias/absent",
        "00000000-0000-4000-8000-000000000000",
        "not a key",
    ] {
        let put = request("PUT", "/bucket/k")
            .header(ENCRYPTION, "aws:kms")
            .header(KEY_ID, name)
            .body(TEXT);
        let refused = put.send(&world).await.refused(400, "KMS.NotFoundException");
        assert!(
            refused.element("Message").unwrap().contains(name),
            "{}",
            refused.text()
        );
    }
    request("GET", "/bucket/k")
        .send(&world)
        .await
        .refused(404, "NoSuchKey");
}

#[tokio::test]
async fn the_default_of_a_bucket_protects_what_says_nothing() {
    let (world, key) = world().await;
    let default = |inner: &str| {
        request("PUT", "/bucket?encryption").body(format!(
            "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>{inner}\
             </ApplyServerSideEncryptionByDefault><BucketKeyEnabled>true</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>"
        ))
    };
    let before = request("GET", "/bucket?encryption")
        .send(&world)
        .await
        .done(200);
    before
        .says("SSEAlgorithm", "AES256")
        .says("BucketKeyEnabled", "false");
    default(&format!(
        "<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>{key}</KMSMasterKeyID>"
    ))
    .send(&world)
    .await
    .done(200);
    request("GET", "/bucket?encryption")
        .send(&world)
        .await
        .done(200)
        .says("SSEAlgorithm", "aws:kms")
        .says("KMSMasterKeyID", &key)
        .says("BucketKeyEnabled", "true");
    let put = request("PUT", "/bucket/k")
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    assert_eq!(put.header(ENCRYPTION), Some("aws:kms"));
    assert_eq!(
        put.header("x-amz-server-side-encryption-bucket-key-enabled"),
        Some("true")
    );
    let own = request("PUT", "/bucket/k")
        .header(ENCRYPTION, "AES256")
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    assert_eq!(own.header(ENCRYPTION), Some("AES256"));
    default("<SSEAlgorithm>aws:kms:dsse</SSEAlgorithm>")
        .send(&world)
        .await
        .refused(501, "NotImplemented");
    default("<SSEAlgorithm>ROT13</SSEAlgorithm>")
        .send(&world)
        .await
        .refused(400, "MalformedXML");
    request("DELETE", "/bucket?encryption")
        .send(&world)
        .await
        .done(204);
    let put = request("PUT", "/bucket/k")
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    assert_eq!(put.header(ENCRYPTION), Some("AES256"));
}

#[tokio::test]
async fn a_read_that_asks_for_encryption_is_refused() {
    let (world, _) = world().await;
    request("PUT", "/bucket/k")
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    request("GET", "/bucket/k")
        .header(ENCRYPTION, "aws:kms")
        .send(&world)
        .await
        .refused(400, "InvalidArgument")
        .says("ArgumentName", ENCRYPTION)
        .says("ArgumentValue", "aws:kms");
}
