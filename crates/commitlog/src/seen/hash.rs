//! What is kept of a file instead of its name: hashes of its key and of its version.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

pub(super) const HASH_BYTES: usize = 16;

/// Sha-256 of key, ETag and size, cut to 128 bits, as builds before `TGSEEN02` kept it of a file
/// whose key was absolute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileHash(pub(super) [u8; HASH_BYTES]);

/// Sha-256 of a key, cut to 128 bits: two keys of a source collide by chance once in 10^19 sources
/// of ten billion files each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyHash(pub(super) [u8; HASH_BYTES]);

impl FileHash {
    /// The hash of a file as a listing showed it to an earlier build.
    pub fn of(key: &str, etag: Option<&str>, size: u64) -> Self {
        let mut hasher = Sha256::new();
        hasher.update((key.len() as u64).to_le_bytes());
        hasher.update(key);
        // A missing ETag differs from an empty one.
        hasher.update([u8::from(etag.is_some())]);
        hasher.update(etag.unwrap_or_default());
        hasher.update(size.to_le_bytes());
        FileHash(truncated(hasher))
    }
}

impl KeyHash {
    pub(crate) fn of(key: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(key);
        KeyHash(truncated(hasher))
    }
}

/// The version of one key: two of its versions are taken for one by chance once in 10^19.
pub(super) fn version(etag: Option<&str>, size: u64) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update([u8::from(etag.is_some())]);
    hasher.update(etag.unwrap_or_default());
    hasher.update(size.to_le_bytes());
    let [a, b, c, d, e, f, g, h, ..] = truncated(hasher);
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

pub(super) fn checksum(bytes: &[u8]) -> [u8; HASH_BYTES] {
    let mut hasher = Sha256::new();
    hasher.update(bytes);
    truncated(hasher)
}

fn truncated(hasher: Sha256) -> [u8; HASH_BYTES] {
    let digest = hasher.finalize();
    let mut out = [0; HASH_BYTES];
    out.copy_from_slice(&digest[..HASH_BYTES]);
    out
}

macro_rules! as_hexadecimal {
    ($($hash:ident),*) => {$(
        impl Serialize for $hash {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&format_args!("{:032x}", u128::from_be_bytes(self.0)))
            }
        }

        impl<'de> Deserialize<'de> for $hash {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                u128::from_str_radix(&text, 16)
                    .map(|value| $hash(value.to_be_bytes()))
                    .map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_hexadecimal!(FileHash, KeyHash);
