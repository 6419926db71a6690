//! The compact dates of a signature.

use ::time::{Date, Month, PrimitiveDateTime, Time};
use strongroom_environment::Timestamp;

/// A moment as `YYYYMMDDTHHMMSSZ`, which `X-Amz-Date` carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AmzDate {
    printed: String,
    moment: Timestamp,
}

impl AmzDate {
    /// Reads the compact form of ISO 8601; `None` when the text is not exactly that.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
            return None;
        }
        let number = |range: std::ops::Range<usize>| -> Option<u16> {
            let digits = text.get(range)?;
            digits
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| digits.parse().ok())?
        };
        let small = |range| number(range).and_then(|number| u8::try_from(number).ok());
        let date = Date::from_calendar_date(
            i32::from(number(0..4)?),
            Month::try_from(small(4..6)?).ok()?,
            small(6..8)?,
        )
        .ok()?;
        let time = Time::from_hms(small(9..11)?, small(11..13)?, small(13..15)?).ok()?;
        Some(Self {
            printed: text.to_owned(),
            moment: PrimitiveDateTime::new(date, time).assume_utc().into(),
        })
    }

    /// As it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.printed
    }

    /// The day, `YYYYMMDD`, which the scope of the signature repeats.
    #[must_use]
    pub fn day(&self) -> &str {
        &self.printed[..8]
    }

    /// The moment.
    #[must_use]
    pub fn moment(&self) -> Timestamp {
        self.moment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compact_date_is_read_and_nothing_else() {
        let date = AmzDate::parse("20260101T000001Z").unwrap();
        assert_eq!(date.day(), "20260101");
        assert_eq!(date.moment(), Timestamp::from_seconds(1_767_225_601));
        for bad in [
            "",
            "20260101",
            "20260101T000001",
            "20261301T000001Z",
            "20260230T000001Z",
            "20260101T240000Z",
            "2026-1-1T00:0:1Z",
            "+0260101T000001Z",
            "２0260101T0001Z",
        ] {
            assert_eq!(AmzDate::parse(bad), None, "{bad}");
        }
    }
}
