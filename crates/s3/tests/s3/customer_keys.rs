//! Customer keys (SSE-C): what they open, and every way of getting them wrong.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::client::{Request, md5_base64, request};
use crate::world::{Ways, World};

const ONE: &[u8; 32] = b"the first key of 32 bytes.......";
const TWO: &[u8; 32] = b"the second key of 32 bytes......";
const TEXT: &[u8] = b"a text that nobody else reads, long enough to be told from others";

const ALGORITHM: &str = "x-amz-server-side-encryption-customer-algorithm";
const KEY: &str = "x-amz-server-side-encryption-customer-key";
const KEY_MD5: &str = "x-amz-server-side-encryption-customer-key-md5";

async fn world() -> World {
    let world = World::new().await;
    request("PUT", "/bucket").send(&world).await.done(200);
    world
}

#[tokio::test]
async fn an_object_opens_with_its_own_key_only() {
    let world = world().await;
    let put = request("PUT", "/bucket/k").customer_key(ONE).body(TEXT);
    let put = put.send(&world).await.done(200);
    assert_eq!(put.header(ALGORITHM), Some("AES256"));
    assert_eq!(put.header(KEY_MD5), Some(md5_base64(ONE).as_str()));
    assert_eq!(put.header(KEY), None);
    assert_eq!(put.header("x-amz-server-side-encryption"), None);

    let get = request("GET", "/bucket/k")
        .customer_key(ONE)
        .send(&world)
        .await
        .done(200);
    assert_eq!(get.body, TEXT);
    assert_eq!(get.header(KEY_MD5), Some(md5_base64(ONE).as_str()));
    assert_eq!(
        get.header("content-length"),
        Some(TEXT.len().to_string().as_str())
    );
    let head = request("HEAD", "/bucket/k")
        .customer_key(ONE)
        .send(&world)
        .await
        .done(200);
    assert_eq!(
        head.header("content-length"),
        Some(TEXT.len().to_string().as_str())
    );
    assert_eq!(head.header(KEY_MD5), Some(md5_base64(ONE).as_str()));
    let part = request("GET", "/bucket/k")
        .header("range", "bytes=2-5")
        .customer_key(ONE);
    let part = part.send(&world).await.done(206);
    assert_eq!(part.body, &TEXT[2..6]);
    assert_eq!(
        part.header("content-range"),
        Some(format!("bytes 2-5/{}", TEXT.len()).as_str())
    );

    request("GET", "/bucket/k").send(&world).await.refused(400, "InvalidRequest").says(
        "Message",
        "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
    );
    request("GET", "/bucket/k").customer_key(TWO).send(&world).await.refused(403, "AccessDenied").says(
        "Message",
        "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key.",
    );
    for (head, status) in [
        (request("HEAD", "/bucket/k"), 400),
        (request("HEAD", "/bucket/k").customer_key(TWO), 403),
        (
            request("HEAD", "/bucket/k")
                .header(ALGORITHM, "AES128")
                .header(KEY, "x")
                .header(KEY_MD5, "y"),
            400,
        ),
    ] {
        let head = head.send(&world).await.done(status);
        assert!(head.body.is_empty());
    }
    let stored = world.blobs.stored_bytes();
    assert!(stored > TEXT.len() as u64);
    // No key is needed to delete.
    request("DELETE", "/bucket/k").send(&world).await.done(204);
}

/// The three headers, each as given; empty leaves it out.
fn with(request: Request, algorithm: &str, key: &str, md5: &str) -> Request {
    [(ALGORITHM, algorithm), (KEY, key), (KEY_MD5, md5)]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .fold(request, |request, (name, value)| {
            request.header(name, value)
        })
}

#[tokio::test]
async fn a_malformed_key_is_refused_and_changes_nothing() {
    let world = world().await;
    request("PUT", "/bucket/k")
        .customer_key(ONE)
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    let key = BASE64.encode(ONE);
    let md5 = md5_base64(ONE);
    let (short, long) = (BASE64.encode(&ONE[..16]), BASE64.encode(&key));
    let entries = world.log.entries().len();
    let rows = [
        (
            "AES128",
            key.as_str(),
            md5.clone(),
            "InvalidEncryptionAlgorithmError",
            "AES128",
        ),
        ("", &key, md5.clone(), "InvalidArgument", "null"),
        ("AES256", "", md5.clone(), "InvalidArgument", "null"),
        ("AES256", &key, String::new(), "InvalidArgument", "null"),
        (
            "AES256",
            &short,
            md5_base64(&ONE[..16]),
            "InvalidArgument",
            "null",
        ),
        (
            "AES256",
            &long,
            md5_base64(key.as_bytes()),
            "InvalidArgument",
            "null",
        ),
        (
            "AES256",
            "not/base64",
            md5.clone(),
            "InvalidArgument",
            "null",
        ),
        ("AES256", &key, md5_base64(TWO), "InvalidArgument", "null"),
        ("AES256", &key, "zz".into(), "InvalidArgument", "null"),
    ];
    for (algorithm, key, md5, code, value) in &rows {
        let put = with(
            request("PUT", "/bucket/new").body(TEXT),
            algorithm,
            key,
            md5,
        );
        put.send(&world)
            .await
            .refused(400, code)
            .says("ArgumentName", "x-amz-server-side-encryption")
            .says("ArgumentValue", value);
        let create = with(request("POST", "/bucket/new?uploads"), algorithm, key, md5);
        create.send(&world).await.refused(400, code);
        let copy = request("PUT", "/bucket/new")
            .header("x-amz-copy-source", "/bucket/k")
            .source_key(ONE);
        with(copy, algorithm, key, md5)
            .send(&world)
            .await
            .refused(400, code);
    }
    request("GET", "/bucket/new")
        .send(&world)
        .await
        .refused(404, "NoSuchKey")
        .says("Key", "new");
    let entries: Vec<String> = world.log.entries()[entries..]
        .iter()
        .map(|entry| String::from_utf8_lossy(entry).into_owned())
        .collect();
    let refused = entries
        .iter()
        .filter(|entry| entry.contains("customer-key-malformed"))
        .count();
    assert_eq!(refused, 3 * rows.len(), "each of them is on the audit log");
    for secret in [key.as_str(), "the first key"] {
        assert!(!entries.iter().any(|entry| entry.contains(secret)));
    }
}

#[tokio::test]
async fn a_reader_with_a_key_of_the_wrong_length_has_the_wrong_key() {
    let world = world().await;
    request("PUT", "/bucket/k")
        .customer_key(ONE)
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    request("PUT", "/bucket/plain")
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    let long = BASE64.encode(BASE64.encode(ONE));
    let md5 = md5_base64(BASE64.encode(ONE).as_bytes());
    let get = |target: &str| with(request("GET", target), "AES256", &long, &md5);
    get("/bucket/k")
        .send(&world)
        .await
        .refused(403, "AccessDenied");
    get("/bucket/plain")
        .send(&world)
        .await
        .refused(400, "InvalidRequest");
    get("/bucket/absent")
        .send(&world)
        .await
        .refused(404, "NoSuchKey");
}

#[tokio::test]
async fn a_key_is_neither_sent_for_nothing_nor_mixed_with_other_encryption() {
    let world = world().await;
    request("PUT", "/bucket/plain")
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    for method in ["GET", "HEAD"] {
        let reply = request(method, "/bucket/plain")
            .customer_key(ONE)
            .send(&world)
            .await
            .done(400);
        if method == "GET" {
            reply.says(
                "Message",
                "The encryption parameters are not applicable to this object.",
            );
        }
    }
    for other in ["AES256", "aws:kms"] {
        request("PUT", "/bucket/k")
            .customer_key(ONE)
            .header("x-amz-server-side-encryption", other)
            .body(TEXT)
            .send(&world)
            .await
            .refused(400, "InvalidArgument")
            .says("Message", "Server Side Encryption with Customer provided key is incompatible with the encryption method specified")
            .says("ArgumentValue", other);
    }
    let copy = request("PUT", "/bucket/copy")
        .header("x-amz-copy-source", "bucket/plain")
        .source_key(ONE);
    copy.send(&world).await.refused(400, "InvalidRequest");
}

#[tokio::test]
async fn a_copy_rekeys_without_touching_the_payload() {
    let world = world().await;
    request("PUT", "/bucket/k")
        .customer_key(ONE)
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    let stored = world.blobs.stored_bytes();
    let copy = |target: &str| request("PUT", target).header("x-amz-copy-source", "/bucket/k");
    copy("/bucket/k")
        .send(&world)
        .await
        .refused(400, "InvalidRequest");
    copy("/bucket/k")
        .source_key(TWO)
        .customer_key(TWO)
        .send(&world)
        .await
        .refused(403, "AccessDenied");
    let copied = copy("/bucket/k")
        .source_key(ONE)
        .customer_key(TWO)
        .send(&world)
        .await
        .done(200);
    assert!(copied.element("ETag").is_some() && copied.element("LastModified").is_some());
    assert_eq!(copied.header(KEY_MD5), Some(md5_base64(TWO).as_str()));
    assert_eq!(world.blobs.stored_bytes(), stored);
    request("GET", "/bucket/k")
        .customer_key(ONE)
        .send(&world)
        .await
        .refused(403, "AccessDenied");
    let get = request("GET", "/bucket/k")
        .customer_key(TWO)
        .send(&world)
        .await
        .done(200);
    assert_eq!(get.body, TEXT);
    // Without a key of its own the copy is protected by the service.
    let plain = copy("/bucket/plain")
        .source_key(TWO)
        .send(&world)
        .await
        .done(200);
    assert_eq!(plain.header("x-amz-server-side-encryption"), Some("AES256"));
    let get = request("GET", "/bucket/plain").send(&world).await.done(200);
    assert_eq!(get.body, TEXT);
}

#[tokio::test]
async fn a_key_is_not_taken_over_plain_http() {
    let plain = Ways {
        plain_http_customer_keys: false,
        ..Ways::default()
    };
    let world = World::with(plain, "127.0.0.1:0").await;
    request("PUT", "/bucket").send(&world).await.done(200);
    request("PUT", "/bucket/k").customer_key(ONE).body(TEXT).send(&world).await.refused(400, "InvalidRequest").says(
        "Message",
        "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection.",
    );
    let world = World::with(Ways { tls: true, ..plain }, "127.0.0.1:0").await;
    request("PUT", "/bucket").send(&world).await.done(200);
    request("PUT", "/bucket/k")
        .customer_key(ONE)
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
}

#[tokio::test]
async fn a_key_never_stands_in_a_url() {
    let world = world().await;
    request("PUT", &format!("/bucket/k?{KEY}=abc"))
        .body(TEXT)
        .send(&world)
        .await
        .refused(400, "InvalidRequest");
    let capital = "X-Amz-Server-Side-Encryption-Customer-Key=abc";
    request("GET", &format!("/bucket/k?{capital}"))
        .send_presigned(&world, 60)
        .await
        .refused(400, "InvalidRequest");
}

#[tokio::test]
async fn a_bucket_can_refuse_customer_keys_and_old_objects_stay_readable() {
    let world = world().await;
    request("PUT", "/bucket/old")
        .customer_key(ONE)
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    let block = |types: &str| {
        request("PUT", "/bucket?encryption").body(format!(
            "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>\
             </ApplyServerSideEncryptionByDefault><BlockedEncryptionTypes><EncryptionType>{types}</EncryptionType>\
             </BlockedEncryptionTypes></Rule></ServerSideEncryptionConfiguration>"
        ))
    };
    block("SSE-C").send(&world).await.done(200);
    request("GET", "/bucket?encryption")
        .send(&world)
        .await
        .done(200)
        .says("EncryptionType", "SSE-C");
    request("PUT", "/bucket/new")
        .customer_key(ONE)
        .body(TEXT)
        .send(&world)
        .await
        .refused(403, "AccessDenied");
    request("POST", "/bucket/new?uploads")
        .customer_key(ONE)
        .send(&world)
        .await
        .refused(403, "AccessDenied");
    let copy = request("PUT", "/bucket/new")
        .header("x-amz-copy-source", "bucket/old")
        .source_key(ONE)
        .customer_key(TWO);
    copy.send(&world).await.refused(403, "AccessDenied");
    let old = request("GET", "/bucket/old")
        .customer_key(ONE)
        .send(&world)
        .await
        .done(200);
    assert_eq!(old.body, TEXT);
    block("NONE").send(&world).await.done(200);
    request("PUT", "/bucket/new")
        .customer_key(ONE)
        .body(TEXT)
        .send(&world)
        .await
        .done(200);

    let blocking = Ways {
        block_customer_keys: true,
        ..Ways::default()
    };
    let world = World::with(blocking, "127.0.0.1:0").await;
    request("PUT", "/bucket").send(&world).await.done(200);
    request("PUT", "/bucket/k")
        .customer_key(ONE)
        .body(TEXT)
        .send(&world)
        .await
        .refused(403, "AccessDenied");
}

#[tokio::test]
async fn each_part_carries_the_key_of_its_upload() {
    let world = world().await;
    let created = request("POST", "/bucket/k?uploads")
        .customer_key(ONE)
        .send(&world)
        .await
        .done(200);
    assert_eq!(created.header(KEY_MD5), Some(md5_base64(ONE).as_str()));
    let upload = created.element("UploadId").unwrap();
    let part = |number: u32| {
        request(
            "PUT",
            &format!("/bucket/k?partNumber={number}&uploadId={upload}"),
        )
        .body(TEXT)
    };
    let without = part(1).send(&world).await.refused(400, "InvalidRequest");
    without.says("Message", "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters.");
    let other = part(1)
        .customer_key(TWO)
        .send(&world)
        .await
        .refused(400, "InvalidRequest");
    other.says(
        "Message",
        "The provided encryption parameters did not match the ones used originally.",
    );
    part(1)
        .header("x-amz-server-side-encryption", "AES256")
        .customer_key(ONE)
        .send(&world)
        .await
        .refused(400, "InvalidArgument");
    let done = part(1).customer_key(ONE).send(&world).await.done(200);
    assert_eq!(done.header(KEY_MD5), Some(md5_base64(ONE).as_str()));
    let etag = done.header("etag").unwrap().to_owned();
    let complete = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    // The completion needs no key.
    let completed = request("POST", &format!("/bucket/k?uploadId={upload}"))
        .body(complete)
        .send(&world)
        .await
        .done(200);
    assert!(completed.element("ETag").unwrap().ends_with("-1&quot;"));
    let get = request("GET", "/bucket/k")
        .customer_key(ONE)
        .send(&world)
        .await
        .done(200);
    assert_eq!(get.body, TEXT);

    let plain = request("POST", "/bucket/p?uploads")
        .send(&world)
        .await
        .done(200)
        .element("UploadId")
        .unwrap();
    let part = request("PUT", &format!("/bucket/p?partNumber=1&uploadId={plain}"))
        .customer_key(ONE)
        .body(TEXT);
    part.send(&world).await.refused(400, "InvalidRequest").says("Message", "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters.");
}
