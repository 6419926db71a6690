//! `strongroom keys backup`, `drill` and `restore`, and `strongroom hsm escrow-key`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Args;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_audit::{Log, VerifierKey, hand_over};
use strongroom_environment::{Clock as _, SystemClock, SystemEntropy};
use strongroom_keys::{
    Backup, BackupPage, Caller, TokenSigner, drill_backup, ensure_escrow_key, ensure_token_keys,
    escrow_key_fingerprint, restore_backup, restore_quorum_rule,
};
use strongroom_meta::MetaStore;
use strongroom_pkcs11::init_token;

use super::{audit, output};
use crate::config::Config;
use crate::failure::{Advise as _, advised};
use crate::key_daemon::KeyDaemon;
use crate::remote::Remote;
use crate::token::{self, OpenToken};
use crate::{data_dir, engines, escrow};

const FORMAT: &str = "strongroom-key-backup/v1";

/// A backup as a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackupFile {
    format: String,
    pages: Vec<BackupPage>,
}

#[derive(Args)]
pub(crate) struct EscrowKeyArguments {
    /// A configuration whose `token` is the one that is to be able to take keys over.
    #[arg(long)]
    config: PathBuf,
    /// Write the public key to this file, in PEM: it is the `escrow.public_key_file` of the daemon
    /// whose keys are to be backed up.
    #[arg(long)]
    output: PathBuf,
    /// Also initialise the token, which is blank, with the label and the PIN of the configuration.
    #[arg(long, requires = "so_pin_file")]
    blank_token: bool,
    /// A file with the security officer's PIN for --blank-token; readable by its owner only.
    #[arg(long, requires = "blank_token")]
    so_pin_file: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct DrillArguments {
    /// The file that `strongroom keys backup` has written.
    backup: PathBuf,
    /// A configuration whose `token` is the one with the escrow key.
    #[arg(long)]
    config: PathBuf,
    /// The verifier key of the audit log of the daemon that made the backup.
    #[arg(long)]
    verifier_key: PathBuf,
}

#[derive(Args)]
pub(crate) struct RestoreArguments {
    #[command(flatten)]
    of: DrillArguments,
}

/// Makes the escrow key of a token, unless it is there, and writes its public key.
pub(super) async fn escrow_key(asked: &EscrowKeyArguments, json_asked: bool) -> anyhow::Result<()> {
    let config = Config::load(&asked.config)?;
    if let (true, Some(path)) = (asked.blank_token, &asked.so_pin_file) {
        let officer = SecretString::from(data_dir::read_secret(path)?.as_str());
        init_token(&token::hsm_config(config.token()?)?, &officer).await?;
    }
    let making = output::progress("making the escrow key");
    let OpenToken { token, .. } = token::open(&config).await?;
    let public = ensure_escrow_key(&*token).await?;
    drop(making);
    std::fs::write(&asked.output, escrow::to_pem(&public))
        .with_context(|| format!("cannot write {}", asked.output.display()))?;
    let identity = token.identity();
    let sha256 = escrow_key_fingerprint(&public)
        .ok_or_else(|| anyhow!("the token gives a public key that is none"))?;
    let lines = [
        format!(
            "token          {} (serial {}, {} {}), which passed its conformance test",
            identity.label, identity.serial, identity.manufacturer, identity.model
        ),
        "private key    sensitive, not extractable; it unwraps, and does nothing else".to_owned(),
        format!("sha256         {sha256}"),
        format!("public key     {}", asked.output.display()),
    ];
    let whole = json!({
        "token": identity, "sha256": sha256, "public_key_file": asked.output,
    });
    output::lines(json_asked, &whole, &lines)
}

/// Has the daemon give out a backup, page by page, and writes it.
pub(super) async fn backup(remote: &Remote, file: &Path, json_asked: bool) -> anyhow::Result<()> {
    if file.exists() {
        return Err(advised(
            anyhow!("{} is there already", file.display()),
            "name a file that is not there yet: an older backup is not written over",
        ));
    }
    let id = Backup::new_id(&SystemEntropy);
    let making = output::progress("wrapping keys for the escrow token");
    let (mut pages, mut after) = (Vec::new(), Value::Null);
    loop {
        let body = json!({ "backup": id, "after": after });
        let page: BackupPage = serde_json::from_value(remote.post("/v1/keys/backup", body).await?)
            .context("the daemon's answer is not a page of a backup")?;
        after = page.next.clone().map_or(Value::Null, Value::String);
        pages.push(page);
        making.done(1);
        if after.is_null() {
            break;
        }
    }
    drop(making);
    let whole = BackupFile {
        format: FORMAT.to_owned(),
        pages,
    };
    data_dir::write_private(file, &serde_json::to_vec_pretty(&whole)?)?;
    let lines = [
        format!("{} pages written to {}", whole.pages.len(), file.display()),
        "prove that it can be used: strongroom keys drill, on the machine with the escrow token"
            .to_owned(),
    ];
    let told = json!({ "backup": id, "pages": whole.pages.len(), "file": file });
    output::lines(json_asked, &told, &lines)
}

/// Has the escrow token take every key of a backup over, and keeps nothing.
pub(super) async fn drill(asked: &DrillArguments, json_asked: bool) -> anyhow::Result<()> {
    let config = Config::load(&asked.config)?;
    let (backup, _) = read(asked)?;
    let drilling = output::progress("taking keys over");
    let OpenToken { token, .. } = token::open(&config).await?;
    let drill = drill_backup(&*token, &backup).await?;
    drop(drilling);
    let failed: Vec<Value> = drill
        .keys
        .iter()
        .filter_map(|key| Some(json!({ "version": key.version, "failure": key.failure.as_ref()? })))
        .collect();
    let mut lines: Vec<String> = failed
        .iter()
        .map(|key| format!("FAILED  {}: {}", key["version"], key["failure"]))
        .collect();
    let left_out: Vec<&str> = backup.left_out().collect();
    lines.extend(left_out.iter().map(|version| {
        format!("LEFT OUT {version}: the token that it is of did not vouch for it")
    }));
    lines.push(format!(
        "{} of {} versions of the backup of {} can be taken over by this token; nothing was left on it",
        drill.keys.len() - failed.len(),
        drill.keys.len(),
        backup.made()
    ));
    let whole = json!({
        "backup": backup.id(), "made": backup.made(), "versions": drill.keys.len(),
        "left_out": left_out, "failed": failed, "passed": drill.passed(),
    });
    output::lines(json_asked, &whole, &lines)?;
    if drill.passed() {
        return Ok(());
    }
    Err(advised(
        anyhow!("the backup does not hold what it should"),
        "make another one while the token that it is of is there",
    ))
}

/// Has this token take the keys of a lost one over for good.
pub(super) async fn restore(asked: &RestoreArguments, json_asked: bool) -> anyhow::Result<()> {
    let asked = &asked.of;
    let config = Config::load(&asked.config)?;
    let (backup, former) = read(asked)?;
    let metadata = config.data_dir.join(data_dir::METADATA);
    if !metadata.exists() {
        return Err(advised(
            anyhow!(
                "{} holds no {}",
                config.data_dir.display(),
                data_dir::METADATA
            ),
            "the configuration names the data directory of the store whose token is lost",
        ));
    }
    let restoring = output::progress("taking keys over");
    let OpenToken { token, .. } = token::open(&config).await?;
    ensure_token_keys(&*token).await?;
    let meta: Arc<dyn MetaStore> = Arc::new(engines::open_metadata(
        &metadata,
        usize::try_from(config.metadata_cache_bytes)?,
    )?);
    let log = config.data_dir.join(data_dir::AUDIT);
    check_log(&log, &backup)?;
    let report = restore_backup(&*token, &meta, &backup).await?;
    let signer = TokenSigner::open(token.clone()).await?;
    let handed = hand_over(&log, &former, &signer)
        .await
        .advise("the keys are restored; put the audit log right, and restore again")?;
    // The custodians stay who they are, as the log has it: the rows are vouched for by the lost token.
    // Where the log has gone on since it was handed over they were restored before that.
    let mut rule = None;
    if handed.checkpoint.is_some() {
        rule = audit::signed_rule(&log, &former.to_string())?;
    }
    if let Some(rule) = &rule {
        let now = SystemClock::new().now();
        restore_quorum_rule(&*token, &*meta, rule, &handed.verifier_key, now).await?;
    }
    drop(meta);
    // The former key is still needed, by whoever verifies what was signed with it.
    let verifier = config.data_dir.join(data_dir::VERIFIER_KEY);
    let former_text = former.to_string();
    let key_id = former_text.split('+').nth(1).unwrap_or_default();
    let kept = config.data_dir.join(format!("audit-{key_id}.vkey"));
    data_dir::write_private(&kept, format!("{former}\n").as_bytes())?;
    if let Some(checkpoint) = &handed.checkpoint {
        data_dir::write_private(&kept.with_extension("checkpoint"), checkpoint.as_bytes())?;
    }
    data_dir::write_private(&verifier, format!("{}\n", handed.verifier_key).as_bytes())?;
    drop(token);
    // That the service starts shows that its own keys are there; and the log tells of it.
    let service = KeyDaemon::start(&config, Arc::new(SystemClock::new())).await?;
    let detail = json!({
        "backup": backup.id(), "backup_made": backup.made(), "restored": report.restored,
        "lost": report.lost.len() + report.failed.len(), "former_verifier_key": former.to_string(),
        "verifier_key": handed.verifier_key,
    });
    let caller = Caller::daemon("strongroom:restore");
    let logged = service
        .service()?
        .log_event("restore", detail, &caller)
        .await;
    service.close().await;
    logged?;
    drop(restoring);
    let mut lines = vec![format!(
        "{} versions are restored from the backup of {}",
        report.restored,
        backup.made()
    )];
    for version in &report.lost {
        lines.push(format!(
            "LOST    {version}: it is newer than the backup, and gone with the other token"
        ));
    }
    for version in &report.failed {
        lines.push(format!(
            "LOST    {version}: what the backup has of it is not what it was"
        ));
    }
    if let Some(rule) = &rule {
        lines.push(format!(
            "{} of {} custodians have to agree, as before; proposals that were open are to be made anew",
            rule.threshold(),
            rule.custodians().len()
        ));
    }
    lines.push(format!(
        "the audit log goes on under another key: hand {} to the auditor, with {} to what was signed before",
        verifier.display(),
        kept.display()
    ));
    let whole = json!({
        "backup": backup.id(), "made": backup.made(), "restored": report.restored,
        "not_needed": report.not_needed, "lost": report.lost, "failed": report.failed,
        "verifier_key": handed.verifier_key, "former_verifier_key_file": kept,
    });
    output::lines(json_asked, &whole, &lines)
}

/// Refuses a log that is older than the backup: what was on it between the two would be gone, and
/// nobody could tell.
fn check_log(log: &Path, backup: &Backup) -> anyhow::Result<()> {
    let reader = Log::reader(log);
    let size = reader.published_size()?;
    for (at, entry) in backup.entries() {
        let is_there = *at < size
            && reader
                .entries(*at..*at + 1)?
                .first()
                .is_some_and(|found| found.as_slice() == entry.as_bytes());
        if !is_there {
            return Err(advised(
                anyhow!(
                    "the audit log in {} is not the one that tells of the backup",
                    log.display()
                ),
                "put the newest copy of the log there that was taken with the metadata, or later",
            ));
        }
    }
    Ok(())
}

/// A backup that is whole and signed, and the key that signed it.
fn read(asked: &DrillArguments) -> anyhow::Result<(Backup, VerifierKey)> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let vkey = read(&asked.verifier_key)?;
    let text = read(&asked.backup)?;
    let file: BackupFile = serde_json::from_str(&text)
        .ok()
        .filter(|file: &BackupFile| file.format == FORMAT)
        .ok_or_else(|| {
            advised(
                anyhow!("{} is no backup of keys", asked.backup.display()),
                "name a file that `strongroom keys backup` has written",
            )
        })?;
    let backup = Backup::verify(&file.pages, vkey.trim())
        .advise("it was changed, or the verifier key is another log's: nothing of it is used")?;
    let former = VerifierKey::parse(vkey.trim())?;
    Ok((backup, former))
}
