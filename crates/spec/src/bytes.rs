//! Sizes in bytes as job files write them: `512MiB`, `1GB`, `4096`.

use crate::report::quoted;

/// Units that are read; powers of 1000 and of 1024, as their names say.
const UNITS: [(&str, u64); 11] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads a size in bytes: a whole number, alone or directly followed by `B`, `KB`, `MB`, `GB`,
/// `TB` (powers of 1000), `KiB`, `MiB`, `GiB` or `TiB` (powers of 1024).
///
/// # Errors
///
/// Says why the text is not a size and how to write it.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let size = UNITS.iter().find(|(name, _)| *name == unit);
    match (digits.parse::<u64>(), size) {
        (Ok(count), Some((_, size))) => count
            .checked_mul(*size)
            .ok_or_else(|| format!("{} is more than {} bytes; write less", quoted(text), u64::MAX)),
        _ => Err(format!("{} is not a size; {}", quoted(text), right(text))),
    }
}

/// How to write what was probably meant by a text such as `512 mb`, `1.5GiB` or `2G`.
fn right(text: &str) -> String {
    let folded: String = text.to_lowercase().chars().filter(|c| !c.is_whitespace()).collect();
    let split = folded.find(|c: char| !c.is_ascii_digit() && c != '_' && c != '.');
    let (number, unit) = folded.split_at(split.unwrap_or(folded.len()));
    let number = number.replace('_', "");
    let unit = match unit.trim_end_matches('s') {
        "" | "b" | "byte" => "",
        "k" | "kib" => "KiB",
        "kb" => "KB",
        "m" | "mib" => "MiB",
        "mb" => "MB",
        "g" | "gib" => "GiB",
        "gb" => "GB",
        "t" | "tib" => "TiB",
        "tb" => "TB",
        _ => return examples(),
    };
    match whole(&number, unit) {
        Some(right) => format!("write {right}"),
        None => examples(),
    }
}

/// The number with the unit, or, when it has a fraction, in the next smaller unit, rounded up.
fn whole(number: &str, unit: &str) -> Option<String> {
    if number.bytes().all(|byte| byte.is_ascii_digit()) {
        return (!number.is_empty()).then(|| format!("{number}{unit}"));
    }
    let value: f64 = number.parse().ok()?;
    let (step, smaller) = match unit {
        "TiB" => (1024.0, "GiB"),
        "GiB" => (1024.0, "MiB"),
        "MiB" => (1024.0, "KiB"),
        "KiB" => (1024.0, ""),
        "TB" => (1000.0, "GB"),
        "GB" => (1000.0, "MB"),
        "MB" => (1000.0, "KB"),
        "KB" => (1000.0, ""),
        _ => (1.0, ""),
    };
    let value = (value * step).ceil();
    (value < 1e15).then(|| format!("{value}{smaller}"))
}

fn examples() -> String {
    "write a whole number with a unit, such as 512MiB or 1GB, or the number of bytes".to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parse_bytes;

    #[test]
    fn sizes_are_numbers_with_units() {
        for (text, bytes) in [
            ("4096", 4096),
            ("0", 0),
            ("1KB", 1000),
            ("512MiB", 512 << 20),
            ("1GB", 1_000_000_000),
            ("1GiB", 1 << 30),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_told_how_to_write_it() {
        for (text, message) in [
            ("512 MB", r#""512 MB" is not a size; write 512MB"#),
            ("512mib", r#""512mib" is not a size; write 512MiB"#),
            ("2G", r#""2G" is not a size; write 2GiB"#),
            ("1.5GiB", r#""1.5GiB" is not a size; write 1536MiB"#),
            ("10_000", r#""10_000" is not a size; write 10000"#),
            (
                "99999999999TB",
                r#""99999999999TB" is more than 18446744073709551615 bytes; write less"#,
            ),
        ] {
            assert_eq!(parse_bytes(text), Err(message.to_owned()));
        }
        for text in ["", "lots", "-1MB", "1XB", "1..5GB"] {
            let message = parse_bytes(text).unwrap_err();
            assert!(message.contains("such as 512MiB"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, close in "[0-9._ a-zA-Z]{0,12}") {
            prop_assert!(parse_bytes(&text).is_ok() || parse_bytes(&text).is_err());
            prop_assert!(parse_bytes(&close).is_ok() || parse_bytes(&close).is_err());
        }
    }
}
