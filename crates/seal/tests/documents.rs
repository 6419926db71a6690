//! The worked examples of `docs/format` are what this crate writes and reads.

use std::collections::HashMap;

use data_encoding::HEXLOWER;
use strongroom_seal::{
    DataKey, Engine, KeyWrap, Opener, PayloadContext, Salt, Sealer, WrappedDataKey,
    customer_kek_with_engine,
};

const PAYLOAD: &str = include_str!("../../../docs/format/payload.md");
const KEY_WRAP: &str = include_str!("../../../docs/format/key-wrap.md");

/// The values of one worked example, by name.
struct Example(HashMap<String, Vec<u8>>);

impl Example {
    /// The examples of a document: its blocks of ```` ```hex ````, in order.
    ///
    /// In a block a line is `name: hex`, or more hex of the line above.
    fn all(document: &str) -> Vec<Self> {
        let blocks = document.split("```hex\n").skip(1);
        blocks
            .map(|block| {
                let (block, _) = block.split_once("```").expect("the block ends");
                let mut values: Vec<(&str, String)> = Vec::new();
                for line in block.lines() {
                    match line.split_once(':') {
                        Some((name, hex)) => values.push((name, hex.trim().to_owned())),
                        None => values
                            .last_mut()
                            .expect("a name comes first")
                            .1
                            .push_str(line.trim()),
                    }
                }
                let decoded = values.into_iter().map(|(name, hex)| {
                    let bytes = HEXLOWER.decode(hex.as_bytes()).expect("lower-case hex");
                    (name.to_owned(), bytes)
                });
                Self(decoded.collect())
            })
            .collect()
    }

    fn bytes(&self, name: &str) -> &[u8] {
        self.0
            .get(name)
            .unwrap_or_else(|| panic!("{name} is in the example"))
    }

    fn array<const N: usize>(&self, name: &str) -> &[u8; N] {
        self.bytes(name)
            .try_into()
            .unwrap_or_else(|_| panic!("{name} is {N} bytes long"))
    }
}

#[test]
fn the_payload_of_the_document_is_written_and_read() {
    let examples = Example::all(PAYLOAD);
    let [example] = examples.as_slice() else {
        panic!("the document has one example");
    };
    let key = DataKey::from_bytes(example.array("data key"));
    let salt = Salt::from_bytes(*example.array("salt"));
    let context = PayloadContext::new(example.array("payload id"), example.array("part id"));
    assert_eq!(context.as_bytes(), example.bytes("context"));
    for engine in Engine::ALL {
        let (sealer, header) = Sealer::with_engine(*engine, &key, &salt, context.as_bytes());
        let mut chunk = [example.bytes("plaintext"), &[0; 16]].concat();
        sealer.seal_last(&mut chunk).expect("sealed");
        assert_eq!(header[24..], *example.bytes("commitment"));
        assert_eq!(
            [&header, chunk.as_slice()].concat(),
            example.bytes("sealed stream")
        );

        let mut stream = example.bytes("sealed stream").to_vec();
        let (header, chunk) = stream.split_at_mut(56);
        let opener =
            Opener::with_engine(*engine, &key, context.as_bytes(), header).expect("committed");
        let plain = opener.open_chunk(0, true, chunk).expect("authentic");
        assert_eq!(plain, example.bytes("plaintext"));
    }
}

#[test]
fn the_wraps_of_the_document_are_written_and_read() {
    let examples = Example::all(KEY_WRAP);
    let [bucket, customer] = examples.as_slice() else {
        panic!("the document has two examples");
    };
    for engine in Engine::ALL {
        let (under_customer, check) = customer_kek_with_engine(
            *engine,
            customer.array("customer key"),
            customer.array("salt"),
            customer.bytes("purpose"),
        );
        assert_eq!(check.as_bytes(), customer.bytes("check value"));
        let cases = [
            (
                KeyWrap::with_engine(*engine, bucket.array("bucket key")),
                bucket,
            ),
            (
                KeyWrap::with_engine(*engine, customer.array("wrapping key")),
                customer,
            ),
            (under_customer, customer),
        ];
        for (wrap, example) in cases {
            let key = DataKey::from_bytes(example.array("data key"));
            let wrapped = wrap.wrap(*example.array("nonce"), example.bytes("purpose"), &key);
            assert_eq!(wrapped.as_bytes(), example.bytes("wrapped"));
            let read = WrappedDataKey::from_bytes(example.bytes("wrapped")).expect("a wrapped key");
            let key = wrap
                .unwrap(example.bytes("purpose"), &read)
                .expect("authentic");
            assert_eq!(key.expose(), example.bytes("data key"));
        }
    }
}
