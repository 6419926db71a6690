//! What is derived from a key that the customer holds.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::engine::{Engine, KEY_LEN_BYTES};
use crate::{KeyWrap, scrub_stack};

/// What tells this use of HKDF from every other.
const LABEL: &[u8] = b"strongroom/customer-key/v1\0";

/// A salted digest of a customer's key, to tell a wrong key from damaged bytes.
///
/// It is stored. It says nothing of the key, nor whether two objects share one: each has a salt
/// of its own.
#[derive(Clone, Copy)]
pub struct CheckValue([u8; CheckValue::LEN_BYTES]);

impl CheckValue {
    /// The length of a check value in bytes.
    pub const LEN_BYTES: usize = 32;

    /// The check value of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN_BYTES] {
        &self.0
    }
}

impl ConstantTimeEq for CheckValue {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for CheckValue {
    /// Takes as long for equal values as for others.
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for CheckValue {}

impl fmt::Debug for CheckValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckValue(..)")
    }
}

/// The wrap under a customer's key, and the value that tells the key from others.
///
/// Both are derived by HKDF-SHA-512 (RFC 5869) from `customer_key` with the random `salt` of the
/// object, for the purpose `binding`: the first 32 bytes are the wrapping key, the next 32 the
/// check value. The wrapping key does not leave this function but inside the wrap.
#[must_use]
pub fn customer_kek(
    customer_key: &[u8; KEY_LEN_BYTES],
    salt: &[u8; KEY_LEN_BYTES],
    binding: &[u8],
) -> (KeyWrap, CheckValue) {
    customer_kek_with_engine(Engine::chosen(), customer_key, salt, binding)
}

/// As [`customer_kek`], by the given engine.
#[must_use]
pub fn customer_kek_with_engine(
    engine: Engine,
    customer_key: &[u8; KEY_LEN_BYTES],
    salt: &[u8; KEY_LEN_BYTES],
    binding: &[u8],
) -> (KeyWrap, CheckValue) {
    let derived = derive(engine, customer_key, salt, binding);
    scrub_stack();
    derived
}

#[inline(never)]
fn derive(
    engine: Engine,
    customer_key: &[u8; KEY_LEN_BYTES],
    salt: &[u8; KEY_LEN_BYTES],
    binding: &[u8],
) -> (KeyWrap, CheckValue) {
    let mut output = Box::new(Zeroizing::new([0; KEY_LEN_BYTES + CheckValue::LEN_BYTES]));
    engine.extract_and_expand(customer_key, salt, &[LABEL, binding], output.as_mut_slice());
    let (key, check) = output
        .split_first_chunk::<KEY_LEN_BYTES>()
        .expect("the output starts with a key");
    let check = check
        .first_chunk::<{ CheckValue::LEN_BYTES }>()
        .expect("the check value is the rest");
    (KeyWrap::with_engine(engine, key), CheckValue(*check))
}
