//! `strongroom audit`: everything here but `proof` reads files and needs no daemon.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use serde_json::{Value, json};
use strongroom_audit::{Log, Reader, verify, verify_tlog_proof};
use strongroom_keys::{
    Certificate, QuorumFinding, QuorumHistory, QuorumReport, QuorumRule, verify_certificate,
};

use super::output;
use crate::data_dir;
use crate::failure::{Advise as _, advised};
use crate::remote::RemoteArguments;

/// How many entries are read at a time.
const PAGE: u64 = 4_096;

#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Check every entry, every tile and the signed checkpoint of a log, offline; and that whatever
    /// custodians had to approve carries the signatures of enough of them.
    Verify {
        /// The directory of the log: a copy will do.
        #[arg(long, default_value = "./strongroom-data/audit")]
        directory: PathBuf,
        /// The verifier key of the log, or a file with it. The default is audit.vkey beside the
        /// directory; an auditor brings the key that was handed over at the ceremony.
        #[arg(long)]
        verifier_key: Option<String>,
    },
    /// Print the entries of a log in order, one JSON object a line; with --json, one array.
    Events {
        /// The directory of the log.
        #[arg(long, default_value = "./strongroom-data/audit")]
        directory: PathBuf,
        /// The first entry to print.
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Print one entry exactly as it stands on the log, to be checked against its proof.
    Entry {
        /// The directory of the log.
        #[arg(long, default_value = "./strongroom-data/audit")]
        directory: PathBuf,
        /// The place of the entry in the log, counted from 0.
        index: u64,
    },
    /// Fetch the proof that an entry is under the signed checkpoint, as a C2SP tlog-proof.
    Proof {
        #[command(flatten)]
        remote: RemoteArguments,
        /// The place of the entry in the log, counted from 0.
        index: u64,
    },
    /// Check an entry against its proof, offline.
    CheckProof {
        /// The file with the proof.
        proof: PathBuf,
        /// The file with the entry, exactly as it stands on the log.
        entry: PathBuf,
        /// The verifier key of the log, or a file with it.
        #[arg(long)]
        verifier_key: String,
    },
    /// Check the certificate of the destruction of a key, offline: its signature, and that the log
    /// says the same.
    CheckCertificate {
        /// The file with the certificate, as `strongroom keys certificate KEY --output FILE` wrote
        /// it.
        certificate: PathBuf,
        /// The verifier key of the log, or a file with it.
        #[arg(long)]
        verifier_key: String,
    },
}

pub(super) async fn run(command: AuditCommand, json_asked: bool) -> anyhow::Result<()> {
    match command {
        AuditCommand::Verify {
            directory,
            verifier_key,
        } => {
            check_directory(&directory)?;
            let key = read_verifier_key(&directory, verifier_key)?;
            let checking = output::progress("checking the log");
            let verified = verify::verify_dir(&directory, &key)
                .with_context(|| format!("the log in {} does not hold", directory.display()))
                .advise(
                    "keep it as it is, and compare it with a copy or with a checkpoint that \
                     somebody kept",
                )?;
            let quorum = quorum(&directory, &key)?;
            drop(checking);
            let root = verified.root.to_string();
            let whole = json!({
                "entries": verified.size,
                "root": root,
                "pending": verified.pending,
                "torn_len_bytes": verified.torn_len_bytes,
                "quorum": quorum_shown(&quorum),
            });
            let mut lines = Vec::new();
            if verified.pending > 0 {
                lines.push(format!(
                    "{} newer entries are whole, but not yet under a checkpoint",
                    verified.pending
                ));
            }
            lines.push(format!(
                "{} entries hold under the signed checkpoint with root {root}",
                verified.size
            ));
            lines.extend(quorum_lines(&quorum));
            output::lines(json_asked, &whole, &lines)?;
            if !quorum.findings.is_empty() {
                return Err(advised(
                    anyhow!(
                        "{} entries tell of what custodians have not approved as the rule asks",
                        quorum.findings.len()
                    ),
                    "the log itself holds; ask whoever is named in these entries, and keep it as \
                     it is",
                ));
            }
        }
        AuditCommand::Events { directory, from } => events(&directory, from, json_asked)?,
        AuditCommand::Entry { directory, index } => {
            check_directory(&directory)?;
            let entry = Log::reader(&directory)
                .entries(index..index.saturating_add(1))?
                .pop()
                .ok_or_else(|| {
                    advised(
                        anyhow!("the log in {} has no entry {index}", directory.display()),
                        "`strongroom audit events` shows which there are",
                    )
                })?;
            let text = String::from_utf8_lossy(&entry);
            if json_asked {
                output::line(format_args!(
                    "{:#}",
                    json!({ "index": index, "entry": text })
                ))?;
            } else {
                output::text(&text)?;
            }
        }
        AuditCommand::Proof { remote, index } => {
            let proof = remote
                .connect()?
                .get(&format!("/v1/audit/proofs/{index}"))
                .await?;
            // Exactly as it is: with a further newline it would not be a proof any more.
            if json_asked {
                output::line(format_args!("{proof:#}"))?;
            } else {
                output::text(proof["proof"].as_str().unwrap_or_default())?;
            }
        }
        AuditCommand::CheckProof {
            proof,
            entry,
            verifier_key,
        } => {
            let text = std::fs::read_to_string(&proof)
                .with_context(|| format!("cannot read {}", proof.display()))?;
            let bytes = std::fs::read(&entry)
                .with_context(|| format!("cannot read {}", entry.display()))?;
            let key = text_or_file(&verifier_key);
            let proven = verify_tlog_proof(&text, &bytes, key.trim())
                .context("the entry is not proven")
                .advise(
                    "give the entry as it stands on the log, byte for byte, its own proof and \
                         the verifier key of the log",
                )?;
            output::lines(
                json_asked,
                &json!({ "index": proven.index.0 }),
                &[format!("the entry is number {} of the log", proven.index)],
            )?;
        }
        AuditCommand::CheckCertificate {
            certificate,
            verifier_key,
        } => {
            let text = std::fs::read_to_string(&certificate)
                .with_context(|| format!("cannot read {}", certificate.display()))?;
            let read: Certificate = serde_json::from_str(&text)
                .with_context(|| format!("{} is not a certificate", certificate.display()))
                .advise(
                    "give the file that `strongroom keys certificate KEY --output FILE` wrote",
                )?;
            let verified = verify_certificate(&read, text_or_file(&verifier_key).trim())
                .context("the certificate does not hold")
                .advise("fetch it again, and give the verifier key of the log")?;
            let statement = &verified.statement;
            let said = |at: &str| match statement.pointer(at) {
                Some(Value::String(text)) => text.clone(),
                other => other.unwrap_or(&Value::Null).to_string(),
            };
            let lines = [
                format!(
                    "{} was destroyed at {}",
                    said("/key/arn"),
                    said("/destroyed")
                ),
                format!(
                    "with it {} object versions of {} bytes were lost",
                    said("/lost/object_versions"),
                    said("/lost/size_bytes")
                ),
                format!(
                    "entry {} of the log says so, under a checkpoint over {} entries",
                    said("/entry"),
                    verified.log_size
                ),
            ];
            let whole = json!({ "statement": statement, "log_size": verified.log_size });
            output::lines(json_asked, &whole, &lines)?;
        }
    }
    Ok(())
}

/// What the entries of a log say of dual control.
fn quorum(directory: &Path, verifier_key: &str) -> anyhow::Result<QuorumReport> {
    let reader = Log::reader(directory);
    let size = reader.size()?.max(reader.published_size()?);
    history(&reader, size, verifier_key)
}

/// The rule of dual control that a log tells of, whose every entry and checkpoint is verified; what is
/// not under a checkpoint does not count.
pub(super) fn signed_rule(
    directory: &Path,
    verifier_key: &str,
) -> anyhow::Result<Option<QuorumRule>> {
    const ASK: &str = "the keys are restored, and the custodians are not: `strongroom audit verify` \
                       tells more; put the right log there, and restore again";
    verify::verify_dir(directory, verifier_key).advise(ASK)?;
    let reader = Log::reader(directory);
    let report = history(&reader, reader.published_size()?, verifier_key)?;
    match report.findings.first() {
        None => Ok(report.rule),
        Some(finding) => Err(advised(
            anyhow!("entry {} of the audit log: {}", finding.entry, finding.what),
            ASK,
        )),
    }
}

fn history(reader: &Reader, size: u64, verifier_key: &str) -> anyhow::Result<QuorumReport> {
    let mut history = QuorumHistory::new(verifier_key);
    let mut at = 0;
    while at < size {
        let until = (at + PAGE).min(size);
        for (index, entry) in (at..).zip(reader.entries(at..until)?) {
            history.see(index, &entry);
        }
        at = until;
    }
    Ok(history.finish())
}

fn quorum_shown(report: &QuorumReport) -> Value {
    let told = |findings: &[QuorumFinding]| -> Vec<Value> {
        findings
            .iter()
            .map(|finding| json!({ "entry": finding.entry, "what": finding.what }))
            .collect()
    };
    let acts: Vec<Value> = report
        .acts
        .iter()
        .map(|act| {
            json!({
                "entry": act.entry,
                "operation": act.operation.as_str(),
                "key": act.key,
                "requester": act.requester,
                "custodians": act.custodians,
            })
        })
        .collect();
    json!({
        "rule_sha256": report.rule.as_ref().map(strongroom_keys::QuorumRule::sha256),
        "acts": acts,
        "findings": told(&report.findings),
        "remarks": told(&report.remarks),
    })
}

fn quorum_lines(report: &QuorumReport) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(rule) = &report.rule {
        lines.push(format!(
            "{} of {} custodians have to agree; {} things were done with their approval",
            rule.threshold(),
            rule.custodians().len(),
            report.acts.len()
        ));
    }
    for act in &report.acts {
        lines.push(format!(
            "entry {}: {} of {} by {}, approved by {}",
            act.entry,
            act.operation,
            act.key.as_deref().unwrap_or("the deployment"),
            act.requester,
            act.custodians.join(", ")
        ));
    }
    for remark in &report.remarks {
        lines.push(format!("entry {}: remark: {}", remark.entry, remark.what));
    }
    for finding in &report.findings {
        lines.push(format!(
            "entry {}: FINDING: {}",
            finding.entry, finding.what
        ));
    }
    lines
}

fn events(directory: &Path, from: u64, json_asked: bool) -> anyhow::Result<()> {
    check_directory(directory)?;
    let reader = Log::reader(directory);
    let size = reader.size()?.max(reader.published_size()?);
    let mut array = Vec::new();
    let mut at = from;
    while at < size {
        let until = (at + PAGE).min(size);
        for (index, entry) in (at..).zip(reader.entries(at..until)?) {
            let mut event: Value = serde_json::from_slice(&entry)
                .with_context(|| format!("entry {index} is not JSON"))?;
            event["index"] = index.into();
            if json_asked {
                array.push(event);
            } else {
                output::line(event)?;
            }
        }
        at = until;
    }
    if json_asked {
        output::line(format_args!("{:#}", Value::Array(array)))?;
    }
    Ok(())
}

fn check_directory(directory: &Path) -> anyhow::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    Err(advised(
        anyhow!("{} is not the directory of a log", directory.display()),
        "name it with --directory; it is `audit` in the data directory of a daemon, or a copy of that",
    ))
}

fn read_verifier_key(directory: &Path, given: Option<String>) -> anyhow::Result<String> {
    if let Some(given) = given {
        return Ok(text_or_file(&given).trim().to_owned());
    }
    let beside = directory
        .parent()
        .unwrap_or(Path::new("."))
        .join(data_dir::VERIFIER_KEY);
    let inside = directory.join(data_dir::VERIFIER_KEY);
    for path in [&beside, &inside] {
        if let Ok(text) = std::fs::read_to_string(path) {
            return Ok(text.trim().to_owned());
        }
    }
    Err(advised(
        anyhow!("there is no verifier key at {}", beside.display()),
        "give the one that was handed over, with --verifier-key",
    ))
}

/// What the file says when the text names one, and the text itself otherwise.
fn text_or_file(given: &str) -> String {
    std::fs::read_to_string(given).unwrap_or_else(|_| given.to_owned())
}
