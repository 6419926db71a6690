//! The service: a request in, an answer out.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, EXPECT, SERVER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt as _;
use metrics::{counter, histogram};
use secrecy::ExposeSecret as _;
use strongroom_environment::{Clock, Entropy};
use strongroom_keys::{Caller, KeyError, ObjectKeys, Role, Standing, Users};
use strongroom_lifecycle::Lifecycle;
use strongroom_store::Store;
use tracing::Instrument as _;

use crate::address::{Address, Query};
use crate::answer::{Answer, AnswerBody};
use crate::body::{IncomingBody, Lender, RequestBody};
use crate::call::{Call, object_key};
use crate::connection::Connection;
use crate::faults::Subject;
use crate::headers::{carries_customer_key, check_known, is_customer_key, mark_sensitive};
use crate::operations;
use crate::refusal::{Code, Outcome, Refusal};
use crate::route::Operation;
use crate::scrub::Scrubbed;
use crate::signature::{Claim, Head, verify};

/// What the service stands on, and how it behaves.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// The objects.
    pub store: Arc<Store>,
    /// Storage classes, rules and restores.
    pub lifecycle: Arc<Lifecycle>,
    /// The keys of objects, for their log: what is refused before the store is asked is logged too.
    pub keys: Arc<ObjectKeys>,
    /// Who may sign requests.
    pub users: Arc<Users>,
    /// The clock by which requests are dated: the machine's, also where that of the objects is
    /// simulated, since clients sign by their own.
    pub clock: Arc<dyn Clock>,
    /// Makes request ids.
    pub entropy: Arc<dyn Entropy>,
    /// The region that requests are signed for.
    pub region: String,
    /// The account that buckets belong to: twelve digits.
    pub account: String,
    /// Under which `bucket.base-domain` names a bucket (virtual-hosted style); `None` leaves
    /// path-style only.
    pub base_domain: Option<String>,
    /// Whether customer keys are taken over plain HTTP. For development on loopback.
    pub allow_plain_http_customer_keys: bool,
    /// Whether new buckets take no customer keys until that is changed, as on AWS since April 2026.
    pub block_customer_keys_on_new_buckets: bool,
}

/// The S3 service, ready for connections. A clone is the same service.
#[derive(Clone)]
pub struct S3Service {
    inner: Arc<Inner>,
}

/// What all requests share.
pub(crate) struct Inner {
    pub(crate) config: S3Config,
    /// Names this service in every answer.
    host_id: String,
}

/// The S3 service on this configuration.
///
/// The listener puts a [`Connection`] into the extensions of every request.
#[must_use]
pub fn service(config: S3Config) -> S3Service {
    let host_id = data_encoding::BASE64.encode(&config.entropy.array::<48>());
    S3Service {
        inner: Arc::new(Inner { config, host_id }),
    }
}

impl fmt::Debug for S3Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Service").finish_non_exhaustive()
    }
}

impl<B> hyper::service::Service<Request<B>> for S3Service
where
    B: http_body::Body<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        let request = request.map(|body| body.map_err(Into::into).boxed());
        if carries_customer_key(request.headers()) {
            let handled = Box::pin(inner.handle(request));
            let scrubbed = Scrubbed::new(handled);
            return Box::pin(async move { Ok(scrubbed.await) });
        }
        Box::pin(async move { Ok(inner.handle(request).await) })
    }
}

/// What is known of a request before anything of it is believed.
struct Seen {
    request_id: String,
    connection: Connection,
    is_head: bool,
    resource: String,
    operation: Option<Operation>,
}

impl Inner {
    async fn handle(self: Arc<Self>, request: Request<IncomingBody>) -> Response<AnswerBody> {
        let started = self.config.clock.monotonic();
        let mut seen = Seen {
            request_id: data_encoding::BASE32HEX_NOPAD.encode(&self.config.entropy.array::<10>()),
            connection: request
                .extensions()
                .get()
                .copied()
                .unwrap_or(Connection::UNKNOWN),
            is_head: request.method() == Method::HEAD,
            resource: request.uri().path().to_owned(),
            operation: None,
        };
        let span = tracing::debug_span!("s3", request_id = %seen.request_id);
        let (mut parts, body) = request.into_parts();
        mark_sensitive(&mut parts.headers);
        let waits_for_continue = parts.headers.contains_key(EXPECT);
        let lender = Lender::new(body);
        let head = Head {
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
        };
        let outcome = Box::pin(self.respond(head, &lender, &mut seen))
            .instrument(span)
            .await;
        let answer = match outcome {
            Ok(answer) => answer,
            Err(refusal) => {
                counter!("strongroom_refusals_total", "code" => refusal.code().as_str())
                    .increment(1);
                lender.drain(waits_for_continue).await;
                self.refuse(&refusal, &seen)
            }
        };
        let operation = seen.operation.map_or("None", Operation::as_str);
        let elapsed = self.config.clock.monotonic().since(started);
        counter!(
            "strongroom_requests_total",
            "operation" => operation, "status" => answer.status.as_str().to_owned()
        )
        .increment(1);
        histogram!("strongroom_request_duration_seconds", "operation" => operation)
            .record(elapsed.as_secs_f64());
        tracing::debug!(
            request_id = %seen.request_id,
            operation,
            resource = %seen.resource,
            peer = ?seen.connection.peer,
            status = answer.status.as_u16(),
            micros = elapsed.as_micros(),
            "answered"
        );
        self.finish(answer, &seen)
    }

    /// Everything between the head of a request and its answer.
    async fn respond(
        self: &Arc<Self>,
        head: Head,
        lender: &Lender,
        seen: &mut Seen,
    ) -> Outcome<Answer> {
        let config = &self.config;
        let query = Query::of(&head.uri)?;
        let address = Address::of(head.host(), head.uri.path(), config.base_domain.as_deref())?;
        seen.resource = address.resource();
        if let Address::Object(_, key) = &address {
            object_key(key)?;
        }
        let operation = Operation::of(&head.method, &address, &query, &head.headers)?;
        seen.operation = Some(operation);
        self.check_link(&head.headers, &query, seen.connection)?;
        let claim = Claim::of(&head.headers, &query, &config.region, config.clock.now())?;
        let method = head.method.to_string();
        let location = head.location(seen.connection.tls);
        let credential = verify(&config.users, &claim, &head).await?;
        let mut headers = head.headers;
        let user = &credential.user;
        if user.role == Role::Auditor {
            return Err(Refusal::with_message(
                Code::AccessDenied,
                format!(
                    "User {} is not authorized to perform: s3:{}",
                    user.access_key_id,
                    operation.as_str()
                ),
            ));
        }
        let caller = Caller {
            principal: user.access_key_id.to_string(),
            standing: Standing::User(user.role),
            request_id: seen.request_id.clone(),
            operation: format!("s3:{}", operation.as_str()),
            source: seen.connection.peer.map(|peer| peer.ip()),
            store: None,
        };
        hoist(&mut headers, &query)?;
        check_known(&headers, &config.account)?;
        let (body, trailers) = RequestBody::new(lender.lend(), claim.payload, || {
            claim.chunk_chain(credential.secret.expose_secret())
        });
        let call = Call {
            inner: Arc::clone(self),
            operation,
            caller: caller.clone(),
            subject: Subject {
                method,
                ..Subject::of(&address)
            },
            address: address.clone(),
            location,
            query,
            headers,
            body: Some(body),
            trailers,
            is_chunked: claim.payload.is_chunked(),
        };
        match operations::run(call).await {
            Err(refusal) => {
                if let Some(rule) = refusal.customer_key_rule() {
                    self.log_refused_key(&address, rule, &caller).await?;
                }
                Err(refusal)
            }
            answer => answer,
        }
    }

    /// Customer keys come over a link that nobody listens to, and never in a URL.
    fn check_link(
        &self,
        headers: &HeaderMap,
        query: &Query,
        connection: Connection,
    ) -> Outcome<()> {
        if query
            .iter()
            .any(|(name, _)| is_customer_key(&name.to_ascii_lowercase()))
        {
            return Err(Refusal::with_message(
                Code::InvalidRequest,
                "A customer provided key must be sent in a header and never in the URL",
            ));
        }
        let is_allowed = connection.tls || self.config.allow_plain_http_customer_keys;
        if carries_customer_key(headers) && !is_allowed {
            return Err(Refusal::with_message(
                Code::InvalidRequest,
                "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection.",
            ));
        }
        Ok(())
    }

    /// A key that was refused before anybody could use it is on the log like any other refusal.
    async fn log_refused_key(
        &self,
        address: &Address,
        rule: &'static str,
        caller: &Caller,
    ) -> Outcome<()> {
        let subject = Subject::of(address);
        let refusal = KeyError::CustomerKeyMalformed { rule };
        self.config
            .keys
            .log_refusal(&subject.bucket, &subject.key, &refusal, caller)
            .await
            .map_err(|error| {
                tracing::error!(%error, "a refusal could not be put on the audit log");
                subject.key_refusal(&error)
            })
    }

    fn refuse(&self, refusal: &Refusal, seen: &Seen) -> Answer {
        if refusal.status().is_server_error() {
            tracing::warn!(request_id = %seen.request_id, ?refusal, "a request failed");
        }
        let bodiless = seen.is_head || refusal.code() == Code::NotModified;
        let mut answer = if bodiless {
            Answer::ok()
        } else {
            Answer::document(refusal.to_xml(&seen.resource, &seen.request_id, &self.host_id))
        };
        answer.status = refusal.status();
        if seen.is_head {
            answer
                .headers
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        }
        answer.headers.extend(refusal.headers().clone());
        answer
    }

    fn finish(&self, mut answer: Answer, seen: &Seen) -> Response<AnswerBody> {
        answer
            .headers
            .insert(SERVER, HeaderValue::from_static("Strongroom"));
        answer.set(
            HeaderName::from_static("x-amz-request-id"),
            &seen.request_id,
        );
        answer.set(HeaderName::from_static("x-amz-id-2"), &self.host_id);
        let mut response = Response::new(answer.body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response
    }
}

/// Puts `x-amz-` parameters of the query among the headers: clients that presign move them there,
/// and mean the same.
fn hoist(headers: &mut HeaderMap, query: &Query) -> Outcome<()> {
    const OF_THE_SIGNATURE: [&str; 8] = [
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-signedheaders",
        "x-amz-signature",
        "x-amz-security-token",
        "x-amz-content-sha256",
    ];
    for (name, value) in query.iter() {
        let name = name.to_ascii_lowercase();
        if !name.starts_with("x-amz-") || OF_THE_SIGNATURE.contains(&name.as_str()) {
            continue;
        }
        let fault = || {
            Refusal::with_message(
                Code::InvalidRequest,
                "A query parameter that stands for a header contradicts one or cannot stand in one",
            )
            .field("ParameterName", &name)
        };
        let header = HeaderName::try_from(&name).map_err(|_| fault())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| fault())?;
        match headers.get(&header) {
            Some(known) if *known == value => {}
            Some(_) => return Err(fault()),
            None => {
                headers.insert(header, value);
            }
        }
    }
    Ok(())
}
