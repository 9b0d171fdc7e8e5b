//! The SQL text of one type, in the spellings that are common for it.
//!
//! Where spellings differ between systems, DataFusion's (PostgreSQL's) meaning is taken:
//! `INT8` has eight bytes, `FLOAT` is `REAL`.

use super::ColumnType;
use super::nested_type::{Wrong, nested_type};
use crate::report::quoted;
use crate::suggest::nearest;

/// The most digits of a 128-bit decimal.
const DECIMAL_DIGITS_MAX: u8 = 38;
/// The types as messages name them.
const NAMES: &str = "BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, REAL, DOUBLE, DECIMAL(10, 2), \
                     VARCHAR, DATE, TIMESTAMP, [VARCHAR] or ARRAY<VARCHAR> for an array, a mapping or \
                     STRUCT<a INT> for a struct";

/// Every spelling of a type without parameters.
const SPELLINGS: [(&str, ColumnType); 31] = [
    ("BOOLEAN", ColumnType::Boolean),
    ("BOOL", ColumnType::Boolean),
    ("TINYINT", ColumnType::TinyInt),
    ("SMALLINT", ColumnType::SmallInt),
    ("INT2", ColumnType::SmallInt),
    ("INT", ColumnType::Int),
    ("INTEGER", ColumnType::Int),
    ("INT4", ColumnType::Int),
    ("BIGINT", ColumnType::BigInt),
    ("INT8", ColumnType::BigInt),
    ("LONG", ColumnType::BigInt),
    ("REAL", ColumnType::Real),
    ("FLOAT", ColumnType::Real),
    ("FLOAT4", ColumnType::Real),
    ("DOUBLE", ColumnType::Double),
    ("DOUBLE PRECISION", ColumnType::Double),
    ("FLOAT8", ColumnType::Double),
    ("DECIMAL", DECIMAL),
    ("NUMERIC", DECIMAL),
    ("DEC", DECIMAL),
    ("VARCHAR", ColumnType::Varchar),
    ("TEXT", ColumnType::Varchar),
    ("STRING", ColumnType::Varchar),
    ("CHAR", ColumnType::Varchar),
    ("CHARACTER", ColumnType::Varchar),
    ("CHARACTER VARYING", ColumnType::Varchar),
    ("NVARCHAR", ColumnType::Varchar),
    ("DATE", ColumnType::Date),
    ("TIMESTAMP", ColumnType::Timestamp),
    ("TIMESTAMP WITHOUT TIME ZONE", ColumnType::Timestamp),
    ("DATETIME", ColumnType::Timestamp),
];

const DECIMAL: ColumnType = ColumnType::Decimal { precision: 38, scale: 10 };

/// Reads a type such as `varchar`, `DECIMAL(10, 2)`, `INT[]`, `ARRAY<INT>` or
/// `STRUCT<a INT, b VARCHAR>`, nested at most `depth_max` deep.
///
/// # Errors
///
/// Says why the text is not a type and what to write.
pub(super) fn parse_type(text: &str, depth_max: usize) -> Result<ColumnType, String> {
    nested_type(text, depth_max).map_err(|right| {
        let right = right.unwrap_or_else(|| format!("write one of {NAMES}"));
        format!("{} is not a type; {right}", quoted(text))
    })
}

/// The type without others in it that `text`, in upper case, names; or what would be right, if that
/// is known.
pub(super) fn scalar(text: &str) -> Result<ColumnType, Wrong> {
    if let Some((_, ty)) = SPELLINGS.iter().find(|(name, _)| *name == text) {
        return Ok(ty.clone());
    }
    let Some((name, parameters)) = text.split_once('(') else {
        return Err(unknown(text));
    };
    let name = name.trim();
    let ty = SPELLINGS.iter().find(|(spelling, _)| *spelling == name).map(|(_, ty)| ty);
    let Some(parameters) = parameters.strip_suffix(')') else {
        let example = if ty == Some(&DECIMAL) { "DECIMAL(10, 2)" } else { name };
        return Err(Some(format!(
            "a comma between braces ends a YAML value, so quote the type: \"{example}\""
        )));
    };
    match ty {
        Some(ColumnType::Decimal { .. }) => decimal(parameters).ok_or_else(|| {
            let digits = DECIMAL_DIGITS_MAX;
            Some(format!(
                "write DECIMAL(precision, scale), 1 to {digits} digits, scale <= precision"
            ))
        }),
        Some(_) => Err(Some(format!("lengths are not enforced, so write {name}"))),
        None => Err(unknown(name)),
    }
}

fn decimal(parameters: &str) -> Option<ColumnType> {
    let (precision, scale) = parameters.split_once(',').unwrap_or((parameters, "0"));
    let precision: u8 = precision.trim().parse().ok()?;
    let scale: i8 = scale.trim().parse().ok()?;
    let scale_digits = u8::try_from(scale).ok()?;
    let valid = (1..=DECIMAL_DIGITS_MAX).contains(&precision) && scale_digits <= precision;
    valid.then_some(ColumnType::Decimal { precision, scale })
}

/// What to write for a type that there is not.
fn unknown(text: &str) -> Option<String> {
    let right = match text {
        "TIMESTAMPTZ" | "TIMESTAMP WITH TIME ZONE" | "TIMESTAMP_LTZ" => {
            "write TIMESTAMP, which takes any offset and keeps UTC"
        }
        "UINT8" | "UTINYINT" => "write SMALLINT, which holds all its values",
        "UINT16" | "USMALLINT" => "write INT, which holds all its values",
        "UINT" | "UINT32" | "UINTEGER" => "write BIGINT, which holds all its values",
        "UINT64" | "UBIGINT" => "write BIGINT, or \"DECIMAL(20, 0)\" for all its values",
        "INT16" => "write SMALLINT",
        "INT32" => "write INT",
        "INT64" => "write BIGINT",
        "FLOAT32" => "write REAL",
        "FLOAT64" => "write DOUBLE",
        "STRUCT" | "OBJECT" | "ROW" | "MAP" => {
            "write a mapping of its fields, or STRUCT<a INT, b VARCHAR>"
        }
        "ARRAY" | "LIST" => "write the type of its elements in brackets, such as [VARCHAR]",
        "JSON" | "JSONB" => "write VARCHAR for its text, or a mapping of its fields",
        _ => {
            let near = nearest(text, SPELLINGS.iter().map(|(name, _)| *name))?;
            return Some(format!("write {near}"));
        }
    };
    Some(right.to_owned())
}
