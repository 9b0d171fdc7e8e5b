//! Files whose rows are not lines, read through the decoder in blocks of every size.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use proptest::prelude::*;

use crate::source::{Decoder, JsonDecoder, Reject};

fn declared() -> SchemaRef {
    let column = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        column("ts", DataType::Utf8View),
        column("n", DataType::Int64),
        column("note", DataType::Utf8View),
    ]))
}

/// The values of `n`, and the rejects, of a file that comes in blocks which end at `cuts`.
fn read(text: &str, cuts: &[usize], rows_max: usize) -> (Vec<Option<i64>>, Vec<Reject>) {
    let schema = Arc::new(declared().project(&[1, 2]).unwrap());
    let mut decoder = JsonDecoder::new("t.json", schema, None, rows_max).of_source(&declared());
    let (mut values, mut rejects, mut start) = (Vec::new(), Vec::new(), 0);
    for cut in cuts.iter().copied().chain([text.len()]) {
        let end = cut == text.len();
        while start < cut {
            let decoded = decoder.decode(&text.as_bytes()[start..cut], end).unwrap();
            start += decoded.consumed;
            values.extend(decoded.batch.column(0).as_primitive::<Int64Type>().iter());
            rejects.extend(decoded.rejects);
            if decoded.consumed == 0 {
                assert!(!end, "nothing was taken of {:?}", &text[start..]);
                break;
            }
        }
    }
    rejects.extend(decoder.end());
    (values, rejects)
}

fn numbers(text: &str) -> Vec<Option<i64>> {
    let (values, rejects) = read(text, &[], 8192);
    assert_eq!(rejects, [], "{text}");
    values
}

/// What is there is a part: a writer may be about to write the rest.
#[test]
fn an_array_that_is_not_finished_is_told_wherever_it_ends() {
    for text in [
        "[",
        "[\n{\"n\":1},\n",
        "[{\"n\":1}",
        r#"{"Records":[{"n":1},"#,
        r#"{"Records":[{"n":1},{"n":2}"#,
        r#"{"Records":[{"n":1},{"n":2}]"#,
        "{\"Records\":[{\"n\":1}],\"count\":1\n",
    ] {
        for cuts in [vec![], vec![1], (1..text.len()).collect()] {
            let (_, rejects) = read(text, &cuts, 8192);
            let said: Vec<&str> = rejects.iter().map(|reject| reject.message.as_str()).collect();
            assert!(said.iter().any(|said| said.contains("ends inside")), "{text}: {said:?}");
        }
    }
}

#[test]
fn the_elements_of_an_array_are_rows() {
    let both = [Some(1), Some(2)];
    for text in [
        r#"{"Records":[{"n":1},{"n":2,"x":{"y":[1]}}]}"#,
        "\u{feff} {\"Records\" : [ {\"n\":1}\n,\n{\"n\":2} ] } \n",
        r#"{"owner":"a","at":{"b":[1,"]"]},"logEvents":[{"n":1},{"n":2}],"count":2}"#,
        "{\"Records\":[{\"n\":1}]}{\"Records\":[]}\n{\"Records\":[{\"n\":2}]}",
        "{\n  \"Records\": [\n    {\n      \"n\": 1\n    },\n    {\"n\": 2}\n  ]\n}\n",
        r#"[{"n":1},{"n":2}]"#,
        "[\n\t{\"n\":1},\n\t{\"n\":2}\n]\n",
        "{\n  \"n\": 1\n}\n{\n  \"n\": 2\n}\n",
        "{\"n\":1}{\"n\":2}",
        "{\"n\":1} \n{\"n\":2}",
    ] {
        assert_eq!(numbers(text), both, "{text}");
    }
    for text in [r#"{"Records":[]}"#, "[]", "[ ]\n", " \n"] {
        assert_eq!(numbers(text), [], "{text}");
    }
}

#[test]
fn an_object_with_a_declared_column_is_a_row() {
    for text in [
        r#"{"answers":[{"n":7}],"n":1}"#,
        r#"{"\u0061":[{"n":7}],"\u006e":1}"#,
        r#"{"n":1,"answers":[{"n":7}]}"#,
        "{\"n\":1}\n{\"Records\":[{\"n\":7}],\"n\":2}",
    ] {
        assert_eq!(numbers(text)[0], Some(1), "{text}");
    }
    // Two arrays of objects, or one of something else: it is not told which has the rows.
    for text in [r#"{"a":[{"n":7}],"b":[{"n":8}]}"#, r#"{"a":[1,2]}"#, r#"{"a":[],"b":1}"#, "{}"] {
        assert_eq!(numbers(text), [None], "{text}");
    }
}

#[test]
fn a_bad_element_is_rejected_with_its_place() {
    let text = "{\"Records\":[{\"n\":1},\n {\"n\":1.5}, 7,{\"n\":}, {\"n\":2}]}";
    let (values, rejects) = read(text, &[], 8192);
    assert_eq!(values, [Some(1), Some(2)]);
    let told: Vec<(u64, u64, &str)> = rejects
        .iter()
        .map(|r| (r.line, r.byte_offset, std::str::from_utf8(&r.raw).unwrap()))
        .collect();
    let place = |part: &str| text.find(part).unwrap() as u64;
    assert_eq!(
        told,
        [
            (2, place("{\"n\":1.5"), "{\"n\":1.5}"),
            (2, place("7,"), "7"),
            (2, place("{\"n\":}"), "{\"n\":}")
        ]
    );
    assert_eq!(rejects[1].message, "not a JSON object: \"7\"");
}

#[test]
fn a_file_that_ends_too_early_is_a_reject() {
    let whole = r#"{"Records":[{"n":1},{"n":2}]}"#;
    let (values, rejects) = read(&whole[..25], &[], 8192);
    assert_eq!((values, rejects.len()), (vec![Some(1)], 1));
    let (_, rejects) = read("{\"n\":1}\n{\"n\":", &[], 8192);
    assert_eq!(rejects.len(), 1);
}

#[test]
fn what_is_nested_where_text_is_declared_stays_as_it_is_written() {
    let schema = Arc::new(declared().project(&[2]).unwrap());
    let mut decoder = JsonDecoder::new("t.json", schema, None, 8192);
    let text =
        "{\"note\":\"a\"}\n{\"note\":{\"b\" : [1.50]}}\n{\"note\":[\"\\u0041\"]}\n{\"note\":{]}\n";
    let decoded = decoder.decode(text.as_bytes(), true).unwrap();
    let notes: Vec<_> = decoded.batch.column(0).as_string_view().iter().flatten().collect();
    assert_eq!(notes, ["a", "{\"b\" : [1.50]}", "[\"\\u0041\"]"]);
    assert_eq!(decoded.rejects.len(), 1);
    let decoded = decoder.decode(b"{\"note\":[]}\n{\"note\":null}\n{\"note\":12}", true).unwrap();
    let notes = decoded.batch.column(0).as_string_view();
    assert_eq!((notes.value(0), notes.is_null(1), notes.value(2)), ("[]", true, "12"));
}

proptest! {
    #[test]
    fn blocks_and_batches_change_nothing(
        rows in prop::collection::vec(
            prop::sample::select(vec![
                r#"{"n":1}"#, r#"{"n":2,"x":"]}\""}"#, "{\n \"n\": 3\n}", r#"{"n":1.5}"#, "null",
            ]),
            0..12,
        ),
        around in prop::sample::select(vec![("[", ",", "]"), ("{\"R\":[", ", ", "]}"), (" {\"a\":1,\"R\": [ ", "\n,", " ],\"b\":[2]}\n")]),
        cuts in prop::collection::vec(0.0..1.0_f64, 0..8),
        rows_max in 1..5_usize,
    ) {
        let (open, separator, close) = around;
        // The first row says that the array is one of rows.
        let rows = [vec![r#"{"n":0}"#], rows].concat();
        let text = format!("{open}{}{close}", rows.join(separator));
        let mut cuts: Vec<usize> = cuts.iter().map(|at| (at * text.len() as f64) as usize).collect();
        cuts.sort_unstable();
        let whole = read(&text, &[], 8192);
        prop_assert_eq!(whole.0.len() + whole.1.len(), rows.len());
        prop_assert_eq!(read(&text, &cuts, rows_max), whole);
    }
}
