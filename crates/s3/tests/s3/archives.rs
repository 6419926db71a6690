//! Archived objects and their way back.

use std::time::Duration;

use crate::client::{Request, request};
use crate::world::World;

const KEY: &[u8; 32] = b"the key of what is archived.....";
const TEXT: &[u8] = b"bytes on their way to the cold";

async fn world() -> World {
    let world = World::new().await;
    request("PUT", "/bucket").send(&world).await.done(200);
    world
}

fn restore(days: u32, tier: &str) -> Request {
    request("POST", "/bucket/k?restore").body(format!(
        "<RestoreRequest><Days>{days}</Days><GlacierJobParameters><Tier>{tier}</Tier></GlacierJobParameters></RestoreRequest>"
    ))
}

async fn pass(world: &World, hours: u64) {
    world.clock.advance(Duration::from_secs(hours * 3600));
    // What one run begins the next one finds done.
    for _ in 0..3 {
        world.lifecycle.run_once().await.expect("a run");
    }
}

#[tokio::test]
async fn an_archived_object_is_refused_restored_read_and_gone_again() {
    let world = world().await;
    let put = request("PUT", "/bucket/k")
        .header("x-amz-storage-class", "GLACIER")
        .customer_key(KEY)
        .body(TEXT);
    put.send(&world).await.done(200);
    pass(&world, 1).await;
    let get = || request("GET", "/bucket/k").customer_key(KEY);
    let head = || request("HEAD", "/bucket/k").customer_key(KEY);
    get()
        .send(&world)
        .await
        .refused(403, "InvalidObjectState")
        .says(
            "Message",
            "The operation is not valid for the object&apos;s storage class",
        )
        .says("StorageClass", "GLACIER");
    let told = head().send(&world).await.done(200);
    assert_eq!(
        (
            told.header("x-amz-storage-class"),
            told.header("x-amz-restore")
        ),
        (Some("GLACIER"), None)
    );
    let copy = request("PUT", "/bucket/copy")
        .header("x-amz-copy-source", "bucket/k")
        .source_key(KEY);
    copy.send(&world)
        .await
        .refused(403, "ObjectNotInActiveTierError");

    let begun = restore(1, "Standard").send(&world).await.done(202);
    assert!(begun.body.is_empty());
    let told = head().send(&world).await.done(200);
    assert_eq!(
        told.header("x-amz-restore"),
        Some("ongoing-request=\"true\"")
    );
    restore(1, "Standard")
        .send(&world)
        .await
        .refused(409, "RestoreAlreadyInProgress");
    get().send(&world).await.refused(403, "InvalidObjectState");
    let listed = request("GET", "/bucket?list-type=2")
        .header("x-amz-optional-object-attributes", "RestoreStatus");
    listed
        .send(&world)
        .await
        .done(200)
        .says("IsRestoreInProgress", "true");

    pass(&world, 12).await;
    assert_eq!(get().send(&world).await.done(200).body, TEXT);
    let told = head().send(&world).await.done(200);
    let restored = told.header("x-amz-restore").unwrap();
    assert!(
        restored.starts_with("ongoing-request=\"false\", expiry-date=\"")
            && restored.ends_with(" 00:00:00 GMT\""),
        "{restored}"
    );
    assert_eq!(told.header("x-amz-storage-class"), Some("GLACIER"));
    restore(2, "Standard").send(&world).await.done(200);

    pass(&world, 24 * 5).await;
    get().send(&world).await.refused(403, "InvalidObjectState");
    assert_eq!(
        head().send(&world).await.done(200).header("x-amz-restore"),
        None
    );
}

#[tokio::test]
async fn an_archived_object_is_rekeyed_where_it_lies() {
    let world = world().await;
    let other = b"another key of what is archived.";
    request("PUT", "/bucket/k")
        .header("x-amz-storage-class", "DEEP_ARCHIVE")
        .customer_key(KEY)
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    pass(&world, 1).await;
    let copy = request("PUT", "/bucket/k")
        .header("x-amz-copy-source", "bucket/k")
        .header("x-amz-storage-class", "DEEP_ARCHIVE");
    copy.source_key(KEY)
        .customer_key(other)
        .send(&world)
        .await
        .done(200);
    restore(1, "Bulk").send(&world).await.done(202);
    pass(&world, 49).await;
    request("GET", "/bucket/k")
        .customer_key(KEY)
        .send(&world)
        .await
        .refused(403, "AccessDenied");
    let get = request("GET", "/bucket/k")
        .customer_key(other)
        .send(&world)
        .await
        .done(200);
    assert_eq!(get.body, TEXT);
}

#[tokio::test]
async fn a_restore_that_cannot_be_is_refused() {
    let world = world().await;
    request("PUT", "/bucket/k")
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    restore(1, "Standard")
        .send(&world)
        .await
        .refused(403, "InvalidObjectState")
        .says("StorageClass", "STANDARD");
    request("PUT", "/bucket/k")
        .header("x-amz-storage-class", "DEEP_ARCHIVE")
        .body(TEXT)
        .send(&world)
        .await
        .done(200);
    pass(&world, 1).await;
    restore(1, "Expedited")
        .send(&world)
        .await
        .refused(400, "InvalidArgument");
    restore(0, "Standard")
        .send(&world)
        .await
        .refused(400, "InvalidArgument")
        .says("Message", "restoration days should be at least 1");
    restore(1, "Soon")
        .send(&world)
        .await
        .refused(400, "MalformedXML");
    request("POST", "/bucket/k?restore")
        .send(&world)
        .await
        .refused(400, "MissingRequestBodyError");
    request("POST", "/bucket/k?restore")
        .body("<RestoreRequest/>")
        .send(&world)
        .await
        .refused(400, "MalformedXML");
    request("POST", "/bucket/absent?restore")
        .body("<RestoreRequest><Days>1</Days></RestoreRequest>")
        .send(&world)
        .await
        .refused(404, "NoSuchKey")
        .says("Key", "absent");
    request("PUT", "/bucket/k")
        .header("x-amz-storage-class", "COLD")
        .body(TEXT)
        .send(&world)
        .await
        .refused(400, "InvalidStorageClass")
        .says("StorageClassRequested", "COLD");
}
