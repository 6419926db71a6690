//! `strongroom keys`.

use clap::Subcommand;
use serde_json::{Value, json};

use super::{WithRemote, output};
use crate::remote::path_segment;

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// List all KMS keys.
    List,
    /// Make a KMS key.
    Create {
        /// What the key is for.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Let a disabled key be used again.
    Enable {
        /// Key id, ARN or alias.
        key: String,
    },
    /// Forbid the use of a key: what it protects cannot be read until it is enabled again.
    Disable {
        /// Key id, ARN or alias.
        key: String,
    },
    /// Make a new version of a key now: what is new goes under it, older versions still decrypt.
    Rotate {
        /// Key id, ARN or alias.
        key: String,
    },
    /// List the versions of a key and what each may be used for.
    History {
        /// Key id, ARN or alias.
        key: String,
    },
    /// Forbid the use of a key, and delete it for good after some days: what it protects is then
    /// lost.
    ScheduleDeletion {
        /// Key id, ARN or alias.
        key: String,
        /// After how many days, 7 to 30; until then it can be cancelled.
        #[arg(long, default_value_t = 30)]
        days: u32,
    },
    /// Take back that a key is to be deleted. It is then disabled.
    CancelDeletion {
        /// Key id, ARN or alias.
        key: String,
    },
    /// List the object versions that a key protects.
    Versions {
        /// A KMS key (id, ARN or alias), or the fingerprint of a customer key.
        key: String,
    },
}

pub(super) async fn run(asked: WithRemote<KeysCommand>, json_asked: bool) -> anyhow::Result<()> {
    let remote = asked.remote.connect()?;
    let columns = [
        ("KEY ID", "id"),
        ("STATE", "state"),
        ("VERSION", "current_version"),
        ("MANAGER", "manager"),
        ("DELETION", "deletion_date"),
        ("DESCRIPTION", "description"),
    ];
    let change = async |key: &str, what: &str, body: Value| {
        let path = format!("/v1/keys/{}/{what}", path_segment(key));
        let changed = remote.post(&path, body).await?;
        output::rows(
            json_asked,
            &changed,
            std::slice::from_ref(&changed),
            &columns,
        )
    };
    match asked.what {
        KeysCommand::List => {
            let keys = remote.all("/v1/keys", "keys").await?;
            output::rows(json_asked, &json!({ "keys": keys }), &keys, &columns)?;
        }
        KeysCommand::Create { description } => {
            let made = remote
                .post("/v1/keys", json!({ "description": description }))
                .await?;
            output::rows(json_asked, &made, std::slice::from_ref(&made), &columns)?;
        }
        KeysCommand::Enable { key } => change(&key, "enable", json!({})).await?,
        KeysCommand::Disable { key } => change(&key, "disable", json!({})).await?,
        KeysCommand::Rotate { key } => change(&key, "rotate", json!({})).await?,
        KeysCommand::ScheduleDeletion { key, days } => {
            change(&key, "schedule-deletion", json!({ "days": days })).await?;
        }
        KeysCommand::CancelDeletion { key } => {
            change(&key, "cancel-deletion", json!({})).await?;
        }
        KeysCommand::History { key } => {
            let path = format!("/v1/keys/{}/versions", path_segment(&key));
            let versions = remote.all(&path, "versions").await?;
            output::rows(
                json_asked,
                &json!({ "versions": versions }),
                &versions,
                &[
                    ("VERSION", "version"),
                    ("STATE", "state"),
                    ("CREATED", "created"),
                    ("ROTATION", "rotation"),
                    ("DESTROYED", "destroyed"),
                ],
            )?;
        }
        KeysCommand::Versions { key } => {
            // A fingerprint is 64 hexadecimal digits; no name of a KMS key looks like that.
            let kind = if key.len() == 64 && key.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                "customer-keys"
            } else {
                "keys"
            };
            let path = format!("/v1/ledger/{kind}/{}/versions", path_segment(&key));
            let versions: Vec<Value> = remote.all(&path, "versions").await?;
            output::rows(
                json_asked,
                &json!({ "versions": versions }),
                &versions,
                &[
                    ("BUCKET", "bucket"),
                    ("KEY", "key"),
                    ("VERSION", "version_id"),
                    ("CLASS", "storage_class"),
                    ("BYTES", "size_bytes"),
                ],
            )?;
        }
    }
    Ok(())
}
