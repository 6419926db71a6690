//! `strongroom custodian`: what a custodian does on a machine of her own, without a daemon.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use strongroom_audit::{NoteSigner, Origin};
use strongroom_environment::{Entropy as _, SystemEntropy};
use strongroom_keys::{QuorumRule, Statement};
use zeroize::Zeroizing;

use super::output;
use crate::data_dir;
use crate::failure::{Advise as _, advised};
use crate::terminal::shown;

#[derive(Subcommand)]
pub(crate) enum CustodianCommand {
    /// Make the signing key of a custodian, and print its public half.
    ///
    /// The private key is written to a file that only its owner may read, and is never sent
    /// anywhere: keep it where only this custodian gets at it, and a copy in a safe. The public
    /// half goes to whoever names the custodians (`strongroom quorum set`).
    New {
        /// The custodian's name, of up to 64 bytes, without spaces and `+`.
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
            let name = custodian_name(name)?;
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

/// A name that a rule takes.
fn custodian_name(name: String) -> anyhow::Result<Origin> {
    const SHORT: &str = "take a name of up to 64 bytes without spaces and `+`";
    let name = Origin::new(name)
        .context("that is not the name of a custodian")
        .advise(SHORT)?;
    let len_bytes = name.as_str().len();
    if len_bytes > QuorumRule::NAME_LEN_BYTES_MAX {
        return Err(advised(
            anyhow!(
                "the name of a custodian has at most {} bytes, and this has {len_bytes}",
                QuorumRule::NAME_LEN_BYTES_MAX
            ),
            SHORT,
        ));
    }
    Ok(name)
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
                anyhow!(
                    "the proposal is of the deployment {}",
                    shown(&statement.deployment)
                ),
                "nothing was signed; ask whoever sent it which deployment it is for",
            ));
        }
    }
    if !consent.yes {
        let question = format!(
            "{} as {}?",
            decision.as_str(),
            signer.verifier_key().origin()
        );
        ask(
            &described(proposal, &statement),
            &question,
            "read the proposal (`strongroom quorum show ID`), and then sign it with --yes",
        )?;
    }
    Ok(signer.sign(&match decision {
        Decision::Approve => statement.approval_text(),
        Decision::Reject => statement.rejection_text(),
    }))
}

/// Shows on a terminal what is to be signed, and asks whether it shall be. `unattended` says what to
/// do where there is no terminal.
pub(crate) fn ask(lines: &[String], question: &str, unattended: &str) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(advised(
            anyhow!("there is nobody to ask: standard input is not a terminal"),
            unattended,
        ));
    }
    let mut told = std::io::stderr().lock();
    for line in lines {
        writeln!(told, "{line}")?;
    }
    write!(told, "{} [y/N] ", shown(question))?;
    told.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(advised(
        anyhow!("nothing was signed"),
        "answer `y` to sign it",
    ))
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

/// A proposal for people: what is signed, and the request whose hash is in it. The requester and the
/// daemon have written it, and neither is to decide what the terminal of a custodian does.
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
    lines.iter().map(|line| shown(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_a_proposal_reaches_the_terminal_as_a_command() {
        const EVIL: &str = "\u{9b}2J\u{7f}\u{202e}\u{2066}\n";
        let statement = Statement {
            deployment: EVIL.into(),
            proposal: EVIL.into(),
            operation: EVIL.into(),
            key: Some(EVIL.into()),
            request_sha256: EVIL.into(),
            request: None,
            requester: EVIL.into(),
            opened: EVIL.into(),
            expires: EVIL.into(),
            rule_sha256: EVIL.into(),
        };
        let proposal = json!({
            "state": EVIL,
            "approvals": [{ "custodian": EVIL }],
            "rejected_by": EVIL,
            "request": json!({ EVIL: EVIL }).to_string(),
        });
        let lines = described(&proposal, &statement);
        let telling = lines.iter().filter(|line| line.contains("2J"));
        assert_eq!(telling.count(), 11, "{lines:?}");
        for line in &lines {
            let is_safe = line
                .chars()
                .all(|c| !c.is_control() && !matches!(c, '\u{202e}' | '\u{2066}'));
            assert!(is_safe, "{line:?}");
        }
    }
}
