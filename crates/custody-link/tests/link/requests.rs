//! Requests as the key daemon's end of the link takes them, and refuses them.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use strongroom_keys::NewPolicy;

use crate::world::*;

/// What is answered to a request of `store`.
async fn answer(
    keyd: &Keyd,
    store: Option<&str>,
    (path, target): (&str, Option<&str>),
    epoch: &str,
    body: Vec<u8>,
) -> (StatusCode, Value) {
    let mut request = Request::builder().method("POST").uri(path);
    if let Some(target) = target {
        request = request.header("x-amz-target", target);
    }
    let request = request
        .header("x-strongroom-epoch", epoch)
        .body(Full::new(Bytes::from(body)))
        .expect("a request");
    let store = store.map(name);
    let answer = keyd.link.handle(request, store.as_ref()).await;
    let status = answer.status();
    let body = answer
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

const CHANGES: (&str, Option<&str>) = ("/v1/custody/changes", None);
const ENCRYPT: (&str, Option<&str>) = ("/", Some("TrentService.Encrypt"));
const DECRYPT: (&str, Option<&str>) = ("/", Some("TrentService.Decrypt"));
const DESCRIBE: (&str, Option<&str>) = ("/", Some("TrentService.DescribeKey"));
const AUTHORIZE: (&str, Option<&str>) = ("/v1/custody/authorize", None);
const ROOT: (&str, Option<&str>) = ("/v1/custody/root", None);

async fn epoch(keyd: &Keyd) -> String {
    let asked = json!({ "after": null, "wait_ms": 0 })
        .to_string()
        .into_bytes();
    let (status, told) = answer(keyd, Some("store.example"), CHANGES, "", asked).await;
    assert_eq!((status, &told["changes"]), (StatusCode::OK, &Value::Null));
    told["place"]["epoch"]
        .as_str()
        .expect("an epoch")
        .to_owned()
}

fn behalf(standing: &str) -> Value {
    json!({ "principal": "SRAK", "standing": standing, "request_id": "r", "operation": "s3:Test" })
}

fn encrypt(key: &str, standing: &str) -> Value {
    json!({
        "KeyId": key,
        "Plaintext": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "EncryptionContext": { "strongroom:object": "b/k" },
        "OnBehalfOf": behalf(standing),
    })
}

#[tokio::test]
async fn only_stores_that_are_enrolled_are_answered() {
    let keyd = Keyd::start(&Ground::new().await).await;
    let epoch = epoch(&keyd).await;
    let key = keyd.key().await.id.to_string();
    for operation in [CHANGES, ENCRYPT, DECRYPT, DESCRIBE, AUTHORIZE, ROOT] {
        let body = encrypt(&key, "user").to_string().into_bytes();
        let (status, told) = answer(&keyd, None, operation, &epoch, body).await;
        assert_eq!(
            (status, &told["reason"]),
            (StatusCode::FORBIDDEN, &json!("not-enrolled"))
        );
    }
}

#[tokio::test]
async fn every_bad_request_is_refused_with_its_reason_and_uses_no_key() {
    let ground = Ground::new().await;
    let keyd = Keyd::start(&ground).await;
    let epoch = epoch(&keyd).await;
    let key = keyd.key().await.id.to_string();
    let used = ground.uses("seal-data-key") + ground.uses("open-data-key");
    let changed = |at: &str, value: Value| {
        let mut body = encrypt(&key, "user");
        *body.pointer_mut(at).expect("a member") = value;
        body
    };
    let mut more = encrypt(&key, "user");
    more["GrantTokens"] = json!([]);
    let mut less = encrypt(&key, "user");
    less.as_object_mut()
        .expect("an object")
        .remove("OnBehalfOf");
    let text = |value: Value| value.to_string().into_bytes();
    let (bad, invalid) = (StatusCode::BAD_REQUEST, "invalid-request");
    for (operation, body, status, reason) in [
        (ENCRYPT, Vec::new(), bad, invalid),
        (ENCRYPT, b"{".to_vec(), bad, invalid),
        (ENCRYPT, vec![0xff; 10], bad, invalid),
        (ENCRYPT, vec![b' '; 64 * 1024 + 1], bad, invalid),
        (ENCRYPT, text(more), bad, invalid),
        (ENCRYPT, text(less), bad, invalid),
        (
            ENCRYPT,
            text(changed("/KeyId", json!("nokey"))),
            bad,
            "invalid-reference",
        ),
        (
            ENCRYPT,
            text(changed("/KeyId", json!("alias/nobody"))),
            bad,
            "no-such-alias",
        ),
        (
            ENCRYPT,
            text(changed("/Plaintext", json!("AAAA"))),
            bad,
            invalid,
        ),
        (
            ENCRYPT,
            text(changed("/Plaintext", json!("%%%"))),
            bad,
            invalid,
        ),
        (
            ENCRYPT,
            text(changed("/EncryptionContext", json!({ "": "x" }))),
            bad,
            "invalid-context",
        ),
        (
            ENCRYPT,
            text(changed(
                "/EncryptionContext",
                json!({ "strongroom:store": "other.example" }),
            )),
            bad,
            "invalid-context",
        ),
        (
            ENCRYPT,
            text(changed(
                "/EncryptionContext",
                json!({ "a": "x".repeat(9_000) }),
            )),
            bad,
            "invalid-context",
        ),
        (
            ENCRYPT,
            text(changed("/OnBehalfOf/standing", json!("king"))),
            bad,
            invalid,
        ),
        (
            ENCRYPT,
            text(changed("/OnBehalfOf/principal", json!("x".repeat(257)))),
            bad,
            invalid,
        ),
        (
            ENCRYPT,
            text(encrypt(&key, "auditor")),
            bad,
            "access-denied",
        ),
        (
            DECRYPT,
            text(
                json!({ "CiphertextBlob": "AAAA", "EncryptionContext": {}, "OnBehalfOf": behalf("user") }),
            ),
            bad,
            "not-authentic",
        ),
        (
            AUTHORIZE,
            text(
                json!({ "key": key, "use": "burn", "context": {}, "on_behalf_of": behalf("user") }),
            ),
            bad,
            invalid,
        ),
        (
            ROOT,
            text(json!({ "key": "alias/x", "version": 1 })),
            bad,
            "invalid-reference",
        ),
        (
            ROOT,
            text(json!({ "key": key, "version": -1 })),
            bad,
            invalid,
        ),
        (
            ("/", Some("TrentService.CreateKey")),
            Vec::new(),
            StatusCode::NOT_FOUND,
            invalid,
        ),
        (("/", None), Vec::new(), StatusCode::NOT_FOUND, invalid),
        (
            ("/v1/keys", None),
            Vec::new(),
            StatusCode::NOT_FOUND,
            invalid,
        ),
        (
            ("/metrics", None),
            Vec::new(),
            StatusCode::NOT_FOUND,
            invalid,
        ),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        let (refused, told) = answer(&keyd, Some("store.example"), operation, &epoch, body).await;
        assert_eq!(
            (refused, &told["reason"]),
            (status, &json!(reason)),
            "{operation:?} {shown}"
        );
        assert!(!told.to_string().contains("AAAAAAAA"), "{told}");
    }
    // Neither is one that is for another run of the key daemon, or for none.
    for other in ["", "0", &"0".repeat(32)] {
        let body = text(encrypt(&key, "user"));
        let (status, _) = answer(&keyd, Some("store.example"), ENCRYPT, other, body).await;
        assert_eq!(status, StatusCode::MISDIRECTED_REQUEST);
    }
    // One that was refused by the policy is on the log, and no other was sealed or opened.
    assert_eq!(
        ground.uses("seal-data-key") + ground.uses("open-data-key"),
        used + 1
    );
}

#[tokio::test]
async fn what_one_store_has_sealed_opens_for_no_other() {
    let ground = Ground::new().await;
    let keyd = Keyd::start(&ground).await;
    let epoch = epoch(&keyd).await;
    for key in [
        keyd.key().await.id.to_string(),
        "alias/strongroom/s3".into(),
    ] {
        let body = encrypt(&key, "user").to_string().into_bytes();
        let (status, sealed) = answer(&keyd, Some("one.example"), ENCRYPT, &epoch, body).await;
        assert_eq!(status, StatusCode::OK, "{sealed}");
        for (store, expected) in [
            ("one.example", StatusCode::OK),
            ("two.example", StatusCode::BAD_REQUEST),
        ] {
            let asked = json!({
                "CiphertextBlob": sealed["CiphertextBlob"],
                "EncryptionContext": { "strongroom:object": "b/k" },
                "OnBehalfOf": behalf("user"),
            });
            let body = asked.to_string().into_bytes();
            let (status, told) = answer(&keyd, Some(store), DECRYPT, &epoch, body).await;
            assert_eq!(status, expected, "{told}");
        }
    }
    let entries = ground.log.entries();
    let entry: Value = serde_json::from_slice(entries.last().expect("one")).expect("JSON");
    assert_eq!(
        (&entry["store"], &entry["principal"], &entry["outcome"]),
        (&json!("two.example"), &json!("SRAK"), &json!("refused"))
    );
}

#[tokio::test]
async fn the_daemon_of_a_store_is_judged_as_the_account_and_keeps_its_own_secrets() {
    let keyd = Keyd::start(&Ground::new().await).await;
    let epoch = epoch(&keyd).await;
    let key = keyd.key().await.id;
    let customers = key.to_string();
    let keys = [
        "alias/strongroom/system",
        "alias/strongroom/s3",
        customers.as_str(),
    ];
    let sealed = async |key: &str, store: &str| {
        let body = encrypt(key, "daemon").to_string().into_bytes();
        answer(&keyd, Some(store), ENCRYPT, &epoch, body).await
    };
    for key in keys {
        let (status, told) = sealed(key, "one.example").await;
        assert_eq!(status, StatusCode::OK, "{told}");
    }
    let statement = |effect: &str, condition: Value| {
        json!({
            "Effect": effect, "Principal": { "AWS": "*" }, "Action": "kms:*", "Resource": "*",
            "Condition": condition,
        })
    };
    let of_store = json!({ "StringEquals": { "strongroom:store": "one.example" } });
    let document = json!({
        "Version": "2012-10-17",
        "Statement": [statement("Allow", json!({})), statement("Deny", of_store)],
    });
    let policy = NewPolicy {
        document: document.to_string(),
        bypass_lockout_check: false,
    };
    let (kms, named) = (&keyd.service.kms, key.into());
    kms.put_key_policy(&named, "default", &policy, &admin())
        .await
        .expect("a policy");
    for (store, key, expected) in [
        ("one.example", keys[2], StatusCode::BAD_REQUEST),
        ("two.example", keys[2], StatusCode::OK),
        ("one.example", keys[0], StatusCode::OK),
    ] {
        let (status, told) = sealed(key, store).await;
        assert_eq!(status, expected, "{store} {key} {told}");
    }
}
