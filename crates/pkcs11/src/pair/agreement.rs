//! The proof that two tokens hold the same keys.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

use crate::hsm::HsmToken;
use crate::token::{KeyLabel, Token, TokenError, TokenIdentity, TokenKeys};

const CONTEXT: &[u8] = b"strongroom pair";

/// Refuses to take one token for two.
pub(super) fn two_tokens(one: &TokenIdentity, other: &TokenIdentity) -> Result<(), TokenError> {
    if one.serial == other.serial && one.manufacturer == other.manufacturer {
        return Err(TokenError::NoPair {
            reason: format!("both settings lead to the token with serial {}", one.serial),
        });
    }
    Ok(())
}

/// Has each token undo what the other did with every key of `keys`.
///
/// # Errors
/// [`TokenError::NoPair`] names the key that is missing or another one. As for [`Token`] otherwise.
pub(super) async fn prove(
    one: &HsmToken,
    other: &HsmToken,
    keys: &TokenKeys,
) -> Result<(), TokenError> {
    holds(one, keys).await?;
    holds(other, keys).await?;
    let challenge = one.random(32).await?;
    for (wraps, opens) in [(one, other), (other, one)] {
        let key = wraps.generate_wrapped(&keys.kek).await?;
        let sealed = wraps.seal(&key, CONTEXT, &challenge).await?;
        match opens.open(&key, CONTEXT, &sealed).await {
            Ok(opened) => same(&opened, &challenge, &keys.kek)?,
            Err(TokenError::NotAuthentic) => return Err(another(&keys.kek)),
            Err(error) => return Err(error),
        }
    }
    let macs = [
        one.mac(&keys.mac, &challenge).await?,
        other.mac(&keys.mac, &challenge).await?,
    ];
    same(&macs[0], &macs[1], &keys.mac)?;
    let public = one.public_key(&keys.signing).await?;
    same(
        &public,
        &other.public_key(&keys.signing).await?,
        &keys.signing,
    )?;
    for signs in [one, other] {
        let signature = signs.sign(&keys.signing, &challenge).await?;
        UnparsedPublicKey::new(&ED25519, public)
            .verify(&challenge, &signature)
            .map_err(|_| another(&keys.signing))?;
    }
    Ok(())
}

/// Whether every key of `keys` is on `token`.
pub(super) async fn holds(token: &HsmToken, keys: &TokenKeys) -> Result<(), TokenError> {
    for label in keys.labels() {
        if !token.has_key(label).await? {
            let identity = token.identity();
            return Err(TokenError::NoPair {
                reason: format!(
                    "the token {} with serial {} holds no key labelled {label}",
                    identity.label, identity.serial
                ),
            });
        }
    }
    Ok(())
}

fn same(one: &[u8], other: &[u8], label: &KeyLabel) -> Result<(), TokenError> {
    verify_slices_are_equal(one, other).map_err(|_| another(label))
}

fn another(label: &KeyLabel) -> TokenError {
    TokenError::NoPair {
        reason: format!("the key labelled {label} is not the same on both"),
    }
}
