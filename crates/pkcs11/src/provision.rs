//! Making a token ready for use.

use secrecy::{ExposeSecret, SecretString};

use crate::config::HsmConfig;
use crate::supervisor::{self, Launched};
use crate::token::{TokenError, TokenIdentity};
use crate::wire::{SetupAnswer, Task};

/// The longest label of a token, in bytes (PKCS#11 v2.40, `CK_TOKEN_INFO`).
const TOKEN_LABEL_LEN_BYTES_MAX: usize = 32;

/// Initialises the first empty token of the module: gives it the label `config` names, the
/// security officer's PIN, and the user PIN of `config`. Runs in a child process, so that the
/// caller never loads the module.
///
/// # Errors
/// [`TokenError::TokenExists`] when a token with the label is there already: it is left as it is.
/// [`TokenError::NoSuchToken`] when no slot holds an empty token. [`TokenError::Module`],
/// [`TokenError::Pin`] (a PIN the token does not accept), [`TokenError::Invalid`] (a label that
/// does not fit).
pub async fn init_token(
    config: &HsmConfig,
    security_officer_pin: &SecretString,
) -> Result<TokenIdentity, TokenError> {
    let label = &config.module.token_label;
    if label.is_empty() || label.len() > TOKEN_LABEL_LEN_BYTES_MAX || label.ends_with(' ') {
        return Err(TokenError::Invalid {
            reason: format!(
                "a token's label has 1 to {TOKEN_LABEL_LEN_BYTES_MAX} bytes and does not end in a space"
            ),
        });
    }
    let task = Task::Initialise {
        security_officer_pin: security_officer_pin.expose_secret(),
    };
    match supervisor::launch(config, task).await? {
        Launched {
            answer: SetupAnswer::Initialised(identity),
            ..
        } => Ok(identity),
        _ => Err(supervisor::wrong_answer()),
    }
}
