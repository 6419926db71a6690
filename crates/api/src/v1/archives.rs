//! Objects moved to the cold tier, brought back, and looked after there.

use std::fmt;

use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_lifecycle::RestoreOutcome;
use strongroom_store::{
    BucketName, ListVersions, ObjectKey, ObjectRef, RetrievalTier, ShownVersion, StorageClass,
    StoreError, VersionId, VersionName, VersionSelector,
};

use super::Asked;
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Archive {
    bucket: String,
    key: String,
    #[serde(default)]
    version_id: Option<String>,
    storage_class: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Restore {
    bucket: String,
    key: String,
    #[serde(default)]
    version_id: Option<String>,
    days: i64,
    #[serde(default)]
    tier: Option<String>,
}

/// Has a version moved to an archive class by the next run of the lifecycle.
pub(super) async fn archive(asked: &Asked<'_>) -> Result<Value, Problem> {
    let wanted: Archive = asked.read()?;
    let class = StorageClass::parse(&wanted.storage_class)
        .filter(|class| class.is_archived())
        .ok_or_else(|| {
            Problem::invalid(format!(
                "`storage_class` is GLACIER or DEEP_ARCHIVE, not {:?}",
                wanted.storage_class
            ))
        })?;
    let object = object(&wanted.bucket, &wanted.key, wanted.version_id.as_deref())?;
    let name = asked
        .objects()?
        .lifecycle
        .archive_now(&object, class, &asked.caller)
        .await?;
    Ok(json!({
        "bucket": name.bucket.as_str(),
        "key": name.key.as_str(),
        "storage_class": class.as_str(),
        "state": "archiving",
    }))
}

/// Asks for an archived version back, as `RestoreObject` does.
pub(super) async fn restore(asked: &Asked<'_>) -> Result<Value, Problem> {
    let wanted: Restore = asked.read()?;
    let tier = match wanted.tier.as_deref() {
        None => RetrievalTier::Standard,
        Some(name) => RetrievalTier::parse(name).ok_or_else(|| {
            Problem::invalid(format!(
                "`tier` is Expedited, Standard or Bulk, not {name:?}"
            ))
        })?,
    };
    let object = object(&wanted.bucket, &wanted.key, wanted.version_id.as_deref())?;
    let outcome = asked
        .objects()?
        .lifecycle
        .restore(&object, wanted.days, tier, &asked.caller)
        .await?;
    Ok(match outcome {
        RestoreOutcome::Started => json!({ "state": "in progress" }),
        RestoreOutcome::AlreadyRestored { until } => {
            json!({ "state": "restored", "until": until.to_string() })
        }
    })
}

/// The restores under way, by name.
pub(super) async fn open_restores(asked: &Asked<'_>) -> Result<Value, Problem> {
    let limit = asked.query.limit()?;
    let after = asked.query.cursor().map(read_name).transpose()?;
    let open = asked
        .objects()?
        .lifecycle
        .open_restores(after.as_ref(), limit)
        .await?;
    let next = (open.len() == limit)
        .then(|| open.last().map(|last| name_cursor(&last.name)))
        .flatten();
    let restores: Vec<Value> = open
        .iter()
        .map(|restore| {
            json!({
                "bucket": restore.name.bucket.as_str(),
                "key": restore.name.key.as_str(),
                "version_id": restore.name.version.to_string(),
                "storage_class": restore.class.as_str(),
                "tier": restore.tier.as_str(),
                "days": restore.days,
            })
        })
        .collect();
    Ok(json!({ "restores": restores, "next": next }))
}

/// Looks whether the stored bytes of a page of versions are there, and as long as they must be.
/// Pages go through all buckets; `next` is where the next one begins.
pub(super) async fn scrub(asked: &Asked<'_>) -> Result<Value, Problem> {
    let store = &asked.objects()?.store;
    let limit = asked.query.limit()?;
    let mut from = match asked.query.cursor() {
        Some(cursor) => Some(ScrubCursor::read(cursor)?),
        None => store
            .list_buckets("", None, 1)
            .await?
            .first()
            .map(|bucket| ScrubCursor::start_of(bucket.bucket.clone())),
    };
    let mut whole = 0_u64;
    let mut damaged = Vec::new();
    if let Some(at) = from.take() {
        let page = store
            .list_versions(ListVersions {
                bucket: at.bucket.clone(),
                prefix: String::new(),
                delimiter: None,
                after_key: at.after_key,
                after_version: at.after_version,
                entries_max: limit,
            })
            .await?;
        for version in &page.versions {
            let object = ObjectRef {
                bucket: at.bucket.clone(),
                key: version.key.clone(),
                version: selector(version.version),
            };
            if version.object.is_none() {
                continue;
            }
            match store.scrub(&object).await {
                // It was deleted since it was listed.
                Err(StoreError::NoSuchVersion | StoreError::NoSuchKey { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(findings) if findings.is_empty() => whole += 1,
                Ok(findings) => {
                    damaged.extend(findings.iter().map(ToString::to_string));
                }
            }
        }
        from = match page.next {
            Some((key, version)) => Some(ScrubCursor {
                bucket: at.bucket,
                after_key: Some(key),
                after_version: version.map_or(VersionSelector::Current, selector),
            }),
            None => store
                .list_buckets("", Some(&at.bucket), 1)
                .await?
                .first()
                .map(|bucket| ScrubCursor::start_of(bucket.bucket.clone())),
        };
    }
    Ok(json!({
        "whole": whole,
        "damaged": damaged,
        "next": from.map(|from| from.to_string()),
    }))
}

/// Where a scrub goes on.
#[derive(Debug, PartialEq, Eq)]
struct ScrubCursor {
    bucket: BucketName,
    after_key: Option<String>,
    after_version: VersionSelector,
}

impl ScrubCursor {
    fn start_of(bucket: BucketName) -> Self {
        Self {
            bucket,
            after_key: None,
            after_version: VersionSelector::Current,
        }
    }

    /// Reads what was printed: bucket, version and key, of which only the key may hold a slash.
    fn read(text: &str) -> Result<Self, Problem> {
        let wrong = || Problem::invalid("the cursor is not the `next` of a page");
        let mut parts = text.splitn(3, '/');
        let (Some(bucket), Some(version), Some(key)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        Ok(Self {
            bucket: BucketName::new(bucket).map_err(|_| wrong())?,
            after_key: (!key.is_empty()).then(|| key.to_owned()),
            after_version: VersionSelector::parse((!version.is_empty()).then_some(version))
                .map_err(|_| wrong())?,
        })
    }
}

impl fmt::Display for ScrubCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.bucket)?;
        match self.after_version {
            VersionSelector::Current => {}
            VersionSelector::Null => f.write_str("null")?,
            VersionSelector::Id(id) => id.fmt(f)?,
        }
        write!(f, "/{}", self.after_key.as_deref().unwrap_or_default())
    }
}

/// A version as a cursor of restores: bucket, version id and key.
fn name_cursor(name: &VersionName) -> String {
    format!("{}/{}/{}", name.bucket, name.version, name.key)
}

fn read_name(cursor: &str) -> Result<VersionName, Problem> {
    let wrong = || Problem::invalid("the cursor is not the `next` of a page");
    let mut parts = cursor.splitn(3, '/');
    let (Some(bucket), Some(version), Some(key)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    Ok(VersionName {
        bucket: BucketName::new(bucket).map_err(|_| wrong())?,
        key: ObjectKey::new(key).map_err(|_| wrong())?,
        version: VersionId::parse(version).map_err(|_| wrong())?,
    })
}

fn object(bucket: &str, key: &str, version_id: Option<&str>) -> Result<ObjectRef, Problem> {
    Ok(ObjectRef {
        bucket: BucketName::new(bucket).map_err(Problem::invalid)?,
        key: ObjectKey::new(key).map_err(Problem::invalid)?,
        version: VersionSelector::parse(version_id).map_err(Problem::invalid)?,
    })
}

fn selector(version: ShownVersion) -> VersionSelector {
    match version {
        ShownVersion::Null => VersionSelector::Null,
        ShownVersion::Id(id) => VersionSelector::Id(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrub_goes_on_where_it_was() {
        let bucket = BucketName::new("bucket").expect("a name");
        for cursor in [
            ScrubCursor::start_of(bucket.clone()),
            ScrubCursor {
                bucket: bucket.clone(),
                after_key: Some("a/b/c".into()),
                after_version: VersionSelector::Id(VersionId::new(7, [9; 16])),
            },
            ScrubCursor {
                bucket,
                after_key: Some("k".into()),
                after_version: VersionSelector::Null,
            },
        ] {
            assert_eq!(
                ScrubCursor::read(&cursor.to_string()).expect("read"),
                cursor
            );
        }
        for wrong in ["", "bucket", "bucket/null", "B//k", "bucket/xyz/k"] {
            assert!(ScrubCursor::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_page_of_restores_goes_on_after_the_last_name() {
        let name = VersionName {
            bucket: BucketName::new("bucket").expect("a name"),
            key: ObjectKey::new("a/b").expect("a key"),
            version: VersionId::new(7, [9; 16]),
        };
        assert_eq!(read_name(&name_cursor(&name)).expect("read"), name);
        assert!(read_name("bucket/7").is_err());
    }
}
