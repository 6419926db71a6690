//! `strongroom keys`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::{Value, json};

use super::{WithRemote, escrow, imports, output};
use crate::remote::{Remote, path_segment};

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// List all KMS keys.
    List,
    /// Make a KMS key.
    Create {
        /// What the key is for.
        #[arg(long, default_value = "")]
        description: String,
        /// Make it without material, which is made elsewhere and imported: `strongroom keys
        /// import-parameters` comes next.
        #[arg(long)]
        external: bool,
    },
    /// Begin to import the material of a key: have the token make a key pair to wrap it for.
    ///
    /// Writes a directory with the public key, an import token that is good for 24 hours, and a
    /// script that wraps the material with openssl, on any machine and with no network.
    /// `strongroom keys import` then imports it. The private key is in the token, and where the
    /// token can undo the wrapping the value of the key is in no memory but its own.
    ImportParameters(imports::ParametersArguments),
    /// Import material that was wrapped with what `strongroom keys import-parameters` wrote.
    ///
    /// The first makes the key usable. Material that has expired or was deleted is imported again
    /// in the same way; it must be the same. With `--new` it is material to rotate the key to.
    Import(imports::ImportArguments),
    /// List the imported material of a key: which is there, when it expires, and whether it was
    /// unwrapped in the token.
    Material {
        /// Key id, ARN or alias.
        key: String,
    },
    /// Take imported material away at once: the key cannot be used until the same material is
    /// imported again.
    DeleteMaterial {
        /// Key id, ARN or alias.
        key: String,
        /// Which, by its id in `strongroom keys material`; the one that encrypts unless it is named.
        #[arg(long)]
        id: Option<String>,
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
    /// Make a new version of a key now, or take the imported material that waits for it: what is new
    /// goes under it, older versions still decrypt.
    Rotate {
        /// Key id, ARN or alias.
        key: String,
    },
    /// Mark a version of a key as compromised: it decrypts only, a new one takes its place, and
    /// everything under it is re-wrapped in the background, archived objects too.
    ///
    /// Bucket keys that were ever sealed under it are in doubt with it, so the data key of every
    /// object version is wrapped anew; no payload is read or written. `strongroom keys rewrap KEY
    /// --status` shows how far it is. Ciphertexts that clients of the KMS protocol keep are theirs to
    /// re-encrypt.
    Compromise {
        /// Key id, ARN or alias.
        key: String,
        /// Which version; the one that encrypts unless it is named.
        #[arg(long)]
        version: Option<u32>,
        /// What happened: it goes on the audit log.
        #[arg(long)]
        reason: String,
    },
    /// Re-wrap what is under old versions of a key, in the background: bucket keys, and data keys
    /// directly under them.
    Rewrap {
        /// Key id, ARN or alias.
        key: String,
        /// Which version; every one but that which encrypts unless it is named.
        #[arg(long)]
        version: Option<u32>,
        /// Show how far the re-wraps are, and begin none.
        #[arg(long, conflicts_with = "version")]
        status: bool,
    },
    /// Show the limits of a key and how much it has protected.
    Limits {
        /// Key id, ARN or alias.
        key: String,
    },
    /// Set the limits of a key: how often and how much it protects, and between which dates.
    ///
    /// They take the place of those it had; with no option there are none. What the key has
    /// protected is opened whatever the limits say. A bucket key that is opened already goes on for
    /// the minutes that it has.
    Limit {
        /// Key id, ARN or alias.
        key: String,
        /// How often it protects something, in all its versions together.
        #[arg(long)]
        uses: Option<u64>,
        /// How many bytes it protects; a bucket key is 32.
        #[arg(long)]
        bytes: Option<u64>,
        /// From when on, like 2027-01-31T00:00:00Z.
        #[arg(long)]
        from: Option<String>,
        /// Until when, like 2028-01-31T00:00:00Z.
        #[arg(long)]
        until: Option<String>,
    },
    /// Back up all keys for another token of the owner: every version of every key, wrapped for the
    /// escrow key of the configuration, and signed by the key of the audit log.
    ///
    /// The token wraps the keys itself, so no value is in any memory but its own. The file is of no
    /// use without the escrow token; what was made after it is not in it.
    Backup {
        /// The file to write; it must not be there yet.
        #[arg(long)]
        output: PathBuf,
    },
    /// Prove that a backup can be used: have the escrow token take over every key in it, check each,
    /// and keep nothing. Needs no daemon.
    Drill(escrow::DrillArguments),
    /// When a token is lost for good: have the escrow token take the keys of a backup over, in the
    /// data directory of the configuration, whose daemon is stopped.
    ///
    /// The token gets root keys of its own. Versions that are newer than the backup are lost, and are
    /// listed. The key that signs the audit log was on the lost token too: the log goes on under
    /// another, with the last checkpoint signed by both, and the auditor needs the new verifier key.
    /// A restore that was cut short is begun again with the same command.
    Restore(escrow::RestoreArguments),
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
    /// Fetch the certificate of the destruction of a key: what was destroyed and lost, signed in the
    /// token by the key of the audit log.
    ///
    /// `strongroom audit check-certificate` checks it offline.
    Certificate {
        /// The id or ARN of the destroyed key: its aliases are gone.
        key: String,
        /// Write the certificate to this file too, as JSON with the log entry and its proof.
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// Count the object versions and bytes that would become unreadable without a key, by bucket and
    /// storage class.
    ///
    /// Archived objects, all versions of the key and what is under bucket keys are counted. Nothing is
    /// changed and no key is used. Ciphertexts that clients of the KMS protocol keep are not known
    /// here; `strongroom keys history` says when a version was last used.
    Impact {
        /// A KMS key (id, ARN or alias), or the fingerprint of a customer key.
        key: String,
    },
    /// List the object versions that a key protects.
    Versions {
        /// A KMS key (id, ARN or alias), or the fingerprint of a customer key.
        key: String,
    },
}

pub(super) async fn run(asked: WithRemote<KeysCommand>, json_asked: bool) -> anyhow::Result<()> {
    match &asked.what {
        KeysCommand::Drill(asks) => return escrow::drill(asks, json_asked).await,
        KeysCommand::Restore(asks) => return escrow::restore(asks, json_asked).await,
        _ => {}
    }
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
        // They need no daemon.
        KeysCommand::Drill(_) | KeysCommand::Restore(_) => {}
        KeysCommand::Backup { output: file } => {
            escrow::backup(&remote, &file, json_asked).await?;
        }
        KeysCommand::ImportParameters(asks) => {
            imports::parameters(&remote, &asks, json_asked).await?;
        }
        KeysCommand::Import(asks) => imports::import(&remote, &asks, json_asked).await?,
        KeysCommand::Material { key } => imports::list(&remote, &key, json_asked).await?,
        KeysCommand::DeleteMaterial { key, id } => {
            change(&key, "material/delete", json!({ "key_material_id": id })).await?;
        }
        KeysCommand::Create {
            description,
            external,
        } => {
            let new = json!({ "description": description, "external": external });
            let made = remote.post("/v1/keys", new).await?;
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
        KeysCommand::Limits { key } => {
            let path = format!("/v1/keys/{}/limits", path_segment(&key));
            show_limits(json_asked, &remote.get(&path).await?)?;
        }
        KeysCommand::Limit {
            key,
            uses,
            bytes,
            from,
            until,
        } => {
            let path = format!("/v1/keys/{}/limits", path_segment(&key));
            let limits = json!({
                "uses_max": uses, "size_bytes_max": bytes, "not_before": from, "not_after": until,
            });
            show_limits(json_asked, &remote.post(&path, limits).await?)?;
        }
        KeysCommand::Compromise {
            key,
            version,
            reason,
        } => {
            change(
                &key,
                "compromise",
                with_version(version, json!({ "reason": reason })),
            )
            .await?
        }
        KeysCommand::Rewrap {
            key,
            version,
            status,
        } => {
            let path = format!("/v1/keys/{}/rewrap", path_segment(&key));
            if !status {
                remote.post(&path, with_version(version, json!({}))).await?;
            }
            let found = remote.get(&format!("{path}s")).await?;
            let rows = found["rewraps"].as_array().cloned().unwrap_or_default();
            output::rows(
                json_asked,
                &found,
                &rows,
                &[
                    ("KEY VERSION", "key_version"),
                    ("LEVEL", "level"),
                    ("STATE", "state"),
                    ("VERSIONS", "versions"),
                    ("OF", "versions_expected"),
                    ("PER SECOND", "versions_per_second"),
                    ("BUCKET KEYS", "bucket_keys"),
                    ("LEFT", "left"),
                    ("ERROR", "error"),
                ],
            )?;
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
                    ("LAST USED", "last_used"),
                    ("COMPROMISED", "compromised"),
                    ("DESTROYED", "destroyed"),
                ],
            )?;
        }
        KeysCommand::Certificate { key, output: file } => {
            let path = format!("/v1/keys/{}/certificate", path_segment(&key));
            let certificate = remote.get(&path).await?;
            if let Some(file) = file {
                std::fs::write(&file, format!("{certificate:#}\n"))
                    .with_context(|| format!("cannot write {}", file.display()))?;
            }
            if json_asked {
                output::line(format_args!("{certificate:#}"))?;
            } else {
                output::text(certificate["note"].as_str().unwrap_or_default())?;
            }
        }
        KeysCommand::Impact { key } => impact(&remote, &key, json_asked).await?,
        KeysCommand::Versions { key } => {
            let path = format!("{}/versions", ledger_path(&key));
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

fn show_limits(json_asked: bool, limits: &Value) -> anyhow::Result<()> {
    output::rows(
        json_asked,
        limits,
        std::slice::from_ref(limits),
        &[
            ("USES", "uses"),
            ("OF", "uses_max"),
            ("BYTES", "size_bytes"),
            ("OF", "size_bytes_max"),
            ("FROM", "not_before"),
            ("UNTIL", "not_after"),
        ],
    )
}

/// A request that names a version of a key, where one is named.
fn with_version(version: Option<u32>, mut body: Value) -> Value {
    if let Some(version) = version {
        body["version"] = version.into();
    }
    body
}

/// Where the ledger tells of a key.
fn ledger_path(key: &str) -> String {
    // A fingerprint is 64 hexadecimal digits; no name of a KMS key looks like that.
    let kind = if key.len() == 64 && key.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        "customer-keys"
    } else {
        "keys"
    };
    format!("/v1/ledger/{kind}/{}", path_segment(key))
}

/// Adds up the parts of a count, with progress.
async fn impact(remote: &Remote, key: &str, json_asked: bool) -> anyhow::Result<()> {
    type Group = (Option<u64>, String, String, String);
    let path = format!("{}/impact", ledger_path(key));
    let counting = output::progress("counting object versions");
    let mut groups: BTreeMap<Group, (u64, u64)> = BTreeMap::new();
    let (mut versions, mut size_bytes) = (0, 0);
    let mut asked = path.clone();
    let uploads = loop {
        let part = remote.get(&asked).await?;
        let number = |value: &Value, name: &str| value[name].as_u64().unwrap_or_default();
        for group in part["groups"].as_array().into_iter().flatten() {
            let text = |name: &str| group[name].as_str().unwrap_or_default().to_owned();
            let place = (
                group["key_version"].as_u64(),
                text("bucket"),
                text("storage_class"),
                text("tier"),
            );
            let sum = groups.entry(place).or_default();
            sum.0 += number(group, "versions");
            sum.1 += number(group, "size_bytes");
        }
        versions += number(&part, "versions");
        size_bytes += number(&part, "size_bytes");
        counting.done(number(&part, "versions"));
        match part["next"].as_str() {
            Some(next) => asked = format!("{path}?cursor={}", path_segment(next)),
            None => break part["uploads"].clone(),
        }
    };
    drop(counting);
    let mut rows: Vec<Value> = groups
        .into_iter()
        .map(|((key_version, bucket, storage_class, tier), sum)| {
            json!({
                "key_version": key_version,
                "bucket": bucket,
                "storage_class": storage_class,
                "tier": tier,
                "versions": sum.0,
                "size_bytes": sum.1,
            })
        })
        .collect();
    let whole = json!({
        "groups": rows,
        "versions": versions,
        "size_bytes": size_bytes,
        "uploads": uploads,
    });
    rows.push(json!({ "bucket": "(all)", "versions": versions, "size_bytes": size_bytes }));
    output::rows(
        json_asked,
        &whole,
        &rows,
        &[
            ("KEY VERSION", "key_version"),
            ("BUCKET", "bucket"),
            ("CLASS", "storage_class"),
            ("TIER", "tier"),
            ("VERSIONS", "versions"),
            ("BYTES", "size_bytes"),
        ],
    )
}
