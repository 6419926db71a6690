//! The little DER (ITU-T X.690) that public keys and signatures need.

use crate::spec::PairSpec;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
/// `AlgorithmIdentifier` of rsaEncryption with its NULL (RFC 3279).
const RSA_ENCRYPTION: [u8; 15] = [
    0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05, 0x00,
];
/// The object identifier id-ecPublicKey (RFC 5480).
const EC_PUBLIC_KEY: [u8; 9] = [0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];

/// The object identifier of a curve, as DER and as `CKA_EC_PARAMS`; `None` for RSA.
pub(crate) const fn curve(spec: PairSpec) -> Option<&'static [u8]> {
    match spec {
        PairSpec::P256 => Some(&[0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07]),
        PairSpec::P384 => Some(&[0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x22]),
        PairSpec::P521 => Some(&[0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x23]),
        PairSpec::Secp256k1 => Some(&[0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x0A]),
        PairSpec::Rsa2048 | PairSpec::Rsa3072 | PairSpec::Rsa4096 => None,
    }
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let len_bytes = content.len().to_be_bytes();
    let significant = &len_bytes[len_bytes.iter().take_while(|byte| **byte == 0).count()..];
    let mut bytes = vec![tag];
    match content.len() {
        0..=127 => bytes.extend(significant.iter().copied().chain(
            // Nothing is left of the length 0.
            content.is_empty().then_some(0),
        )),
        _ => {
            bytes.push(0x80 | u8::try_from(significant.len()).unwrap_or(0x7F));
            bytes.extend_from_slice(significant);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

/// A number that is not negative, of big-endian bytes.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let mut content = Vec::with_capacity(bytes.len() + 1);
    if bytes.get(zeros).is_none_or(|first| first & 0x80 != 0) {
        content.push(0);
    }
    content.extend_from_slice(&bytes[zeros..]);
    element(INTEGER, &content)
}

fn bit_string(content: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], content].concat())
}

/// The `SubjectPublicKeyInfo` (RFC 5280) of an RSA key.
pub(crate) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let key = element(SEQUENCE, &[integer(modulus), integer(exponent)].concat());
    element(
        SEQUENCE,
        &[RSA_ENCRYPTION.to_vec(), bit_string(&key)].concat(),
    )
}

/// The modulus of the `SubjectPublicKeyInfo` of an RSA key of 3,072 bits with the exponent 65,537.
pub(crate) fn rsa_3072_modulus(info: &[u8]) -> Option<&[u8]> {
    const LEN_BYTES: usize = 384;
    const EXPONENT: [u8; 3] = [1, 0, 1];
    // The only encoding of such a key: what comes before the modulus does not depend on it.
    let start = info.len().checked_sub(LEN_BYTES + EXPONENT.len() + 2)?;
    let modulus = info.get(start..start + LEN_BYTES)?;
    let is_long = modulus.first().is_some_and(|first| first & 0x80 != 0);
    (is_long && rsa_public_key(modulus, &EXPONENT) == info).then_some(modulus)
}

/// The `SubjectPublicKeyInfo` (RFC 5480) of a point that is not compressed.
pub(crate) fn ec_public_key(curve: &[u8], point: &[u8]) -> Vec<u8> {
    let algorithm = element(SEQUENCE, &[&EC_PUBLIC_KEY, curve].concat());
    element(SEQUENCE, &[algorithm, bit_string(point)].concat())
}

/// The content of an octet string, if that is what `bytes` are and nothing else.
pub(crate) fn octet_string(bytes: &[u8]) -> Option<&[u8]> {
    let (len_bytes, content) = match bytes {
        [0x04, 0x81, len_bytes, content @ ..] => (len_bytes, content),
        [0x04, len_bytes @ 0..=0x7F, content @ ..] => (len_bytes, content),
        _ => return None,
    };
    (content.len() == usize::from(*len_bytes)).then_some(content)
}

/// `Ecdsa-Sig-Value` (RFC 3279) of r and s, which have the same length.
pub(crate) fn ecdsa_signature(fixed: &[u8]) -> Vec<u8> {
    let (r, s) = fixed.split_at(fixed.len() / 2);
    element(SEQUENCE, &[integer(r), integer(s)].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_one_or_more_bytes() {
        assert_eq!(element(4, &[]), [4, 0]);
        assert_eq!(element(4, &[7]), [4, 1, 7]);
        assert_eq!(element(4, &[0; 127])[..2], [4, 127]);
        assert_eq!(element(4, &[0; 128])[..3], [4, 0x81, 128]);
        assert_eq!(element(4, &[0; 300])[..4], [4, 0x82, 1, 44]);
        for len_bytes in [0, 1, 65, 127, 128, 133, 255] {
            let content = vec![7; len_bytes];
            assert_eq!(octet_string(&element(4, &content)), Some(&content[..]));
        }
        assert_eq!(octet_string(&[4, 2, 1]), None);
        assert_eq!(octet_string(&[4]), None);
        assert_eq!(octet_string(&[]), None);
    }

    #[test]
    fn the_modulus_of_a_key_of_3072_bits_is_found_and_no_other() {
        let modulus = [0xC5; 384];
        let info = rsa_public_key(&modulus, &[1, 0, 1]);
        assert_eq!(rsa_3072_modulus(&info), Some(&modulus[..]));
        for other in [
            rsa_public_key(&modulus, &[3]),
            rsa_public_key(&modulus[1..], &[1, 0, 1]),
            rsa_public_key(&[0xC5; 512], &[1, 0, 1]),
            info[1..].to_vec(),
            Vec::new(),
        ] {
            assert_eq!(rsa_3072_modulus(&other), None);
        }
    }

    #[test]
    fn numbers_are_as_short_as_can_be_and_not_negative() {
        assert_eq!(integer(&[0, 0, 1]), [2, 1, 1]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
        assert_eq!(
            ecdsa_signature(&[0, 1, 0xFF, 2]),
            [0x30, 8, 2, 1, 1, 2, 3, 0, 0xFF, 2]
        );
    }
}
