//! How commands print what they found: a table for people, JSON for programs.

use std::fmt;
use std::io::{self, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::failure::OutputClosed;
use crate::terminal::shown;

/// Prints text as it is.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        written => Ok(written?),
    }
}

/// Prints a line.
pub(crate) fn line(line: impl fmt::Display) -> anyhow::Result<()> {
    text(&format!("{line}\n"))
}

/// Shows on a terminal that something long goes on, until it is dropped; elsewhere nothing is
/// shown. What is counted is up to the caller, through [`ProgressBar::inc`].
pub(crate) fn progress(doing: &'static str) -> Progress {
    let bar = ProgressBar::new_spinner().with_message(doing);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {pos}  {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    Progress(bar)
}

/// What [`progress`] shows.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Counts what was done since the last time.
    pub(crate) fn done(&self, more: u64) {
        self.0.inc(more);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Prints JSON for programs, or a table with these columns for people.
///
/// A column is a heading and the member of each row that stands under it; a dot goes down. What a
/// terminal would obey is written out in the table.
pub(crate) fn rows(
    json: bool,
    whole: &Value,
    rows: &[Value],
    columns: &[(&str, &str)],
) -> anyhow::Result<()> {
    if json {
        line(format!("{whole:#}"))
    } else {
        text(&table(rows, columns))
    }
}

/// Prints JSON for programs, or the lines for people.
pub(crate) fn lines(json: bool, whole: &Value, lines: &[String]) -> anyhow::Result<()> {
    if json {
        line(format!("{whole:#}"))
    } else {
        lines.iter().try_for_each(line)
    }
}

fn table(rows: &[Value], columns: &[(&str, &str)]) -> String {
    let mut cells: Vec<Vec<String>> = vec![
        columns
            .iter()
            .map(|(heading, _)| (*heading).to_owned())
            .collect(),
    ];
    for row in rows {
        cells.push(
            columns
                .iter()
                .map(
                    |(_, member)| match row.pointer(&format!("/{}", member.replace('.', "/"))) {
                        None | Some(Value::Null) => "-".to_owned(),
                        Some(Value::String(text)) => shown(text),
                        Some(other) => shown(&other.to_string()),
                    },
                )
                .collect(),
        );
    }
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| {
            cells
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in &cells {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_lines_up_and_shows_what_is_missing() {
        let rows = [json!({"a": "long one", "b": {"c": 7}}), json!({"a": "x"})];
        assert_eq!(
            table(&rows, &[("NAME", "a"), ("COUNT", "b.c")]),
            "NAME      COUNT\nlong one  7\nx         -\n"
        );
        let row = [json!({"a": "\u{9b}2J\u{202e}x"})];
        assert_eq!(table(&row, &[("A", "a")]), "A\n\\u{9b}2J\\u{202e}x\n");
    }
}
