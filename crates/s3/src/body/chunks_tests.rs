use proptest::prelude::*;

use strongroom_sigv4::{AmzDate, CredentialScope, SigningKey};

use super::*;

/// The worked examples of the Amazon S3 API Reference: 65 KiB of the letter `a` in two chunks.
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const DATE: &str = "20130524T000000Z";
const CREDENTIAL: &str = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";

fn signer(seed: &str) -> ChunkChain {
    let scope = CredentialScope::parse(CREDENTIAL).unwrap();
    ChunkChain::new(
        SigningKey::derive(SECRET, &scope),
        AmzDate::parse(DATE).unwrap(),
        seed.parse().unwrap(),
    )
}

fn frame(size: usize, signature: Option<&str>) -> Vec<u8> {
    let extension = signature.map_or_else(String::new, |text| format!(";chunk-signature={text}"));
    [
        format!("{size:x}{extension}\r\n").as_bytes(),
        "a".repeat(size).as_bytes(),
        b"\r\n",
    ]
    .concat()
}

/// Decodes `body` in pieces of `step` bytes.
fn decode(
    mut decoder: ChunkDecoder,
    body: &[u8],
    step: usize,
) -> Result<(Vec<u8>, Trailers), BodyFault> {
    let mut content = Vec::new();
    for piece in body.chunks(step) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(piece) = decoder.take(&mut input)? {
            content.extend_from_slice(&piece);
        }
    }
    decoder.end().map(|trailers| (content, trailers))
}

fn signed_example() -> Vec<u8> {
    [
        frame(
            65536,
            Some("ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        ),
        frame(
            1024,
            Some("0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        ),
        frame(
            0,
            Some("b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        ),
    ]
    .concat()
}

const SEED: &str = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";

#[test]
fn the_signed_example_of_aws_is_read_however_it_is_cut() {
    for step in [1, 7, 1000, 100_000] {
        let decoder = ChunkDecoder::new(Some(signer(SEED)), false);
        let (content, trailers) = decode(decoder, &signed_example(), step).unwrap();
        assert_eq!(content.len(), 66_560);
        assert!(trailers.is_empty());
    }
}

#[test]
fn the_signed_example_with_a_trailer_is_read() {
    let seed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";
    let mut last = frame(
        0,
        Some("2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"),
    );
    last.truncate(last.len() - 2);
    let body = [
        frame(
            65536,
            Some("b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"),
        ),
        frame(
            1024,
            Some("1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"),
        ),
        last,
        b"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435".to_vec(),
    ]
    .concat();
    for end in ["", "\r\n", "\r\n\r\n"] {
        let body = [&body, end.as_bytes()].concat();
        let decoder = ChunkDecoder::new(Some(signer(seed)), true);
        let (_, trailers) = decode(decoder, &body, 4096).unwrap();
        assert_eq!(
            trailers,
            [("x-amz-checksum-crc32c".into(), "sOO8/Q==".into())]
        );
    }
}

#[test]
fn one_changed_byte_of_a_signed_body_is_noticed() {
    let good = signed_example();
    for at in [0, 20, 100, 40_000, 65_700, good.len() - 70, good.len() - 10] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let decoder = ChunkDecoder::new(Some(signer(SEED)), false);
        assert!(decode(decoder, &bad, 4096).is_err(), "byte {at}");
    }
    // The last chunk, which says that nothing comes any more, is signed too.
    let cut = &good[..good.len() - 86];
    let decoder = ChunkDecoder::new(Some(signer(SEED)), false);
    assert_eq!(decode(decoder, cut, 4096), Err(BodyFault::Incomplete));
}

#[test]
fn an_unsigned_body_with_a_trailer_is_read() {
    let body = b"5\r\nhello\r\n1\r\n!\r\n0\r\nX-Amz-Checksum-CRC32: AAAAAA==\r\n\r\n";
    for step in 1..body.len() {
        let (content, trailers) = decode(ChunkDecoder::new(None, true), body, step).unwrap();
        assert_eq!(content, b"hello!");
        assert_eq!(
            trailers,
            [("x-amz-checksum-crc32".into(), "AAAAAA==".into())]
        );
    }
}

#[test]
fn what_is_not_framed_is_refused() {
    let long = "f".repeat(5000);
    for (body, fault) in [
        (&b""[..], BodyFault::Incomplete),
        (b"5\r\nhel", BodyFault::Incomplete),
        (b"5\r\nhello\r\n", BodyFault::Incomplete),
        (b"5\r\nhelloX\r\n", BodyFault::Framing),
        (b"x\r\nhello\r\n", BodyFault::Framing),
        (b"+5\r\nhello\r\n", BodyFault::Framing),
        (b"\r\n", BodyFault::Framing),
        (b"fffffffffffffffff\r\n", BodyFault::Framing),
        (b"5;chunk-signature=00\r\nhello\r\n", BodyFault::Framing),
        (b"0\r\nno colon\r\n\r\n", BodyFault::Trailer),
        (b"0\r\na:b\r\n\r\nmore", BodyFault::Framing),
        (long.as_bytes(), BodyFault::Framing),
        (b"\xff\r\n", BodyFault::Framing),
    ] {
        let read = decode(ChunkDecoder::new(None, true), body, 3);
        assert_eq!(read, Err(fault), "{:?}", String::from_utf8_lossy(body));
    }
    let unsigned = decode(
        ChunkDecoder::new(Some(signer(SEED)), false),
        b"0\r\n\r\n",
        9,
    );
    assert_eq!(unsigned, Err(BodyFault::Signature));
    let many = format!("0\r\n{}\r\n", "a:b\r\n".repeat(17));
    assert!(decode(ChunkDecoder::new(None, true), many.as_bytes(), 9).is_err());
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200), step in 1_usize..50, signed: bool, trailer: bool) {
        let signer = signed.then(|| signer(SEED));
        let _ = decode(ChunkDecoder::new(signer, trailer), &body, step);
    }

    #[test]
    fn any_chunks_give_their_content(pieces in proptest::collection::vec("[a-z]{1,40}", 0..8), step in 1_usize..50) {
        let mut body: String = pieces.iter().map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect();
        body.push_str("0\r\na:b\r\n\r\n");
        let (content, _) = decode(ChunkDecoder::new(None, true), body.as_bytes(), step).unwrap();
        prop_assert_eq!(content, pieces.concat().into_bytes());
    }
}
