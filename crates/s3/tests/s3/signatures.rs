//! Who may send what: signatures, presigned URLs, users, and the bodies that signatures speak of.

use std::time::Duration;

use strongroom_environment::{Clock as _, SystemClock};
use strongroom_keys::{Caller, Role};

use crate::client::{compact, exchange, request, sha256};
use crate::world::World;

async fn world() -> World {
    let world = World::new().await;
    request("PUT", "/bucket").send(&world).await.done(200);
    request("PUT", "/bucket/k")
        .body("text")
        .send(&world)
        .await
        .done(200);
    world
}

#[tokio::test]
async fn nobody_is_let_in_without_a_signature_of_a_user() {
    let world = world().await;
    request("GET", "/bucket/k")
        .send_unsigned(&world)
        .await
        .refused(403, "AccessDenied")
        .says("Message", "Access Denied");
    let mut stranger = world.admin.clone();
    stranger.id = "SRAKAAAAAAAAAAAAAAAA".into();
    let refused = request("GET", "/bucket/k")
        .by(&stranger)
        .send(&world)
        .await
        .refused(403, "InvalidAccessKeyId");
    refused.says("AWSAccessKeyId", "SRAKAAAAAAAAAAAAAAAA");
    stranger.id = "AKIAIOSFODNN7EXAMPLE".into();
    request("GET", "/bucket/k")
        .by(&stranger)
        .send(&world)
        .await
        .refused(403, "InvalidAccessKeyId");
    let mut wrong = world.admin.clone();
    wrong.secret.push('x');
    request("GET", "/bucket/k")
        .by(&wrong)
        .send(&world)
        .await
        .refused(403, "SignatureDoesNotMatch")
        .says("AWSAccessKeyId", &wrong.id);
    request("GET", "/bucket/k")
        .by(&wrong)
        .send_presigned(&world, 60)
        .await
        .refused(403, "SignatureDoesNotMatch");
    let v2 = request("GET", "/bucket/k").unsigned_header("authorization", "AWS SRAK:c2lnbmF0dXJl");
    v2.send_unsigned(&world).await.refused(400, "InvalidRequest").says(
        "Message",
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
    );
    request("GET", "/bucket/k?AWSAccessKeyId=a&Signature=b&Expires=1")
        .send_unsigned(&world)
        .await
        .refused(400, "InvalidRequest");
}

#[tokio::test]
async fn a_changed_request_does_not_match_its_signature() {
    let world = world().await;
    let good = String::from_utf8(request("GET", "/bucket/k?versionId=null").sign(&world)).unwrap();
    exchange(&world, good.clone().into_bytes()).await.done(200);
    for (from, to) in [
        ("GET ", "DELETE "),
        ("/bucket/k", "/bucket/other"),
        ("versionId=null", "versionId=nul"),
    ] {
        let bad = good.replacen(from, to, 1);
        exchange(&world, bad.into_bytes())
            .await
            .refused(403, "SignatureDoesNotMatch");
    }
}

#[tokio::test]
async fn users_are_disabled_and_auditors_look_at_no_object() {
    let world = world().await;
    let caller = Caller::daemon("test");
    let user = world.user("storage user", Role::User).await;
    request("GET", "/bucket/k")
        .by(&user)
        .send(&world)
        .await
        .done(200);
    world
        .keys
        .users
        .disable(&user.id.parse().unwrap(), &caller)
        .await
        .unwrap();
    request("GET", "/bucket/k")
        .by(&user)
        .send(&world)
        .await
        .refused(403, "InvalidAccessKeyId");
    let auditor = world.user("auditor", Role::Auditor).await;
    for (method, target) in [
        ("GET", "/bucket/k"),
        ("GET", "/"),
        ("PUT", "/bucket/new"),
        ("DELETE", "/bucket/k"),
    ] {
        request(method, target)
            .by(&auditor)
            .send(&world)
            .await
            .refused(403, "AccessDenied");
    }
}

#[tokio::test]
async fn region_time_and_service_of_a_signature_are_checked() {
    let world = world().await;
    request("GET", "/bucket/k")
        .in_region("eu-1")
        .send(&world)
        .await
        .refused(400, "AuthorizationHeaderMalformed")
        .says("Region", "us-east-1")
        .says("Message", "The authorization header is malformed; the region &apos;eu-1&apos; is wrong; expecting &apos;us-east-1&apos;");
    request("GET", "/bucket/k")
        .in_region("eu-1")
        .send_presigned(&world, 60)
        .await
        .refused(400, "AuthorizationQueryParametersError")
        .says("Region", "us-east-1");
    let now = SystemClock::new().now();
    for wrong in [
        now - Duration::from_secs(1000),
        now + Duration::from_secs(1000),
    ] {
        request("GET", "/bucket/k")
            .at(wrong)
            .send(&world)
            .await
            .refused(403, "RequestTimeTooSkewed")
            .says("RequestTime", &compact(wrong))
            .says("MaxAllowedSkewMilliseconds", "900000");
    }
}

#[tokio::test]
async fn a_presigned_url_is_good_for_its_time_and_no_longer_than_a_week() {
    let world = world().await;
    let get = request("GET", "/bucket/k")
        .send_presigned(&world, 60)
        .await
        .done(200);
    assert_eq!(get.body, b"text");
    request("PUT", "/bucket/new")
        .body("new")
        .send_presigned(&world, 60)
        .await
        .done(200);
    request("GET", "/bucket/k")
        .send_presigned(&world, 604_801)
        .await
        .refused(400, "AuthorizationQueryParametersError");
    request("GET", "/bucket/k")
        .send_presigned(&world, -1)
        .await
        .refused(400, "AuthorizationQueryParametersError");
    let then = SystemClock::new().now() - Duration::from_secs(120);
    request("GET", "/bucket/k")
        .at(then)
        .send_presigned(&world, 60)
        .await
        .refused(403, "AccessDenied")
        .says("Message", "Request has expired")
        .says("X-Amz-Expires", "60");
}

#[tokio::test]
async fn whoever_holds_a_url_adds_no_header_that_means_something() {
    let world = world().await;
    for header in [
        "x-amz-server-side-encryption",
        "x-amz-copy-source",
        "x-amz-meta-a",
        "x-amz-acl",
        "x-amz-storage-class",
    ] {
        for reply in [
            request("PUT", "/bucket/k2")
                .unsigned_header(header, "x")
                .body("t")
                .send(&world)
                .await,
            request("PUT", "/bucket/k2")
                .unsigned_header(header, "x")
                .body("t")
                .send_presigned(&world, 60)
                .await,
        ] {
            reply
                .refused(403, "AccessDenied")
                .says(
                    "Message",
                    "There were headers present in the request which were not signed",
                )
                .says("HeadersNotSigned", header);
        }
    }
    request("GET", "/bucket/k2")
        .send(&world)
        .await
        .refused(404, "NoSuchKey");
}

#[tokio::test]
async fn headers_that_a_client_moved_into_the_url_count_as_headers() {
    let world = world().await;
    let put = request(
        "PUT",
        "/bucket/hoisted?x-amz-meta-color=red&x-amz-storage-class=STANDARD_IA",
    )
    .body("t");
    put.send_presigned(&world, 60).await.done(200);
    let head = request("HEAD", "/bucket/hoisted")
        .send(&world)
        .await
        .done(200);
    assert_eq!(head.header("x-amz-meta-color"), Some("red"));
    assert_eq!(head.header("x-amz-storage-class"), Some("STANDARD_IA"));
    let lock = request("PUT", "/bucket/hoisted?x-amz-object-lock-mode=COMPLIANCE").body("t");
    lock.send_presigned(&world, 60)
        .await
        .refused(501, "NotImplemented");
}

#[tokio::test]
async fn a_body_other_than_the_signed_one_leaves_nothing() {
    let world = world().await;
    let put = request("PUT", "/bucket/new")
        .body("what is sent")
        .payload(&sha256(b"what is signed"));
    put.send(&world)
        .await
        .refused(400, "XAmzContentSHA256Mismatch")
        .says("ClientComputedContentSHA256", &sha256(b"what is signed"))
        .says("S3ComputedContentSHA256", &sha256(b"what is sent"));
    request("GET", "/bucket/new")
        .send(&world)
        .await
        .refused(404, "NoSuchKey");
    let document = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let put = request("PUT", "/bucket?versioning")
        .body(document)
        .payload(&sha256(b"other"));
    put.send(&world)
        .await
        .refused(400, "XAmzContentSHA256Mismatch");
    request("PUT", "/bucket/new")
        .payload("nonsense")
        .send(&world)
        .await
        .refused(400, "InvalidArgument");
}

#[tokio::test]
async fn a_body_in_chunks_with_a_trailer_is_put_together_and_checked() {
    let world = world().await;
    let put = |body: &str, length: usize| {
        request("PUT", "/bucket/chunked")
            .payload("STREAMING-UNSIGNED-PAYLOAD-TRAILER")
            .header("x-amz-decoded-content-length", &length.to_string())
            .header("x-amz-trailer", "x-amz-checksum-crc32")
            .header("content-encoding", "aws-chunked")
            .body(body)
    };
    // The CRC-32 of 123456789 is the check value of its catalogue entry.
    let good = put(
        "5\r\n12345\r\n4\r\n6789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n",
        9,
    );
    let put_ = good.send(&world).await.done(200);
    assert_eq!(put_.header("x-amz-checksum-crc32"), Some("y/Q5Jg=="));
    let get = request("GET", "/bucket/chunked")
        .send(&world)
        .await
        .done(200);
    assert_eq!(get.body, b"123456789");
    assert_eq!(get.header("content-encoding"), None);
    for (body, length, status, code) in [
        (
            "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
            9,
            400,
            "BadDigest",
        ),
        (
            "9\r\n123456789\r\n0\r\n\r\n",
            9,
            400,
            "MalformedTrailerError",
        ),
        (
            "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:short\r\n\r\n",
            9,
            400,
            "MalformedTrailerError",
        ),
        (
            "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n",
            10,
            400,
            "IncompleteBody",
        ),
        (
            "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n",
            8,
            400,
            "IncompleteBody",
        ),
        ("9\r\n12345", 9, 400, "IncompleteBody"),
        ("nonsense\r\n", 9, 400, "InvalidRequest"),
    ] {
        put(body, length).send(&world).await.refused(status, code);
    }
    let get = request("GET", "/bucket/chunked")
        .send(&world)
        .await
        .done(200);
    assert_eq!(get.body, b"123456789", "no refused body has replaced it");
}
