//! A month of hourly files, copied to where the job reads in no order: the order of their
//! modification says nothing, the time in their paths all.

use std::time::{Duration, SystemTime};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tidegauge_commitlog::Storage;

use super::{HOUR_US, Row, START_US, at_once, job, write_json};
use crate::suite::harness::{published_rows, run_drained, scratch, sorted_text};

const FILES: i64 = 30 * 24;
const ROWS_PER_FILE: i64 = 4;
const SEED: u64 = 20_260_101;

/// Writes the month below `folder` and gives its rows.
fn copied_month(folder: &std::path::Path) -> Vec<Row> {
    let mut rng = SmallRng::seed_from_u64(SEED);
    let mut changed: Vec<u64> = (0..FILES.unsigned_abs()).collect();
    changed.shuffle(&mut rng);
    let mut all = Vec::new();
    for (file, changed) in (0..FILES).zip(changed) {
        let (day, hour) = (file / 24, file % 24);
        let rows: Vec<Row> = (0..ROWS_PER_FILE)
            .map(|_| {
                let us = START_US + file * HOUR_US + rng.random_range(0..HOUR_US);
                (us, format!("h{}", rng.random_range(0..3)), rng.random_range(0..1_000))
            })
            .collect();
        // Not padded: the order of names is not that of times either.
        let name = format!("year=2026/month=1/day={}/hour={hour}/part.json", day + 1);
        let path = write_json(folder, &name, &rows);
        let file = std::fs::File::options().write(true).open(path).unwrap();
        let seconds = 1_800_000_000 + changed;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        all.extend(rows);
    }
    all
}

#[tokio::test]
async fn a_month_copied_in_any_order_is_whole_by_path_time_and_late_by_modification() {
    let folder = scratch();
    let rows = copied_month(folder.path());
    let total = rows.len() as u64;
    let more =
        format!("epoch: {{files_max: 24}}\nlate: {{location: {}/late/}}", folder.path().display());
    let path = job(folder.path(), "json", "    discovery: {order: path_time}\n", &more);
    let summary = run_drained(&path).await;
    assert_eq!((summary.epochs, summary.rows_in), (30, total));
    assert_eq!((summary.rows_late, summary.rows_used), (0, total));
    assert_eq!(published_rows(&path, "out").await, at_once(&rows));
    assert!(!folder.path().join("late").exists(), "no row, no file");

    for written in ["out", "state"] {
        std::fs::remove_dir_all(folder.path().join(written)).unwrap();
    }
    let path = job(folder.path(), "json", "    discovery: {order: modified}\n", &more);
    let summary = run_drained(&path).await;
    assert_eq!(summary.rows_in, total);
    assert!(summary.rows_late > total / 2, "{summary:?}");
    assert_eq!(summary.rows_used + summary.rows_late, total);
    // What is in the result and what is in the table of late rows are the month.
    let late = late_rows(folder.path()).await;
    assert_eq!(late.len() as u64, summary.rows_late);
    let mut rest = rows;
    for row in &late {
        let at = rest.iter().position(|kept| kept == row).expect("a late row is a row");
        rest.swap_remove(at);
    }
    assert_eq!(published_rows(&path, "out").await, at_once(&rest));
}

async fn late_rows(folder: &std::path::Path) -> Vec<Row> {
    let storage = Storage::open(&folder.join("late").display().to_string()).unwrap();
    let batches = tidegauge::sink::read_all(&storage).await.unwrap();
    sorted_text(&batches)
        .iter()
        .map(|line| {
            let cells: Vec<&str> = line.split(" | ").collect();
            let time = chrono::DateTime::parse_from_rfc3339(cells[0]).unwrap();
            (time.timestamp_micros(), cells[1].to_owned(), cells[2].parse().unwrap())
        })
        .collect()
}
