//! The table of late rows: which rows are in it, with what, and that none is lost or doubled.

use std::path::{Path, PathBuf};

use tidegauge_commitlog::Storage;

use crate::suite::binary::files_below;
use crate::suite::harness::{
    compile, open, published_rows, run_drained, scratch, sorted_text, write_job,
};
use crate::suite::process;
use crate::suite::worker_process::two_workers;

const SQL: &str = "INSERT INTO minutes SELECT date_trunc('minute', ts) AS w, count(*) AS n FROM t \
                   WHERE x > 0 GROUP BY date_trunc('minute', ts); \
                   INSERT INTO hours SELECT date_trunc('hour', ts) AS w, count(*) AS n FROM t \
                   GROUP BY date_trunc('hour', ts);";

fn job(folder: &Path) -> PathBuf {
    let place = folder.display();
    // No query reads the host: it is decoded for the table alone.
    let yaml = format!(
        "name: lates\nsources:\n  t:\n    location: {place}/in/\n    format: json\n    schema: {{host: \
         VARCHAR, ts: TIMESTAMP, x: BIGINT}}\n    event_time: {{column: ts, delay: 10s}}\nsinks:\n  \
         minutes: {{location: {place}/minutes/}}\n  hours: {{location: {place}/hours/}}\nlate: \
         {{location: {place}/late/}}\nepoch: {{files_max: 1}}\npartitions: 1\nstate: \
         {{location: {place}/state/}}"
    );
    write_job(folder, &yaml, SQL)
}

fn write_rows(folder: &Path, name: &str, rows: &[(&str, i64)]) {
    let line = |(time, x): &(&str, i64)| {
        format!("{{\"host\": \"a{x}\", \"ts\": \"2026-01-01T{time}Z\", \"x\": {x}}}\n")
    };
    std::fs::create_dir_all(folder.join("in")).unwrap();
    std::fs::write(folder.join("in").join(name), rows.iter().map(line).collect::<String>())
        .unwrap();
}

/// Three files: the second has a late row for minutes, the third for minutes and for hours.
fn write_all(folder: &Path) {
    write_rows(folder, "1.json", &[("00:00:01", 1), ("00:02:30", 2)]);
    write_rows(folder, "2.json", &[("00:00:02", 3), ("00:00:03", 0), ("01:30:00", 4)]);
    write_rows(folder, "3.json", &[("00:59:59", 5), ("01:29:59", 6)]);
}

async fn late_rows(folder: &Path) -> Vec<String> {
    let storage = Storage::open(&folder.join("late").display().to_string()).unwrap();
    sorted_text(&tidegauge::sink::read_all(&storage).await.unwrap())
}

/// The stage of minutes and the stage of hours.
async fn stages(path: &Path) -> [String; 2] {
    let job = compile(path).await;
    ["minutes", "hours"].map(|sink| {
        let query = job.plan.queries.iter().find(|query| query.sink == sink).unwrap();
        query.stages[0].clone()
    })
}

/// What the table has of the files of [`write_all`].
async fn expected(path: &Path) -> Vec<String> {
    let [minutes, hours] = stages(path).await;
    let day = "2026-01-01T";
    let mut rows = [
        ("a3", "00:00:02", 3, &minutes, "00:00:00", "00:01:00", "00:02:20"),
        ("a5", "00:59:59", 5, &minutes, "00:59:00", "01:00:00", "01:29:50"),
        ("a5", "00:59:59", 5, &hours, "00:00:00", "01:00:00", "01:29:50"),
    ]
    .map(|(host, ts, x, stage, start, end, watermark)| {
        format!("{host} | {day}{ts}Z | {x} | t | {stage} | {day}{start}Z | {day}{end}Z | {day}{watermark}Z")
    });
    rows.sort();
    rows.to_vec()
}

#[tokio::test]
async fn a_late_row_is_kept_whole_with_its_stage_its_window_and_what_refused_it() {
    let folder = scratch();
    write_all(folder.path());
    let path = job(folder.path());
    let summary = run_drained(&path).await;
    // One that is late for minutes and counts in its hour is used.
    assert_eq!((summary.rows_in, summary.rows_used, summary.rows_late), (7, 6, 1));
    assert_eq!(late_rows(folder.path()).await, expected(&path).await);
    assert_eq!(
        published_rows(&path, "hours").await,
        ["2026-01-01T00:00:00Z | 4", "2026-01-01T01:00:00Z | 2"]
    );
    // The table is no sink: what is written to sinks is told alone.
    assert_eq!(summary.rows_out.keys().collect::<Vec<_>>(), ["hours", "minutes"]);
    let status = open(compile(&path).await).await;
    let told = status.view().borrow().rows_out.clone();
    assert_eq!(told, summary.rows_out);
}

#[tokio::test]
async fn the_files_of_late_rows_belong_to_the_epoch_that_refused_them() {
    let folder = scratch();
    write_all(folder.path());
    let path = job(folder.path());
    run_drained(&path).await;
    let [minutes, hours] = stages(&path).await;
    let late = folder.path().join("late");
    let epoch_of = |name: &String| {
        name.split('-').find(|part| part.len() == 20).unwrap().parse::<u64>().unwrap()
    };
    let epochs = |stage: &str| {
        let files = files_below(&late.join(stage)).into_keys();
        let names = files.map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
        names.map(|name| epoch_of(&name)).collect::<Vec<_>>()
    };
    let sorted = |mut epochs: Vec<u64>| {
        epochs.sort_unstable();
        epochs
    };
    assert_eq!(sorted(epochs(&minutes)), [2, 3]);
    assert_eq!(sorted(epochs(&hours)), [3]);
    // Run again, nothing is written again; a further late row comes to those that are there.
    assert_eq!(run_drained(&path).await.epochs, 0);
    let before = late_rows(folder.path()).await;
    assert_eq!(before, expected(&path).await);
    write_rows(folder.path(), "4.json", &[("00:00:07", 9)]);
    assert_eq!(run_drained(&path).await.rows_late, 1);
    let after = late_rows(folder.path()).await;
    assert_eq!(after.len(), before.len() + 2);
    assert!(before.iter().all(|row| after.contains(row)));
}

#[tokio::test]
async fn the_table_names_the_source_of_a_row_and_the_watermark_whatever_is_allowed_beyond_it() {
    let folder = scratch();
    let place = folder.path().display();
    let source = |name: &str| {
        format!(
            "  {name}:\n    location: {place}/{name}/\n    format: json\n    schema: {{ts: TIMESTAMP}}\n    \
             event_time: {{column: ts, delay: 0s, allowed_lateness: 1m}}\n"
        )
    };
    let yaml = format!(
        "name: two\nsources:\n{}{}sinks:\n  out: {{location: {place}/out/}}\nlate: {{location: \
         {place}/late/}}\nepoch: {{files_max: 1}}\nstate: {{location: {place}/state/}}",
        source("a"),
        source("b")
    );
    let sql = "CREATE VIEW va AS SELECT date_trunc('minute', ts) AS w, count(*) AS n FROM a GROUP BY 1;\n\
               CREATE VIEW vb AS SELECT date_trunc('minute', ts) AS w, count(*) AS n FROM b GROUP BY 1;\n\
               INSERT INTO out SELECT va.w, va.n, vb.n AS m FROM va JOIN vb ON va.w = vb.w;";
    let path = write_job(folder.path(), &yaml, sql);
    for name in ["a", "b"] {
        let input = folder.path().join(name);
        std::fs::create_dir_all(&input).unwrap();
        let row = |time: &str| format!("{{\"ts\": \"2026-01-01T{time}Z\"}}\n");
        std::fs::write(input.join("1.json"), row("00:00:01") + &row("00:06:00")).unwrap();
        std::fs::write(input.join("2.json"), row("00:00:02")).unwrap();
    }
    assert_eq!(run_drained(&path).await.rows_late, 2);
    let late = late_rows(folder.path()).await;
    let told: Vec<Vec<&str>> = late.iter().map(|row| row.split(" | ").collect()).collect();
    let mut sources: Vec<&str> = told.iter().map(|row| row[1]).collect();
    sources.sort_unstable();
    assert_eq!(sources, ["a", "b"]);
    assert!(told.iter().all(|row| row[5] == "2026-01-01T00:06:00Z"), "{late:?}");
}

#[tokio::test]
async fn workers_keep_the_same_late_rows() {
    let (_workers, list) = two_workers();
    let folder = scratch();
    write_all(folder.path());
    let path = job(folder.path());
    let run = process::run(&path, &vec![], &["--once", "--drain", "--workers", &list]);
    let summary = run.summary();
    assert_eq!((&summary["rows_used"], &summary["rows_late"]), (&6.into(), &1.into()));
    assert_eq!(late_rows(folder.path()).await, expected(&path).await);
}

#[tokio::test]
async fn a_table_that_holds_rows_of_nobody_is_refused_without_adopt() {
    let folder = scratch();
    write_all(folder.path());
    let path = job(folder.path());
    run_drained(&path).await;
    for written in ["minutes", "hours", "state"] {
        std::fs::remove_dir_all(folder.path().join(written)).unwrap();
    }
    let refused = process::run(&path, &vec![], &["--once"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let place = format!("the table of late rows at {}/late", folder.path().display());
    assert!(refused.stderr.contains(&place), "{refused:?}");
    assert!(refused.stderr.contains("holds files already"), "{refused:?}");
}
