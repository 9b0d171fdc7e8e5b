//! What CSV may look like, and what is rejected.

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{Field as Column, Fields, Int32Type, Schema, TimeUnit};
use datafusion::arrow::util::display::array_value_to_string;
use proptest::prelude::*;

use super::*;

fn declared() -> SchemaRef {
    let columns = [
        ("id", DataType::Int32),
        ("name", DataType::Utf8View),
        ("at", DataType::Timestamp(TimeUnit::Microsecond, None)),
    ];
    Arc::new(Schema::new(
        columns.map(|(name, data_type)| Column::new(name, data_type, true)).to_vec(),
    ))
}

fn decoder(delimiter: u8, null: Option<&str>) -> CsvDecoder {
    let options = CsvOptions { delimiter, null: null.map(str::to_owned) };
    CsvDecoder::new("t.csv", declared(), &[0, 1], options, None, 8192).unwrap()
}

fn decode(text: &str) -> Decoded {
    drain(&mut decoder(b',', None), text.as_bytes(), &[]).unwrap()
}

/// Feeds `text` in blocks that end at `cuts`; the batches in one.
fn drain(decoder: &mut CsvDecoder, text: &[u8], cuts: &[usize]) -> SourceResult<Decoded> {
    let (mut batches, mut rejects, mut start) = (Vec::new(), Vec::new(), 0);
    for cut in cuts.iter().copied().chain([text.len()]) {
        let end = cut == text.len();
        while start < cut {
            let decoded = decoder.decode(&text[start..cut], end)?;
            start += decoded.consumed;
            batches.push(decoded.batch);
            rejects.extend(decoded.rejects);
            if decoded.consumed == 0 {
                assert!(!end);
                break;
            }
        }
    }
    let batch = datafusion::arrow::compute::concat_batches(&decoder.schema, &batches).unwrap();
    Ok(Decoded { batch, rejects, consumed: start })
}

fn names(decoded: &Decoded) -> Vec<Option<&str>> {
    decoded.batch.column(1).as_string_view().iter().collect()
}

#[test]
fn columns_are_found_by_name() {
    let decoded = decode("extra,name,id\nx,a,1\ny,b,2\n");
    assert_eq!(names(&decoded), [Some("a"), Some("b")]);
    assert_eq!(decoded.batch.column(0).as_primitive::<Int32Type>().values(), &[1, 2]);
}

#[test]
fn a_missing_column_is_null() {
    let decoded = decode("id\n1\n");
    assert_eq!(names(&decoded), [None]);
}

#[test]
fn nothing_is_null_and_quoted_nothing_is_empty_text() {
    let decoded = decode("id,name\n1,\n2,\"\"\n3,NA\n,x\n");
    assert_eq!(names(&decoded), [None, Some(""), Some("NA"), Some("x")]);
    assert!(decoded.batch.column(0).is_null(3));
    let decoded =
        drain(&mut decoder(b';', Some("NA")), b"id;name\n1;NA\n2;\"NA\"\nNA;\n", &[]).unwrap();
    assert_eq!(names(&decoded), [None, Some("NA"), None]);
    assert!(decoded.batch.column(0).is_null(2));
}

#[test]
fn quotes_hold_delimiters_line_breaks_and_quotes() {
    let decoded = decode("id,name\r\n1,\"a,\"\"b\"\"\r\nc\"\r\n2,5\"\r\n\r\nx,y\r\n");
    assert_eq!(names(&decoded), [Some("a,\"b\"\r\nc"), Some("5\"")]);
    assert_eq!((decoded.rejects[0].line, decoded.rejects[0].field.as_deref()), (6, Some("id")));
    assert_eq!(decoded.rejects[0].raw, b"x,y");
}

#[test]
fn bad_records_are_rejected_by_line() {
    let text = "id,name\n1,a,b\n2\n3,\"a\"b\n4,ok\n5.5,x\n6,\"open\n";
    let decoded = decode(text);
    assert_eq!(names(&decoded), [Some("ok")]);
    let rejects: Vec<_> = decoded.rejects.iter().map(|r| (r.line, r.message.as_str())).collect();
    assert_eq!(
        rejects,
        [
            (2, "3 fields where the header has 2"),
            (3, "1 fields where the header has 2"),
            (4, "text follows a closing quote"),
            (6, "\"5.5\" has a fraction, which INT cannot hold"),
            (7, "a quote is never closed"),
        ]
    );
    assert_eq!(decoded.rejects[2].byte_offset, text.find("3,").unwrap() as u64);
    let decoded = drain(&mut decoder(b',', None), b"id,name\n1,\xff\n2,b", &[]).unwrap();
    assert_eq!(
        (names(&decoded), decoded.rejects[0].message.as_str()),
        (vec![Some("b")], "not valid UTF-8")
    );
}

#[test]
fn a_header_that_cannot_be_right_is_an_error() {
    for (text, says) in [
        (
            "id,name,id\n",
            "t.csv: line 1: the header has two columns \"id\", fields 1 and 3, and the job reads it",
        ),
        ("\n1;2\n", "t.csv: line 2: the header has none of the declared columns; it has 1;2"),
        ("id,\"name\n", "a quote is never closed"),
    ] {
        let error = drain(&mut decoder(b',', None), text.as_bytes(), &[]).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert!(
        CsvDecoder::new(
            "t.csv",
            Arc::new(Schema::new(vec![Column::new("s", DataType::Struct(Fields::empty()), true)])),
            &[0],
            CsvOptions::default(),
            None,
            1
        )
        .is_err()
    );
}

#[test]
fn a_name_that_is_twice_matters_only_where_it_is_read() {
    let decoded = decode("id,len,at,name,len,at\n1,20,x,a,21,y\n");
    assert_eq!((names(&decoded), &decoded.rejects), (vec![Some("a")], &vec![]));
    // As many names as there may be fields are looked up in one pass over them.
    let header: String = (0..200_000).map(|at| format!(",c{at}")).collect();
    let begun = std::time::Instant::now();
    assert_eq!(names(&decode(&format!("id,name{header}\n"))), [None; 0]);
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

#[test]
fn comments_before_the_header_are_skipped() {
    let text = "# made by \"x\n#id\n\n#\r\nid,name\n#1,a\n2,b\n";
    let decoded = decode(text.replace("#id", "#ident").as_str());
    assert_eq!(names(&decoded), [Some("b")]);
    assert_eq!((decoded.rejects[0].line, decoded.rejects[0].field.as_deref()), (6, Some("id")));
    assert_eq!(names(&decode("#seq,id,name\n9,1,a\n")), [Some("a")], "it is the header");
}

#[test]
fn a_backslash_before_a_quote_is_an_escape_where_the_record_fits_no_other_way() {
    let decoded = decode(
        "id,name\n1,\"say \\\"hi\\\", \\\\ and\\n\"\n2,\"C:\\\"\n3,\"a\\\"\"b\"\n4,\"he said \\\"\"\n5,x\n",
    );
    assert_eq!(decoded.rejects, []);
    assert_eq!(
        names(&decoded),
        [
            Some("say \"hi\", \\ and\\n"),
            Some("C:\\"),
            Some("a\\\"b"),
            Some("he said \""),
            Some("x")
        ]
    );
}

#[test]
fn lines_may_end_with_carriage_returns_alone() {
    let decoded = decode("id,name\r1,\"a\rb\"\r\r2,c\rx,d\r3,e");
    assert_eq!(names(&decoded), [Some("a\rb"), Some("c"), Some("e")]);
    assert_eq!(decoded.rejects[0].line, 6);
    assert_eq!(names(&decode("id,name\n1,a\rb\n")), [Some("a\rb")], "the header's line end counts");
}

#[test]
fn delimiters_at_the_end_of_a_line_are_no_fields() {
    for text in ["id,name,\n1,a,\n2,b\n", "id,name\n1,a,\n2,b,,\n", "id,name,,\n1,a,x,y\n2,b,\n"] {
        assert_eq!(names(&decode(text)), [Some("a"), Some("b")], "{text:?}");
    }
    let decoded = decode("id,name\n1,a,\"\"\n2,b,x\n3,c\n");
    assert_eq!((names(&decoded), decoded.rejects.len()), (vec![Some("c")], 2));
}

#[test]
fn a_column_that_the_header_has_not_is_what_the_folders_say() {
    let constant = datafusion::common::ScalarValue::Utf8View(Some("acme".to_owned()));
    let constants = vec![None, Some(constant)];
    let decoder = || decoder(b',', None).with_constants(constants.clone());
    let decoded = drain(&mut decoder(), b"id\n1\n2\n", &[]).unwrap();
    assert_eq!(names(&decoded), [Some("acme"); 2]);
    let decoded = drain(&mut decoder(), b"id,name\n1,\n2,x\n", &[]).unwrap();
    assert_eq!(names(&decoded), [None, Some("x")], "the file has the column");
}

#[test]
fn files_without_rows_have_none() {
    for text in ["", "\n", "id,name", "id,name\n\n", "\u{feff}"] {
        assert_eq!(
            drain(&mut decoder(b',', None), text.as_bytes(), &[]).unwrap().batch.num_rows(),
            0,
            "{text:?}"
        );
    }
    assert_eq!(names(&decode("\u{feff}id,name\n1,a")), [Some("a")]);
}

#[test]
fn a_column_that_is_not_wanted_is_not_converted() {
    assert_eq!(decode("id,name,at\n1,a,never\n").rejects, []);
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9. ]{0,4}",
        "[a-zé\",\r\n]{0,5}".prop_map(|text| format!("\"{}\"", text.replace('"', "\"\""))),
        Just("a\"b".to_owned()),
        Just("\"a\"b".to_owned()),
        Just("\"a\\\"b\"".to_owned()),
        Just("\"a\\\"\"".to_owned()),
    ]
}

proptest! {
    #[test]
    fn cutting_into_blocks_changes_nothing(
        rows in prop::collection::vec(prop::collection::vec(field(), 1..4), 0..30),
        line_break in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        head in prop::sample::select(vec!["", "# a\n", "\n#\r\n"]),
        cuts in prop::collection::vec(0.0..1.0_f64, 0..10),
    ) {
        let mut text = format!("{head}name,id");
        for row in rows {
            text += line_break;
            text += &row.join(",");
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|at| (at * text.len() as f64) as usize).collect();
        cuts.sort_unstable();
        let whole = drain(&mut decoder(b',', None), text.as_bytes(), &[]).unwrap();
        let cut = drain(&mut decoder(b',', None), text.as_bytes(), &cuts).unwrap();
        prop_assert_eq!(whole.rejects, cut.rejects);
        prop_assert_eq!(whole.batch, cut.batch);
    }

    #[test]
    fn quoted_text_comes_back_as_it_was(values in prop::collection::vec("\\PC{0,8}|[\"\r\n,]{0,8}", 1..20)) {
        let mut text = "name\n".to_owned();
        for value in &values {
            text += &format!("\"{}\"\n", value.replace('"', "\"\""));
        }
        let decoded = decode(&text);
        let column = decoded.batch.column(1);
        let read: Vec<_> = (0..column.len()).map(|row| array_value_to_string(column, row).unwrap()).collect();
        prop_assert_eq!(values, read);
    }
}
