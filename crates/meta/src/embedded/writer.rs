//! The one thread that writes.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};

use redb::{ReadableTable, StorageError, Table as RedbTable, WriteTransaction};
use tokio::sync::oneshot;

use super::file::{ENGINE_TABLE, REVISION_CEILING_KEY};
use super::room::Room;
use super::{Shared, definition, row, stored_name};
use crate::store::{Batch, CommitError, Expected, Revision, Table};

/// A group takes no further batch once it has this many writes or bytes, so that the first of a
/// group is not kept waiting by all that come after it.
const GROUP_WRITES_MAX: usize = 20_000;
const GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Revisions are numbered from memory; the file holds a ceiling that is raised by this many, so
/// that numbering costs no write of its own.
const REVISIONS_RESERVED: u64 = 1 << 20;

/// A batch, and where its answer goes.
pub(super) struct Request {
    pub(super) batch: Batch,
    pub(super) answer: oneshot::Sender<Result<(), CommitError>>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    room: Room,
    /// The number of the next batch's revision.
    revision_next: u64,
    /// The ceiling in the file: `revision_next` may be written while it is below.
    revision_ceiling: u64,
    /// The stored form of a row, reused from row to row.
    scratch: Vec<u8>,
}

/// What became of a batch within its transaction.
enum Verdict {
    Applied,
    Refused(CommitError),
}

/// Where a group failed. All that is not `Committing` left nothing behind.
enum GroupError {
    Before(StorageError),
    Committing(String),
}

impl<E: Into<redb::Error>> From<E> for GroupError {
    fn from(error: E) -> Self {
        Self::Before(match error.into() {
            redb::Error::Io(source) => StorageError::Io(source),
            redb::Error::Corrupted(reason) => StorageError::Corrupted(reason),
            redb::Error::PreviousIo => StorageError::PreviousIo,
            other => StorageError::Corrupted(other.to_string()),
        })
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, room: Room, revision_next: u64) -> Self {
        Self {
            shared,
            room,
            revision_next,
            revision_ceiling: revision_next,
            scratch: Vec::new(),
        }
    }

    /// Writes until the store is dropped.
    pub(super) fn run(mut self, requests: &mpsc::Receiver<Request>) {
        while let Ok(first) = requests.recv() {
            let mut writes = first.batch.writes.len();
            let mut bytes = size_bytes(&first.batch);
            let mut group = vec![first];
            while writes < GROUP_WRITES_MAX && bytes < GROUP_BYTES_MAX {
                let Ok(next) = requests.try_recv() else { break };
                writes += next.batch.writes.len();
                bytes += size_bytes(&next.batch);
                group.push(next);
            }
            self.write(group);
        }
    }

    /// Writes one group and answers all of it.
    fn write(&mut self, group: Vec<Request>) {
        if self.shared.is_stopped() {
            return refuse(group, || unavailable(super::STOPPED));
        }
        let (group, answers): (Vec<Batch>, Vec<_>) = group
            .into_iter()
            .map(|request| (request.batch, request.answer))
            .unzip();
        let mut committing = false;
        // A panic of redb ends the engine's work below, so nothing half-changed is used again.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.transact(&group, &mut committing)));
        let outcome = outcome.unwrap_or_else(|_| {
            // Whatever redb met, its state in memory is not to be trusted from here.
            self.shared.stop();
            let reason = "the file does not make sense".to_owned();
            Err(if committing {
                GroupError::Committing(reason)
            } else {
                GroupError::Before(StorageError::Corrupted(reason))
            })
        });
        match outcome {
            Ok(verdicts) => {
                for (answer, verdict) in answers.into_iter().zip(verdicts) {
                    // Whoever no longer waits does not hear it.
                    let _ = answer.send(match verdict {
                        Verdict::Applied => Ok(()),
                        Verdict::Refused(error) => Err(error),
                    });
                }
            }
            Err(error) => {
                let error = self.failed(error);
                for answer in answers {
                    let _ = answer.send(Err(error()));
                }
            }
        }
    }

    /// What everyone in a failed group is told.
    fn failed(&self, error: GroupError) -> Box<dyn Fn() -> CommitError> {
        match error {
            GroupError::Committing(reason) => {
                self.shared.stop();
                tracing::error!(reason, "a metadata commit failed; the engine has stopped");
                Box::new(move || CommitError::OutcomeUnknown {
                    reason: reason.clone(),
                })
            }
            GroupError::Before(error) => {
                // redb takes no more work after any failure of the volume. Damage of one page
                // leaves the others usable.
                if !matches!(error, StorageError::Corrupted(_)) {
                    self.shared.stop();
                }
                tracing::error!(%error, "a metadata batch could not be applied");
                let is_full = matches!(&error, StorageError::Io(source) if is_full(source));
                Box::new(move || match is_full {
                    true => CommitError::Full,
                    false => unavailable(&error.to_string()),
                })
            }
        }
    }

    /// One transaction: each batch in order, then one flush.
    fn transact(
        &mut self,
        group: &[Batch],
        committing: &mut bool,
    ) -> Result<Vec<Verdict>, GroupError> {
        let transaction = self.shared.database.begin_write()?;
        let mut budget = self.room.look();
        let mut verdicts = Vec::with_capacity(group.len());
        let mut writes = 0_u64;
        {
            let mut tables = Tables::new(&transaction);
            for batch in group {
                if !batch.writes.is_empty() && !budget.take(batch) {
                    verdicts.push(Verdict::Refused(CommitError::Full));
                    continue;
                }
                if let Some(table) = tables.first_unmet(batch)? {
                    verdicts.push(Verdict::Refused(CommitError::Conflict { table }));
                    continue;
                }
                let revision = Revision::new(self.revision_next);
                self.revision_next += 1;
                tables.apply(batch, revision, &mut self.scratch)?;
                writes += batch.writes.len() as u64;
                verdicts.push(Verdict::Applied);
            }
        }
        if writes == 0 {
            transaction.abort()?;
            return Ok(verdicts);
        }
        let mut ceiling = self.revision_ceiling;
        if self.revision_next > ceiling {
            ceiling = self.revision_next + REVISIONS_RESERVED;
            let mut engine = transaction.open_table(ENGINE_TABLE)?;
            engine.insert(REVISION_CEILING_KEY, ceiling)?;
        }
        *committing = true;
        // The commit point of every batch in the group.
        transaction
            .commit()
            .map_err(|error| GroupError::Committing(error.to_string()))?;
        self.revision_ceiling = ceiling;
        metrics::counter!("strongroom_metadata_commits_total").increment(1);
        metrics::counter!("strongroom_metadata_rows_written_total").increment(writes);
        Ok(verdicts)
    }
}

/// The tables of one transaction, each opened when it is first met.
struct Tables<'transaction> {
    transaction: &'transaction WriteTransaction,
    open: HashMap<Table, RedbTable<'transaction, &'static [u8], &'static [u8]>>,
}

impl<'transaction> Tables<'transaction> {
    fn new(transaction: &'transaction WriteTransaction) -> Self {
        Self {
            transaction,
            open: HashMap::new(),
        }
    }

    fn of(
        &mut self,
        table: Table,
    ) -> Result<&mut RedbTable<'transaction, &'static [u8], &'static [u8]>, GroupError> {
        Ok(match self.open.entry(table) {
            std::collections::hash_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                let name = stored_name(table);
                vacant.insert(self.transaction.open_table(definition(&name))?)
            }
        })
    }

    /// The table of the first expectation that does not hold.
    fn first_unmet(&mut self, batch: &Batch) -> Result<Option<Table>, GroupError> {
        for expectation in &batch.expectations {
            let rows = self.of(expectation.table)?;
            let found = rows
                .get(expectation.key.as_slice())?
                .map(|stored| row::revision(stored.value()))
                .transpose()
                .map_err(|error| StorageError::Corrupted(error.to_string()))?;
            let holds = match expectation.expected {
                Expected::Absent => found.is_none(),
                Expected::Revision(revision) => found == Some(revision),
            };
            if !holds {
                return Ok(Some(expectation.table));
            }
        }
        Ok(None)
    }

    fn apply(
        &mut self,
        batch: &Batch,
        revision: Revision,
        scratch: &mut Vec<u8>,
    ) -> Result<(), GroupError> {
        for write in &batch.writes {
            let rows = self.of(write.table)?;
            match &write.value {
                Some(value) => {
                    row::encode(write.table, &write.key, revision, value, scratch);
                    rows.insert(write.key.as_slice(), scratch.as_slice())?;
                }
                None => {
                    rows.remove(write.key.as_slice())?;
                }
            }
        }
        Ok(())
    }
}

fn refuse(group: Vec<Request>, error: impl Fn() -> CommitError) {
    for request in group {
        // Whoever no longer waits does not hear it.
        let _ = request.answer.send(Err(error()));
    }
}

fn unavailable(reason: &str) -> CommitError {
    CommitError::Unavailable {
        reason: reason.to_owned(),
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn size_bytes(batch: &Batch) -> usize {
    batch
        .writes
        .iter()
        .map(|write| write.key.len() + write.value.as_ref().map_or(0, Vec::len))
        .sum()
}
