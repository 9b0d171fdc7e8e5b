//! Times against chrono, and the forms that logs are full of.

use chrono::{DateTime, NaiveDate, SecondsFormat};
use proptest::prelude::*;

use super::*;

fn text(text: &str) -> Option<i64> {
    parse_timestamp(text, None)
}

fn chrono_us(text: &str) -> Option<i64> {
    Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros())
}

#[test]
fn every_form_of_one_instant_is_one_value() {
    let instant = Some(1_767_225_600_123_000);
    for form in [
        "2026-01-01T00:00:00.123Z",
        "2026-01-01t00:00:00.123z",
        "2026-01-01 00:00:00.123",
        "2026-01-01 00:00:00.123 UTC",
        "2026-01-01T00:00:00.1230000009",
        "2026-01-01T02:30:00.123+02:30",
        "2026-01-01T02:30:00.123+0230",
        "2026-01-01 02:00:00.123 +02",
        "2025-12-31T19:00:00.123-05:00",
        "1767225600.123",
        "1767225600123",
        "1767225600123000",
        "1767225600123000999",
        "1.767225600123e9",
    ] {
        assert_eq!(text(form), instant, "{form}");
    }
}

#[test]
fn a_date_alone_is_its_midnight_and_seconds_may_be_missing() {
    assert_eq!(text("1970-01-02"), Some(86_400_000_000));
    assert_eq!(text("1970-01-01T00:01Z"), Some(60_000_000));
    assert_eq!(text("2024-02-29"), Some(1_709_164_800_000_000));
    assert_eq!(date(b"2024-02-29"), Ok(19_782));
    assert_eq!(date(b"1970-01-01T00:30:00+01:00"), Ok(-1));
    assert_eq!(date(b"19782"), Err(Unfit::Malformed));
}

#[test]
fn a_leap_second_is_the_first_of_the_next_minute() {
    assert_eq!(text("2016-12-31T23:59:60Z"), text("2017-01-01T00:00:00Z"));
}

#[test]
fn what_is_no_time_is_refused() {
    for form in [
        "",
        "now",
        "2026-13-01",
        "2026-00-01",
        "2026-02-29",
        "2026-01-32",
        "2026-01-01T",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:61Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00 ",
        "2026-01-01T00:00:00ZZ",
        "2026-01-01X00:00:00",
        "2026-1-1",
        " 2026-01-01",
        "2026-01-01T00:00:00+1",
        "2026-01-01T00:00:00+01:0",
        "2026-01-01T0:00:00",
        "12 34",
        "1e",
    ] {
        assert_eq!(text(form), None, "{form:?}");
    }
}

#[test]
fn the_size_of_a_number_tells_its_unit_unless_it_is_given() {
    assert_eq!(text("99999999999"), Some(99_999_999_999_000_000));
    assert_eq!(text("100000000000"), Some(100_000_000_000_000));
    assert_eq!(text("99999999999.9"), Some(99_999_999_999_900_000));
    assert_eq!(text("-1"), Some(-1_000_000));
    assert_eq!(text("-100000000000"), Some(-100_000_000_000_000));
    assert_eq!(text("-0.25"), Some(-250_000));
    assert_eq!(parse_timestamp("1500", Some(EpochUnit::Milliseconds)), Some(1_500_000));
    assert_eq!(parse_timestamp("1.5", Some(EpochUnit::Milliseconds)), Some(1_500));
    assert_eq!(timestamp_from_number(-1, Some(EpochUnit::Nanoseconds)), Some(-1));
    assert_eq!(parse_timestamp("-0.001", Some(EpochUnit::Microseconds)), Some(-1));
    assert_eq!(from_float(1_700_000_000.25, None), Ok(1_700_000_000_250_000));
    assert_eq!(from_float(f64::NAN, None), Err(Unfit::OutOfRange));
}

#[test]
fn far_away_times_are_out_of_range() {
    assert_eq!(text("0001-01-01"), Some(-62_135_596_800_000_000));
    assert_eq!(timestamp(b"0000-12-31T23:59:59.999999", None), Err(Unfit::OutOfRange));
    assert_eq!(date(b"0000-12-31"), Err(Unfit::OutOfRange));
    for far in [
        "infinity",
        "-Infinity",
        "10000-01-01",
        "+10000-01-01T00:00:00Z",
        "-0044-03-15",
        "290309-12-22 (BC) 00:00:00",
    ] {
        assert_eq!(timestamp(far.as_bytes(), None), Err(Unfit::OutOfRange), "{far}");
        assert_eq!(date(far.as_bytes()), Err(Unfit::OutOfRange), "{far}");
    }
    for none in ["", "-", "infinite", "123-01-01", "2026-1-1", "10000/01/01"] {
        assert_eq!(date(none.as_bytes()), Err(Unfit::Malformed), "{none}");
    }
    assert_eq!((date(b"0001-01-01"), date(b"9999-12-31")), (Ok(-719_162), Ok(2_932_896)));
    assert_eq!(timestamp(b"9999-12-31T23:59:59-01:00", None), Err(Unfit::OutOfRange));
    assert_eq!(timestamp(b"1000000000000000", Some(EpochUnit::Seconds)), Err(Unfit::OutOfRange));
    assert_eq!(timestamp(b"1e30", None), Err(Unfit::OutOfRange));
}

proptest! {
    #[test]
    fn text_agrees_with_chrono(seconds in -62_000_000_000_i64..253_000_000_000, nanos in 0_u32..1_000_000_000,
                               offset in -1439_i32..1440, digits in 0_usize..4) {
        let zone = chrono::FixedOffset::east_opt(offset * 60).unwrap();
        let time = DateTime::from_timestamp(seconds, nanos).unwrap().with_timezone(&zone);
        let format = [SecondsFormat::Secs, SecondsFormat::Millis, SecondsFormat::Micros, SecondsFormat::Nanos][digits];
        let written = time.to_rfc3339_opts(format, true);
        prop_assume!(written.len() >= 20 && !written.starts_with(['+', '-']));
        prop_assert_eq!(text(&written), chrono_us(&written), "{}", written);
    }

    #[test]
    fn any_text_is_accepted_only_with_chronos_value(written in "[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,12})?(Z|[+-][0-2][0-9]:[0-5][0-9])") {
        let ours = text(&written);
        prop_assert_eq!(ours, chrono_us(&written).filter(|us| RANGE_US.contains(us)), "{}", written);
    }

    #[test]
    fn dates_agree_with_chrono(year in 0_i32..10_000, month in 0_u32..14, day in 0_u32..33) {
        let theirs = NaiveDate::from_ymd_opt(year, month, day)
            .map(|date| date.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp_micros());
        prop_assert_eq!(text(&format!("{year:04}-{month:02}-{day:02}")), theirs);
    }

    #[test]
    fn fractional_seconds_are_exact(us in 0_i64..99_999_999_999_000_000) {
        prop_assert_eq!(text(&format!("{}.{:06}", us / 1_000_000, us % 1_000_000)), Some(us));
    }

    #[test]
    fn no_text_panics(written in "\\PC{0,40}") {
        let _ = text(&written);
    }
}
