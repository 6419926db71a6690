//! The compact dates of the signature.

use ::time::{Date, Month, PrimitiveDateTime, Time};
use strongroom_environment::Timestamp;

/// A moment as `YYYYMMDDTHHMMSSZ`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AmzDate {
    printed: String,
    moment: Timestamp,
}

impl AmzDate {
    /// Reads the compact form of ISO 8601.
    pub(crate) fn parse(text: &str) -> Option<Self> {
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
    pub(crate) fn as_str(&self) -> &str {
        &self.printed
    }

    /// The day, `YYYYMMDD`.
    pub(crate) fn day(&self) -> &str {
        &self.printed[..8]
    }

    /// The moment.
    pub(crate) fn moment(&self) -> Timestamp {
        self.moment
    }
}

/// A moment as error answers print it: `2026-01-01T00:00:00Z`.
pub(crate) fn iso_seconds(moment: Timestamp) -> String {
    let utc = moment.to_utc();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        utc.year(),
        u8::from(utc.month()),
        utc.day(),
        utc.hour(),
        utc.minute(),
        utc.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compact_date_is_read_and_nothing_else() {
        let date = AmzDate::parse("20260101T000001Z").unwrap();
        assert_eq!(date.day(), "20260101");
        assert_eq!(iso_seconds(date.moment()), "2026-01-01T00:00:01Z");
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
