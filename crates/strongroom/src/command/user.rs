//! `strongroom user`.

use clap::{Subcommand, ValueEnum};
use http::Method;
use serde_json::json;

use super::{WithRemote, output};
use crate::remote::path_segment;

#[derive(Subcommand)]
pub(crate) enum UserCommand {
    /// Make a user; the secret access key is printed once and never again.
    Create {
        /// A name for people.
        name: String,
        /// What the user may do.
        #[arg(long, value_enum, default_value = "user")]
        role: Role,
    },
    /// List all users, without their secrets.
    List,
    /// Refuse all requests of a user from now on.
    Disable {
        /// The access key id.
        access_key_id: String,
    },
    /// Accept requests of a disabled user again.
    Enable {
        /// The access key id.
        access_key_id: String,
    },
    /// Remove a user for good.
    Delete {
        /// The access key id.
        access_key_id: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Role {
    /// Objects, keys, users, the whole HTTP API.
    Admin,
    /// Objects and the use of keys.
    User,
    /// The audit log, and nothing else.
    Auditor,
}

pub(super) async fn run(asked: WithRemote<UserCommand>, json_asked: bool) -> anyhow::Result<()> {
    let remote = asked.remote.connect()?;
    match asked.what {
        UserCommand::Create { name, role } => {
            let role = match role {
                Role::Admin => "admin",
                Role::User => "user",
                Role::Auditor => "auditor",
            };
            let made = remote
                .post("/v1/users", json!({ "name": name, "role": role }))
                .await?;
            let lines = [
                format!("access key id      {}", text(&made["access_key_id"])),
                format!("secret access key  {}", text(&made["secret_access_key"])),
            ];
            output::lines(json_asked, &made, &lines)?;
        }
        UserCommand::List => {
            let users = remote.all("/v1/users", "users").await?;
            output::rows(
                json_asked,
                &json!({ "users": users }),
                &users,
                &[
                    ("ACCESS KEY ID", "access_key_id"),
                    ("NAME", "name"),
                    ("ROLE", "role"),
                    ("ENABLED", "enabled"),
                ],
            )?;
        }
        UserCommand::Disable { access_key_id } => {
            let path = format!("/v1/users/{}/disable", path_segment(&access_key_id));
            remote.post(&path, json!({})).await?;
        }
        UserCommand::Enable { access_key_id } => {
            let path = format!("/v1/users/{}/enable", path_segment(&access_key_id));
            remote.post(&path, json!({})).await?;
        }
        UserCommand::Delete { access_key_id } => {
            let path = format!("/v1/users/{}", path_segment(&access_key_id));
            remote.send(Method::DELETE, &path, None).await?;
        }
    }
    Ok(())
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_default()
}
