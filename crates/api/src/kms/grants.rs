//! Grants: what is asked and answered of them.

use serde_json::{Value, json};
use strongroom_keys::{
    Caller, EncryptionContext, Grant, GrantConstraint, GrantFilter, GrantId, GrantOperation,
    GrantReference, KeyReference, Kms, NewGrant,
};

use super::keys::{date, wrong_marker};
use super::refusal::Refusal;
use super::request;

pub(super) async fn create(
    kms: &Kms,
    asked: request::CreateGrant,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let key = request::key_itself(&asked.key_id)?;
    let operations = asked
        .operations
        .iter()
        .map(|name| {
            GrantOperation::named(name)
                .ok_or_else(|| Refusal::validation(format!("{name} is not an operation of grants")))
        })
        .collect::<Result<_, _>>()?;
    let new = NewGrant {
        grantee: principal(asked.grantee_principal)?,
        retiring: asked.retiring_principal.map(principal).transpose()?,
        operations,
        constraint: constraint(asked.constraints)?,
        name: asked.name,
    };
    let (id, token) = kms.create_grant(&key, &new, caller).await?;
    Ok(json!({ "GrantId": id.to_string(), "GrantToken": token }))
}

pub(super) async fn list(
    kms: &Kms,
    asked: request::ListGrants,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let limit = request::limit(asked.limit, 50, 100)?;
    let key = request::key_itself(&asked.key_id)?;
    let filter = match (asked.grant_id, asked.grantee_principal) {
        (None, None) => GrantFilter::All,
        (Some(id), None) => GrantFilter::Id(grant_id(&id)?),
        (None, Some(grantee)) => GrantFilter::Grantee(principal(grantee)?),
        (Some(_), Some(_)) => {
            return Err(Refusal::validation(
                "grants are listed by GrantId or by GranteePrincipal, not by both",
            ));
        }
    };
    let page = kms
        .list_grants(&key, &filter, asked.marker.as_deref(), limit, caller)
        .await
        .map_err(wrong_marker)?;
    Ok(paged(kms, &page.items, page.next))
}

pub(super) async fn list_retirable(
    kms: &Kms,
    asked: request::ListRetirable,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let limit = request::limit(asked.limit, 50, 100)?;
    let retiring = principal(asked.retiring_principal)?;
    let page = kms
        .list_retirable_grants(&retiring, asked.marker.as_deref(), limit, caller)
        .await
        .map_err(wrong_marker)?;
    Ok(paged(kms, &page.items, page.next))
}

pub(super) async fn revoke(
    kms: &Kms,
    asked: request::RevokeGrant,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let key = request::key_itself(&asked.key_id)?;
    kms.revoke_grant(&key, grant_id(&asked.grant_id)?, caller)
        .await?;
    Ok(json!({}))
}

pub(super) async fn retire(
    kms: &Kms,
    asked: request::RetireGrant,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let named = match (asked.grant_token, asked.key_id, asked.grant_id) {
        (Some(token), None, None) => GrantReference::Token(token),
        (None, Some(key), Some(id)) => {
            // The protocol wants the whole ARN here, since the grant may be of another account.
            let key = request::key_itself(&key)?;
            if !matches!(key, KeyReference::Arn { .. }) {
                return Err(Refusal::new(
                    "InvalidArnException",
                    "KeyId is the ARN of a key here",
                ));
            }
            GrantReference::Id(key, grant_id(&id)?)
        }
        _ => {
            return Err(Refusal::validation(
                "a grant is retired by its GrantToken, or by KeyId and GrantId",
            ));
        }
    };
    kms.retire_grant(&named, caller).await?;
    Ok(json!({}))
}

/// The name of a principal, as far as its form goes.
///
/// Source: AWS KMS API Reference, `PrincipalIdType`.
fn principal(text: String) -> Result<String, Refusal> {
    let allowed = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'_' | b'+' | b'=' | b',' | b'.' | b'@' | b':' | b'/' | b'-'
            )
    };
    if !(1..=256).contains(&text.len()) || !text.bytes().all(allowed) {
        return Err(Refusal::validation(
            "a principal has 1 to 256 letters, digits and _+=,.@:/-",
        ));
    }
    Ok(text)
}

fn grant_id(text: &str) -> Result<GrantId, Refusal> {
    text.parse()
        .map_err(|_| Refusal::new("InvalidGrantIdException", "Invalid grant id"))
}

fn constraint(asked: Option<request::Constraints>) -> Result<Option<GrantConstraint>, Refusal> {
    let Some(asked) = asked else {
        return Ok(None);
    };
    let read = |pairs| EncryptionContext::new(pairs).map_err(Refusal::from);
    match (
        asked.encryption_context_subset,
        asked.encryption_context_equals,
    ) {
        (None, None) => Ok(None),
        (Some(subset), None) => Ok(Some(GrantConstraint::ContextSubset(read(subset)?))),
        (None, Some(equals)) => Ok(Some(GrantConstraint::ContextEquals(read(equals)?))),
        (Some(_), Some(_)) => Err(Refusal::validation(
            "a grant has EncryptionContextSubset or EncryptionContextEquals, not both",
        )),
    }
}

fn paged(kms: &Kms, grants: &[Grant], next: Option<String>) -> Value {
    let grants: Vec<Value> = grants.iter().map(|grant| shown(kms, grant)).collect();
    let mut answer = json!({ "Grants": grants, "Truncated": next.is_some() });
    if let Some(next) = next {
        answer["NextMarker"] = next.into();
    }
    answer
}

fn shown(kms: &Kms, grant: &Grant) -> Value {
    let operations: Vec<&str> = grant
        .operations
        .iter()
        .map(|operation| operation.as_str())
        .collect();
    let mut shown = json!({
        "KeyId": grant.key.as_str(),
        "GrantId": grant.id.to_string(),
        "CreationDate": date(grant.created),
        "GranteePrincipal": grant.grantee,
        "IssuingAccount": format!("arn:aws:iam::{}:root", kms.home().account),
        "Operations": operations,
    });
    if let Some(retiring) = &grant.retiring {
        shown["RetiringPrincipal"] = retiring.as_str().into();
    }
    if let Some(name) = &grant.name {
        shown["Name"] = name.as_str().into();
    }
    let pairs = |context: &EncryptionContext| -> Value {
        context
            .pairs()
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    match &grant.constraint {
        None => {}
        Some(GrantConstraint::ContextSubset(context)) => {
            shown["Constraints"] = json!({ "EncryptionContextSubset": pairs(context) });
        }
        Some(GrantConstraint::ContextEquals(context)) => {
            shown["Constraints"] = json!({ "EncryptionContextEquals": pairs(context) });
        }
    }
    shown
}
