//! KMS keys, for the custodian.

use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_environment::Timestamp;
use strongroom_keys::{
    CertificateState, KeyCustody as _, KeyDescription, KeyManager, KeyOrigin, KeyReference,
    KeyState, KeyUseLimits, KeyVersion, RewrapJob, RewrapLevel, RewrapState, RotationKind,
    VersionDescription, VersionState,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Asked;
use crate::Custody;
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    #[serde(default)]
    description: String,
    #[serde(default)]
    external: bool,
}

/// How long a key waits for its deletion.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    days: u32,
}

/// Which version of a key, if one is named.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhichVersion {
    version: Option<u32>,
}

/// What is not there is not limited.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    uses_max: Option<u64>,
    size_bytes_max: Option<u64>,
    not_before: Option<String>,
    not_after: Option<String>,
}

/// Which page of which backup.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    backup: String,
    after: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Compromise {
    version: Option<u32>,
    reason: String,
}

pub(super) async fn list(asked: &Asked<'_>) -> Result<Value, Problem> {
    let kms = asked.kms()?;
    let page = kms
        .list_keys(asked.query.cursor(), asked.query.limit()?)
        .await?;
    let keys: Vec<Value> = page.items.iter().map(shown).collect();
    Ok(json!({ "keys": keys, "next": page.next }))
}

pub(super) async fn create(asked: &Asked<'_>) -> Result<Value, Problem> {
    let new: NewKey = asked.read()?;
    let kms = asked.kms()?;
    let new = strongroom_keys::NewKey {
        is_external: new.external,
        ..new.description.as_str().into()
    };
    Ok(shown(&kms.create_key(new, &asked.caller).await?))
}

pub(super) async fn describe(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    Ok(shown(&asked.kms()?.key_record(&reference(key)?).await?))
}

pub(super) async fn enable(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let kms = asked.kms()?;
    Ok(shown(
        &kms.enable_key(&reference(key)?, &asked.caller).await?,
    ))
}

pub(super) async fn disable(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let kms = asked.kms()?;
    Ok(shown(
        &kms.disable_key(&reference(key)?, &asked.caller).await?,
    ))
}

/// Makes a new version of a key now.
pub(super) async fn rotate(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let kms = asked.kms()?;
    Ok(shown(
        &kms.rotate_key(&reference(key)?, &asked.caller).await?,
    ))
}

pub(super) async fn schedule_deletion(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let window: Window = asked.read()?;
    let kms = asked.kms()?;
    Ok(shown(
        &kms.schedule_key_deletion(&reference(key)?, window.days, &asked.caller)
            .await?,
    ))
}

pub(super) async fn cancel_deletion(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let kms = asked.kms()?;
    Ok(shown(
        &kms.cancel_key_deletion(&reference(key)?, &asked.caller)
            .await?,
    ))
}

/// The versions of a key, oldest first, each with its state.
pub(super) async fn versions(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let kms = asked.kms()?;
    let page = kms
        .key_versions(&reference(key)?, asked.query.cursor(), asked.query.limit()?)
        .await?;
    let versions: Vec<Value> = page.items.iter().map(version_shown).collect();
    Ok(json!({ "versions": versions, "next": page.next }))
}

/// The certificate of the destruction of a key.
pub(super) async fn certificate(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    match asked.kms()?.certificate(&reference(key)?).await? {
        CertificateState::Signed(certificate) => {
            serde_json::to_value(certificate).map_err(Problem::internal)
        }
        CertificateState::Pending => Err(Problem::unavailable(
            "the key is destroyed, and its certificate is not signed yet: the token or the audit \
             log could not serve; it is tried again every minute",
        )),
        CertificateState::None => Err(Problem::conflict(
            "the key is not destroyed: there is a certificate when its deletion is carried out",
        )),
    }
}

/// Marks a version of a key as compromised, and has everything under it re-wrapped.
pub(super) async fn compromise(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let asks: Compromise = asked.read()?;
    let kms = asked.kms()?;
    let key = kms
        .compromise_version(
            &reference(key)?,
            asks.version.map(KeyVersion),
            &asks.reason,
            &asked.caller,
        )
        .await?;
    let key = shown(&key);
    begin_rewraps(asked);
    Ok(key)
}

/// Asks for the re-wrap of what is under old versions of a key.
pub(super) async fn rewrap(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let asks: WhichVersion = asked.read()?;
    let kms = asked.kms()?;
    let versions = kms
        .rewrap_versions(
            &reference(key)?,
            asks.version.map(KeyVersion),
            &asked.caller,
        )
        .await?;
    begin_rewraps(asked);
    let versions: Vec<u32> = versions.iter().map(|version| version.0).collect();
    Ok(json!({ "key_versions": versions }))
}

/// How far the re-wraps of a key are.
pub(super) async fn rewraps(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let reference = reference(key)?;
    let jobs = match &asked.state.config.custody {
        Custody::Here(kms) => kms.rewraps(&reference).await?,
        Custody::Apart(custody) => {
            let key = custody.resolve(&reference).await?;
            asked.objects()?.store.rewraps_of(key).await?
        }
    };
    let jobs: Vec<Value> = jobs.iter().map(rewrap_shown).collect();
    Ok(json!({ "rewraps": jobs }))
}

/// A page of a backup of all keys, wrapped for the escrow key of the configuration.
pub(super) async fn backup(asked: &Asked<'_>) -> Result<Value, Problem> {
    let asks: Backup = asked.read()?;
    let config = &asked.state.config;
    let recipient = config.escrow_key.as_deref().ok_or_else(|| {
        Problem::conflict(
            "the configuration names no `escrow.public_key_file`: `strongroom hsm escrow-key` makes \
             one on the token that is to be able to take the keys over",
        )
    })?;
    let page = asked
        .kms()?
        .backup_page(
            recipient,
            &asks.backup,
            asks.after.as_deref(),
            &asked.caller,
        )
        .await?;
    serde_json::to_value(page).map_err(Problem::internal)
}

/// The limits of a key, and how much it has protected.
pub(super) async fn limits(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let (limits, count) = asked.kms()?.limits(&reference(key)?).await?;
    let date = |date: Option<Timestamp>| date.map(|date| date.to_string());
    Ok(json!({
        "uses_max": limits.uses_max,
        "size_bytes_max": limits.size_bytes_max,
        "not_before": date(limits.not_before),
        "not_after": date(limits.not_after),
        "uses": count.uses,
        "size_bytes": count.size_bytes,
    }))
}

/// Sets the limits of a key in the place of those it had.
pub(super) async fn set_limits(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let asks: Limits = asked.read()?;
    let limits = KeyUseLimits {
        uses_max: asks.uses_max,
        size_bytes_max: asks.size_bytes_max,
        not_before: moment("not_before", asks.not_before.as_deref())?,
        not_after: moment("not_after", asks.not_after.as_deref())?,
    };
    let kms = asked.kms()?;
    kms.set_limits(&reference(key)?, limits, &asked.caller)
        .await?;
    self::limits(asked, key).await
}

/// A moment as a request gives it (RFC 3339).
pub(super) fn moment(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text else {
        return Ok(None);
    };
    let read = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
        Problem::invalid(format!(
            "`{name}` is a moment like 2027-01-31T00:00:00Z, not {text:?}"
        ))
    })?;
    let micros = read.unix_timestamp_nanos() / 1_000;
    i64::try_from(micros)
        .map(|micros| Some(Timestamp::from_micros(micros)))
        .map_err(Problem::invalid)
}

fn begin_rewraps(asked: &Asked<'_>) {
    if let Some(objects) = &asked.state.config.objects {
        objects.store.begin_rewraps();
    }
}

fn rewrap_shown(job: &RewrapJob) -> Value {
    let progress = &job.progress;
    let (state, finished) = match progress.state {
        RewrapState::UnderWay => ("under-way", None),
        RewrapState::Done { finished } => ("done", Some(finished.to_string())),
    };
    json!({
        "key_version": job.version.0,
        "level": match progress.level {
            RewrapLevel::BucketKeys => "bucket-keys",
            RewrapLevel::DataKeys => "data-keys",
        },
        "state": state,
        "asked": progress.asked.to_string(),
        "asked_by": progress.principal,
        "finished": finished,
        "versions_expected": progress.versions_expected,
        "versions": progress.versions,
        "versions_per_second": progress.versions_per_second(),
        "bucket_keys": progress.bucket_keys,
        "uploads": progress.uploads,
        "left": progress.left,
        "error": (!progress.error.is_empty()).then_some(&progress.error),
    })
}

/// Does what is due with keys now: rotations, and deletions whose date has come.
pub(super) async fn run(asked: &Asked<'_>) -> Result<Value, Problem> {
    let report = asked.kms()?.run_due(&asked.caller).await?;
    let rotated: Vec<Value> = report
        .rotated
        .iter()
        .map(|(key, version)| json!({ "arn": key.as_str(), "version": version.0 }))
        .collect();
    let destroyed: Vec<&str> = report.destroyed.iter().map(|key| key.as_str()).collect();
    let expired: Vec<&str> = report.expired.iter().map(|key| key.as_str()).collect();
    let failed: Vec<Value> = report
        .failed
        .iter()
        .map(|(key, reason)| json!({ "arn": key.as_str(), "reason": reason }))
        .collect();
    Ok(json!({
        "rotated": rotated,
        "destroyed": destroyed,
        "expired": expired,
        "failed": failed,
        "next": report.next.map(|next| next.to_string()),
    }))
}

/// A key as it is named in a path.
pub(super) fn reference(key: &str) -> Result<KeyReference, Problem> {
    key.parse()
        .map_err(|error| Problem::invalid(format!("{key:?} names no key: {error}")))
}

pub(super) fn shown(key: &KeyDescription) -> Value {
    let mut shown = json!({
        "id": key.id.to_string(),
        "arn": key.arn.as_str(),
        "state": match key.state {
            KeyState::Enabled => "enabled",
            KeyState::Disabled => "disabled",
            KeyState::PendingImport => "pending-import",
            KeyState::PendingDeletion { .. } => "pending-deletion",
            KeyState::Destroyed { .. } => "destroyed",
        },
        "manager": match key.manager {
            KeyManager::Customer => "customer",
            KeyManager::Service => "service",
        },
        "spec": key.spec.as_str(),
        "usage": key.spec.usage(),
        "origin": match key.origin {
            KeyOrigin::Token => "token",
            KeyOrigin::External { .. } => "external",
        },
        "current_version": key.current_version.0,
        "created": key.created.to_string(),
        "description": key.description,
    });
    if let KeyState::PendingDeletion { date } | KeyState::Destroyed { date } = key.state {
        shown["deletion_date"] = date.to_string().into();
    }
    if let KeyOrigin::External {
        expires: Some(expires),
        ..
    } = key.origin
    {
        shown["material_expires"] = expires.to_string().into();
    }
    if let Some(schedule) = key.rotation {
        shown["rotation_period_days"] = schedule.period_days.into();
        shown["next_rotation"] = schedule.next.to_string().into();
    }
    shown
}

fn version_shown(version: &VersionDescription) -> Value {
    let mut shown = json!({
        "version": version.version.0,
        "state": match version.state {
            VersionState::Active => "active",
            VersionState::Deactivated => "deactivated",
            VersionState::PreActive => "pre-active",
            VersionState::Suspended => "suspended",
            VersionState::Compromised { .. } => "compromised",
            VersionState::Destroyed {
                was_compromised: false,
                ..
            } => "destroyed",
            VersionState::Destroyed { .. } => "destroyed-compromised",
        },
        "created": version.created.to_string(),
        "last_used": version.last_used.map(|date| date.to_string()),
        "rotation": version.rotation.map(|kind| match kind {
            RotationKind::Automatic => "automatic",
            RotationKind::OnDemand => "on-demand",
        }),
    });
    match version.state {
        VersionState::Destroyed { date, .. } => shown["destroyed"] = date.to_string().into(),
        VersionState::Compromised { date } => shown["compromised"] = date.to_string().into(),
        _ => {}
    }
    shown
}
