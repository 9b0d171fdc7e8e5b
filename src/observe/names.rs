//! Every metric by name, with its unit. The names are OpenTelemetry's form; Prometheus shows
//! `tidegauge.source.rows` as `tidegauge_source_rows_total`. `docs/observing.md` lists them, and a
//! test holds the two against each other.

/// A metric's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// In OpenTelemetry's form.
    pub name: &'static str,
    /// In the form of UCUM; what is counted stands in braces.
    pub unit: &'static str,
    /// One sentence for whoever meets it in a dashboard.
    pub description: &'static str,
}

macro_rules! names {
    ($($constant:ident: $name:literal, $unit:literal, $description:literal;)*) => {
        $(#[doc = $description] pub const $constant: Name =
            Name { name: $name, unit: $unit, description: $description };)*

        /// All of them.
        pub const ALL: &[Name] = &[$($constant),*];
    };
}

names! {
    SOURCE_ROWS: "tidegauge.source.rows", "{row}",
        "Rows of committed epochs, by what became of them";
    SOURCE_FILES: "tidegauge.source.files", "{file}", "Files of committed epochs";
    SOURCE_READ: "tidegauge.source.read", "By", "Size of those files, as they are stored";
    SOURCE_AHEAD: "tidegauge.source.ahead", "{row}",
        "Rows, among those of committed epochs, too far ahead to move the watermark";
    SOURCE_FILES_ODD: "tidegauge.source.files.odd", "{file}",
        "Files that were not read as they were listed, by what became of them: changed, gone, parked";
    SOURCE_WATERMARK: "tidegauge.source.watermark", "s",
        "How far event time is complete, in seconds since 1970";
    SOURCE_LAG: "tidegauge.source.lag", "s",
        "The clock less the latest confirmed event time, also while nothing arrives";
    STAGE_ROWS: "tidegauge.stage.rows", "{row}",
        "Rows of committed epochs that reached a stage, by what became of them";
    SINK_ROWS: "tidegauge.sink.rows", "{row}", "Rows of committed sink files";
    SINK_FAILED: "tidegauge.sink.failed", "{row}",
        "Rows of closed windows of which an expression could not be computed";
    SINK_FILES: "tidegauge.sink.files", "{file}", "Committed sink files";
    SINK_WRITTEN: "tidegauge.sink.written", "By", "Size of those files";
    SINK_FILES_GONE: "tidegauge.sink.files.gone", "{file}",
        "Committed sink files that were found under none of their names, by who looked: publish, \
         query";
    EPOCH_COMMITS: "tidegauge.epoch.commits", "{epoch}", "Epochs committed";
    EPOCH_FAILURES: "tidegauge.epoch.failures", "{epoch}",
        "Epochs given up, by the kind of the error";
    EPOCH_RETRIES: "tidegauge.epoch.retries", "{attempt}",
        "Attempts at an epoch that were followed by another, by the kind of the error";
    EPOCH_DURATION: "tidegauge.epoch.duration", "s",
        "Time of an attempt that ended well, from ingest to publish";
    STEP_DURATION: "tidegauge.epoch.step.duration", "s", "Time of a step that ended well";
    EPOCH_NUMBER: "tidegauge.epoch.number", "{epoch}", "The last committed epoch, 0 before any";
    STATE_SIZE: "tidegauge.state.size", "By", "Size of the runs that state is made of";
    STATE_RUNS: "tidegauge.state.runs", "{run}", "Runs that state is made of";
    STORE_REQUESTS: "tidegauge.store.requests", "{request}",
        "Requests to object storage, by kind and outcome";
    STORE_READ: "tidegauge.store.read", "By", "Bytes of objects read";
    STORE_WRITTEN: "tidegauge.store.written", "By", "Bytes of objects written";
}

/// The label for the job. Not `job`: Prometheus gives that name to what it scraped, and puts it in
/// place of a label of the metric's own.
pub const JOB: &str = "job_name";

/// The name of the service: of coordinators, and of services with jobs.
pub const SERVICE: &str = "tidegauge";

/// The name of the service of workers.
pub const WORKER_SERVICE: &str = "tidegauge-worker";

/// The name of the instrumentation scope, and of what is traced.
pub const SCOPE: &str = "tidegauge";

/// Bounds of histograms of time, in seconds: from a step that takes a millisecond to an epoch
/// that takes ten minutes.
pub const DURATION_BOUNDS_S: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0,
    300.0, 600.0,
];
