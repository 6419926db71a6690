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
        ("DESCRIPTION", "description"),
    ];
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
        KeysCommand::Enable { key } => {
            let path = format!("/v1/keys/{}/enable", path_segment(&key));
            let changed = remote.post(&path, json!({})).await?;
            output::rows(
                json_asked,
                &changed,
                std::slice::from_ref(&changed),
                &columns,
            )?;
        }
        KeysCommand::Disable { key } => {
            let path = format!("/v1/keys/{}/disable", path_segment(&key));
            let changed = remote.post(&path, json!({})).await?;
            output::rows(
                json_asked,
                &changed,
                std::slice::from_ref(&changed),
                &columns,
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
