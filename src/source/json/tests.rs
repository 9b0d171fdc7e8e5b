//! What a JSON line may be, and what becomes of one that is not.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use datafusion::arrow::util::pretty::pretty_format_batches;
use proptest::prelude::*;

use super::*;

const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    Arc::new(Schema::new(fields.collect::<Fields>()))
}

fn structs(fields: &[(&str, DataType)]) -> DataType {
    DataType::Struct(schema(fields).fields().clone())
}

fn decode(columns: &[(&str, DataType)], text: impl AsRef<[u8]>) -> Decoded {
    let mut decoder = JsonDecoder::new("test.json", schema(columns), None, 8192);
    let decoded = decoder.decode(text.as_ref(), true).unwrap();
    assert_eq!(decoded.consumed, text.as_ref().len());
    decoded
}

/// The values of one column, as text, of lines that are all good.
fn column(data_type: DataType, lines: &[&str]) -> Vec<String> {
    let decoded = decode(&[("a", data_type)], lines.join("\n"));
    assert_eq!(decoded.rejects, vec![], "{lines:?}");
    let column = decoded.batch.column(0).clone();
    (0..column.len())
        .map(|row| match column.is_null(row) {
            true => "NULL".to_owned(),
            false => datafusion::arrow::util::display::array_value_to_string(&column, row).unwrap(),
        })
        .collect()
}

/// The reject of a line that is between two good ones.
fn reject(data_type: DataType, line: impl AsRef<[u8]>) -> Reject {
    let line = line.as_ref();
    let decoded = decode(&[("a", data_type)], [b"{}\n\n", line, b"\n{}\n"].concat());
    assert_eq!(decoded.batch.num_rows(), 2, "{:?}", String::from_utf8_lossy(line));
    assert_eq!(decoded.rejects.len(), 1, "{decoded:?}");
    let reject = decoded.rejects[0].clone();
    assert_eq!((reject.line, reject.byte_offset), (3, 4));
    assert!(reject.raw == Reject::bounded(line));
    reject
}

#[test]
fn text_is_as_written_whatever_it_is() {
    let lines = [
        r#"{"a":"x\u00e9\ud83d\ude00\n"}"#,
        r#"{"a":1.50}"#,
        r#"{"a":-0}"#,
        r#"{"a":1E400}"#,
        r#"{"a":true}"#,
        r#"{"a":null}"#,
        r#"{"b":1}"#,
        r#"{"a":""}"#,
    ];
    assert_eq!(
        column(DataType::Utf8View, &lines),
        ["xé😀\n", "1.50", "-0", "1E400", "true", "NULL", "NULL", ""]
    );
}

#[test]
fn numbers_fit_when_nothing_is_lost() {
    let lines = [r#"{"a":12}"#, r#"{"a":12.0}"#, r#"{"a":"12"}"#, r#"{"a":1.2e1}"#];
    assert_eq!(column(DataType::Int32, &lines), ["12"; 4]);
    assert_eq!(column(DataType::Float64, &[r#"{"a":12}"#, r#"{"a":"0.1"}"#]), ["12.0", "0.1"]);
    assert_eq!(
        column(DataType::Decimal128(10, 2), &[r#"{"a":12.345}"#, r#"{"a":"-1"}"#]),
        ["12.35", "-1.00"]
    );
    assert_eq!(
        column(DataType::Boolean, &[r#"{"a":true}"#, r#"{"a":"FALSE"}"#]),
        ["true", "false"]
    );
}

#[test]
fn times_come_as_text_or_numbers() {
    let lines = [
        r#"{"a":"2026-01-01T01:00:00+01:00"}"#,
        r#"{"a":1767225600}"#,
        r#"{"a":1767225600000}"#,
        r#"{"a":1767225600.000}"#,
        r#"{"a":"1767225600"}"#,
        r#"{"a":"2026-01-01"}"#,
    ];
    assert_eq!(column(TIMESTAMP, &lines), ["2026-01-01T00:00:00"; 6]);
    assert_eq!(column(DataType::Date32, &[r#"{"a":"2026-01-01"}"#]), ["2026-01-01"]);
    let mut decoder =
        JsonDecoder::new("f", schema(&[("a", TIMESTAMP)]), Some(EpochUnit::Milliseconds), 10);
    let decoded = decoder.decode(br#"{"a":1500}"#, true).unwrap();
    assert_eq!(
        decoded.batch.column(0).as_primitive::<TimestampMicrosecondType>().value(0),
        1_500_000
    );
}

#[test]
fn a_value_that_does_not_fit_rejects_its_row_and_says_why() {
    for (data_type, line, says) in [
        (DataType::Int32, r#"{"a":12.5}"#, "\"12.5\" has a fraction, which INT cannot hold"),
        (DataType::Int8, r#"{"a":128}"#, "\"128\" is out of the range of TINYINT"),
        (DataType::Int64, r#"{"a":9223372036854775808}"#, "out of the range of BIGINT"),
        (DataType::Int32, r#"{"a":" 12"}"#, "\" 12\" is not INT"),
        (DataType::Int32, r#"{"a":true}"#, "\"true\" is not INT"),
        (DataType::Int32, r#"{"a":""}"#, "\"\" is not INT"),
        (DataType::Boolean, r#"{"a":1}"#, "\"1\" is not BOOLEAN"),
        (DataType::Float64, r#"{"a":1e999}"#, "out of the range of DOUBLE"),
        (TIMESTAMP, r#"{"a":"yesterday"}"#, "\"yesterday\" is not TIMESTAMP"),
        (DataType::Int32, r#"{"a":[1]}"#, "is not INT"),
        (structs(&[("b", DataType::Int32)]), r#"{"a":7}"#, "\"7\" is not STRUCT"),
    ] {
        let reject = reject(data_type, line);
        assert!(reject.message.contains(says), "{}", reject.message);
        assert_eq!(reject.field.as_deref(), Some("a"), "{line}");
    }
}

#[test]
fn a_line_that_is_not_one_object_is_a_reject() {
    for (line, says) in [
        (&br#"{"a":1} {"a":2}"#[..], "more than one JSON value"),
        (br#"{"a":1}{"#, "trailing characters at byte 8"),
        (br#"{"a":1"#, "ends inside"),
        (br#"{"a":"x"#, "ends inside"),
        (br#"[1,2]"#, "not a JSON object"),
        (br#"12"#, "not a JSON object"),
        (br#""text""#, "not a JSON object"),
        (br#"null"#, "not a JSON object"),
        (br#"}"#, "not JSON"),
        (br#"hello world"#, "not JSON: expected value at byte 1"),
        (br#"{"a":tru}"#, "not JSON"),
        (br#"{"a":"\ud800x"}"#, "not JSON"),
        (b"{\"a\":\"\xff\"}", "not valid UTF-8"),
        (b"{\"zzz\":\"\xff\"}", "not valid UTF-8"),
    ] {
        let reject = reject(DataType::Utf8View, line);
        assert!(
            reject.message.contains(says),
            "{}: {}",
            String::from_utf8_lossy(line),
            reject.message
        );
    }
}

#[test]
fn an_object_over_two_lines_is_two_rejects_even_beside_a_line_with_two() {
    let decoded = decode(&[("a", DataType::Int32)], "{\"a\":1,\n\"b\":2} {\"a\":3}\n{\"a\":4}\n");
    assert_eq!(decoded.rejects.iter().map(|reject| reject.line).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(decoded.batch.column(0).as_primitive::<Int32Type>().values(), &[4]);
}

#[test]
fn a_number_that_is_the_whole_last_line_is_a_reject() {
    let decoded = decode(&[("a", DataType::Int32)], "{}\n12");
    assert_eq!((decoded.batch.num_rows(), decoded.rejects.len()), (1, 1));
    let decoded = decode(&[("a", DataType::Int32)], "{}\n{\"a\":12");
    assert_eq!((decoded.batch.num_rows(), decoded.rejects.len()), (1, 1));
}

#[test]
fn keys_match_exactly_dots_included_and_the_last_of_two_counts() {
    let columns = [("id.orig_h", DataType::Utf8View), ("A", DataType::Int32)];
    let decoded = decode(&columns, r#"{"id.orig_h":"h","id":{"orig_h":"no"},"a":1,"A":2,"A":3}"#);
    assert_eq!(decoded.batch.column(0).as_string_view().value(0), "h");
    assert_eq!(decoded.batch.column(1).as_primitive::<Int32Type>().value(0), 3);
}

#[test]
fn nested_objects_are_structs_and_a_fault_in_them_has_a_dotted_name() {
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let alert = structs(&[("severity", DataType::Int32), ("tags", DataType::List(item))]);
    let decoded = decode(
        &[("alert", alert)],
        r#"{"alert":{"severity":"3","tags":[1,"2"],"more":{}}}
{"alert":null}
{"alert":{"severity":"high"}}
{"alert":{"tags":[1,2,3.5]}}
{"alert":{"tags":[1,{}]}}
{"alert":{"severity":{"x":1}}}
{"alert":{"tags":[]}}"#,
    );
    let shown = pretty_format_batches(&[decoded.batch]).unwrap().to_string();
    assert!(shown.contains("{severity: 3, tags: [1, 2]}"), "{shown}");
    assert!(shown.contains("{severity: , tags: []}"), "{shown}");
    let faults: Vec<_> =
        decoded.rejects.iter().map(|r| (r.line, r.field.as_deref().unwrap_or(""))).collect();
    assert_eq!(
        faults,
        [(3, "alert.severity"), (4, "alert.tags"), (5, "alert.tags"), (6, "alert.severity")]
    );
    assert_eq!(decoded.rejects[3].message, "\"{x: 1}\" is not INT".replace("x:", "\\\"x\\\":"));
}

#[test]
fn marks_line_ends_and_blank_lines_are_no_rows() {
    let text = b"\xEF\xBB\xBF\r\n  \n{\"a\":1}\r\n\n{\"a\":2}\r\nx\r\n{\"a\":3}";
    let decoded = decode(&[("a", DataType::Int32)], text);
    assert_eq!(decoded.batch.column(0).as_primitive::<Int32Type>().values(), &[1, 2, 3]);
    assert_eq!((decoded.rejects[0].line, &decoded.rejects[0].raw[..]), (6, &b"x"[..]));
    assert_eq!(decode(&[("a", DataType::Int32)], b"\xEF\xBB\xBF").batch.num_rows(), 0);
    assert_eq!(decode(&[("a", DataType::Int32)], b"\n \n").batch.num_rows(), 0);
}

#[test]
fn rows_are_counted_when_no_column_is_wanted() {
    let decoded = decode(&[], "{\"a\":1}\n{}\nx\n");
    assert_eq!((decoded.batch.num_rows(), decoded.rejects.len()), (2, 1));
}

#[test]
fn deep_nesting_is_a_reject_and_not_a_stack_overflow() {
    let deep = format!("{{\"a\":{}", "[".repeat(1_000_000));
    assert!(reject(DataType::Int32, &deep).message.contains("nested deeper"));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    assert!(reject(DataType::Int32, &deep).message.contains("is not INT"));
    let wide = format!("{{\"b\":[{}[]],\"s\":\"{}\\\"\"}}", "[],".repeat(2000), "[".repeat(3000));
    assert_eq!(column(DataType::Int32, &[&wide]), ["NULL"]);
}

#[test]
fn a_batch_is_never_longer_than_asked_for() {
    let text = "{\"a\":1}\n".repeat(25);
    let mut decoder = JsonDecoder::new("f", schema(&[("a", DataType::Int64)]), None, 10);
    let mut rest = text.as_bytes();
    let mut rows = Vec::new();
    while !rest.is_empty() {
        let decoded = decoder.decode(rest, true).unwrap();
        rows.push(decoded.batch.num_rows());
        rest = &rest[decoded.consumed..];
    }
    assert_eq!(rows, [10, 10, 5]);
}

#[test]
fn many_bad_lines_stay_cheap() {
    let mut text = String::new();
    for row in 0..50_000 {
        text += if row % 3 == 0 {
            "{\"a\":[]}\n"
        } else if row % 3 == 1 {
            "garbage\n"
        } else {
            "{\"a\":1}\n"
        };
    }
    let mut decoder = JsonDecoder::new("f", schema(&[("a", DataType::Int64)]), None, 8192);
    let (rows, rejects, _) = drain(&mut decoder, text.as_bytes(), &[text.len()]);
    assert_eq!((rows.len(), rejects.len()), (16_666, 33_334));
    assert!(rejects.is_sorted_by_key(|reject| reject.line));
}

/// Feeds `text` in blocks that end at `cuts`, as the reader does: what was not consumed
/// comes again in front of what is new.
fn drain(
    decoder: &mut JsonDecoder,
    text: &[u8],
    cuts: &[usize],
) -> (Vec<Option<i64>>, Vec<Reject>, usize) {
    let (mut start, mut rows, mut rejects) = (0, Vec::new(), Vec::new());
    for cut in cuts.iter().copied().chain([text.len()]) {
        let end = cut == text.len();
        while start < cut {
            let decoded = decoder.decode(&text[start..cut], end).unwrap();
            rows.extend(decoded.batch.column(0).as_primitive::<Int64Type>().iter());
            rejects.extend(decoded.rejects);
            start += decoded.consumed;
            if decoded.consumed == 0 {
                assert!(!end);
                break;
            }
        }
    }
    (rows, rejects, start)
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => any::<i64>().prop_map(|value| format!("{{\"a\":{value}}}")),
        2 => any::<u8>().prop_map(|value| format!("{{\"b\":\"é{value}\",\"a\":\"{value}.0\"}}")),
        1 => Just(String::new()),
        1 => Just("  \r".to_owned()),
        1 => Just("{\"a\":1.5}".to_owned()),
        1 => Just("{\"a\":[1]}".to_owned()),
        1 => Just("{\"a\":1} {\"a\":2}".to_owned()),
        1 => Just("{\"a\":".to_owned()),
        1 => Just("nonsense".to_owned()),
    ]
}

proptest! {
    #[test]
    fn cutting_into_blocks_changes_nothing(
        lines in prop::collection::vec(line(), 0..60),
        mark in any::<bool>(),
        last_break in any::<bool>(),
        cuts in prop::collection::vec(0.0..1.0_f64, 0..12),
        batch_rows in 1_usize..20,
    ) {
        // Several values on the first line would make it a file of values.
        let text = format!("{}{{}}\n{}{}", if mark { "\u{feff}" } else { "" }, lines.join("\n"), if last_break { "\n" } else { "" });
        let mut cuts: Vec<usize> = cuts.iter().map(|at| (at * text.len() as f64) as usize).collect();
        cuts.sort_unstable();
        let schema = schema(&[("a", DataType::Int64)]);
        let whole = drain(&mut JsonDecoder::new("f", schema.clone(), None, 8192), text.as_bytes(), &[]);
        let cut = drain(&mut JsonDecoder::new("f", schema, None, batch_rows), text.as_bytes(), &cuts);
        prop_assert_eq!(&whole.0, &cut.0);
        prop_assert_eq!(&whole.1, &cut.1);
        let blank = lines.iter().filter(|line| line.trim().is_empty()).count();
        prop_assert_eq!(whole.0.len() + whole.1.len() + blank, lines.len() + 1);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\\n1eu".to_vec())], 0..200)) {
        let decoder = &mut JsonDecoder::new("f", schema(&[("a", DataType::Int64)]), None, 8192);
        drain(decoder, &bytes, &[]);
    }
}
