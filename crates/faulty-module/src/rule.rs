//! What is to go wrong, and when.

use std::fmt;
use std::str::FromStr;

use cryptoki_sys::CK_RV;

/// What befalls a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// It answers this return value and does nothing.
    Answer(CK_RV),
    /// It does what it should, and then answers this return value.
    AnswerLate(CK_RV),
    /// Where it does not succeed, it answers this return value instead of its own.
    FailWith(CK_RV),
    /// It takes so many milliseconds longer.
    Delay(u64),
    /// It never returns.
    Hang,
    /// The process dies before anything is done.
    Crash,
    /// The process dies after it is done, before it is answered.
    CrashLate,
    /// From then on every function of this process answers `CKR_DEVICE_ERROR`, until the module
    /// is initialised anew: what the client of a remote module does once its server was away.
    Disconnect,
    /// When asked for the length of an output, it says so many bytes more than there will be.
    Overstate(u64),
    /// When asked for the length of an output, it says so many bytes fewer than there will be.
    Understate(u64),
    /// It says that it has given so many bytes more than it has.
    Lengthen(u64),
    /// It says that it has given so many bytes fewer than it has.
    Shorten(u64),
    /// One bit of its output, counted from the first and around, is the other way.
    Corrupt(u64),
}

impl Act {
    /// Whether it befalls a call that gives out bytes (`Some(false)`), or only asks for their
    /// length (`Some(true)`), or one that does neither (`None`).
    pub(crate) fn befalls(self, asks_length: Option<bool>) -> bool {
        match self {
            Self::Overstate(_) | Self::Understate(_) => asks_length == Some(true),
            Self::Lengthen(_) | Self::Shorten(_) | Self::Corrupt(_) => asks_length == Some(false),
            _ => true,
        }
    }
}

/// Something that is to go wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// The C function, such as `C_Decrypt`.
    pub function: String,
    /// So many calls that it could befall are spared first.
    pub spared: u32,
    /// So many calls it befalls.
    pub times: u32,
    /// What happens to them.
    pub act: Act,
}

impl Rule {
    /// `act` befalls the next call of `function`.
    #[must_use]
    pub fn once(function: &str, act: Act) -> Self {
        Self {
            function: function.to_owned(),
            spared: 0,
            times: 1,
            act,
        }
    }

    /// `act` befalls every call of `function`.
    #[must_use]
    pub fn always(function: &str, act: Act) -> Self {
        Self {
            times: u32::MAX,
            ..Self::once(function, act)
        }
    }

    /// The same, after `spared` calls.
    #[must_use]
    pub fn after(self, spared: u32) -> Self {
        Self { spared, ..self }
    }
}

impl fmt::Display for Rule {
    /// One line, as it lies in the directory of the rules.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, number) = match self.act {
            Act::Answer(code) => ("answer", code),
            Act::AnswerLate(code) => ("answer-late", code),
            Act::FailWith(code) => ("fail-with", code),
            Act::Delay(span_ms) => ("delay", span_ms),
            Act::Hang => ("hang", 0),
            Act::Crash => ("crash", 0),
            Act::CrashLate => ("crash-late", 0),
            Act::Disconnect => ("disconnect", 0),
            Act::Overstate(count) => ("overstate", count),
            Act::Understate(count) => ("understate", count),
            Act::Lengthen(count) => ("lengthen", count),
            Act::Shorten(count) => ("shorten", count),
            Act::Corrupt(bit) => ("corrupt", bit),
        };
        write!(
            f,
            "{} {} {} {word} {number}",
            self.function, self.spared, self.times
        )
    }
}

/// The line is none that a [`Rule`] is written as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRule;

impl FromStr for Rule {
    type Err = NoRule;

    fn from_str(line: &str) -> Result<Self, NoRule> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [function, spared, times, word, number] = words[..] else {
            return Err(NoRule);
        };
        let number = number.parse().map_err(|_| NoRule)?;
        let act = match word {
            "answer" => Act::Answer(number),
            "answer-late" => Act::AnswerLate(number),
            "fail-with" => Act::FailWith(number),
            "delay" => Act::Delay(number),
            "hang" => Act::Hang,
            "crash" => Act::Crash,
            "crash-late" => Act::CrashLate,
            "disconnect" => Act::Disconnect,
            "overstate" => Act::Overstate(number),
            "understate" => Act::Understate(number),
            "lengthen" => Act::Lengthen(number),
            "shorten" => Act::Shorten(number),
            "corrupt" => Act::Corrupt(number),
            _ => return Err(NoRule),
        };
        Ok(Self {
            function: function.to_owned(),
            spared: spared.parse().map_err(|_| NoRule)?,
            times: times.parse().map_err(|_| NoRule)?,
            act,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_as_it_was_written() {
        for act in [
            Act::Answer(48),
            Act::AnswerLate(5),
            Act::FailWith(48),
            Act::Delay(20),
            Act::Hang,
            Act::Crash,
            Act::CrashLate,
            Act::Disconnect,
            Act::Overstate(8),
            Act::Understate(1),
            Act::Lengthen(3),
            Act::Shorten(2),
            Act::Corrupt(77),
        ] {
            for rule in [
                Rule::once("C_Sign", act).after(3),
                Rule::always("C_Decrypt", act),
            ] {
                assert_eq!(rule.to_string().parse(), Ok(rule));
            }
        }
        for line in ["", "C_Sign", "C_Sign 0 1 dance 0", "C_Sign 0 -1 hang 0"] {
            assert_eq!(line.parse::<Rule>(), Err(NoRule));
        }
    }
}
