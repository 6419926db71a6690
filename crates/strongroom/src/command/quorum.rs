//! `strongroom quorum`: dual control over a running daemon.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::custodian::{self, ConsentArguments, Decision};
use super::{WithRemote, output};
use crate::remote::{Remote, path_segment};
use crate::terminal::shown;

#[derive(Subcommand)]
pub(crate) enum QuorumCommand {
    /// Show who the custodians are, how many of them have to agree, and to what.
    Rule,
    /// Name the custodians, how many of them have to agree, and to what.
    ///
    /// The first time an administrator does so. Once a rule is in force, another one takes the
    /// approval of custodians by the rule as it is: this command is then refused with the id of a
    /// proposal, and is repeated when enough have approved. A rule can be changed but not lifted.
    Set(SetArguments),
    /// List the proposals that wait for custodians.
    List {
        /// Also those that are rejected, expired, void or carried out.
        #[arg(long)]
        all: bool,
    },
    /// Show a proposal: what is asked, by whom, and who has approved.
    Show {
        /// The id of the proposal.
        id: String,
        /// Write it to this file too, to be signed elsewhere (`strongroom custodian sign`).
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// Approve a proposal as a custodian. It is shown first, and signed when you agree.
    ///
    /// The signature is over exactly this request, by this requester, on this deployment, until
    /// this date. The private key stays on this machine. When enough have approved, the requester
    /// sends the same request again.
    Approve(DecisionArguments),
    /// Reject a proposal as a custodian. One rejection ends it.
    ///
    /// The same requester cannot propose the same request again before the proposal would have
    /// expired, while the same rule is in force. Another requester can, and so can anybody under
    /// another rule: that is a proposal of its own, to be rejected too.
    Reject(DecisionArguments),
}

#[derive(Args)]
pub(crate) struct SetArguments {
    /// How many custodians have to agree: 2 or more.
    #[arg(long)]
    threshold: usize,
    /// The public key of a custodian, or a file with it, as `strongroom custodian new` prints it;
    /// once for each custodian, up to 16.
    #[arg(long = "custodian", required = true)]
    custodians: Vec<String>,
    /// What they have to agree to: ScheduleKeyDeletion, PutKeyPolicy, SetKeyLimits,
    /// DeleteImportedKeyMaterial or BackupKeys; once for each. All of them when none is named. A
    /// change of the rule itself is always guarded.
    #[arg(long = "operation")]
    operations: Vec<String>,
}

#[derive(Args)]
pub(crate) struct DecisionArguments {
    /// The id of the proposal.
    id: String,
    /// A file with a signature line that `strongroom custodian sign` printed, instead of --key.
    #[arg(long, conflicts_with_all = ["key", "verifier_key", "yes"])]
    signature: Option<PathBuf>,
    #[command(flatten)]
    consent: Option<ConsentArguments>,
}

const PROPOSAL_COLUMNS: [(&str, &str); 6] = [
    ("PROPOSAL", "id"),
    ("STATE", "state"),
    ("OPERATION", "operation"),
    ("KEY", "key"),
    ("REQUESTER", "requester"),
    ("EXPIRES", "expires"),
];

pub(super) async fn run(asked: WithRemote<QuorumCommand>, json_asked: bool) -> anyhow::Result<()> {
    let remote = asked.remote.connect()?;
    match asked.what {
        QuorumCommand::Rule => {
            let found = remote.get("/v1/quorum").await?;
            output::lines(json_asked, &found, &rule_lines(&found))
        }
        QuorumCommand::Set(arguments) => {
            let custodians: Vec<String> = arguments
                .custodians
                .into_iter()
                .map(|given| std::fs::read_to_string(&given).unwrap_or(given))
                .map(|text| text.trim().to_owned())
                .collect();
            let mut body = json!({ "threshold": arguments.threshold, "custodians": custodians });
            if !arguments.operations.is_empty() {
                body["operations"] = json!(arguments.operations);
            }
            let set = remote.send(Method::PUT, "/v1/quorum", Some(body)).await?;
            output::lines(json_asked, &set, &rule_lines(&set))
        }
        QuorumCommand::List { all } => {
            let mut proposals = remote.all("/v1/quorum/proposals", "proposals").await?;
            if !all {
                proposals.retain(|one| matches!(one["state"].as_str(), Some("open" | "approved")));
            }
            let whole = json!({ "proposals": proposals });
            output::rows(json_asked, &whole, &proposals, &PROPOSAL_COLUMNS)
        }
        QuorumCommand::Show { id, output: file } => {
            let proposal = fetch(&remote, &id).await?;
            let statement = custodian::read_statement(&proposal)?;
            if let Some(file) = file {
                std::fs::write(&file, format!("{proposal:#}\n"))
                    .with_context(|| format!("cannot write {}", file.display()))?;
            }
            let lines = custodian::described(&proposal, &statement);
            output::lines(json_asked, &proposal, &lines)
        }
        QuorumCommand::Approve(arguments) => {
            decide(&remote, arguments, Decision::Approve, json_asked).await
        }
        QuorumCommand::Reject(arguments) => {
            decide(&remote, arguments, Decision::Reject, json_asked).await
        }
    }
}

async fn fetch(remote: &Remote, id: &str) -> anyhow::Result<Value> {
    let path = format!("/v1/quorum/proposals/{}", path_segment(id));
    remote.get(&path).await
}

async fn decide(
    remote: &Remote,
    arguments: DecisionArguments,
    decision: Decision,
    json_asked: bool,
) -> anyhow::Result<()> {
    let signature = match (arguments.signature, arguments.consent) {
        (Some(file), _) => std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?,
        (None, Some(consent)) => {
            let proposal = fetch(remote, &arguments.id).await?;
            custodian::sign(&proposal, decision, &consent)?
        }
        (None, None) => {
            return Err(crate::failure::advised(
                anyhow::anyhow!("nothing says who decides"),
                "name the file with the custodian's private key with --key, or one with a \
                 signature with --signature",
            ));
        }
    };
    let path = format!(
        "/v1/quorum/proposals/{}/{}",
        path_segment(&arguments.id),
        decision.as_str()
    );
    let after = remote
        .post(&path, json!({ "signature": signature }))
        .await?;
    let lines = [match after["state"].as_str() {
        Some("approved") => format!(
            "approved by enough custodians: {} can send the same request again",
            after["requester"].as_str().unwrap_or_default()
        ),
        Some("rejected") => "rejected".to_owned(),
        _ => format!(
            "{} have approved, and more have to",
            after["approvals"].as_array().map_or(0, Vec::len)
        ),
    }];
    output::lines(json_asked, &after, &lines.map(|line| shown(&line)))
}

fn rule_lines(found: &Value) -> Vec<String> {
    let rule = &found["rule"];
    let Some(custodians) = rule["custodians"].as_array() else {
        return vec![
            "no custodians are named: one administrator alone can do everything".to_owned(),
        ];
    };
    let mut lines = vec![format!(
        "{} of {} custodians have to agree",
        rule["threshold"],
        custodians.len()
    )];
    for custodian in custodians {
        lines.push(format!(
            "custodian   {}",
            custodian["verifier_key"].as_str().unwrap_or_default()
        ));
    }
    for operation in rule["operations"].as_array().into_iter().flatten() {
        lines.push(format!(
            "operation   {}",
            operation.as_str().unwrap_or_default()
        ));
    }
    lines.push(format!("generation  {}", rule["generation"]));
    lines.push(format!(
        "deployment  {}",
        found["deployment"].as_str().unwrap_or_default()
    ));
    lines.iter().map(|line| shown(line)).collect()
}
