//! `strongroom objects`.

use anyhow::bail;
use clap::Subcommand;
use serde_json::json;

use super::{WithRemote, output};
use crate::remote::path_segment;

#[derive(Subcommand)]
pub(crate) enum ObjectsCommand {
    /// Name the key that protects each version of an object, newest first.
    Keys {
        /// The object, as s3://BUCKET/KEY.
        object: ObjectUri,
    },
    /// Move the current version of an object to an archive class now.
    Archive {
        /// The object, as s3://BUCKET/KEY.
        object: ObjectUri,
        /// GLACIER or DEEP_ARCHIVE.
        #[arg(long, default_value = "GLACIER")]
        class: String,
    },
    /// Ask for an archived object back for some days.
    Restore {
        /// The object, as s3://BUCKET/KEY.
        object: ObjectUri,
        /// For how many days.
        #[arg(long, default_value_t = 1)]
        days: u32,
        /// Expedited, Standard or Bulk.
        #[arg(long, default_value = "Standard")]
        tier: String,
    },
}

/// The name of an object on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectUri {
    bucket: String,
    key: String,
}

impl std::str::FromStr for ObjectUri {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text
            .strip_prefix("s3://")
            .and_then(|rest| rest.split_once('/'))
        {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => Ok(Self {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
            }),
            _ => bail!("an object is written s3://BUCKET/KEY"),
        }
    }
}

pub(super) async fn run(asked: WithRemote<ObjectsCommand>, json_asked: bool) -> anyhow::Result<()> {
    let remote = asked.remote.connect()?;
    match asked.what {
        ObjectsCommand::Keys { object } => {
            let found = remote
                .get(&format!(
                    "/v1/ledger/objects?bucket={}&key={}",
                    path_segment(&object.bucket),
                    path_segment(&object.key)
                ))
                .await?;
            let rows = found["versions"].as_array().cloned().unwrap_or_default();
            output::rows(
                json_asked,
                &found,
                &rows,
                &[
                    ("VERSION", "version_id"),
                    ("MODE", "protection.mode"),
                    ("KEY", "protection.name"),
                    ("KEY VERSION", "protection.version"),
                    ("CLASS", "storage_class"),
                    ("MODIFIED", "modified"),
                ],
            )?;
        }
        ObjectsCommand::Archive { object, class } => {
            let body =
                json!({ "bucket": object.bucket, "key": object.key, "storage_class": class });
            let done = remote.post("/v1/archives", body).await?;
            output::lines(
                json_asked,
                &done,
                &["the object is being archived".to_owned()],
            )?;
        }
        ObjectsCommand::Restore { object, days, tier } => {
            let body = json!({
                "bucket": object.bucket, "key": object.key, "days": days, "tier": tier,
            });
            let done = remote.post("/v1/restores", body).await?;
            let state = done["state"].as_str().unwrap_or_default().to_owned();
            output::lines(json_asked, &done, &[state])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_as_a_uri() {
        let uri: ObjectUri = "s3://b/k/with/slash".parse().expect("an object");
        assert_eq!(
            (uri.bucket.as_str(), uri.key.as_str()),
            ("b", "k/with/slash")
        );
        for wrong in ["b/k", "s3://", "s3://b", "s3://b/", "s3:///k"] {
            assert!(wrong.parse::<ObjectUri>().is_err(), "{wrong}");
        }
    }
}
