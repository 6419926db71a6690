//! Reads a configuration file and the environment into checked values, collecting every fault.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::setting::{Kind, SETTINGS, Setting};

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// `line 7`, or the environment variable; nothing for what is missing altogether.
    pub(crate) place: Option<String>,
    /// What is wrong and what would be right.
    pub(crate) message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// The checked value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Path(PathBuf),
    Address(SocketAddr),
    Switch(bool),
    Number(u64),
    List(Vec<String>),
}

/// All settings that have a value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values(BTreeMap<&'static str, Placed>);

/// A value, and where it came from; `None` when it is the default.
#[derive(Clone, Debug)]
struct Placed {
    value: Value,
    place: Option<String>,
}

impl Values {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).map(|placed| &placed.value)
    }

    fn set(&mut self, name: &'static str, value: Value, place: Option<String>) {
        self.0.insert(name, Placed { value, place });
    }

    /// Where the value of a setting was given: a line, or a variable.
    pub(crate) fn place(&self, name: &str) -> Option<String> {
        self.0.get(name).and_then(|placed| placed.place.clone())
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        match self.get(name) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        match self.get(name) {
            Some(Value::Path(path)) => Some(path.clone()),
            _ => None,
        }
    }

    pub(crate) fn address(&self, name: &str) -> Option<SocketAddr> {
        match self.get(name) {
            Some(Value::Address(address)) => Some(*address),
            _ => None,
        }
    }

    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        match self.get(name) {
            Some(Value::Switch(switch)) => Some(*switch),
            _ => None,
        }
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            Some(Value::List(list)) => list.clone(),
            _ => Vec::new(),
        }
    }
}

/// Reads the text of a configuration file and an environment over it.
///
/// `base` is the directory that relative paths are taken from.
///
/// What is right is given together with every fault there is, in the order of the file, then of the
/// environment, then what is missing.
pub(crate) fn read(
    text: &str,
    base: &Path,
    environment: &BTreeMap<String, String>,
) -> (Values, Vec<Fault>) {
    let mut faults = Vec::new();
    let mut values = Values::default();
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        faults.push(Fault {
            place: error.span().map(|span| line_of(text, span.start)),
            message: error.message().to_owned(),
        });
    }
    read_table(text, base, "", table.get_ref(), &mut values, &mut faults);
    read_environment(base, environment, &mut values, &mut faults);
    for setting in SETTINGS {
        if values.get(setting.name).is_some() {
            continue;
        }
        if let Some(default) = setting.default {
            match from_text(setting, base, default) {
                Ok(value) => values.set(setting.name, value, None),
                Err(message) => faults.push(Fault {
                    place: None,
                    message,
                }),
            }
        } else if setting
            .unless
            .is_some_and(|other| values.get(other).is_some())
        {
            // The other one stands in its place.
        } else if setting.required && faults.is_empty() {
            faults.push(missing(setting));
        } else if setting.required {
            // A setting that is there but wrong has its own fault; it is not missing as well.
            let named = faults
                .iter()
                .any(|fault| fault.message.starts_with(&format!("`{}`", setting.name)));
            if !named {
                faults.push(missing(setting));
            }
        }
    }
    (values, faults)
}

fn missing(setting: &Setting) -> Fault {
    Fault {
        place: None,
        message: format!(
            "`{}` is missing: {} Set it in the file or as {}.",
            setting.name,
            setting.meaning,
            setting.variable()
        ),
    }
}

fn read_table(
    text: &str,
    base: &Path,
    prefix: &str,
    table: &DeTable<'_>,
    values: &mut Values,
    faults: &mut Vec<Fault>,
) {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let name = if prefix.is_empty() {
            key.get_ref().to_string()
        } else {
            format!("{prefix}.{}", key.get_ref())
        };
        let place = Some(line_of(text, key.span().start));
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) {
            match from_toml(setting, base, value) {
                Ok(value) => values.set(setting.name, value, place),
                Err(message) => faults.push(Fault { place, message }),
            }
            continue;
        }
        let inner = format!("{name}.");
        let is_table = SETTINGS
            .iter()
            .any(|setting| setting.name.starts_with(&inner));
        match (value.get_ref(), is_table) {
            (DeValue::Table(table), true) => read_table(text, base, &name, table, values, faults),
            (_, true) => faults.push(Fault {
                place,
                message: format!("`{name}` is a table of settings; write `[{name}]`"),
            }),
            (_, false) => faults.push(Fault {
                place,
                message: match nearest(&name) {
                    Some(near) => {
                        format!("`{name}` is not a setting; the nearest one is `{near}`")
                    }
                    None => format!("`{name}` is not a setting"),
                },
            }),
        }
    }
}

fn read_environment(
    base: &Path,
    environment: &BTreeMap<String, String>,
    values: &mut Values,
    faults: &mut Vec<Fault>,
) {
    for setting in SETTINGS {
        let variable = setting.variable();
        if let Some(text) = environment.get(&variable) {
            match from_text(setting, base, text) {
                Ok(value) => values.set(setting.name, value, Some(variable)),
                Err(message) => faults.push(Fault {
                    place: Some(variable),
                    message,
                }),
            }
        }
    }
}

fn from_toml(
    setting: &Setting,
    base: &Path,
    value: &Spanned<DeValue<'_>>,
) -> Result<Value, String> {
    let wrong = |expected: &str| {
        format!(
            "`{}` takes {expected}, not {} {}",
            setting.name,
            article(value.get_ref().type_str()),
            value.get_ref().type_str()
        )
    };
    match (setting.kind, value.get_ref()) {
        (Kind::Switch, DeValue::Boolean(switch)) => Ok(Value::Switch(*switch)),
        (Kind::Switch, _) => Err(wrong("true or false")),
        (Kind::Number(..), DeValue::Integer(number)) => {
            from_text(setting, base, &number.to_string())
        }
        (Kind::Number(..), _) => Err(wrong("a whole number")),
        (Kind::List, DeValue::Array(items)) => items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) => Ok(text.to_string()),
                _ => Err(format!("`{}` takes a list of texts", setting.name)),
            })
            .collect::<Result<_, _>>()
            .map(Value::List),
        (Kind::List, _) => Err(wrong("a list of texts")),
        (_, DeValue::String(text)) => from_text(setting, base, text),
        (_, _) => Err(wrong("a text")),
    }
}

fn from_text(setting: &Setting, base: &Path, text: &str) -> Result<Value, String> {
    let name = setting.name;
    match setting.kind {
        _ if text.is_empty() => Err(format!("`{name}` is empty")),
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Path => Ok(Value::Path(base.join(text))),
        Kind::Address => text.parse().map(Value::Address).map_err(|_| {
            format!("`{name}` takes ADDRESS:PORT such as 127.0.0.1:9000, not {text:?}")
        }),
        Kind::Switch => match text {
            "true" => Ok(Value::Switch(true)),
            "false" => Ok(Value::Switch(false)),
            _ => Err(format!("`{name}` takes true or false, not {text:?}")),
        },
        Kind::Number(least, most) => match text.replace('_', "").parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(Value::Number(number)),
            _ => Err(format!(
                "`{name}` takes a whole number from {least} to {most}, not {text}"
            )),
        },
        Kind::Word(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
        Kind::Word(words) => Err(format!(
            "`{name}` takes one of {}, not {text:?}",
            words.join(", ")
        )),
        Kind::List => Ok(Value::List(
            text.split(',').map(|item| item.trim().to_owned()).collect(),
        )),
    }
}

/// `line 7`, counted from 1, for a place in the text.
fn line_of(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    format!("line {}", before.matches('\n').count() + 1)
}

fn article(word: &str) -> &'static str {
    match word.chars().next() {
        Some('a' | 'e' | 'i' | 'o' | 'u') => "an",
        _ => "a",
    }
}

/// The setting whose name differs least, when it differs by little.
fn nearest(name: &str) -> Option<&'static str> {
    SETTINGS
        .iter()
        .map(|setting| (distance(name, setting.name), setting.name))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, name)| name)
}

/// How many letters must be added, left out or changed to get from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (place, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = place + 1;
        for column in 0..other.len() {
            let changed = diagonal + usize::from(letter != other[column]);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
data_dir = "data"
[api]
admin_token_file = "admin.token"
[token]
module = "/usr/lib/softhsm/libsofthsm2.so"
label = "strongroom"
pin_file = "pin"
"#;

    fn faults(text: &str) -> Vec<String> {
        let (_, faults) = read(text, Path::new("/etc/strongroom"), &BTreeMap::new());
        faults.iter().map(Fault::to_string).collect()
    }

    #[test]
    fn the_shortest_configuration_is_whole_and_paths_are_taken_from_its_directory() {
        let (values, faults) = read(WHOLE, Path::new("/etc/strongroom"), &BTreeMap::new());
        assert_eq!(faults, []);
        assert_eq!(values.path("data_dir"), Some("/etc/strongroom/data".into()));
        assert_eq!(
            values.path("token.module"),
            Some("/usr/lib/softhsm/libsofthsm2.so".into())
        );
        assert_eq!(values.address("s3.listen"), "127.0.0.1:9000".parse().ok());
        assert_eq!(values.number("keys.bucket_key_age_s_max"), Some(300));
    }

    #[test]
    fn every_fault_is_named_with_its_line() {
        let text = format!(
            "{WHOLE}\n[s3]\nlisten = \"nowhere\"\nlissten = \"127.0.0.1:1\"\n[audit]\ndurability = \"maybe\"\npublish_interval_ms = 5\n"
        );
        assert_eq!(
            faults(&text),
            [
                "line 11: `s3.listen` takes ADDRESS:PORT such as 127.0.0.1:9000, not \"nowhere\"",
                "line 12: `s3.lissten` is not a setting; the nearest one is `s3.listen`",
                "line 14: `audit.durability` takes one of process, sync, not \"maybe\"",
                "line 15: `audit.publish_interval_ms` takes a whole number from 10 to 60000, not 5",
            ]
        );
    }

    #[test]
    fn what_is_missing_and_what_is_not_toml_are_told() {
        let told = faults("data_dir = \"x\"\n");
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told[0].contains("`api.admin_token_file` is missing"));
        assert!(told[0].contains("STRONGROOM_API_ADMIN_TOKEN_FILE"));
        assert!(
            faults("data_dir = [\n")
                .iter()
                .any(|told| told.starts_with("line "))
        );
    }

    #[test]
    fn the_environment_overrides_the_file_and_is_checked_too() {
        let environment =
            |value: &str| BTreeMap::from([("STRONGROOM_S3_LISTEN".to_owned(), value.to_owned())]);
        let (values, faults) = read(WHOLE, Path::new("."), &environment("[::1]:9"));
        assert_eq!(faults, []);
        assert_eq!(
            values.place("s3.listen").as_deref(),
            Some("STRONGROOM_S3_LISTEN")
        );
        assert_eq!(values.place("data_dir").as_deref(), Some("line 2"));
        assert_eq!(values.address("s3.listen"), "[::1]:9".parse().ok());
        let (_, faults) = read(WHOLE, Path::new("."), &environment("x"));
        assert_eq!(faults[0].place.as_deref(), Some("STRONGROOM_S3_LISTEN"));
    }
}
