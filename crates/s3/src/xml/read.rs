//! Reading XML documents: strictly, so that nothing a client asked for is passed over in silence.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

use crate::refusal::{Code, Outcome, Refusal};

/// The deepest nesting of any document of the protocol is 6.
const DEPTH_MAX: usize = 16;

/// An element of a document: its children are taken one by one, and what is left over at
/// [`Element::end`] is an error.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    name: String,
    text: String,
    children: Vec<Option<Element>>,
}

impl Element {
    /// Reads a document whose root is `root`.
    ///
    /// Attributes and namespaces are not looked at: clients leave them out or make them up.
    pub(crate) fn parse(document: &[u8], root: &str) -> Outcome<Self> {
        let element = Self::tree(document).ok_or(Code::MalformedXml)?;
        if element.name == root {
            Ok(element)
        } else {
            Err(Code::MalformedXml.into())
        }
    }

    fn tree(document: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(document).ok()?;
        let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
        reader.config_mut().expand_empty_elements = true;
        let mut open: Vec<Self> = Vec::new();
        let mut root = None;
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    if root.is_some() || open.len() == DEPTH_MAX {
                        return None;
                    }
                    open.push(Self::named(&start));
                }
                Event::End(_) => {
                    let element = open.pop()?;
                    if !element.children.is_empty() && !element.text.trim().is_empty() {
                        return None;
                    }
                    match open.last_mut() {
                        Some(parent) => parent.children.push(Some(element)),
                        None => root = Some(element),
                    }
                }
                Event::Text(text) => append(&mut open, &text.xml10_content())?,
                Event::CData(text) => append(&mut open, &text.xml10_content())?,
                Event::GeneralRef(reference) => {
                    let mut buffer = [0; 4];
                    append(&mut open, resolve(&reference)?.encode_utf8(&mut buffer))?;
                }
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                // A document type could define entities without end.
                Event::DocType(_) | Event::Empty(_) => return None,
                Event::Eof if open.is_empty() => return root,
                Event::Eof => return None,
            }
        }
    }

    fn named(start: &BytesStart<'_>) -> Self {
        Self {
            name: start.local_name().into_inner().to_owned(),
            ..Self::default()
        }
    }

    /// The child of this name, if there is one; more than one is an error.
    pub(crate) fn optional(&mut self, name: &str) -> Outcome<Option<Self>> {
        let mut found = self.all(name);
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err(Code::MalformedXml.into()),
        }
    }

    /// The child of this name.
    pub(crate) fn required(&mut self, name: &str) -> Outcome<Self> {
        self.optional(name)?
            .ok_or_else(|| Refusal::new(Code::MalformedXml))
    }

    /// All children of this name, in order.
    pub(crate) fn all(&mut self, name: &str) -> Vec<Self> {
        self.children
            .iter_mut()
            .filter(|child| child.as_ref().is_some_and(|child| child.name == name))
            .filter_map(Option::take)
            .collect()
    }

    /// The text of the child of this name, if there is one.
    pub(crate) fn optional_text(&mut self, name: &str) -> Outcome<Option<String>> {
        self.optional(name)?.map(Self::into_text).transpose()
    }

    /// The text of the child of this name.
    pub(crate) fn required_text(&mut self, name: &str) -> Outcome<String> {
        self.required(name)?.into_text()
    }

    /// What the text of the child of this name says, if there is one.
    pub(crate) fn optional_value<T: std::str::FromStr>(
        &mut self,
        name: &str,
    ) -> Outcome<Option<T>> {
        self.optional_text(name)?
            .map(|text| {
                text.trim()
                    .parse()
                    .map_err(|_| Refusal::new(Code::MalformedXml))
            })
            .transpose()
    }

    /// The text of an element that holds nothing else.
    pub(crate) fn into_text(self) -> Outcome<String> {
        if self.children.is_empty() {
            Ok(self.text)
        } else {
            Err(Code::MalformedXml.into())
        }
    }

    /// Ends the reading of an element all of whose children have been taken.
    pub(crate) fn end(self) -> Outcome<()> {
        if self.children.iter().all(Option::is_none) && self.text.trim().is_empty() {
            Ok(())
        } else {
            Err(Code::MalformedXml.into())
        }
    }
}

fn append(open: &mut [Element], text: &str) -> Option<()> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return None,
    }
    Some(())
}

fn resolve(reference: &BytesRef<'_>) -> Option<char> {
    if let Some(character) = reference.resolve_char_ref().ok()? {
        return Some(character);
    }
    match reference.as_ref() {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_child_by_child() {
        let mut root = Element::parse(
            b"<?xml version=\"1.0\"?><!-- c --><D xmlns=\"urn:x\">\n <Q>true</Q>\
              <K>a&amp;b&#x41;<![CDATA[<]]></K><O/><K>2</K></D>",
            "D",
        )
        .unwrap();
        assert_eq!(root.optional_value::<bool>("Q").unwrap(), Some(true));
        let keys: Vec<_> = root
            .all("K")
            .into_iter()
            .map(|key| key.into_text().unwrap())
            .collect();
        assert_eq!(keys, ["a&bA<", "2"]);
        assert_eq!(root.optional_text("O").unwrap().as_deref(), Some(""));
        assert_eq!(root.optional_text("Absent").unwrap(), None);
        root.end().unwrap();
    }

    #[test]
    fn what_does_not_conform_is_malformed() {
        for document in [
            &b""[..],
            b"text",
            b"<D>",
            b"<D></E>",
            b"<E></E>",
            b"<D></D><D></D>",
            b"<D></D>tail",
            b"<D>&unknown;</D>",
            b"<!DOCTYPE D [<!ENTITY a \"b\">]><D>&a;</D>",
            b"<D>mixed<A/></D>",
            b"<D>\xff</D>",
            b"<D",
        ] {
            let refused = Element::parse(document, "D").expect_err(&format!("{document:?}"));
            assert_eq!(refused.code(), Code::MalformedXml);
        }
        let deep = "<D>".repeat(40) + &"</D>".repeat(40);
        assert!(Element::parse(deep.as_bytes(), "D").is_err());
    }

    #[test]
    fn what_is_not_asked_for_is_an_error_in_the_end() {
        let root = Element::parse(b"<D><Unknown>1</Unknown></D>", "D").unwrap();
        assert!(root.end().is_err());
        let mut twice = Element::parse(b"<D><A>1</A><A>2</A></D>", "D").unwrap();
        assert!(twice.optional("A").is_err());
        let mut number = Element::parse(b"<D><A>x</A></D>", "D").unwrap();
        assert!(number.optional_value::<u32>("A").is_err());
    }
}
