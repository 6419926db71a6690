//! Buckets and their configuration.

use crate::client::request;
use crate::world::{Ways, World};

#[tokio::test]
async fn a_bucket_is_made_listed_and_deleted() {
    let world = World::new().await;
    let made = request("PUT", "/bucket").send(&world).await.done(200);
    assert_eq!(made.header("location"), Some("/bucket"));
    // AWS says in its first region that it has been done.
    request("PUT", "/bucket").send(&world).await.done(200);
    request("PUT", "/another").send(&world).await.done(200);
    let head = request("HEAD", "/bucket").send(&world).await.done(200);
    assert_eq!(head.header("x-amz-bucket-region"), Some("us-east-1"));
    let list = request("GET", "/").send(&world).await.done(200);
    assert!(
        list.text().contains("<Name>another</Name>") && list.text().contains("<Name>bucket</Name>")
    );
    let page = request("GET", "/?max-buckets=1")
        .send(&world)
        .await
        .done(200);
    let token = page.element("ContinuationToken").unwrap();
    assert!(!page.text().contains("<Name>bucket</Name>"));
    let rest = request("GET", &format!("/?continuation-token={token}"))
        .send(&world)
        .await
        .done(200);
    assert!(rest.text().contains("<Name>bucket</Name>") && !rest.text().contains("another"));
    request("GET", "/?continuation-token=nonsense")
        .send(&world)
        .await
        .refused(400, "InvalidArgument");
    let location = request("GET", "/bucket?location")
        .send(&world)
        .await
        .done(200);
    assert!(
        location
            .text()
            .ends_with("doc/2006-03-01/\"></LocationConstraint>"),
        "{}",
        location.text()
    );
    request("PUT", "/bucket/k")
        .body("x")
        .send(&world)
        .await
        .done(200);
    request("DELETE", "/bucket")
        .send(&world)
        .await
        .refused(409, "BucketNotEmpty")
        .says("BucketName", "bucket");
    request("DELETE", "/bucket/k").send(&world).await.done(204);
    request("DELETE", "/bucket").send(&world).await.done(204);
    request("HEAD", "/bucket").send(&world).await.done(404);
    request("DELETE", "/bucket")
        .send(&world)
        .await
        .refused(404, "NoSuchBucket")
        .says("BucketName", "bucket");
}

#[tokio::test]
async fn a_bucket_is_where_the_service_is() {
    let elsewhere = Ways {
        region: "eu-test-1",
        ..Ways::default()
    };
    let world = World::with(elsewhere, "127.0.0.1:0").await;
    let create = |constraint: &str| {
        request("PUT", "/bucket").body(format!(
            "<CreateBucketConfiguration><LocationConstraint>{constraint}</LocationConstraint></CreateBucketConfiguration>"
        ))
    };
    request("PUT", "/bucket")
        .send(&world)
        .await
        .refused(400, "IllegalLocationConstraintException");
    create("eu-other-1")
        .send(&world)
        .await
        .refused(400, "IllegalLocationConstraintException");
    create("us-east-1")
        .send(&world)
        .await
        .refused(400, "InvalidLocationConstraint");
    create("eu-test-1").send(&world).await.done(200);
    create("eu-test-1")
        .send(&world)
        .await
        .refused(409, "BucketAlreadyOwnedByYou");
    let location = request("GET", "/bucket?location")
        .send(&world)
        .await
        .done(200);
    assert!(location.text().contains(">eu-test-1</LocationConstraint>"));
}

#[tokio::test]
async fn names_that_are_none_are_refused() {
    let world = World::new().await;
    for name in [
        "ab",
        "Upper",
        "under_score",
        "192.168.0.1",
        "a..b",
        "xn--a",
        "-a-",
    ] {
        for method in ["PUT", "GET"] {
            let refused = request(method, &format!("/{name}")).send(&world).await;
            refused
                .refused(400, "InvalidBucketName")
                .says("BucketName", name);
        }
    }
    request("PUT", "/bucket").send(&world).await.done(200);
    let long = "k".repeat(1025);
    for method in ["PUT", "GET", "DELETE"] {
        let refused = request(method, &format!("/bucket/{long}"))
            .send(&world)
            .await;
        refused
            .refused(400, "KeyTooLongError")
            .says("Size", "1025")
            .says("MaxSizeAllowed", "1024");
    }
    request("PUT", &format!("/bucket/{}", &long[..1024]))
        .body("x")
        .send(&world)
        .await
        .done(200);
}

#[tokio::test]
async fn versioning_is_turned_on_and_suspended() {
    let world = World::new().await;
    request("PUT", "/bucket").send(&world).await.done(200);
    let put = |inner: &str| {
        request("PUT", "/bucket?versioning").body(format!(
            "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</VersioningConfiguration>"
        ))
    };
    let before = request("GET", "/bucket?versioning")
        .send(&world)
        .await
        .done(200);
    assert_eq!(before.element("Status"), None);
    for status in ["Enabled", "Suspended"] {
        put(&format!("<Status>{status}</Status>"))
            .send(&world)
            .await
            .done(200);
        let now = request("GET", "/bucket?versioning")
            .send(&world)
            .await
            .done(200);
        now.says("Status", status);
    }
    put("")
        .send(&world)
        .await
        .refused(400, "IllegalVersioningConfigurationException");
    put("<Status>On</Status>")
        .send(&world)
        .await
        .refused(400, "MalformedXML");
    put("<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>")
        .send(&world)
        .await
        .refused(501, "NotImplemented");
    request("PUT", "/absent?versioning")
        .body("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
        .send(&world)
        .await
        .refused(404, "NoSuchBucket");
}

#[tokio::test]
async fn lifecycle_rules_are_kept_as_they_were_put_and_told_of() {
    let world = World::new().await;
    request("PUT", "/bucket").send(&world).await.done(200);
    let put = |rules: &str| {
        request("PUT", "/bucket?lifecycle").body(format!(
            "<LifecycleConfiguration>{rules}</LifecycleConfiguration>"
        ))
    };
    request("GET", "/bucket?lifecycle")
        .send(&world)
        .await
        .refused(404, "NoSuchLifecycleConfiguration")
        .says("BucketName", "bucket");
    let rule = "<Rule><ID>old</ID><Status>Enabled</Status><Filter><Prefix>logs/</Prefix></Filter>\
                <Transition><Days>30</Days><StorageClass>GLACIER</StorageClass></Transition>\
                <Expiration><Days>365</Days></Expiration></Rule>";
    let kept = put(rule).send(&world).await.done(200);
    let minimum = "x-amz-transition-default-minimum-object-size";
    assert_eq!(kept.header(minimum), Some("all_storage_classes_128K"));
    let read = request("GET", "/bucket?lifecycle")
        .send(&world)
        .await
        .done(200);
    assert!(
        read.text().contains(
            "<Transition><Days>30</Days><StorageClass>GLACIER</StorageClass></Transition>"
        )
    );
    assert_eq!(read.header(minimum), Some("all_storage_classes_128K"));
    let told = request("PUT", "/bucket/logs/1")
        .body("x")
        .send(&world)
        .await
        .done(200);
    assert!(
        told.header("x-amz-expiration")
            .unwrap()
            .contains("rule-id=\"old\"")
    );
    for method in ["GET", "HEAD"] {
        let told = request(method, "/bucket/logs/1")
            .send(&world)
            .await
            .done(200);
        assert!(
            told.header("x-amz-expiration")
                .unwrap()
                .starts_with("expiry-date=\"")
        );
    }
    let other = request("PUT", "/bucket/other")
        .body("x")
        .send(&world)
        .await
        .done(200);
    assert_eq!(other.header("x-amz-expiration"), None);
    for (bad, code, status) in [
        ("", "MalformedXML", 400),
        (
            "<Rule><ID>a</ID><Status>Enabled</Status></Rule>",
            "MalformedXML",
            400,
        ),
        (
            "<Rule><ID>a</ID><Status>Enabled</Status><Filter/><Expiration><Days>0</Days></Expiration></Rule>",
            "InvalidArgument",
            400,
        ),
        (
            "<Rule><ID>a</ID><Status>Enabled</Status><Filter/><Expiration><Date>2026-01-01T10:00:00Z</Date></Expiration></Rule>",
            "InvalidArgument",
            400,
        ),
        (
            "<Rule><ID>a</ID><Status>Enabled</Status><Filter/><Unknown/></Rule>",
            "MalformedXML",
            400,
        ),
    ] {
        put(bad).send(&world).await.refused(status, code);
    }
    put(rule)
        .header(minimum, "nonsense")
        .send(&world)
        .await
        .refused(400, "InvalidRequest");
    request("DELETE", "/bucket?lifecycle")
        .send(&world)
        .await
        .done(204);
    request("GET", "/bucket?lifecycle")
        .send(&world)
        .await
        .refused(404, "NoSuchLifecycleConfiguration");
}

#[tokio::test]
async fn a_bucket_is_found_by_its_host_name() {
    let ways = Ways {
        base_domain: Some("s3.test"),
        ..Ways::default()
    };
    let world = World::with(ways, "127.0.0.1:0").await;
    request("PUT", "/")
        .host("bucket.s3.test")
        .send(&world)
        .await
        .done(200);
    request("PUT", "/a/b")
        .host("bucket.s3.test")
        .body("x")
        .send(&world)
        .await
        .done(200);
    let get = request("GET", "/bucket/a/b")
        .host("s3.test")
        .send(&world)
        .await
        .done(200);
    assert_eq!(get.body, b"x");
    let list = request("GET", "/")
        .host("bucket.s3.test:9000")
        .send(&world)
        .await
        .done(200);
    list.says("Name", "bucket").says("Key", "a/b");
}
