//! Headers that are not understood are not ignored.

use http::HeaderMap;

use super::one;
use crate::refusal::{Code, Outcome, Refusal};

/// The canned ACLs of the Amazon S3 user guide, of which only those that change nothing are taken.
const CANNED_ACLS: [&str; 8] = [
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
    "log-delivery-write",
];

/// Refuses a request with an `x-amz-` header that the service does not know, or whose value asks
/// for something that it does not do.
///
/// A header that is passed over in silence may be one that was meant to protect the object.
pub(crate) fn check_known(headers: &HeaderMap, account: &str) -> Outcome<()> {
    for name in headers.keys().map(http::HeaderName::as_str) {
        if name.starts_with("x-amz-") && !is_known(name) {
            return Err(Refusal::header_not_implemented(name));
        }
    }
    for name in [
        "x-amz-expected-bucket-owner",
        "x-amz-source-expected-bucket-owner",
    ] {
        if one(headers, name)?.is_some_and(|owner| owner != account) {
            return Err(Code::AccessDenied.into());
        }
    }
    if let Some(acl) = one(headers, "x-amz-acl")?
        && !CANNED_ACLS.contains(&acl)
    {
        return Err(Refusal::argument("Invalid Argument", "x-amz-acl", acl));
    }
    let allowed: [(&str, &[&str]); 4] = [
        ("x-amz-acl", &["private", "bucket-owner-full-control"]),
        ("x-amz-object-ownership", &["BucketOwnerEnforced"]),
        ("x-amz-bucket-object-lock-enabled", &["false", "False"]),
        ("x-amz-tagging-directive", &["COPY"]),
    ];
    for (name, values) in allowed {
        if one(headers, name)?.is_some_and(|value| !values.contains(&value)) {
            return Err(Refusal::header_not_implemented(name));
        }
    }
    Ok(())
}

fn is_known(name: &str) -> bool {
    name.starts_with("x-amz-meta-")
        || matches!(
            name,
            // How the request is signed and framed.
            "x-amz-date"
                | "x-amz-content-sha256"
                | "x-amz-decoded-content-length"
                | "x-amz-trailer"
                | "x-amz-te"
                | "x-amz-user-agent"
                // What it asks for.
                | "x-amz-storage-class"
                | "x-amz-server-side-encryption"
                | "x-amz-server-side-encryption-aws-kms-key-id"
                | "x-amz-server-side-encryption-context"
                | "x-amz-server-side-encryption-bucket-key-enabled"
                | "x-amz-server-side-encryption-customer-algorithm"
                | "x-amz-server-side-encryption-customer-key"
                | "x-amz-server-side-encryption-customer-key-md5"
                | "x-amz-copy-source"
                | "x-amz-copy-source-range"
                | "x-amz-copy-source-if-match"
                | "x-amz-copy-source-if-none-match"
                | "x-amz-copy-source-if-modified-since"
                | "x-amz-copy-source-if-unmodified-since"
                | "x-amz-copy-source-server-side-encryption-customer-algorithm"
                | "x-amz-copy-source-server-side-encryption-customer-key"
                | "x-amz-copy-source-server-side-encryption-customer-key-md5"
                | "x-amz-metadata-directive"
                | "x-amz-sdk-checksum-algorithm"
                | "x-amz-checksum-algorithm"
                | "x-amz-checksum-type"
                | "x-amz-checksum-mode"
                | "x-amz-checksum-crc32"
                | "x-amz-checksum-crc32c"
                | "x-amz-checksum-crc64nvme"
                | "x-amz-checksum-sha1"
                | "x-amz-checksum-sha256"
                | "x-amz-mp-object-size"
                | "x-amz-object-attributes"
                | "x-amz-max-parts"
                | "x-amz-part-number-marker"
                | "x-amz-optional-object-attributes"
                | "x-amz-transition-default-minimum-object-size"
                // Who pays is nobody's question here; who owns a bucket is checked.
                | "x-amz-request-payer"
                | "x-amz-expected-bucket-owner"
                | "x-amz-source-expected-bucket-owner"
                // Allowed with the value that changes nothing.
                | "x-amz-acl"
                | "x-amz-object-ownership"
                | "x-amz-bucket-object-lock-enabled"
                | "x-amz-tagging-directive"
        )
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn check(name: &'static str, value: &'static str) -> Outcome<()> {
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )]);
        check_known(&headers, "000000000000")
    }

    #[test]
    fn what_is_not_implemented_is_never_ignored() {
        for (name, value) in [
            ("x-amz-object-lock-mode", "COMPLIANCE"),
            (
                "x-amz-object-lock-retain-until-date",
                "2030-01-01T00:00:00Z",
            ),
            ("x-amz-object-lock-legal-hold", "ON"),
            ("x-amz-tagging", "a=b"),
            ("x-amz-tagging-directive", "REPLACE"),
            ("x-amz-acl", "public-read"),
            (
                "x-amz-grant-read",
                "uri=http://acs.amazonaws.com/groups/global/AllUsers",
            ),
            ("x-amz-website-redirect-location", "/other"),
            ("x-amz-mfa", "1 2"),
            ("x-amz-bucket-object-lock-enabled", "true"),
            ("x-amz-object-ownership", "ObjectWriter"),
            ("x-amz-write-offset-bytes", "5"),
            ("x-amz-bypass-governance-retention", "true"),
            ("x-amz-checksum-sha512", "AAAA"),
            ("x-amz-something-new", "1"),
        ] {
            let refused = check(name, value).expect_err(name);
            assert_eq!(refused.code(), Code::NotImplemented, "{name}");
            assert_eq!(refused.value_of("Header"), Some(name));
        }
    }

    #[test]
    fn what_changes_nothing_is_allowed() {
        for (name, value) in [
            ("x-amz-acl", "private"),
            ("x-amz-acl", "bucket-owner-full-control"),
            ("x-amz-meta-x-amz-tagging", "a"),
            ("x-amz-request-payer", "requester"),
            ("x-amz-tagging-directive", "COPY"),
            ("x-amz-expected-bucket-owner", "000000000000"),
            ("x-amzn-trace-id", "Root=1"),
        ] {
            check(name, value).expect(name);
        }
        let refused = check("x-amz-acl", "nonsense").unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.value_of("ArgumentValue"), Some("nonsense"));
        let refused = check("x-amz-expected-bucket-owner", "111111111111").unwrap_err();
        assert_eq!(refused.code(), Code::AccessDenied);
    }
}
