//! How a request wants its object protected: customer keys, KMS keys, or nothing said.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName};
use md5::{Digest as _, Md5};
use strongroom_keys::{CustomerKey, EncryptionContext, KeyError, KeyReference, Protection};

use zeroize::Zeroizing;

use super::{flag, one};
use crate::faults::Subject;
use crate::refusal::{Code, Outcome, Refusal};

/// The three headers that carry a customer key.
#[derive(Debug)]
pub(crate) struct CustomerKeyHeaders {
    algorithm: &'static str,
    key: &'static str,
    key_md5: &'static str,
}

/// The key of the object a request reads or writes.
pub(crate) const REQUEST_KEY: CustomerKeyHeaders = CustomerKeyHeaders {
    algorithm: "x-amz-server-side-encryption-customer-algorithm",
    key: "x-amz-server-side-encryption-customer-key",
    key_md5: "x-amz-server-side-encryption-customer-key-md5",
};

/// The key of the source of a copy.
pub(crate) const COPY_SOURCE_KEY: CustomerKeyHeaders = CustomerKeyHeaders {
    algorithm: "x-amz-copy-source-server-side-encryption-customer-algorithm",
    key: "x-amz-copy-source-server-side-encryption-customer-key",
    key_md5: "x-amz-copy-source-server-side-encryption-customer-key-md5",
};

impl CustomerKeyHeaders {
    fn names(&self) -> [&'static str; 3] {
        [self.algorithm, self.key, self.key_md5]
    }
}

/// Whether this is the name of a header that carries a key itself.
pub(crate) fn is_customer_key(name: &str) -> bool {
    name == REQUEST_KEY.key || name == COPY_SOURCE_KEY.key
}

/// Whether a request carries a customer key, or a part of what belongs to one.
pub(crate) fn carries_customer_key(headers: &HeaderMap) -> bool {
    [REQUEST_KEY, COPY_SOURCE_KEY]
        .iter()
        .flat_map(CustomerKeyHeaders::names)
        .any(|name| headers.contains_key(name))
}

/// Marks what must never be printed: keys, and what proves who sent the request.
pub(crate) fn mark_sensitive(headers: &mut HeaderMap) {
    for (name, value) in headers.iter_mut() {
        if is_customer_key(name.as_str()) || name == http::header::AUTHORIZATION {
            value.set_sensitive(true);
        }
    }
}

/// What is wrong with a customer key, as AWS says it.
fn key_fault(message: &'static str, rule: &'static str) -> Refusal {
    Refusal::argument(message, "x-amz-server-side-encryption", "null").of_customer_key(rule)
}

/// What a request offers as a customer key.
#[derive(Debug)]
pub(crate) enum OfferedKey {
    /// Nothing.
    None,
    /// A key.
    Key(CustomerKey),
    /// Something well-formed that is too short or too long for a key. AWS refuses to write with it,
    /// and to a reader says of it what it says of any other wrong key.
    WrongLength,
}

impl OfferedKey {
    /// The key; one of the wrong length is refused.
    pub(crate) fn into_key(self) -> Outcome<Option<CustomerKey>> {
        match self {
            Self::None => Ok(None),
            Self::Key(key) => Ok(Some(key)),
            Self::WrongLength => Err(key_fault(
                "The secret key was invalid for the specified algorithm.",
                "it is base64 of 32 bytes",
            )),
        }
    }
}

/// Takes a customer key out of the headers, which then hold it no more.
pub(crate) fn take_customer_key(
    headers: &mut HeaderMap,
    names: &CustomerKeyHeaders,
) -> Outcome<OfferedKey> {
    let key = headers.remove(names.key).filter(|key| !key.is_empty());
    let algorithm = one(headers, names.algorithm)?;
    let key_md5 = one(headers, names.key_md5)?;
    if key.is_none() && algorithm.is_none() && key_md5.is_none() {
        return Ok(OfferedKey::None);
    }
    let Some(algorithm) = algorithm else {
        return Err(key_fault(
            "Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption algorithm.",
            "its algorithm is named",
        ));
    };
    let Some(key) = key else {
        return Err(key_fault(
            "Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key.",
            "it is there",
        ));
    };
    if algorithm != "AES256" {
        return Err(Refusal::new(Code::InvalidEncryptionAlgorithm)
            .field("ArgumentName", "x-amz-server-side-encryption")
            .field("ArgumentValue", algorithm)
            .of_customer_key("its algorithm is AES256"));
    }
    let Some(key_md5) = key_md5 else {
        return Err(key_fault(
            "Requests specifying Server Side Encryption with Customer provided keys must provide the client calculated MD5 of the secret key.",
            "its MD5 is given",
        ));
    };
    let mismatch = || {
        key_fault(
            "The calculated MD5 hash of the key did not match the hash that was provided.",
            "its MD5 is the one that is given",
        )
    };
    match CustomerKey::from_base64(key.as_bytes()) {
        Ok(key) if key.has_md5_base64(key_md5.as_bytes()) => Ok(OfferedKey::Key(key)),
        Ok(_) => Err(mismatch()),
        Err(_) => {
            let bytes = BASE64
                .decode(key.as_bytes())
                .map(Zeroizing::new)
                .map_err(|_| {
                    key_fault(
                        "The secret key was invalid for the specified algorithm.",
                        "it is base64",
                    )
                })?;
            if BASE64.encode(Md5::digest(&*bytes)) == key_md5 {
                Ok(OfferedKey::WrongLength)
            } else {
                OfferedKey::WrongLength.into_key().map(|_| OfferedKey::None)
            }
        }
    }
}

const ENCRYPTION: &str = "x-amz-server-side-encryption";
const KMS_KEY_ID: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const CONTEXT: &str = "x-amz-server-side-encryption-context";
const BUCKET_KEY: &str = "x-amz-server-side-encryption-bucket-key-enabled";

/// Refuses a header that asks for encryption where none is decided: on reads, and on parts, whose
/// encryption their upload has decided.
pub(crate) fn refuse_encryption_header(headers: &HeaderMap) -> Outcome<()> {
    for name in [ENCRYPTION, KMS_KEY_ID, CONTEXT, BUCKET_KEY] {
        if let Some(value) = one(headers, name)? {
            return Err(Refusal::argument(
                format!("{name} header is not supported for this operation."),
                name,
                value,
            ));
        }
    }
    Ok(())
}

/// How a write wants its object protected; `None` is the default of the bucket.
///
/// The customer key is taken out of the headers.
pub(crate) fn protection(
    headers: &mut HeaderMap,
    subject: &mut Subject,
) -> Outcome<Option<Protection>> {
    let has_customer_key = REQUEST_KEY
        .names()
        .iter()
        .any(|name| headers.contains_key(*name));
    if has_customer_key && let Some(method) = one(headers, ENCRYPTION)? {
        return Err(Refusal::argument(
            "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
            ENCRYPTION,
            method,
        )
        .of_customer_key("no other encryption is asked for"));
    }
    if let Some(key) = take_customer_key(headers, &REQUEST_KEY)?.into_key()? {
        return Ok(Some(Protection::CustomerKey(key)));
    }
    let key_id = one(headers, KMS_KEY_ID)?;
    let context = one(headers, CONTEXT)?;
    let bucket_key = flag(headers, BUCKET_KEY)?;
    match one(headers, ENCRYPTION)? {
        Some("aws:kms") => {
            subject.kms_key = key_id.map(str::to_owned);
            let key = match key_id {
                Some(id) => id
                    .parse::<KeyReference>()
                    .map_err(|error| subject.key_refusal(&error))?,
                None => KeyReference::managed(),
            };
            let context = match context {
                Some(text) => encryption_context(text)?,
                None => EncryptionContext::empty(),
            };
            Ok(Some(Protection::Kms {
                key,
                context,
                bucket_key: bucket_key.unwrap_or(false),
            }))
        }
        Some("aws:kms:dsse") => Err(Refusal::with_message(
            Code::NotImplemented,
            "Dual-layer server-side encryption (aws:kms:dsse) is not implemented",
        )
        .field("Header", ENCRYPTION)),
        method @ (None | Some("AES256")) => {
            if key_id.is_some() || context.is_some() {
                return Err(Refusal::argument(
                    "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms",
                    ENCRYPTION,
                    method.unwrap_or("null"),
                ));
            }
            match (method, bucket_key) {
                (None, Some(_)) => Err(Refusal::header_not_implemented(BUCKET_KEY)),
                (Some(_), Some(true)) => Err(Refusal::argument(
                    "A bucket key is only used with x-amz-server-side-encryption : aws:kms",
                    BUCKET_KEY,
                    "true",
                )),
                (None, None) => Ok(None),
                (Some(_), _) => Ok(Some(Protection::Managed)),
            }
        }
        Some(other) => Err(Refusal::argument(
            "The encryption method specified is not supported",
            ENCRYPTION,
            other,
        )),
    }
}

fn encryption_context(text: &str) -> Outcome<EncryptionContext> {
    let fault = || {
        Refusal::argument(
            "The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string holding JSON with the encryption context key-value pairs",
            CONTEXT,
            text,
        )
    };
    let json = BASE64.decode(text).map_err(|_| fault())?;
    let pairs: BTreeMap<String, String> = serde_json::from_slice(&json).map_err(|_| fault())?;
    EncryptionContext::new(pairs).map_err(|error| match error {
        KeyError::InvalidContext { rule } => Refusal::argument(
            format!("The encryption context is not valid: {rule}"),
            CONTEXT,
            text,
        ),
        _ => fault(),
    })
}

/// The names of the headers by which an answer tells how an object is encrypted.
pub(crate) const ANSWER_ALGORITHM: HeaderName = HeaderName::from_static(REQUEST_KEY.algorithm);
/// See [`ANSWER_ALGORITHM`].
pub(crate) const ANSWER_KEY_MD5: HeaderName = HeaderName::from_static(REQUEST_KEY.key_md5);

#[cfg(test)]
#[path = "encryption_tests.rs"]
mod tests;
