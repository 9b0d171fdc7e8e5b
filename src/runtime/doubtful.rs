//! Files of which so many rows have no event time, or one of the future, that it is not the rows which
//! are wrong: a column under another name, a local zone taken for UTC, this machine's clock.
//!
//! Of a good file a few such rows are quarantined and counted. A file like these would go by without
//! a row of it being used, and never be read again: it fails its epoch instead, which names it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::assign::Refused;
use super::summary::rfc3339;
use crate::error::{Error, Result};

/// Percent of a file's rows; of the future no more than so many are quarantined.
const FUTURE_ROWS_MAX_PERCENT: u64 = 50;

/// What a pass has seen of its files, by what errors call them: of those of which rows were refused,
/// of those that have none, and of those that several readers share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileRows(BTreeMap<String, Rows>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Rows {
    all: u64,
    timeless: u64,
    future: u64,
}

impl FileRows {
    /// Takes in a file, or a piece of one, that was read to its end.
    pub(super) fn add(&mut self, file: &str, all: u64, refused: Refused, is_piece: bool) {
        if is_piece || refused.rows() > 0 || all == 0 {
            let Refused { timeless, future } = refused;
            self.add_rows(file.to_owned(), Rows { all, timeless, future });
        }
    }

    /// Takes in what another part of the pass has seen.
    pub(super) fn merge(&mut self, other: Self) {
        for (file, rows) in other.0 {
            self.add_rows(file, rows);
        }
    }

    /// Whether a file was read that has no rows, as of a header alone.
    pub(super) fn has_none_of(&self, file: &str) -> bool {
        self.0.get(file).is_some_and(|rows| rows.all == 0)
    }

    fn add_rows(&mut self, file: String, rows: Rows) {
        let mine = self.0.entry(file).or_default();
        mine.all += rows.all;
        mine.timeless += rows.timeless;
        mine.future += rows.future;
    }

    /// Refuses a file that can hardly be meant, `column` being that of the event time; rows later than
    /// `future_max_us` are of the future of the clock, `clock_us`.
    ///
    /// # Errors
    /// `BadRecord`, naming the first such file.
    pub(super) fn check(&self, column: &str, clock_us: i64, future_max_us: i64) -> Result<()> {
        for (file, rows) in &self.0 {
            if let Some(why) = rows.wrong(column, clock_us, future_max_us) {
                return Err(Error::bad_record(format!("{file}: {why}")));
            }
        }
        Ok(())
    }
}

impl Rows {
    fn wrong(&self, column: &str, clock_us: i64, future_max_us: i64) -> Option<String> {
        let Self { all, timeless, future } = *self;
        let used = all - timeless - future;
        if all > 0 && timeless == all {
            return Some(format!(
                "none of its {all} rows has a value in {column}, the event time; the column may have \
                 another name in the file, or the file is not of this source"
            ));
        }
        let is_future = future * 100 > all * FUTURE_ROWS_MAX_PERCENT;
        if !is_future && (all == 0 || used > 0) {
            return None;
        }
        let time = |us: i64| rfc3339(us).unwrap_or_else(|| format!("{us} us"));
        let others = match timeless {
            0 => String::new(),
            count => format!(", and {count} have none"),
        };
        Some(format!(
            "{future} of its {all} rows have an event time ({column}) later than {}{others}, while the \
             clock of this machine is at {}; correct that clock, the unit or the zone of {column}, or \
             raise event_time.future_max",
            time(future_max_us),
            time(clock_us),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(parts: &[(u64, u64, u64)]) -> Option<String> {
        let mut files = FileRows::default();
        for (all, timeless, future) in parts {
            let refused = Refused { timeless: *timeless, future: *future };
            files.add("a.json", *all, refused, parts.len() > 1);
        }
        files.check("ts", 0, 3_600_000_000).err().map(|error| error.message().to_owned())
    }

    #[test]
    fn a_file_without_a_row_to_use_is_refused_and_one_with_some_is_not() {
        assert_eq!(wrong(&[(0, 0, 0)]), None);
        assert_eq!(wrong(&[(10, 9, 0)]), None);
        assert_eq!(wrong(&[(10, 4, 5)]), None);
        assert!(
            wrong(&[(10, 10, 0)]).unwrap().starts_with("a.json: none of its 10 rows has a value")
        );
        assert!(wrong(&[(10, 9, 1)]).unwrap().contains("and 9 have none"));
        assert_eq!(
            wrong(&[(10, 0, 6)]).unwrap(),
            "a.json: 6 of its 10 rows have an event time (ts) later than 1970-01-01T01:00:00Z, while \
             the clock of this machine is at 1970-01-01T00:00:00Z; correct that clock, the unit or the \
             zone of ts, or raise event_time.future_max"
        );
    }

    #[test]
    fn a_file_that_readers_share_is_judged_as_one() {
        assert_eq!(wrong(&[(10, 10, 0), (10, 0, 0)]), None);
        assert!(wrong(&[(10, 10, 0), (10, 10, 0)]).unwrap().contains("none of its 20 rows"));
    }
}
