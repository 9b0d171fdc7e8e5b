//! Each problem that a job file can have, as it is told.

use super::{JOB, changed, parse, wrong};

#[test]
fn five_mistakes_are_named_with_their_lines_in_one_go() {
    let text = "\
name: DNS
sources:
  dns:
    locaton: ./data/
    format: jsn
    schema:
      ts: TIMESTAMP
      query: VARCHA
    event_time:
      column: ts
      delay: 10 sec
sql: INSERT INTO found SELECT * FROM dns;
sinks:
  found: {location: ./out/found/}
state: {location: ./out/_state/}
";
    let expected = "\
1: name: \"DNS\" has upper case, which SQL folds to lower; write dns
4: sources.dns.locaton: \"locaton\" is not a known key; write location
5: sources.dns.format: \"jsn\" is not a format; write json
8: sources.dns.schema.query: \"VARCHA\" is not a type; write VARCHAR
11: sources.dns.event_time.delay: \"10 sec\" is not a duration; write 10s";
    assert_eq!(wrong(text), expected);
    let message = super::parse(text).unwrap_err().to_string();
    assert!(message.starts_with("jobs/dns.yaml:1: name: "), "{message}");
}

#[test]
fn missing_keys_are_named_with_what_to_write() {
    let expected = "\
1: sources: is missing; write at least one, such as sources: {flows: {location: ./data/}}
1: sql: is missing; write sql: ../sql/job.sql, or the SQL itself
1: sinks: is missing; write at least one, such as sinks: {findings: {location: ./out/}}
1: state: is missing; write state: {location: ./out/_state/}";
    assert_eq!(wrong("name: dns\n"), expected);
    let text = changed("    event_time: {column: ts, delay: 10s}\n", "");
    let expected = "3: sources.queries.event_time: is missing; \
                    write event_time: {column: ts, delay: 10s}";
    assert_eq!(wrong(&text), expected);
    let text = changed(", delay: 10s", "");
    let expected = "7: sources.queries.event_time.delay: is missing; \
                    write how late a row may come, such as delay: 10s";
    assert_eq!(wrong(&text), expected);
}

#[test]
fn unknown_keys_are_named_with_the_nearest_or_all() {
    let expected = "\
12: quarantine: \"quarantine\" is not a known key; the keys here are name, description, sources, \
sql, sinks, late, on_error, epoch, state, memory_max, partitions
13: epoch.max_bytes: \"max_bytes\" is not a known key; write bytes_max";
    let more = "quarantine: ./q/\nepoch: {max_bytes: 1GB}\n";
    assert_eq!(wrong(&format!("{JOB}{more}")), expected);
}

/// Changes one piece of the job and compares what is displayed.
#[track_caller]
fn told(from: &str, to: &str, expected: &str) {
    assert_eq!(wrong(&changed(from, to)), expected);
}

#[test]
fn names_follow_sql() {
    told(
        "  queries:\n",
        "  dns-queries:\n",
        "3: sources.dns-queries: \"dns-queries\" is not a name that SQL takes without quotes; \
         write dns_queries",
    );
    told(
        "  found: {",
        "  Found: {",
        "10: sinks.Found: \"Found\" has upper case, which SQL folds to lower; write found",
    );
    told(
        "  found: {",
        "  queries: {",
        "10: sinks.queries: \"queries\" is also the name of a source; rename one of them",
    );
}

#[test]
fn values_of_the_wrong_kind_are_told_what_belongs_there() {
    told("name: dns", "name: [dns]", "1: name: is a list; write a name such as dns_tunnels");
    told("name: dns", "name:", "1: name: has no value; write a name such as dns_tunnels");
    told(
        "{location: ./out/found/}",
        "./out/found/",
        "10: sinks.found: \"./out/found/\" is not a mapping; \
         write a mapping with the keys location, format, partition_by, retention",
    );
    told(
        "./out/found/}",
        "./out/found/, partition_by: host}",
        "10: sinks.found.partition_by: \"host\" is not a list; \
         write the columns as a list, such as [tenant]",
    );
    told(
        "./out/found/}",
        "./out/found/, partition_by: [host, host]}",
        "10: sinks.found.partition_by[1]: \"host\" is in the list twice; keep one",
    );
    told(
        "sinks:\n  found: {location: ./out/found/}",
        "sinks: {}",
        "9: sinks: is empty; write at least one, such as sinks: {findings: {location: ./out/}}",
    );
}

#[test]
fn settings_have_bounds() {
    let text = format!(
        "{JOB}\
epoch:
  interval: 0s
  bytes_max: 512 MB
  files_max: 0
  retry: -1
memory_max: 1KB
partitions: two
"
    );
    let expected = "\
13: epoch.interval: \"0s\" is too short; write 1ms or more
14: epoch.bytes_max: \"512 MB\" is not a size; write 512MB
15: epoch.files_max: \"0\" is out of range; write a whole number from 1 to 1000000
16: epoch.retry: \"-1\" is not a whole number; write a whole number from 0 to 100
17: memory_max: \"1KB\" is too small; write 1048576 bytes or more
18: partitions: \"two\" is not a whole number; write a whole number from 1 to 1024";
    assert_eq!(wrong(&text), expected);
    told(
        "delay: 10s",
        "delay: 40000d",
        "7: sources.queries.event_time.delay: \"40000d\" is too long; write 36500d or less",
    );
}

#[test]
fn columns_of_the_engine_are_refused() {
    let at = "6: sources.queries.schema";
    told(
        "host: VARCHAR",
        "window_start: VARCHAR",
        &format!(
            "{at}.window_start: \"window_start\" is the name of a column that windows add; \
             rename it"
        ),
    );
    told(
        "host: VARCHAR",
        "__row: INT",
        &format!("{at}.__row: \"__row\" begins with __, which is reserved; rename it"),
    );
    told("host: VARCHAR", "\"\": INT", &format!("{at}.\"\": \"\" is not a column name; write one"));
    told(
        "{ts: TIMESTAMP, host: VARCHAR}",
        "{}",
        &format!("{at}: has no columns; write at least one, such as ts: TIMESTAMP"),
    );
    told(
        "host: VARCHAR",
        "host: [VARCHAR, INT]",
        &format!("{at}.host: a list of 2 types; write the one of the elements, [VARCHAR]"),
    );
    told(
        "host: VARCHAR",
        "id.orig_h: VARCHR",
        &format!("{at}.\"id.orig_h\": \"VARCHR\" is not a type; write VARCHAR"),
    );
    told(
        "host: VARCHAR",
        "cost: DECIMAL(10, 2)",
        &format!(
            "{at}.cost: \"DECIMAL(10\" is not a type; a comma between braces ends a YAML value, \
             so quote the type: \"DECIMAL(10, 2)\""
        ),
    );
}

#[test]
fn the_event_time_is_a_timestamp_of_the_schema() {
    let at = "7: sources.queries.event_time";
    told(
        "column: ts",
        "column: time",
        &format!("{at}.column: \"time\" is not in the schema; write ts"),
    );
    told(
        "column: ts",
        "column: hots",
        &format!("{at}.column: \"hots\" is not in the schema; write host"),
    );
    told(
        "column: ts",
        "column: host",
        &format!(
            "{at}.column: \"host\" is not a TIMESTAMP; make it one in the schema, or write ts"
        ),
    );
    // A field of a struct is one by its path, and only if it is a time.
    for (path, reason) in [
        ("e.at", None),
        ("e.t", Some("\"e.t\" is not in the schema; write e.at")),
        ("e.n", Some("\"e.n\" is not a TIMESTAMP; make it one in the schema, or write ts or e.at")),
        ("e", Some("\"e\" is not a TIMESTAMP; make it one in the schema, or write ts or e.at")),
        ("ts.x", Some("\"ts.x\" is not in the schema; write ts or e.at")),
    ] {
        let text = changed("host: VARCHAR", "host: VARCHAR, e: {n: INT, at: TIMESTAMP}");
        let text = text.replace("column: ts", &format!("column: {path}"));
        match reason {
            Some(reason) => assert_eq!(wrong(&text), format!("{at}.column: {reason}")),
            None => assert_eq!(parse(&text).unwrap().sources[0].event_time.fields, ["at"]),
        }
    }
    told(
        "delay: 10s",
        "delay: 10s, unit: seconds",
        &format!("{at}.unit: \"seconds\" is not a unit; write s, ms, us or ns"),
    );
}

#[test]
fn formats_have_only_their_own_options() {
    told(
        "format: json",
        "format: json\n    csv: {null: x}",
        "6: sources.queries.csv: only files in CSV have these options; \
         write format: csv, or remove them",
    );
    told(
        "format: json",
        "format: csv\n    csv: {delimiter: \";;\"}",
        "6: sources.queries.csv.delimiter: \";;\" is not a delimiter; \
         write one ASCII character, such as \";\" or \"\\t\"",
    );
    told(
        "format: json",
        "format: parquet\n    compression: gzip",
        "6: sources.queries.compression: Parquet compresses within its files; \
         write auto, or remove the key",
    );
    told(
        "format: json",
        "format: xml",
        "5: sources.queries.format: \"xml\" is not a format; write json, csv or parquet",
    );
    told(
        "./out/found/}",
        "./out/found/, format: csv}",
        "10: sinks.found.format: \"csv\" is not a format of sinks; write parquet",
    );
}

#[test]
fn an_order_and_its_pattern_belong_together() {
    let at = "6: sources.queries.discovery";
    let with = |discovery: &str| format!("format: json\n    discovery: {discovery}");
    told(
        "format: json",
        &with("{order: time}"),
        &format!("{at}.order: \"time\" is not an order; write name, modified or path_time"),
    );
    told(
        "format: json",
        &with("{path_time: \"%Y/%m/%d/\"}"),
        &format!(
            "{at}.path_time: is a pattern for order: path_time; write that order, or remove the key"
        ),
    );
    told(
        "format: json",
        &with("{order: path_time, path_time: \"dt=%Y-%m-%D/\"}"),
        &format!(
            "{at}.path_time: \"dt=%Y-%m-%D/\" has %D, which is not known; \
             write %Y, %m, %d, %j, %H, %M, %S or %s"
        ),
    );
    told(
        "format: json",
        &with("{order: path_time, path_time: []}"),
        &format!("{at}.path_time: is a list; write a pattern such as dt=%Y-%m-%d/hour=%H/"),
    );
}

#[test]
fn lateness_is_a_duration() {
    told(
        "delay: 10s",
        "delay: 10s, allowed_lateness: 5 min",
        "7: sources.queries.event_time.allowed_lateness: \"5 min\" is not a duration; write 5m",
    );
}

#[test]
fn the_table_of_late_rows_has_a_place_and_names_of_its_own() {
    let late = "state: {location: ./out/_state/}\nlate: ";
    let with = |late_text: &str| format!("{late}{late_text}");
    let state = "state: {location: ./out/_state/}";
    told(
        state,
        &with("{}"),
        "12: late.location: is missing; write where late rows go, such as location: ./out/_late/",
    );
    told(
        state,
        &with("./late/"),
        "12: late: \"./late/\" is not a mapping; write a mapping with the keys location",
    );
    told(
        state,
        &with("{location: ./out/found/late/}"),
        "12: late.location: \"./out/found/late/\" overlaps with the sink found, \
         \"./out/found/\"; write a location beside it",
    );
    told(
        state,
        &with("{location: ./out/_state/late/}"),
        "12: late.location: \"./out/_state/late/\" overlaps with the state, \
         \"./out/_state/\"; write a location beside it",
    );
    told(
        state,
        &with("{location: ./data/late/}"),
        "12: late.location: \"./data/late/\" would be read back by the source queries, \
         \"./data/\"; write a location beside it",
    );
    told(
        state,
        &with("{location: \"./late/*\"}"),
        "12: late.location: \"./late/*\" has a wildcard; write one folder to write into",
    );
    told(
        "  found: {location",
        "  _late: {location",
        "10: sinks._late: \"_late\" is the name of the table of late rows; rename the sink",
    );
    let text = changed("host: VARCHAR", "_source: VARCHAR");
    assert!(super::parse(&text).is_ok(), "without the table the name is free");
    assert_eq!(
        wrong(&text.replace(state, &with("{location: ./late/}"))),
        "6: sources.queries.schema._source: \"_source\" is also a column that the table of late \
         rows adds; rename it, or remove late"
    );
}

#[test]
fn a_job_does_not_read_what_it_writes() {
    told(
        "./out/found/",
        "./data/found/",
        "10: sinks.found.location: \"./data/found/\" would be read back by the source queries, \
         \"./data/\"; write a location beside it",
    );
    told(
        "./out/found/",
        "./out/_state/found/",
        "10: sinks.found.location: \"./out/_state/found/\" overlaps with the state, \
         \"./out/_state/\"; write a location beside it",
    );
    told(
        "./out/_state/",
        "./data/state/",
        "11: state.location: \"./data/state/\" would be read back by the source queries, \
         \"./data/\"; write a location beside it",
    );
    told(
        "  found: {location: ./out/found/}",
        "  found: {location: ./out/found/}\n  more: {location: out/found}",
        "11: sinks.more.location: \"out/found\" overlaps with the sink found, \
         \"./out/found/\"; write a location beside it",
    );
    told(
        "./out/found/",
        "gs://bucket/found/",
        "10: sinks.found.location: \"gs://bucket/found/\" has an unknown scheme, gs; \
         write a path, file:///path/ or s3://bucket/prefix/",
    );
    told(
        "./out/found/",
        "\"\"",
        "10: sinks.found.location: \"\" is empty; \
         write a path, file:///path/ or s3://bucket/prefix/",
    );
}

#[test]
fn sql_is_a_path_or_a_text() {
    let right = "write a path such as ../sql/job.sql, or the SQL itself";
    let sql = "INSERT INTO found SELECT * FROM queries;";
    told(sql, "query.txt", &format!("8: sql: \"query.txt\" is neither a path nor SQL; {right}"));
    told(sql, "\"  \"", &format!("8: sql: \"  \" is empty; {right}"));
}
