//! Computing and comparing the signature, which `s3s` does.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Uri, Version};
use parking_lot::Mutex;
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, S3ConfigProvider, StaticConfigProvider};
use s3s::route::S3Route;
use s3s::service::S3ServiceBuilder;
use s3s::validation::NameValidation;
use s3s::{Body, S3, S3Request, S3Response, S3Result};
use secrecy::ExposeSecret as _;
use strongroom_keys::{AccessKeyId, Credential, KeyError, Users};
use tracing::Dispatch;

use super::Claim;
use crate::faults::Subject;
use crate::refusal::{Code, Outcome, Refusal};
use crate::xml::Element;

/// Who sent a request: proven.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The user, and the secret that the chunks of the body are signed with too.
    pub(crate) credential: Arc<Credential>,
}

/// The head of a request, as far as a signature covers it.
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
}

/// Verifies signatures.
pub(crate) struct Verifier {
    users: Arc<Users>,
    config: Arc<dyn S3ConfigProvider>,
}

impl Verifier {
    /// A verifier for these users.
    pub(crate) fn new(users: Arc<Users>) -> Self {
        let mut config = S3Config::default();
        // How far a clock may be off is checked with the claim, on the clock of the service.
        config.presigned_url_max_skew_time_secs = u32::MAX;
        config.xml_max_body_size = 0;
        config.post_object_max_file_size = 0;
        Self {
            users,
            config: Arc::new(StaticConfigProvider::new(Arc::new(config))),
        }
    }

    /// Verifies that the user named in the claim signed this head, and gives its headers back.
    pub(crate) async fn verify(&self, claim: &Claim, head: Head) -> Outcome<(Identity, HeaderMap)> {
        let credential = self.credential(&claim.access_key_id).await?;
        let verified = Arc::new(Mutex::new(None));
        // `s3s` knows the one user that the claim names, and hands every request it has verified
        // to the one route there is. No body passes through it: its reader of `aws-chunked`
        // bodies holds a chunk whole, and a chunk may be as long as the body.
        let mut builder = S3ServiceBuilder::new(NoOperation);
        builder.set_config(Arc::clone(&self.config));
        builder.set_auth(SimpleAuth::from_single(
            claim.access_key_id.clone(),
            credential.secret.expose_secret(),
        ));
        builder.set_route(HandBack(Arc::clone(&verified)));
        builder.set_validation(AnyName);
        let service = builder.build();
        let mut request = Request::new(Body::empty());
        *request.method_mut() = head.method;
        *request.uri_mut() = head.uri;
        *request.version_mut() = head.version;
        *request.headers_mut() = head.headers;
        let answer = Unlogged(Box::pin(service.call(request))).await;
        if let Some(headers) = verified.lock().take() {
            return Ok((Identity { credential }, headers));
        }
        Err(match answer {
            Ok(answer) => refusal(claim, answer.body().bytes().as_deref()),
            Err(_) => Code::InternalError.into(),
        })
    }

    async fn credential(&self, access_key_id: &str) -> Outcome<Arc<Credential>> {
        let unknown =
            || Refusal::new(Code::InvalidAccessKeyId).field("AWSAccessKeyId", access_key_id);
        let id: AccessKeyId = access_key_id.parse().map_err(|_| unknown())?;
        self.users
            .secret_of(&id)
            .await
            .map_err(|error| match error {
                KeyError::NoSuchUser | KeyError::UserDisabled => unknown(),
                error => {
                    tracing::error!(%error, "the secret of a user could not be had");
                    Subject::default().key_refusal(&error)
                }
            })
    }
}

/// The refusal that answers one by `s3s`.
fn refusal(claim: &Claim, document: Option<&[u8]>) -> Refusal {
    let code = document
        .and_then(|document| Element::parse(document, "Error").ok())
        .and_then(|mut error| error.required_text("Code").ok());
    match code.as_deref() {
        Some("SignatureDoesNotMatch") => Refusal::new(Code::SignatureDoesNotMatch)
            .field("AWSAccessKeyId", &claim.access_key_id)
            .field("SignatureProvided", &claim.signature),
        Some("InvalidURI") => Code::InvalidUri.into(),
        Some("KeyTooLongError") => Code::KeyTooLong.into(),
        Some("MissingContentLength") => Code::MissingContentLength.into(),
        Some("AccessDenied") => Code::AccessDenied.into(),
        Some("InternalError") | None => Code::InternalError.into(),
        // What is left is a form that the claim has let pass and `s3s` does not read.
        Some(_) => Refusal::with_message(
            Code::InvalidRequest,
            "The signature of the request is not in a form that can be verified",
        ),
    }
}

struct NoOperation;

impl S3 for NoOperation {}

/// Names are checked where they are used.
struct AnyName;

impl NameValidation for AnyName {
    fn validate_bucket_name(&self, _name: &str) -> bool {
        true
    }
}

/// Keeps the headers of a request that was verified.
struct HandBack(Arc<Mutex<Option<HeaderMap>>>);

#[async_trait]
impl S3Route for HandBack {
    fn is_match(&self, _: &Method, _: &Uri, _: &HeaderMap, _: &mut Extensions) -> bool {
        true
    }

    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        match request.credentials {
            Some(_) => Ok(()),
            None => Err(s3s::S3ErrorCode::AccessDenied.into()),
        }
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        *self.0.lock() = Some(request.headers);
        Ok(S3Response::new(Body::empty()))
    }
}

/// A future inside which nothing is logged.
///
/// `s3s` logs requests with all their headers, the canonical text that is signed, and each refusal
/// as an error. What is worth a line is logged where it is answered.
struct Unlogged<F>(F);

impl<F: Future + Unpin> Future for Unlogged<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        tracing::dispatcher::with_default(&Dispatch::none(), || Pin::new(&mut self.0).poll(context))
    }
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
