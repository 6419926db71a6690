//! The encryption context: what a ciphertext is bound to besides its key.

use std::collections::BTreeMap;

use crate::caller::StoreName;
use crate::error::KeyError;

/// Pairs of names and values that must be given again, exactly, to decrypt.
///
/// They are not secret: they stand in the audit log in clear. Order does not matter, case does.
/// Source: AWS KMS Developer Guide, "Encryption context".
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EncryptionContext(BTreeMap<String, String>);

impl EncryptionContext {
    /// The longest context in its canonical form, in bytes.
    ///
    /// With it, an entry of the audit log stays shorter than 65,535 bytes, however its names and
    /// values have to be escaped.
    pub const LEN_BYTES_MAX: usize = 4_096;

    /// What the service itself adds begins with this; a caller may not.
    pub(crate) const OWN_PREFIX: &'static str = "strongroom:";

    /// Under this name stands the store apart that had something sealed.
    const STORE: &'static str = "strongroom:store";

    /// No pairs.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// A context of these pairs. Of two with the same name the later one stays.
    ///
    /// # Errors
    /// [`KeyError::InvalidContext`]: a name is empty or one that the service reserves for itself,
    /// or the whole is too long.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, KeyError> {
        let context = Self(pairs.into_iter().collect());
        match context.broken_rule() {
            Some(rule) => Err(KeyError::InvalidContext { rule }),
            None => Ok(context),
        }
    }

    /// A context that a store apart sends: what its caller gave, what the store added, and the name
    /// of the store. So nothing that one store had sealed opens for another, whatever keys both may
    /// use.
    ///
    /// # Errors
    /// [`KeyError::InvalidContext`]: a name is empty, or is the one for the store; or the whole is
    /// longer than a caller's context with what a store adds to it.
    pub fn of_store(
        pairs: impl IntoIterator<Item = (String, String)>,
        store: &StoreName,
    ) -> Result<Self, KeyError> {
        let context = Self(pairs.into_iter().collect());
        let rule = if context.0.keys().any(String::is_empty) {
            "a name in an encryption context is not empty"
        } else if context.has(Self::STORE) {
            "a store does not say itself which store it is"
        } else if context.canonical_len_bytes() > 2 * Self::LEN_BYTES_MAX {
            "the encryption context of a store is at most 8192 bytes long"
        } else {
            return Ok(context.with(Self::STORE, store.to_string()));
        };
        Err(KeyError::InvalidContext { rule })
    }

    /// What makes this a context that no caller can have given.
    fn broken_rule(&self) -> Option<&'static str> {
        if self.0.keys().any(String::is_empty) {
            return Some("a name in an encryption context is not empty");
        }
        if self.0.keys().any(|name| name.starts_with(Self::OWN_PREFIX)) {
            return Some("a name in an encryption context does not begin with strongroom:");
        }
        if self.canonical_len_bytes() > Self::LEN_BYTES_MAX {
            return Some("an encryption context is at most 4096 bytes long");
        }
        None
    }

    /// Whether there are no pairs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs, ordered by name.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The pairs that are not the service's own, as policies and grants see them.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs()
            .filter(|(name, _)| !name.starts_with(Self::OWN_PREFIX))
    }

    pub(crate) fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// This context and a pair of the service's own.
    pub(crate) fn with(mut self, name: &str, value: String) -> Self {
        self.0.insert(name.into(), value);
        self
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn canonical_len_bytes(&self) -> usize {
        self.0
            .iter()
            .map(|(name, value)| 4 + name.len() + value.len())
            .sum()
    }

    /// The one form in bytes of this context: for each pair, in the byte order of the names, the
    /// name and the value, each after its length as two bytes, high byte first.
    pub(crate) fn to_canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.canonical_len_bytes());
        for text in self.0.iter().flat_map(|(name, value)| [name, value]) {
            let len_bytes = u16::try_from(text.len()).expect("a checked context is short");
            bytes.extend_from_slice(&len_bytes.to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }

    /// Reads the canonical form of a context that a caller gave. `None` for anything else.
    pub(crate) fn from_canonical(mut bytes: &[u8]) -> Option<Self> {
        fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
            let (len_bytes, rest) = bytes.split_first_chunk::<2>()?;
            let (text, rest) =
                rest.split_at_checked(usize::from(u16::from_be_bytes(*len_bytes)))?;
            *bytes = rest;
            std::str::from_utf8(text).ok()
        }
        if bytes.len() > Self::LEN_BYTES_MAX {
            return None;
        }
        let whole = bytes;
        let mut pairs = BTreeMap::new();
        while !bytes.is_empty() {
            pairs.insert(take(&mut bytes)?.to_owned(), take(&mut bytes)?.to_owned());
        }
        let context = Self(pairs);
        // Names out of order or twice are another form of the same context, and not ours.
        let is_ours = context.to_canonical() == whole && context.broken_rule().is_none();
        is_ours.then_some(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
        EncryptionContext::new(
            pairs
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into())),
        )
        .expect("a sound context")
    }

    #[test]
    fn order_does_not_matter_and_case_does() {
        let one = context(&[("a", "1"), ("b", "2")]);
        assert_eq!(
            one.to_canonical(),
            context(&[("b", "2"), ("a", "1")]).to_canonical()
        );
        assert_ne!(
            one.to_canonical(),
            context(&[("A", "1"), ("b", "2")]).to_canonical()
        );
    }

    #[test]
    fn no_pair_can_pass_for_two_others() {
        assert_ne!(
            context(&[("ab", "c")]).to_canonical(),
            context(&[("a", "bc")]).to_canonical()
        );
    }

    #[test]
    fn bounds_and_reserved_names_are_refused() {
        for pairs in [
            vec![("strongroom:binding".to_owned(), "x".to_owned())],
            vec![(String::new(), "x".to_owned())],
            vec![("a".to_owned(), "x".repeat(EncryptionContext::LEN_BYTES_MAX))],
            vec![("a".to_owned(), "x".repeat(70_000))],
        ] {
            assert!(matches!(
                EncryptionContext::new(pairs),
                Err(KeyError::InvalidContext { .. })
            ));
        }
    }

    #[test]
    fn a_context_of_a_store_is_bound_to_the_store() {
        let pairs = |name: &str| [(name.to_owned(), "x".to_owned())];
        let stores = ["one.example", "two.example"].map(|name| name.parse().expect("a name"));
        let of = |store| EncryptionContext::of_store(pairs("strongroom:object"), store);
        let contexts = [&stores[0], &stores[1]].map(|store| of(store).expect("a sound context"));
        assert_ne!(contexts[0].to_canonical(), contexts[1].to_canonical());
        assert!(contexts[0].has("strongroom:object") && contexts[0].given().next().is_none());
        let long = [(
            "a".to_owned(),
            "x".repeat(2 * EncryptionContext::LEN_BYTES_MAX),
        )];
        for wrong in [pairs(""), pairs("strongroom:store"), long] {
            let made = EncryptionContext::of_store(wrong, &stores[0]);
            assert!(matches!(made, Err(KeyError::InvalidContext { .. })));
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_comes_back(pairs in proptest::collection::btree_map("[^\\PC]{1,20}|a.{0,9}", ".{0,20}", 0..8)) {
            let context = EncryptionContext(pairs);
            prop_assert_eq!(EncryptionContext::from_canonical(&context.to_canonical()), Some(context));
        }

        #[test]
        fn only_the_canonical_form_is_read(bytes in proptest::collection::vec(0_u8..4, 0..40)) {
            if let Some(context) = EncryptionContext::from_canonical(&bytes) {
                prop_assert_eq!(context.to_canonical(), bytes);
            }
        }
    }
}
