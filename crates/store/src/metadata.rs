//! What a client says about an object, kept and given back as it was said.

use serde::{Deserialize, Serialize};

/// Content headers (RFC 9110, section 8) and the client's own `x-amz-meta-…` pairs.
///
/// They are stored in the clear: encryption covers an object's bytes, as it does in S3.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ObjectMetadata {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`, without `aws-chunked`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Expires`, as it was sent.
    pub expires: Option<String>,
    /// `x-amz-website-redirect-location`.
    pub website_redirect_location: Option<String>,
    /// `x-amz-meta-…`: names without that prefix, in lower case, and values.
    pub user: Vec<(String, String)>,
}

impl ObjectMetadata {
    /// The most bytes of user metadata, names and values together.
    ///
    /// Source: Amazon S3 User Guide, "Working with object metadata".
    pub const USER_LEN_BYTES_MAX: usize = 2048;

    /// The bytes of user metadata, names and values together.
    #[must_use]
    pub fn user_len_bytes(&self) -> usize {
        self.user
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }
}
