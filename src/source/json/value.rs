//! Where one JSON value ends, by its brackets and quotes alone: what is between them is for the
//! decoder.

/// The bytes of whitespace between values.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The bytes at the start of `bytes` that are whitespace.
pub(super) fn spaces(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| is_space(**byte)).count()
}

/// The length of the value at the start of `bytes`, which is no whitespace; none where it does not
/// end in them. A number, or what takes the place of a value, ends before the next separator.
pub(super) fn value_length(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'"' => string_length(bytes),
        b'{' | b'[' => nested_length(bytes),
        _ => {
            let is_end = |byte: &u8| is_space(*byte) || matches!(byte, b',' | b']' | b'}');
            let length = bytes.iter().position(is_end)?;
            // A separator in the place of a value is taken, so that no caller stands still.
            Some(length.max(1))
        }
    }
}

/// The length of the string that begins `bytes`, with its quotes.
fn string_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn nested_length(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at += string_length(&bytes[at..])?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// A key of an object, and where its value begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member<'a> {
    /// The key between its quotes, as written.
    pub(super) key: &'a [u8],
    /// The first byte of the value.
    pub(super) value: usize,
}

/// What stands at a place where a member of an object may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// A key.
    Member(Member<'a>),
    /// The end of the object, its brace at this place.
    End(usize),
    /// The bytes end before that is known.
    Incomplete,
    /// Neither.
    Bad,
}

/// What stands at `from`, after the brace or a value of an object.
pub(super) fn next_member(bytes: &[u8], from: usize) -> Next<'_> {
    let mut at = from;
    loop {
        at += spaces(&bytes[at..]);
        match bytes.get(at) {
            Some(b',') => at += 1,
            Some(b'}') => return Next::End(at),
            Some(b'"') => break,
            Some(_) => return Next::Bad,
            None => return Next::Incomplete,
        }
    }
    let Some(length) = string_length(&bytes[at..]) else { return Next::Incomplete };
    let Some(key) = bytes.get(at + 1..at + length - 1) else { return Next::Incomplete };
    at += length;
    at += spaces(&bytes[at..]);
    match bytes.get(at) {
        Some(b':') => at += 1,
        Some(_) => return Next::Bad,
        None => return Next::Incomplete,
    }
    at += spaces(&bytes[at..]);
    match bytes.get(at) {
        Some(_) => Next::Member(Member { key, value: at }),
        None => Next::Incomplete,
    }
}

/// Whether a key, as written, is this name.
pub(super) fn is_name(key: &[u8], name: &str) -> bool {
    if !key.contains(&b'\\') {
        return key == name.as_bytes();
    }
    let quoted = [b"\"", key, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).is_ok_and(|key| key == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_where_its_brackets_and_quotes_close() {
        let length = |text: &str| value_length(text.as_bytes());
        assert_eq!(length(r#"{"a":"}\"]","b":[1,{}]},x"#), Some(23));
        assert_eq!(length("12.5,"), Some(4));
        assert_eq!(length("null}"), Some(4));
        assert_eq!(length(",1"), Some(1));
        for cut in ["{", "[1", "\"a", "\"a\\", "\"a\\\"", "12", "{\"a\":\"}"] {
            assert_eq!(length(cut), None, "{cut}");
        }
    }

    #[test]
    fn keys_are_compared_as_they_read() {
        assert!(is_name(b"a", "a") && is_name(b"\\u0061", "a") && !is_name(b"A", "a"));
        assert!(!is_name(b"\\", "\\"));
    }
}
