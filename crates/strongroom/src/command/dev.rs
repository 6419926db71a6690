//! `strongroom dev`: everything on one machine with no configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use strongroom_environment::{Clock, SimulatedClock, SystemClock, Timestamp};
use strongroom_keys::{AliasName, Caller, KeyReference, Kms};
use strongroom_pkcs11::init_token;
use zeroize::Zeroizing;

use super::output;
use crate::config::{Config, LogSettings, TokenSettings};
use crate::daemon::{self, Daemon, Scope, Start};
use crate::failure::{Advise as _, advised};
use crate::{data_dir, logging, process, token};

/// Where Debian, Fedora, Arch and Homebrew put SoftHSM.
const SOFTHSM_MODULES: [&str; 6] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];
const TOKEN_LABEL: &str = "strongroom-dev";
const DEFAULT_KEY_ALIAS: &str = "alias/strongroom-dev";

#[derive(Args)]
pub(crate) struct DevArguments {
    /// Where everything is kept. Running again on the same directory goes on where it stopped.
    #[arg(long, default_value = "./strongroom-data")]
    data: PathBuf,
    /// Where the S3 endpoint listens; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:9000")]
    s3: SocketAddr,
    /// Where the HTTP API listens; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:9100")]
    api: SocketAddr,
    /// Write the addresses and credentials to this file, as JSON, as soon as everything serves.
    #[arg(long)]
    ready_file: Option<PathBuf>,
    /// The clock that rules and restores go by. A simulated one stands still until it is advanced
    /// through `POST /v1/clock/advance`.
    #[arg(long, value_enum, default_value = "real")]
    clock: ClockKind,
    /// The PKCS#11 module of SoftHSM, when it is not found by itself.
    #[arg(long)]
    token_module: Option<PathBuf>,
    /// What is logged: error, warn, info or debug, or a filter.
    #[arg(long, env = "STRONGROOM_LOG_LEVEL", default_value = "warn")]
    log_level: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClockKind {
    /// The machine's.
    Real,
    /// One that stands still until it is advanced.
    Simulated,
}

pub(super) fn run(arguments: DevArguments) -> anyhow::Result<()> {
    logging::start(&LogSettings {
        level: arguments.log_level.clone(),
        json: false,
    })?;
    process::harden()?;
    let runtime = process::runtime()?;
    let ended = runtime.block_on(serve(&arguments));
    runtime.shutdown_timeout(process::POOL_END_MAX);
    ended
}

async fn serve(arguments: &DevArguments) -> anyhow::Result<()> {
    for address in [arguments.s3, arguments.api] {
        if !address.ip().is_loopback() {
            return Err(advised(
                anyhow!(
                    "`strongroom dev` accepts customer keys over plain HTTP, so it listens on \
                     loopback only, not on {address}"
                ),
                "listen on 127.0.0.1, or use `strongroom serve` with certificates",
            ));
        }
    }
    let config = configuration(arguments)?;
    provision(&config).await?;
    let (clock, simulated) = clock(arguments)?;
    let start = Start {
        scope: Scope::Whole,
        clock,
        simulated: simulated.clone(),
    };
    let daemon = Daemon::start(&config, start).await?;
    let keeper = simulated.map(|clock| tokio::spawn(keep_date(clock, arguments.data.clone())));
    let ready = announce(arguments, &config, &daemon).await?;
    if let Some(path) = &arguments.ready_file {
        data_dir::write_private(path, &ready)?;
    }
    process::asked_to_end().await?;
    daemon.close().await;
    if let Some(keeper) = keeper {
        keeper.abort();
    }
    Ok(())
}

/// The token that a `dev` directory uses.
pub(super) fn token_settings(
    data: &Path,
    module: Option<PathBuf>,
) -> anyhow::Result<TokenSettings> {
    let module = match module.or_else(|| {
        SOFTHSM_MODULES
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
    }) {
        Some(module) => module,
        None => {
            return Err(advised(
                anyhow!("SoftHSM is not found"),
                "install it (`apt-get install softhsm2`), or name its module with --token-module",
            ));
        }
    };
    let directory = data.join(data_dir::TOKEN);
    let configuration = std::path::absolute(directory.join("softhsm2.conf"))?;
    Ok(TokenSettings {
        module,
        label: TOKEN_LABEL.to_owned(),
        pin_file: directory.join("pin"),
        environment: vec![(
            "SOFTHSM2_CONF".to_owned(),
            configuration
                .to_str()
                .context("the data directory's name is not UTF-8")?
                .to_owned(),
        )],
        call_timeout: Duration::from_secs(10),
        check_answers: true,
    })
}

fn configuration(arguments: &DevArguments) -> anyhow::Result<Config> {
    data_dir::make(&arguments.data)?;
    let text = format!(
        "data_dir = {data}\n\
         [s3]\nlisten = \"{s3}\"\nallow_plain_http_customer_keys = true\n\
         block_customer_keys_on_new_buckets = false\n\
         [api]\nlisten = \"{api}\"\nadmin_token_file = {admin}\n\
         [token]\nmodule = \"unused\"\nlabel = \"unused\"\npin_file = \"unused\"\n",
        data = quoted(&arguments.data)?,
        s3 = arguments.s3,
        api = arguments.api,
        admin = quoted(&arguments.data.join("admin.token"))?,
    );
    let mut config = Config::parse(&text, Path::new("."), &Default::default())
        .map_err(|faults| anyhow::anyhow!("{}", faults[0]))?;
    config.token = Some(token_settings(
        &arguments.data,
        arguments.token_module.clone(),
    )?);
    Ok(config)
}

/// A path as a TOML string.
fn quoted(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().context("the path is not UTF-8")?;
    Ok(toml::Value::String(text.to_owned()).to_string())
}

/// Makes the token and the administrator's bearer token of a new directory.
///
/// Order: SoftHSM's configuration, the PINs, the token, and last the mark that says that the token
/// is made. A directory without the mark is provisioned from the start; the half-made token is
/// thrown away, because no key can be on it yet.
async fn provision(config: &Config) -> anyhow::Result<()> {
    if !config.admin_token_file.exists() {
        data_dir::write_private(
            &config.admin_token_file,
            process::new_bearer_token().as_bytes(),
        )?;
    }
    let directory = config.data_dir.join(data_dir::TOKEN);
    let mark = directory.join("provisioned");
    if mark.exists() {
        return Ok(());
    }
    let tokens = directory.join("tokens");
    if tokens.exists() {
        std::fs::remove_dir_all(&tokens)
            .with_context(|| format!("cannot clear {}", tokens.display()))?;
    }
    data_dir::make(&tokens)?;
    let tokens = std::path::absolute(&tokens)?;
    data_dir::write_private(
        &directory.join("softhsm2.conf"),
        format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        )
        .as_bytes(),
    )?;
    let so_pin = process::new_bearer_token();
    data_dir::write_private(&directory.join("so-pin"), so_pin.as_bytes())?;
    data_dir::write_private(
        &config.token()?.pin_file,
        process::new_bearer_token().as_bytes(),
    )?;
    init_token(
        &token::hsm_config(config.token()?)?,
        &SecretString::from(so_pin.as_str()),
    )
    .await
    .context("the SoftHSM token cannot be made")?;
    data_dir::write_private(&mark, b"")
}

/// The clock, and the same clock when it is simulated. A simulated date is kept over restarts.
fn clock(
    arguments: &DevArguments,
) -> anyhow::Result<(Arc<dyn Clock>, Option<daemon::SimulatedClock>)> {
    if arguments.clock == ClockKind::Real {
        return Ok((Arc::new(SystemClock::new()), None));
    }
    let path = arguments.data.join(data_dir::SIMULATED_CLOCK);
    let date = match std::fs::read_to_string(&path) {
        Ok(text) => Timestamp::from_micros(
            text.trim()
                .parse()
                .with_context(|| format!("{} does not hold a date", path.display()))
                .advise("put the microseconds since 1970 back, or remove the file to begin now")?,
        ),
        Err(_) => SystemClock::new().now(),
    };
    let clock = Arc::new(SimulatedClock::new(date));
    write_date(&clock, &arguments.data)?;
    Ok((clock.clone(), Some(clock)))
}

fn write_date(clock: &SimulatedClock, data: &Path) -> anyhow::Result<()> {
    data_dir::write_private(
        &data.join(data_dir::SIMULATED_CLOCK),
        clock.now().micros().to_string().as_bytes(),
    )
}

/// Writes the simulated date down whenever it jumps.
async fn keep_date(clock: daemon::SimulatedClock, data: PathBuf) {
    let mut jumps = clock.jumps();
    while jumps.changed().await.is_ok() {
        if let Err(error) = write_date(&clock, &data) {
            tracing::error!(%error, "the simulated date could not be kept");
        }
    }
}

/// Makes what the first start needs, tells people where everything is, and gives the content of
/// the ready file.
async fn announce(
    arguments: &DevArguments,
    config: &Config,
    daemon: &Daemon,
) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let client_file = arguments.data.join(data_dir::CLIENT_FILE);
    let kept: Option<serde_json::Value> = std::fs::read(&client_file)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let kept_text = |name: &str| {
        kept.as_ref()
            .and_then(|kept| kept[name].as_str())
            .map(|text| Zeroizing::new(text.to_owned()))
    };
    let (access_key_id, secret) = match (kept_text("access_key_id"), kept_text("secret_access_key"))
    {
        (Some(id), Some(secret)) => (id.to_string(), secret),
        _ => {
            let made = daemon.keys().make_first_user().await?;
            (
                made.user.access_key_id.to_string(),
                Zeroizing::new(made.secret.expose_secret().to_owned()),
            )
        }
    };
    let default_key = default_key(&daemon.keys().service()?.kms).await?;
    let admin_token = data_dir::read_secret(&config.admin_token_file)?;
    let ready = Zeroizing::new(serde_json::to_vec_pretty(&json!({
        "s3_url": daemon.s3_url,
        "api_url": daemon.api_url,
        "region": config.region,
        "access_key_id": access_key_id,
        "secret_access_key": secret.as_str(),
        "admin_token": admin_token.as_str(),
        "pid": std::process::id(),
        "default_kms_key_id": default_key,
    }))?);
    data_dir::write_private(&client_file, &ready)?;
    let mut told = format!(
        "Strongroom serves from {}\n  S3        {}\n  HTTP API  {}\n  credentials and addresses \
         are in {}\n  customer keys (SSE-C) are accepted over plain HTTP, because this is loopback",
        arguments.data.display(),
        daemon.s3_url.as_deref().unwrap_or("-"),
        daemon.api_url,
        client_file.display()
    );
    if !strongroom_seal::SEALS {
        told.push_str("\n  THIS BUILD SEALS NOTHING. It exists for benchmarks.");
    }
    // Where nobody reads it, the daemon serves all the same.
    let _ = output::line(told);
    Ok(ready)
}

/// The id of the KMS key that `dev` makes for whoever has none yet.
async fn default_key(kms: &Arc<Kms>) -> anyhow::Result<String> {
    let caller = Caller::daemon("strongroom:dev");
    let alias = AliasName::new(DEFAULT_KEY_ALIAS)?;
    if let Ok(key) = kms.describe_key(&KeyReference::Alias(alias.clone())).await {
        return Ok(key.id.to_string());
    }
    let key = kms.create_key("made by strongroom dev", &caller).await?;
    kms.create_alias(&alias, &key.id.into(), &caller).await?;
    Ok(key.id.to_string())
}
