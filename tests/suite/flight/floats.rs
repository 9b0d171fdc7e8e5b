//! NaN and what is skipped: a query of results gives what a job over the same rows computes, whatever
//! bounds the files say.

use std::path::Path;
use std::sync::Arc;

use datafusion::parquet::file::reader::{FileReader, SerializedFileReader};
use tidegauge::service::flight::FlightSettings;

use super::super::harness::{published_rows, scratch, write_job};
use super::service::{Server, TestJobs, ran_once, text};

/// What the files below `folder` say of the column `name`: whether there are bounds, by file.
fn bounds(folder: &Path, name: &str) -> Vec<bool> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "parquet") {
            let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
            for chunk in reader.metadata().row_group(0).columns() {
                if chunk.column_path().string() == name {
                    let bounds = chunk.statistics().and_then(|of| of.max_bytes_opt()).is_some();
                    found.push(bounds);
                }
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_nan_are_found_by_the_job_and_by_queries_of_its_results() {
    let folder = scratch();
    let place = folder.path().display();
    std::fs::create_dir_all(folder.path().join("in")).unwrap();
    let rows = ["a,NaN,1", "b,1.5,2", "c,-Infinity,3", "d,-0.0,4", "e,NaN,5"];
    let lines: Vec<String> =
        rows.iter().map(|row| format!("2026-01-01T00:00:00Z,{row}\n")).collect();
    std::fs::write(folder.path().join("in/a.csv"), format!("ts,host,x,y\n{}", lines.concat()))
        .unwrap();
    let yaml = format!(
        "name: floats\nsources:\n  s:\n    location: {place}/in/\n    format: csv\n    schema: {{ts: \
         TIMESTAMP, host: VARCHAR, x: DOUBLE, y: DOUBLE}}\n    event_time: {{column: ts, delay: \
         10s}}\nsinks:\n  out: {{location: {place}/out/}}\n  large: {{location: {place}/large/}}\n\
         state: {{location: {place}/state/}}"
    );
    let sql = "INSERT INTO out SELECT ts, host, x, y FROM s;\n\
               INSERT INTO large SELECT host, x FROM s WHERE x > 5";
    let path = write_job(folder.path(), &yaml, sql);
    let job = ran_once(&path, false).await;
    assert_eq!(published_rows(&path, "large").await, ["a | NaN", "e | NaN"]);
    assert_eq!(bounds(&folder.path().join("out"), "x"), [false]);
    assert_eq!(bounds(&folder.path().join("out"), "y"), [true]);
    let server = Server::start(Arc::new(TestJobs(vec![job])), FlightSettings::default()).await;
    let client = &mut server.client().await;
    for (filter, hosts) in [
        ("x > 5", vec!["a", "e"]),
        ("x = CAST('NaN' AS DOUBLE)", vec!["a", "e"]),
        ("x >= 1.5", vec!["a", "b", "e"]),
        ("x = 0", vec!["d"]),
        ("-x > 5", vec!["a", "c", "e"]),
        ("x / 0 > 5", vec!["a", "b", "d", "e"]),
    ] {
        let sql = format!("SELECT host FROM results.out WHERE {filter} ORDER BY host");
        assert_eq!(text(client, &sql).await, hosts, "{filter}");
    }
    let order = "SELECT host FROM results.out ORDER BY x DESC, host LIMIT 3";
    assert_eq!(text(client, order).await, ["a", "b", "e"]);
    let all = "SELECT min(x), max(x), count(DISTINCT -x), sum(y) FROM results.out";
    assert_eq!(text(client, all).await, ["-inf | NaN | 4 | 15.0"]);
    // Files of other writers have bounds that leave NaN out: no plan may look at them.
    let plan = text(client, "EXPLAIN SELECT host FROM results.out WHERE x > 5").await.concat();
    assert!(!plan.contains("pruning_predicate"), "{plan}");
    server.finish().await;
}
