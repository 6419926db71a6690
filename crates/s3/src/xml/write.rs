//! Writing XML documents.

/// The namespace of every document of the protocol.
pub(crate) const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// A document under construction.
pub(crate) struct Writer {
    bytes: Vec<u8>,
    open: Vec<&'static str>,
}

impl Writer {
    /// Begins a document with its root element.
    pub(crate) fn document(root: &'static str, namespace: Option<&str>) -> Self {
        let mut writer = Self {
            bytes: Vec::with_capacity(512),
            open: Vec::with_capacity(4),
        };
        writer.raw("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<");
        writer.raw(root);
        if let Some(namespace) = namespace {
            writer.raw(" xmlns=\"");
            writer.escaped(namespace);
            writer.raw("\"");
        }
        writer.raw(">");
        writer.open.push(root);
        writer
    }

    /// An element that holds text.
    pub(crate) fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.raw("<");
        self.raw(name);
        self.raw(">");
        self.escaped(text);
        self.raw("</");
        self.raw(name);
        self.raw(">");
        self
    }

    /// An element that holds text, if there is any.
    pub(crate) fn optional(&mut self, name: &str, text: Option<&str>) -> &mut Self {
        if let Some(text) = text {
            self.text(name, text);
        }
        self
    }

    /// An element that holds what is printed.
    pub(crate) fn display(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        self.text(name, &value.to_string())
    }

    /// An element that holds elements.
    pub(crate) fn element(
        &mut self,
        name: &'static str,
        content: impl FnOnce(&mut Self),
    ) -> &mut Self {
        self.raw("<");
        self.raw(name);
        self.raw(">");
        content(self);
        self.raw("</");
        self.raw(name);
        self.raw(">");
        self
    }

    /// Text within the element that is open.
    pub(crate) fn characters(&mut self, text: &str) -> &mut Self {
        self.escaped(text);
        self
    }

    /// Ends the document.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        while let Some(name) = self.open.pop() {
            self.raw("</");
            self.raw(name);
            self.raw(">");
        }
        self.bytes
    }

    fn raw(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.raw("&amp;"),
                '<' => self.raw("&lt;"),
                '>' => self.raw("&gt;"),
                '"' => self.raw("&quot;"),
                '\'' => self.raw("&apos;"),
                // A parser turns a bare carriage return into a line feed.
                '\r' => self.raw("&#13;"),
                // XML 1.0 has no way to carry these; a reader that sees a replacement character
                // knows to ask again with `encoding-type=url`.
                '\u{0}'..='\u{8}'
                | '\u{b}'
                | '\u{c}'
                | '\u{e}'..='\u{1f}'
                | '\u{fffe}'
                | '\u{ffff}' => self.raw("\u{fffd}"),
                _ => {
                    let mut buffer = [0; 4];
                    self.raw(character.encode_utf8(&mut buffer));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_elements_are_closed() {
        let mut xml = Writer::document("Root", Some(NAMESPACE));
        xml.element("A", |xml| {
            xml.text("B", "<&>\"'\r\u{1}é");
            xml.optional("C", None);
            xml.display("D", 7);
        });
        assert_eq!(
            String::from_utf8(xml.finish()).unwrap(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <Root xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <A><B>&lt;&amp;&gt;&quot;&apos;&#13;\u{fffd}é</B><D>7</D></A></Root>"
        );
    }
}
