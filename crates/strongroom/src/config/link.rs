//! The settings of the link between a store and a key daemon, at either end.

use std::net::IpAddr;
use std::time::Duration;

use http::Uri;
use strongroom_keys::StoreName;

use super::read::Values;
use super::setting::CUSTODY;
use super::{CustodySettings, LinkSettings, TlsFiles};

const OF_CUSTODY: [&str; 3] = [
    "custody.tls_ca",
    "custody.tls_certificate",
    "custody.tls_private_key",
];
const OF_LINK: [&str; 5] = [
    "link.listen",
    "link.tls_certificate",
    "link.tls_private_key",
    "link.tls_client_ca",
    "link.stores",
];
const OF_TOKEN: [&str; 8] = [
    "token.module",
    "token.label",
    "token.pin_file",
    "token.environment",
    "second_token.module",
    "second_token.label",
    "second_token.pin_file",
    "second_token.environment",
];

/// The key daemon of a store; `None` where something is missing.
pub(super) fn custody(values: &Values) -> Option<CustodySettings> {
    let span = |name: &str| values.number(name).map(Duration::from_millis);
    let urls: Option<Vec<Uri>> = values
        .list(CUSTODY)
        .iter()
        .map(|url| address(url))
        .collect();
    Some(CustodySettings {
        urls: urls?,
        ca: values.path("custody.tls_ca")?,
        tls: files(values, "custody")?,
        call_time_max: span("custody.call_timeout_ms")?,
        silence_max: span("custody.silence_ms_max")?,
        decision_age_max: span("custody.decision_ms_max")?,
    })
}

/// The link of a key daemon; `None` where it has none.
pub(super) fn settings(values: &Values) -> Option<LinkSettings> {
    let stores: Result<Vec<StoreName>, _> = values
        .list("link.stores")
        .iter()
        .map(|name| name.parse())
        .collect();
    Some(LinkSettings {
        listen: values.address("link.listen")?,
        tls: files(values, "link")?,
        client_ca: values.path("link.tls_client_ca")?,
        stores: stores.ok()?,
    })
}

fn files(values: &Values, table: &str) -> Option<TlsFiles> {
    Some(TlsFiles {
        certificate: values.path(&format!("{table}.tls_certificate"))?,
        private_key: values.path(&format!("{table}.tls_private_key"))?,
    })
}

/// An address of a link: `https://HOST:PORT` and nothing more.
fn address(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let is_address = url.scheme_str() == Some("https")
        && url.port_u16().is_some()
        && url.path() == "/"
        && url.query().is_none()
        && !text.contains('@');
    is_address.then_some(url)
}

/// Finds what each setting for itself does not show.
pub(super) fn cross_check(values: &Values, fault: &mut impl FnMut(&str, String)) {
    let is_there = |name: &&str| values.place(name).is_some();
    if is_there(&CUSTODY) {
        for missing in OF_CUSTODY.iter().filter(|name| !is_there(name)) {
            fault(
                CUSTODY,
                format!("a store apart from its keys needs `{missing}` as well"),
            );
        }
        for given in OF_TOKEN
            .iter()
            .chain(&OF_LINK)
            .filter(|name| is_there(name))
        {
            fault(
                given,
                format!(
                    "`{given}` is for whoever has a token: with `{CUSTODY}` there is none here"
                ),
            );
        }
        for url in values.list(CUSTODY) {
            if address(&url).is_none() {
                fault(
                    CUSTODY,
                    format!(
                        "`{CUSTODY}` takes addresses such as https://keyd.example:9101, not {url:?}"
                    ),
                );
            }
        }
        let [call, silence] = ["custody.call_timeout_ms", "custody.silence_ms_max"];
        if let (Some(call_ms), Some(silence_ms)) = (values.number(call), values.number(silence))
            && silence_ms < 3 * call_ms
        {
            let given = if is_there(&silence) { silence } else { call };
            fault(
                given,
                format!(
                    "`{silence}` ({silence_ms}) is less than three times `{call}` ({call_ms}): a \
                     lost answer would not leave the time to ask elsewhere"
                ),
            );
        }
    } else if let Some(given) = OF_CUSTODY.iter().find(|name| is_there(name)) {
        fault(given, format!("`{given}` needs `{CUSTODY}` as well"));
    }
    if let Some(given) = OF_LINK.iter().find(|name| is_there(name)) {
        for missing in OF_LINK.iter().filter(|name| !is_there(name)) {
            fault(given, format!("a link needs `{missing}` as well"));
        }
    }
    for name in values.list("link.stores") {
        if name.parse::<StoreName>().is_err() {
            let what = if name.parse::<IpAddr>().is_ok() {
                "not an address"
            } else {
                "in lower case"
            };
            fault(
                "link.stores",
                format!(
                    "`link.stores` takes DNS names such as store-1.example, {what}, not {name:?}"
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::super::{Config, read::Fault};

    const COMMON: &str = "data_dir = \"data\"\napi.admin_token_file = \"admin.token\"\n";
    const TOKEN: &str = "[token]\nmodule = \"m.so\"\nlabel = \"l\"\npin_file = \"pin\"\n";
    const CUSTODY: &str = "custody = { urls = [\"https://a.example:9101\", \"https://b.example:9101\"], tls_ca = \"ca\", tls_certificate = \"c\", tls_private_key = \"k\" }\n";
    const LINK: &str = "link = { listen = \"127.0.0.1:0\", tls_certificate = \"c\", tls_private_key = \"k\", tls_client_ca = \"ca\", stores = [\"one.example\"] }\n";

    fn parse(text: &str) -> Result<Config, Vec<Fault>> {
        Config::parse(text, Path::new("/etc/strongroom"), &BTreeMap::new())
    }

    #[test]
    fn a_store_apart_needs_no_token_and_a_link_goes_with_one() {
        let store = parse(&format!("{CUSTODY}{COMMON}")).expect("valid");
        assert!(store.token.is_none() && store.token().is_err());
        let custody = store.custody.expect("it is there");
        assert_eq!(custody.urls.len(), 2);
        assert_eq!(custody.silence_max.as_secs(), 10);
        assert_eq!(custody.tls.private_key, Path::new("/etc/strongroom/k"));
        let keyd = parse(&format!("{LINK}{COMMON}{TOKEN}")).expect("valid");
        let link = keyd.link.expect("it is there");
        assert_eq!(link.stores.len(), 1);
        assert!(keyd.token.is_some() && keyd.custody.is_none());
        let plain = parse(&format!("{COMMON}{TOKEN}")).expect("valid");
        assert!(plain.link.is_none() && plain.custody.is_none());
    }

    #[test]
    fn what_does_not_go_together_is_named_with_its_line() {
        let of_custody =
            |change: (&str, &str)| format!("{}{COMMON}", CUSTODY.replace(change.0, change.1));
        let of_link =
            |change: (&str, &str)| format!("{}{COMMON}{TOKEN}", LINK.replace(change.0, change.1));
        for (wrong, told) in [
            (
                of_custody(("tls_ca = \"ca\", ", "")),
                "needs `custody.tls_ca` as well",
            ),
            (of_custody(("urls = ", "url = ")), "is not a setting"),
            (
                of_custody(("https://a", "http://a")),
                "takes addresses such as https://",
            ),
            (
                of_custody((":9101\"", "\"")),
                "takes addresses such as https://",
            ),
            (
                of_custody((":9101\"", ":9101/x\"")),
                "takes addresses such as https://",
            ),
            (
                of_custody(("urls", "silence_ms_max = 5000, urls")),
                "less than three times",
            ),
            (format!("{}{COMMON}{TOKEN}", CUSTODY), "there is none here"),
            (
                format!("custody.tls_ca = \"ca\"\n{COMMON}{TOKEN}"),
                "needs `custody.urls`",
            ),
            (
                of_link(("stores = [\"one.example\"]", "stores = [\"One\"]")),
                "in lower case",
            ),
            (
                of_link(("stores = [\"one.example\"]", "stores = [\"10.0.0.1\"]")),
                "not an address",
            ),
            (
                of_link((", tls_client_ca = \"ca\"", "")),
                "needs `link.tls_client_ca`",
            ),
        ] {
            let faults = parse(&wrong).expect_err(&wrong);
            let fault = faults.iter().find(|fault| fault.message.contains(told));
            let fault = fault.unwrap_or_else(|| panic!("{told} is not in {faults:?}"));
            let place = fault.place.as_deref().expect("a line");
            assert!(place.starts_with("line "), "{fault:?}");
        }
    }
}
