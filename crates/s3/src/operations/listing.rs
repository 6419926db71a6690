//! What the listings have in common.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::address::{Query, percent_encode};
use crate::refusal::{Outcome, Refusal};
use crate::xml::Writer;

/// Reading and writing pages.
pub(super) struct Page;

impl Page {
    /// How many entries a page may have at most.
    pub(super) fn limit(query: &Query, name: &'static str, most: usize) -> Outcome<usize> {
        let Some(text) = query.get(name)? else {
            return Ok(most);
        };
        let fault = |message: String| Refusal::argument(message, name, text);
        let number: i32 = text.parse().map_err(|_| {
            fault(format!(
                "Provided {name} not an integer or within integer range"
            ))
        })?;
        usize::try_from(number)
            .map(|limit| limit.min(most))
            .map_err(|_| {
                fault(format!(
                    "Argument {name} must be an integer between 0 and 2147483647"
                ))
            })
    }

    /// A continuation token: where the next page begins, in a form that no client takes apart.
    pub(super) fn seal_token(place: &str) -> String {
        URL_SAFE_NO_PAD.encode(format!("1{place}"))
    }

    /// Takes back [`Page::seal_token`]; `None` for what it did not make.
    pub(super) fn open_token(token: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        text.strip_prefix('1').map(str::to_owned)
    }
}

/// How names are written: as they are, or percent-encoded where the client asks for it, since XML
/// cannot carry every character.
#[derive(Clone, Copy)]
pub(super) struct Encoding {
    is_url: bool,
}

impl Encoding {
    pub(super) fn of(query: &Query) -> Outcome<Self> {
        match query.get("encoding-type")? {
            None | Some("") => Ok(Self { is_url: false }),
            Some("url") => Ok(Self { is_url: true }),
            Some(other) => Err(Refusal::argument(
                "Invalid Encoding Method specified in Request",
                "encoding-type",
                other,
            )),
        }
    }

    /// An element that holds a name.
    pub(super) fn name(self, xml: &mut Writer, element: &str, name: &str) {
        if self.is_url {
            xml.text(element, &percent_encode(name));
        } else {
            xml.text(element, name);
        }
    }

    /// An element that holds a name, if there is one.
    pub(super) fn optional(self, xml: &mut Writer, element: &str, name: Option<&str>) {
        if let Some(name) = name {
            self.name(xml, element, name);
        }
    }

    /// The element that says so.
    pub(super) fn write(self, xml: &mut Writer) {
        if self.is_url {
            xml.text("EncodingType", "url");
        }
    }

    /// Common prefixes, each in its element.
    pub(super) fn common_prefixes(self, xml: &mut Writer, prefixes: &[String]) {
        for prefix in prefixes {
            xml.element("CommonPrefixes", |xml| self.name(xml, "Prefix", prefix));
        }
    }
}

/// A delimiter that is empty is none.
pub(super) fn delimiter(query: &Query) -> Outcome<Option<String>> {
    Ok(query
        .get("delimiter")?
        .filter(|delimiter| !delimiter.is_empty())
        .map(str::to_owned))
}

/// A parameter that is empty is absent.
pub(super) fn text(query: &Query, name: &'static str) -> Outcome<Option<String>> {
    Ok(query
        .get(name)?
        .filter(|text| !text.is_empty())
        .map(str::to_owned))
}

/// Who owns everything: the account.
pub(super) struct OwnerElement<'a>(pub(super) &'a str);

impl OwnerElement<'_> {
    pub(super) fn write(&self, xml: &mut Writer, name: &'static str) {
        xml.element(name, |xml| {
            xml.text("ID", self.0).text("DisplayName", self.0);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Code;

    fn query(text: &str) -> Query {
        Query::of(&format!("/b?{text}").parse().unwrap()).unwrap()
    }

    #[test]
    fn a_limit_is_cut_to_what_a_page_holds() {
        for (text, expected) in [
            ("", 1000),
            ("max-keys=5", 5),
            ("max-keys=0", 0),
            ("max-keys=99999", 1000),
        ] {
            assert_eq!(
                Page::limit(&query(text), "max-keys", 1000).unwrap(),
                expected
            );
        }
        for bad in ["-1", "x", "1.5", "", "2147483648", "12abc"] {
            let refused =
                Page::limit(&query(&format!("max-keys={bad}")), "max-keys", 1000).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{bad}");
            assert_eq!(refused.value_of("ArgumentName"), Some("max-keys"));
            assert_eq!(refused.value_of("ArgumentValue"), Some(bad));
        }
    }

    #[test]
    fn a_token_is_taken_back_and_no_other_is() {
        let token = Page::seal_token("photos/ä&b");
        assert_eq!(Page::open_token(&token).as_deref(), Some("photos/ä&b"));
        for bad in [
            "",
            "photos/a",
            "!!!",
            "MA",
            &URL_SAFE_NO_PAD.encode([b'1', 0xff]),
        ] {
            assert_eq!(Page::open_token(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_are_encoded_on_demand_only() {
        let mut xml = Writer::document("R", None);
        Encoding::of(&query("encoding-type=url"))
            .unwrap()
            .name(&mut xml, "Key", "a b&");
        Encoding::of(&query(""))
            .unwrap()
            .name(&mut xml, "Key", "a b&");
        let text = String::from_utf8(xml.finish()).unwrap();
        assert!(
            text.ends_with("<R><Key>a%20b%26</Key><Key>a b&amp;</Key></R>"),
            "{text}"
        );
        assert!(Encoding::of(&query("encoding-type=base64")).is_err());
    }
}
