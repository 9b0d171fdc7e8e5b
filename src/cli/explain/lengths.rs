//! Lengths of time as a person says them.

const UNITS: [(&str, &str, i64); 6] = [
    ("day", "d", 86_400_000_000),
    ("hour", "h", 3_600_000_000),
    ("minute", "min", 60_000_000),
    ("second", "s", 1_000_000),
    ("ms", "ms", 1_000),
    ("us", "us", 1),
];

/// `1 minute`, `90 seconds` as `1 min 30 s`, `0 seconds`.
pub(super) fn length(us: i64) -> String {
    let sign = if us < 0 { "-" } else { "" };
    let mut rest = us.saturating_abs();
    let mut parts = Vec::new();
    for unit in UNITS {
        let count = rest / unit.2;
        rest %= unit.2;
        if count > 0 {
            parts.push((count, unit));
        }
    }
    match parts.as_slice() {
        [] => "0 seconds".to_owned(),
        [(count, (word, short, _))] => {
            let plural = if *count == 1 || word == short { "" } else { "s" };
            format!("{sign}{count} {word}{plural}")
        }
        several => {
            let several = several.iter().map(|(count, (_, short, _))| format!("{count} {short}"));
            format!("{sign}{}", several.collect::<Vec<_>>().join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_one_unit_in_words_or_several_in_short() {
        for (us, text) in [
            (0, "0 seconds"),
            (1, "1 us"),
            (5_000, "5 ms"),
            (60_000_000, "1 minute"),
            (120_000_000, "2 minutes"),
            (90_000_000, "1 min 30 s"),
            (9_000_000_000, "2 h 30 min"),
            (604_800_000_000, "7 days"),
            (-10_000_000, "-10 seconds"),
        ] {
            assert_eq!(length(us), text);
        }
    }
}
