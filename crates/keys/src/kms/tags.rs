//! Tags of KMS keys.

use std::collections::BTreeMap;

use data_encoding::BASE64URL_NOPAD;
use strongroom_meta::{Batch, Scan};

use super::access::Wish;
use super::{Kms, Page};
use crate::arn::{KeyId, KeyReference};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::rows::{self, KEY_TAGS, KeyRow, Read, RowFormat as _, TagRow, tag_key};

/// Names with values that a key carries, each name once. They are not secret.
///
/// Source: AWS KMS API Reference, `Tag`; AWS General Reference, "Tagging your AWS resources".
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    /// The longest name, in characters.
    pub const KEY_CHARS_MAX: usize = 128;
    /// The longest value, in characters.
    pub const VALUE_CHARS_MAX: usize = 256;

    /// Checks names and values.
    ///
    /// # Errors
    /// [`KeyError::InvalidRequest`]: one is too long, or a name is empty.
    /// [`KeyError::InvalidTag`]: a name comes twice or begins with `aws:`.
    /// [`KeyError::LimitExceeded`]: there are more than a key may have.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, KeyError> {
        let mut tags = BTreeMap::new();
        for (key, value) in pairs {
            check_name(&key)?;
            if value.chars().count() > Self::VALUE_CHARS_MAX {
                return Err(KeyError::InvalidRequest {
                    rule: "the value of a tag has at most 256 characters",
                });
            }
            if tags.insert(key, value).is_some() {
                return Err(KeyError::InvalidTag {
                    rule: "a tag key is named once",
                });
            }
        }
        check_count(tags.len())?;
        Ok(Self(tags))
    }

    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn put(&self, batch: &mut Batch, key: KeyId) {
        for (name, value) in self.iter() {
            let row = TagRow {
                value: value.to_owned(),
            };
            batch.put(KEY_TAGS, tag_key(key, name), row.encode());
        }
    }

    /// The names, for an entry of the log: with the values it might be longer than one can be.
    pub(super) fn named(&self) -> serde_json::Value {
        serde_json::json!({ "tags": self.names() })
    }

    pub(super) fn names(&self) -> serde_json::Value {
        self.0.keys().cloned().collect()
    }
}

fn check_name(name: &str) -> Result<(), KeyError> {
    if !(1..=Tags::KEY_CHARS_MAX).contains(&name.chars().count()) {
        return Err(KeyError::InvalidRequest {
            rule: "a tag key has 1 to 128 characters",
        });
    }
    if name
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
    {
        return Err(KeyError::InvalidTag {
            rule: "a tag key does not begin with aws:",
        });
    }
    Ok(())
}

fn check_count(count: usize) -> Result<(), KeyError> {
    if count > Kms::TAGS_MAX {
        return Err(KeyError::LimitExceeded {
            limit: "a key has at most 50 tags",
        });
    }
    Ok(())
}

impl Kms {
    /// The most tags of a key.
    ///
    /// Source: AWS KMS Developer Guide, "Tags in AWS KMS".
    pub const TAGS_MAX: usize = 50;

    /// Gives a key tags. A tag that it has already gets the new value.
    ///
    /// Source: AWS KMS API Reference, TagResource.
    ///
    /// # Errors
    /// [`KeyError::LimitExceeded`]: it would have more than 50. [`KeyError::NoSuchKey`],
    /// [`KeyError::NoSuchAlias`], [`KeyError::PendingDeletion`], [`KeyError::ManagedByService`],
    /// [`KeyError::AuditUnavailable`], [`KeyError::NotCommitted`].
    pub async fn tag_key(
        &self,
        reference: &KeyReference,
        tags: &Tags,
        caller: &Caller,
    ) -> Result<(), KeyError> {
        let _alone = self.administration.lock().await;
        let wish = Wish::to("TagResource")
            .reference(reference)
            .with_all("aws:TagKeys", tags.0.keys().cloned());
        let found = self.taggable(reference, &wish, caller).await;
        let entry = self
            .tag_entry("tag-key", reference, found.as_ref().ok())
            .detail(tags.named());
        let prepared = async {
            let (id, read) = found?;
            let mut names: Vec<String> = self.tag_names(id).await?;
            names.extend(tags.0.keys().cloned());
            names.sort_unstable();
            names.dedup();
            check_count(names.len())?;
            let mut batch = Batch::new();
            Self::put_key(&mut batch, id, &read, &read.row);
            tags.put(&mut batch, id);
            Ok(batch)
        }
        .await;
        self.journal
            .change(&*self.meta, caller, entry, prepared)
            .await
    }

    /// Takes tags from a key. To name one that it does not have is no error.
    ///
    /// Source: AWS KMS API Reference, UntagResource.
    ///
    /// # Errors
    /// [`KeyError::InvalidRequest`], [`KeyError::InvalidTag`]: there can be no such tags.
    /// [`KeyError::LimitExceeded`]: they are more than a key can have. And as for
    /// [`Kms::tag_key`].
    pub async fn untag_key(
        &self,
        reference: &KeyReference,
        names: &[String],
        caller: &Caller,
    ) -> Result<(), KeyError> {
        let pairs = names.iter().map(|name| (name.clone(), String::new()));
        let named = Tags::new(pairs);
        let _alone = self.administration.lock().await;
        let wish = Wish::to("UntagResource")
            .reference(reference)
            .with_all("aws:TagKeys", names.iter().cloned());
        let found = self.taggable(reference, &wish, caller).await;
        let mut entry = self.tag_entry("untag-key", reference, found.as_ref().ok());
        if let Ok(named) = &named {
            entry = entry.detail(named.named());
        }
        let prepared = async {
            let named = named?;
            let (id, read) = found?;
            let mut batch = Batch::new();
            Self::put_key(&mut batch, id, &read, &read.row);
            for (name, _) in named.iter() {
                batch.delete(KEY_TAGS, tag_key(id, name));
            }
            Ok(batch)
        }
        .await;
        self.journal
            .change(&*self.meta, caller, entry, prepared)
            .await
    }

    /// The tags of a key in the order of their names. A `marker` is the `next` of the page before.
    ///
    /// Source: AWS KMS API Reference, ListResourceTags.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`]; [`KeyError::InvalidReference`]: no page
    /// was ever followed by that marker. [`KeyError::Metadata`], [`KeyError::Damaged`].
    pub async fn list_tags(
        &self,
        reference: &KeyReference,
        marker: Option<&str>,
        limit: usize,
    ) -> Result<Page<(String, String)>, KeyError> {
        let limit = limit.clamp(1, Self::PAGE_MAX);
        let (id, _) = self.find(reference).await?;
        let mut start = id.as_bytes().to_vec();
        if let Some(marker) = marker {
            let name = BASE64URL_NOPAD.decode(marker.as_bytes());
            start.extend(name.map_err(|_| KeyError::InvalidReference {
                rule: "a marker is one that a page of the same list gave",
            })?);
        }
        let scan = Scan::within(id.as_bytes(), start, limit + 1);
        let mut items = Vec::new();
        for found in self.meta.scan(KEY_TAGS, scan).await? {
            let row: TagRow = rows::decoded(KEY_TAGS, &found.row.value)?;
            items.push((name_of(id, &found.key)?, row.value));
        }
        // One row more than asked for: its name is where the next page begins.
        let next = (items.len() > limit)
            .then(|| items.pop())
            .flatten()
            .map(|(name, _)| BASE64URL_NOPAD.encode(name.as_bytes()));
        Ok(Page { items, next })
    }

    /// The row of a key whose tags may be changed. It is written again with them, so that of two
    /// who change them at once one reads them anew.
    async fn taggable(
        &self,
        reference: &KeyReference,
        wish: &Wish<'_>,
        caller: &Caller,
    ) -> Result<(KeyId, Read<KeyRow>), KeyError> {
        let (id, read) = self.find(reference).await?;
        self.check_manager(id, &read.row)?;
        self.authorize(id, wish, caller).await?;
        self.check_not_pending(id, &read.row)?;
        Ok((id, read))
    }

    fn tag_entry(
        &self,
        act: &'static str,
        reference: &KeyReference,
        found: Option<&(KeyId, Read<KeyRow>)>,
    ) -> Entry<'static> {
        let named = match found {
            Some((id, _)) => KeyNamed::kms(&self.home.arn(*id)),
            None => KeyNamed::reference(reference),
        };
        Entry::new(Event::KeyAdministration, act).key(named)
    }

    async fn tag_names(&self, id: KeyId) -> Result<Vec<String>, KeyError> {
        let scan = Scan::prefix(id.as_bytes(), Self::TAGS_MAX + 1);
        let found = self.meta.scan(KEY_TAGS, scan).await?;
        found.iter().map(|found| name_of(id, &found.key)).collect()
    }
}

fn name_of(id: KeyId, row_key: &[u8]) -> Result<String, KeyError> {
    row_key
        .get(id.as_bytes().len()..)
        .and_then(|name| std::str::from_utf8(name).ok())
        .map(ToOwned::to_owned)
        .ok_or(KeyError::Damaged {
            table: KEY_TAGS.name(),
            what: "a row is not under the key of a tag",
        })
}
