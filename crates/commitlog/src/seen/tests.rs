//! The set itself, its segments, and what older builds left.

use sha2::{Digest, Sha256};

use super::*;

fn file(key: &str, etag: &str, size: u64) -> SeenFile {
    SeenFile::new(key, Some(etag), size)
}

fn grown(key: &str, size: u64) -> SeenFile {
    let tail = Tail { bytes: size - 1, head: Some(7) };
    SeenFile { tail: Some(tail), ..SeenFile::new(key, None, size) }
}

fn set(files: &[SeenFile]) -> SeenFiles {
    let mut seen = SeenFiles::default();
    for (at, file) in files.iter().enumerate() {
        seen.insert("s", file, at as u64);
    }
    seen
}

fn loaded(bytes: &[u8]) -> SeenFiles {
    let mut seen = SeenFiles::default();
    seen.load(decode("seen/x", bytes).unwrap());
    seen
}

#[test]
fn a_key_is_new_or_the_same_or_changed() {
    let seen = set(&[file("a", "1", 3)]);
    assert_eq!(seen.standing("s", "a", Some("1"), 3), Standing::Same);
    assert_eq!(seen.standing("s", "b", Some("1"), 3), Standing::New);
    assert_eq!(seen.standing("t", "a", Some("1"), 3), Standing::New);
    for (etag, size) in [(Some("2"), 3), (Some("1"), 4), (None, 3), (Some(""), 3)] {
        assert_eq!(seen.standing("s", "a", etag, size), Standing::Changed, "{etag:?} {size}");
    }
}

#[test]
fn the_last_version_of_a_key_is_the_one_that_counts() {
    let seen = set(&[file("a", "1", 3), file("a", "2", 3)]);
    assert_eq!(seen.standing("s", "a", Some("1"), 3), Standing::Changed);
    assert_eq!(seen.standing("s", "a", Some("2"), 3), Standing::Same);
    assert_eq!(seen.len(), 1);
    // In whatever order segments are merged and loaded.
    let (first, second) = (encode(set(&[file("a", "1", 3)]).pending()), {
        let mut later = SeenFiles::default();
        later.insert("s", &file("a", "2", 3), 9);
        encode(later.pending())
    });
    for order in [[&first, &second], [&second, &first]] {
        let mut seen = SeenFiles::default();
        for bytes in order {
            seen.load(decode("seen/x", bytes).unwrap());
        }
        assert!(seen.contains("s", "a", Some("2"), 3), "{order:?}");
    }
}

#[test]
fn a_segment_reads_back_and_damage_is_found() {
    let files: Vec<SeenFile> = (0..5).map(|n| file(&n.to_string(), "e", n)).collect();
    let seen = set(&[files, vec![grown("log", 100), grown("log", 120)]].concat());
    let bytes = encode(seen.pending());
    let back = loaded(&bytes);
    assert_eq!(back.known, seen.known);
    assert_eq!(back.tail("s", "log"), Some(Tail { bytes: 119, head: Some(7) }));
    assert_eq!(back.tail("s", "3"), Some(Tail { bytes: 3, head: None }));
    assert_eq!(encode(decode("seen/x", &bytes).unwrap()), bytes);
    for cut in [0, 7, 15, bytes.len() - 1] {
        assert!(decode("seen/x", &bytes[..cut]).is_err(), "{cut}");
    }
    let mut flipped = bytes.to_vec();
    flipped[30] ^= 1;
    assert!(decode("seen/x", &flipped).is_err());
}

/// A segment as builds before this form wrote it: absolute keys, hashed with their version.
#[test]
fn a_segment_of_an_older_build_is_read() {
    let mut bytes = b"TGSEEN01".to_vec();
    bytes.extend_from_slice(&1_u32.to_le_bytes());
    bytes.extend_from_slice(b"s");
    bytes.extend_from_slice(&1_u64.to_le_bytes());
    bytes.extend_from_slice(&FileHash::of("data/in/a", Some("e"), 3).0);
    let sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&sum[..16]);
    let mut seen = loaded(&bytes);
    assert!(seen.has_old("s") && seen.knows_old("s", "data/in/a", Some("e"), 3));
    assert!(!seen.knows_old("s", "data/in/a", Some("f"), 3));
    assert_eq!(seen.standing("s", "a", Some("e"), 3), Standing::New);
    // It survives a merge with what this build writes.
    seen.insert("s", &file("a", "e", 3), 2);
    let mut entries = decode("seen/x", &bytes).unwrap();
    for (source, more) in seen.pending() {
        entries.entry(source).or_default().extend(more);
    }
    let back = loaded(&encode(entries));
    assert!(back.knows_old("s", "data/in/a", Some("e"), 3));
    assert!(back.contains("s", "a", Some("e"), 3));
}

#[test]
fn a_checkpoint_of_an_older_build_is_read() {
    let hash = serde_json::to_string(&FileHash::of("k", None, 1)).unwrap();
    let text = format!(r#"{{"segments": [], "pending": {{"s": [{hash}]}}}}"#);
    let mut seen: SeenFiles = serde_json::from_str(&text).unwrap();
    seen.load_pending();
    assert!(seen.knows_old("s", "k", None, 1));
    let old = SeenFile { relative: false, ..SeenFile::new("l", None, 1) };
    seen.insert("s", &old, 1);
    assert!(seen.knows_old("s", "l", None, 1) && seen.pending()["s"].old.len() == 2);
}

#[test]
fn pending_entries_survive_json() {
    let mut seen = set(&[file("k", "e", 3), file("k", "e", 3), grown("log", 10)]);
    seen.insert("s", &SeenFile { relative: false, ..file("old", "e", 1) }, 4);
    let text = serde_json::to_string(&seen).unwrap();
    let mut back: SeenFiles = serde_json::from_str(&text).unwrap();
    back.load_pending();
    assert_eq!(back, seen);
    assert!(back.contains("s", "k", Some("e"), 3));
    assert_eq!(back.len(), 3);
}
