//! Making the same keys on two tokens, so that they can serve as a pair.
//!
//! Keys that can never leave a token cannot be copied to another afterwards; they have to be put
//! on both when they are made. One token makes them as objects of a session, and gives them out
//! wrapped by a transport key that only the two tokens have; both then unwrap them into keys that
//! never leave. See `docs/adr/0013-a-pair-of-tokens.md`.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::agreement;
use crate::hsm::HsmToken;
use crate::token::{Token, TokenError, TokenIdentity, TokenKeys};

/// What was done in a ceremony.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Transcript {
    /// The token that made the keys.
    pub first: TokenIdentity,
    /// The token that received them.
    pub second: TokenIdentity,
    /// The `CKA_ID` of the keys on both tokens, in hexadecimal.
    pub id: String,
    /// The labels of the keys.
    pub keys: TokenKeys,
    /// The Ed25519 public key of the signing key, in hexadecimal.
    pub public_key: String,
}

/// Makes `keys` on two tokens that hold none of them.
///
/// Order: the second token offers a public key; the first makes the keys and wraps them for it;
/// the second takes them for good, then the first, which is the commit point; then each proves to
/// the other that it holds them. What the second took is taken back when the first cannot follow.
/// Should the machine end in between, the second token is left with keys that protect nothing:
/// it is to be initialised again.
///
/// # Errors
/// [`TokenError::KeyExists`]: a token holds one of the keys, and nothing was changed.
/// [`TokenError::NoPair`]: they are one and the same token. [`TokenError::Unsupported`]: a token
/// lacks a mechanism of the ceremony. As for [`Token`] otherwise.
pub async fn make_pair(
    first: &HsmToken,
    second: &HsmToken,
    keys: &TokenKeys,
) -> Result<Transcript, TokenError> {
    let (one, other) = (first.identity(), second.identity());
    agreement::two_tokens(&one, &other)?;
    for token in [first, second] {
        for label in keys.labels() {
            if token.has_key(label).await? {
                return Err(TokenError::KeyExists {
                    label: label.clone(),
                });
            }
        }
    }
    let mut id = [0; 16];
    id.copy_from_slice(&first.random(16).await?);

    let modulus = second.offer().await?;
    let carried = first.make_shared(&modulus).await?;
    for (token, taken) in [(second, &[second][..]), (first, &[first, second])] {
        let Err(error) = token.take_shared(&carried, keys, id).await else {
            continue;
        };
        for token in taken {
            // The first reason is the one to tell; what cannot be taken back protects nothing.
            let _ = token.drop_shared(keys, id).await;
        }
        return Err(error);
    }
    agreement::prove(first, second, keys).await?;
    Ok(Transcript {
        first: one,
        second: other,
        id: HEXLOWER.encode(&id),
        keys: keys.clone(),
        public_key: HEXLOWER.encode(&first.public_key(&keys.signing).await?),
    })
}
