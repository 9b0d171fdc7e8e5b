//! Sink files as they are written in records, checkpoints and segments: an epoch may hold thousands,
//! so what a file has in common with the one before it is left out.
//!
//! ```json
//! {"sink": "out", "prepared": "_prepared/j/f00d-...7-0-0-0", "published": "t=a/j-f00d-...7-0-0-0.parquet",
//!  "rows": 3, "bytes": 900, "time_min_us": 1, "time_max_us": 9, "time_column": "ts"},
//! {"prepared": "0-0-1", "folder": "t=b", "rows": 2, "bytes": 880, "time_min_us": 4, "time_max_us": 6}
//! ```
//!
//! A file with `published` stands for itself. One without has the sink, the column of times, the
//! process and the epoch of the one before, and of its own name only the end. Builds before wrote
//! every file in the first form.

use serde::{Deserialize, Serialize};

use crate::record::SinkFile;

/// One file of a list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FileWire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sink: Option<String>,
    prepared: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    published: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    rows: u64,
    bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_min_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_max_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_column: Option<String>,
}

impl FileWire {
    /// `file` as it is written after `before`.
    pub(crate) fn after(before: Option<&SinkFile>, file: &SinkFile) -> Self {
        let short = before.and_then(|before| {
            let wire = Self::short(file)?;
            (wire.clone().restored(Some(before)).as_ref() == Some(file)).then_some(wire)
        });
        short.unwrap_or_else(|| Self::whole(file))
    }

    fn short(file: &SinkFile) -> Option<Self> {
        let (_, tail) = split_name(&file.prepared)?;
        let folder = file.published.rsplit_once('/').map(|(folder, _)| folder.to_owned());
        let whole = Self::whole(file);
        let (sink, published, time_column) = (None, None, None);
        Some(Self { sink, prepared: tail.to_owned(), published, folder, time_column, ..whole })
    }

    fn whole(file: &SinkFile) -> Self {
        let SinkFile {
            sink,
            prepared,
            published,
            rows,
            bytes,
            time_min_us,
            time_max_us,
            time_column,
        } = file.clone();
        Self {
            sink: Some(sink),
            prepared,
            published: Some(published),
            folder: None,
            rows,
            bytes,
            time_min_us,
            time_max_us,
            time_column,
        }
    }

    /// The file that was written after `before`; `None` where it says too little.
    pub(crate) fn restored(self, before: Option<&SinkFile>) -> Option<SinkFile> {
        let Self {
            sink, prepared, published, folder, rows, bytes, time_min_us, time_max_us, ..
        } = self;
        let file = SinkFile { rows, bytes, time_min_us, time_max_us, ..SinkFile::default() };
        if let Some(published) = published {
            let (sink, time_column) = (sink?, self.time_column);
            return Some(SinkFile { sink, prepared, published, time_column, ..file });
        }
        let before = before?;
        let (head, _) = split_name(&before.prepared)?;
        let name = before.published.rsplit('/').next()?;
        let (stem, extension) = name.split_once('.')?;
        let (base, _) = split_name(stem)?;
        let slash = folder.as_ref().map_or("", |_| "/");
        let folder = folder.unwrap_or_default();
        Some(SinkFile {
            sink: before.sink.clone(),
            prepared: format!("{head}{prepared}"),
            published: format!("{folder}{slash}{base}{prepared}.{extension}"),
            time_column: before.time_column.clone(),
            ..file
        })
    }
}

/// A name without and with its last three parts: attempt, task and counter.
fn split_name(name: &str) -> Option<(&str, &str)> {
    let (at, _) = name.rmatch_indices('-').nth(2)?;
    Some(name.split_at(at + 1))
}

/// A list of files, for serde's `with`.
pub mod files {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::FileWire;
    use crate::record::SinkFile;

    /// Writes a list of files.
    pub fn serialize<S: Serializer>(files: &[SinkFile], to: S) -> Result<S::Ok, S::Error> {
        let before = std::iter::once(None).chain(files.iter().map(Some));
        to.collect_seq(files.iter().zip(before).map(|(file, before)| FileWire::after(before, file)))
    }

    /// Reads a list of files.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SinkFile>, D::Error> {
        let wires = Vec::<FileWire>::deserialize(from)?;
        let mut files: Vec<SinkFile> = Vec::with_capacity(wires.len());
        for wire in wires {
            let file = wire.restored(files.last());
            files.push(file.ok_or_else(|| D::Error::custom("a file says less than its name"))?);
        }
        Ok(files)
    }
}

/// A list of files, each with its epoch.
pub(crate) mod entries {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::FileWire;
    use crate::manifest::ManifestEntry;
    use crate::record::Epoch;

    #[derive(Serialize, Deserialize)]
    struct EntryWire {
        epoch: Epoch,
        file: FileWire,
    }

    pub(crate) fn serialize<S: Serializer>(
        entries: &[ManifestEntry],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        collect(entries.iter(), to)
    }

    pub(crate) fn collect<'a, S: Serializer>(
        entries: impl Iterator<Item = &'a ManifestEntry>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let mut before = None;
        to.collect_seq(entries.map(|ManifestEntry { epoch, file }| {
            let wire = EntryWire { epoch: *epoch, file: FileWire::after(before, file) };
            before = Some(file);
            wire
        }))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<ManifestEntry>, D::Error> {
        let wires = Vec::<EntryWire>::deserialize(from)?;
        let mut entries: Vec<ManifestEntry> = Vec::with_capacity(wires.len());
        for EntryWire { epoch, file } in wires {
            let file = file.restored(entries.last().map(|entry| &entry.file));
            let file = file.ok_or_else(|| D::Error::custom("a file says less than its name"))?;
            entries.push(ManifestEntry { epoch, file });
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{Epoch, SinkName, prepared_path, published_path};
    use crate::record::CommitRecord;

    fn file(sink: &str, folder: &str, task: &str, n: u64) -> SinkFile {
        let name =
            SinkName { incarnation: "0a43a6f3644d090e", epoch: Epoch(7), attempt: 0, task, n };
        SinkFile {
            sink: sink.to_owned(),
            prepared: prepared_path("my-job", &name),
            published: published_path(folder, "my-job", &name, "parquet"),
            rows: 33,
            bytes: 1_034,
            time_min_us: Some(1_767_607_200_000_000 + n as i64),
            time_max_us: Some(1_767_607_298_999_000),
            time_column: Some("ts".to_owned()),
        }
    }

    fn written(files: Vec<SinkFile>) -> String {
        let text =
            serde_json::to_string(&CommitRecord { files: files.clone(), ..Default::default() });
        let text = text.unwrap();
        let read: CommitRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(read.files, files);
        text
    }

    #[test]
    fn a_record_of_three_thousand_partitions_is_small() {
        let files = (0..3_000).map(|n| file("out", &format!("tenant=t{n}"), "0", n)).collect();
        let bytes = written(files).len();
        println!("{bytes} bytes for 3,000 files");
        assert!(bytes < 450_000, "{bytes}");
    }

    #[test]
    fn any_list_of_files_reads_back() {
        let odd = SinkFile {
            prepared: "x".to_owned(),
            published: "y".to_owned(),
            ..file("a", "", "0", 0)
        };
        let timeless = SinkFile { time_column: None, time_min_us: None, ..file("a", "", "0", 3) };
        let old = SinkFile {
            prepared: "_prepared/my-job/f00d-00000000000000000007-4294967305".to_owned(),
            published: "k=1/my-job-f00d-00000000000000000007-4294967305.parquet".to_owned(),
            ..file("a", "", "0", 0)
        };
        let drawn = [
            file("a", "k=%2F/l=2", "0", 0),
            file("a", "", "0", 1),
            file("a", "k=1", "1_0", 65_536),
            file("b", "k=1", "1_0", 65_537),
            SinkFile { published: "k=1/other.parquet".to_owned(), ..file("b", "k=1", "1_0", 9) },
            odd,
            timeless,
            old,
        ];
        for first in &drawn {
            for second in &drawn {
                for third in &drawn {
                    written(vec![first.clone(), second.clone(), third.clone()]);
                }
            }
        }
    }

    #[test]
    fn what_builds_before_wrote_is_read() {
        let text = r#"[{"sink":"out","prepared":"_prepared/j/ab-00000000000000000001-0",
            "published":"k=1/j-ab-00000000000000000001-0.parquet","rows":1,"bytes":2,
            "time_min_us":null,"time_max_us":null,"time_column":"ts"},
            {"sink":"out","prepared":"_prepared/j/ab-00000000000000000001-1",
            "published":"k=2/j-ab-00000000000000000001-1.parquet","rows":1,"bytes":2,
            "time_min_us":5,"time_max_us":6}]"#;
        let read = files::deserialize(&mut serde_json::Deserializer::from_str(text)).unwrap();
        assert_eq!(read[1].published, "k=2/j-ab-00000000000000000001-1.parquet");
        assert_eq!((read[1].time_column.as_ref(), read[1].time_max_us), (None, Some(6)));
        let lost = r#"[{"prepared":"0-0-1","folder":"k=2","rows":1,"bytes":2}]"#;
        assert!(files::deserialize(&mut serde_json::Deserializer::from_str(lost)).is_err());
    }
}
