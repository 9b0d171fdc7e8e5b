//! Which known word was probably meant by an unknown one.

use strsim::{damerau_levenshtein, jaro_winkler};

/// Words at least this alike count as the same word misspelt (Jaro-Winkler, 0 to 1).
const LIKENESS_MIN: f64 = 0.87;
/// Words longer than this are not compared: no known word is, and comparing is quadratic.
const WORD_BYTES_MAX: usize = 100;

/// The known word nearest to `word`, if one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let folded = fold(word);
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= WORD_BYTES_MAX)
        .filter_map(|candidate| Some((candidate, distance(&folded, &fold(candidate))?)))
        .min_by_key(|(_, distance)| *distance)
        .map(|(candidate, _)| candidate)
}

/// Edits from one word to the other, or `None` when they are not alike.
fn distance(word: &str, candidate: &str) -> Option<usize> {
    if word == candidate || parts(word) == parts(candidate) {
        return Some(0);
    }
    let edits = damerau_levenshtein(word, candidate);
    let edits_max = (word.chars().count().max(candidate.chars().count()) / 3).max(1);
    let one_letter = word.chars().count() < 2 || candidate.chars().count() < 2;
    let near = !one_letter && (edits <= edits_max || jaro_winkler(word, candidate) >= LIKENESS_MIN);
    near.then_some(edits)
}

/// Case, hyphens and blanks do not tell words apart.
fn fold(word: &str) -> String {
    word.trim().to_lowercase().replace(['-', ' ', '.'], "_")
}

/// The parts between underscores, sorted: `max_bytes` has the parts of `bytes_max`.
fn parts(word: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = word.split('_').collect();
    parts.sort_unstable();
    parts
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn misspelt_words_find_what_was_meant() {
        let known = ["location", "format", "bytes_max", "retry", "idle_after", "delay"];
        for (word, meant) in [
            ("locaton", "location"),
            ("Location", "location"),
            ("max_bytes", "bytes_max"),
            ("retries", "retry"),
            ("idle-after", "idle_after"),
            ("dealy", "delay"),
        ] {
            assert_eq!(nearest(word, known), Some(meant), "{word}");
        }
    }

    #[test]
    fn unlike_words_find_nothing() {
        let known = ["name", "sources", "sinks", "state", "epoch", "sql"];
        for word in ["late", "quarantine", "x", "", &"name".repeat(100)] {
            assert_eq!(nearest(word, known), None, "{word}");
        }
    }
}
