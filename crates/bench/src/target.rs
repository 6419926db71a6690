//! The server that is measured, and the encryption that is asked of it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use md5::{Digest, Md5};
use serde::Deserialize;

/// Where a server is and who asks.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Target {
    /// The S3 endpoint, `http://HOST:PORT`.
    #[serde(rename = "s3_url")]
    pub(crate) url: String,
    /// The HTTP API, where the KMS protocol is.
    pub(crate) api_url: Option<String>,
    /// The region that requests are signed for.
    pub(crate) region: String,
    /// The access key id.
    pub(crate) access_key_id: String,
    /// The secret access key.
    pub(crate) secret_access_key: String,
}

impl Target {
    /// Reads the file that `strongroom dev --ready-file` writes.
    pub(crate) fn from_ready_file(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the ready file {}", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not a ready file", path.display()))
    }
}

/// `HOST:PORT` of an endpoint.
pub(crate) fn authority(url: &str) -> anyhow::Result<&str> {
    match url.strip_prefix("http://") {
        Some(rest) => Ok(rest.trim_end_matches('/')),
        None => bail!("only http:// endpoints can be measured, not {url}"),
    }
}

/// How a server is named on the command line.
#[derive(Args, Clone, Debug)]
pub(crate) struct TargetArguments {
    /// The file written by `strongroom dev --ready-file`; it names the endpoint and credentials.
    #[arg(long, required_unless_present = "endpoint")]
    ready_file: Option<PathBuf>,
    /// The S3 endpoint, http://HOST:PORT, when there is no ready file.
    #[arg(long, requires = "access_key_id", requires = "secret_access_key")]
    endpoint: Option<String>,
    /// The access key id.
    #[arg(long, env = "AWS_ACCESS_KEY_ID")]
    access_key_id: Option<String>,
    /// The secret access key.
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    secret_access_key: Option<String>,
    /// The region that requests are signed for.
    #[arg(long, default_value = "us-east-1")]
    region: String,
}

impl TargetArguments {
    pub(crate) fn target(self) -> anyhow::Result<Target> {
        if let Some(path) = &self.ready_file {
            return Target::from_ready_file(path);
        }
        match (self.endpoint, self.access_key_id, self.secret_access_key) {
            (Some(url), Some(access_key_id), Some(secret_access_key)) => Ok(Target {
                url,
                api_url: None,
                region: self.region,
                access_key_id,
                secret_access_key,
            }),
            _ => bail!("give --ready-file, or --endpoint with both keys"),
        }
    }
}

/// The server-side encryption that requests ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encryption {
    /// No header: the server's default.
    None,
    /// A customer-provided key in every request.
    SseC,
}

impl Encryption {
    /// The headers of a PUT and a GET. The key is a fixed one: the load is not a secret.
    pub(crate) fn headers(self) -> Vec<(&'static str, String)> {
        match self {
            Self::None => Vec::new(),
            Self::SseC => {
                let key = [0x5a_u8; 32];
                vec![
                    (
                        "x-amz-server-side-encryption-customer-algorithm",
                        "AES256".to_owned(),
                    ),
                    (
                        "x-amz-server-side-encryption-customer-key",
                        STANDARD.encode(key),
                    ),
                    (
                        "x-amz-server-side-encryption-customer-key-md5",
                        STANDARD.encode(Md5::digest(key)),
                    ),
                ]
            }
        }
    }
}

/// A size in bytes, written `4096`, `4KiB`, `1MiB` or `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeBytes(pub(crate) usize);

impl FromStr for SizeBytes {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            other => bail!("unknown unit {other:?}; use KiB, MiB or GiB"),
        };
        let count: usize = digits.parse().context("a size is a whole number")?;
        count
            .checked_mul(unit)
            .map(Self)
            .context("the size is too large")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, expected) in [
            ("17", 17),
            ("4KiB", 4096),
            ("1MiB", 1 << 20),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(text.parse::<SizeBytes>().expect(text).0, expected);
        }
        for text in ["", "KiB", "4kb", "-1", "99999999999GiB"] {
            assert!(text.parse::<SizeBytes>().is_err(), "{text}");
        }
    }
}
