use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::{AmzDate, CredentialScope, Signature, SigningKey};

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A request, and the signature that a secret access key makes over it.
struct Example {
    secret: &'static str,
    credential: &'static str,
    date: &'static str,
    method: Method,
    path: &'static str,
    query: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    payload: &'static str,
}

impl Example {
    /// The examples of the Amazon S3 API Reference.
    fn s3(headers: Vec<(&'static str, &'static str)>) -> Self {
        Self {
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            credential: "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request",
            date: "20130524T000000Z",
            method: Method::GET,
            path: "/",
            query: "",
            headers,
            payload: EMPTY,
        }
    }

    fn sign(&self, encoding: PathEncoding) -> Signature {
        let headers: HeaderMap = self
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        let signed_headers: Vec<String> = self
            .headers
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let scope = CredentialScope::parse(self.credential).expect("a scope");
        let date = AmzDate::parse(self.date).expect("a date");
        SigningKey::derive(self.secret, &scope).sign_head(
            &date,
            &SignedHead {
                method: &self.method,
                path: self.path,
                path_encoding: encoding,
                query: self.query,
                headers: &headers,
                host: None,
                signed_headers: &signed_headers,
                payload: self.payload,
            },
        )
    }
}

#[test]
fn the_examples_of_the_s3_api_reference_are_signed_alike() {
    let host = ("host", "examplebucket.s3.amazonaws.com");
    let date = ("x-amz-date", "20130524T000000Z");
    let empty = ("x-amz-content-sha256", EMPTY);
    let put = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    for (expected, example) in [
        (
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            Example {
                path: "/test.txt",
                ..Example::s3(vec![host, ("range", "bytes=0-9"), empty, date])
            },
        ),
        (
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            Example {
                method: Method::PUT,
                path: "/test%24file.text",
                payload: put,
                ..Example::s3(vec![
                    ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                    host,
                    ("x-amz-content-sha256", put),
                    date,
                    ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                ])
            },
        ),
        (
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            Example {
                query: "lifecycle",
                ..Example::s3(vec![host, empty, date])
            },
        ),
        (
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            Example {
                query: "max-keys=2&prefix=J",
                ..Example::s3(vec![host, empty, date])
            },
        ),
        (
            "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
            Example {
                path: "/test.txt",
                query: "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
                payload: "UNSIGNED-PAYLOAD",
                ..Example::s3(vec![host])
            },
        ),
    ] {
        assert_eq!(
            example.sign(PathEncoding::Once).to_string(),
            expected,
            "{} {}?{}",
            example.method,
            example.path,
            example.query
        );
    }
}

#[test]
fn the_plain_example_of_the_test_suite_is_signed_alike() {
    let example = Example {
        secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        credential: "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request",
        date: "20150830T123600Z",
        method: Method::GET,
        path: "/",
        query: "",
        headers: vec![
            ("host", "example.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ],
        payload: EMPTY,
    };
    let expected = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    assert_eq!(example.sign(PathEncoding::Twice).to_string(), expected);
    assert_eq!(example.sign(PathEncoding::Once).to_string(), expected);
}

#[test]
fn every_way_to_write_a_request_comes_to_one_form() {
    let signed = |path, query, value| {
        Example {
            path,
            query,
            ..Example::s3(vec![("host", "h"), ("x-amz-meta-a", value)])
        }
        .sign(PathEncoding::Once)
    };
    let plain = signed("/a%20b%2Bc/d~", "k=%2F&a=%20&x", "one two");
    for (path, query, value) in [
        ("/a%20b+c/d%7e", "a=+&k=/&x=", "  one   two "),
        ("/%61%20b%2bc/d~", "x&k=%2f&&a=%20", "one\ttwo"),
    ] {
        assert_eq!(signed(path, query, value), plain, "{path}?{query}");
    }
    for (path, query, value) in [
        ("/a%20b%2Bc/d", "k=%2F&a=%20&x", "one two"),
        ("/a%20b%2Bc/d~", "k=%2F&a=%20&x&x", "one two"),
        ("/a%20b%2Bc/d~", "k=%2F&a=%20&x", "onetwo"),
        ("/a%20b%2Bc%2Fd~/", "k=%2F&a=%20&x", "one two"),
    ] {
        assert_ne!(signed(path, query, value), plain, "{path}?{query}");
    }
}

#[test]
fn a_host_outside_of_the_headers_counts_as_one() {
    let scope = CredentialScope::parse("A/20130524/us-east-1/s3/aws4_request").expect("a scope");
    let date = AmzDate::parse("20130524T000000Z").expect("a date");
    let key = SigningKey::derive("secret", &scope);
    let within = HeaderMap::from_iter([(HOST, HeaderValue::from_static("example.org"))]);
    let without = HeaderMap::new();
    let signed_headers = ["host".to_owned()];
    let head = SignedHead {
        method: &Method::GET,
        path: "/",
        path_encoding: PathEncoding::Once,
        query: "",
        headers: &within,
        host: None,
        signed_headers: &signed_headers,
        payload: "UNSIGNED-PAYLOAD",
    };
    let apart = SignedHead {
        headers: &without,
        host: Some("example.org"),
        ..head
    };
    assert_eq!(key.sign_head(&date, &head), key.sign_head(&date, &apart));
}

proptest! {
    #[test]
    fn whatever_is_sent_is_signed_without_a_panic(path in ".*", query in ".*") {
        let mut encoded = String::new();
        push_encoded(&mut encoded, &decode(&path), true);
        // What is encoded once more is the same: the form is a fixed point.
        let mut again = String::new();
        push_encoded(&mut again, &decode(&encoded), true);
        prop_assert_eq!(encoded, again);
        let canonical = canonical_query(&query);
        prop_assert_eq!(canonical_query(&canonical), canonical);
    }
}
