//! The same rows in another format, in other files and under another compression give the same
//! answer.

use std::io::Write as _;
use std::path::Path;

use tidegauge_generate::{Kind, OutputFormat, Settings, generate};

use super::harness::{published_rows, run_drained, scratch, write_job};

const ROWS: u64 = 150_000;

async fn answer(folder: &Path, name: &str, format: &str) -> Vec<String> {
    let place = folder.join(name);
    let yaml = format!(
        "name: formats\nsources:\n  flows:\n    location: {place}/\n    format: {format}\n    \
         schema: {{ts: TIMESTAMP, tenant: VARCHAR, src_ip: VARCHAR, dst_port: INT, bytes_out: \
         BIGINT}}\n    event_time: {{column: ts, delay: 10s}}\nsinks:\n  out: {{location: \
         {place}-out/}}\nstate: {{location: {place}-state/}}\npartitions: 7",
        place = place.display()
    );
    let sql = "INSERT INTO out SELECT window_start, tenant, src_ip, count(*) AS n, \
               sum(bytes_out) AS b, count(DISTINCT dst_port) AS p FROM TABLE(TUMBLE(TABLE flows, \
               DESCRIPTOR(ts), INTERVAL '1' MINUTE)) WHERE dst_port <> 80 GROUP BY window_start, \
               window_end, tenant, src_ip;";
    let job = write_job(folder, &yaml, sql);
    let summary = run_drained(&job).await;
    assert_eq!((summary.rows_in, summary.rows_late), (ROWS, 0));
    assert_eq!(summary.rows_used + summary.rows_filtered, ROWS);
    published_rows(&job, "out").await
}

fn write(folder: &Path, name: &str, format: OutputFormat, files: u32) {
    let out = folder.join(name);
    let settings = Settings { format, files: Some(files), ..Settings::new(Kind::Flows, out, ROWS) };
    generate(&settings, &|_| {}).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_gzip_and_split_parquet_files_give_the_same_answer() {
    let folder = scratch();
    write(folder.path(), "json", OutputFormat::Json, 2);
    write(folder.path(), "parquet", OutputFormat::Parquet, 2);
    let packed = folder.path().join("packed");
    std::fs::create_dir_all(&packed).unwrap();
    for entry in std::fs::read_dir(folder.path().join("json")).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{}.gz", path.file_name().unwrap().to_string_lossy());
        let mut file = flate2::write::GzEncoder::new(
            std::fs::File::create(packed.join(name)).unwrap(),
            flate2::Compression::fast(),
        );
        file.write_all(&std::fs::read(&path).unwrap()).unwrap();
        file.finish().unwrap();
    }
    let json = answer(folder.path(), "json", "json").await;
    assert!(json.len() > 1_000, "{} groups", json.len());
    assert_eq!(answer(folder.path(), "packed", "json").await, json);
    assert_eq!(answer(folder.path(), "parquet", "parquet").await, json);
}
