//! The audit log as static files, laid out as C2SP tlog-tiles.

use http::{HeaderValue, StatusCode};
use strongroom_audit::Log;
use warp::reply::{Reply as _, Response};

use crate::plain;
use crate::problem::Problem;

/// Answers with the file at `path`, which is one of the published layout or does not exist.
pub(crate) fn answer(log: &Log, path: &str) -> Response {
    match log.published_file(path) {
        Ok(Some(bytes)) => {
            let is_checkpoint = path == "checkpoint";
            let kind = if is_checkpoint {
                "text/plain; charset=utf-8"
            } else {
                "application/octet-stream"
            };
            let mut response = plain(StatusCode::OK, kind, bytes);
            // Tiles never change; the checkpoint does.
            response.headers_mut().insert(
                http::header::CACHE_CONTROL,
                HeaderValue::from_static(if is_checkpoint {
                    "no-cache"
                } else {
                    "public, max-age=31536000, immutable"
                }),
            );
            response
        }
        Ok(None) => Problem::not_found(format!(
            "/audit/{path} is not a published file of the log; /audit/checkpoint says how many \
             entries there are"
        ))
        .into_response(),
        Err(error) => Problem::internal(error).into_response(),
    }
}
