//! Text that others wrote, made safe for a terminal.

/// The text with whatever a terminal would obey or show in another order written out, as `\u{9b}`:
/// control characters, which begin escape sequences too, and those that set the direction of text
/// (Unicode Standard Annex #9, section 2).
///
/// A line that has passed is one line.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || sets_direction(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn sets_direction(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out_and_all_else_stays() {
        for (text, safe) in [
            ("\u{9b}2J", "\\u{9b}2J"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\u{7f}\u{8}b", "a\\u{7f}\\u{8}b"),
            ("one\r\ntwo\t", "one\\u{d}\\u{a}two\\u{9}"),
            ("\u{61c}\u{200e}\u{200f}", "\\u{61c}\\u{200e}\\u{200f}"),
            ("\u{202a}\u{202e}7 30", "\\u{202a}\\u{202e}7 30"),
            ("\u{2066}\u{2069}", "\\u{2066}\\u{2069}"),
            ("Zoë שלום 日本 \"\\", "Zoë שלום 日本 \"\\"),
        ] {
            assert_eq!(shown(text), safe);
        }
    }
}
