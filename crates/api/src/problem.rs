//! Refusals of `/v1` as problem details (RFC 9457).

use http::StatusCode;
use serde::Serialize;
use warp::reply::{Reply, Response};

/// A refusal: what was wrong, by whom, and what to do.
#[derive(Debug, Clone, Serialize, thiserror::Error)]
#[error("{title}: {detail}")]
pub struct Problem {
    /// A stable name of the kind of problem, `urn:strongroom:problem:<word>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in words.
    pub title: &'static str,
    /// The HTTP status, repeated for those who keep only the body.
    pub status: u16,
    /// What was wrong this time.
    pub detail: String,
    /// The proposal that custodians have to approve first, where it is that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposal: Option<String>,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposal_url: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, word: &str, title: &'static str, detail: impl ToString) -> Self {
        Self {
            kind: format!("urn:strongroom:problem:{word}"),
            title,
            status: status.as_u16(),
            detail: detail.to_string(),
            proposal: None,
            proposal_url: None,
        }
    }

    /// The request itself is wrong.
    pub fn invalid(detail: impl ToString) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid",
            "The request is not valid",
            detail,
        )
    }

    /// The body is longer than a request may be.
    pub fn too_long(len_bytes_max: u64) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-long",
            "The body is too long",
            format!("the body is longer than {len_bytes_max} bytes"),
        )
    }

    /// Nobody has shown who asks.
    pub fn unauthenticated(detail: impl ToString) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "The request carries no valid credential",
            detail,
        )
    }

    /// Who asks may not.
    pub fn forbidden(detail: impl ToString) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "The request is not allowed",
            detail,
        )
    }

    /// This daemon is not the one to ask.
    pub fn misdirected(detail: impl ToString) -> Self {
        Self::new(
            StatusCode::MISDIRECTED_REQUEST,
            "misdirected",
            "Another daemon is to be asked",
            detail,
        )
    }

    /// Custodians have not approved it.
    pub fn unapproved(proposal: impl ToString, detail: impl ToString) -> Self {
        let proposal = proposal.to_string();
        Self {
            proposal_url: Some(format!("/v1/quorum/proposals/{proposal}")),
            proposal: Some(proposal),
            ..Self::new(
                StatusCode::FORBIDDEN,
                "approval-needed",
                "The request takes the approval of custodians",
                detail,
            )
        }
    }

    /// There is no such thing.
    pub fn not_found(detail: impl ToString) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "There is no such thing",
            detail,
        )
    }

    /// The state of things does not allow it now.
    pub fn conflict(detail: impl ToString) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "conflict",
            "The present state does not allow it",
            detail,
        )
    }

    /// Something that is needed cannot serve now; the request may be sent again.
    pub fn unavailable(detail: impl ToString) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Something that is needed cannot serve now",
            detail,
        )
    }

    /// A fault of this server.
    pub fn internal(detail: impl ToString) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The server failed",
            detail,
        )
    }

    /// No such resource or method.
    pub fn no_such_resource(method: &http::Method, path: &str) -> Self {
        Self::not_found(format!(
            "{method} {path} is not a resource; see /v1/openapi.json"
        ))
    }
}

impl Reply for Problem {
    fn into_response(self) -> Response {
        metrics::counter!("strongroom_refusals_total", "api" => "v1", "code" => self.kind.clone())
            .increment(1);
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = warp::reply::json(&self).into_response();
        *response.status_mut() = status;
        response.headers_mut().insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                http::header::WWW_AUTHENTICATE,
                http::HeaderValue::from_static("Bearer"),
            );
        }
        response
    }
}
