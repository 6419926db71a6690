//! `/v1`: management by JSON over HTTP.

mod access;
mod archives;
mod audit;
mod clock;
mod imports;
mod keys;
mod ledger;
mod lifecycle;
mod quorum;
mod users;

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, Uri};
use serde::de::DeserializeOwned;
use serde_json::Value;
use strongroom_keys::{Caller, KeyError, Kms};
use strongroom_lifecycle::cold::ColdError;
use strongroom_lifecycle::{JobError, LifecycleError, RestoreRefusal};
use strongroom_store::StoreError;
use warp::reply::{Reply as _, Response};

use crate::problem::Problem;
use crate::{Custody, ObjectHalf, RequestInfo, State, plain};

/// The longest request body, in bytes: a scenario of a simulation.
pub(crate) const BODY_LEN_BYTES_MAX: u64 = 1024 * 1024;

const OPENAPI: &str = include_str!("openapi.json");

/// One authenticated request.
struct Asked<'a> {
    state: &'a State,
    caller: Caller,
    query: Query,
    body: &'a [u8],
}

/// Answers one request.
pub(crate) async fn answer(
    state: &State,
    info: &RequestInfo,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    let result = dispatch(state, info, method, uri, headers, body).await;
    let status = match &result {
        Ok(_) => 200,
        Err(problem) => problem.status,
    };
    metrics::counter!("strongroom_requests_total", "api" => "v1", "status" => status.to_string())
        .increment(1);
    match result {
        Ok(Value::Null) => plain(StatusCode::NO_CONTENT, "application/json", ""),
        Ok(json) => warp::reply::json(&json).into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn dispatch(
    state: &State,
    info: &RequestInfo,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Value, Problem> {
    let segments: Vec<String> = uri
        .path()
        .strip_prefix("/v1")
        .unwrap_or_default()
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(decode)
        .collect::<Result<_, _>>()?;
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    if (method, path.as_slice()) == (&Method::GET, &["openapi.json"]) {
        return serde_json::from_str(OPENAPI).map_err(Problem::internal);
    }
    let (principal, standing) = access::authenticate(state, method, uri, headers, body).await?;
    access::authorize(standing, method, &path)?;
    let asked = Asked {
        state,
        caller: Caller {
            principal,
            standing,
            request_id: info.id.clone(),
            operation: format!("v1:{method} /{}", path.first().unwrap_or(&"")),
            source: Some(info.peer.ip()),
            store: None,
        },
        query: Query::read(uri.query().unwrap_or_default())?,
        body,
    };
    match (method.as_str(), path.as_slice()) {
        ("GET", ["users"]) => users::list(&asked).await,
        ("POST", ["users"]) => users::create(&asked).await,
        ("POST", ["users", id, "disable"]) => users::disable(&asked, id).await,
        ("POST", ["users", id, "enable"]) => users::enable(&asked, id).await,
        ("DELETE", ["users", id]) => users::delete(&asked, id).await,

        ("GET", ["keys"]) => keys::list(&asked).await,
        ("POST", ["keys"]) => keys::create(&asked).await,
        ("GET", ["keys", key]) => keys::describe(&asked, key).await,
        ("POST", ["keys", "run"]) => keys::run(&asked).await,
        ("POST", ["keys", "backup"]) => keys::backup(&asked).await,
        ("GET", ["keys", key, "versions"]) => keys::versions(&asked, key).await,
        ("POST", ["keys", key, "rotate"]) => keys::rotate(&asked, key).await,
        ("POST", ["keys", key, "schedule-deletion"]) => keys::schedule_deletion(&asked, key).await,
        ("POST", ["keys", key, "cancel-deletion"]) => keys::cancel_deletion(&asked, key).await,
        ("GET", ["keys", key, "limits"]) => keys::limits(&asked, key).await,
        ("POST", ["keys", key, "limits"]) => keys::set_limits(&asked, key).await,
        ("POST", ["keys", key, "compromise"]) => keys::compromise(&asked, key).await,
        ("POST", ["keys", key, "rewrap"]) => keys::rewrap(&asked, key).await,
        ("GET", ["keys", key, "rewraps"]) => keys::rewraps(&asked, key).await,
        ("GET", ["keys", key, "certificate"]) => keys::certificate(&asked, key).await,
        ("POST", ["keys", key, "enable"]) => keys::enable(&asked, key).await,
        ("POST", ["keys", key, "disable"]) => keys::disable(&asked, key).await,

        ("GET", ["keys", key, "material"]) => imports::list(&asked, key).await,
        ("POST", ["keys", key, "material"]) => imports::import(&asked, key).await,
        ("POST", ["keys", key, "material", "parameters"]) => imports::parameters(&asked, key).await,
        ("POST", ["keys", key, "material", "delete"]) => imports::delete(&asked, key).await,
        ("GET", ["quorum"]) => quorum::rule(&asked).await,
        ("PUT", ["quorum"]) => quorum::set_rule(&asked).await,
        ("GET", ["quorum", "proposals"]) => quorum::list(&asked).await,
        ("GET", ["quorum", "proposals", id]) => quorum::show(&asked, id).await,
        ("POST", ["quorum", "proposals", id, "approve"]) => quorum::approve(&asked, id).await,
        ("POST", ["quorum", "proposals", id, "reject"]) => quorum::reject(&asked, id).await,

        ("GET", ["ledger", "keys", key, "versions"]) => ledger::under_kms_key(&asked, key).await,
        ("GET", ["ledger", "keys", key, "impact"]) => ledger::impact_of_kms_key(&asked, key).await,
        ("GET", ["ledger", "customer-keys", fingerprint, "impact"]) => {
            ledger::impact_of_customer_key(&asked, fingerprint).await
        }
        ("GET", ["ledger", "customer-keys", fingerprint, "versions"]) => {
            ledger::under_customer_key(&asked, fingerprint).await
        }
        ("GET", ["ledger", "objects"]) => ledger::of_object(&asked).await,

        ("POST", ["archives"]) => archives::archive(&asked).await,
        ("GET", ["restores"]) => archives::open_restores(&asked).await,
        ("POST", ["restores"]) => archives::restore(&asked).await,
        ("POST", ["scrub"]) => archives::scrub(&asked).await,

        ("POST", ["lifecycle", "run"]) => lifecycle::run(&asked).await,
        ("GET", ["lifecycle", "jobs"]) => lifecycle::jobs(&asked).await,
        ("POST", ["simulations"]) => lifecycle::simulate(&asked).await,

        ("GET", ["clock"]) => clock::read(&asked),
        ("POST", ["clock", "advance"]) => clock::advance(&asked),

        ("GET", ["audit", "checkpoint"]) => audit::checkpoint(&asked),
        ("POST", ["audit", "checkpoint"]) => audit::publish(&asked).await,
        ("GET", ["audit", "proofs", index]) => audit::proof(&asked, index),
        ("GET", ["audit", "events"]) => audit::events(&asked),
        _ => Err(Problem::no_such_resource(method, uri.path())),
    }
}

impl Asked<'_> {
    /// The body, read strictly.
    fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body = if self.body.is_empty() {
            b"{}"
        } else {
            self.body
        };
        serde_json::from_slice(body).map_err(|error| Problem::invalid(format!("body: {error}")))
    }

    /// The custody half, where it is here.
    fn kms(&self) -> Result<&Arc<Kms>, Problem> {
        match &self.state.config.custody {
            Custody::Here(kms) => Ok(kms),
            apart @ Custody::Apart(_) => Err(Problem::misdirected(apart.elsewhere())),
        }
    }

    /// The half with objects, where there is one.
    fn objects(&self) -> Result<&ObjectHalf, Problem> {
        self.state
            .config
            .objects
            .as_ref()
            .ok_or_else(|| Problem::not_found("this daemon serves keys, and no objects"))
    }
}

/// The parameters of a query.
struct Query(Vec<(String, String)>);

/// The most items of a page, and how many there are when nothing is asked.
const PAGE_MAX: usize = 1_000;

impl Query {
    fn read(query: &str) -> Result<Self, Problem> {
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                // A query is form-encoded: most clients write a space as a plus.
                let [name, value] = [name, value].map(|text| text.replace('+', " "));
                Ok((decode(&name)?, decode(&value)?))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn need(&self, name: &str) -> Result<&str, Problem> {
        self.get(name)
            .ok_or_else(|| Problem::invalid(format!("the query parameter `{name}` is missing")))
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        self.get(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    Problem::invalid(format!("`{name}` takes a whole number, not {text:?}"))
                })
            })
            .transpose()
    }

    fn cursor(&self) -> Option<&str> {
        self.get("cursor")
    }

    fn limit(&self) -> Result<usize, Problem> {
        match self.number("limit")? {
            None => Ok(PAGE_MAX),
            Some(limit) => usize::try_from(limit)
                .ok()
                .filter(|limit| (1..=PAGE_MAX).contains(limit))
                .ok_or_else(|| Problem::invalid(format!("`limit` is 1 to {PAGE_MAX}"))),
        }
    }
}

/// Percent-decoded text (RFC 3986).
fn decode(text: &str) -> Result<String, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next().unwrap_or(0), rest.next().unwrap_or(0)];
        match data_encoding::HEXLOWER_PERMISSIVE.decode(&digits) {
            Ok(decoded) => bytes.extend(decoded),
            Err(_) => return Err(Problem::invalid("the path is not percent-encoded well")),
        }
    }
    String::from_utf8(bytes).map_err(|_| Problem::invalid("the path is not UTF-8"))
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::ApprovalNeeded { proposal, .. }
            | KeyError::ApprovalRejected { proposal, .. } => Self::unapproved(proposal, error),
            KeyError::NoSuchProposal => Self::not_found(error),
            KeyError::ApprovalInvalid { .. } => Self::invalid(error),
            KeyError::NoSuchKey { .. }
            | KeyError::NoSuchKeyVersion { .. }
            | KeyError::NoSuchAlias { .. }
            | KeyError::NoSuchPolicy
            | KeyError::NoSuchGrant { .. }
            | KeyError::NoSuchUser => Self::not_found(error),
            KeyError::InvalidReference { .. }
            | KeyError::InvalidContext { .. }
            | KeyError::InvalidTag { .. }
            | KeyError::MalformedPolicy { .. }
            | KeyError::InvalidGrantToken
            | KeyError::InvalidPrincipal { .. }
            | KeyError::InvalidRequest { .. }
            | KeyError::IncorrectKeyMaterial { .. }
            | KeyError::InvalidImportToken
            | KeyError::ExpiredImportToken => Self::invalid(error),
            KeyError::ManagedByService { .. } | KeyError::AccessDenied { .. } => {
                Self::forbidden(error)
            }
            KeyError::TokenUnavailable(_)
            | KeyError::CustodyUnavailable { .. }
            | KeyError::AuditUnavailable(_)
            | KeyError::NotCertified { .. }
            | KeyError::Metadata(_)
            | KeyError::NotCommitted(_) => Self::unavailable(error),
            KeyError::Damaged { .. } | KeyError::NotAuthentic => Self::internal(error),
            _ => Self::conflict(error),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSuchBucket | StoreError::NoSuchKey { .. } | StoreError::NoSuchVersion => {
                Self::not_found(error)
            }
            StoreError::Key(error) => error.into(),
            StoreError::Unavailable { .. } | StoreError::Full | StoreError::Contended => {
                Self::unavailable(error)
            }
            StoreError::Damaged { .. } | StoreError::OutcomeUnknown { .. } => Self::internal(error),
            _ => Self::conflict(error),
        }
    }
}

impl From<LifecycleError> for Problem {
    fn from(error: LifecycleError) -> Self {
        match error {
            LifecycleError::Store(error) => error.into(),
            LifecycleError::RestoreDays { .. }
            | LifecycleError::Rule(_)
            | LifecycleError::Restore(RestoreRefusal::TierNotOffered { .. }) => {
                Self::invalid(error)
            }
            LifecycleError::NoRules => Self::not_found(error),
            LifecycleError::Restore(_) | LifecycleError::NoWay { .. } => Self::conflict(error),
            LifecycleError::DamagedRules { .. }
            | LifecycleError::UnknownLocator
            | LifecycleError::Cold(ColdError::Damaged { .. } | ColdError::NotFound { .. })
            | LifecycleError::Jobs(JobError::Damaged { .. }) => Self::internal(error),
            _ => Self::unavailable(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_and_bounded() {
        let query = Query::read("key=a%2Fb+c%2B%20&limit=7&x").expect("a query");
        assert_eq!(query.get("key"), Some("a/b c+ "));
        assert_eq!(query.limit().expect("a limit"), 7);
        assert!(query.need("bucket").is_err());
        for wrong in ["limit=0", "limit=1001", "limit=x", "a=%zz", "a=%f", "a=%ff"] {
            assert!(
                Query::read(wrong).and_then(|query| query.limit()).is_err(),
                "{wrong}"
            );
        }
    }
}
