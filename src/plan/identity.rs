//! Identities of stages and feeds: short hashes of the text that describes them.

use sha2::{Digest, Sha256};

/// Twelve hexadecimal digits of `logic`'s hash.
pub(super) fn identity(logic: &str) -> String {
    let digest = Sha256::digest(logic.as_bytes());
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
