//! Who may do what under `/v1`.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{HeaderMap, Method, Uri};
use secrecy::ExposeSecret as _;
use strongroom_environment::{Clock as _, SystemClock};
use strongroom_keys::{KeyError, Role, Standing};

use crate::State;
use crate::problem::Problem;
use crate::signature::{self, Expectation};

/// The service that `/v1` requests are signed for, when they are signed.
const SERVICE: &str = "strongroom";

/// Who asks: the administrator by bearer token, or a user by signature.
pub(super) async fn authenticate(
    state: &State,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(String, Standing), Problem> {
    let authorization = headers
        .get(http::header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| Problem::unauthenticated("send `Authorization: Bearer TOKEN`"))?;
    if let Some(token) = bearer_token(authorization) {
        return verify_slices_are_equal(token.as_bytes(), state.config.admin_token.as_bytes())
            .map(|()| ("administrator".to_owned(), Standing::Root))
            .map_err(|_| Problem::unauthenticated("the bearer token is not the administrator's"));
    }
    let claim = signature::claim(headers).map_err(Problem::unauthenticated)?;
    let id = claim
        .scope
        .access_key_id
        .parse()
        .map_err(|_| Problem::unauthenticated("the access key id is not known"))?;
    let credential = state
        .config
        .users
        .secret_of(&id)
        .await
        .map_err(|error| match error {
            KeyError::NoSuchUser | KeyError::UserDisabled => Problem::unauthenticated(error),
            failure => failure.into(),
        })?;
    claim
        .verify(
            method,
            uri,
            headers,
            body,
            credential.secret.expose_secret(),
            Expectation {
                region: &state.config.region,
                service: SERVICE,
                now: SystemClock::new().now(),
            },
        )
        .map_err(Problem::unauthenticated)?;
    Ok((
        claim.scope.access_key_id.to_owned(),
        Standing::User(credential.user.role),
    ))
}

/// The token of a bearer credential (RFC 6750). The name of the scheme is written in any case
/// (RFC 9110, section 11.1).
fn bearer_token(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// Whether a role may make a request: an administrator may all, an auditor may read the audit log
/// and the ledger, and a user has nothing to do here.
///
/// What custodians do is open to an auditor too: it is their signature that counts.
pub(super) fn authorize(standing: Standing, method: &Method, path: &[&str]) -> Result<(), Problem> {
    let Standing::User(role) = standing else {
        return Ok(());
    };
    let allowed = match role {
        Role::Admin => true,
        Role::Auditor => {
            (method == Method::GET
                && matches!(
                    path.first(),
                    Some(&"audit" | &"ledger" | &"keys" | &"quorum")
                ))
                || is_decision(method, path)
        }
        Role::User => false,
    };
    if allowed {
        Ok(())
    } else {
        Err(Problem::forbidden(format!(
            "the role {} may not do this",
            role.as_str()
        )))
    }
}

/// Whether a custodian's signature is handed in.
fn is_decision(method: &Method, path: &[&str]) -> bool {
    method == Method::POST && matches!(path, ["quorum", "proposals", _, "approve" | "reject"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_told_by_its_scheme_in_any_case() {
        for good in ["Bearer t", "bearer t", "BEARER t"] {
            assert_eq!(bearer_token(good), Some("t"), "{good}");
        }
        for other in ["Bearer", "Bearert", "Basic t", ""] {
            assert_eq!(bearer_token(other), None, "{other}");
        }
    }

    #[test]
    fn each_role_may_do_its_own_and_no_more() {
        for (role, method, path, allowed) in [
            (Role::Admin, Method::DELETE, vec!["users", "x"], true),
            (Role::Auditor, Method::GET, vec!["audit", "events"], true),
            (Role::Auditor, Method::GET, vec!["ledger", "objects"], true),
            (
                Role::Auditor,
                Method::POST,
                vec!["audit", "checkpoint"],
                false,
            ),
            (Role::Auditor, Method::GET, vec!["users"], false),
            (Role::User, Method::GET, vec!["keys"], false),
            (Role::User, Method::GET, vec!["quorum"], false),
            (Role::Auditor, Method::GET, vec!["quorum"], true),
            (Role::Auditor, Method::PUT, vec!["quorum"], false),
            (Role::Admin, Method::PUT, vec!["quorum"], true),
            (
                Role::Auditor,
                Method::POST,
                vec!["quorum", "proposals", "x", "approve"],
                true,
            ),
            (
                Role::User,
                Method::POST,
                vec!["quorum", "proposals", "x", "approve"],
                false,
            ),
        ] {
            let authorized = authorize(Standing::User(role), &method, &path);
            assert_eq!(authorized.is_ok(), allowed, "{path:?}");
            assert!(authorize(Standing::Root, &method, &path).is_ok());
        }
    }
}
