//! A report as text and as JSON.

use std::fmt::Write as _;

use super::report::{OccupancySample, SimulationReport};
use crate::StorageClass;

/// The most keys that are listed one by one.
const KEYS_LISTED_MAX: usize = 40;

impl SimulationReport {
    /// The report as one JSON object, in one line. The same report gives the same bytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and integers serialise to memory without fail")
    }

    /// The report as a text of tables, for people.
    #[must_use]
    pub fn to_table(&self) -> String {
        let mut text = format!(
            "{} (seed {})\n{} to {}, {} objects, {} events\n",
            self.scenario, self.seed, self.start, self.end, self.objects, self.events
        );
        section(&mut text, "What lies where", &self.occupancy_rows());
        section(&mut text, "What moved", &self.move_rows());
        section(&mut text, "How long restores took", &self.restore_rows());
        if self.requests_for_expired_objects > 0 {
            // Writing to a string does not fail, here and below.
            let _ = writeln!(
                text,
                "{} requests came for objects that had expired on that day.",
                self.requests_for_expired_objects
            );
        }
        section(&mut text, "Keys still needed", &self.key_rows());
        if self.keys.len() > KEYS_LISTED_MAX {
            let _ = writeln!(
                text,
                "and {} more keys; the JSON form has all.",
                self.keys.len() - KEYS_LISTED_MAX
            );
        }
        if let Some(capacity) = &self.capacity {
            let _ = writeln!(
                text,
                "\nCold tier: at most {} of {}; {}.",
                bytes(capacity.most_bytes),
                bytes(capacity.capacity_bytes),
                capacity.exceeded_on.as_ref().map_or_else(
                    || "it is large enough".to_owned(),
                    |day| format!("too small from {day} on")
                )
            );
        }
        text
    }

    /// One row for each year and one for the end.
    fn occupancy_rows(&self) -> Vec<Vec<String>> {
        let mut header = vec!["day".to_owned()];
        let shown: Vec<&str> = StorageClass::ALL
            .into_iter()
            .map(StorageClass::as_str)
            .filter(|class| {
                self.occupancy
                    .iter()
                    .any(|sample| sample.classes.iter().any(|held| held.class == *class))
            })
            .collect();
        header.extend(shown.iter().map(|class| (*class).to_owned()));
        header.extend(["restored copies".to_owned(), "keys".to_owned()]);
        let mut rows = vec![header];
        let mut next_day = 0;
        for (place, sample) in self.occupancy.iter().enumerate() {
            if sample.day_number < next_day && place + 1 != self.occupancy.len() {
                continue;
            }
            next_day = (sample.day_number / 365 + 1) * 365;
            let mut row = vec![sample.day.clone()];
            row.extend(shown.iter().map(|class| bytes(held(sample, class))));
            row.push(bytes(sample.restored_copies_bytes));
            row.push(sample.keys_needed.to_string());
            rows.push(row);
        }
        rows
    }

    fn move_rows(&self) -> Vec<Vec<String>> {
        let header = ["from", "to", "objects", "bytes"].map(str::to_owned);
        std::iter::once(header.to_vec())
            .chain(self.moves.iter().map(|moved| {
                vec![
                    moved.from.to_owned(),
                    moved.to.to_owned(),
                    moved.objects.to_string(),
                    bytes(moved.bytes),
                ]
            }))
            .collect()
    }

    fn restore_rows(&self) -> Vec<Vec<String>> {
        let header = [
            "class", "tier", "restored", "p50", "p95", "max", "renewed", "409", "503", "400",
        ]
        .map(str::to_owned);
        std::iter::once(header.to_vec())
            .chain(self.restores.iter().map(|waits| {
                vec![
                    waits.class.to_owned(),
                    waits.tier.to_owned(),
                    waits.restored.to_string(),
                    time(waits.p50_seconds),
                    time(waits.p95_seconds),
                    time(waits.max_seconds),
                    waits.renewed.to_string(),
                    waits.in_progress.to_string(),
                    waits.expedited_unavailable.to_string(),
                    waits.not_offered.to_string(),
                ]
            }))
            .collect()
    }

    fn key_rows(&self) -> Vec<Vec<String>> {
        let header = ["key", "objects", "first day", "last day", "at the end"].map(str::to_owned);
        std::iter::once(header.to_vec())
            .chain(self.keys.iter().take(KEYS_LISTED_MAX).map(|key| {
                vec![
                    key.key.clone(),
                    key.objects.to_string(),
                    key.first_day.clone(),
                    key.last_day
                        .clone()
                        .unwrap_or_else(|| "still needed".to_owned()),
                    key.objects_at_end.to_string(),
                ]
            }))
            .collect()
    }
}

pub(super) fn held(sample: &OccupancySample, class: &str) -> u64 {
    sample
        .classes
        .iter()
        .find(|held| held.class == class)
        .map_or(0, |held| held.bytes)
}

/// A table: the first column to the left, the others to the right.
fn section(text: &mut String, title: &str, rows: &[Vec<String>]) {
    let _ = writeln!(text, "\n{title}");
    if rows.len() < 2 {
        text.push_str("  nothing\n");
        return;
    }
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                if column == 0 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        let _ = writeln!(text, "  {}", cells.join("  ").trim_end());
    }
}

/// Bytes to three digits, in powers of a thousand.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1_000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1_000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let digits = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A time to the next smaller unit.
pub(super) fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.00 kB"),
            (9_995, "10.0 kB"),
            (99_949, "99.9 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (1_234_567_890, "1.23 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn times_have_two_units() {
        for (seconds, text) in [
            (59, "59 s"),
            (60, "1 min 00 s"),
            (3_599, "59 min 59 s"),
            (18_000, "5 h 00 min"),
            (90_000, "1 d 01 h"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }
}
