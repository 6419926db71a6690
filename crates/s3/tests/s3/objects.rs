//! Objects: put, read in whole and in part, conditionally, copied, listed, deleted.

use crate::client::{md5_base64, request};
use crate::world::World;

const TEXT: &[u8] = b"0123456789";
/// What `printf 0123456789 | md5sum` gives.
const ETAG: &str = "\"781e5e245d69b566979b86e28d23f2c7\"";

async fn world() -> World {
    let world = World::new().await;
    request("PUT", "/bucket").send(&world).await.done(200);
    world
}

#[tokio::test]
async fn an_object_comes_back_as_it_was_put() {
    let world = world().await;
    let put = request("PUT", "/bucket/a%20b/%C3%BC")
        .header("content-type", "text/plain")
        .header("cache-control", "no-store")
        .header("content-disposition", "inline")
        .header("content-encoding", "gzip")
        .header("content-language", "de")
        .header("expires", "never")
        .header("x-amz-meta-color", "dark red")
        .header("x-amz-storage-class", "ONEZONE_IA")
        .header("x-amz-acl", "bucket-owner-full-control")
        .body(TEXT);
    let put = put.send(&world).await.done(200);
    assert_eq!(put.header("etag"), Some(ETAG));
    assert!(put.header("x-amz-checksum-crc64nvme").is_some());
    assert_eq!(put.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
    for method in ["GET", "HEAD"] {
        let reply = request(method, "/bucket/a%20b/%C3%BC")
            .send(&world)
            .await
            .done(200);
        for (name, value) in [
            ("content-type", "text/plain"),
            ("cache-control", "no-store"),
            ("content-disposition", "inline"),
            ("content-encoding", "gzip"),
            ("content-language", "de"),
            ("expires", "never"),
            ("x-amz-meta-color", "dark red"),
            ("x-amz-storage-class", "ONEZONE_IA"),
            ("etag", ETAG),
            ("accept-ranges", "bytes"),
            ("content-length", "10"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{method} {name}");
        }
        assert!(reply.header("last-modified").unwrap().ends_with(" GMT"));
        assert_eq!(reply.header("x-amz-version-id"), None);
        assert_eq!(reply.header("x-amz-checksum-crc64nvme"), None);
    }
    let checked = request("HEAD", "/bucket/a%20b/%C3%BC").header("x-amz-checksum-mode", "ENABLED");
    assert!(
        checked
            .send(&world)
            .await
            .done(200)
            .header("x-amz-checksum-crc64nvme")
            .is_some()
    );
    request("PUT", "/bucket/plain")
        .body("")
        .send(&world)
        .await
        .done(200);
    let plain = request("GET", "/bucket/plain").send(&world).await.done(200);
    assert_eq!(plain.header("content-type"), Some("binary/octet-stream"));
    assert!(plain.body.is_empty() && plain.header("content-length") == Some("0"));
    let other = request(
        "GET",
        "/bucket/plain?response-content-type=text%2Fcsv&response-cache-control=no-cache",
    );
    let other = other.send(&world).await.done(200);
    assert_eq!(other.header("content-type"), Some("text/csv"));
    assert_eq!(other.header("cache-control"), Some("no-cache"));
}

#[tokio::test]
async fn ranges_and_parts_are_answered_or_refused() {
    let world = world().await;
    request("PUT", "/bucket/k")
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    for (range, bytes, told) in [
        ("bytes=0-0", &b"0"[..], "bytes 0-0/10"),
        ("bytes=3-", b"3456789", "bytes 3-9/10"),
        ("bytes=-4", b"6789", "bytes 6-9/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
    ] {
        let part = request("GET", "/bucket/k")
            .header("range", range)
            .send(&world)
            .await
            .done(206);
        assert_eq!(
            (part.body.as_slice(), part.header("content-range")),
            (bytes, Some(told))
        );
        let head = request("HEAD", "/bucket/k")
            .header("range", range)
            .send(&world)
            .await
            .done(206);
        assert_eq!(
            head.header("content-length"),
            Some(bytes.len().to_string().as_str())
        );
    }
    for ignored in ["bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "nonsense"] {
        let whole = request("GET", "/bucket/k")
            .header("range", ignored)
            .send(&world)
            .await
            .done(200);
        assert_eq!(whole.body, TEXT, "{ignored}");
    }
    for bad in ["bytes=10-", "bytes=-0", "bytes=99-100"] {
        request("GET", "/bucket/k")
            .header("range", bad)
            .send(&world)
            .await
            .refused(416, "InvalidRange")
            .says("RangeRequested", bad)
            .says("ActualObjectSize", "10");
    }
    let one = request("GET", "/bucket/k?partNumber=1")
        .send(&world)
        .await
        .done(206);
    assert_eq!(one.body, TEXT);
    request("GET", "/bucket/k?partNumber=2")
        .send(&world)
        .await
        .refused(416, "InvalidPartNumber");
    request("GET", "/bucket/k?partNumber=0")
        .send(&world)
        .await
        .refused(400, "InvalidArgument")
        .says("ArgumentName", "partNumber");
    request("GET", "/bucket/k?partNumber=1")
        .header("range", "bytes=0-1")
        .send(&world)
        .await
        .refused(400, "InvalidRequest");
}

#[tokio::test]
async fn conditions_are_kept() {
    let world = world().await;
    request("PUT", "/bucket/k")
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    let other = "\"00000000000000000000000000000000\"";
    let past = "Thu, 01 Jan 2015 00:00:00 GMT";
    let future = "Thu, 01 Jan 2099 00:00:00 GMT";
    for (name, value, status) in [
        ("if-match", ETAG, 200),
        ("if-match", "*", 200),
        ("if-match", other, 412),
        ("if-none-match", ETAG, 304),
        ("if-none-match", other, 200),
        ("if-modified-since", past, 200),
        ("if-modified-since", future, 304),
        ("if-unmodified-since", past, 412),
        ("if-unmodified-since", future, 200),
        ("if-modified-since", "whenever", 200),
    ] {
        for method in ["GET", "HEAD"] {
            let reply = request(method, "/bucket/k")
                .header(name, value)
                .send(&world)
                .await
                .done(status);
            if status == 304 {
                assert!(reply.body.is_empty() && reply.header("etag") == Some(ETAG));
            }
            if status == 412 && method == "GET" {
                reply.refused(412, "PreconditionFailed");
            }
        }
    }
    let put = |name: &str, value: &str| request("PUT", "/bucket/k").header(name, value).body("new");
    put("if-none-match", "*")
        .send(&world)
        .await
        .refused(412, "PreconditionFailed")
        .says("Condition", "If-None-Match");
    put("if-match", other)
        .send(&world)
        .await
        .refused(412, "PreconditionFailed")
        .says("Condition", "If-Match");
    put("if-none-match", ETAG)
        .send(&world)
        .await
        .refused(501, "NotImplemented");
    put("if-match", "*")
        .send(&world)
        .await
        .refused(501, "NotImplemented");
    let absent = request("PUT", "/bucket/absent")
        .header("if-match", ETAG)
        .body("x");
    absent.send(&world).await.refused(404, "NoSuchKey");
    put("if-match", ETAG).send(&world).await.done(200);
    let first = request("PUT", "/bucket/first")
        .header("if-none-match", "*")
        .body("x");
    first.send(&world).await.done(200);
}

#[tokio::test]
async fn digests_are_checked_and_a_wrong_one_leaves_nothing() {
    let world = world().await;
    let put = |name: &str, value: &str| request("PUT", "/bucket/k").header(name, value).body(TEXT);
    put("content-md5", &md5_base64(TEXT))
        .send(&world)
        .await
        .done(200);
    request("DELETE", "/bucket/k").send(&world).await.done(204);
    for (name, value, code) in [
        ("content-md5", md5_base64(b"other"), "BadDigest"),
        ("content-md5", "nonsense".into(), "InvalidDigest"),
        ("x-amz-checksum-crc32", "AAAAAA==".into(), "BadDigest"),
        ("x-amz-checksum-sha256", "AAAAAA==".into(), "InvalidRequest"),
        (
            "x-amz-sdk-checksum-algorithm",
            "CRC32".into(),
            "InvalidRequest",
        ),
    ] {
        put(name, &value).send(&world).await.refused(400, code);
    }
    request("GET", "/bucket/k")
        .send(&world)
        .await
        .refused(404, "NoSuchKey");
    // CRC-32 of 0123456789, as `crc32` prints it: a684c7c6.
    let good = put("x-amz-checksum-crc32", "poTHxg==")
        .send(&world)
        .await
        .done(200);
    assert_eq!(good.header("x-amz-checksum-crc32"), Some("poTHxg=="));
}

#[tokio::test]
async fn a_copy_keeps_or_replaces_what_is_said_of_the_object() {
    let world = world().await;
    request("PUT", "/bucket/k")
        .header("x-amz-meta-a", "1")
        .header("content-type", "text/a")
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    let copy = |target: &str| request("PUT", target).header("x-amz-copy-source", "bucket/k");
    let copied = copy("/bucket/copy").send(&world).await.done(200);
    assert_eq!(
        copied.element("ETag").unwrap().replace("&quot;", "\""),
        ETAG
    );
    let head = request("HEAD", "/bucket/copy").send(&world).await.done(200);
    assert_eq!(
        (head.header("x-amz-meta-a"), head.header("content-type")),
        (Some("1"), Some("text/a"))
    );
    copy("/bucket/copy")
        .header("x-amz-metadata-directive", "REPLACE")
        .header("x-amz-meta-b", "2")
        .send(&world)
        .await
        .done(200);
    let head = request("HEAD", "/bucket/copy").send(&world).await.done(200);
    assert_eq!(
        (head.header("x-amz-meta-a"), head.header("x-amz-meta-b")),
        (None, Some("2"))
    );
    copy("/bucket/k")
        .send(&world)
        .await
        .refused(400, "InvalidRequest");
    copy("/bucket/x")
        .header("x-amz-metadata-directive", "MERGE")
        .send(&world)
        .await
        .refused(400, "InvalidArgument");
    copy("/bucket/x")
        .header("x-amz-tagging-directive", "REPLACE")
        .send(&world)
        .await
        .refused(501, "NotImplemented");
    copy("/bucket/x")
        .header("x-amz-copy-source-if-none-match", ETAG)
        .send(&world)
        .await
        .refused(412, "PreconditionFailed");
    copy("/bucket/x")
        .header("x-amz-copy-source-if-match", ETAG)
        .send(&world)
        .await
        .done(200);
    copy("/bucket/x")
        .body("content")
        .send(&world)
        .await
        .refused(400, "InvalidRequest");
    copy("/absent/x")
        .send(&world)
        .await
        .refused(404, "NoSuchBucket")
        .says("BucketName", "absent");
    let from = |source: &str| request("PUT", "/bucket/y").header("x-amz-copy-source", source);
    from("bucket/none")
        .send(&world)
        .await
        .refused(404, "NoSuchKey")
        .says("Key", "none");
    from("nowhere/k")
        .send(&world)
        .await
        .refused(404, "NoSuchBucket")
        .says("BucketName", "nowhere");
    from("bucket")
        .send(&world)
        .await
        .refused(400, "InvalidArgument");
}

#[tokio::test]
async fn objects_are_listed_page_by_page() {
    let world = world().await;
    for key in ["a", "b/1", "b/2", "c%26d", "e"] {
        request("PUT", &format!("/bucket/{key}"))
            .body("x")
            .send(&world)
            .await
            .done(200);
    }
    let all = request("GET", "/bucket?list-type=2")
        .send(&world)
        .await
        .done(200);
    all.clone()
        .says("KeyCount", "5")
        .says("IsTruncated", "false")
        .says("MaxKeys", "1000")
        .says("StorageClass", "STANDARD");
    assert!(all.text().contains("<Key>c&amp;d</Key>") && !all.text().contains("<Owner>"));
    let encoded = request(
        "GET",
        "/bucket?list-type=2&encoding-type=url&fetch-owner=true&prefix=c",
    )
    .send(&world)
    .await
    .done(200);
    encoded
        .says("Key", "c%26d")
        .says("EncodingType", "url")
        .says("ID", "000000000000");
    let folded = request("GET", "/bucket?list-type=2&delimiter=%2F")
        .send(&world)
        .await
        .done(200);
    assert!(
        folded
            .text()
            .contains("<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>")
    );
    folded.says("KeyCount", "4");
    let mut token = String::new();
    let mut pages = Vec::new();
    loop {
        let page = request("GET", &format!("/bucket?list-type=2&max-keys=2{token}"))
            .send(&world)
            .await
            .done(200);
        pages.push(page.element("KeyCount").unwrap());
        match page.element("NextContinuationToken") {
            Some(next) => token = format!("&continuation-token={next}"),
            None => break,
        }
    }
    assert_eq!(pages, ["2", "2", "1"]);
    let after = request("GET", "/bucket?list-type=2&start-after=b%2F2")
        .send(&world)
        .await
        .done(200);
    after.says("KeyCount", "2").says("StartAfter", "b/2");
    let first = request("GET", "/bucket?max-keys=3&delimiter=%2F")
        .send(&world)
        .await
        .done(200);
    first
        .clone()
        .says("IsTruncated", "true")
        .says("NextMarker", "c&amp;d");
    let second = request("GET", "/bucket?marker=c%26d&delimiter=%2F")
        .send(&world)
        .await
        .done(200);
    second
        .says("Key", "e")
        .says("IsTruncated", "false")
        .says("Marker", "c&amp;d");
    request("GET", "/bucket?list-type=2&max-keys=0")
        .send(&world)
        .await
        .done(200)
        .says("KeyCount", "0");
    for bad in [
        "list-type=2&max-keys=-1",
        "list-type=2&max-keys=x",
        "list-type=2&continuation-token=nonsense",
        "list-type=2&continuation-token=",
        "list-type=2&encoding-type=base64",
        "list-type=3",
        "list-type=2&fetch-owner=maybe",
    ] {
        request("GET", &format!("/bucket?{bad}"))
            .send(&world)
            .await
            .refused(400, "InvalidArgument");
    }
    request("GET", "/absent?list-type=2")
        .send(&world)
        .await
        .refused(404, "NoSuchBucket");
}

#[tokio::test]
async fn many_objects_are_deleted_at_once_each_for_itself() {
    let world = world().await;
    for key in ["a", "b", "c"] {
        request("PUT", &format!("/bucket/{key}"))
            .body("x")
            .send(&world)
            .await
            .done(200);
    }
    let delete = |inner: &str| {
        let document = format!("<Delete>{inner}</Delete>");
        let md5 = md5_base64(document.as_bytes());
        request("POST", "/bucket?delete")
            .header("content-md5", &md5)
            .body(document)
    };
    let named = "<Object><Key>a</Key></Object><Object><Key>b</Key><VersionId>nonsense</VersionId></Object>\
                 <Object><Key>absent</Key></Object><Object><Key/></Object>";
    let done = delete(named).send(&world).await.done(200);
    let text = done.text();
    assert!(text.contains("<Deleted><Key>a</Key></Deleted>"), "{text}");
    assert!(
        text.contains("<Deleted><Key>absent</Key></Deleted>"),
        "{text}"
    );
    assert!(
        text.contains(
            "<Error><Key>b</Key><VersionId>nonsense</VersionId><Code>InvalidArgument</Code>"
        ),
        "{text}"
    );
    assert_eq!(text.matches("<Error>").count(), 2, "{text}");
    let quiet = delete("<Quiet>true</Quiet><Object><Key>c</Key></Object>")
        .send(&world)
        .await
        .done(200);
    assert!(!quiet.text().contains("<Deleted>"));
    request("GET", "/bucket?list-type=2")
        .send(&world)
        .await
        .done(200)
        .says("KeyCount", "1")
        .says("Key", "b");
    delete("").send(&world).await.refused(400, "MalformedXML");
    delete("<Object><Key>b</Key></Object>")
        .header("x-amz-mfa", "1 2")
        .send(&world)
        .await
        .refused(501, "NotImplemented");
    let document = "<Delete><Object><Key>b</Key></Object></Delete>";
    request("POST", "/bucket?delete")
        .body(document)
        .send(&world)
        .await
        .refused(400, "InvalidRequest");
    request("POST", "/bucket?delete")
        .header("content-md5", &md5_base64(b"other"))
        .body(document)
        .send(&world)
        .await
        .refused(400, "BadDigest");
    request("POST", "/bucket?delete")
        .header("x-amz-checksum-crc32", "AAAAAA==")
        .body(document)
        .send(&world)
        .await
        .refused(400, "BadDigest");
    request("HEAD", "/bucket/b").send(&world).await.done(200);
}

#[tokio::test]
async fn attributes_of_an_object_are_told_on_demand() {
    let world = world().await;
    request("PUT", "/bucket/k")
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    let ask = |wanted: &str| {
        request("GET", "/bucket/k?attributes").header("x-amz-object-attributes", wanted)
    };
    let told = ask("ETag,Checksum,ObjectParts,StorageClass,ObjectSize")
        .send(&world)
        .await
        .done(200);
    told.clone()
        .says("ObjectSize", "10")
        .says("StorageClass", "STANDARD")
        .says("ETag", ETAG.trim_matches('"'));
    assert!(told.element("ChecksumCRC64NVME").is_some() && told.element("ObjectParts").is_none());
    let one = ask("ObjectSize").send(&world).await.done(200);
    assert_eq!(one.element("ETag"), None);
    ask("Color")
        .send(&world)
        .await
        .refused(400, "InvalidArgument");
    request("GET", "/bucket/k?attributes")
        .send(&world)
        .await
        .refused(400, "InvalidArgument");
}
