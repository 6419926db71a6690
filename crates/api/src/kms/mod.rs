//! The AWS KMS protocol: JSON 1.1 over `POST /`, signed with Signature Version 4.
//!
//! Source: AWS KMS API reference, version 2014-11-01.

mod grants;
mod imports;
mod keys;
mod operations;
mod pairs;
mod policies;
mod refusal;
mod request;
mod rotation;

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use strongroom_environment::{Clock, SystemClock};
use strongroom_keys::{Caller, KeyError, Kms, Standing, Users};
use warp::reply::Response;
use zeroize::Zeroizing;

use crate::Custody;
use crate::problem::Problem;
use crate::signature::{self, Expectation, SignatureError};
use refusal::Refusal;

/// What `X-Amz-Target` begins with.
const SERVICE_PREFIX: &str = "TrentService.";
/// The longest request body, in bytes. The largest request of the protocol, with ciphertext and
/// context, is well below.
pub(crate) const BODY_LEN_BYTES_MAX: u64 = 256 * 1024;

/// The KMS protocol over a key service.
#[derive(Debug, Clone)]
pub(crate) struct Protocol {
    kms: Arc<Kms>,
    users: Arc<Users>,
    region: String,
    /// Signatures age by the time of the machine, also where wall time is simulated: clients sign
    /// with theirs.
    clock: Arc<SystemClock>,
}

impl Protocol {
    pub(crate) fn new(kms: Arc<Kms>, users: Arc<Users>, region: String) -> Self {
        Self {
            kms,
            users,
            region,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Answers one request whose body has been read whole.
    pub(crate) async fn answer(
        &self,
        request_id: &str,
        source: Option<IpAddr>,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Response {
        let target = headers
            .get("x-amz-target")
            .and_then(|target| target.to_str().ok())
            .unwrap_or_default();
        let operation = target.strip_prefix(SERVICE_PREFIX).unwrap_or_default();
        let result = async {
            let (principal, standing) = self.authenticate(method, uri, headers, body).await?;
            let caller = Caller {
                principal,
                standing,
                request_id: request_id.to_owned(),
                operation: format!("kms:{operation}"),
                source,
                store: None,
            };
            operations::perform(&self.kms, operation, body, &caller).await
        }
        .await;
        let (status, outcome, json) = match result {
            Ok(answer) => (StatusCode::OK, "done", answer),
            Err(refusal) => {
                metrics::counter!("strongroom_refusals_total", "api" => "kms", "code" => refusal.code)
                    .increment(1);
                (refusal.status, refusal.code, refusal.to_json())
            }
        };
        metrics::counter!(
            "strongroom_requests_total",
            "api" => "kms",
            "operation" => operations::known_name(operation),
            "outcome" => outcome,
        )
        .increment(1);
        respond(status, request_id, &json)
    }

    /// Refuses a request whose body could not be read whole.
    pub(crate) fn refuse_body(&self, request_id: &str, problem: &Problem) -> Response {
        let refusal = Refusal {
            status: StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST),
            code: "SerializationException",
            message: problem.detail.clone(),
        };
        metrics::counter!("strongroom_refusals_total", "api" => "kms", "code" => refusal.code)
            .increment(1);
        respond(refusal.status, request_id, &refusal.to_json())
    }

    async fn authenticate(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(String, Standing), Refusal> {
        let claim = signature::claim(headers).map_err(refuse_signature)?;
        let unrecognized = |error| match error {
            KeyError::NoSuchUser | KeyError::UserDisabled => Refusal::new(
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            ),
            other => Refusal::from(other),
        };
        let id = claim.scope.access_key_id.parse().map_err(unrecognized)?;
        let credential = self.users.secret_of(&id).await.map_err(unrecognized)?;
        claim
            .verify(
                method,
                uri,
                headers,
                body,
                credential.secret.expose_secret(),
                Expectation {
                    region: &self.region,
                    service: "kms",
                    now: self.clock.now(),
                },
            )
            .map_err(refuse_signature)?;
        Ok((
            claim.scope.access_key_id.to_owned(),
            Standing::User(credential.user.role),
        ))
    }
}

/// Refuses a request where custody is with a key daemon.
pub(crate) fn refuse_apart(request_id: &str, custody: &Custody) -> Response {
    let refusal = Refusal::new("UnsupportedOperationException", custody.elsewhere());
    metrics::counter!("strongroom_refusals_total", "api" => "kms", "code" => refusal.code)
        .increment(1);
    respond(refusal.status, request_id, &refusal.to_json())
}

fn refuse_signature(error: SignatureError) -> Refusal {
    let code = match error {
        SignatureError::Missing => "MissingAuthenticationTokenException",
        SignatureError::Incomplete(_) => "IncompleteSignatureException",
        SignatureError::Expired | SignatureError::Scope | SignatureError::Mismatch => {
            "InvalidSignatureException"
        }
    };
    Refusal::new(code, error.to_string())
}

fn respond(status: StatusCode, request_id: &str, json: &Value) -> Response {
    // The answer may hold a plaintext, so the text is wiped as soon as it has been handed over;
    // the copy that is sent is wiped when the transport lets go of it.
    let text = Zeroizing::new(json.to_string());
    let mut response = Response::new(text.as_bytes().to_vec().into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-amz-json-1.1"),
    );
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}
