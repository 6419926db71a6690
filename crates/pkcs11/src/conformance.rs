//! The token conformance test: is this token what we take it for?
//!
//! PKCS#11 says what a token shall refuse; tokens in the field do not all refuse it. So before a
//! token is trusted it is asked to do what it must do, and what it must not: give out a key that
//! was made never to leave, take another context for the right one, answer a changed ciphertext
//! with an error that looks like its own breakdown. The test makes its own keys and removes them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::HsmConfig;
use crate::supervisor::{self, Launched};
use crate::token::{TokenError, TokenIdentity};
use crate::wire::{SetupAnswer, Task};

/// Whether a token that fails a check is still taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// A token that fails it is refused.
    Required,
    /// It is told, and the token is taken.
    Advisory,
}

/// How a check ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Not as it should be.
    Failed,
    /// It could not be tried on this token.
    Skipped,
}

/// One check and how it ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What is checked, as a sentence that should be true.
    pub name: String,
    /// Whether failing it refuses the token.
    pub weight: Weight,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen.
    pub detail: String,
}

/// The module as it describes itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ModuleDescription {
    /// Where it was loaded from.
    pub path: String,
    /// What it says it is.
    pub description: String,
    /// Who made it.
    pub manufacturer: String,
    /// Its version.
    pub version: String,
    /// The version of PKCS#11 it speaks.
    pub pkcs11_version: String,
}

/// The result of the conformance test of one token.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Which token.
    pub token: TokenIdentity,
    /// Through which module.
    pub module: ModuleDescription,
    /// Every check, in the order they were made.
    pub checks: Vec<Check>,
    /// Whether every required check passed.
    pub passed: bool,
}

impl Report {
    /// The required checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks
            .iter()
            .filter(|check| check.weight == Weight::Required && check.outcome == Outcome::Failed)
    }

    /// Why the token is refused, in one line.
    pub(crate) fn refusal(&self) -> String {
        let failed: Vec<String> = self
            .failures()
            .map(|check| format!("{} ({})", check.name, check.detail))
            .collect();
        format!("it failed its conformance test: {}", failed.join("; "))
    }
}

impl fmt::Display for Report {
    /// A page for people to read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Token    {} (serial {}, {} {})",
            self.token.label, self.token.serial, self.token.manufacturer, self.token.model
        )?;
        writeln!(
            f,
            "Module   {} ({}, {} {}, PKCS#11 {})",
            self.module.path,
            self.module.description,
            self.module.manufacturer,
            self.module.version,
            self.module.pkcs11_version
        )?;
        writeln!(f, "Profile  {}", self.token.profile)?;
        writeln!(f)?;
        for check in &self.checks {
            let outcome = match (check.outcome, check.weight) {
                (Outcome::Passed, _) => "passed ",
                (Outcome::Failed, Weight::Required) => "FAILED ",
                (Outcome::Failed, Weight::Advisory) => "advice ",
                (Outcome::Skipped, _) => "skipped",
            };
            writeln!(f, "{outcome}  {}", check.name)?;
            if !check.detail.is_empty() {
                writeln!(f, "         {}", check.detail)?;
            }
        }
        writeln!(f)?;
        let failed = self.failures().count();
        if self.passed {
            write!(f, "Verdict  fit for use")
        } else {
            write!(
                f,
                "Verdict  REFUSED, {failed} required {} failed",
                if failed == 1 { "check" } else { "checks" }
            )
        }
    }
}

/// Runs the conformance test on the token `config` names, in a child process of its own.
///
/// A token that fails has a report that says so; that is not an error.
///
/// # Errors
/// [`TokenError::Module`], [`TokenError::NoSuchToken`] and [`TokenError::Pin`] when it does not
/// come to the test; [`TokenError::Unavailable`] when the module crashes or hangs in it.
pub async fn run(config: &HsmConfig) -> Result<Report, TokenError> {
    match supervisor::launch(config, Task::Examine).await? {
        Launched {
            answer: SetupAnswer::Examined(report),
            ..
        } => Ok(report),
        _ => Err(supervisor::wrong_answer()),
    }
}
