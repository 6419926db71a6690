//! The answers that say no: S3 error codes with their status, message and extra fields.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::xml::Writer;

/// States every error code the service gives, once: its status and the message AWS sends with it.
macro_rules! codes {
    ($($variant:ident = $name:literal, $status:ident, $message:literal;)*) => {
        /// An S3 error code.
        ///
        /// Source: Amazon S3 API Reference, "Error responses"; for the codes of the key service
        /// and of customer-provided keys, what AWS answers.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub(crate) enum Code {
            $(#[doc = $message] $variant,)*
        }

        impl Code {
            /// All codes.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as it stands in the answer.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The HTTP status that goes with it.
            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// The message that goes with it where no other is given.
            pub(crate) const fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)* }
            }
        }
    };
}

codes! {
    AccessDenied = "AccessDenied", FORBIDDEN, "Access Denied";
    AccessForbidden = "AccessForbidden", FORBIDDEN, "CORSResponse: CORS is not enabled for this bucket.";
    AuthorizationHeaderMalformed = "AuthorizationHeaderMalformed", BAD_REQUEST, "The authorization header you provided is invalid.";
    AuthorizationQueryParameters = "AuthorizationQueryParametersError", BAD_REQUEST, "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.";
    BadDigest = "BadDigest", BAD_REQUEST, "The Content-MD5 you specified did not match what we received.";
    BucketAlreadyExists = "BucketAlreadyExists", CONFLICT, "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.";
    BucketAlreadyOwnedByYou = "BucketAlreadyOwnedByYou", CONFLICT, "Your previous request to create the named bucket succeeded and you already own it.";
    BucketNotEmpty = "BucketNotEmpty", CONFLICT, "The bucket you tried to delete is not empty";
    EntityTooLarge = "EntityTooLarge", BAD_REQUEST, "Your proposed upload exceeds the maximum allowed size";
    EntityTooSmall = "EntityTooSmall", BAD_REQUEST, "Your proposed upload is smaller than the minimum allowed size";
    ExpeditedNotAvailable = "GlacierExpeditedRetrievalNotAvailable", SERVICE_UNAVAILABLE, "Glacier expedited retrievals are currently not available, please try again later";
    IllegalLocationConstraint = "IllegalLocationConstraintException", BAD_REQUEST, "The unspecified location constraint is incompatible for the region specific endpoint this request was sent to.";
    IllegalVersioningConfiguration = "IllegalVersioningConfigurationException", BAD_REQUEST, "The Versioning element must be specified";
    IncompleteBody = "IncompleteBody", BAD_REQUEST, "You did not provide the number of bytes specified by the Content-Length HTTP header";
    InsufficientStorage = "InsufficientStorage", INSUFFICIENT_STORAGE, "There is no room left to keep what you sent. Nothing was changed.";
    InternalError = "InternalError", INTERNAL_SERVER_ERROR, "We encountered an internal error. Please try again.";
    InvalidAccessKeyId = "InvalidAccessKeyId", FORBIDDEN, "The AWS Access Key Id you provided does not exist in our records.";
    InvalidArgument = "InvalidArgument", BAD_REQUEST, "Invalid Argument";
    InvalidBucketName = "InvalidBucketName", BAD_REQUEST, "The specified bucket is not valid.";
    InvalidDigest = "InvalidDigest", BAD_REQUEST, "The Content-MD5 you specified was invalid.";
    InvalidEncryptionAlgorithm = "InvalidEncryptionAlgorithmError", BAD_REQUEST, "The Encryption request you specified is not valid. Supported value: AES256.";
    InvalidLocationConstraint = "InvalidLocationConstraint", BAD_REQUEST, "The specified location-constraint is not valid";
    InvalidObjectState = "InvalidObjectState", FORBIDDEN, "The operation is not valid for the object's storage class";
    InvalidPart = "InvalidPart", BAD_REQUEST, "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.";
    InvalidPartNumber = "InvalidPartNumber", RANGE_NOT_SATISFIABLE, "The requested partnumber is not satisfiable";
    InvalidPartOrder = "InvalidPartOrder", BAD_REQUEST, "The list of parts was not in ascending order. Parts must be ordered by part number.";
    InvalidRange = "InvalidRange", RANGE_NOT_SATISFIABLE, "The requested range is not satisfiable";
    InvalidRequest = "InvalidRequest", BAD_REQUEST, "Invalid Request";
    InvalidStorageClass = "InvalidStorageClass", BAD_REQUEST, "The storage class you specified is not valid";
    InvalidUri = "InvalidURI", BAD_REQUEST, "Couldn't parse the specified URI.";
    InvalidToken = "InvalidToken", BAD_REQUEST, "The provided token is malformed or otherwise invalid.";
    KeyTooLong = "KeyTooLongError", BAD_REQUEST, "Your key is too long";
    KmsDisabled = "KMS.DisabledException", BAD_REQUEST, "The key is disabled.";
    KmsInvalidState = "KMS.KMSInvalidStateException", BAD_REQUEST, "The key is pending deletion.";
    KmsNotFound = "KMS.NotFoundException", BAD_REQUEST, "Invalid keyId";
    MalformedTrailer = "MalformedTrailerError", BAD_REQUEST, "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    MalformedXml = "MalformedXML", BAD_REQUEST, "The XML you provided was not well-formed or did not validate against our published schema";
    MaxMessageLengthExceeded = "MaxMessageLengthExceeded", BAD_REQUEST, "Your request was too big.";
    MetadataTooLarge = "MetadataTooLarge", BAD_REQUEST, "Your metadata headers exceed the maximum allowed metadata size";
    MethodNotAllowed = "MethodNotAllowed", METHOD_NOT_ALLOWED, "The specified method is not allowed against this resource.";
    MissingContentLength = "MissingContentLength", LENGTH_REQUIRED, "You must provide the Content-Length HTTP header.";
    MissingRequestBody = "MissingRequestBodyError", BAD_REQUEST, "Request Body is empty";
    NoSuchBucket = "NoSuchBucket", NOT_FOUND, "The specified bucket does not exist";
    NoSuchKey = "NoSuchKey", NOT_FOUND, "The specified key does not exist.";
    NoSuchLifecycleConfiguration = "NoSuchLifecycleConfiguration", NOT_FOUND, "The lifecycle configuration does not exist";
    NoSuchUpload = "NoSuchUpload", NOT_FOUND, "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
    NoSuchVersion = "NoSuchVersion", NOT_FOUND, "The specified version does not exist.";
    NotImplemented = "NotImplemented", NOT_IMPLEMENTED, "A header you provided implies functionality that is not implemented";
    NotModified = "NotModified", NOT_MODIFIED, "Not Modified";
    ObjectNotInActiveTier = "ObjectNotInActiveTierError", FORBIDDEN, "The source object of the COPY operation is not in the active tier and is only stored in Amazon Glacier.";
    PreconditionFailed = "PreconditionFailed", PRECONDITION_FAILED, "At least one of the pre-conditions you specified did not hold";
    RequestTimeTooSkewed = "RequestTimeTooSkewed", FORBIDDEN, "The difference between the request time and the current time is too large.";
    RequestTimeout = "RequestTimeout", BAD_REQUEST, "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed.";
    RestoreAlreadyInProgress = "RestoreAlreadyInProgress", CONFLICT, "Object restore is already in progress";
    ServiceUnavailable = "ServiceUnavailable", SERVICE_UNAVAILABLE, "Service is unable to handle request.";
    SlowDown = "SlowDown", SERVICE_UNAVAILABLE, "Please reduce your request rate.";
    SignatureDoesNotMatch = "SignatureDoesNotMatch", FORBIDDEN, "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
    ContentSha256Mismatch = "XAmzContentSHA256Mismatch", BAD_REQUEST, "The provided 'x-amz-content-sha256' header does not match what was computed.";
}

/// A request that is refused: what the client is told.
///
/// Whatever stands in it goes to the client: never a key, never plaintext.
#[derive(Clone)]
pub(crate) struct Refusal {
    inner: Box<Inner>,
}

#[derive(Clone)]
struct Inner {
    code: Code,
    message: Cow<'static, str>,
    fields: Vec<(&'static str, String)>,
    headers: HeaderMap,
    key_rule: Option<&'static str>,
}

/// The result of what may be refused.
pub(crate) type Outcome<T> = Result<T, Refusal>;

impl Refusal {
    /// The refusal of this code with the message AWS sends with it.
    pub(crate) fn new(code: Code) -> Self {
        Self::with_message(code, code.message())
    }

    /// The refusal of this code with another message.
    pub(crate) fn with_message(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            inner: Box::new(Inner {
                code,
                message: message.into(),
                fields: Vec::new(),
                headers: HeaderMap::new(),
                key_rule: None,
            }),
        }
    }

    /// `InvalidArgument`, naming the argument and its value (`null` where there is none).
    pub(crate) fn argument(
        message: impl Into<Cow<'static, str>>,
        name: &'static str,
        value: impl Into<String>,
    ) -> Self {
        Self::with_message(Code::InvalidArgument, message)
            .field("ArgumentName", name)
            .field("ArgumentValue", value)
    }

    /// `NotImplemented` for a header that cannot be honoured and must not be ignored.
    pub(crate) fn header_not_implemented(header: &str) -> Self {
        Self::new(Code::NotImplemented).field("Header", header)
    }

    /// Adds an element to the answer.
    pub(crate) fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.inner.fields.push((name, value.into()));
        self
    }

    /// Adds a header to the answer.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.inner.headers.insert(name, value);
        self
    }

    /// Says that what came as a customer key is none, and which rule it breaks: such a refusal
    /// goes on the audit log.
    pub(crate) fn of_customer_key(mut self, rule: &'static str) -> Self {
        self.inner.key_rule = Some(rule);
        self
    }

    /// The rule that a customer key breaks, if that is what is refused.
    pub(crate) fn customer_key_rule(&self) -> Option<&'static str> {
        self.inner.key_rule
    }

    /// The code.
    pub(crate) fn code(&self) -> Code {
        self.inner.code
    }

    /// The status.
    pub(crate) fn status(&self) -> StatusCode {
        self.inner.code.status()
    }

    /// The message.
    pub(crate) fn message(&self) -> &str {
        &self.inner.message
    }

    /// The headers that go with the answer.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.inner.headers
    }

    /// The value of an extra field.
    #[cfg(test)]
    pub(crate) fn value_of(&self, name: &str) -> Option<&str> {
        self.inner
            .fields
            .iter()
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body of the answer.
    pub(crate) fn to_xml(&self, resource: &str, request_id: &str, host_id: &str) -> Vec<u8> {
        let mut xml = Writer::document("Error", None);
        xml.text("Code", self.inner.code.as_str());
        xml.text("Message", &self.inner.message);
        let mut names_resource = false;
        for (name, value) in &self.inner.fields {
            names_resource |= *name == "Resource";
            xml.text(name, value);
        }
        if !names_resource {
            xml.text("Resource", resource);
        }
        xml.text("RequestId", request_id);
        xml.text("HostId", host_id);
        xml.finish()
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("code", &self.inner.code)
            .field("message", &self.inner.message)
            .field("fields", &self.inner.fields)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_none_is_a_success() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        for code in Code::ALL {
            assert!(code.status().as_u16() >= 300, "{code:?}");
            assert!(!code.message().is_empty(), "{code:?}");
        }
    }

    #[test]
    fn a_refusal_is_written_as_aws_writes_it() {
        let refusal = Refusal::new(Code::InvalidObjectState).field("StorageClass", "GLACIER");
        let body = String::from_utf8(refusal.to_xml("/b/k", "ID", "HOST")).unwrap();
        assert_eq!(
            body,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InvalidObjectState</Code>\
             <Message>The operation is not valid for the object&apos;s storage class</Message>\
             <StorageClass>GLACIER</StorageClass><Resource>/b/k</Resource>\
             <RequestId>ID</RequestId><HostId>HOST</HostId></Error>"
        );
    }
}
