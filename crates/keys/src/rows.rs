//! The rows of the key service. Their bytes are described in `docs/format/keys.md`.

use strongroom_environment::Timestamp;
use strongroom_meta::{Batch, Expected, MetaStore, Revision, Table};
use strongroom_pkcs11::{KeyLabel, WrappedKey};

use crate::arn::{KeyId, KeyVersion};
use crate::encoding::{Decoder, Encoder};
use crate::error::KeyError;
use crate::kms::{CiphertextBlob, KeyManager, KeyState};

/// KMS keys, by key id.
pub(crate) const KEYS: Table = Table::new("kms_keys");
/// The versions of KMS keys, by key id and version.
pub(crate) const KEY_VERSIONS: Table = Table::new("kms_key_versions");
/// Aliases, by name.
pub(crate) const ALIASES: Table = Table::new("kms_aliases");
/// The names of the aliases of a key, by key id and name.
pub(crate) const KEY_ALIASES: Table = Table::new("kms_key_aliases");
/// Bucket keys, by bucket key id.
pub(crate) const BUCKET_KEYS: Table = Table::new("bucket_keys");
/// The bucket keys of a KMS key, by key id, version and bucket key id.
pub(crate) const BUCKET_KEYS_OF: Table = Table::new("bucket_keys_of");
/// The service's own data keys, by purpose.
pub(crate) const SERVICE_KEYS: Table = Table::new("service_keys");

const VERSION: u8 = 1;

/// A row that can be put into bytes and back.
pub(crate) trait RowFormat: Sized {
    fn encode(&self) -> Vec<u8>;
    /// `None` for anything that [`RowFormat::encode`] does not give.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// A row as it was read, and which write of it this is.
pub(crate) struct Read<R> {
    pub(crate) row: R,
    revision: Revision,
}

impl<R: RowFormat> Read<R> {
    /// Puts `row` in its place, unless somebody else changed it meanwhile.
    pub(crate) fn replace(&self, batch: &mut Batch, table: Table, key: &[u8], row: &R) {
        batch.expect(table, key, Expected::Revision(self.revision));
        batch.put(table, key, row.encode());
    }

    /// Deletes the row, unless somebody else changed it meanwhile.
    pub(crate) fn delete(&self, batch: &mut Batch, table: Table, key: &[u8]) {
        batch.expect(table, key, Expected::Revision(self.revision));
        batch.delete(table, key);
    }
}

/// The row under `key`, if there is one.
pub(crate) async fn read<R: RowFormat>(
    meta: &dyn MetaStore,
    table: Table,
    key: &[u8],
) -> Result<Option<Read<R>>, KeyError> {
    meta.get(table, key)
        .await?
        .map(|found| {
            Ok(Read {
                row: decoded(table, &found.value)?,
                revision: found.revision,
            })
        })
        .transpose()
}

pub(crate) fn decoded<R: RowFormat>(table: Table, bytes: &[u8]) -> Result<R, KeyError> {
    R::decode(bytes).ok_or(KeyError::Damaged {
        table: table.name(),
        what: "it is not a row of a version this program knows",
    })
}

/// Puts a new row, unless there is one.
pub(crate) fn create<R: RowFormat>(batch: &mut Batch, table: Table, key: &[u8], row: &R) {
    batch.expect(table, key, Expected::Absent);
    batch.put(table, key, row.encode());
}

/// A KMS key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyRow {
    pub(crate) state: KeyState,
    pub(crate) manager: KeyManager,
    /// The version that encrypts.
    pub(crate) current: KeyVersion,
    pub(crate) created: Timestamp,
    /// At most 8,192 bytes.
    pub(crate) description: String,
}

impl RowFormat for KeyRow {
    fn encode(&self) -> Vec<u8> {
        let (state, deletion) = match self.state {
            KeyState::Enabled => (1, 0),
            KeyState::Disabled => (2, 0),
            KeyState::PendingDeletion { date } => (3, date.micros()),
        };
        let manager = match self.manager {
            KeyManager::Customer => 1,
            KeyManager::Service => 2,
        };
        Encoder::new(VERSION)
            .u8(state)
            .u8(manager)
            .u32(self.current.0)
            .i64(self.created.micros())
            .i64(deletion)
            .counted(self.description.as_bytes())
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let state = fields.u8()?;
        let manager = match fields.u8()? {
            1 => KeyManager::Customer,
            2 => KeyManager::Service,
            _ => return None,
        };
        let current = KeyVersion(fields.u32()?);
        let created = Timestamp::from_micros(fields.i64()?);
        let state = match (state, fields.i64()?) {
            (1, 0) => KeyState::Enabled,
            (2, 0) => KeyState::Disabled,
            (3, date) => KeyState::PendingDeletion {
                date: Timestamp::from_micros(date),
            },
            _ => return None,
        };
        let description = fields.text()?;
        fields.finish(Self {
            state,
            manager,
            current,
            created,
            description,
        })
    }
}

/// One version of a KMS key: its value, wrapped by a key of the token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyVersionRow {
    pub(crate) created: Timestamp,
    pub(crate) wrapped: WrappedKey,
    /// Binds the wrapped key to its key id and version; see [`version_mac_message`].
    pub(crate) mac: [u8; 32],
}

/// What the token's MAC key vouches for in a [`KeyVersionRow`].
pub(crate) fn version_mac_message(
    key: KeyId,
    version: KeyVersion,
    wrapped: &WrappedKey,
) -> Vec<u8> {
    const DOMAIN: &[u8] = b"strongroom/key-version/v1\0";
    [
        DOMAIN,
        &Encoder::new(VERSION)
            .fixed(key.as_bytes())
            .u32(version.0)
            .counted(wrapped.kek.0.as_bytes())
            .counted(&wrapped.bytes)
            .finish(),
    ]
    .concat()
}

impl RowFormat for KeyVersionRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION)
            .i64(self.created.micros())
            .counted(self.wrapped.kek.0.as_bytes())
            .counted(&self.wrapped.bytes)
            .fixed(&self.mac)
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            created: Timestamp::from_micros(fields.i64()?),
            wrapped: WrappedKey {
                kek: KeyLabel(fields.text()?),
                bytes: fields.counted()?.to_vec(),
            },
            mac: fields.fixed()?,
        };
        fields.finish(row)
    }
}

/// The key of a row in [`KEY_VERSIONS`].
pub(crate) fn version_key(key: KeyId, version: KeyVersion) -> Vec<u8> {
    [key.as_bytes().as_slice(), &version.0.to_be_bytes()].concat()
}

/// An alias.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AliasRow {
    pub(crate) key: KeyId,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

impl RowFormat for AliasRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION)
            .fixed(self.key.as_bytes())
            .i64(self.created.micros())
            .i64(self.updated.micros())
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            key: KeyId::from_bytes(fields.fixed()?),
            created: Timestamp::from_micros(fields.i64()?),
            updated: Timestamp::from_micros(fields.i64()?),
        };
        fields.finish(row)
    }
}

/// A bucket key, sealed under a KMS key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BucketKeyRow {
    pub(crate) created: Timestamp,
    pub(crate) bucket: String,
    pub(crate) blob: CiphertextBlob,
}

impl RowFormat for BucketKeyRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION)
            .i64(self.created.micros())
            .counted(self.bucket.as_bytes())
            .counted(&self.blob.to_bytes())
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            created: Timestamp::from_micros(fields.i64()?),
            bucket: fields.text()?,
            blob: CiphertextBlob::from_bytes(fields.counted()?).ok()?,
        };
        fields.finish(row)
    }
}

/// A data key of the service's own, sealed under its system key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ServiceKeyRow {
    pub(crate) created: Timestamp,
    pub(crate) blob: CiphertextBlob,
}

impl RowFormat for ServiceKeyRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION)
            .i64(self.created.micros())
            .counted(&self.blob.to_bytes())
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            created: Timestamp::from_micros(fields.i64()?),
            blob: CiphertextBlob::from_bytes(fields.counted()?).ok()?,
        };
        fields.finish(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes called `name` in the `number`th example of a table on the format's page.
    fn example(table: Table, number: usize, name: &str) -> Vec<u8> {
        let page = include_str!("../../../docs/format/keys.md");
        let (_, section) = page
            .split_once(&format!("### Table `{table}`\n"))
            .expect("the table is on the page");
        let block = section
            .split("```")
            .nth(1 + 2 * number)
            .expect("it has an example");
        let (_, hex) = block
            .split_once(&format!("\n{name}:"))
            .expect("it is in it");
        let digits: String = hex
            .split(':')
            .next()
            .expect("there is always a first")
            .lines()
            .enumerate()
            // The last line begins another value, unless it is hex like those before it.
            .filter(|(at, line)| *at == 0 || line.starts_with(' '))
            .flat_map(|(_, line)| line.split_whitespace())
            .collect();
        data_encoding::HEXLOWER
            .decode(digits.as_bytes())
            .expect("it is hexadecimal")
    }

    fn assert_documented<R: RowFormat + PartialEq + std::fmt::Debug>(
        table: Table,
        number: usize,
        row: &R,
    ) {
        let value = example(table, number, "value");
        assert_eq!(R::decode(&value).as_ref(), Some(row));
        assert_eq!(row.encode(), value);
        assert!(R::decode(&value[..value.len() - 1]).is_none());
        assert!(R::decode(&[value.as_slice(), &[0]].concat()).is_none());
        let other_version = [&[2], &value[1..]].concat();
        assert!(R::decode(&other_version).is_none());
    }

    #[test]
    fn the_documented_rows_decode() {
        let id: KeyId = "00112233-4455-4677-8899-aabbccddeeff"
            .parse()
            .expect("an id");
        let created = Timestamp::from_seconds(1_800_000_000);
        let version = KeyVersion(1);
        let row = KeyRow {
            state: KeyState::Enabled,
            manager: KeyManager::Customer,
            current: version,
            created,
            description: "Photos, all of them".into(),
        };
        assert_documented(KEYS, 0, &row);

        let wrapped = WrappedKey {
            kek: KeyLabel("strongroom-root-kek-1".into()),
            bytes: example(KEY_VERSIONS, 1, "wrapped key"),
        };
        let message = version_mac_message(id, version, &wrapped);
        assert_eq!(message, example(KEY_VERSIONS, 1, "MAC message"));
        assert_eq!(version_key(id, version), example(KEY_VERSIONS, 1, "key"));
        let mac = example(KEY_VERSIONS, 1, "MAC");
        let row = KeyVersionRow {
            created,
            wrapped,
            mac: mac.try_into().expect("32 bytes"),
        };
        assert_documented(KEY_VERSIONS, 1, &row);

        let row = AliasRow {
            key: id,
            created,
            updated: Timestamp::from_seconds(1_800_000_009),
        };
        assert_documented(ALIASES, 0, &row);

        let bucket_key_value = example(BUCKET_KEYS, 0, "value");
        let row = BucketKeyRow {
            created,
            bucket: "photos".into(),
            blob: CiphertextBlob::from_bytes(&bucket_key_value[19..]).expect("a ciphertext"),
        };
        assert_documented(BUCKET_KEYS, 0, &row);
        for number in 0..2 {
            let value = example(SERVICE_KEYS, number, "value");
            let row = ServiceKeyRow {
                created,
                blob: CiphertextBlob::from_bytes(&value[11..]).expect("a ciphertext"),
            };
            assert_documented(SERVICE_KEYS, number, &row);
        }
    }

    #[test]
    fn what_the_page_does_not_name_is_refused() {
        let value = example(KEYS, 0, "value");
        let pending = KeyRow {
            state: KeyState::PendingDeletion {
                date: Timestamp::from_seconds(1_800_604_800),
            },
            ..KeyRow::decode(&value).expect("a row")
        };
        assert_eq!(KeyRow::decode(&pending.encode()), Some(pending));
        // A state, a manager, and a date in a state that has none.
        for (at, byte) in [(1, 0), (1, 4), (2, 0), (2, 3), (22, 1)] {
            let mut value = value.clone();
            value[at] = byte;
            assert!(KeyRow::decode(&value).is_none(), "{at}");
        }
    }
}
