//! Users and their access keys.

use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_keys::{AccessKeyId, Role, User};

use super::Asked;
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    name: String,
    role: String,
}

pub(super) async fn list(asked: &Asked<'_>) -> Result<Value, Problem> {
    // A page begins at an access key id.
    let cursor: Option<AccessKeyId> = asked
        .query
        .cursor()
        .map(|cursor| {
            cursor
                .parse()
                .map_err(|_| Problem::invalid("the cursor is not the `next` of a page"))
        })
        .transpose()?;
    let page = asked
        .state
        .config
        .users
        .list(
            cursor.as_ref().map(ToString::to_string).as_deref(),
            asked.query.limit()?,
        )
        .await?;
    let users: Vec<Value> = page.items.iter().map(shown).collect();
    Ok(json!({ "users": users, "next": page.next }))
}

pub(super) async fn create(asked: &Asked<'_>) -> Result<Value, Problem> {
    let new: NewUser = asked.read()?;
    let role: Role = new.role.parse().map_err(Problem::invalid)?;
    let made = asked
        .state
        .config
        .users
        .create(&new.name, role, &asked.caller)
        .await?;
    let mut answer = shown(&made.user);
    answer["secret_access_key"] = made.secret.expose_secret().into();
    Ok(answer)
}

pub(super) async fn disable(asked: &Asked<'_>, id: &str) -> Result<Value, Problem> {
    let users = &asked.state.config.users;
    Ok(shown(&users.disable(&read(id)?, &asked.caller).await?))
}

pub(super) async fn enable(asked: &Asked<'_>, id: &str) -> Result<Value, Problem> {
    let users = &asked.state.config.users;
    Ok(shown(&users.enable(&read(id)?, &asked.caller).await?))
}

pub(super) async fn delete(asked: &Asked<'_>, id: &str) -> Result<Value, Problem> {
    let users = &asked.state.config.users;
    users.delete(&read(id)?, &asked.caller).await?;
    Ok(Value::Null)
}

fn read(id: &str) -> Result<AccessKeyId, Problem> {
    id.parse()
        .map_err(|_| Problem::not_found(format!("there is no user {id}")))
}

fn shown(user: &User) -> Value {
    json!({
        "access_key_id": user.access_key_id.to_string(),
        "name": user.name,
        "role": user.role.as_str(),
        "enabled": !user.is_disabled,
        "created": user.created.to_string(),
    })
}
