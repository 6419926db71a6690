//! Multipart uploads.

use crate::client::{Reply, request};
use crate::world::World;

const PART_BYTES: usize = 5 << 20;

async fn world() -> World {
    let world = World::new().await;
    request("PUT", "/bucket").send(&world).await.done(200);
    world
}

async fn begin(world: &World) -> String {
    let begun = request("POST", "/bucket/k?uploads")
        .send(world)
        .await
        .done(200);
    begun.element("UploadId").expect("an upload id")
}

async fn part(world: &World, upload: &str, number: u32, body: Vec<u8>) -> String {
    let put = request(
        "PUT",
        &format!("/bucket/k?partNumber={number}&uploadId={upload}"),
    )
    .body(body);
    put.send(world)
        .await
        .done(200)
        .header("etag")
        .expect("a tag")
        .to_owned()
}

async fn complete(world: &World, upload: &str, parts: &[(u32, &str)]) -> Reply {
    let parts: String = parts
        .iter()
        .map(|(number, etag)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
        })
        .collect();
    let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    request("POST", &format!("/bucket/k?uploadId={upload}"))
        .body(body)
        .send(world)
        .await
}

#[tokio::test]
async fn parts_make_an_object_that_is_read_across_and_by_part() {
    let world = world().await;
    let upload = begin(&world).await;
    let one = part(&world, &upload, 1, vec![b'a'; PART_BYTES]).await;
    let two = part(&world, &upload, 7, b"tail".to_vec()).await;
    let uploads = request("GET", "/bucket?uploads")
        .send(&world)
        .await
        .done(200);
    uploads
        .says("Key", "k")
        .says("UploadId", &upload)
        .says("IsTruncated", "false");
    let parts = request("GET", &format!("/bucket/k?uploadId={upload}&max-parts=1"))
        .send(&world)
        .await
        .done(200);
    parts
        .says("PartNumber", "1")
        .says("NextPartNumberMarker", "1")
        .says("IsTruncated", "true");
    let rest = request(
        "GET",
        &format!("/bucket/k?uploadId={upload}&part-number-marker=1"),
    )
    .send(&world)
    .await
    .done(200);
    rest.says("PartNumber", "7")
        .says("Size", "4")
        .says("IsTruncated", "false");
    let done = complete(&world, &upload, &[(1, &one), (7, &two)])
        .await
        .done(200);
    done.clone()
        .says("Bucket", "bucket")
        .says("Location", "http://localhost/bucket/k")
        .says("Key", "k");
    assert!(done.element("ETag").unwrap().ends_with("-2&quot;"));
    let across = request("GET", "/bucket/k").header("range", &format!("bytes={}-", PART_BYTES - 2));
    assert_eq!(across.send(&world).await.done(206).body, b"aatail");
    let second = request("GET", "/bucket/k?partNumber=2")
        .send(&world)
        .await
        .done(206);
    assert_eq!(second.body, b"tail");
    assert_eq!(second.header("x-amz-mp-parts-count"), Some("2"));
    request("GET", "/bucket/k?partNumber=3")
        .send(&world)
        .await
        .refused(416, "InvalidPartNumber")
        .says("ActualPartCount", "2");
    let ask =
        request("GET", "/bucket/k?attributes").header("x-amz-object-attributes", "ObjectParts");
    ask.send(&world)
        .await
        .done(200)
        .says("PartsCount", "2")
        .says("Size", &PART_BYTES.to_string());
}

#[tokio::test]
async fn a_completion_that_does_not_fit_is_refused_and_can_be_put_right() {
    let world = world().await;
    let upload = begin(&world).await;
    let one = part(&world, &upload, 1, vec![b'a'; 10]).await;
    let two = part(&world, &upload, 2, vec![b'b'; 10]).await;
    let wrong = "\"00000000000000000000000000000000\"";
    complete(&world, &upload, &[(2, &two), (1, &one)])
        .await
        .refused(400, "InvalidPartOrder");
    complete(&world, &upload, &[(1, &one), (1, &one)])
        .await
        .refused(400, "InvalidPartOrder");
    complete(&world, &upload, &[(1, wrong)])
        .await
        .refused(400, "InvalidPart")
        .says("PartNumber", "1");
    complete(&world, &upload, &[(1, "nonsense")])
        .await
        .refused(400, "InvalidPart");
    complete(&world, &upload, &[(3, &one)])
        .await
        .refused(400, "InvalidPart")
        .says("PartNumber", "3");
    complete(&world, &upload, &[(1, &one), (2, &two)])
        .await
        .refused(400, "EntityTooSmall")
        .says("PartNumber", "1")
        .says("ProposedSize", "10")
        .says("MinSizeAllowed", "5242880");
    complete(&world, &upload, &[])
        .await
        .refused(400, "MalformedXML");
    complete(&world, &upload, &[(0, &one)])
        .await
        .refused(400, "InvalidArgument");
    request("POST", &format!("/bucket/k?uploadId={upload}"))
        .body("<Nonsense/>")
        .send(&world)
        .await
        .refused(400, "MalformedXML");
    request("GET", "/bucket/k")
        .send(&world)
        .await
        .refused(404, "NoSuchKey");
    complete(&world, &upload, &[(2, &two)]).await.done(200);
    complete(&world, &upload[..31], &[(1, &one)])
        .await
        .refused(404, "NoSuchUpload");
}

#[tokio::test]
async fn numbers_and_uploads_that_are_none_are_refused() {
    let world = world().await;
    let upload = begin(&world).await;
    for number in ["0", "10001", "-1", "x", ""] {
        request(
            "PUT",
            &format!("/bucket/k?partNumber={number}&uploadId={upload}"),
        )
        .body("x")
        .send(&world)
        .await
        .refused(400, "InvalidArgument")
        .says("ArgumentName", "partNumber")
        .says("ArgumentValue", number);
    }
    let absent = "A".repeat(32);
    for (method, target) in [
        ("PUT", format!("/bucket/k?partNumber=1&uploadId={absent}")),
        ("GET", format!("/bucket/k?uploadId={absent}")),
        ("DELETE", format!("/bucket/k?uploadId={absent}")),
        ("DELETE", "/bucket/k?uploadId=nonsense".into()),
    ] {
        request(method, &target)
            .send(&world)
            .await
            .refused(404, "NoSuchUpload");
    }
    request("DELETE", &format!("/bucket/k?uploadId={upload}"))
        .send(&world)
        .await
        .done(204);
    request("GET", &format!("/bucket/k?uploadId={upload}"))
        .send(&world)
        .await
        .refused(404, "NoSuchUpload")
        .says("UploadId", &upload);
    request("POST", "/absent/k?uploads")
        .send(&world)
        .await
        .refused(404, "NoSuchBucket");
}

#[tokio::test]
async fn parts_are_copied_from_ranges_of_other_objects() {
    let world = world().await;
    request("PUT", "/bucket/source")
        .body("0123456789")
        .send(&world)
        .await
        .done(200);
    let upload = begin(&world).await;
    let copy = |range: &str| {
        request("PUT", &format!("/bucket/k?partNumber=1&uploadId={upload}"))
            .header("x-amz-copy-source", "bucket/source")
            .header("x-amz-copy-source-range", range)
    };
    for bad in ["bytes=2-", "2-5", "bytes=5-2"] {
        copy(bad).send(&world).await.refused(400, "InvalidArgument");
    }
    let beyond = copy("bytes=5-99").send(&world).await;
    assert!(
        beyond.status == 400 || beyond.status == 416,
        "{}",
        beyond.text()
    );
    let copied = copy("bytes=2-5").send(&world).await.done(200);
    let etag = copied.element("ETag").unwrap().replace("&quot;", "\"");
    complete(&world, &upload, &[(1, &etag)]).await.done(200);
    let get = request("GET", "/bucket/k").send(&world).await.done(200);
    assert_eq!(get.body, b"2345");
}

#[tokio::test]
async fn checksums_of_parts_and_of_the_whole_are_checked() {
    let world = world().await;
    let create = |algorithm: &str, kind: &str| {
        let create =
            request("POST", "/bucket/k?uploads").header("x-amz-checksum-algorithm", algorithm);
        if kind.is_empty() {
            create
        } else {
            create.header("x-amz-checksum-type", kind)
        }
    };
    create("MD4", "")
        .send(&world)
        .await
        .refused(400, "InvalidRequest");
    create("CRC64NVME", "COMPOSITE")
        .send(&world)
        .await
        .refused(400, "InvalidRequest");
    create("SHA256", "FULL_OBJECT")
        .send(&world)
        .await
        .refused(400, "InvalidRequest");
    create("CRC32", "NONSENSE")
        .send(&world)
        .await
        .refused(400, "InvalidRequest");
    let alone = request("POST", "/bucket/k?uploads").header("x-amz-checksum-type", "COMPOSITE");
    alone.send(&world).await.refused(400, "InvalidRequest");
    let created = create("CRC32", "FULL_OBJECT").send(&world).await.done(200);
    assert_eq!(created.header("x-amz-checksum-algorithm"), Some("CRC32"));
    assert_eq!(created.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
    let upload = created.element("UploadId").unwrap();
    let put = |checksum: &str| {
        request("PUT", &format!("/bucket/k?partNumber=1&uploadId={upload}"))
            .header("x-amz-checksum-crc32", checksum)
            .body("123456789")
    };
    put("AAAAAA==").send(&world).await.refused(400, "BadDigest");
    let part = put("y/Q5Jg==").send(&world).await.done(200);
    let etag = part.header("etag").unwrap();
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag><ChecksumCRC32>y/Q5Jg==</ChecksumCRC32></Part></CompleteMultipartUpload>"
    );
    let finish = || request("POST", &format!("/bucket/k?uploadId={upload}")).body(document.clone());
    finish()
        .header("x-amz-checksum-crc32", "AAAAAA==")
        .send(&world)
        .await
        .refused(400, "BadDigest");
    finish()
        .header("x-amz-mp-object-size", "8")
        .send(&world)
        .await
        .refused(400, "InvalidRequest");
    let done = finish()
        .header("x-amz-checksum-crc32", "y/Q5Jg==")
        .header("x-amz-checksum-type", "FULL_OBJECT")
        .header("x-amz-mp-object-size", "9")
        .send(&world)
        .await
        .done(200);
    done.says("ChecksumCRC32", "y/Q5Jg==")
        .says("ChecksumType", "FULL_OBJECT");
}
