//! The directory of the rules, shared by a test and the processes that hold the module.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::rule::{Act, Rule};

/// The rules in a directory, and what was called.
#[derive(Clone, Debug)]
pub struct Faults {
    directory: PathBuf,
}

impl Faults {
    /// Those in `directory`, which is there.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// The directory, for [`RULES_DIRECTORY`](crate::RULES_DIRECTORY).
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Has these rules hold from now on, and no others.
    ///
    /// # Panics
    /// When the directory cannot be written.
    pub fn set(&self, rules: &[Rule]) {
        self.change(|standing| {
            standing.clear();
            standing.extend_from_slice(rules);
        })
        .expect("the directory of the rules can be written");
    }

    /// Takes back every rule.
    ///
    /// # Panics
    /// As [`Faults::set`].
    pub fn heal(&self) {
        self.set(&[]);
    }

    /// The rules that have something left to befall.
    ///
    /// # Panics
    /// When the directory cannot be read.
    #[must_use]
    pub fn standing(&self) -> Vec<Rule> {
        self.change(|rules| rules.clone())
            .expect("the directory of the rules can be read")
    }

    /// How often `function` was called, in all processes.
    #[must_use]
    pub fn calls(&self, function: &str) -> usize {
        fs::read(self.calls_of(function)).map_or(0, |calls| calls.len())
    }

    /// Counts a call of `function`, and says what is to befall it.
    pub(crate) fn befall(&self, function: &str, asks_length: Option<bool>) -> Option<Act> {
        let calls = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.calls_of(function));
        if let Ok(mut calls) = calls {
            // A call that is not counted makes the test fail that counts it.
            let _ = calls.write_all(b".");
        }
        if !self.rules().exists() {
            return None;
        }
        let act = self.change(|rules| {
            for rule in rules.iter_mut() {
                if rule.function != function || !rule.act.befalls(asks_length) {
                    continue;
                }
                if rule.spared > 0 {
                    rule.spared -= 1;
                } else if rule.times > 0 {
                    if rule.times < u32::MAX {
                        rule.times -= 1;
                    }
                    return Some(rule.act);
                }
            }
            None
        });
        act.ok().flatten()
    }

    /// Reads the rules, has them changed, and writes those that have something left, under a lock
    /// that one thread of one process holds. They are renamed into place: whoever is killed in
    /// the middle leaves the old ones.
    fn change<T>(&self, change: impl FnOnce(&mut Vec<Rule>) -> T) -> io::Result<T> {
        let lock = File::create(self.directory.join("lock"))?;
        lock.lock()?;
        let text = fs::read_to_string(self.rules()).unwrap_or_default();
        let mut rules: Vec<Rule> = text.lines().filter_map(|line| line.parse().ok()).collect();
        let result = change(&mut rules);
        rules.retain(|rule| rule.times > 0);
        let left: String = rules.iter().map(|rule| format!("{rule}\n")).collect();
        if left.is_empty() {
            match fs::remove_file(self.rules()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        } else if left != text {
            let part = self.directory.join("part");
            fs::write(&part, left)?;
            fs::rename(part, self.rules())?;
        }
        Ok(result)
    }

    fn rules(&self) -> PathBuf {
        self.directory.join("rules")
    }

    fn calls_of(&self, function: &str) -> PathBuf {
        self.directory.join(format!("{function}.calls"))
    }
}
