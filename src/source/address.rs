//! What a key is called: as an address in a store, as text in the state, and in messages.
//!
//! A store's own paths cannot be every key: `a//b`, a leading `/`, a line break and bytes that are no
//! UTF-8 are refused by them or changed. Such a key has an address of two parts, a mark and the key
//! with its odd bytes encoded, and the stores of sources ([`super::local_files`], [`super::s3_files`])
//! read it as it stands.

use std::borrow::Cow;
use std::fmt::Write as _;

use object_store::path::Path;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// The first part of the address of an odd key. A key that begins like it is odd, too.
const MARK: &str = "%00/";
/// The first byte of the text of a key that is no UTF-8. No file name has it, and S3 keys are UTF-8.
const NO_TEXT: char = '\0';
const ODD_BYTES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// The address of a key: for a local file, of its absolute path without the first `/`.
pub(super) fn address(key: &[u8]) -> Path {
    let plain = std::str::from_utf8(key).ok().filter(|text| !text.starts_with(MARK));
    let parsed = plain.and_then(|text| Path::parse(text).ok().filter(|path| path.as_ref() == text));
    parsed.unwrap_or_else(|| {
        // Encoded as a whole, so that it is one part and none of a path's rules touches it. A dot
        // beside another character is one.
        let encoded = percent_encode(key, ODD_BYTES).to_string();
        let encoded = if encoded.trim_matches('.').is_empty() {
            encoded.replace('.', "%2E")
        } else {
            encoded
        };
        Path::parse(format!("{MARK}{encoded}")).unwrap_or_default()
    })
}

/// The key at an address.
pub(super) fn key_at(address: &Path) -> Cow<'_, [u8]> {
    match address.as_ref().strip_prefix(MARK) {
        Some(encoded) => Cow::Owned(percent_decode_str(encoded).collect()),
        None => Cow::Borrowed(address.as_ref().as_bytes()),
    }
}

/// Whether a store's own paths cannot be the key at an address.
pub(super) fn is_odd(address: &Path) -> bool {
    address.as_ref().starts_with(MARK)
}

/// A key as text, one for each key.
pub(super) fn text_of(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("{NO_TEXT}{}", percent_encode(key, ODD_BYTES)),
    }
}

/// A key for the reader of a message: what would break its line is escaped.
pub(super) fn shown(key: &[u8]) -> String {
    let mut out = String::with_capacity(key.len());
    for chunk in key.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character.is_control() {
                true => out.extend(character.escape_default()),
                false => out.push(character),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            if write!(out, "\\x{byte:02x}").is_err() {
                break;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_an_address_that_leads_back_to_it() {
        let keys: [&[u8]; 16] = [
            b"a/b.json",
            b"a//b.json",
            b"/a",
            b"a/",
            b"a/../b",
            b".",
            b"..",
            b"b\nc.json",
            b"b\xff.json",
            b"b.json#1",
            b"a b%20c",
            b"%00/x",
            b"%00",
            "\u{e9}\u{1f600}".as_bytes(),
            b"tail//",
            b"",
        ];
        for key in keys {
            let path = address(key);
            assert_eq!(key_at(&path), key, "{path:?}");
            assert!(!is_odd(&path) || path.as_ref() != shown(key), "{path:?}");
        }
        let mut texts: Vec<String> = keys.iter().map(|key| text_of(key)).collect();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), keys.len());
        assert!(!is_odd(&address(b"a b%20c")) && is_odd(&address(b"a//b")));
    }

    #[test]
    fn what_would_break_a_line_is_escaped_in_messages() {
        assert_eq!(shown(b"a\nb\x1b[31m\xff.json"), "a\\nb\\u{1b}[31m\\xff.json");
    }
}
