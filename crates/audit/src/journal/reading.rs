//! Reading the journal from its segments, in order.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::record::{
    Chain, Head, RECORD_CHECK_LEN_BYTES, RECORD_HEAD_LEN_BYTES, RecordHead,
    SEGMENT_HEADER_LEN_BYTES, SegmentHeader,
};
use crate::disk::DiskError;

/// Why the journal cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A segment does not hold what was written to it.
    #[error("journal segment {} is damaged at byte {offset}: {what}", path.display())]
    Damaged {
        /// The segment file.
        path: PathBuf,
        /// Where the record starts that does not fit.
        offset: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// A segment that must be there is not.
    #[error("journal segment {} is missing", path.display())]
    Missing {
        /// The segment file.
        path: PathBuf,
    },
    /// The journal ends before the entries that a checkpoint covers.
    #[error("the journal ends at entry {end}, but the checkpoint covers {published} entries")]
    Short {
        /// The number of entries up to the journal's end.
        end: u64,
        /// The number of entries under the checkpoint.
        published: u64,
    },
    /// A file that has no place in the journal's directory.
    #[error("{} is not a journal segment", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The system could not read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The directory of the segments, in the log's.
pub(crate) const JOURNAL_DIR: &str = "journal";

/// A segment is named by the index of its first entry, so that names sort as entries do.
pub(crate) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(JOURNAL_DIR).join(format!("{first:020}"))
}

/// The first indices of the segments that are there, in order.
pub(crate) fn list_segments(dir: &Path) -> Result<Vec<u64>, JournalError> {
    let journal = dir.join(JOURNAL_DIR);
    let failed = |error| DiskError::new("listing", &journal, error);
    let mut segments = Vec::new();
    for file in fs::read_dir(&journal).map_err(failed)? {
        let file = file.map_err(failed)?;
        let first = file
            .file_name()
            .to_str()
            .filter(|name| name.len() == 20 && name.bytes().all(|digit| digit.is_ascii_digit()))
            .and_then(|name| name.parse().ok());
        let is_file = file.file_type().is_ok_and(|kind| kind.is_file());
        match first {
            Some(first) if is_file => segments.push(first),
            _ => return Err(JournalError::Foreign { path: file.path() }),
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// A place between two records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    /// The segment, by its first index.
    pub(crate) segment: u64,
    /// Where in the segment the next record starts, bytes.
    pub(crate) offset: u64,
    /// The index of the next entry.
    pub(crate) next: u64,
    pub(crate) chain: Chain,
}

/// What comes next in the journal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Entry,
    /// All that was written has been read. `torn_len_bytes` of a record whose writing was cut
    /// short follow; it was never acknowledged.
    End {
        torn_len_bytes: u64,
    },
}

/// Reads entries from a position on.
#[derive(Debug)]
pub(crate) struct JournalReader {
    dir: PathBuf,
    path: PathBuf,
    file: BufReader<File>,
    position: Position,
    entry: Vec<u8>,
    /// The segments gone through, the present one included.
    read: Vec<u64>,
}

enum Record {
    Entry,
    Close,
    End { torn_len_bytes: u64 },
}

impl JournalReader {
    /// Starts at the first entry of a segment.
    pub(crate) fn at_segment(dir: &Path, first: u64) -> Result<Self, JournalError> {
        let path = segment_path(dir, first);
        let mut file = BufReader::new(open(&path)?);
        let mut header = [0; SEGMENT_HEADER_LEN_BYTES];
        // A segment gets its name only when its header is durable, so a short one is damage.
        let header = read_full(&mut file, &mut header)
            .map_err(|error| DiskError::new("reading", &path, error))?
            .then(|| SegmentHeader::decode(&header))
            .flatten()
            .filter(|header| header.first == first)
            .ok_or_else(|| JournalError::Damaged {
                path: path.clone(),
                offset: 0,
                what: "its header is not that of this segment",
            })?;
        Ok(Self {
            dir: dir.to_owned(),
            path,
            file,
            position: Position {
                segment: first,
                offset: SEGMENT_HEADER_LEN_BYTES as u64,
                next: first,
                chain: header.seed,
            },
            entry: Vec::new(),
            read: vec![first],
        })
    }

    /// Goes on from a position that an earlier reader or the writer reached.
    pub(crate) fn resume(dir: &Path, position: Position) -> Result<Self, JournalError> {
        let path = segment_path(dir, position.segment);
        let mut file = BufReader::new(open(&path)?);
        file.seek(SeekFrom::Start(position.offset))
            .map_err(|error| DiskError::new("reading", &path, error))?;
        Ok(Self {
            dir: dir.to_owned(),
            path,
            file,
            position,
            entry: Vec::new(),
            read: vec![position.segment],
        })
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The entry that [`JournalReader::advance`] has just read.
    pub(crate) fn entry(&self) -> &[u8] {
        &self.entry
    }

    /// Reads the next entry, in this segment or the ones after it.
    pub(crate) fn advance(&mut self) -> Result<Next, JournalError> {
        loop {
            match self.read_record()? {
                Record::Entry => return Ok(Next::Entry),
                Record::Close => self.follow()?,
                Record::End { torn_len_bytes } => {
                    if !self.has_successor()? {
                        return Ok(Next::End { torn_len_bytes });
                    }
                    // The next segment is made before this one is closed. Records in it mean that
                    // this one has been closed since, or else that its end was cut off.
                    self.seek(self.position.offset)?;
                    match self.read_record()? {
                        Record::Close => self.follow()?,
                        Record::Entry => return Ok(Next::Entry),
                        Record::End { torn_len_bytes } => {
                            if self.successor_has_records()? {
                                return Err(self.damaged("its end is missing"));
                            }
                            return Ok(Next::End { torn_len_bytes });
                        }
                    }
                }
            }
        }
    }

    fn has_successor(&self) -> Result<bool, JournalError> {
        let next = segment_path(&self.dir, self.position.next);
        Ok(self.position.next != self.position.segment
            && next
                .try_exists()
                .map_err(|error| DiskError::new("looking for", &next, error))?)
    }

    fn successor_has_records(&self) -> Result<bool, JournalError> {
        let next = Self::at_segment(&self.dir, self.position.next)?;
        if next.position.chain != self.position.chain {
            return Err(next.damaged("it does not continue the segment before it"));
        }
        let path = segment_path(&self.dir, self.position.next);
        let len_bytes = fs::metadata(&path)
            .map_err(|error| DiskError::new("reading", &path, error))?
            .len();
        Ok(len_bytes > SEGMENT_HEADER_LEN_BYTES as u64)
    }

    fn follow(&mut self) -> Result<(), JournalError> {
        let next = Self::at_segment(&self.dir, self.position.next)?;
        if next.position.chain != self.position.chain {
            return Err(next.damaged("it does not continue the segment before it"));
        }
        self.read.push(next.position.segment);
        *self = Self {
            read: std::mem::take(&mut self.read),
            ..next
        };
        Ok(())
    }

    /// Having read to the end, sees to it that `segments`, all that there are, have been read. One
    /// more may have been made to follow the last, and be empty yet.
    pub(crate) fn account_for(&self, segments: &[u64]) -> Result<(), JournalError> {
        let stray = segments
            .iter()
            .find(|segment| !self.read.contains(segment) && **segment != self.position.next);
        match stray {
            None => Ok(()),
            Some(stray) => Err(JournalError::Foreign {
                path: segment_path(&self.dir, *stray),
            }),
        }
    }

    fn read_record(&mut self) -> Result<Record, JournalError> {
        let mut head = [0; RECORD_HEAD_LEN_BYTES];
        if !self.fill(&mut head)? {
            return self.torn();
        }
        let Some(record) = RecordHead::decode(&head, self.position.chain, self.position.next)
        else {
            // After a loss of power a file may be longer than what was written to it.
            if head == [0; RECORD_HEAD_LEN_BYTES] && self.only_zeroes_follow()? {
                return self.torn();
            }
            return Err(self.damaged("a record does not follow from the one before it"));
        };
        let len_bytes = match record.head {
            Head::Entry { len_bytes } => len_bytes,
            Head::Close => 0,
        };
        let mut entry = std::mem::take(&mut self.entry);
        entry.resize(len_bytes, 0);
        let mut check = [0; RECORD_CHECK_LEN_BYTES];
        let is_whole = self.fill(&mut entry)? && self.fill(&mut check)?;
        self.entry = entry;
        if !is_whole {
            return self.torn();
        }
        let Some(chain) = record.close(&self.entry, check) else {
            return Err(self.damaged("a record is not what was written"));
        };
        if record.head == Head::Close {
            // The next segment continues from the last entry, not from this mark; and nothing comes
            // after it in this one.
            return match self.fill(&mut [0])? {
                true => Err(self.damaged("it goes on after its end")),
                false => Ok(Record::Close),
            };
        }
        self.position.offset += (RECORD_HEAD_LEN_BYTES + len_bytes + RECORD_CHECK_LEN_BYTES) as u64;
        self.position.next += 1;
        self.position.chain = chain;
        Ok(Record::Entry)
    }

    /// What lies between the last whole record and the end of the file.
    fn torn(&mut self) -> Result<Record, JournalError> {
        let len_bytes = self
            .file
            .get_ref()
            .metadata()
            .map_err(|error| DiskError::new("reading", &self.path, error))?
            .len();
        Ok(Record::End {
            torn_len_bytes: len_bytes.saturating_sub(self.position.offset),
        })
    }

    fn only_zeroes_follow(&mut self) -> Result<bool, JournalError> {
        let mut block = [0; 4096];
        loop {
            match self.file.read(&mut block) {
                Ok(0) => return Ok(true),
                Ok(len) if block[..len].iter().all(|byte| *byte == 0) => {}
                Ok(_) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(DiskError::new("reading", &self.path, error).into()),
            }
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<bool, JournalError> {
        Ok(read_full(&mut self.file, bytes)
            .map_err(|error| DiskError::new("reading", &self.path, error))?)
    }

    fn seek(&mut self, offset: u64) -> Result<(), JournalError> {
        self.file
            .seek(SeekFrom::Start(offset))
            .map_err(|error| DiskError::new("reading", &self.path, error))?;
        Ok(())
    }

    fn damaged(&self, what: &'static str) -> JournalError {
        JournalError::Damaged {
            path: self.path.clone(),
            offset: self.position.offset,
            what,
        }
    }
}

fn open(path: &Path) -> Result<File, JournalError> {
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => JournalError::Missing {
            path: path.to_owned(),
        },
        _ => DiskError::new("opening", path, error).into(),
    })
}

/// Fills `bytes`; `false` when the file ends before that.
fn read_full(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
