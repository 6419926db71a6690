//! Versions and delete markers.

use crate::client::request;
use crate::world::World;

async fn world() -> World {
    let world = World::new().await;
    request("PUT", "/bucket").send(&world).await.done(200);
    let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    request("PUT", "/bucket?versioning")
        .body(on)
        .send(&world)
        .await
        .done(200);
    world
}

#[tokio::test]
async fn every_write_is_a_version_and_a_delete_leaves_a_marker() {
    let world = world().await;
    let mut versions = Vec::new();
    for text in ["one", "two"] {
        let put = request("PUT", "/bucket/k")
            .body(text)
            .send(&world)
            .await
            .done(200);
        versions.push(put.header("x-amz-version-id").unwrap().to_owned());
    }
    let old = request("GET", &format!("/bucket/k?versionId={}", versions[0]))
        .send(&world)
        .await
        .done(200);
    assert_eq!(old.body, b"one");
    let deleted = request("DELETE", "/bucket/k").send(&world).await.done(204);
    assert_eq!(deleted.header("x-amz-delete-marker"), Some("true"));
    let marker = deleted.header("x-amz-version-id").unwrap().to_owned();
    let gone = request("GET", "/bucket/k")
        .send(&world)
        .await
        .refused(404, "NoSuchKey");
    assert_eq!(gone.header("x-amz-delete-marker"), Some("true"));
    assert_eq!(gone.header("x-amz-version-id"), Some(marker.as_str()));
    let by_name = request("GET", &format!("/bucket/k?versionId={marker}"))
        .send(&world)
        .await;
    let by_name = by_name
        .refused(405, "MethodNotAllowed")
        .says("ResourceType", "DeleteMarker")
        .says("Method", "GET");
    assert_eq!(by_name.header("allow"), Some("DELETE"));

    let list = request("GET", "/bucket?versions")
        .send(&world)
        .await
        .done(200)
        .text();
    assert_eq!(
        (
            list.matches("<Version>").count(),
            list.matches("<DeleteMarker>").count()
        ),
        (2, 1)
    );
    assert!(list.contains(&format!(
        "<DeleteMarker><Key>k</Key><VersionId>{marker}</VersionId><IsLatest>true</IsLatest>"
    )));
    let page = request("GET", "/bucket?versions&max-keys=1")
        .send(&world)
        .await
        .done(200);
    page.clone()
        .says("IsTruncated", "true")
        .says("NextKeyMarker", "k")
        .says("NextVersionIdMarker", &marker);
    let next = request(
        "GET",
        &format!("/bucket?versions&key-marker=k&version-id-marker={marker}"),
    )
    .send(&world)
    .await
    .done(200);
    assert_eq!(next.text().matches("<Version>").count(), 2);
    request("GET", "/bucket?versions&version-id-marker=x")
        .send(&world)
        .await
        .refused(400, "InvalidArgument");
    request("GET", "/bucket?versions&key-marker=k&version-id-marker=x")
        .send(&world)
        .await
        .refused(400, "InvalidArgument");

    let undone = request("DELETE", &format!("/bucket/k?versionId={marker}"))
        .send(&world)
        .await
        .done(204);
    assert_eq!(undone.header("x-amz-delete-marker"), Some("true"));
    let get = request("GET", "/bucket/k").send(&world).await.done(200);
    assert_eq!(get.body, b"two");
    request("DELETE", &format!("/bucket/k?versionId={}", versions[1]))
        .send(&world)
        .await
        .done(204);
    let get = request("GET", "/bucket/k").send(&world).await.done(200);
    assert_eq!(get.body, b"one");
    request("GET", &format!("/bucket/k?versionId={}", versions[1]))
        .send(&world)
        .await
        .refused(404, "NoSuchVersion")
        .says("VersionId", &versions[1])
        .says("Key", "k");
    request("GET", "/bucket/k?versionId=nonsense")
        .send(&world)
        .await
        .refused(400, "InvalidArgument")
        .says("ArgumentName", "versionId")
        .says("ArgumentValue", "nonsense");
}

#[tokio::test]
async fn each_version_has_its_own_key() {
    let world = world().await;
    let keys = [
        b"the first key of 32 bytes.......",
        b"the second key of 32 bytes......",
    ];
    let mut versions = Vec::new();
    for key in keys {
        let put = request("PUT", "/bucket/k")
            .customer_key(key)
            .body(&key[..10])
            .send(&world)
            .await
            .done(200);
        versions.push(put.header("x-amz-version-id").unwrap().to_owned());
    }
    for (of, version) in versions.iter().enumerate() {
        for (with, key) in keys.iter().enumerate() {
            let get = request("GET", &format!("/bucket/k?versionId={version}"))
                .customer_key(key)
                .send(&world)
                .await;
            if of == with {
                assert_eq!(get.done(200).body, &key[..10]);
            } else {
                get.refused(403, "AccessDenied");
            }
        }
    }
}
