//! Files that change, grow, vanish, or cannot be used: no row is lost or counted twice, the rest goes
//! on, and who runs the job is told.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;
use tidegauge_commitlog::{Clock, SystemClock};

use super::binary::{Finished, tidegauge};
use super::harness::{published_rows, scratch};

const JOB: &str = "name: att
sources:
  src:
    location: in/
    format: FORMAT
    schema: {ts: TIMESTAMP, k: VARCHAR, n: BIGINT}
    event_time: {column: ts, delay: 1s}
    EXTRA
sql: INSERT INTO res SELECT ts, k, n FROM src
sinks: {res: {location: OUT}}
state: {location: state/}
";

/// A job that copies its rows, in a folder of its own.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new(format: &str, extra: &str) -> Self {
        let folder = scratch();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        let place = Self { folder };
        place.job(format, extra);
        place
    }

    fn job(&self, format: &str, extra: &str) {
        let out = self.path("out");
        let yaml = JOB
            .replace("FORMAT", format)
            .replace(
                "    EXTRA\n",
                &extra.lines().fold(String::new(), |yaml, line| format!("{yaml}    {line}\n")),
            )
            .replace("OUT", out.to_str().unwrap());
        std::fs::write(self.path("job.yaml"), yaml).unwrap();
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path("in").join(name), text).unwrap();
    }

    fn append(&self, name: &str, text: &str) {
        use std::io::Write as _;
        let path = self.path("in").join(name);
        let mut file = std::fs::File::options().append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn try_run(&self) -> Finished {
        let arguments = ["run", "job.yaml", "--once", "--summary", "json"];
        tidegauge(self.folder.path(), &arguments, &[])
    }

    /// Runs, and gives the summary with what was said on the side.
    fn run(&self) -> (Value, String) {
        let ended = self.try_run();
        assert_eq!(ended.code, 0, "{ended:?}");
        (serde_json::from_str(&ended.stdout).unwrap(), ended.stderr)
    }

    /// The numbers `n` that were published, sorted as text.
    async fn numbers(&self) -> Vec<String> {
        let rows = published_rows(&self.path("job.yaml"), "res").await;
        let mut numbers: Vec<String> = rows
            .iter()
            .map(|row| row.rsplit([' ', ',', '|']).next().unwrap_or_default().to_owned())
            .collect();
        numbers.sort();
        numbers
    }

    async fn assert_numbers(&self, expected: &[&str]) {
        assert_eq!(self.numbers().await, expected);
    }
}

fn row(n: u32) -> String {
    format!("{{\"ts\": \"2026-01-05T10:00:00Z\", \"k\": \"a\", \"n\": {n}}}\n")
}

fn set_modified(path: &Path, time: SystemTime) {
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[tokio::test]
async fn a_file_that_was_appended_to_is_not_read_twice_and_that_is_said() {
    let place = Place::new("json", "");
    place.put("a.json", row(1) + &row(2));
    assert_eq!(place.run().0["files"], 1);
    place.append("a.json", &row(3));
    let (summary, said) = place.run();
    assert_eq!((&summary["files"], &summary["files_changed"]), (&0.into(), &1.into()));
    assert!(said.contains("in/a.json") && said.contains("appended: true"), "{said}");
    place.assert_numbers(&["1", "2"]).await;
    // It was said; nothing has changed since.
    let (summary, said) = place.run();
    assert_eq!((&summary["epochs"], said.as_str()), (&0.into(), ""));
    // Who is told to write it goes on from where the file was read.
    place.job("json", "appended: true");
    place.append("a.json", &row(4));
    place.run();
    place.assert_numbers(&["1", "2", "3", "4"]).await;
}

#[tokio::test]
async fn a_file_that_was_empty_is_read_when_it_is_filled() {
    let place = Place::new("json", "");
    place.put("a.json", "");
    place.put("b.json", row(1));
    place.run();
    place.put("a.json", row(2));
    let (summary, said) = place.run();
    assert_eq!((&summary["files_changed"], said.as_str()), (&0.into(), ""));
    place.assert_numbers(&["1", "2"]).await;
}

#[tokio::test]
async fn a_file_of_its_header_alone_is_read_when_it_is_filled() {
    let csv = |n: u32| format!("2026-01-05T10:00:00Z,a,{n}\n");
    let header = "ts,k,n\n";
    for (format, blank, first, filled) in [
        ("csv", header.to_owned(), header.to_owned() + &csv(1), header.to_owned() + &csv(2)),
        ("json", "\n\n".to_owned(), row(1), row(2)),
        ("json", "[]".to_owned(), row(1), format!("[{}]", row(2).trim())),
    ] {
        let place = Place::new(format, "");
        place.put("a.log", blank);
        place.put("b.log", first);
        place.run();
        assert_eq!(place.run().0["epochs"], 0, "it is known as it is");
        place.put("a.log", filled);
        let (summary, said) = place.run();
        assert_eq!((&summary["files_changed"], said.as_str()), (&0.into(), ""));
        place.assert_numbers(&["1", "2"]).await;
        place.put("a.log", "");
        assert_eq!(place.run().0["files_changed"], 1);
    }
}

#[tokio::test]
async fn a_file_that_grows_is_read_line_by_line() {
    for (format, header) in [("json", ""), ("csv", "ts,k,n\n")] {
        let line = |n: u32| match format {
            "json" => row(n),
            _ => format!("2026-01-05T10:00:00Z,a,{n}\n"),
        };
        let place = Place::new(format, "appended: true");
        place.put("a.log", header.to_owned() + &line(1) + &line(2));
        place.run();
        let next = line(3) + &line(4);
        let (whole, rest) = next.split_at(next.len() - 5);
        place.append("a.log", whole);
        assert_eq!(place.run().0["rows_in"], 1, "the last line is not ended yet");
        assert_eq!(place.run().0["epochs"], 0);
        place.append("a.log", rest);
        assert_eq!(place.run().0["rows_in"], 1);
        place.assert_numbers(&["1", "2", "3", "4"]).await;
        // A file that is shorter is another one: it follows on_change.
        place.put("a.log", header.to_owned() + &line(5));
        let (summary, said) = place.run();
        assert_eq!((&summary["rows_in"], &summary["files_changed"]), (&0.into(), &1.into()));
        assert!(said.contains("read_as_new"), "{said}");
        place.job(format, "appended: true\non_change: read_as_new");
        // As long as what was read before, and beginning with other bytes.
        place.put("a.log", header.to_owned() + &(10..30).map(line).collect::<String>());
        assert_eq!(place.run().0["rows_in"], 20);
        place.append("a.log", &line(30));
        assert_eq!(place.run().0["rows_in"], 1);
    }
}

#[test]
fn what_cannot_grow_is_refused() {
    let place = Place::new("parquet", "appended: true");
    let said = tidegauge(place.folder.path(), &["check", "job.yaml"], &[]).failed(2);
    assert!(said.contains("sources.src.appended: Parquet files cannot be appended to"), "{said}");
    place.job("json", "compression: gzip\nappended: true");
    let said = tidegauge(place.folder.path(), &["check", "job.yaml"], &[]).failed(2);
    assert!(said.contains("write compression: none"), "{said}");
    place.job("json", "appended: true");
    place.put("a.json", row(1));
    place.put("b.json.gz", [0x1f, 0x8b, 8, 0]);
    let said = place.try_run();
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("in/b.json.gz: is compressed"), "{said:?}");
}

#[tokio::test]
async fn on_change_says_what_becomes_of_a_changed_file() {
    let place = Place::new("json", "on_change: read_as_new");
    place.put("a.json", row(1));
    place.run();
    place.put("a.json", row(2) + &row(3));
    let (summary, _) = place.run();
    assert_eq!((&summary["rows_in"], &summary["files_changed"]), (&2.into(), &1.into()));
    place.assert_numbers(&["1", "2", "3"]).await;
    place.job("json", "on_change: fail");
    place.put("a.json", row(4));
    let said = place.try_run();
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("error: in/a.json: was changed after it was read"), "{said:?}");
    place.job("json", "on_change: skip");
    place.run();
    place.assert_numbers(&["1", "2", "3"]).await;
}

#[tokio::test]
async fn a_folder_that_moves_is_not_new() {
    let place = Place::new("json", "");
    std::fs::create_dir(place.path("in/x")).unwrap();
    place.put("x/a.json", row(1));
    place.put("b.json", row(2));
    place.run();
    std::fs::rename(place.path("in"), place.path("moved")).unwrap();
    let yaml = std::fs::read_to_string(place.path("job.yaml")).unwrap();
    let at = |location: &str| {
        let yaml = yaml.replace("location: in/", &format!("location: {location}"));
        std::fs::write(place.path("job.yaml"), yaml).unwrap();
    };
    at("moved/");
    assert_eq!(place.run().0["files"], 0);
    assert_eq!(place.run().0["epochs"], 0);
    // What moved with the folder is known as before: a change of it is one.
    std::fs::write(place.path("moved/b.json"), row(2) + &row(9)).unwrap();
    assert_eq!(place.run().0["files_changed"], 1);
    // A glob that begins deeper, and a location that begins higher up, are of the same files.
    for (location, new) in [("moved/x/", 0), ("./m*/**/*.json", 0), ("moved/*.json", 0)] {
        at(location);
        assert_eq!(place.run().0["files"], new, "{location}");
    }
    // Another folder with files of the same names is another folder.
    std::fs::create_dir(place.path("other")).unwrap();
    std::fs::write(place.path("other/b.json"), row(3) + &row(4)).unwrap();
    at("other/");
    assert_eq!(place.run().0["rows_in"], 2);
    place.assert_numbers(&["1", "2", "3", "4"]).await;
}

/// The log as builds wrote it whose keys were absolute and whose versions held the inode.
#[tokio::test]
async fn the_files_that_an_older_build_has_processed_are_known() {
    use std::os::unix::fs::MetadataExt as _;
    let place = Place::new("json", "");
    place.put("a.json", row(1));
    place.run();
    let record = place.path("state/att/log/00000000000000000001.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    let path = place.path("in/a.json").canonicalize().unwrap();
    let meta = path.metadata().unwrap();
    let mtime_us = meta.mtime() * 1_000_000 + meta.mtime_nsec() / 1_000;
    json["format_version"] = 1.into();
    json["sources"]["src"]["added"] = serde_json::json!([{
        "key": path.to_str().unwrap().trim_start_matches('/'),
        "etag": format!("{:x}-{mtime_us:x}-{:x}", meta.ino(), meta.len()),
        "size": meta.len(),
    }]);
    json["sources"]["src"].as_object_mut().unwrap().remove("base");
    std::fs::write(&record, serde_json::to_vec(&json).unwrap()).unwrap();
    assert_eq!(place.run().0["epochs"], 0);
    place.put("b.json", row(2));
    assert_eq!(place.run().0["rows_in"], 1);
    // From then on it is known by its relative key, so that a change of it is noticed.
    place.append("a.json", &row(3));
    let (summary, _) = place.run();
    assert_eq!((&summary["rows_in"], &summary["files_changed"]), (&0.into(), &1.into()));
    place.assert_numbers(&["1", "2"]).await;
}

#[tokio::test]
async fn a_file_that_is_young_is_left_until_it_has_settled() {
    let place = Place::new("json", "discovery: {settle: 1h}");
    place.put("old.json", row(1));
    place.put("young.json", row(2));
    let an_hour_ago = SystemTime::UNIX_EPOCH + Duration::from_millis(SystemClock.now_ms() as u64)
        - Duration::from_secs(3_601);
    set_modified(&place.path("in/old.json"), an_hour_ago);
    place.run();
    place.assert_numbers(&["1"]).await;
    set_modified(&place.path("in/young.json"), an_hour_ago);
    place.run();
    place.assert_numbers(&["1", "2"]).await;
}

#[tokio::test]
async fn odd_names_are_files_like_others() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::new("json", "");
    let names: [&[u8]; 7] =
        [b"a.json", b"b\nc.json", b"b\xff.json", b"b.json#1", b"%00", b"a b%20c", b"\x1b[31m"];
    let last = names.len();
    for (n, name) in names.into_iter().enumerate() {
        let path = place.path("in").join(std::ffi::OsStr::from_bytes(name));
        std::fs::write(path, row(n as u32)).unwrap();
    }
    // A loop, two ways to one folder, a link to nothing, and a pipe that nobody writes to.
    std::fs::create_dir(place.path("in/sub")).unwrap();
    place.put("sub/d.json", row(last as u32));
    std::os::unix::fs::symlink("../in", place.path("in/loop")).unwrap();
    std::os::unix::fs::symlink("sub", place.path("in/again")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.path("in/nothing")).unwrap();
    std::os::unix::fs::symlink("itself", place.path("in/itself")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(place.path("in/pipe")).status().unwrap();
    assert!(made.success());
    let ended = place.try_run();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("in/itself: cannot be read"), "{ended:?}");
    let numbers: Vec<String> = (0..=last).map(|n| n.to_string()).collect();
    assert_eq!(place.numbers().await, numbers);
    std::fs::remove_file(place.path("in/itself")).unwrap();
    place.run();
    assert_eq!(place.numbers().await, numbers);
}

/// A file of every kind that is of no use, with what is said of it.
fn unusable() -> Vec<(&'static str, &'static str, Vec<u8>, &'static str)> {
    let line = row(9);
    vec![
        ("json", "b.json", b"not JSON\n".to_vec(), "in/b.json:1: not JSON"),
        ("json", "b.json.gz", b"not gzip".to_vec(), "in/b.json.gz: cannot be decompressed"),
        ("json", "b.json.zst", b"(\xb5/\xfd".to_vec(), "in/b.json.zst: is cut off"),
        (
            "json",
            "b.json",
            b"{\"TS\": 1}\n".to_vec(),
            "in/b.json: none of its 1 rows has a value in ts",
        ),
        (
            "json",
            "b.json",
            line.replace("2026", "2999").into_bytes(),
            "in/b.json: 1 of its 1 rows have an event time (ts) later than",
        ),
        ("csv", "b.csv", b"TS,k,n\n2026-01-05T10:00:00Z,a,1\n".to_vec(), "but one \"TS\""),
        ("csv", "b.csv", b"x,y\n1,2\n".to_vec(), "none of the declared columns; it has x, y"),
        ("csv", "b.csv", b"k,n\na,2\n".to_vec(), "no column ts, the event time of the source"),
        ("parquet", "b.parquet", b"PAR1....".to_vec(), "in/b.parquet: cannot be read as Parquet"),
    ]
}

#[tokio::test]
async fn a_file_that_is_of_no_use_is_left_out_and_named_and_the_rest_goes_on() {
    for (format, name, bytes, expected) in unusable() {
        let place = Place::new(format, "");
        let good = match format {
            "json" => row(1),
            "csv" => "ts,k,n\n2026-01-05T10:00:00Z,a,1\n".to_owned(),
            _ => String::new(),
        };
        place.put("a", &good);
        place.put(name, &bytes);
        let ended = place.try_run();
        let said = ended.left_out();
        assert!(said.contains(expected), "{name}: {said}");
        let rows = usize::from(!good.is_empty());
        assert_eq!(place.numbers().await.len(), rows, "{name} {expected}");
        // It is still named, nothing is read twice, and what takes its place is read.
        assert_eq!(place.try_run().code, 1);
        place.put("later", &good);
        assert_eq!(place.try_run().code, 1);
        assert_eq!(place.numbers().await.len(), 2 * rows);
        match format {
            "parquet" => std::fs::remove_file(place.path("in").join(name)).unwrap(),
            _ if name.ends_with(".gz") || name.ends_with(".zst") => place.put(name, ""),
            _ => place.put(name, &good),
        }
        let (summary, _) = place.run();
        assert_eq!(summary["files_parked"], 0, "{name}");
        assert_eq!(place.run().0["epochs"], 0, "{name}");
    }
}

#[tokio::test]
async fn many_bad_files_do_not_cost_an_attempt_each() {
    let place = Place::new("json", "");
    for n in 0..60 {
        match n % 2 {
            0 => place.put(&format!("{n:02}.json"), row(n)),
            _ => place.put(&format!("{n:02}.json"), "bad\n"),
        }
    }
    let arguments = ["run", "job.yaml", "--once"];
    let ended = tidegauge(place.folder.path(), &arguments, &[("RUST_LOG", "tidegauge=debug")]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("30 files cannot be used"), "{ended:?}");
    assert!(ended.stderr.contains("and 10 more"), "{ended:?}");
    let again = ended.stderr.matches("without what cannot be used").count();
    assert_eq!(again, 2, "one attempt for the first, one for all others: {ended:?}");
    assert_eq!(place.numbers().await.len(), 30);
}

#[tokio::test]
async fn a_served_job_goes_on_beside_a_damaged_file() {
    let place = Place::new("json", "");
    let yaml = std::fs::read_to_string(place.path("job.yaml")).unwrap();
    std::fs::write(place.path("job.yaml"), yaml + "epoch: {interval: 50ms}\n").unwrap();
    place.put("a.json", row(1));
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge"))
        .current_dir(place.folder.path())
        .args(["run", "job.yaml"])
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let wait_for = async |rows: usize| {
        for _ in 0..400 {
            let there = place.path("out").is_dir() && place.numbers().await.len() >= rows;
            if there {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{rows} rows did not come: {:?}", place.numbers().await);
    };
    wait_for(1).await;
    place.put("b.json", "bad\n");
    tokio::time::sleep(Duration::from_millis(300)).await;
    place.put("c.json", row(2));
    wait_for(2).await;
    place.put("b.json", row(3));
    wait_for(3).await;
    place.put("d.json", "bad\n");
    tokio::time::sleep(Duration::from_millis(300)).await;
    std::fs::remove_file(place.path("in/d.json")).unwrap();
    place.put("e.json", row(4));
    wait_for(4).await;
    assert!(child.try_wait().unwrap().is_none(), "the run has ended by itself");
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert_eq!(said.matches("a file cannot be used").count(), 2, "{said}");
}
