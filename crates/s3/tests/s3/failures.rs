//! What the service stands on fails, and what is counted.

use metrics_exporter_prometheus::PrometheusBuilder;
use strongroom_audit::LogFault;

use crate::client::request;
use crate::world::World;

const KEY: &[u8; 32] = b"a key whose use must be recorded";

#[tokio::test]
async fn no_key_is_used_that_the_log_does_not_take() {
    let world = World::new().await;
    request("PUT", "/bucket").send(&world).await.done(200);
    let put = |target: &str| request("PUT", target).customer_key(KEY).body("text");
    put("/bucket/k").send(&world).await.done(200);
    world.log_faults.fail_after(0, LogFault::Full);
    let get = || request("GET", "/bucket/k").customer_key(KEY);
    get().send(&world).await.refused(503, "ServiceUnavailable");
    request("HEAD", "/bucket/k")
        .customer_key(KEY)
        .send(&world)
        .await
        .done(503);
    put("/bucket/new")
        .send(&world)
        .await
        .refused(503, "ServiceUnavailable");
    let malformed = request("PUT", "/bucket/new")
        .header("x-amz-server-side-encryption-customer-algorithm", "AES256")
        .body("text");
    malformed
        .send(&world)
        .await
        .refused(503, "ServiceUnavailable");
    world.log_faults.recover();
    assert_eq!(get().send(&world).await.done(200).body, b"text");
    request("GET", "/bucket/new")
        .send(&world)
        .await
        .refused(404, "NoSuchKey");
}

/// The requests run on the thread of the test, where the recorder is.
#[tokio::test(flavor = "current_thread")]
async fn requests_and_refusals_are_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _here = metrics::set_default_local_recorder(&recorder);
    let world = World::new().await;
    request("PUT", "/bucket").send(&world).await.done(200);
    for _ in 0..2 {
        request("GET", "/bucket/k")
            .send(&world)
            .await
            .refused(404, "NoSuchKey");
    }
    request("GET", "/bucket?acl")
        .send(&world)
        .await
        .refused(501, "NotImplemented");
    let told = handle.render();
    for line in [
        "strongroom_requests_total{operation=\"CreateBucket\",status=\"200\"} 1",
        "strongroom_requests_total{operation=\"GetObject\",status=\"404\"} 2",
        "strongroom_requests_total{operation=\"None\",status=\"501\"} 1",
        "strongroom_refusals_total{code=\"NoSuchKey\"} 2",
        "strongroom_refusals_total{code=\"NotImplemented\"} 1",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    assert!(told.contains("strongroom_request_duration_seconds"));
}
