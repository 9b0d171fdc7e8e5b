//! A value of a case, or of a row that a job wrote. JSON has no NaN and no infinities, and its
//! numbers end at 64 bits, so that its values would make different results the same.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A row by column.
pub(super) type Row = BTreeMap<String, Value>;

/// A value as YAML or JSON has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// A number that is written without a fraction and an exponent.
    Whole(i128),
    /// Any other number, or none: NaN and the infinities are here too.
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Map(Row),
}

impl Value {
    pub(super) fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// A number from 0 that is written as a whole one.
    pub(super) fn as_u64(&self) -> Option<u64> {
        if let Self::Whole(value) = self { u64::try_from(*value).ok() } else { None }
    }

    pub(super) fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Whole(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn as_list(&self) -> Option<&[Value]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    pub(super) fn as_map(&self) -> Option<&Row> {
        if let Self::Map(map) = self { Some(map) } else { None }
    }

    /// As JSON that a source reads: what JSON has no number for is a text, as it is in files.
    pub(super) fn to_json(&self) -> String {
        Written { value: self, quoted: true }.to_string()
    }
}

/// As a person reads it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Written { value: self, quoted: false }.fmt(f)
    }
}

/// A value as JSON, with NaN and the infinities in quotes or without.
struct Written<'a> {
    value: &'a Value,
    quoted: bool,
}

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = |value| Written { value, quoted: self.quoted };
        match self.value {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Whole(value) => write!(f, "{value}"),
            Value::Float(value) => match serde_json::Number::from_f64(*value) {
                Some(number) => write!(f, "{number}"),
                None => {
                    let name = if value.is_nan() { "nan".to_owned() } else { value.to_string() };
                    if self.quoted { write!(f, "\"{name}\"") } else { f.write_str(&name) }
                }
            },
            Value::Text(text) => text_as_json(f, text),
            Value::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{}", if at == 0 { "" } else { "," }, written(item))?;
                }
                f.write_str("]")
            }
            Value::Map(map) => {
                f.write_str("{")?;
                for (at, (name, value)) in map.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { "," })?;
                    text_as_json(f, name)?;
                    write!(f, ":{}", written(value))?;
                }
                f.write_str("}")
            }
        }
    }
}

fn text_as_json(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    write!(f, "{}", serde_json::Value::from(text))
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

/// Reads whatever value there is.
struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a text, true, false, null, a list or a mapping")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Whole(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Whole(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Whole(value))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        Ok(i128::try_from(value).map_or(Value::Float(value as f64), Value::Whole))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Row::new();
        while let Some((name, value)) = entries.next_entry()? {
            map.insert(name, value);
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Value {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn what_json_has_no_number_for_is_read_and_shown_as_it_is() {
        let value = read("[.nan, .inf, -.inf, null, 18446744073709551616, 1e30]");
        assert_eq!(value.to_string(), "[nan,inf,-inf,null,18446744073709551616,1e+30]");
        assert_eq!(value.to_json(), r#"["nan","inf","-inf",null,18446744073709551616,1e+30]"#);
    }

    #[test]
    fn all_else_is_shown_as_json() {
        let value = read("{b: [1, -2.5, true], a: {t: \"x\\\"y\", n: ~}}");
        assert_eq!(value.to_json(), r#"{"a":{"n":null,"t":"x\"y"},"b":[1,-2.5,true]}"#);
        assert_eq!(value.to_string(), value.to_json());
    }

    #[test]
    fn a_whole_number_that_128_bits_do_not_hold_is_a_float() {
        assert_eq!(read(&u128::MAX.to_string()), Value::Float(u128::MAX as f64));
        assert_eq!(read(&"9".repeat(50)), Value::Float(1e50));
    }
}
