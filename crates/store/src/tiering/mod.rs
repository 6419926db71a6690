//! The steps of the lifecycle, each one compare-and-set change that may be repeated.

mod due;
mod restore;
mod transition;

use strongroom_keys::KeyEnvelope;
use strongroom_meta::ReadError;

use crate::history::{Found, History};
use crate::rows::{Content, Parts, PayloadRow, WholePart, keys};
use crate::store::Inner;
use crate::{StoreError, VersionName};

/// A version that is not a delete marker, and what it holds.
pub(crate) struct Held {
    history: History,
    /// The version but for its content.
    found: Found,
    pub(crate) content: Box<Content>,
}

impl Inner {
    /// A version by its name; `None` when it is gone or a delete marker.
    pub(crate) async fn held(&self, name: &VersionName) -> Result<Option<Held>, StoreError> {
        let history = self.history(&name.bucket, &name.key).await?;
        self.held_in(history, name).await
    }

    async fn held_in(
        &self,
        mut history: History,
        name: &VersionName,
    ) -> Result<Option<Held>, StoreError> {
        let (found, content) = match history.take_current(name.version) {
            Some(current) => current,
            None => match self.find_in(&history, name).await? {
                Some(mut found) => {
                    let content = found.row.content.take();
                    (found, content)
                }
                None => return Ok(None),
            },
        };
        Ok(content.map(|content| Held {
            history,
            found,
            content,
        }))
    }

    /// Versions by their names, each as [`Inner::held`] gives it. The rows of their objects are read
    /// together.
    pub(crate) async fn held_each(
        &self,
        names: &[VersionName],
    ) -> Result<Vec<Result<Option<Held>, StoreError>>, StoreError> {
        let row_key = |name: &VersionName| keys::object(&name.bucket, name.key.as_str());
        let row_keys = names.iter().map(row_key).collect();
        let mut each = Vec::with_capacity(names.len());
        let rows = match self.meta.get_each(keys::OBJECTS, row_keys).await {
            Ok(rows) => rows,
            Err(ReadError::Corrupt { .. }) => {
                // Which one it is shows when they are read one by one.
                for name in names {
                    each.push(self.held(name).await);
                }
                return Ok(each);
            }
            Err(error) => return Err(error.into()),
        };
        for (name, row) in names.iter().zip(rows) {
            each.push(match History::of(row_key(name), row) {
                Ok(history) => self.held_in(history, name).await,
                Err(damaged) => Err(damaged),
            });
        }
        Ok(each)
    }
}

impl Held {
    /// Writes the version with another content.
    pub(crate) fn rewrite(
        mut self,
        change: &mut crate::change::Change<'_>,
        name: &VersionName,
        after: Content,
    ) {
        if after.class != self.content.class {
            change.record(name, &after);
        }
        self.found.row.content = Some(Box::new(after));
        self.history.rewrite(change, name, self.found);
    }

    /// Writes the version with its data key in another envelope, and the ledger with it.
    pub(crate) fn rewrap(
        mut self,
        change: &mut crate::change::Change<'_>,
        name: &VersionName,
        envelope: KeyEnvelope,
    ) {
        let before = std::mem::replace(&mut self.content.envelope, envelope);
        change.rewrapped(name, &before, &self.content);
        self.found.row.content = Some(self.content);
        self.history.rewrite(change, name, self.found);
    }
}

/// What was found of a version, in a walk over many. One that is damaged is logged and left out, so
/// that it keeps no other from being looked after.
fn unless_damaged<T>(
    name: &VersionName,
    found: Result<Option<T>, StoreError>,
) -> Result<Option<T>, StoreError> {
    match found {
        Err(StoreError::Damaged { what }) => {
            tracing::error!(version = %name, what, "a version that is damaged is passed over");
            metrics::counter!("strongroom_damaged_versions_passed_over_total").increment(1);
            Ok(None)
        }
        found => found,
    }
}

/// The only part of a payload, for a version that holds its warm copy.
fn whole_of(payload: &PayloadRow) -> Option<WholePart> {
    match &payload.parts {
        Parts::One(part) if payload.is_warm => Some(WholePart {
            part: part.id,
            blob: part.blob.clone(),
        }),
        _ => None,
    }
}
