//! The HTTP API: KMS protocol, management, audit, lifecycle, metrics.
//!
//! - `POST /` with `X-Amz-Target: TrentService.*` is the AWS KMS protocol.
//! - `/v1/…` is JSON over HTTP, described by `/v1/openapi.json`; refusals are problem details
//!   (RFC 9457).
//! - `/audit/…` is the log as static C2SP tlog-tiles.
//! - `/metrics`, `/healthz` and `/readyz` are for whoever watches over the daemon.

mod kms;
mod problem;
mod signature;
mod static_log;
mod v1;
mod watch;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures::{Stream, StreamExt as _};
use http::{HeaderMap, Method, StatusCode};
use hyper::body::Incoming;
use strongroom_audit::Log;
use strongroom_custody_link::RemoteCustody;
use strongroom_environment::{Clock, Entropy, SimulatedClock};
use strongroom_keys::{Kms, Users};
use strongroom_lifecycle::Lifecycle;
use strongroom_store::Store;
use tower::ServiceExt as _;
use warp::filters::BoxedFilter;
use warp::path::FullPath;
use warp::reply::{Reply, Response};
use warp::{Buf, Filter, Rejection};
use zeroize::Zeroizing;

use problem::Problem;

pub use problem::Problem as ApiProblem;

/// The half of the API that needs objects; a key daemon has none.
#[derive(Clone, Debug)]
pub struct ObjectHalf {
    /// The object store.
    pub store: Store,
    /// The lifecycle over it.
    pub lifecycle: Lifecycle,
}

/// Who has custody of the KMS keys.
#[derive(Clone, Debug)]
pub enum Custody {
    /// This process.
    Here(Arc<Kms>),
    /// A key daemon on another host. What concerns keys is asked of it, and not of this API.
    Apart(Arc<RemoteCustody>),
}

/// What the API stands on.
pub struct ApiConfig {
    /// KMS keys.
    pub custody: Custody,
    /// Users and their access keys.
    pub users: Arc<Users>,
    /// The audit log.
    pub log: Log,
    /// Objects and their lifecycle, where they are served.
    pub objects: Option<ObjectHalf>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// The same clock where it is simulated, so that it can be advanced.
    pub simulated_clock: Option<Arc<SimulatedClock>>,
    /// Gives request ids.
    pub entropy: Arc<dyn Entropy>,
    /// The region that requests are signed for.
    pub region: String,
    /// The administrator's bearer token.
    pub admin_token: Zeroizing<String>,
    /// The public key (`SubjectPublicKeyInfo` in DER) that backups of keys are wrapped for, where
    /// there is one.
    pub escrow_key: Option<Vec<u8>>,
    /// How each token is, as JSON for `/readyz`, where more than one serves.
    pub tokens: Option<Arc<dyn Fn() -> serde_json::Value + Send + Sync>>,
}

impl std::fmt::Debug for ApiConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiConfig")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// The API as something that answers requests.
#[derive(Clone)]
pub struct ApiService {
    state: Arc<State>,
    routes: BoxedFilter<(Response,)>,
}

impl std::fmt::Debug for ApiService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiService")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What every handler may use.
struct State {
    config: ApiConfig,
    /// Where custody is here.
    kms: Option<kms::Protocol>,
    metrics: watch::Metrics,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.config.fmt(f)
    }
}

impl Custody {
    /// Where what concerns keys is to be asked, for people.
    fn elsewhere(&self) -> String {
        match self {
            Self::Here(_) => String::new(),
            Self::Apart(custody) => {
                let urls = custody.status().urls;
                let urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
                format!(
                    "the keys of this store are with a key daemon, whose link is at {}: ask the API \
                     of that daemon",
                    urls.join(", ")
                )
            }
        }
    }
}

/// Who asks and which request this is; set by [`ApiService::handle`].
#[derive(Clone, Debug)]
struct RequestInfo {
    id: String,
    peer: SocketAddr,
}

/// Makes the service.
///
/// # Errors
/// When a recorder of metrics is installed in this process already.
pub fn service(config: ApiConfig) -> Result<ApiService, MetricsError> {
    let state = Arc::new(State {
        kms: match &config.custody {
            Custody::Here(kms) => Some(kms::Protocol::new(
                Arc::clone(kms),
                Arc::clone(&config.users),
                config.region.clone(),
            )),
            Custody::Apart(_) => None,
        },
        metrics: watch::Metrics::install()?,
        config,
    });
    Ok(ApiService {
        routes: routes(Arc::clone(&state)),
        state,
    })
}

pub use watch::MetricsError;

impl ApiService {
    /// Answers one request of `peer`.
    pub async fn handle(&self, mut request: http::Request<Incoming>, peer: SocketAddr) -> Response {
        let id: [u8; 16] = self.state.config.entropy.array();
        request.extensions_mut().insert(RequestInfo {
            id: HEXLOWER.encode(&id),
            peer,
        });
        let answered: Result<Response, Infallible> =
            warp::service(self.routes.clone()).oneshot(request).await;
        match answered {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// All routes. Each answers by itself, also when it refuses, so nothing falls through but paths
/// that do not exist.
fn routes(state: Arc<State>) -> BoxedFilter<(Response,)> {
    let with_state = warp::any().map(move || Arc::clone(&state));
    let info = warp::ext::get::<RequestInfo>();

    let kms = warp::post()
        .and(warp::path::end())
        .and(with_state.clone())
        .and(info)
        .and(uri())
        .and(warp::header::headers_cloned())
        .and(body(kms::BODY_LEN_BYTES_MAX))
        .then(
            async |state: Arc<State>,
                   info: RequestInfo,
                   uri: http::Uri,
                   headers: HeaderMap,
                   body: Result<Bytes, Problem>| {
                let Some(kms) = &state.kms else {
                    return kms::refuse_apart(&info.id, &state.config.custody);
                };
                match body {
                    Ok(body) => {
                        let source = Some(info.peer.ip());
                        kms.answer(&info.id, source, &Method::POST, &uri, &headers, &body)
                            .await
                    }
                    Err(problem) => kms.refuse_body(&info.id, &problem),
                }
            },
        );
    let v1 = warp::path("v1")
        .and(with_state.clone())
        .and(info)
        .and(warp::method())
        .and(uri())
        .and(warp::header::headers_cloned())
        .and(body(v1::BODY_LEN_BYTES_MAX))
        .then(
            async |state: Arc<State>,
                   info: RequestInfo,
                   method: Method,
                   uri: http::Uri,
                   headers: HeaderMap,
                   body: Result<Bytes, Problem>| {
                match body {
                    Ok(body) => v1::answer(&state, &info, &method, &uri, &headers, &body).await,
                    Err(problem) => problem.into_response(),
                }
            },
        );
    let static_log = warp::get()
        .and(warp::path("audit"))
        .and(warp::path::tail())
        .and(with_state.clone())
        .map(|tail: warp::path::Tail, state: Arc<State>| {
            static_log::answer(&state.config.log, tail.as_str())
        });
    let metrics = warp::get()
        .and(warp::path!("metrics"))
        .and(with_state.clone())
        .map(|state: Arc<State>| state.metrics.render().into_response());
    // Load balancers ask with HEAD as well.
    let look = warp::get().or(warp::head()).unify();
    let alive = look
        .and(warp::path!("healthz"))
        .map(|| "alive\n".into_response());
    let ready = look
        .and(warp::path!("readyz"))
        .and(with_state)
        .then(async |state: Arc<State>| watch::readiness(&state).await);
    let nothing = warp::any().and(warp::method()).and(warp::path::full()).map(
        |method: Method, path: FullPath| {
            Problem::no_such_resource(&method, path.as_str()).into_response()
        },
    );
    kms.or(v1)
        .unify()
        .or(static_log)
        .unify()
        .or(metrics)
        .unify()
        .or(alive)
        .unify()
        .or(ready)
        .unify()
        .or(nothing)
        .unify()
        .boxed()
}

/// The path and query of a request, as they came.
fn uri() -> impl Filter<Extract = (http::Uri,), Error = Infallible> + Clone {
    warp::path::full()
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .map(|path: FullPath, query: String| {
            let text = if query.is_empty() {
                path.as_str().to_owned()
            } else {
                format!("{}?{query}", path.as_str())
            };
            text.parse().unwrap_or_default()
        })
}

/// The body of a request, read whole, up to a length.
fn body(
    len_bytes_max: u64,
) -> impl Filter<Extract = (Result<Bytes, Problem>,), Error = Rejection> + Copy {
    warp::body::stream().then(move |pieces| read_whole(pieces, len_bytes_max))
}

async fn read_whole<B: Buf>(
    pieces: impl Stream<Item = Result<B, warp::Error>>,
    len_bytes_max: u64,
) -> Result<Bytes, Problem> {
    let mut pieces = std::pin::pin!(pieces);
    let mut whole = Vec::new();
    while let Some(piece) = pieces.next().await {
        let Ok(mut piece) = piece else {
            return Err(Problem::invalid("the body broke off"));
        };
        if (whole.len() + piece.remaining()) as u64 > len_bytes_max {
            return Err(Problem::too_long(len_bytes_max));
        }
        while piece.has_remaining() {
            let chunk = piece.chunk();
            whole.extend_from_slice(chunk);
            let len = chunk.len();
            piece.advance(len);
        }
    }
    Ok(Bytes::from(whole))
}

/// An answer with a status, a type and a text.
fn plain(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response {
    let body: Bytes = body.into();
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(kind),
    );
    response
}
