//! Dates as HTTP and the XML of the protocol write them.

use strongroom_environment::Timestamp;
pub(crate) use strongroom_lifecycle::http_date;
use time::format_description::well_known::Rfc2822;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

/// Reads an HTTP date in one of its three forms; `None` for anything else, which RFC 9110 has a
/// server ignore.
pub(crate) fn parse_http_date(text: &str) -> Option<Timestamp> {
    let obsolete = format_description!(
        "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
    );
    OffsetDateTime::parse(&text.replace("GMT", "+0000"), &Rfc2822)
        .ok()
        .or_else(|| {
            PrimitiveDateTime::parse(text, &obsolete)
                .ok()
                .map(PrimitiveDateTime::assume_utc)
        })
        .map(Timestamp::from)
}

/// A moment as the XML of the protocol writes it: RFC 3339 with milliseconds.
pub(crate) fn xml_date(moment: Timestamp) -> String {
    let utc = moment.to_utc();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        utc.year(),
        u8::from(utc.month()),
        utc.day(),
        utc.hour(),
        utc.minute(),
        utc.second(),
        utc.millisecond()
    )
}

/// A moment as refusals of a signature print it: `2026-01-01T00:00:00Z`.
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
    fn dates_are_written_and_read() {
        let moment = Timestamp::from_micros(1_767_225_601_234_567);
        assert_eq!(http_date(moment), "Thu, 01 Jan 2026 00:00:01 GMT");
        assert_eq!(xml_date(moment), "2026-01-01T00:00:01.234Z");
        let second = Timestamp::from_seconds(1_767_225_601);
        for text in [
            "Thu, 01 Jan 2026 00:00:01 GMT",
            "Thu, 1 Jan 2026 00:00:01 GMT",
            "Thu Jan  1 00:00:01 2026",
        ] {
            assert_eq!(parse_http_date(text), Some(second), "{text}");
        }
        for bad in [
            "",
            "yesterday",
            "2026-01-01T00:00:01Z",
            "Thu, 41 Jan 2026 00:00:01 GMT",
        ] {
            assert_eq!(parse_http_date(bad), None, "{bad}");
        }
    }
}
