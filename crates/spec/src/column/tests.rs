//! Types in all their spellings, and what is said about those that are none.

use super::sql_type::parse_type;
use super::{Column, ColumnType};

fn array(element: ColumnType) -> ColumnType {
    ColumnType::Array(Box::new(element))
}

fn both() -> ColumnType {
    let column = |name: &str, ty| Column { name: name.to_owned(), ty };
    ColumnType::Struct(vec![column("a", ColumnType::BigInt), column("b", ColumnType::Varchar)])
}

#[test]
fn types_have_their_sql_spellings_in_any_case() {
    for (text, ty) in [
        ("bool", ColumnType::Boolean),
        ("TinyInt", ColumnType::TinyInt),
        ("int2", ColumnType::SmallInt),
        ("INTEGER", ColumnType::Int),
        ("INT8", ColumnType::BigInt),
        ("FLOAT", ColumnType::Real),
        ("double  precision", ColumnType::Double),
        ("text", ColumnType::Varchar),
        ("String", ColumnType::Varchar),
        ("date", ColumnType::Date),
        ("timestamp", ColumnType::Timestamp),
        ("DECIMAL", ColumnType::Decimal { precision: 38, scale: 10 }),
        ("numeric(12)", ColumnType::Decimal { precision: 12, scale: 0 }),
        ("DECIMAL (10, 2)", ColumnType::Decimal { precision: 10, scale: 2 }),
        ("VARCHAR[]", array(ColumnType::Varchar)),
        ("int[][]", array(array(ColumnType::Int))),
        ("array<double>", array(ColumnType::Double)),
        ("ARRAY<DECIMAL(3,1)>", array(ColumnType::Decimal { precision: 3, scale: 1 })),
        ("STRUCT<a BIGINT, b VARCHAR>", both()),
        ("struct ( a bigint , \"b\" varchar )", both()),
        ("STRUCT<a: BIGINT, `b`: STRING>[]", array(both())),
        ("ARRAY<STRUCT<a INT8, b TEXT>>", array(both())),
        ("LIST(DOUBLE PRECISION)", array(ColumnType::Double)),
        (
            "STRUCT<Id.Orig STRUCT(x DECIMAL(3, 1)[])>",
            ColumnType::Struct(vec![Column {
                name: "Id.Orig".to_owned(),
                ty: ColumnType::Struct(vec![Column {
                    name: "x".to_owned(),
                    ty: array(ColumnType::Decimal { precision: 3, scale: 1 }),
                }]),
            }]),
        ),
    ] {
        assert_eq!(parse_type(text, 8), Ok(ty), "{text}");
    }
}

#[test]
fn what_is_no_type_is_told_what_to_write() {
    for (text, right) in [
        ("TIMESTMP", "write TIMESTAMP"),
        ("TIMESTAMPTZ", "write TIMESTAMP, which takes any offset and keeps UTC"),
        ("VARCHAR(255)", "lengths are not enforced, so write VARCHAR"),
        ("UINT32", "write BIGINT, which holds all its values"),
        ("STRUCT", "write a mapping of its fields, or STRUCT<a INT, b VARCHAR>"),
        ("STRUCT<a INTEGR>", "of its field \"a\", write INTEGER"),
        (
            "STRUCT<a STRUCT<b UINT8>>",
            "of its field \"a\", of its field \"b\", write SMALLINT, which holds all its values",
        ),
        ("STRUCT<a INT, a INT>", "it has two fields \"a\"; rename one"),
        ("STRUCT<INT>", "of its field \"INT\", its type is not known"),
        (
            "STRUCT<a INT",
            "it has no > at its end, for a comma between braces ends a YAML value; quote the type: \"STRUCT<a INT, b VARCHAR>\"",
        ),
        ("ARRAY<INT)", "\")\" stands where > would end it"),
        ("INT x", "write INT"),
        ("INT[3]", "write an array as INT[]"),
        ("ARRAY<INT> NOT NULL", "\"NOT NULL\" follows a type; remove it"),
        (
            "DECIMAL(10",
            "a comma between braces ends a YAML value, so quote the type: \"DECIMAL(10, 2)\"",
        ),
        ("DECIMAL(39, 2)", "write DECIMAL(precision, scale), 1 to 38 digits, scale <= precision"),
        ("DECIMAL(3, 4)", "write DECIMAL(precision, scale), 1 to 38 digits, scale <= precision"),
    ] {
        let message = format!("{text:?} is not a type; {right}");
        assert_eq!(parse_type(text, 8), Err(message));
    }
    let message = parse_type("GEOMETRY", 8).unwrap_err();
    assert!(message.contains("write one of BOOLEAN, TINYINT"), "{message}");
}

#[test]
fn arrays_are_nested_only_so_deep() {
    assert!(parse_type(&format!("INT{}", "[]".repeat(7)), 8).is_ok());
    for text in [
        format!("INT{}", "[]".repeat(8)),
        format!("INT{}", "[]".repeat(100_000)),
        "ARRAY<".repeat(100_000),
        "STRUCT<a ".repeat(100_000),
    ] {
        let message = parse_type(&text, 8).unwrap_err();
        assert!(message.ends_with("write fewer nested arrays and structs"), "{message}");
    }
}
