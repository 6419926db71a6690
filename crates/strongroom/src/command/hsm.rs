//! `strongroom hsm`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde_json::{Map, Value};
use strongroom_keys::token_keys;
use strongroom_pkcs11::{HsmConfig, HsmToken, Transcript, conformance, init_token, make_pair};

use super::ceremony::{self, CeremonyCommand};
use super::{escrow, output};
use crate::config::{Config, TokenSettings};
use crate::failure::{Advise as _, advised};
use crate::{data_dir, token};

#[derive(Subcommand)]
pub(crate) enum HsmCommand {
    /// Test whether a token does what it must: keys that are not extractable stay inside,
    /// mechanisms round-trip, errors are told apart. Leaves nothing behind on the token.
    ///
    /// Where the configuration names a second token, both are tested.
    Test {
        /// The configuration of the daemon that is to use the token.
        #[arg(long, conflicts_with = "data")]
        config: Option<PathBuf>,
        /// The data directory of `strongroom dev`, to test its SoftHSM token.
        #[arg(long, default_value = "./strongroom-data")]
        data: PathBuf,
    },
    /// Make the same keys on two tokens that hold none, so that either serves when the other is
    /// down. Done once, before `strongroom init`.
    ///
    /// The first token makes the keys and hands them to the second under a key that only the two
    /// have; from then on they can leave neither. Keys that are on one token already cannot be
    /// brought to another, so a deployment that has begun on one token stays with one.
    ///
    /// Prints a transcript to be kept with the papers of the tokens.
    Pair(PairArguments),
    /// Make the escrow key of a token, unless it is there, and write its public key: the token can
    /// then take over keys that are backed up for it.
    ///
    /// The private key never leaves the token. The public key goes into the configuration of the
    /// daemon whose keys are to be backed up, as `escrow.public_key_file`; compare the fingerprint
    /// that is printed when it has arrived there.
    EscrowKey(escrow::EscrowKeyArguments),
    /// The ceremony in which a deployment gets its root keys and custodians, and its transcript.
    #[command(subcommand)]
    Ceremony(CeremonyCommand),
}

#[derive(Args)]
pub(crate) struct PairArguments {
    /// The configuration of the daemon, with the tables `token` and `second_token`.
    #[arg(long)]
    config: PathBuf,
    /// Also initialise both tokens, which are blank, with the labels and PINs of the
    /// configuration.
    #[arg(long, requires_all = ["so_pin_file", "second_so_pin_file"])]
    blank_tokens: bool,
    /// A file with the security officer's PIN of the first token; readable by its owner only.
    #[arg(long, requires = "blank_tokens")]
    so_pin_file: Option<PathBuf>,
    /// The same for the second token.
    #[arg(long, requires = "blank_tokens")]
    second_so_pin_file: Option<PathBuf>,
}

pub(super) async fn run(command: HsmCommand, json: bool) -> anyhow::Result<()> {
    match command {
        HsmCommand::Test { config, data } => {
            let tokens = match config {
                Some(path) => {
                    let config = Config::load(&path)?;
                    let first = config.token()?.clone();
                    let second = config.second_token.map(|second| ("second_token", second));
                    [("token", first)].into_iter().chain(second).collect()
                }
                None => vec![("token", super::dev::token_settings(&data, None)?)],
            };
            test(&tokens, json).await
        }
        HsmCommand::EscrowKey(arguments) => escrow::escrow_key(&arguments, json).await,
        HsmCommand::Pair(arguments) => pair(&arguments, json).await,
        HsmCommand::Ceremony(command) => Box::pin(ceremony::run(command, json)).await,
    }
}

async fn test(tokens: &[(&str, TokenSettings)], json: bool) -> anyhow::Result<()> {
    let (mut pages, mut whole, mut refused) = (Vec::new(), Map::new(), 0);
    for (name, settings) in tokens {
        let testing = output::progress("testing the token");
        let report = conformance::run(&token::hsm_config(settings)?).await?;
        drop(testing);
        pages.push(report.to_string());
        whole.insert((*name).to_owned(), serde_json::to_value(&report)?);
        refused += usize::from(!report.passed);
    }
    // Of one token it is the report alone.
    let whole = match &tokens {
        [(name, _)] => whole.remove(*name).unwrap_or_default(),
        _ => Value::Object(whole),
    };
    output::lines(json, &whole, &[pages.join("\n\n")])?;
    match refused {
        0 => Ok(()),
        _ => Err(advised(
            anyhow!("the token fails a required check and will be refused"),
            "see the failed checks above; hsm/README.md says what is asked of a token",
        )),
    }
}

async fn pair(arguments: &PairArguments, json: bool) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config)?;
    let first = config.token()?;
    let second = config.second_token.as_ref().ok_or_else(|| {
        advised(
            anyhow!("the configuration names one token"),
            "add a table `second_token` with `module`, `label` and `pin_file`",
        )
    })?;
    let configs = [token::hsm_config(first)?, token::hsm_config(second)?];
    let officers = [&arguments.so_pin_file, &arguments.second_so_pin_file];
    for (config, officer) in configs.iter().zip(officers) {
        if let Some(file) = officer {
            let officer = SecretString::from(data_dir::read_secret(file)?.as_str());
            init_token(config, &officer).await?;
        }
    }
    let making = output::progress("making the keys on both tokens");
    let transcript = make_keys(&configs).await?;
    drop(making);
    output::lines(
        json,
        &serde_json::to_value(&transcript)?,
        &page(&transcript),
    )
}

async fn make_keys([first, second]: &[HsmConfig; 2]) -> anyhow::Result<Transcript> {
    // Each passes its conformance test before a key is put on it.
    let first = HsmToken::start(first.clone()).await?;
    let second = HsmToken::start(second.clone()).await?;
    make_pair(&first, &second, &token_keys()).await.advise(
        "nothing is on the tokens but what was there; should one hold a key all the same, \
         initialise it again",
    )
}

/// The transcript for people.
fn page(transcript: &Transcript) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, token) in [
        ("first token", &transcript.first),
        ("second token", &transcript.second),
    ] {
        lines.push(format!(
            "{name:<14}{} (serial {}, {} {})",
            token.label, token.serial, token.manufacturer, token.model
        ));
    }
    for label in transcript.keys.labels() {
        lines.push(format!("{:<14}{label}", "key on both"));
    }
    lines.push(format!("{:<14}{}", "their CKA_ID", transcript.id));
    lines.push(format!("{:<14}{}", "log's key", transcript.public_key));
    lines.push("each token has undone what the other did with every key".to_owned());
    lines
}
