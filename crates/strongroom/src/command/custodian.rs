//! `strongroom custodian`: what a custodian does on a machine of her own, without a daemon.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use strongroom_audit::{NoteSigner, Origin};
use strongroom_environment::{Entropy as _, SystemEntropy};
use strongroom_keys::Statement;
use zeroize::Zeroizing;

use super::output;
use crate::data_dir;
use crate::failure::{Advise as _, advised};

#[derive(Subcommand)]
pub(crate) enum CustodianCommand {
    /// Make the signing key of a custodian, and print its public half.
    ///
    /// The private key is written to a file that only its owner may read, and is never sent
    /// anywhere: keep it where only this custodian gets at it, and a copy in a safe. The public
    /// half goes to whoever names the custodians (`strongroom quorum set`).
    New {
        /// The custodian's name, without spaces.
        name: String,
        /// The file for the private key; there must be none yet.
        #[arg(long)]
        output: PathBuf,
    },
    /// Print the public half of a custodian's key.
    Key {
        /// The file with the private key.
        key: PathBuf,
    },
    /// Sign a proposal that was fetched before (`strongroom quorum show ID --output FILE`), on a
    /// machine that needs no network, and print the signature line.
    ///
    /// Whoever reaches the daemon hands it in: `strongroom quorum approve ID --signature FILE`.
    Sign {
        /// The file with the proposal.
        proposal: PathBuf,
        /// Reject it instead: that is final.
        #[arg(long)]
        reject: bool,
        #[command(flatten)]
        consent: ConsentArguments,
    },
}

/// With which key a custodian signs, and what she is asked before.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConsentArguments {
    /// The file with the custodian's private key.
    #[arg(long)]
    pub(crate) key: PathBuf,
    /// Refuse to sign for any deployment but the one whose audit log has this verifier key (the
    /// key, or a file with it).
    #[arg(long)]
    pub(crate) verifier_key: Option<String>,
    /// Do not ask before signing.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// What a custodian thinks of a proposal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decision {
    Approve,
    Reject,
}

impl Decision {
    /// The word for it in commands and paths.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }
}

pub(super) fn run(command: CustodianCommand, json_asked: bool) -> anyhow::Result<()> {
    match command {
        CustodianCommand::New { name, output } => {
            let name = Origin::new(name)
                .context("that is not the name of a custodian")
                .advise("take a name of up to 64 bytes without spaces and `+`")?;
            let mut seed = Zeroizing::new([0; 32]);
            SystemEntropy.fill(&mut *seed);
            let signer = NoteSigner::from_seed(name, &seed)?;
            let mut text = signer.to_text();
            text.push('\n');
            data_dir::create_private(&output, text.as_bytes())?;
            told(&signer, json_asked)
        }
        CustodianCommand::Key { key } => told(&read_key(&key)?, json_asked),
        CustodianCommand::Sign {
            proposal,
            reject,
            consent,
        } => {
            let text = std::fs::read_to_string(&proposal)
                .with_context(|| format!("cannot read {}", proposal.display()))?;
            let read: Value = serde_json::from_str(&text)
                .with_context(|| format!("{} is not a proposal", proposal.display()))
                .advise("give the file that `strongroom quorum show ID --output FILE` wrote")?;
            let decision = if reject {
                Decision::Reject
            } else {
                Decision::Approve
            };
            let line = sign(&read, decision, &consent)?;
            if json_asked {
                output::line(format_args!("{:#}", json!({ "signature": line })))
            } else {
                output::text(&line)
            }
        }
    }
}

fn told(signer: &NoteSigner, json_asked: bool) -> anyhow::Result<()> {
    let key = signer.verifier_key();
    output::lines(
        json_asked,
        &json!({ "name": key.origin().as_str(), "verifier_key": key.to_string() }),
        &[key.to_string()],
    )
}

/// Reads a custodian's private key.
pub(crate) fn read_key(path: &Path) -> anyhow::Result<NoteSigner> {
    NoteSigner::parse(&data_dir::read_secret(path)?)
        .with_context(|| format!("{} is not the key of a custodian", path.display()))
        .advise("give the file that `strongroom custodian new NAME --output FILE` wrote")
}

/// Signs a proposal as the API shows it, once it is found to be what it says it is, and the
/// custodian has agreed to what it says.
pub(crate) fn sign(
    proposal: &Value,
    decision: Decision,
    consent: &ConsentArguments,
) -> anyhow::Result<String> {
    let signer = read_key(&consent.key)?;
    let statement = read_statement(proposal)?;
    if let Some(expected) = &consent.verifier_key {
        let expected = std::fs::read_to_string(expected).unwrap_or_else(|_| expected.clone());
        if expected.trim() != statement.deployment {
            return Err(advised(
                anyhow!("the proposal is of the deployment {}", statement.deployment),
                "nothing was signed; ask whoever sent it which deployment it is for",
            ));
        }
    }
    if !consent.yes {
        if !std::io::stdin().is_terminal() {
            return Err(advised(
                anyhow!("there is nobody to ask: standard input is not a terminal"),
                "read the proposal (`strongroom quorum show ID`), and then sign it with --yes",
            ));
        }
        let mut told = std::io::stderr().lock();
        for line in described(proposal, &statement) {
            writeln!(told, "{line}")?;
        }
        write!(
            told,
            "{} as {}? [y/N] ",
            decision.as_str(),
            signer.verifier_key().origin()
        )?;
        told.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Err(advised(
                anyhow!("nothing was signed"),
                "answer `y` to sign it",
            ));
        }
    }
    Ok(signer.sign(&match decision {
        Decision::Approve => statement.approval_text(),
        Decision::Reject => statement.rejection_text(),
    }))
}

/// The statement of a proposal, which is one, and about the request that is shown beside it.
pub(crate) fn read_statement(proposal: &Value) -> anyhow::Result<Statement> {
    let text = |name: &str| proposal[name].as_str().unwrap_or_default();
    Statement::parse_approval(text("approval_text"))
        .filter(|statement| {
            statement.is_about(text("request"))
                && statement.proposal == text("id")
                && statement.rejection_text() == text("rejection_text")
        })
        .ok_or_else(|| {
            advised(
                anyhow!("the proposal does not say what it asks to sign"),
                "nothing was signed; fetch it again, and tell the auditor if it stays so",
            )
        })
}

/// A proposal for people: what is signed, and the request whose hash is in it.
pub(crate) fn described(proposal: &Value, statement: &Statement) -> Vec<String> {
    let text = |name: &str| proposal[name].as_str().unwrap_or("-").to_owned();
    let approvals: Vec<&str> = proposal["approvals"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|approval| approval["custodian"].as_str())
        .collect();
    let mut lines = vec![
        format!("proposal    {}", statement.proposal),
        format!("state       {}", text("state")),
        format!("operation   {}", statement.operation),
        format!("key         {}", statement.key.as_deref().unwrap_or("-")),
        format!("requester   {}", statement.requester),
        format!("opened      {}", statement.opened),
        format!("expires     {}", statement.expires),
        format!(
            "approved by {}",
            if approvals.is_empty() {
                "-".to_owned()
            } else {
                approvals.join(", ")
            }
        ),
    ];
    if let Some(rejected_by) = proposal["rejected_by"].as_str() {
        lines.push(format!("rejected by {rejected_by}"));
    }
    lines.push(format!("deployment  {}", statement.deployment));
    lines.push("request".to_owned());
    let request: Value = serde_json::from_str(&text("request")).unwrap_or_default();
    lines.extend(format!("{request:#}").lines().map(ToOwned::to_owned));
    lines
}
