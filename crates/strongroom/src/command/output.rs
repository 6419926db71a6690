//! How commands print what they found: a table for people, JSON for programs.

use serde_json::Value;

/// Prints JSON for programs, or a table with these columns for people.
///
/// A column is a heading and the member of each row that stands under it; a dot goes down.
pub(crate) fn rows(json: bool, whole: &Value, rows: &[Value], columns: &[(&str, &str)]) {
    if json {
        println!("{whole:#}");
    } else {
        print!("{}", table(rows, columns));
    }
}

/// Prints JSON for programs, or the lines for people.
pub(crate) fn lines(json: bool, whole: &Value, lines: &[String]) {
    if json {
        println!("{whole:#}");
    } else {
        for line in lines {
            println!("{line}");
        }
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
                        Some(Value::String(text)) => text.clone(),
                        Some(other) => other.to_string(),
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
    }
}
