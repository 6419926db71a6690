use futures::StreamExt as _;
use http_body_util::{BodyExt, Full, StreamBody};
use strongroom_sigv4::{AmzDate, CredentialScope, SigningKey};

use super::*;

async fn read(
    body: &'static [u8],
    payload: Payload,
) -> (Result<Vec<u8>, BodyError>, SharedTrailers) {
    let signatures = || {
        let scope = CredentialScope::parse("A/20130524/r/s3/aws4_request").unwrap();
        let date = AmzDate::parse("20130524T000000Z").unwrap();
        ChunkChain::new(
            SigningKey::derive("secret", &scope),
            date,
            "00".repeat(32).parse().unwrap(),
        )
    };
    let (mut body, trailers) =
        RequestBody::new(Full::new(Bytes::from_static(body)), payload, signatures);
    let mut content = Vec::new();
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => content.extend_from_slice(&piece),
            Err(error) => return (Err(error), trailers),
        }
    }
    (Ok(content), trailers)
}

fn fault(error: &BodyError) -> Option<&BodyFault> {
    match error {
        BodyError::Signature(source) | BodyError::Malformed(source) => source.downcast_ref(),
        _ => None,
    }
}

#[tokio::test]
async fn a_plain_body_is_what_it_is() {
    let (content, _) = read(b"hello", Payload::Unsigned).await;
    assert_eq!(content.unwrap(), b"hello");
}

#[tokio::test]
async fn a_body_with_another_digest_than_signed_is_refused_at_its_end() {
    let mut stated = [0; 32];
    stated.copy_from_slice(digest::digest(&digest::SHA256, b"hello").as_ref());
    let (content, _) = read(b"hello", Payload::Sha256(stated)).await;
    assert_eq!(content.unwrap(), b"hello");
    let (content, _) = read(b"hellO", Payload::Sha256(stated)).await;
    let error = content.unwrap_err();
    assert!(matches!(
        fault(&error),
        Some(BodyFault::Sha256 { stated: told, .. }) if *told == stated
    ));
}

#[tokio::test]
async fn trailers_are_there_when_the_body_has_ended() {
    let (content, trailers) = read(
        b"2\r\nhi\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
        Payload::UnsignedChunks,
    )
    .await;
    assert_eq!(content.unwrap(), b"hi");
    assert_eq!(
        trailers.get("x-amz-checksum-crc32").as_deref(),
        Some("AAAAAA==")
    );
    assert_eq!(trailers.get("x-amz-checksum-sha1"), None);
}

#[tokio::test]
async fn a_silent_client_is_given_up() {
    let silence = futures::stream::pending::<Result<http_body::Frame<Bytes>, std::io::Error>>();
    let body = BodyExt::boxed(StreamBody::new(silence));
    let (body, _) = RequestBody::new(body, Payload::Unsigned, || unreachable!());
    let mut body = body.with_silence_max(std::time::Duration::from_millis(20));
    assert!(matches!(body.next().await, Some(Err(BodyError::Timeout))));
    assert!(body.next().await.is_none());
}
