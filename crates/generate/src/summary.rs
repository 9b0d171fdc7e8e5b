//! What was generated, for whoever asked.

use std::fmt;
use std::path::PathBuf;

/// What was generated. Its text is one line a person reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The folder of the files.
    pub out: PathBuf,
    /// How many files.
    pub files: u32,
    /// How many rows, those of the anomalies among them.
    pub rows: u64,
    /// How many of the rows belong to anomalies.
    pub rows_anomalous: u64,
    /// How many anomalies.
    pub anomalies: u32,
    /// Size of the files together.
    pub bytes: u64,
    /// The labels file.
    pub labels: PathBuf,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rows in {} files ({:.1} MB) in {}; {} anomalies in {} of the rows, labelled in {}",
            self.rows,
            self.files,
            self.bytes as f64 / 1e6,
            self.out.display(),
            self.anomalies,
            self.rows_anomalous,
            self.labels.display()
        )
    }
}
