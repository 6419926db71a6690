//! What happens on the connection itself.

use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::request;
use crate::world::World;

#[tokio::test]
async fn a_client_that_waits_to_be_told_is_refused_before_it_sends() {
    let world = World::new().await;
    let signed = request("PUT", "/absent/k")
        .unsigned_header("expect", "100-continue")
        .content_length("1000000")
        .sign(&world);
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(&signed).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn a_refusal_is_read_also_when_the_body_is_still_on_its_way() {
    let world = World::new().await;
    for _ in 0..20 {
        let refused = request("PUT", "/absent/k")
            .body(vec![b'x'; 600_000])
            .send(&world)
            .await;
        refused.refused(404, "NoSuchBucket");
    }
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let world = World::new().await;
    request("PUT", "/bucket").send(&world).await.done(200);
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    for (method, target, status) in [
        ("PUT", "/bucket/k", "200"),
        ("PUT", "/absent/k", "404"),
        ("PUT", "/bucket/k", "200"),
    ] {
        let signed = request(method, target).body("text").sign(&world);
        let signed = String::from_utf8(signed)
            .unwrap()
            .replace("connection: close\r\n", "");
        stream.write_all(signed.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.contains("\r\n\r\n")
            || answer.contains("<Error>") && !answer.contains("</Error>")
        {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the connection stays open");
            answer.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() {
    let world = World::new().await;
    request("PUT", "/bucket").send(&world).await.done(200);
    let signed = request("PUT", "/bucket/k")
        .body("half")
        .payload("UNSIGNED-PAYLOAD")
        .content_length("8")
        .sign(&world);
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(&signed).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    request("GET", "/bucket/k")
        .send(&world)
        .await
        .refused(404, "NoSuchKey");
}

#[tokio::test]
async fn a_request_over_http_2_is_signed_for_its_authority() {
    let world = World::new().await;
    request("PUT", "/bucket").send(&world).await.done(200);
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    for (host, status) in [("localhost", 404), ("elsewhere", 403)] {
        let signed = String::from_utf8(request("GET", "/bucket/k").sign(&world)).unwrap();
        let mut built = hyper::Request::get(format!("http://{host}/bucket/k"));
        for line in signed.lines().skip(1).take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap();
            if name.starts_with("x-amz-") || name == "authorization" {
                built = built.header(name, value);
            }
        }
        let body = http_body_util::Empty::<bytes::Bytes>::new();
        let answer = sender
            .send_request(built.body(body).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), status, "{host}");
    }
}
