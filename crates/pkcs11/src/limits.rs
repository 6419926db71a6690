//! The lengths every engine of [`Token`](crate::Token) holds to, checked before a token is asked.

use crate::der;
use crate::spec::{CarriedKind, ImportWrapping, MacSpec, PairSpec, SignatureScheme};
use crate::token::{SealedBytes, TokenError, WrappedKey};

/// The longest plaintext, context or message, in bytes.
pub(crate) const MESSAGE_LEN_BYTES_MAX: usize = 64 * 1024;
/// The most random bytes in one call.
pub(crate) const RANDOM_LEN_BYTES_MAX: usize = 1_024;
/// An AES-256 key wrapped as RFC 3394 says: 8 bytes more than the key.
pub(crate) const WRAPPED_LEN_BYTES: usize = 40;
/// The tag of AES-256-GCM.
pub(crate) const TAG_LEN_BYTES: usize = 16;
/// The longest label, in bytes: what the tokens of the field take without cutting it.
pub(crate) const LABEL_LEN_BYTES_MAX: usize = 64;

fn invalid(reason: impl Into<String>) -> TokenError {
    TokenError::Invalid {
        reason: reason.into(),
    }
}

pub(crate) fn check_label(label: &str) -> Result<(), TokenError> {
    if label.is_empty() || label.len() > LABEL_LEN_BYTES_MAX {
        return Err(invalid(format!(
            "a label has 1 to {LABEL_LEN_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

pub(crate) fn check_message(message: &[u8]) -> Result<(), TokenError> {
    if message.len() > MESSAGE_LEN_BYTES_MAX {
        return Err(invalid(format!(
            "{} bytes are more than the {MESSAGE_LEN_BYTES_MAX} a token takes",
            message.len()
        )));
    }
    Ok(())
}

pub(crate) fn check_context(context: &[u8]) -> Result<(), TokenError> {
    if context.is_empty() {
        return Err(invalid("the context is empty"));
    }
    check_message(context)
}

/// A wrapped key of another length cannot be one a token gave out.
pub(crate) fn check_wrapped(key: &WrappedKey) -> Result<(), TokenError> {
    check_label(&key.kek.0)?;
    if key.bytes.len() != WRAPPED_LEN_BYTES {
        return Err(TokenError::NotAuthentic);
    }
    Ok(())
}

/// The longest private key that is carried wrapped, in bytes: RSA of 4,096 bits has some 2,400.
pub(crate) const WRAPPED_PRIVATE_LEN_BYTES_MAX: usize = 4_096;

/// A wrapped HMAC key of another length cannot be one a token gave out.
pub(crate) fn check_wrapped_mac_key(key: &WrappedKey, spec: MacSpec) -> Result<(), TokenError> {
    check_label(&key.kek.0)?;
    if key.bytes.len() != spec.key_len_bytes() + 8 {
        return Err(TokenError::NotAuthentic);
    }
    Ok(())
}

/// A wrapped private key of such a length cannot be one a token gave out.
pub(crate) fn check_wrapped_private(key: &WrappedKey) -> Result<(), TokenError> {
    check_label(&key.kek.0)?;
    let len_bytes = key.bytes.len();
    if !(24..=WRAPPED_PRIVATE_LEN_BYTES_MAX).contains(&len_bytes) || !len_bytes.is_multiple_of(8) {
        return Err(TokenError::NotAuthentic);
    }
    Ok(())
}

pub(crate) fn check_scheme(
    spec: PairSpec,
    scheme: SignatureScheme,
    digest: &[u8],
) -> Result<(), TokenError> {
    if !scheme.is_of(spec) {
        return Err(invalid("the scheme is not one of the key pair"));
    }
    if digest.len() != scheme.hash().len_bytes() {
        return Err(invalid("the digest is not of the length of its hash"));
    }
    Ok(())
}

/// A ciphertext of another length than the modulus is none of this key.
pub(crate) fn check_rsa(spec: PairSpec, ciphertext: &[u8]) -> Result<(), TokenError> {
    match spec.modulus_len_bits() {
        None => Err(invalid("the key pair does not decrypt")),
        Some(len_bits) if ciphertext.len() * 8 != len_bits => Err(TokenError::NotAuthentic),
        Some(_) => Ok(()),
    }
}

/// What is encrypted for the pair, and what follows it.
pub(crate) fn check_material(
    spec: PairSpec,
    wrapping: ImportWrapping,
    material: &[u8],
) -> Result<(&[u8], &[u8]), TokenError> {
    let len_bytes = spec.modulus_len_bits().unwrap_or_default() / 8;
    let parts = material.split_at_checked(len_bytes);
    let (for_pair, rest) = parts.ok_or(TokenError::NotAuthentic)?;
    check_rsa(spec, for_pair)?;
    let is_sound = match wrapping {
        ImportWrapping::Rsaes(_) => rest.is_empty(),
        // RFC 5649: a block more than the padded key.
        ImportWrapping::RsaAes(_) => {
            (16..=WRAPPED_PRIVATE_LEN_BYTES_MAX).contains(&rest.len())
                && rest.len().is_multiple_of(8)
        }
    };
    if !is_sound {
        return Err(TokenError::NotAuthentic);
    }
    Ok((for_pair, rest))
}

/// The most bytes of wrapped keys that are exported or taken over at once.
pub(crate) const CARRIED_LEN_BYTES_MAX: usize = 48 * 1024;

/// Whether keys can be carried: some, and not too many, each of a length of its kind.
pub(crate) fn check_carried<'a>(
    keys: impl Iterator<Item = (CarriedKind, &'a [u8])>,
) -> Result<(), TokenError> {
    let mut sum = 0;
    for (kind, wrapped) in keys {
        let len_bytes = wrapped.len();
        sum += len_bytes;
        let is_sound = match kind {
            CarriedKind::Aes => len_bytes == WRAPPED_LEN_BYTES,
            CarriedKind::Mac(spec) => len_bytes == spec.key_len_bytes() + 8,
            CarriedKind::Pair(_) => {
                (24..=WRAPPED_PRIVATE_LEN_BYTES_MAX).contains(&len_bytes)
                    && len_bytes.is_multiple_of(8)
            }
        };
        if !is_sound {
            return Err(TokenError::NotAuthentic);
        }
    }
    if !(1..=CARRIED_LEN_BYTES_MAX).contains(&sum) {
        return Err(invalid(format!(
            "1 to {CARRIED_LEN_BYTES_MAX} bytes of keys are carried at once, not {sum}"
        )));
    }
    Ok(())
}

/// The modulus of the public key of an escrow key.
pub(crate) fn check_recipient(recipient: &[u8]) -> Result<&[u8], TokenError> {
    der::rsa_3072_modulus(recipient)
        .ok_or_else(|| invalid("the recipient is no RSA public key of 3,072 bits"))
}

/// A transport key of another length was not wrapped for an escrow key.
pub(crate) fn check_transport(transport: &[u8]) -> Result<(), TokenError> {
    if transport.len() != 384 {
        return Err(TokenError::NotAuthentic);
    }
    Ok(())
}

/// Sealed bytes of such a length cannot be what a token sealed.
pub(crate) fn check_sealed(sealed: &SealedBytes) -> Result<(), TokenError> {
    let lengths = TAG_LEN_BYTES..=MESSAGE_LEN_BYTES_MAX + TAG_LEN_BYTES;
    if !lengths.contains(&sealed.bytes.len()) {
        return Err(TokenError::NotAuthentic);
    }
    Ok(())
}

pub(crate) fn check_random(len_bytes: usize) -> Result<(), TokenError> {
    if !(1..=RANDOM_LEN_BYTES_MAX).contains(&len_bytes) {
        return Err(invalid(format!(
            "1 to {RANDOM_LEN_BYTES_MAX} random bytes can be drawn at once, not {len_bytes}"
        )));
    }
    Ok(())
}
