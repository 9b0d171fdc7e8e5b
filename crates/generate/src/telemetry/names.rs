//! Names of users and domains. None of them is anybody's: domains end in `.example` or `.test`.

use crate::random::{choose, mix};

const FIRST: &[&str] = &[
    "ada", "ben", "carla", "dmitri", "elena", "farid", "greta", "hugo", "ines", "jonas", "kemal",
    "lena", "mara", "nils", "olga", "pavel", "quinn", "rosa", "sven", "tara", "uma", "vera", "wim",
    "xenia", "yara", "zoe",
];
const LAST: &[&str] = &[
    "adler", "baker", "cohen", "dietz", "evans", "fox", "garcia", "haas", "ito", "jansen", "klein",
    "lopez", "meyer", "novak", "okoye", "park", "quist", "rossi", "sato", "thoma", "ueda", "vogel",
    "weber", "young", "zeller",
];
const WORDS: &[&str] = &[
    "harbor", "lumen", "cedar", "pixel", "quartz", "meadow", "falcon", "summit", "atlas", "nimbus",
    "orchid", "raven", "saffron", "tundra", "velvet", "willow", "cobalt", "delta", "ember",
    "fjord", "granite", "indigo", "juniper", "kelp",
];
const SERVERS: &[&str] = &["www", "api", "cdn", "static", "mail", "img", "login", "m", "edge"];

/// The name of user `number` of any tenant: `lena.park`, `lena.park2` and so on.
pub(crate) fn user(number: u64) -> String {
    let first = FIRST[(number % FIRST.len() as u64) as usize];
    let last = LAST[(number / FIRST.len() as u64 % LAST.len() as u64) as usize];
    match number / (FIRST.len() * LAST.len()) as u64 {
        0 => format!("{first}.{last}"),
        namesakes => format!("{first}.{last}{}", namesakes + 1),
    }
}

/// The name of domain `number`, as it is asked for: `api.cedar12.example`.
pub(crate) fn domain(number: u64) -> String {
    let hash = mix(number);
    let server = SERVERS[choose(hash, SERVERS.len() as u64) as usize];
    let word = WORDS[(number % WORDS.len() as u64) as usize];
    let top = if hash.is_multiple_of(5) { "test" } else { "example" };
    format!("{server}.{word}{}.{top}", number / WORDS.len() as u64)
}

/// A name that nobody registered, as of a mistyped or generated one.
pub(crate) fn missing_domain(hash: u64) -> String {
    let word = WORDS[choose(hash, WORDS.len() as u64) as usize];
    format!("{word}{}.example", base32(mix(hash), 5))
}

/// `length` characters of a to z and 2 to 7, told by `hash`.
pub(crate) fn base32(hash: u64, length: usize) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut hash = hash;
    (0..length)
        .map(|_| {
            hash = mix(hash);
            char::from(ALPHABET[(hash % 32) as usize])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn users_differ() {
        let users: HashSet<String> = (0..4000).map(user).collect();
        assert_eq!(users.len(), 4000);
    }

    #[test]
    fn domains_differ_and_are_reserved() {
        let domains: HashSet<String> = (0..3000).map(domain).collect();
        assert_eq!(domains.len(), 3000);
        let is_reserved = |name: &String| name.ends_with(".example") || name.ends_with(".test");
        assert!(domains.iter().all(is_reserved));
    }
}
