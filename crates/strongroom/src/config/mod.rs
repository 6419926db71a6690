//! The daemon's configuration: a TOML file, each setting also by environment `STRONGROOM_…`.

mod link;
mod read;
mod setting;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use read::Fault;
pub(crate) use setting::SETTINGS;

use anyhow::anyhow;
use http::Uri;
use read::Values;
use setting::CUSTODY;
use strongroom_audit::Origin;
use strongroom_keys::StoreName;
use tracing_subscriber::EnvFilter;

use crate::failure::advised;

/// What the daemon is to do, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) s3: Endpoint,
    pub(crate) s3_domain: Option<String>,
    pub(crate) allow_plain_http_customer_keys: bool,
    pub(crate) block_customer_keys_on_new_buckets: bool,
    pub(crate) api: Endpoint,
    pub(crate) admin_token_file: PathBuf,
    /// None where custody is with a key daemon.
    pub(crate) token: Option<TokenSettings>,
    /// One that holds the same keys.
    pub(crate) second_token: Option<TokenSettings>,
    /// The key daemon that has custody of the keys.
    pub(crate) custody: Option<CustodySettings>,
    /// Where stores on other hosts reach the keys of this daemon.
    pub(crate) link: Option<LinkSettings>,
    pub(crate) audit_origin: String,
    pub(crate) audit_sync: bool,
    pub(crate) audit_publish_interval: Duration,
    pub(crate) bucket_key_age_max: Duration,
    pub(crate) bucket_key_uses_max: u64,
    pub(crate) escrow_public_key_file: Option<PathBuf>,
    pub(crate) metadata_cache_bytes: u64,
    pub(crate) cold_directory: PathBuf,
    pub(crate) log: LogSettings,
}

/// Where an endpoint listens, and its certificate when it speaks TLS.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Option<TlsFiles>,
}

/// The PEM files of an endpoint that speaks TLS.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) private_key: PathBuf,
}

/// Which token to use, and how.
#[derive(Clone, Debug)]
pub(crate) struct TokenSettings {
    pub(crate) module: PathBuf,
    pub(crate) label: String,
    pub(crate) pin_file: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) call_timeout: Duration,
    pub(crate) check_answers: bool,
}

/// How a key daemon is reached, and for how long it is believed.
#[derive(Clone, Debug)]
pub(crate) struct CustodySettings {
    pub(crate) urls: Vec<Uri>,
    pub(crate) ca: PathBuf,
    pub(crate) tls: TlsFiles,
    pub(crate) call_time_max: Duration,
    pub(crate) silence_max: Duration,
    pub(crate) decision_age_max: Duration,
}

/// Where stores on other hosts reach the keys, and which.
#[derive(Clone, Debug)]
pub(crate) struct LinkSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) tls: TlsFiles,
    pub(crate) client_ca: PathBuf,
    pub(crate) stores: Vec<StoreName>,
}

/// What is logged and how it looks.
#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    pub(crate) level: String,
    pub(crate) json: bool,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The file or the environment has faults.
    #[error("{}", faults.iter().map(|fault| format!("{}: {fault}", path.display())).collect::<Vec<_>>().join("\n"))]
    Faulty { path: PathBuf, faults: Vec<Fault> },
}

impl Config {
    /// Reads the file at `path`, with the process's environment over it.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let base = path.parent().unwrap_or(Path::new("."));
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self::parse(&text, base, &environment).map_err(|faults| ConfigError::Faulty {
            path: path.to_owned(),
            faults,
        })
    }

    /// Reads the text of a configuration file, with `environment` over it.
    pub(crate) fn parse(
        text: &str,
        base: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, Vec<Fault>> {
        let (values, mut faults) = read::read(text, base, environment);
        cross_check(&values, &mut faults);
        match Self::from_values(&values) {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(faults),
        }
    }

    /// The token of this daemon.
    pub(crate) fn token(&self) -> anyhow::Result<&TokenSettings> {
        self.token.as_ref().ok_or_else(|| {
            advised(
                anyhow!("this store has no token: its keys are with a key daemon (`{CUSTODY}`)"),
                "use the configuration of the key daemon, on its host",
            )
        })
    }

    /// What the values say; `None` when one that is needed is not there.
    fn from_values(values: &Values) -> Option<Self> {
        let data_dir = values.path("data_dir")?;
        let custody = match values.place(CUSTODY) {
            Some(_) => Some(link::custody(values)?),
            None => None,
        };
        Some(Self {
            cold_directory: values
                .path("cold.directory")
                .unwrap_or_else(|| data_dir.join("cold")),
            data_dir,
            region: values.text("region")?,
            account: values.text("account")?,
            s3: endpoint(values, "s3")?,
            s3_domain: values.text("s3.domain"),
            allow_plain_http_customer_keys: values.switch("s3.allow_plain_http_customer_keys")?,
            block_customer_keys_on_new_buckets: values
                .switch("s3.block_customer_keys_on_new_buckets")?,
            api: endpoint(values, "api")?,
            admin_token_file: values.path("api.admin_token_file")?,
            token: match custody {
                None => Some(token(values, "token")?),
                Some(_) => None,
            },
            second_token: token(values, "second_token"),
            custody,
            link: link::settings(values),
            audit_origin: values.text("audit.origin")?,
            audit_sync: values.text("audit.durability")? == "sync",
            audit_publish_interval: Duration::from_millis(
                values.number("audit.publish_interval_ms")?,
            ),
            bucket_key_age_max: Duration::from_secs(values.number("keys.bucket_key_age_s_max")?),
            bucket_key_uses_max: values.number("keys.bucket_key_uses_max")?,
            escrow_public_key_file: values.path("escrow.public_key_file"),
            metadata_cache_bytes: values.number("metadata.cache_bytes")?,
            log: LogSettings {
                level: values.text("log.level")?,
                json: values.text("log.format")? == "json",
            },
        })
    }
}

/// The token of a table. What is said of calls is the same for every token.
fn token(values: &Values, table: &str) -> Option<TokenSettings> {
    Some(TokenSettings {
        module: values.path(&format!("{table}.module"))?,
        label: values.text(&format!("{table}.label"))?,
        pin_file: values.path(&format!("{table}.pin_file"))?,
        environment: values
            .list(&format!("{table}.environment"))
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        call_timeout: Duration::from_secs(values.number("token.call_timeout_s")?),
        check_answers: values.switch("token.check_answers")?,
    })
}

fn endpoint(values: &Values, name: &str) -> Option<Endpoint> {
    let file = |setting| values.path(&format!("{name}.{setting}"));
    Some(Endpoint {
        listen: values.address(&format!("{name}.listen"))?,
        tls: file("tls_certificate").zip(file("tls_private_key")).map(
            |(certificate, private_key)| TlsFiles {
                certificate,
                private_key,
            },
        ),
    })
}

/// Finds what each setting for itself does not show: contradictions, and texts with a meaning.
fn cross_check(values: &Values, faults: &mut Vec<Fault>) {
    let mut fault = |name: &str, message: String| {
        faults.push(Fault {
            place: values.place(name),
            message,
        });
    };
    link::cross_check(values, &mut fault);
    for name in ["s3", "api"] {
        let [certificate, private_key] =
            ["tls_certificate", "tls_private_key"].map(|setting| format!("{name}.{setting}"));
        let given = match (values.path(&certificate), values.path(&private_key)) {
            (Some(_), None) => &certificate,
            (None, Some(_)) => &private_key,
            _ => continue,
        };
        fault(
            given,
            format!("`{certificate}` and `{private_key}` go together"),
        );
    }
    let (plain, listen) = ("s3.allow_plain_http_customer_keys", "s3.listen");
    let is_local = values
        .address(listen)
        .is_none_or(|listen| listen.ip().is_loopback());
    if values.switch(plain) == Some(true)
        && values.path("s3.tls_certificate").is_none()
        && !is_local
    {
        fault(
            plain,
            format!(
                "`{plain}` would let customer keys cross a network in the clear: let `{listen}` be \
                 a loopback address, or set `s3.tls_certificate` and `s3.tls_private_key`"
            ),
        );
    }
    if let Some(account) = values.text("account")
        && (account.len() != 12 || !account.bytes().all(|digit| digit.is_ascii_digit()))
    {
        fault(
            "account",
            format!("`account` takes twelve digits, not {account:?}"),
        );
    }
    for setting in ["token.environment", "second_token.environment"] {
        for pair in values.list(setting) {
            if pair.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
                fault(
                    setting,
                    format!("`{setting}` takes NAME=VALUE, not {pair:?}"),
                );
            }
        }
    }
    let second = ["module", "label", "pin_file", "environment"]
        .map(|setting| format!("second_token.{setting}"));
    if let Some(given) = second
        .iter()
        .find(|setting| values.place(setting).is_some())
    {
        for missing in &second[..3] {
            if values.place(missing).is_none() {
                fault(given, format!("a second token needs `{missing}` as well"));
            }
        }
    }
    if let Some(origin) = values.text("audit.origin")
        && Origin::new(origin.clone()).is_err()
    {
        fault(
            "audit.origin",
            format!(
                "`audit.origin` takes a name of 1 to 255 bytes without spaces and `+`, not {origin:?}"
            ),
        );
    }
    if let Some(level) = values.text("log.level")
        && let Err(error) = EnvFilter::try_new(&level)
    {
        fault(
            "log.level",
            format!(
                "`log.level` takes error, warn, info, debug, or a filter, not {level:?}: {error}"
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
data_dir = "data"
api.admin_token_file = "admin.token"
token = { module = "m.so", label = "l", pin_file = "pin" }
"#;

    fn parse(text: &str) -> Result<Config, Vec<Fault>> {
        Config::parse(text, Path::new("/etc/strongroom"), &BTreeMap::new())
    }

    #[test]
    fn the_defaults_are_those_of_the_reference() {
        let config = parse(WHOLE).expect("valid");
        assert_eq!(
            config.cold_directory,
            Path::new("/etc/strongroom/data/cold")
        );
        assert!(!config.audit_sync && !config.allow_plain_http_customer_keys);
        assert!(config.s3.tls.is_none());
        assert!(config.second_token.is_none() && config.token.expect("one").check_answers);
    }

    #[test]
    fn a_second_token_is_read_as_the_first() {
        let second = "[second_token]\nmodule = \"n.so\"\nlabel = \"l\"\npin_file = \"pin2\"\nenvironment = [\"A=b\"]\n";
        let config = parse(&format!("{WHOLE}{second}")).expect("valid");
        let second = config.second_token.expect("it is there");
        assert_eq!(second.pin_file, Path::new("/etc/strongroom/pin2"));
        assert_eq!(second.environment, [("A".into(), "b".into())]);
        assert_eq!(second.call_timeout, config.token.expect("one").call_timeout);
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        for (wrong, told) in [
            ("s3.tls_certificate = \"c.pem\"", "go together"),
            (
                "s3.allow_plain_http_customer_keys = true\ns3.listen = \"10.0.0.1:80\"",
                "cross a network",
            ),
            ("account = \"12\"", "twelve digits"),
            ("second_token.label = \"l\"", "needs `second_token.module`"),
            (
                "second_token = { module = \"m\", label = \"l\", pin_file = \"p\", environment = [\"x\"] }",
                "`second_token.environment` takes",
            ),
            ("audit.origin = \"my log\"", "without spaces"),
            ("log.level = \"a=b=c\"", "`log.level` takes"),
        ] {
            let faults = parse(&format!("{wrong}\n{WHOLE}")).expect_err(wrong);
            assert!(faults[0].message.contains(told), "{faults:?}");
            assert_eq!(faults[0].place.as_deref(), Some("line 1"));
        }
    }
}
