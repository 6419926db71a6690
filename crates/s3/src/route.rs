//! Which operation a request asks for.

use http::{HeaderMap, Method};

use crate::address::{Address, Query};
use crate::refusal::{Code, Outcome, Refusal};

/// Names the operations, once.
macro_rules! operations {
    ($($variant:ident),* $(,)?) => {
        /// An operation of the S3 API that the service has.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub(crate) enum Operation {
            $(#[doc = concat!("`", stringify!($variant), "`.")] $variant,)*
        }

        impl Operation {
            /// The name in the API.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }
        }
    };
}

operations! {
    AbortMultipartUpload,
    CompleteMultipartUpload,
    CopyObject,
    CreateBucket,
    CreateMultipartUpload,
    DeleteBucket,
    DeleteBucketEncryption,
    DeleteBucketLifecycle,
    DeleteObject,
    DeleteObjects,
    GetBucketEncryption,
    GetBucketLifecycleConfiguration,
    GetBucketLocation,
    GetBucketVersioning,
    GetObject,
    GetObjectAttributes,
    HeadBucket,
    HeadObject,
    ListBuckets,
    ListMultipartUploads,
    ListObjectVersions,
    ListObjects,
    ListObjectsV2,
    ListParts,
    PutBucketEncryption,
    PutBucketLifecycleConfiguration,
    PutBucketVersioning,
    PutObject,
    RestoreObject,
    UploadPart,
    UploadPartCopy,
}

/// Sub-resources of buckets and objects that AWS has and the service has not.
const NOT_IMPLEMENTED: &[&str] = &[
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "annotation",
    "cors",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "logging",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "website",
];

/// Sub-resources that the service has.
const IMPLEMENTED: &[&str] = &[
    "attributes",
    "delete",
    "encryption",
    "lifecycle",
    "list-type",
    "location",
    "partNumber",
    "restore",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
];

/// The parameters of listings, which may be empty.
const LISTING: &[&str] = &[
    "bucket-region",
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "marker",
    "max-buckets",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "prefix",
    "start-after",
    "upload-id-marker",
    "version-id-marker",
];

impl Operation {
    /// The operation that a request asks for.
    pub(crate) fn of(
        method: &Method,
        address: &Address,
        query: &Query,
        headers: &HeaderMap,
    ) -> Outcome<Self> {
        // A browser asks beforehand, without a signature, whether a page of another origin may ask.
        if method == Method::OPTIONS {
            return Err(Code::AccessForbidden.into());
        }
        check_sub_resources(query)?;
        let found = match address {
            Address::Service => of_service(method),
            Address::Bucket(_) => of_bucket(method, query, headers)?,
            Address::Object(..) => of_object(method, query, headers)?,
        };
        found.ok_or_else(|| {
            Refusal::new(Code::MethodNotAllowed)
                .field("Method", method.as_str())
                .field(
                    "ResourceType",
                    match address {
                        Address::Service => "SERVICE",
                        Address::Bucket(_) => "BUCKET",
                        Address::Object(..) => "OBJECT",
                    },
                )
        })
    }
}

/// Refuses a sub-resource that is not there. One that nobody knows yet is told from a parameter by
/// its having no value.
fn check_sub_resources(query: &Query) -> Outcome<()> {
    for (name, value) in query.iter() {
        let is_known = IMPLEMENTED.contains(&name)
            || LISTING.contains(&name)
            || name.starts_with("response-")
            || name.starts_with("x-amz-")
            || name.starts_with("X-Amz-");
        if NOT_IMPLEMENTED.contains(&name) || (value.is_empty() && !is_known) {
            return Err(Refusal::with_message(
                Code::NotImplemented,
                format!("The sub-resource {name} is not implemented"),
            )
            .field("ResourceType", name));
        }
    }
    Ok(())
}

fn of_service(method: &Method) -> Option<Operation> {
    (method == Method::GET).then_some(Operation::ListBuckets)
}

fn of_bucket(method: &Method, query: &Query, headers: &HeaderMap) -> Outcome<Option<Operation>> {
    let has = |name| query.has(name);
    Ok(match *method {
        Method::GET if has("location") => Some(Operation::GetBucketLocation),
        Method::GET if has("versioning") => Some(Operation::GetBucketVersioning),
        Method::GET if has("encryption") => Some(Operation::GetBucketEncryption),
        Method::GET if has("lifecycle") => Some(Operation::GetBucketLifecycleConfiguration),
        Method::GET if has("uploads") => Some(Operation::ListMultipartUploads),
        Method::GET if has("versions") => Some(Operation::ListObjectVersions),
        Method::GET => match query.get("list-type")? {
            Some("2") => Some(Operation::ListObjectsV2),
            None | Some("1") => Some(Operation::ListObjects),
            Some(other) => {
                return Err(Refusal::argument(
                    "Invalid List Type specified in Query",
                    "list-type",
                    other,
                ));
            }
        },
        Method::HEAD => Some(Operation::HeadBucket),
        Method::PUT if has("versioning") => Some(Operation::PutBucketVersioning),
        Method::PUT if has("encryption") => Some(Operation::PutBucketEncryption),
        Method::PUT if has("lifecycle") => Some(Operation::PutBucketLifecycleConfiguration),
        Method::PUT => Some(Operation::CreateBucket),
        Method::DELETE if has("encryption") => Some(Operation::DeleteBucketEncryption),
        Method::DELETE if has("lifecycle") => Some(Operation::DeleteBucketLifecycle),
        Method::DELETE => Some(Operation::DeleteBucket),
        Method::POST if has("delete") => Some(Operation::DeleteObjects),
        Method::POST if is_form(headers) => return Err(post_object()),
        _ => None,
    })
}

fn of_object(method: &Method, query: &Query, headers: &HeaderMap) -> Outcome<Option<Operation>> {
    let has = |name| query.has(name);
    let is_copy = headers.contains_key("x-amz-copy-source");
    Ok(match *method {
        Method::GET if has("uploadId") => Some(Operation::ListParts),
        Method::GET if has("attributes") => Some(Operation::GetObjectAttributes),
        Method::GET => Some(Operation::GetObject),
        Method::HEAD => Some(Operation::HeadObject),
        Method::PUT => match (has("partNumber"), has("uploadId")) {
            (true, true) if is_copy => Some(Operation::UploadPartCopy),
            (true, true) => Some(Operation::UploadPart),
            (false, false) if is_copy => Some(Operation::CopyObject),
            (false, false) => Some(Operation::PutObject),
            (part, _) => {
                let (present, absent) = if part {
                    ("partNumber", "uploadId")
                } else {
                    ("uploadId", "partNumber")
                };
                return Err(Refusal::with_message(
                    Code::InvalidRequest,
                    format!("{present} is given without {absent}"),
                ));
            }
        },
        Method::DELETE if has("uploadId") => Some(Operation::AbortMultipartUpload),
        Method::DELETE => Some(Operation::DeleteObject),
        Method::POST if has("uploads") => Some(Operation::CreateMultipartUpload),
        Method::POST if has("uploadId") => Some(Operation::CompleteMultipartUpload),
        Method::POST if has("restore") => Some(Operation::RestoreObject),
        Method::POST if is_form(headers) => return Err(post_object()),
        _ => None,
    })
}

/// Whether the body is a form, whose fields would carry what headers carry elsewhere.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|value| {
            let value = value.as_bytes();
            let form = b"multipart/form-data";
            value.len() >= form.len() && value[..form.len()].eq_ignore_ascii_case(form)
        })
}

/// PostObject carries its signature within its body, and its file too.
pub(crate) fn post_object() -> Refusal {
    Refusal::with_message(
        Code::NotImplemented,
        "Uploads by a browser form (POST Object) are not implemented",
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn operation(method: &str, uri: &str, header: Option<&'static str>) -> Outcome<Operation> {
        let uri: http::Uri = uri.parse().unwrap();
        let address = Address::of(None, uri.path(), None).unwrap();
        let mut headers = HeaderMap::new();
        if let Some(name) = header {
            headers.insert(
                name,
                HeaderValue::from_static("multipart/form-data; boundary=x"),
            );
        }
        Operation::of(
            &method.parse().unwrap(),
            &address,
            &Query::of(&uri).unwrap(),
            &headers,
        )
    }

    #[test]
    fn every_operation_is_reached_by_its_own_request() {
        use Operation as O;
        for (method, uri, expected) in [
            ("GET", "/", O::ListBuckets),
            ("PUT", "/b", O::CreateBucket),
            ("HEAD", "/b", O::HeadBucket),
            ("DELETE", "/b", O::DeleteBucket),
            ("GET", "/b?location", O::GetBucketLocation),
            ("GET", "/b?versioning", O::GetBucketVersioning),
            ("PUT", "/b?versioning", O::PutBucketVersioning),
            ("GET", "/b?encryption", O::GetBucketEncryption),
            ("PUT", "/b?encryption", O::PutBucketEncryption),
            ("DELETE", "/b?encryption", O::DeleteBucketEncryption),
            ("GET", "/b?lifecycle", O::GetBucketLifecycleConfiguration),
            ("PUT", "/b?lifecycle", O::PutBucketLifecycleConfiguration),
            ("DELETE", "/b?lifecycle", O::DeleteBucketLifecycle),
            ("GET", "/b?uploads", O::ListMultipartUploads),
            ("GET", "/b?versions&prefix=", O::ListObjectVersions),
            ("GET", "/b?list-type=2&prefix=&delimiter=", O::ListObjectsV2),
            ("GET", "/b", O::ListObjects),
            ("GET", "/b/?marker=", O::ListObjects),
            ("POST", "/b?delete", O::DeleteObjects),
            ("GET", "/b/k", O::GetObject),
            (
                "GET",
                "/b/k?x-id=GetObject&response-content-type=",
                O::GetObject,
            ),
            ("GET", "/b/k?attributes", O::GetObjectAttributes),
            ("GET", "/b/k?uploadId=u", O::ListParts),
            ("HEAD", "/b/k", O::HeadObject),
            ("PUT", "/b/k", O::PutObject),
            ("PUT", "/b/k?partNumber=1&uploadId=u", O::UploadPart),
            ("DELETE", "/b/k", O::DeleteObject),
            ("DELETE", "/b/k?uploadId=u", O::AbortMultipartUpload),
            ("POST", "/b/k?uploads", O::CreateMultipartUpload),
            ("POST", "/b/k?uploadId=u", O::CompleteMultipartUpload),
            ("POST", "/b/k?restore", O::RestoreObject),
        ] {
            assert_eq!(
                operation(method, uri, None).unwrap(),
                expected,
                "{method} {uri}"
            );
        }
        let copy = Some("x-amz-copy-source");
        assert_eq!(operation("PUT", "/b/k", copy).unwrap(), O::CopyObject);
        assert_eq!(
            operation("PUT", "/b/k?partNumber=1&uploadId=u", copy).unwrap(),
            O::UploadPartCopy
        );
    }

    #[test]
    fn what_is_not_there_is_never_taken_for_something_else() {
        for name in NOT_IMPLEMENTED.iter().copied().chain(["brand-new"]) {
            for (method, path) in [
                ("GET", "/b"),
                ("PUT", "/b/k"),
                ("DELETE", "/b"),
                ("GET", "/b/k"),
            ] {
                let refused = operation(method, &format!("{path}?{name}"), None).unwrap_err();
                assert_eq!(
                    refused.code(),
                    Code::NotImplemented,
                    "{method} {path}?{name}"
                );
            }
        }
        let form = operation("POST", "/b", Some("content-type")).unwrap_err();
        assert_eq!(form.code(), Code::NotImplemented);
        for (method, uri) in [
            ("POST", "/"),
            ("PATCH", "/b/k"),
            ("POST", "/b"),
            ("DELETE", "/"),
        ] {
            let refused = operation(method, uri, None).unwrap_err();
            assert_eq!(refused.code(), Code::MethodNotAllowed, "{method} {uri}");
        }
        for uri in ["/b/k?partNumber=1", "/b/k?uploadId=u"] {
            let refused = operation("PUT", uri, None).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidRequest, "{uri}");
        }
        assert!(operation("GET", "/b?list-type=3", None).is_err());
        let preflight = operation("OPTIONS", "/b/k", None).unwrap_err();
        assert_eq!(preflight.code(), Code::AccessForbidden);
    }
}
