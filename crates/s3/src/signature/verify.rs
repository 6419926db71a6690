//! Who sent a request: the user whose secret access key makes the signature.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Uri};
use secrecy::ExposeSecret as _;
use strongroom_keys::{AccessKeyId, Credential, KeyError, Users};

use super::Claim;
use crate::faults::Subject;
use crate::refusal::{Code, Outcome, Refusal};

/// The head of a request, as far as a signature covers it.
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
}

/// Gives the credential of the user who signed this head, as the claim says.
pub(crate) async fn verify(users: &Users, claim: &Claim, head: &Head) -> Outcome<Arc<Credential>> {
    let access_key_id = &claim.scope.access_key_id;
    let credential = credential(users, access_key_id).await?;
    if claim.is_by(credential.secret.expose_secret(), head) {
        Ok(credential)
    } else {
        Err(Refusal::new(Code::SignatureDoesNotMatch)
            .field("AWSAccessKeyId", access_key_id)
            .field("SignatureProvided", claim.signature.to_string()))
    }
}

async fn credential(users: &Users, access_key_id: &str) -> Outcome<Arc<Credential>> {
    let unknown = || Refusal::new(Code::InvalidAccessKeyId).field("AWSAccessKeyId", access_key_id);
    let id: AccessKeyId = access_key_id.parse().map_err(|_| unknown())?;
    users.secret_of(&id).await.map_err(|error| match error {
        KeyError::NoSuchUser | KeyError::UserDisabled => unknown(),
        error => {
            tracing::error!(%error, "the secret of a user could not be had");
            Subject::default().key_refusal(&error)
        }
    })
}

impl Head {
    /// The URL that the request was sent to, without its query.
    pub(crate) fn location(&self, tls: bool) -> String {
        let scheme = if tls { "https" } else { "http" };
        let host = self.host().unwrap_or("localhost");
        format!("{scheme}://{host}{}", self.uri.path())
    }

    /// HTTP/2 carries the host outside of the headers; it is signed as if it stood there.
    pub(crate) fn host(&self) -> Option<&str> {
        self.headers
            .get(http::header::HOST)
            .map(HeaderValue::as_bytes)
            .and_then(|host| std::str::from_utf8(host).ok())
            .or_else(|| self.uri.authority().map(http::uri::Authority::as_str))
    }
}
