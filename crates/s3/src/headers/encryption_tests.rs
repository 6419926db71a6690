use http::HeaderValue;

use super::*;

/// 32 bytes of 0x42, and the digest that `printf 'B%.0s' {1..32} | md5sum` gives.
const KEY: &str = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=";

fn md5_of(base64: &str) -> String {
    BASE64.encode(Md5::digest(BASE64.decode(base64).unwrap()))
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
}

fn triple<'a>(algorithm: &'a str, key: &'a str, md5: &'a str) -> Vec<(&'static str, &'a str)> {
    [
        (REQUEST_KEY.algorithm, algorithm),
        (REQUEST_KEY.key, key),
        (REQUEST_KEY.key_md5, md5),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}

#[test]
fn a_key_is_taken_out_of_the_headers() {
    let mut headers = headers(&triple("AES256", KEY, &md5_of(KEY)));
    let OfferedKey::Key(key) = take_customer_key(&mut headers, &REQUEST_KEY).unwrap() else {
        panic!("a key was offered");
    };
    assert_eq!(key.md5_base64(), md5_of(KEY));
    assert!(!headers.contains_key(REQUEST_KEY.key));
}

#[test]
fn every_row_of_the_error_matrix_is_answered_as_aws_answers_it() {
    let (short, long) = (BASE64.encode([1; 16]), BASE64.encode(KEY));
    let (short_md5, long_md5) = (md5_of(&short), md5_of(&long));
    let md5 = md5_of(KEY);
    let argument = Code::InvalidArgument;
    for (algorithm, key, key_md5, code, message, value) in [
        (
            "AES128",
            KEY,
            md5.as_str(),
            Code::InvalidEncryptionAlgorithm,
            "The Encryption request you specified is not valid. Supported value: AES256.",
            "AES128",
        ),
        (
            "",
            KEY,
            &md5,
            argument,
            "must provide a valid encryption algorithm.",
            "null",
        ),
        (
            "",
            "",
            &md5,
            argument,
            "must provide a valid encryption algorithm.",
            "null",
        ),
        (
            "AES256",
            "",
            &md5,
            argument,
            "must provide an appropriate secret key.",
            "null",
        ),
        (
            "AES256",
            "",
            "",
            argument,
            "must provide an appropriate secret key.",
            "null",
        ),
        (
            "AES256",
            KEY,
            "",
            argument,
            "must provide the client calculated MD5 of the secret key.",
            "null",
        ),
        (
            "AES256",
            &short,
            &short_md5,
            argument,
            "The secret key was invalid for the specified algorithm.",
            "null",
        ),
        (
            "AES256",
            &long,
            &long_md5,
            argument,
            "The secret key was invalid for the specified algorithm.",
            "null",
        ),
        (
            "AES256",
            "no base64!",
            &md5,
            argument,
            "The secret key was invalid for the specified algorithm.",
            "null",
        ),
        (
            "AES256",
            KEY,
            &short_md5,
            argument,
            "The calculated MD5 hash of the key did not match the hash that was provided.",
            "null",
        ),
        (
            "AES256",
            KEY,
            "nonsense",
            argument,
            "The calculated MD5 hash of the key did not match the hash that was provided.",
            "null",
        ),
    ] {
        let mut headers = headers(&triple(algorithm, key, key_md5));
        let refused = take_customer_key(&mut headers, &REQUEST_KEY)
            .and_then(OfferedKey::into_key)
            .unwrap_err();
        assert_eq!(refused.code(), code, "{message}");
        assert!(
            refused.message().ends_with(message),
            "{}",
            refused.message()
        );
        assert_eq!(
            refused.value_of("ArgumentName"),
            Some("x-amz-server-side-encryption")
        );
        assert_eq!(refused.value_of("ArgumentValue"), Some(value));
        assert!(refused.customer_key_rule().is_some());
        assert!(!format!("{refused:?}").contains(KEY));
    }
}

#[test]
fn a_reader_is_not_told_that_a_wrong_key_has_the_wrong_length() {
    let short = BASE64.encode([1; 16]);
    let mut headers = headers(&triple("AES256", &short, &md5_of(&short)));
    assert!(matches!(
        take_customer_key(&mut headers, &REQUEST_KEY),
        Ok(OfferedKey::WrongLength)
    ));
}

#[test]
fn what_is_secret_prints_as_sensitive() {
    let mut headers = headers(&triple("AES256", KEY, &md5_of(KEY)));
    headers.insert(COPY_SOURCE_KEY.key, HeaderValue::from_static(KEY));
    headers.insert(
        "authorization",
        HeaderValue::from_static("AWS4-HMAC-SHA256 x"),
    );
    mark_sensitive(&mut headers);
    let printed = format!("{headers:?}");
    assert!(
        !printed.contains(KEY) && !printed.contains("AWS4"),
        "{printed}"
    );
}

fn protect(pairs: &[(&'static str, &str)]) -> Outcome<Option<Protection>> {
    protection(&mut headers(pairs), &mut Subject::default())
}

#[test]
fn a_write_says_how_it_is_protected() {
    assert!(protect(&[]).unwrap().is_none());
    assert!(matches!(
        protect(&[(ENCRYPTION, "AES256")]).unwrap(),
        Some(Protection::Managed)
    ));
    let context = BASE64.encode(br#"{"project":"a"}"#);
    let Some(Protection::Kms {
        key,
        context,
        bucket_key,
    }) = protect(&[
        (ENCRYPTION, "aws:kms"),
        (KMS_KEY_ID, "alias/mine"),
        (CONTEXT, &context),
        (BUCKET_KEY, "true"),
    ])
    .unwrap()
    else {
        panic!("SSE-KMS was asked for");
    };
    assert_eq!(key.to_string(), "alias/mine");
    assert_eq!(context.pairs().collect::<Vec<_>>(), [("project", "a")]);
    assert!(bucket_key);
    let Some(Protection::Kms {
        key,
        bucket_key: false,
        ..
    }) = protect(&[(ENCRYPTION, "aws:kms")]).unwrap()
    else {
        panic!("SSE-KMS was asked for");
    };
    assert_eq!(key, KeyReference::managed());
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    let with_key = [triple("AES256", KEY, "x"), vec![(ENCRYPTION, "aws:kms")]].concat();
    for (pairs, code) in [
        (with_key, Code::InvalidArgument),
        (vec![(ENCRYPTION, "aws:kms:dsse")], Code::NotImplemented),
        (vec![(ENCRYPTION, "aes256")], Code::InvalidArgument),
        (vec![(KMS_KEY_ID, "alias/mine")], Code::InvalidArgument),
        (
            vec![(ENCRYPTION, "AES256"), (KMS_KEY_ID, "alias/mine")],
            Code::InvalidArgument,
        ),
        (
            vec![(ENCRYPTION, "AES256"), (CONTEXT, "e30=")],
            Code::InvalidArgument,
        ),
        (
            vec![(ENCRYPTION, "aws:kms"), (CONTEXT, "not base64")],
            Code::InvalidArgument,
        ),
        (
            vec![(ENCRYPTION, "aws:kms"), (CONTEXT, "WzFd")],
            Code::InvalidArgument,
        ),
        (
            vec![(ENCRYPTION, "aws:kms"), (KMS_KEY_ID, "no key")],
            Code::KmsNotFound,
        ),
        (
            vec![(ENCRYPTION, "aws:kms"), (BUCKET_KEY, "perhaps")],
            Code::InvalidArgument,
        ),
        (
            vec![(ENCRYPTION, "AES256"), (BUCKET_KEY, "true")],
            Code::InvalidArgument,
        ),
        (vec![(BUCKET_KEY, "true")], Code::NotImplemented),
    ] {
        assert_eq!(protect(&pairs).unwrap_err().code(), code, "{pairs:?}");
    }
}

#[test]
fn a_read_decides_no_encryption() {
    for name in [ENCRYPTION, KMS_KEY_ID, CONTEXT, BUCKET_KEY] {
        let refused = refuse_encryption_header(&headers(&[(name, "aws:kms")])).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.value_of("ArgumentName"), Some(name));
        assert_eq!(refused.value_of("ArgumentValue"), Some("aws:kms"));
    }
}
