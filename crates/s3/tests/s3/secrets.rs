//! What must never be in a log.

use std::io::Write;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::client::request;
use crate::world::World;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .expect("nobody panics with it")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Every kind of request that carries a key goes through with everything logged that anybody
/// logs; then neither key, nor plaintext, nor the secret of the user is found in it.
#[tokio::test(flavor = "current_thread")]
async fn no_key_secret_or_plaintext_is_logged_even_at_trace() {
    let captured = Captured::default();
    let subscriber = tracing_subscriber::registry().with(
        tracing_subscriber::fmt::layer()
            .with_writer(captured.clone())
            .with_ansi(false),
    );
    tracing::subscriber::set_global_default(subscriber)
        .expect("the one subscriber of this process");
    // The finest level that a release is built with.
    tracing::debug!("the capture works");

    let one = b"key one, searched for in the log";
    let two = b"key two, searched for in the log";
    let text = b"plaintext that is searched for in the log";
    let world = World::new().await;
    request("PUT", "/bucket").send(&world).await.done(200);
    request("PUT", "/bucket/k")
        .customer_key(one)
        .body(text)
        .send(&world)
        .await
        .done(200);
    for key in [one, two] {
        request("GET", "/bucket/k")
            .customer_key(key)
            .send(&world)
            .await;
        request("HEAD", "/bucket/k")
            .customer_key(key)
            .send(&world)
            .await;
        request("PUT", "/bucket/k2")
            .header("x-amz-copy-source", "bucket/k")
            .source_key(key)
            .customer_key(two)
            .send(&world)
            .await;
    }
    let upload = request("POST", "/bucket/m?uploads")
        .customer_key(one)
        .send(&world)
        .await
        .element("UploadId")
        .unwrap();
    request("PUT", &format!("/bucket/m?partNumber=1&uploadId={upload}"))
        .customer_key(one)
        .body(text)
        .send(&world)
        .await
        .done(200);
    // Refused in every place where it can be: by signature, by form, by bucket.
    let mut wrong = world.admin.clone();
    wrong.secret.push('x');
    request("GET", "/bucket/k")
        .customer_key(one)
        .by(&wrong)
        .send(&world)
        .await
        .done(403);
    request("GET", "/bucket/k")
        .customer_key(one)
        .header("x-amz-tagging", "a")
        .send(&world)
        .await
        .done(501);
    let key = "x-amz-server-side-encryption-customer-key";
    request("GET", "/bucket/k")
        .unsigned_header(key, BASE64.encode(one))
        .send(&world)
        .await
        .done(403);
    request("PUT", "/absent/k")
        .customer_key(one)
        .body(text)
        .send(&world)
        .await
        .done(404);
    request("GET", "/bucket/k")
        .customer_key(one)
        .send_presigned(&world, 60)
        .await
        .done(200);

    let log = String::from_utf8_lossy(&captured.0.lock().unwrap()).into_owned();
    assert!(
        log.contains("the capture works") && log.contains("answered"),
        "something was logged"
    );
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    for secret in [&one[..], two, text, world.admin.secret.as_bytes()] {
        let raw = String::from_utf8_lossy(secret).into_owned();
        let debug = format!("{secret:?}");
        for form in [raw, BASE64.encode(secret), hex(secret), debug] {
            if let Some(at) = log.find(&form) {
                panic!(
                    "{form} is logged: …{}",
                    &log[at.saturating_sub(300)..at + form.len()]
                );
            }
        }
    }
    assert!(
        !log.contains("Signature=") && !log.contains("AWS4-HMAC-SHA256"),
        "no proof is logged"
    );
}
