//! The conditions of a statement.
//!
//! Source: AWS IAM User Guide, "IAM JSON policy elements: Condition operators" and "Set operators
//! for multivalued context keys".

use std::cmp::Ordering;
use std::net::IpAddr;

use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;

use super::facts::Facts;
use super::pattern;

/// One line of a condition block: an operator, the key it looks at, and the values it compares with.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    quantifier: Quantifier,
    if_exists: bool,
    negated: bool,
    key: String,
    wanted: Vec<Wanted>,
}

/// Over which of several values of a key the operator goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Quantifier {
    Single,
    ForAllValues,
    ForAnyValue,
}

/// A value of the policy, ready to be compared.
#[derive(Clone, Debug)]
enum Wanted {
    Text(String),
    TextIgnoringCase(String),
    Pattern(String),
    Number(Vec<Ordering>, f64),
    /// Seconds since 1970.
    Date(Vec<Ordering>, f64),
    Truth(bool),
    /// An address and how many leading bits of it count.
    Network(IpAddr, u8),
    /// An ARN whose six parts are compared each by itself.
    Arn(String),
    Absent(bool),
}

impl Condition {
    /// Reads a line. The error says which rule it breaks.
    pub(super) fn parse(operator: &str, key: &str, values: &[String]) -> Result<Self, String> {
        let (quantifier, rest) = match operator.split_once(':') {
            None => (Quantifier::Single, operator),
            Some(("ForAllValues", rest)) => (Quantifier::ForAllValues, rest),
            Some(("ForAnyValue", rest)) => (Quantifier::ForAnyValue, rest),
            Some(_) => return Err(format!("{operator} is not a condition operator")),
        };
        let (name, if_exists) = match rest.strip_suffix("IfExists") {
            Some(name) if name != "Null" => (name, true),
            _ => (rest, false),
        };
        if key.is_empty() {
            return Err("a condition names a key".into());
        }
        if values.is_empty() {
            return Err(format!("{operator} on {key} compares with nothing"));
        }
        let mut wanted = Vec::with_capacity(values.len());
        let mut negated = false;
        for value in values {
            let (is_negated, value) = reader(name, value)
                .ok_or_else(|| format!("{operator} is not a condition operator"))?;
            negated = is_negated;
            wanted.push(value.ok_or_else(|| {
                format!("a value of {operator} on {key} is not one that it compares")
            })?);
        }
        Ok(Self {
            quantifier,
            if_exists,
            negated,
            key: key.to_owned(),
            wanted,
        })
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether a request meets this condition.
    pub(super) fn is_met(&self, facts: &Facts<'_>) -> bool {
        let found = facts.get(&self.key);
        if let [Wanted::Absent(absent), ..] = self.wanted[..] {
            return found.is_empty() == absent;
        }
        if found.is_empty() {
            return match self.quantifier {
                Quantifier::ForAllValues => true,
                Quantifier::ForAnyValue => self.if_exists,
                Quantifier::Single => self.if_exists || self.negated,
            };
        }
        let holds =
            |actual: &String| self.wanted.iter().any(|wanted| wanted.is(actual)) != self.negated;
        match self.quantifier {
            Quantifier::ForAllValues => found.iter().all(holds),
            Quantifier::ForAnyValue => found.iter().any(holds),
            // A negated operator wants none of several values to be the one it names.
            Quantifier::Single if self.negated => found.iter().all(holds),
            Quantifier::Single => found.iter().any(holds),
        }
    }
}

/// Whether the operator of that name is a negated one, and `value` as it compares it; `None` for no
/// operator, and for a value that it does not compare.
fn reader(name: &str, value: &str) -> Option<(bool, Option<Wanted>)> {
    use Ordering::{Equal, Greater, Less};
    let text = || value.to_owned();
    let (kind, relation) = ["String", "Numeric", "Date", "Arn"]
        .iter()
        .find_map(|kind| Some((*kind, name.strip_prefix(kind)?)))
        .unwrap_or((name, ""));
    let orders = |relation: &str| {
        Some(match relation {
            "Equals" | "NotEquals" => vec![Equal],
            "LessThan" => vec![Less],
            "LessThanEquals" => vec![Less, Equal],
            "GreaterThan" => vec![Greater],
            "GreaterThanEquals" => vec![Greater, Equal],
            _ => return None,
        })
    };
    Some(match (kind, relation) {
        ("String", "Equals") => (false, Some(Wanted::Text(text()))),
        ("String", "NotEquals") => (true, Some(Wanted::Text(text()))),
        ("String", "EqualsIgnoreCase") => {
            (false, Some(Wanted::TextIgnoringCase(value.to_lowercase())))
        }
        ("String", "NotEqualsIgnoreCase") => {
            (true, Some(Wanted::TextIgnoringCase(value.to_lowercase())))
        }
        ("String", "Like") => (false, Some(Wanted::Pattern(text()))),
        ("String", "NotLike") => (true, Some(Wanted::Pattern(text()))),
        ("Numeric", relation) => {
            let number = number(value);
            let orders = orders(relation)?;
            (
                relation == "NotEquals",
                number.map(|number| Wanted::Number(orders, number)),
            )
        }
        ("Date", relation) => {
            let date = seconds(value);
            let orders = orders(relation)?;
            (
                relation == "NotEquals",
                date.map(|date| Wanted::Date(orders, date)),
            )
        }
        ("Arn", "Equals" | "Like") => (false, arn(value)),
        ("Arn", "NotEquals" | "NotLike") => (true, arn(value)),
        ("Bool", "") => (false, truth(value).map(Wanted::Truth)),
        ("BinaryEquals", "") => (false, Some(Wanted::Text(text()))),
        ("IpAddress", "") => (false, network(value)),
        ("NotIpAddress", "") => (true, network(value)),
        ("Null", "") => (false, truth(value).map(Wanted::Absent)),
        _ => return None,
    })
}

impl Wanted {
    fn is(&self, actual: &str) -> bool {
        match self {
            Self::Text(text) => text == actual,
            Self::TextIgnoringCase(text) => *text == actual.to_lowercase(),
            Self::Pattern(pattern) => pattern::matches(pattern, actual),
            Self::Number(orders, wanted) => is_ordered(number(actual), *wanted, orders),
            Self::Date(orders, wanted) => is_ordered(seconds(actual), *wanted, orders),
            Self::Truth(wanted) => truth(actual) == Some(*wanted),
            Self::Network(network, bits) => actual
                .parse()
                .is_ok_and(|address| is_within(address, *network, *bits)),
            Self::Arn(wanted) => {
                let (wanted, actual) = (wanted.splitn(6, ':'), actual.splitn(6, ':'));
                let (wanted, actual): (Vec<_>, Vec<_>) = (wanted.collect(), actual.collect());
                wanted.len() == actual.len()
                    && wanted
                        .iter()
                        .zip(actual)
                        .all(|(wanted, actual)| pattern::matches(wanted, actual))
            }
            // Met or not without any value: see `Condition::is_met`.
            Self::Absent(_) => false,
        }
    }
}

fn is_ordered(actual: Option<f64>, wanted: f64, orders: &[Ordering]) -> bool {
    actual
        .and_then(|actual| actual.partial_cmp(&wanted))
        .is_some_and(|order| orders.contains(&order))
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn truth(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Seconds since 1970 of a date as W3C writes ISO 8601, or of such a number itself.
fn seconds(text: &str) -> Option<f64> {
    if let Some(number) = number(text) {
        return Some(number);
    }
    let whole = if text.len() == "2030-01-01".len() {
        &format!("{text}T00:00:00Z")
    } else {
        text
    };
    let date = OffsetDateTime::parse(whole, &Iso8601::DEFAULT).ok()?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "microseconds of any date of use are exact"
    )]
    Some((date.unix_timestamp_nanos() / 1_000) as f64 / 1e6)
}

fn arn(text: &str) -> Option<Wanted> {
    let is_arn = text == "*" || text.splitn(6, ':').count() == 6;
    is_arn.then(|| {
        Wanted::Arn(if text == "*" {
            "*:*:*:*:*:*".into()
        } else {
            text.to_owned()
        })
    })
}

fn network(text: &str) -> Option<Wanted> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) => bits.parse().ok().filter(|bits: &u8| *bits <= whole)?,
        None => whole,
    };
    Some(Wanted::Network(address, bits))
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |one: u128, other: u128, width: u32| {
        let left_out = width - u32::from(bits);
        left_out == width || one >> left_out == other >> left_out
    };
    match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            same(one.to_bits().into(), other.to_bits().into(), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => same(one.to_bits(), other.to_bits(), 128),
        _ => false,
    }
}
