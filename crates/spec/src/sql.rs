//! The SQL of a job: the text itself, or a file of it next to the job file.
//!
//! The text is not read here beyond whether there is any.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use crate::item::Item;
use crate::report::quoted;

/// The largest file of SQL.
const SQL_BYTES_MAX: u64 = 1 << 20;
const RIGHT: &str = "a path such as ../sql/job.sql, or the SQL itself";

/// The statements of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SqlText {
    /// The statements.
    pub text: String,
    /// The file that they were read from; absent when they stand in the job file.
    pub path: Option<PathBuf>,
}

/// Gives the text of a SQL file.
pub(crate) type SqlFiles<'a> = &'a dyn Fn(&Path) -> std::io::Result<String>;

/// Reads `sql`: one line that ends in `.sql` is a path, relative to the job file.
pub(crate) fn sql(item: &Item<'_>, files: SqlFiles<'_>) -> Option<SqlText> {
    let job_file = item.report.file();
    item.parsed(RIGHT, |text| {
        let trimmed = text.trim();
        let one_line = !trimmed.contains('\n');
        if one_line && trimmed.ends_with(".sql") {
            return from_file(trimmed, job_file, files);
        }
        if trimmed.is_empty() {
            return Err(format!("{} is empty; write {RIGHT}", quoted(text)));
        }
        if !trimmed.contains(char::is_whitespace) {
            return Err(format!("{} is neither a path nor SQL; write {RIGHT}", quoted(text)));
        }
        Ok(SqlText { text: text.to_owned(), path: None })
    })
}

fn from_file(written: &str, job_file: &Path, files: SqlFiles<'_>) -> Result<SqlText, String> {
    let path = match job_file.parent() {
        Some(folder) => folder.join(written),
        None => PathBuf::from(written),
    };
    let shown = quoted(written);
    let place = path.display();
    let text = files(&path).map_err(|error| {
        format!("{shown} cannot be read: {place}: {error}; write the path from the job file")
    })?;
    if text.trim().is_empty() {
        return Err(format!("{shown} is empty: {place}; write at least one INSERT INTO there"));
    }
    Ok(SqlText { text, path: Some(shortened(&path)) })
}

/// `jobs/../sql/x.sql` as `sql/x.sql`: for people only, since a linked folder's parent is another.
fn shortened(path: &Path) -> PathBuf {
    let mut short = PathBuf::new();
    for part in path.components() {
        let is_named = matches!(short.components().next_back(), Some(Component::Normal(_)));
        match part {
            Component::ParentDir if is_named => {
                short.pop();
            }
            part => short.push(part),
        }
    }
    short
}

/// Reads a SQL file from the disk, up to its bound.
pub(crate) fn read_sql(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // One byte more than is allowed tells a file that is too large from one that just fits.
    std::fs::File::open(path)?.take(SQL_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > SQL_BYTES_MAX {
        return Err(std::io::Error::other(format!("larger than {SQL_BYTES_MAX} bytes")));
    }
    Ok(text)
}
