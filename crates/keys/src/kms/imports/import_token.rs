//! The import token: what is kept of an import that was begun, by whoever is to finish it.

use strongroom_environment::Timestamp;
use strongroom_pkcs11::{KeyLabel, Token, WrappedKey};
use subtle::ConstantTimeEq;

use super::WrappingMethod;
use crate::arn::KeyId;
use crate::encoding::{Decoder, Encoder};
use crate::error::KeyError;
use crate::token_keys;

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"strongroom/import-token/v1\0";
const MAC_LEN_BYTES: usize = 32;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ImportToken {
    pub(super) key: KeyId,
    pub(super) method: WrappingMethod,
    pub(super) valid_to: Timestamp,
    /// The private key of the pair, which only the token unwraps.
    pub(super) private: WrappedKey,
}

impl ImportToken {
    /// Its bytes, with the MAC by which the token knows them again.
    pub(super) async fn vouched(&self, token: &dyn Token) -> Result<Vec<u8>, KeyError> {
        let mut bytes = self.encode();
        bytes.extend_from_slice(&mac(&bytes, token).await?);
        Ok(bytes)
    }

    /// The one that was given out.
    pub(super) async fn read(bytes: &[u8], token: &dyn Token) -> Result<Self, KeyError> {
        let (body, given) = bytes
            .split_last_chunk::<MAC_LEN_BYTES>()
            .ok_or(KeyError::InvalidImportToken)?;
        let read = Self::decode(body).ok_or(KeyError::InvalidImportToken)?;
        if !bool::from(mac(body, token).await?.ct_eq(given)) {
            return Err(KeyError::InvalidImportToken);
        }
        Ok(read)
    }

    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION)
            .fixed(self.key.as_bytes())
            .fixed(&self.method.code())
            .i64(self.valid_to.micros())
            .counted(self.private.kek.0.as_bytes())
            .counted(&self.private.bytes)
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let token = Self {
            key: KeyId::from_bytes(fields.fixed()?),
            method: WrappingMethod::of_code(fields.fixed()?)?,
            valid_to: Timestamp::from_micros(fields.i64()?),
            private: WrappedKey {
                kek: KeyLabel(fields.text()?),
                bytes: fields.counted()?.to_vec(),
            },
        };
        fields.finish(token)
    }
}

async fn mac(body: &[u8], token: &dyn Token) -> Result<[u8; MAC_LEN_BYTES], KeyError> {
    let label = KeyLabel(token_keys::MAC_KEY.into());
    Ok(token.mac(&label, &[DOMAIN, body].concat()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_token_decodes_and_nothing_else_does() {
        let token = ImportToken {
            key: "66778899-aabb-4cdd-8eff-001122334455"
                .parse()
                .expect("an id"),
            method: WrappingMethod::named("RSA_AES_KEY_WRAP_SHA_256", "RSA_4096")
                .expect("a method"),
            valid_to: Timestamp::from_seconds(1_800_086_400),
            private: WrappedKey {
                kek: KeyLabel("strongroom-root-kek-1".into()),
                bytes: (0..32).collect(),
            },
        };
        let example = |name| crate::rows::tests::example_under("Import token", 1, name);
        let bytes = token.encode();
        assert_eq!(bytes, example("vouched for"));
        assert_eq!([DOMAIN, &bytes].concat(), example("MAC message"));
        assert_eq!(ImportToken::decode(&bytes), Some(token));
        assert_eq!(ImportToken::decode(&bytes[1..]), None);
        assert_eq!(ImportToken::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(ImportToken::decode(&[&bytes[..], &[0]].concat()), None);
    }
}
