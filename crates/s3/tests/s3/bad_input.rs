//! Requests that no client should send: each has its error, and none of them is ours.

use proptest::prelude::*;

use crate::client::{exchange, request};
use crate::world::World;

async fn world() -> World {
    let world = World::new().await;
    request("PUT", "/bucket").send(&world).await.done(200);
    world
}

#[tokio::test]
async fn what_is_not_implemented_is_never_a_silent_success() {
    let world = world().await;
    for sub in [
        "acl",
        "tagging",
        "policy",
        "cors",
        "object-lock",
        "replication",
        "notification",
        "brand-new",
    ] {
        for method in ["GET", "PUT"] {
            request(method, &format!("/bucket?{sub}"))
                .send(&world)
                .await
                .refused(501, "NotImplemented");
            request(method, &format!("/bucket/k?{sub}"))
                .body("x")
                .send(&world)
                .await
                .refused(501, "NotImplemented");
        }
    }
    for (name, value) in [
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-full-control", "id=x"),
        ("x-amz-website-redirect-location", "/x"),
        ("x-amz-server-side-encryption", "aws:kms:dsse"),
        ("x-amz-something-new", "1"),
    ] {
        let put = request("PUT", "/bucket/k").header(name, value).body("x");
        put.send(&world)
            .await
            .refused(501, "NotImplemented")
            .says("Header", name);
    }
    request("GET", "/bucket/k")
        .send(&world)
        .await
        .refused(404, "NoSuchKey");
    request("POST", "/bucket/k?select&select-type=2")
        .body("x")
        .send(&world)
        .await
        .refused(501, "NotImplemented");
    let form = request("POST", "/bucket")
        .header("content-type", "multipart/form-data; boundary=x")
        .body("--x--");
    form.send(&world).await.refused(501, "NotImplemented");
    request("PATCH", "/bucket/k")
        .send(&world)
        .await
        .refused(405, "MethodNotAllowed")
        .says("Method", "PATCH");
    request("OPTIONS", "/bucket/k")
        .send_unsigned(&world)
        .await
        .refused(403, "AccessForbidden");
    request("POST", "/")
        .send(&world)
        .await
        .refused(405, "MethodNotAllowed");
}

#[tokio::test]
async fn uris_that_are_none_are_refused() {
    let world = world().await;
    for target in [
        "/bucket/%ff",
        "/bucket/%2",
        "/bucket/%zz",
        "/bucket?prefix=%ff",
    ] {
        request("GET", target)
            .send(&world)
            .await
            .refused(400, "InvalidURI");
    }
    request("GET", "/bucket?prefix=a&prefix=b")
        .send(&world)
        .await
        .refused(400, "InvalidArgument");
}

#[tokio::test]
async fn lengths_that_are_none_or_too_long_are_refused() {
    let world = world().await;
    let put = || request("PUT", "/bucket/k");
    put()
        .content_length(&(6_u64 << 30).to_string())
        .send(&world)
        .await
        .refused(400, "EntityTooLarge")
        .says("ProposedSize", "6442450944")
        .says("MaxSizeAllowed", "5368709120");
    put()
        .content_length("")
        .unsigned_header("transfer-encoding", "chunked")
        .body("1\r\nx\r\n0\r\n\r\n")
        .payload("UNSIGNED-PAYLOAD")
        .send(&world)
        .await
        .refused(411, "MissingContentLength");
    let chunked = |length: &str| {
        let put = put()
            .payload("STREAMING-UNSIGNED-PAYLOAD-TRAILER")
            .header("x-amz-trailer", "x-amz-checksum-crc32")
            .body("0\r\n\r\n");
        if length.is_empty() {
            put
        } else {
            put.header("x-amz-decoded-content-length", length)
        }
    };
    chunked("")
        .send(&world)
        .await
        .refused(411, "MissingContentLength");
    chunked("-5")
        .send(&world)
        .await
        .refused(400, "InvalidRequest");
    chunked("many")
        .send(&world)
        .await
        .refused(400, "InvalidRequest");
    let long = "x".repeat(9 << 20);
    request("PUT", "/bucket?versioning")
        .body(long)
        .send(&world)
        .await
        .refused(400, "MaxMessageLengthExceeded");
    let metadata = "m".repeat(2049);
    put()
        .header("x-amz-meta-a", &metadata)
        .body("x")
        .send(&world)
        .await
        .refused(400, "MetadataTooLarge")
        .says("MaxSizeAllowed", "2048");
    request("GET", "/bucket/k")
        .send(&world)
        .await
        .refused(404, "NoSuchKey");
}

#[tokio::test]
async fn documents_that_are_none_are_refused() {
    let world = world().await;
    let deep = "<a>".repeat(10_000);
    for body in [
        "",
        "nonsense",
        "<a/>",
        "<VersioningConfiguration>",
        "\u{feff}<x",
        deep.as_str(),
        "<!DOCTYPE x [<!ENTITY a \"b\">]><VersioningConfiguration><Status>&a;</Status></VersioningConfiguration>",
    ] {
        request("PUT", "/bucket?versioning")
            .body(body)
            .send(&world)
            .await
            .refused(400, "MalformedXML");
    }
    let invalid: &[u8] =
        b"<VersioningConfiguration><Status>\xff</Status></VersioningConfiguration>";
    request("PUT", "/bucket?versioning")
        .body(invalid)
        .send(&world)
        .await
        .refused(400, "MalformedXML");
}

#[tokio::test]
async fn a_header_twice_or_not_readable_is_refused() {
    let world = world().await;
    let twice = request("PUT", "/bucket/k")
        .header("x-amz-meta-a", "1")
        .unsigned_header("x-amz-meta-a", "2")
        .body("x");
    twice
        .send(&world)
        .await
        .refused(403, "SignatureDoesNotMatch");
    let unreadable = request("GET", "/bucket/k").unsigned_header("if-match", b"\xff\xfe".to_vec());
    unreadable.send(&world).await.refused(400, "InvalidRequest");
}

/// Runs a future to its end within a test that is not asynchronous.
fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

fn some_header() -> impl Strategy<Value = (String, String)> {
    let names = prop::sample::select(vec![
        "range",
        "if-match",
        "if-none-match",
        "if-modified-since",
        "content-md5",
        "content-type",
        "x-amz-copy-source",
        "x-amz-copy-source-range",
        "x-amz-metadata-directive",
        "x-amz-storage-class",
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-aws-kms-key-id",
        "x-amz-server-side-encryption-context",
        "x-amz-server-side-encryption-bucket-key-enabled",
        "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-server-side-encryption-customer-key",
        "x-amz-server-side-encryption-customer-key-md5",
        "x-amz-checksum-crc32",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-checksum-mode",
        "x-amz-trailer",
        "x-amz-acl",
        "x-amz-meta-a",
        "x-amz-object-attributes",
        "x-amz-mp-object-size",
        "x-amz-decoded-content-length",
        "x-amz-optional-object-attributes",
        "expect",
    ]);
    let values = prop_oneof![
        "[ -~]{0,40}",
        prop::sample::select(vec![
            "AES256",
            "aws:kms",
            "bytes=0-5",
            "bytes=-",
            "*",
            "\"\"",
            "true",
            "e30=",
            "/bucket/k",
            "REPLACE",
            "GLACIER",
            "CRC32",
            "18446744073709551616",
            "-1",
            "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=",
            "x-amz-checksum-crc32",
            "Thu, 01 Jan 2026 00:00:00 GMT",
            "100-continue",
        ])
        .prop_map(str::to_owned),
    ];
    (names.prop_map(str::to_owned), values)
}

fn some_target() -> impl Strategy<Value = String> {
    let paths = prop::sample::select(vec![
        "/",
        "/bucket",
        "/bucket/",
        "/bucket/k",
        "/bucket/%20",
        "/Bad",
        "/bucket//",
        "//",
    ]);
    let names = prop::sample::select(vec![
        "versionId",
        "partNumber",
        "uploadId",
        "uploads",
        "versions",
        "restore",
        "lifecycle",
        "versioning",
        "encryption",
        "location",
        "list-type",
        "max-keys",
        "continuation-token",
        "prefix",
        "delimiter",
        "marker",
        "key-marker",
        "attributes",
        "delete",
        "encoding-type",
        "response-content-type",
        "x-amz-meta-b",
        "start-after",
        "max-parts",
        "part-number-marker",
    ]);
    let values = prop::sample::select(vec![
        "",
        "1",
        "2",
        "0",
        "-1",
        "null",
        "url",
        "x",
        "%2F",
        "99999999999",
        "%0A",
        "%C3%BC",
    ]);
    (paths, prop::collection::vec((names, values), 0..3)).prop_map(|(path, parameters)| {
        let query: Vec<_> = parameters
            .iter()
            .map(|(name, value)| {
                if value.is_empty() {
                    format!("{name}=")
                } else {
                    format!("{name}={value}")
                }
            })
            .collect();
        format!("{path}?{}", query.join("&"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Properly signed nonsense is refused by name, or done; it is never a failure of the service.
    #[test]
    fn no_signed_request_fails_the_service(
        requests in prop::collection::vec(
            (prop::sample::select(vec!["GET", "PUT", "HEAD", "DELETE", "POST"]), some_target(),
             prop::collection::btree_map("[a-z]", some_header(), 0..4), "[ -~]{0,60}"),
            32..33,
        )
    ) {
        block(async {
            let world = world().await;
            request("PUT", "/bucket/k").body("x").send(&world).await.done(200);
            for (method, target, headers, body) in requests {
                let mut seen = std::collections::BTreeSet::new();
                let built = headers.values().filter(|(name, _)| seen.insert(name.clone())).fold(
                    request(method, &target).body(body),
                    |request, (name, value)| request.header(name, value.trim()),
                );
                let reply = built.clone().send(&world).await;
                assert!(reply.status < 500 || reply.status == 501, "{built:?}\n{}", reply.text());
            }
        });
    }

    /// Bytes that are hardly HTTP are refused; the service lives on.
    #[test]
    fn no_bytes_fail_the_service(
        lines in prop::collection::vec("[ -~]{0,60}", 0..6),
        authorization in "\\PC{0,120}",
    ) {
        block(async {
            let world = world().await;
            let head: String = lines.iter().enumerate().map(|(at, line)| format!("x-amz-h{at}: {line}\r\n")).collect();
            let mut bytes = format!("GET /bucket/k HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{head}authorization: ").into_bytes();
            bytes.extend(authorization.replace(['\r', '\n'], " ").into_bytes());
            bytes.extend(b"\r\n\r\n");
            let reply = exchange(&world, bytes).await;
            assert!((400..500).contains(&reply.status) || reply.status == 501, "{}", reply.text());
        });
    }
}
