//! `strongroom hsm ceremony`: the first day of a deployment, in company and on paper.
//!
//! # Order
//!
//! 1. Whatever can be known before is checked: that nothing is there yet, and that the rule will do.
//! 2. Tokens are initialised if that was asked for, and pass their conformance test.
//! 3. The root keys are made, and their attributes read back.
//! 4. The data directory is made as by `strongroom init`, with the first access key.
//! 5. The custodians are named.
//! 6. The transcript is put on the audit log by its hash, signed by the key of the log in the token,
//!    and written.
//! 7. Custodians sign it, now or later.
//!
//! A ceremony that stops before 6 has left keys that protect nothing: tokens are initialised again,
//! the data directory is removed, and it is held anew.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use strongroom_audit::{NoteSigner, VerifierKey, note_signers, verify_note};
use strongroom_environment::{Clock as _, SystemClock};
use strongroom_keys::{
    Caller, GuardedOperation, NewQuorumRule, QuorumRule, ensure_token_keys, token_keys,
};
use strongroom_pkcs11::conformance::{Outcome, Report, Weight};
use strongroom_pkcs11::{
    HsmConfig, HsmToken, KeyAttributes, Token as _, TokenIdentity, Transcript as PairTranscript,
    init_token, make_pair,
};

use super::custodian::{ConsentArguments, ask, read_key};
use super::{init, output};
use crate::config::Config;
use crate::failure::{Advise as _, advised};
use crate::key_daemon::KeyDaemon;
use crate::terminal::shown;
use crate::{data_dir, token};

/// The first line of a transcript.
const FIRST_LINE: &str = "strongroom/root-ceremony/v1";

const AGAIN: &str = "nothing is protected yet: initialise the token again, remove the data \
                     directory, and hold the ceremony anew";

#[derive(Subcommand)]
pub(crate) enum CeremonyCommand {
    /// Hold the ceremony: test the token, make the root keys, name the custodians, and write a
    /// transcript that all of them sign.
    ///
    /// It takes the place of `strongroom init` (and of `strongroom hsm pair`, where the
    /// configuration names a second token) on a deployment where nothing is there yet. On a terminal
    /// it stops after each step until you agree; rehearse it on a SoftHSM token first.
    Run(RunArguments),
    /// Sign a transcript as a custodian, on whatever machine your key is.
    ///
    /// It is shown first, and signed when you agree: compare what it says with what you have seen,
    /// and the keys of the custodians with what they have read out.
    Sign {
        /// The file with the transcript.
        transcript: PathBuf,
        #[command(flatten)]
        consent: ConsentArguments,
    },
    /// Check a transcript, offline: the signature of the token, those of all custodians, that every
    /// token has passed its conformance test and that no root key can have left it.
    Verify {
        /// The file with the transcript.
        transcript: PathBuf,
        /// The verifier key of the audit log of the deployment, or a file with it.
        #[arg(long)]
        verifier_key: String,
    },
}

#[derive(Args)]
pub(crate) struct RunArguments {
    /// The configuration that `strongroom serve` will use.
    #[arg(long)]
    config: PathBuf,
    /// Where the transcript is written; there must be none yet.
    #[arg(long)]
    transcript: PathBuf,
    /// How many custodians have to agree: 2 or more.
    #[arg(long)]
    threshold: usize,
    /// The public key of a custodian, or a file with it; once for each custodian.
    #[arg(long = "custodian", required = true)]
    custodians: Vec<String>,
    /// Who is there besides the custodians, and in which role; once for each.
    #[arg(long = "present")]
    present: Vec<String>,
    /// Also initialise the tokens, which are blank, with the labels and PINs of the configuration.
    #[arg(long, requires = "so_pin_file")]
    blank_tokens: bool,
    /// A file with the security officer's PIN of the first token; readable by its owner only.
    #[arg(long, requires = "blank_tokens")]
    so_pin_file: Option<PathBuf>,
    /// The same for the second token.
    #[arg(long, requires = "blank_tokens")]
    second_so_pin_file: Option<PathBuf>,
    /// The private key of a custodian who signs on this machine, such as a removable disk has it;
    /// the others sign later (`strongroom hsm ceremony sign`).
    #[arg(long = "key")]
    keys: Vec<PathBuf>,
    /// Do not stop after each step.
    #[arg(long)]
    yes: bool,
}

/// What a ceremony has done, as all of its witnesses sign it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Transcript {
    /// The verifier key of the audit log, whose key is in the token.
    deployment: String,
    /// The version of this program.
    program: String,
    began: String,
    ended: String,
    present: Vec<String>,
    tokens: Vec<TokenSeen>,
    /// `CKA_ID` of the keys of a pair of tokens.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pair: Option<String>,
    /// The first access key.
    access_key_id: String,
    /// The rule of dual control, in JSON.
    rule: String,
}

/// A token of the ceremony.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenSeen {
    identity: TokenIdentity,
    module: String,
    passed: bool,
    /// The checks of the conformance test that did not pass.
    not_passed: Vec<String>,
    checks: usize,
    keys: Vec<KeyAttributes>,
}

impl Transcript {
    fn text(&self) -> anyhow::Result<String> {
        Ok(format!(
            "{FIRST_LINE}\n{}\n",
            serde_json::to_string_pretty(self)?
        ))
    }

    fn parse(text: &str) -> Option<Self> {
        let json = text.strip_prefix(FIRST_LINE)?.strip_prefix('\n')?;
        serde_json::from_str(json).ok()
    }

    /// What of it should not be, in the words of whoever reads it.
    fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        for token in &self.tokens {
            let label = &token.identity.label;
            if !token.passed {
                doubts.push(format!(
                    "the token {label} has not passed its conformance test"
                ));
            }
            for name in token_keys().labels() {
                let found = token.keys.iter().find(|key| key.label == name.0);
                // What a pair shares was wrapped on its way from the one to the other.
                let is_safe = found.is_some_and(|key| match self.pair {
                    None => key.never_left(),
                    Some(_) => key.sensitive == Some(true) && key.extractable == Some(false),
                });
                if !is_safe {
                    doubts.push(format!(
                        "the token {label} does not say that the key {name} is one that stays in it"
                    ));
                }
            }
        }
        if self.tokens.is_empty() {
            doubts.push("it names no token".to_owned());
        }
        doubts
    }
}

pub(super) async fn run(command: CeremonyCommand, json_asked: bool) -> anyhow::Result<()> {
    match command {
        CeremonyCommand::Run(arguments) => hold(&arguments, json_asked).await,
        CeremonyCommand::Sign {
            transcript,
            consent,
        } => {
            sign(&transcript, &read_key(&consent.key)?, |described| {
                agree(described, &consent, json_asked)
            })?;
            output::lines(
                json_asked,
                &json!({ "transcript": transcript, "signed": true }),
                &[format!("{} is signed", transcript.display())],
            )
        }
        CeremonyCommand::Verify {
            transcript,
            verifier_key,
        } => verify(&transcript, &verifier_key, json_asked),
    }
}

async fn hold(arguments: &RunArguments, json_asked: bool) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config)?;
    let clock = SystemClock::new();
    let began = clock.now();
    let rule = rule(arguments)?;
    if arguments.transcript.exists() {
        return Err(advised(
            anyhow!("there is a file {} already", arguments.transcript.display()),
            "choose another path for the transcript",
        ));
    }
    for there in [data_dir::METADATA, data_dir::AUDIT] {
        if config.data_dir.join(there).exists() {
            return Err(advised(
                anyhow!("{} holds a deployment already", config.data_dir.display()),
                "a ceremony begins a deployment; on one that is there, `strongroom quorum set` \
                 names the custodians",
            ));
        }
    }
    let signers = arguments
        .keys
        .iter()
        .map(|path| read_key(path))
        .collect::<anyhow::Result<Vec<_>>>()?;

    let steps = Steps {
        asks: !arguments.yes && std::io::stdin().is_terminal(),
    };
    let (tokens, pair) = make_root_keys(&config, arguments, &steps).await?;

    data_dir::make(&config.data_dir)?;
    init::administrator_token(&config)?;
    let daemon = KeyDaemon::start(&config, Arc::new(SystemClock::new()))
        .await
        .advise(AGAIN)?;
    let access_key_id = init::first_user(&daemon)
        .await?
        .ok_or_else(|| advised(anyhow!("there are users already"), AGAIN))?;
    steps.done("the deployment is made; keep the access key above")?;

    let caller = Caller::daemon("hsm:ceremony");
    let quorum = daemon.service()?.kms.quorum();
    let rule = quorum.set_rule(&rule, &caller).await.advise(AGAIN)?;
    let names: Vec<&str> = rule
        .custodians()
        .iter()
        .map(|custodian| custodian.origin().as_str())
        .collect();
    steps.done(format_args!(
        "{} of {} have to agree from now on: {}",
        rule.threshold(),
        names.len(),
        names.join(", ")
    ))?;

    let transcript = Transcript {
        deployment: quorum.deployment(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        began: began.to_string(),
        ended: clock.now().to_string(),
        present: arguments.present.clone(),
        tokens,
        pair: pair.map(|pair| pair.id),
        access_key_id,
        rule: rule.document(),
    };
    let note = daemon
        .service()?
        .certify("root-ceremony", &transcript.text()?, &caller)
        .await
        .advise(AGAIN)?;
    data_dir::create_private(&arguments.transcript, note.as_bytes())?;
    daemon.close().await;
    for signer in &signers {
        // Who is there has seen how it came about.
        sign(&arguments.transcript, signer, |_| Ok(()))?;
    }
    steps.done(format_args!(
        "the transcript is in {}; each custodian signs it with `strongroom hsm ceremony sign`",
        arguments.transcript.display()
    ))?;
    if json_asked {
        output::line(format_args!("{:#}", json!({ "transcript": note })))?;
    }
    Ok(())
}

/// The rule that the custodians will keep, before anything is touched.
fn rule(arguments: &RunArguments) -> anyhow::Result<NewQuorumRule> {
    let custodians = arguments
        .custodians
        .iter()
        .map(|given| {
            let text = std::fs::read_to_string(given).unwrap_or_else(|_| given.clone());
            VerifierKey::parse(text.trim())
                .with_context(|| format!("{given} is not the public key of a custodian"))
                .advise("give what `strongroom custodian new` printed, or a file with it")
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let rule = NewQuorumRule {
        threshold: arguments.threshold,
        custodians,
        operations: GuardedOperation::ALL.to_vec(),
    };
    rule.check()
        .advise("nothing was touched; correct the custodians or the threshold")?;
    Ok(rule)
}

/// Tests the tokens, makes the root keys on them, and reads their attributes back.
async fn make_root_keys(
    config: &Config,
    arguments: &RunArguments,
    steps: &Steps,
) -> anyhow::Result<(Vec<TokenSeen>, Option<PairTranscript>)> {
    let settings = [Some(config.token()?), config.second_token.as_ref()];
    let officers = [&arguments.so_pin_file, &arguments.second_so_pin_file];
    let mut tokens = Vec::new();
    for (settings, officer) in settings.into_iter().zip(officers) {
        let Some(settings) = settings else {
            continue;
        };
        let hsm: HsmConfig = token::hsm_config(settings)?;
        if arguments.blank_tokens {
            let file = officer.as_ref().ok_or_else(|| {
                advised(
                    anyhow!("the officer's PIN of the second token is missing"),
                    "name the file with it with --second-so-pin-file",
                )
            })?;
            let officer = SecretString::from(data_dir::read_secret(file)?.as_str());
            let identity = init_token(&hsm, &officer).await?;
            steps.done(format_args!("the token {} is initialised", identity.label))?;
        }
        let testing = output::progress("testing the token");
        let token = HsmToken::start(hsm)
            .await
            .advise("take a token that passes; hsm/README.md says what is asked of one")?;
        drop(testing);
        output::line(token.report())?;
        steps.done("the token has passed its conformance test")?;
        tokens.push(token);
    }
    let keys = token_keys();
    let pair = match &tokens[..] {
        [first, second] => Some(make_pair(first, second, &keys).await?),
        tokens => {
            for token in tokens {
                for label in keys.labels() {
                    if token.has_key(label).await? {
                        return Err(advised(
                            anyhow!("the token holds a key labelled {label} already"),
                            "take a token that holds none: what is on this one may protect something",
                        ));
                    }
                }
                ensure_token_keys(&**token).await.advise(AGAIN)?;
            }
            None
        }
    };
    let mut seen = Vec::new();
    for token in &tokens {
        let attributes = token.key_attributes(&keys).await.advise(AGAIN)?;
        for key in &attributes {
            output::line(told_key(key))?;
        }
        let report: &Report = token.report();
        seen.push(TokenSeen {
            identity: token.identity(),
            module: format!(
                "{} ({}, {} {})",
                report.module.path,
                report.module.description,
                report.module.manufacturer,
                report.module.version
            ),
            passed: report.passed,
            not_passed: report
                .checks
                .iter()
                .filter(|check| check.outcome != Outcome::Passed)
                .map(|check| {
                    let weight = match check.weight {
                        Weight::Required => "required",
                        Weight::Advisory => "advisory",
                    };
                    format!("{} ({weight})", check.name)
                })
                .collect(),
            checks: report.checks.len(),
            keys: attributes,
        });
    }
    steps.done("the root keys are made, and cannot leave the token")?;
    Ok((seen, pair))
}

/// The attributes of a key in a line for people.
fn told_key(key: &KeyAttributes) -> String {
    let told: Vec<String> = [
        ("private", key.private),
        ("sensitive", key.sensitive),
        ("always sensitive", key.always_sensitive),
        ("extractable", key.extractable),
        ("never extractable", key.never_extractable),
        ("made there", key.local),
    ]
    .into_iter()
    .map(|(name, truth)| match truth {
        Some(true) => name.to_owned(),
        Some(false) => format!("not {name}"),
        None => format!("{name}: not told"),
    })
    .collect();
    format!("{} ({}): {}", key.label, key.kind, told.join(", "))
}

/// Adds the signature of a custodian to a transcript, unless it is there, once `agree` has seen what
/// the transcript says.
fn sign(
    path: &Path,
    signer: &NoteSigner,
    agree: impl FnOnce(&Described) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let note = read(path)?;
    let (text, transcript) = parsed(&note)?;
    let rule = rule_of(&transcript)?;
    let key = signer.verifier_key();
    if !rule.custodians().contains(key) {
        return Err(advised(
            anyhow!(
                "{} is not a custodian of this deployment",
                shown(key.origin().as_str())
            ),
            "the transcript names the custodians; sign with the key of one of them",
        ));
    }
    let (_, signers) = note_signers(&note, std::slice::from_ref(key))?;
    if !signers.is_empty() {
        return Ok(());
    }
    // What is not signed in the token is not what the ceremony has written.
    let token = VerifierKey::parse(&transcript.deployment)
        .context("the transcript names no audit log")
        .advise("take the transcript as it was written")?;
    check_token_signature(&note, &token)?;
    agree(&Described::new(&note, transcript, rule)?)?;
    let signed = format!("{note}{}", signer.sign(text));
    data_dir::write_private(path, signed.as_bytes())
}

/// Shows a custodian the transcript that she is to sign, and asks whether she will.
fn agree(
    described: &Described,
    consent: &ConsentArguments,
    json_asked: bool,
) -> anyhow::Result<()> {
    const UNATTENDED: &str = "read the transcript, and then sign it with --yes";
    let transcript = &described.transcript;
    if let Some(expected) = &consent.verifier_key {
        let expected = std::fs::read_to_string(expected).unwrap_or_else(|_| expected.clone());
        if expected.trim() != transcript.deployment {
            return Err(advised(
                anyhow!(
                    "the transcript is of the deployment {}",
                    shown(&transcript.deployment)
                ),
                "nothing was signed; ask whoever sent it which deployment it is for",
            ));
        }
    }
    let mut lines = described.lines.clone();
    lines.extend(doubts_told(&transcript.doubts()));
    match (consent.yes, json_asked) {
        (false, _) => {
            let question = format!("sign with {}?", consent.key.display());
            ask(&lines, &question, UNATTENDED)
        }
        (true, false) => lines.iter().try_for_each(output::line),
        (true, true) => Ok(()),
    }
}

fn check_token_signature(note: &str, key: &VerifierKey) -> anyhow::Result<()> {
    verify_note(note, key)
        .context("the transcript is not signed by the key of the audit log")
        .advise("fetch it again, and give the verifier key of this deployment")?;
    Ok(())
}

fn doubts_told(doubts: &[String]) -> impl Iterator<Item = String> {
    doubts
        .iter()
        .map(|doubt| shown(&format!("DOUBT      {doubt}")))
}

fn verify(path: &Path, verifier_key: &str, json_asked: bool) -> anyhow::Result<()> {
    let note = read(path)?;
    let key = std::fs::read_to_string(verifier_key).unwrap_or_else(|_| verifier_key.to_owned());
    let key = VerifierKey::parse(key.trim()).context("the verifier key is not one")?;
    check_token_signature(&note, &key)?;
    let (_, transcript) = parsed(&note)?;
    let rule = rule_of(&transcript)?;
    let Described {
        transcript,
        signed_by,
        unsigned_by,
        mut lines,
    } = Described::new(&note, transcript, rule)?;
    let mut doubts = transcript.doubts();
    if transcript.deployment != key.to_string() {
        doubts.push("it is of another deployment".to_owned());
    }
    doubts.extend(
        unsigned_by
            .iter()
            .map(|name| format!("{name} has not signed it")),
    );
    let whole = json!({
        "transcript": serde_json::to_value(&transcript)?,
        "signed_by": signed_by,
        "doubts": doubts,
    });
    lines.extend(doubts_told(&doubts));
    if doubts.is_empty() {
        lines.push("the transcript holds".to_owned());
    }
    output::lines(json_asked, &whole, &lines)?;
    match doubts.first() {
        None => Ok(()),
        Some(first) => Err(advised(
            anyhow!("the transcript does not hold: {}", shown(first)),
            "have it signed by whoever is missing; if a token is at fault, hold the ceremony anew",
        )),
    }
}

/// A transcript for people.
struct Described {
    transcript: Transcript,
    /// The names of the custodians whose signatures are on it.
    signed_by: Vec<String>,
    /// And those of all others.
    unsigned_by: Vec<String>,
    /// What it says, in lines that are safe for a terminal.
    lines: Vec<String>,
}

impl Described {
    fn new(note: &str, transcript: Transcript, rule: QuorumRule) -> anyhow::Result<Self> {
        let (_, signers) = note_signers(note, rule.custodians())
            .context("a signature of a custodian does not hold")
            .advise("take the transcript as it was before, and have it signed again")?;
        let (mut signed_by, mut unsigned_by) = (Vec::new(), Vec::new());
        for (place, custodian) in rule.custodians().iter().enumerate() {
            let name = custodian.origin().as_str().to_owned();
            if signers.contains(&place) {
                signed_by.push(name);
            } else {
                unsigned_by.push(name);
            }
        }
        let mut lines = vec![format!("deployment {}", transcript.deployment)];
        for token in &transcript.tokens {
            let TokenIdentity {
                label,
                serial,
                manufacturer,
                model,
                ..
            } = &token.identity;
            lines.push(format!(
                "token      {label} (serial {serial}, {manufacturer} {model}), through {}",
                token.module
            ));
            let keys = token.keys.iter();
            lines.extend(keys.map(|key| format!("key        {}", told_key(key))));
        }
        lines.push(format!("began      {}", transcript.began));
        lines.push(format!("ended      {}", transcript.ended));
        let present = transcript.present.iter();
        lines.extend(present.map(|who| format!("present    {who}")));
        lines.push(format!("first user {}", transcript.access_key_id));
        lines.push(format!(
            "rule       {} of {} custodians have to agree",
            rule.threshold(),
            rule.custodians().len()
        ));
        let operations = rule.operations().iter();
        lines.extend(operations.map(|guarded| format!("operation  {}", guarded.as_str())));
        let custodians = rule.custodians().iter();
        lines.extend(custodians.map(|custodian| format!("custodian  {custodian}")));
        lines.extend(signed_by.iter().map(|name| format!("signed by  {name}")));
        Ok(Self {
            lines: lines.iter().map(|line| shown(line)).collect(),
            transcript,
            signed_by,
            unsigned_by,
        })
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The text of a transcript with its last newline, and what it says.
fn parsed(note: &str) -> anyhow::Result<(&str, Transcript)> {
    let none = || {
        advised(
            anyhow!("that is not the transcript of a ceremony"),
            "give the file that `strongroom hsm ceremony run --transcript FILE` wrote",
        )
    };
    let (text, _) = note_signers(note, &[]).map_err(|_| none())?;
    let transcript = Transcript::parse(text).ok_or_else(none)?;
    Ok((text, transcript))
}

fn rule_of(transcript: &Transcript) -> anyhow::Result<QuorumRule> {
    QuorumRule::parse(&transcript.rule).ok_or_else(|| {
        advised(
            anyhow!("the transcript names no rule of dual control"),
            "take the transcript as it was written",
        )
    })
}

/// Tells after each step what was done, and waits on a terminal until somebody agrees.
struct Steps {
    asks: bool,
}

impl Steps {
    fn done(&self, what: impl std::fmt::Display) -> anyhow::Result<()> {
        output::line(format_args!("== {what}"))?;
        if !self.asks {
            return Ok(());
        }
        let mut told = std::io::stderr().lock();
        write!(told, "go on? [y/N] ")?;
        told.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(());
        }
        Err(advised(anyhow!("the ceremony was stopped"), AGAIN))
    }
}
