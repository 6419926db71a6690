//! The steps of the lifecycle, each one compare-and-set change that may be repeated.

mod due;
mod restore;
mod transition;

use crate::history::{Found, History};
use crate::rows::{Content, Parts, PayloadRow, WholePart};
use crate::store::Inner;
use crate::{StoreError, VersionName};

/// A version that is not a delete marker, and what it holds.
pub(crate) struct Held {
    history: History,
    found: Found,
    pub(crate) content: Content,
}

impl Inner {
    /// A version by its name; `None` when it is gone or a delete marker.
    pub(crate) async fn held(&self, name: &VersionName) -> Result<Option<Held>, StoreError> {
        let Some((history, found)) = self.find_named(name).await? else {
            return Ok(None);
        };
        Ok(found.row.content.clone().map(|content| Held {
            history,
            found,
            content,
        }))
    }
}

impl Held {
    /// Writes the version with another content.
    pub(crate) fn rewrite(
        &self,
        change: &mut crate::change::Change<'_>,
        name: &VersionName,
        after: Content,
    ) {
        if after.class != self.content.class {
            change.record(name, &after);
        }
        let row = crate::rows::VersionRow {
            content: Some(after),
            ..self.found.row.clone()
        };
        self.history.rewrite(change, name, &self.found, row);
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
