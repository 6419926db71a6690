//! The worked examples of `docs/format/keys.md`, and the installation that they make up.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use parking_lot::Mutex;
use strongroom_environment::{Entropy, SystemEntropy};
use strongroom_keys::{
    BindingId, CustomerKey, KeyId, KeyLimits, KeyService, ObjectName, Protection,
};
use strongroom_meta::Table;
use strongroom_pkcs11::MemoryToken;

use crate::world::{Ground, TABLES, config, context};

pub(crate) const PAGE: &str = include_str!("../../../../docs/format/keys.md");
pub(crate) const KEY: &str = "00112233-4455-4677-8899-aabbccddeeff";
/// The values of one worked example, by name.
#[derive(Debug)]
pub(crate) struct Example(HashMap<String, Vec<u8>>);

impl Example {
    /// The examples under a heading, in order.
    ///
    /// In a block a line is `name: hex`, or more hex of the line above.
    pub(crate) fn all(heading: &str) -> Vec<Self> {
        let (_, section) = PAGE
            .split_once(&format!("# {heading}\n"))
            .unwrap_or_else(|| panic!("the page has no section {heading}"));
        let section = section
            .split("\n#")
            .next()
            .expect("there is always a first");
        let blocks = section.split("```hex\n").skip(1);
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

    pub(crate) fn one(heading: &str) -> Self {
        let mut all = Self::all(heading);
        assert_eq!(all.len(), 1, "{heading}");
        all.remove(0)
    }

    pub(crate) fn bytes(&self, name: &str) -> &[u8] {
        self.0
            .get(name)
            .unwrap_or_else(|| panic!("{name} is in the example"))
    }

    pub(crate) fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name)
            .try_into()
            .unwrap_or_else(|_| panic!("{name} is {N} bytes long"))
    }
}

pub(crate) fn customers() -> Example {
    Example::one("Mode 1: customer's key")
}

pub(crate) fn direct() -> Example {
    Example::one("Mode 2: KMS key")
}

pub(crate) fn through_bucket_key() -> Example {
    Example::one("Modes 3 and 4: bucket key")
}

/// The rows of the page, with their tables.
pub(crate) fn rows() -> Vec<(Table, Vec<u8>, Vec<u8>)> {
    let row = |table: Table, example: &Example| {
        let [key, value] = ["key", "value"].map(|name| example.bytes(name).to_vec());
        (table, key, value)
    };
    TABLES
        .into_iter()
        .flat_map(|table| {
            let examples = Example::all(&format!("Table `{}`", table.name()));
            assert!(!examples.is_empty(), "{table} is on the page");
            examples
                .into_iter()
                .map(move |example| row(table, &example))
        })
        .collect()
}

/// Entropy that gives what it was told to, and then what the system gives.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<VecDeque<Vec<u8>>>);

impl Told {
    pub(crate) fn next(&self, draws: &[&[u8]]) {
        let mut told = self.0.lock();
        assert!(told.is_empty(), "all that was told before was drawn");
        told.extend(draws.iter().map(|draw| draw.to_vec()));
    }
}

impl Entropy for Told {
    fn fill(&self, bytes: &mut [u8]) {
        match self.0.lock().pop_front() {
            Some(draw) => bytes.copy_from_slice(&draw),
            None => SystemEntropy.fill(bytes),
        }
    }
}

/// The installation of the page, started.
pub(crate) struct Installation {
    pub(crate) ground: Ground,
    pub(crate) service: KeyService,
    pub(crate) of_token: Arc<Told>,
    pub(crate) of_service: Arc<Told>,
}

impl Installation {
    pub(crate) async fn start() -> Self {
        let version = Example::one("Table `kms_key_versions`");
        let (of_token, of_service) = (Arc::new(Told::default()), Arc::new(Told::default()));
        of_token.next(&[version.bytes("root KEK"), version.bytes("MAC key")]);
        let token = MemoryToken::with_entropy(Arc::clone(&of_token) as _);
        let ground = Ground::new(Arc::new(token)).await;
        for (table, key, value) in rows() {
            ground.set(table, &key, Some(&value)).await;
        }
        let service = KeyService::start(
            config(KeyLimits::default()),
            Arc::clone(&ground.token) as _,
            Arc::clone(&ground.meta) as _,
            Arc::clone(&ground.log) as _,
            Arc::clone(&ground.clock) as _,
            Arc::clone(&of_service) as _,
        )
        .await
        .expect("it starts");
        Self {
            ground,
            service,
            of_token,
            of_service,
        }
    }

    /// Takes away the rows of the page that are in `tables`.
    pub(crate) async fn clear(&self, tables: &[&str]) {
        for (table, key, _) in rows() {
            if tables.contains(&table.name()) {
                self.ground.set(table, &key, None).await;
            }
        }
    }

    /// Whether every row of the page is there again.
    pub(crate) async fn assert_whole(&self) {
        let there = self.ground.rows().await;
        for (table, key, value) in rows() {
            let row = there.iter().find(|row| (row.0, &row.1) == (table, &key));
            let (_, _, found) = row.unwrap_or_else(|| panic!("{table} has the row"));
            assert_eq!(HEXLOWER.encode(found), HEXLOWER.encode(&value), "{table}");
        }
    }
}

pub(crate) fn key() -> KeyId {
    KEY.parse().expect("a key id")
}

pub(crate) fn name() -> ObjectName {
    let bytes = Example::one("Object name");
    let binding = bytes.bytes("object name").last_chunk().expect("16 bytes");
    ObjectName {
        bucket: "photos".into(),
        key: "a/cat.jpg".into(),
        binding: BindingId(*binding),
    }
}

pub(crate) fn customer_key() -> CustomerKey {
    CustomerKey::from_bytes(&customers().array("customer key"))
}

pub(crate) fn by_kms_key(bucket_key: bool) -> Protection {
    Protection::Kms {
        key: key().into(),
        context: context(&[("department", "9")]),
        bucket_key,
    }
}
