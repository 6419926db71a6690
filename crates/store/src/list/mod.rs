//! Listings: their cost grows with the page, not with the bucket.
//!
//! A listing walks rows in order, and where keys share a common prefix it seeks past all of them
//! at once.

mod objects;
mod scanner;
mod uploads;
mod versions;

use crate::PAGE_ENTRIES_MAX;

/// Which keys a listing wants, and how it rolls them up.
struct Shape<'r> {
    prefix: &'r str,
    delimiter: Option<&'r str>,
    after: Option<&'r str>,
}

/// Where a key stands in a listing.
enum Stand<'k> {
    /// It is listed itself.
    Key,
    /// It is listed as this common prefix.
    Common(&'k str),
    /// It is behind the marker, and so is all that begins with this.
    Passed(&'k str),
}

impl Shape<'_> {
    fn stand<'k>(&self, key: &'k str) -> Stand<'k> {
        let common = self
            .delimiter
            .filter(|delimiter| !delimiter.is_empty())
            .and_then(|delimiter| {
                let rest = key.get(self.prefix.len()..)?;
                let end = self.prefix.len() + rest.find(delimiter)? + delimiter.len();
                key.get(..end)
            });
        match common {
            Some(common) if self.after == Some(common) => Stand::Passed(common),
            Some(common) => Stand::Common(common),
            None => Stand::Key,
        }
    }
}

fn page_len(entries_max: usize) -> usize {
    entries_max.min(PAGE_ENTRIES_MAX)
}
