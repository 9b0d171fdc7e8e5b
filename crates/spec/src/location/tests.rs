//! Locations that are understood, those that are not, and those that overlap.

use super::{Purpose, nested, place, reads_back};

fn reads(read: &str, written: &str) -> bool {
    let read = place(read, Purpose::Read).unwrap();
    let written = place(written, Purpose::Write).unwrap();
    reads_back(&read, &written)
}

#[test]
fn locations_are_paths_files_and_buckets() {
    for text in ["./data/flows/", "/a/*.json", "file:///a/b", "s3://bucket", "s3://b-1/x/y/"] {
        assert!(place(text, Purpose::Read).is_ok(), "{text}");
    }
}

#[test]
fn other_locations_are_told_what_to_write() {
    let write = "write a path, file:///path/ or s3://bucket/prefix/";
    for (text, message) in [
        ("", format!(r#""" is empty; {write}"#)),
        ("  ", format!(r#""  " is empty; {write}"#)),
        ("gs://b/x", format!(r#""gs://b/x" has an unknown scheme, gs; {write}"#)),
        ("s3a://b/x", r#""s3a://b/x" has an unknown scheme, s3a; write s3://b/x"#.to_owned()),
        ("S3://b/x", r#""S3://b/x" has an unknown scheme, S3; write s3://b/x"#.to_owned()),
        ("s3:///x", r#""s3:///x" names no bucket; write s3://bucket/prefix/"#.to_owned()),
        ("s3:b/x", format!(r#""s3:b/x" has no // after its scheme; {write}"#)),
        ("file://./x", r#""file://./x" has no absolute path; write file:///x or ./x"#.to_owned()),
    ] {
        assert_eq!(place(text, Purpose::Read), Err(message));
    }
    let message = place("./out/*/", Purpose::Write).unwrap_err();
    assert_eq!(message, r#""./out/*/" has a wildcard; write one folder to write into"#);
    assert!(place(&"x".repeat(1025), Purpose::Read).is_err());
}

#[test]
fn results_below_a_source_are_read_back() {
    for (read, written) in [
        ("./data", "./data/"),
        ("./data", "data/out"),
        ("./data/", "./x/../data/out/"),
        ("./data/*/", "./data/out/"),
        ("./data/o?t/*.parquet", "./data/out/"),
        ("./data/**/*.parquet", "./data/out/"),
        ("./data/out/tenant=a/", "./data/out/"),
        ("s3://b/", "s3://b/out/"),
        ("./data/[no]ut/", "./data/out/"),
    ] {
        assert!(reads(read, written), "{read} {written}");
    }
    let here = std::env::current_dir().unwrap();
    assert!(reads("data", &format!("file://{}/data/out", here.display())));
}

#[test]
fn results_beside_a_source_are_not() {
    for (read, written) in [
        ("./data/in/", "./data/out/"),
        ("./data/in", "./data/in2/"),
        ("./data/", "./data/_out/"),
        ("./data/", "./data/x/.hidden/out"),
        ("./data/*/", "./data/_out/"),
        ("./data/flows-*/", "./data/out/"),
        ("./data/*.json", "./data/"),
        ("./data/a.json", "./data/"),
        ("s3://a/x/", "s3://b/x/"),
        ("/x/", "s3://x/"),
    ] {
        assert!(!reads(read, written), "{read} {written}");
    }
}

#[test]
fn folders_are_nested_both_ways() {
    let folder = |text| place(text, Purpose::Write).unwrap();
    assert!(nested(&folder("./out/"), &folder("./out/x")));
    assert!(nested(&folder("./out/x"), &folder("out")));
    assert!(!nested(&folder("./out/x"), &folder("./out/y")));
    assert!(!nested(&folder("s3://a/x"), &folder("s3://b/x")));
}
