//! The token, or the pair of tokens, that a configuration names.

use std::sync::Arc;

use anyhow::Context as _;
use secrecy::SecretString;
use strongroom_keys::token_keys;
use strongroom_pkcs11::{HsmConfig, HsmToken, ModuleConfig, Token, TokenPair, WorkerCommand};

use crate::config::{Config, TokenSettings};
use crate::data_dir;

/// A token that serves; `pair` is the same when there are two.
pub(crate) struct OpenToken {
    pub(crate) token: Arc<dyn Token>,
    pub(crate) pair: Option<Arc<TokenPair>>,
}

/// What it takes to reach a token.
pub(crate) fn hsm_config(settings: &TokenSettings) -> anyhow::Result<HsmConfig> {
    let pin = data_dir::read_secret(&settings.pin_file)?;
    let module = ModuleConfig {
        module: settings.module.clone(),
        env: settings.environment.clone(),
        token_label: settings.label.clone(),
        reserved_init_args: None,
    };
    let mut config = HsmConfig::new(
        module,
        SecretString::from(pin.as_str()),
        WorkerCommand::this_executable(crate::WORKER_SUBCOMMAND),
    );
    config.call_time_max = settings.call_timeout;
    config.checks_answers = settings.check_answers;
    Ok(config)
}

/// Starts what the configuration names.
pub(crate) async fn open(config: &Config) -> anyhow::Result<OpenToken> {
    let named = config.token()?;
    let first = hsm_config(named)?;
    let Some(second) = &config.second_token else {
        let token = HsmToken::start(first)
            .await
            .with_context(|| format!("the token {} cannot be used", named.label))?;
        return Ok(OpenToken { token, pair: None });
    };
    let pair = TokenPair::start(first, hsm_config(second)?, token_keys())
        .await
        .with_context(|| {
            format!(
                "the tokens {} and {} cannot be used as a pair",
                named.label, second.label
            )
        })?;
    Ok(OpenToken {
        token: pair.clone(),
        pair: Some(pair),
    })
}
