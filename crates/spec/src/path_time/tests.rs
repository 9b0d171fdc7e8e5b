//! Paths as people have them, and patterns that cannot be.

use proptest::prelude::*;

use super::{COMMON, PathTime, parse};

/// The time that `times` finds, as text.
fn shown(times: &PathTime, path: &str) -> String {
    let Some(us) = times.find(path) else { return "none".to_owned() };
    assert_eq!(us % 1_000_000, 0);
    let seconds = us / 1_000_000;
    // The other way round, day by day: it shares nothing with the code under test but the calendar.
    let (mut day, mut year) = (seconds / 86_400, 1970);
    let length = |year: i64| match (year % 4, year % 100, year % 400) {
        (0, 0, 0) => 366,
        (0, 0, _) => 365,
        (0, ..) => 366,
        _ => 365,
    };
    while day >= length(year) {
        day -= length(year);
        year += 1;
    }
    let second = seconds % 86_400;
    format!("{year}+{day} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

#[test]
fn common_layouts_are_found_without_a_pattern() {
    let times = PathTime::default();
    for (path, expected) in [
        ("2026/01/05/part.json", "2026+4 00:00:00"),
        ("2026/01/05/23/part.json", "2026+4 23:00:00"),
        ("2026/01/05/23/45/part.json", "2026+4 23:45:00"),
        ("2026/03/01/2345.json", "2026+59 23:45:00"),
        ("2026/03/01/2345/part.json", "2026+59 23:45:00"),
        ("date=2026-01-05/part.json", "2026+4 00:00:00"),
        ("tenant=a/date=2026-01-05/hour=07/part.json", "2026+4 07:00:00"),
        ("tenant=a/dt=20260105/part.json", "2026+4 00:00:00"),
        ("dt=2026-01-05-07/part.json", "2026+4 07:00:00"),
        ("year=2026/month=1/day=5/hour=7/part.json", "2026+4 07:00:00"),
        ("year=2026/month=01/day=05/part.json", "2026+4 00:00:00"),
        ("20260105T0005/x", "2026+4 00:05:00"),
        ("app-20260105T000507.json", "2026+4 00:05:07"),
        ("app-20260105-000507.json", "2026+4 00:05:07"),
        ("app-20260105000507.log", "2026+4 00:05:07"),
        ("x/2026-01-05T07-30.json.gz", "2026+4 07:30:00"),
        ("x/2026-01-05T07:30:09Z.json.gz", "2026+4 07:30:09"),
        ("app-2026-01-05.log", "2026+4 00:00:00"),
        ("app-20260105.log", "2026+4 00:00:00"),
    ] {
        assert_eq!(shown(&times, path), expected, "{path}");
    }
}

#[test]
fn the_paths_of_aws_are_found_without_a_pattern() {
    let times = PathTime::default();
    for (path, expected) in [
        // A stamp in the name is finer than the folders of the day.
        (
            "AWSLogs/123412123456/vpcflowlogs/us-east-1/2026/01/01/\
             123412123456_vpcflowlogs_us-east-1_fl-0a1b_20260101T0005Z_5d4f.log.gz",
            "2026+0 00:05:00",
        ),
        (
            "AWSLogs/123412123456/CloudTrail/us-east-1/2024/02/29/\
             123412123456_CloudTrail_us-east-1_20240229T2355Z_a1B2.json.gz",
            "2024+59 23:55:00",
        ),
        ("E2EXAMPLE.2026-01-05-03.a1b2c3d4.gz", "2026+4 03:00:00"),
        ("2026-01-05-03-04-05-6A1B2C3D", "2026+4 03:04:05"),
        ("2026/01/05/03/stream-1-2026-01-05-03-04-05-0a1b2c3d-12ab", "2026+4 03:04:05"),
        // What follows the day is the beginning of a name and not an hour.
        ("2026/01/05/2026-01-05-12ab34cd", "2026+4 00:00:00"),
    ] {
        assert_eq!(shown(&times, path), expected, "{path}");
    }
}

#[test]
fn what_is_no_time_is_not_found() {
    let times = PathTime::default();
    for path in [
        "",
        "part-00000.json",
        "2026/13/05/x",
        "2026/02/29/x",
        "1234/01/05/x",
        "AWSLogs/202601050000/x",
        "a/120260105/x",
        "a/202601051/x",
    ] {
        assert_eq!(shown(&times, path), "none", "{path}");
    }
}

#[test]
fn a_pattern_stands_anywhere_and_a_star_for_whatever_is_between() {
    for (pattern, path, expected) in [
        ("dt=%Y-%m-%d/hour=%H/", "a/dt=2026-01-05/hour=07/x.json", "2026+4 07:00:00"),
        ("dt=%Y-%m-%d/hour=%H/", "a/dt=2026-01-05/x.json", "none"),
        ("dt=%Y-%m-%d/*/hour=%H/", "dt=2026-01-05/region=eu/az=1/hour=07/x", "2026+4 07:00:00"),
        ("/%Y/%m/", "logs/2026/03/x", "2026+59 00:00:00"),
        ("%Y.%j", "logs.2024.366.gz", "2024+365 00:00:00"),
        ("%Y.%j", "logs.2026.366.gz", "none"),
        ("app-%s.", "app-1767571200.json", "2026+4 00:00:00"),
        ("app-%s.", "app-17.json", "none"),
        ("%Y%m%d%H%M", "x-202601050730", "2026+4 07:30:00"),
        ("100%%-%Y", "100%-2026", "2026+0 00:00:00"),
        // A part that begins like the pattern and is not it is passed over.
        ("d%Y-%m-%d-%H", "d2026-13-01-05/d2026-01-05-07", "2026+4 07:00:00"),
    ] {
        let times = PathTime::new(pattern).unwrap();
        assert_eq!(shown(&times, path), expected, "{pattern} in {path}");
    }
}

#[test]
fn a_pattern_that_gives_no_time_is_told_what_to_write() {
    for (pattern, message) in [
        ("", r#""" is not a pattern; write one such as dt=%Y-%m-%d/hour=%H/, at most 256 bytes"#),
        ("dt=", r#""dt=" has no year; write %Y too, as in dt=%Y-%m-%d/hour=%H/"#),
        ("%m/%d", r#""%m/%d" has no year; write %Y too, as in dt=%Y-%m-%d/hour=%H/"#),
        ("%Y/%d", r#""%Y/%d" has %d without its month; write %m too, as in dt=%Y-%m-%d/hour=%H/"#),
        (
            "%Y/%m/%H",
            r#""%Y/%m/%H" has %H without its day; write %d too, as in dt=%Y-%m-%d/hour=%H/"#,
        ),
        (
            "%Y%m%d%M",
            r#""%Y%m%d%M" has %M without its hour; write %H too, as in dt=%Y-%m-%d/hour=%H/"#,
        ),
        (
            "%Y%m%d%H%S",
            r#""%Y%m%d%H%S" has %S without its minute; write %M too, as in dt=%Y-%m-%d/hour=%H/"#,
        ),
        (
            "%Y%j%m",
            r#""%Y%j%m" has %j beside %m or %d; write one of them, as in dt=%Y-%m-%d/hour=%H/"#,
        ),
        ("%Y/%Y", r#""%Y/%Y" has %Y twice; write it once, and * for what is between"#),
        ("%s/%Y", r#""%s/%Y" has %s, which is a whole time, and other letters; write one of them"#),
        ("%Y%", r#""%Y%" ends in %; write %Y, %m, %d, %j, %H, %M, %S or %s, or %% for a %"#),
        ("%y", r#""%y" has %y, which is not known; write %Y, %m, %d, %j, %H, %M, %S or %s"#),
    ] {
        assert_eq!(PathTime::new(pattern).unwrap_err(), message);
    }
}

#[test]
fn every_common_form_is_a_pattern() {
    for form in COMMON {
        assert!(parse(form).is_ok() && PathTime::new(form).is_ok(), "{form}");
    }
    assert_eq!(PathTime::default().forms.len(), COMMON.len());
}

proptest! {
    #[test]
    fn no_path_and_no_pattern_makes_it_panic(pattern in "[%YmdHMSjs*/0-9=ü-]{0,12}", path: String) {
        if let Ok(times) = PathTime::new(&pattern) {
            times.find(&path);
        }
        PathTime::default().find(&path);
    }
}
