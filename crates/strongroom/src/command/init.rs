//! `strongroom init`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use strongroom_pkcs11::init_token;

use super::output;
use crate::config::Config;
use crate::key_daemon::KeyDaemon;
use crate::{data_dir, process, token};

#[derive(Args)]
pub(crate) struct InitArguments {
    /// The configuration that `strongroom serve` will use.
    #[arg(long)]
    config: PathBuf,
    /// Also initialise a blank token, with the label and the PIN of the configuration. A token
    /// that is initialised already must not be given here: whatever is on it would be lost.
    #[arg(long, requires = "so_pin_file")]
    blank_token: bool,
    /// A file with the security officer's PIN for --blank-token; readable by its owner only.
    #[arg(long)]
    so_pin_file: Option<PathBuf>,
}

pub(super) async fn run(arguments: InitArguments) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config)?;
    data_dir::make(&config.data_dir)?;
    administrator_token(&config)?;
    if let (true, Some(path)) = (arguments.blank_token, &arguments.so_pin_file) {
        let so_pin = SecretString::from(data_dir::read_secret(path)?.as_str());
        let identity = init_token(&token::hsm_config(config.token()?)?, &so_pin).await?;
        output::line(format_args!(
            "the token {} with serial number {} is initialised",
            identity.label, identity.serial
        ))?;
    }
    // Opening everything once makes the keys on the token and the first rows, and shows now
    // rather than later what does not work.
    let clock = std::sync::Arc::new(strongroom_environment::SystemClock::new());
    let service = KeyDaemon::start(&config, clock).await?;
    first_user(&service).await?;
    let verifier = config.data_dir.join(data_dir::VERIFIER_KEY);
    if !verifier.exists() {
        bail!("the verifier key of the audit log was not written");
    }
    output::line(format_args!(
        "hand {} to the auditor: it verifies the audit log",
        verifier.display()
    ))?;
    service.close().await;
    Ok(())
}

/// Makes the administrator's token, unless there is one.
pub(super) fn administrator_token(config: &Config) -> anyhow::Result<()> {
    if config.admin_token_file.exists() {
        return output::line(format_args!(
            "the administrator's token in {} is kept",
            config.admin_token_file.display()
        ));
    }
    data_dir::write_private(
        &config.admin_token_file,
        process::new_bearer_token().as_bytes(),
    )?;
    output::line(format_args!(
        "the administrator's token is in {}",
        config.admin_token_file.display()
    ))
}

/// Makes the first user and prints her access key, unless there are users. Gives her access key id.
pub(super) async fn first_user(service: &KeyDaemon) -> anyhow::Result<Option<String>> {
    if !service.users().list(None, 1).await?.items.is_empty() {
        return Ok(None);
    }
    let made = service.make_first_user().await?;
    output::line(format_args!(
        "access key id      {}",
        made.user.access_key_id
    ))?;
    output::line(format_args!(
        "secret access key  {}",
        made.secret.expose_secret()
    ))?;
    output::line("the secret is printed once; keep it")?;
    Ok(Some(made.user.access_key_id.to_string()))
}
