//! Restores: an archived version is given a warm copy for a while.

use strongroom_environment::Timestamp;
use strongroom_keys::Caller;

use super::{unless_damaged, whole_of};
use crate::change::Change;
use crate::multipart::close::put_segments;
use crate::payload::{WarmCopy, sealed_payload, segments_of};
use crate::rows::{Content, GarbageBlobs, Part, Parts, PayloadRow, PendingRow, encode, keys};
use crate::store::Inner;
use crate::{
    ExpiredRestore, OpenRestore, RestoreBegun, RestoreChange, RestoreRequest, RestoreState, Store,
    StoreError, VersionName, VersionSelector,
};

impl Store {
    /// Asks for a warm copy of an archived version. No key is needed.
    ///
    /// While a restore is under way it may be asked for again in a faster tier; once there is a
    /// copy, asking gives its time a new end.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::NoSuchKey`], [`StoreError::NoSuchVersion`],
    /// [`StoreError::IsDeleteMarker`], [`StoreError::NotArchived`],
    /// [`StoreError::RestoreInProgress`], and those of the machine.
    pub async fn begin_restore(
        &self,
        request: RestoreRequest,
        _caller: &Caller,
    ) -> Result<RestoreBegun, StoreError> {
        let inner = &*self.inner;
        let object = &request.object;
        let mut attempts = inner.attempts(&object.bucket, object.key.as_str());
        loop {
            // Says what is wrong with the request, if the version is not one to restore.
            let readable = inner.readable(object).await?;
            let name = VersionName {
                bucket: object.bucket.clone(),
                key: object.key.clone(),
                version: readable.version.version,
            };
            let Some(held) = inner.held(&name).await? else {
                return Err(match object.version {
                    VersionSelector::Current => StoreError::NoSuchKey {
                        delete_marker: None,
                    },
                    _ => StoreError::NoSuchVersion,
                });
            };
            let class = held.content.class;
            if !class.is_archived() {
                return Err(StoreError::NotArchived { class });
            }
            let now = inner.clock.now();
            let mut after = (*held.content).clone();
            let mut change = Change::new(inner);
            let begun = match held.content.restore {
                Some(RestoreState::Restored { until }) if now < until => {
                    let renewed = request.until_if_restored;
                    change
                        .batch
                        .delete(keys::RESTORE_ENDS, keys::restore_end(until, &name));
                    change.batch.put(
                        keys::RESTORE_ENDS,
                        keys::restore_end(renewed, &name),
                        encode(&PendingRow),
                    );
                    after.restore = Some(RestoreState::Restored { until: renewed });
                    Begun::AlreadyRestored(renewed)
                }
                Some(RestoreState::InProgress { tier, .. }) if request.tier <= tier => {
                    return Err(StoreError::RestoreInProgress);
                }
                Some(RestoreState::InProgress {
                    requested, days, ..
                }) => {
                    after.restore = Some(RestoreState::InProgress {
                        requested,
                        days,
                        tier: request.tier,
                    });
                    Begun::Upgraded
                }
                before => {
                    if let Some(RestoreState::Restored { until }) = before {
                        // Its time is over, and the copy has not been taken away yet.
                        change
                            .batch
                            .delete(keys::RESTORE_ENDS, keys::restore_end(until, &name));
                    }
                    change.release(&held.content).await?;
                    after.restore = Some(RestoreState::InProgress {
                        requested: now,
                        days: request.days,
                        tier: request.tier,
                    });
                    if !after.holds_warm() {
                        after.whole = None;
                    }
                    change.hold(&after).await?;
                    change
                        .batch
                        .put(keys::RESTORES, keys::named(&name), encode(&PendingRow));
                    Begun::Started
                }
            };
            // What is told of the restore is read before the commit: after it, nothing may fail any
            // more.
            let open = match begun {
                Begun::AlreadyRestored(_) => None,
                Begun::Started | Begun::Upgraded => {
                    match change.payload_if_there(after.payload).await?.cloned() {
                        Some(payload) => {
                            let payload = PayloadRow {
                                is_warm: payload.is_warm && payload.holds_warm > 0,
                                ..payload
                            };
                            inner.open_restore(&name, &after, payload).await?
                        }
                        None => {
                            change.misfit = Some(format!("payload {} is gone", after.payload));
                            None
                        }
                    }
                }
            };
            held.rewrite(&mut change, &name, after);
            if !attempts.commit(change).await? {
                continue;
            }
            return Ok(match (begun, open) {
                (Begun::AlreadyRestored(until), _) => RestoreBegun::AlreadyRestored { until },
                (Begun::Upgraded, Some(open)) => RestoreBegun::Upgraded(open),
                (Begun::Started, Some(open)) => RestoreBegun::Started(open),
                (_, None) => return Err(StoreError::NoSuchVersion),
            });
        }
    }

    /// Restores under way, by name, after `after`.
    ///
    /// # Errors
    /// Those of the machine.
    pub async fn open_restores(
        &self,
        after: Option<&VersionName>,
        limit: usize,
    ) -> Result<Vec<OpenRestore>, StoreError> {
        let inner = &*self.inner;
        let mut restores = Vec::new();
        let mut after = after.cloned();
        // A page is full unless it is the last, although some that wait may be left out.
        while restores.len() < limit {
            let left = limit - restores.len();
            let names = inner.waiting(keys::RESTORES, after.as_ref(), left).await?;
            let Some(last) = names.last() else {
                break;
            };
            after = Some(last.clone());
            for name in names {
                let open = inner.open_restore_of(&name).await;
                restores.extend(unless_damaged(&name, open)?);
            }
        }
        Ok(restores)
    }

    /// Says that the warm copy of a version that is being restored is there until `until`.
    ///
    /// `warm` is what [`Store::write_warm_copy`] gave; it may be nothing when the payload has a
    /// warm copy already. A copy that is not needed, because there is one or because the restore is
    /// over, is deleted here.
    ///
    /// # Errors
    /// [`StoreError::NoSuchVersion`] when there is neither a copy in `warm` nor one of the payload;
    /// those of the machine.
    pub async fn complete_restore(
        &self,
        name: &VersionName,
        warm: Option<WarmCopy>,
        until: Timestamp,
    ) -> Result<RestoreChange, StoreError> {
        let inner = &*self.inner;
        let outcome = inner.complete_restore(name, warm.as_ref(), until).await;
        let is_used = matches!(outcome, Ok(Some(true)));
        let is_unknown = outcome
            .as_ref()
            .is_err_and(|error| !error.is_certainly_not_done());
        if let Some(warm) = warm
            && !is_used
            && !is_unknown
        {
            inner.delete_blobs(&warm.blobs).await;
        }
        Ok(match outcome? {
            Some(_) => RestoreChange::Done,
            None => RestoreChange::Superseded,
        })
    }

    /// Gives up a restore whose retrieval failed for good: the version is archived as before.
    ///
    /// # Errors
    /// Those of the machine.
    pub async fn cancel_restore(&self, name: &VersionName) -> Result<RestoreChange, StoreError> {
        self.end_restore(name, |restore| {
            matches!(restore, RestoreState::InProgress { .. })
        })
        .await
    }

    /// Takes away the copy of a restored version whose time is over.
    ///
    /// # Errors
    /// Those of the machine.
    pub async fn expire_restore(
        &self,
        expired: &ExpiredRestore,
    ) -> Result<RestoreChange, StoreError> {
        let over = RestoreState::Restored {
            until: expired.until,
        };
        self.end_restore(&expired.name, |restore| *restore == over)
            .await
    }

    async fn end_restore(
        &self,
        name: &VersionName,
        is_meant: impl Fn(&RestoreState) -> bool,
    ) -> Result<RestoreChange, StoreError> {
        let inner = &*self.inner;
        let mut attempts = inner.attempts(&name.bucket, name.key.as_str());
        loop {
            let Some(held) = inner.held(name).await? else {
                return Ok(RestoreChange::Superseded);
            };
            let Some(restore) = held.content.restore.filter(|restore| is_meant(restore)) else {
                return Ok(RestoreChange::Superseded);
            };
            let mut change = Change::new(inner);
            match restore {
                RestoreState::InProgress { .. } => {
                    change.batch.delete(keys::RESTORES, keys::named(name));
                }
                RestoreState::Restored { until } => {
                    let row_key = keys::restore_end(until, name);
                    change.batch.delete(keys::RESTORE_ENDS, row_key);
                }
            }
            let mut after = Content {
                restore: None,
                ..(*held.content).clone()
            };
            if !after.holds_warm() {
                after.whole = None;
            }
            change.release(&held.content).await?;
            change.hold(&after).await?;
            held.rewrite(&mut change, name, after);
            if attempts.commit(change).await? {
                return Ok(RestoreChange::Done);
            }
        }
    }
}

/// What a request begins.
enum Begun {
    Started,
    Upgraded,
    AlreadyRestored(Timestamp),
}

impl Inner {
    /// The restore of a version, if it is there and one is under way.
    async fn open_restore_of(&self, name: &VersionName) -> Result<Option<OpenRestore>, StoreError> {
        let Some(held) = self.held(name).await? else {
            return Ok(None);
        };
        match self.payload(held.content.payload).await? {
            Some(payload) => self.open_restore(name, &held.content, payload).await,
            None => Ok(None),
        }
    }

    async fn open_restore(
        &self,
        name: &VersionName,
        content: &Content,
        payload: PayloadRow,
    ) -> Result<Option<OpenRestore>, StoreError> {
        let Some(RestoreState::InProgress {
            requested,
            days,
            tier,
        }) = content.restore
        else {
            return Ok(None);
        };
        let parts = segments_of(self, content.payload, &payload).await?;
        Ok(Some(OpenRestore {
            name: name.clone(),
            class: content.class,
            payload: sealed_payload(content.payload, &parts)?,
            has_warm_copy: payload.is_warm,
            cold: payload.cold,
            requested,
            days,
            tier,
        }))
    }

    /// Whether the restore was completed, and if so whether `warm` was used for it.
    async fn complete_restore(
        &self,
        name: &VersionName,
        warm: Option<&WarmCopy>,
        until: Timestamp,
    ) -> Result<Option<bool>, StoreError> {
        let mut attempts = self.attempts(&name.bucket, name.key.as_str());
        loop {
            let Some(held) = self.held(name).await? else {
                return Ok(None);
            };
            if !matches!(held.content.restore, Some(RestoreState::InProgress { .. })) {
                return Ok(None);
            }
            let id = held.content.payload;
            let Some(row) = self.payload(id).await? else {
                return Ok(None);
            };
            let parts = segments_of(self, id, &row).await?;
            let mut change = Change::new(self);
            change.release(&held.content).await?;
            let Some(payload) = change.payload_if_there(id).await? else {
                return Ok(None);
            };
            let is_used = !payload.is_warm;
            let mut segments = None;
            if is_used {
                let warm = warm
                    .filter(|warm| warm.payload == id && warm.blobs.len() == parts.len())
                    .ok_or(StoreError::NoSuchVersion)?;
                segments = put_warm(payload, warm, parts);
            }
            let mut after = Content {
                restore: Some(RestoreState::Restored { until }),
                ..(*held.content).clone()
            };
            after.whole = whole_of(payload);
            if let Some((copy, parts)) = segments {
                let stale = GarbageBlobs::Copy {
                    copy: copy.wrapping_sub(1),
                    segments: segment_count(payload),
                };
                put_segments(&mut change, id, copy, &parts);
                change.discard(id, stale);
            }
            change.hold(&after).await?;
            change.batch.delete(keys::RESTORES, keys::named(name));
            change.batch.put(
                keys::RESTORE_ENDS,
                keys::restore_end(until, name),
                encode(&PendingRow),
            );
            held.rewrite(&mut change, name, after);
            if attempts.commit(change).await? {
                return Ok(Some(is_used));
            }
        }
    }
}

/// Puts a new warm copy into the row of a payload. Segments to write, and the number of the copy
/// that they belong to, are given back where there are several parts.
fn put_warm(
    payload: &mut PayloadRow,
    warm: &WarmCopy,
    parts: Vec<Part>,
) -> Option<(u32, Vec<Part>)> {
    payload.is_warm = true;
    // A number that wraps around meets no segments of the copy it belonged to first: those were
    // deleted long before.
    payload.copy = payload.copy.wrapping_add(1);
    let parts: Vec<Part> = parts
        .into_iter()
        .zip(&warm.blobs)
        .map(|(part, blob)| Part {
            blob: blob.as_bytes().to_vec(),
            ..part
        })
        .collect();
    match (&mut payload.parts, parts.into_iter()) {
        (Parts::One(one), mut parts) => {
            if let Some(part) = parts.next() {
                *one = part;
            }
            None
        }
        (Parts::Segments(_), parts) => Some((payload.copy, parts.collect())),
    }
}

fn segment_count(payload: &PayloadRow) -> u16 {
    match &payload.parts {
        Parts::One(_) => 0,
        Parts::Segments(indexes) => u16::try_from(indexes.len()).unwrap_or(u16::MAX),
    }
}
