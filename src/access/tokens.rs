//! The tokens that open a door, known by their hashes only: whoever reads the file cannot use it.
//!
//! A token holds 256 random bits, so a plain SHA-256 of it cannot be guessed back; no slow hash is
//! needed, as it would be for passwords.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tidegauge_spec::Prefix;

use super::caller::{Caller, Role};
use crate::error::{Error, Result};

/// The variable that holds the lines of a token file where no file is named.
pub const TOKENS_VARIABLE: &str = "TIDEGAUGE_TOKENS";

const FILE_BYTES_MAX: u64 = 1 << 20;
const TOKENS_MAX: usize = 1_000;
/// Longer than any token of ours; what is longer is not even hashed.
const TOKEN_BYTES_MAX: usize = 256;
const PREFIX: &str = "tg_";
const HASH_PREFIX: &str = "sha256:";
const ROLE_PREFIX: &str = "role:";
const LOCATIONS_PREFIX: &str = "locations:";
const RIGHT: &str = "write NAME sha256:HASH role:ROLE, as `tidegauge token NAME` prints it";

/// Tokens by the hash of each.
#[derive(Clone)]
pub struct Tokens {
    known: Vec<Known>,
}

#[derive(Clone)]
struct Known {
    name: String,
    hash: [u8; 32],
    /// None where the line says nothing of it, as those of earlier versions: then it may least.
    role: Option<Role>,
    locations: Arc<[Prefix]>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.iter().map(|known| &known.name)).finish()
    }
}

impl Tokens {
    /// The tokens of `file`, or of the variable TIDEGAUGE_TOKENS where no file is named; `None`
    /// where there is neither.
    ///
    /// # Errors
    /// As [`Tokens::load`].
    pub fn find(file: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        match (file, env(TOKENS_VARIABLE)) {
            (Some(file), _) => Self::load(file).map(Some),
            (None, Some(text)) => Self::parse(&text, TOKENS_VARIABLE).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Reads a token file.
    ///
    /// # Errors
    /// When it cannot be read, or as [`Tokens::parse`].
    pub fn load(path: &Path) -> Result<Self> {
        let shown = path.display();
        let failed = |error: std::io::Error| {
            Error::bad_job(format!("{shown}: the token file cannot be read: {error}"))
        };
        let bytes = std::fs::metadata(path).map_err(failed)?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(Error::bad_job(format!(
                "{shown} is no token file: it has {bytes} bytes; {RIGHT}"
            )));
        }
        Self::parse(&std::fs::read_to_string(path).map_err(failed)?, &shown.to_string())
    }

    /// Reads lines of `name sha256:<64 hex digits> role:operator locations:s3://a/,s3://b/`; empty
    /// ones and those that begin with `#` say nothing. A line without a role is a reader's.
    /// `origin` is what errors call the text.
    ///
    /// # Errors
    /// The first line that is something else, by its number, and a text without any token: it
    /// would let nobody in.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        let mut known: Vec<Known> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |why: String| Error::bad_job(format!("{origin}:{}: {why}", index + 1));
            let found = token_line(line).map_err(bad)?;
            if let Some(first) = known.iter().find(|first| first.name == found.name) {
                return Err(bad(format!("the name {} is given twice; keep one", first.name)));
            }
            if known.len() == TOKENS_MAX {
                return Err(bad(format!("more than {TOKENS_MAX} tokens; remove old ones")));
            }
            known.push(found);
        }
        match known.is_empty() {
            true => Err(Error::bad_job(format!("{origin}: there is no token in it; {RIGHT}"))),
            false => Ok(Self { known }),
        }
    }

    /// Who holds a token without a role: a line of an earlier version, which may query and no
    /// more.
    pub fn without_role(&self) -> Vec<&str> {
        let bare = self.known.iter().filter(|known| known.role.is_none());
        bare.map(|known| known.name.as_str()).collect()
    }

    /// Says which lines have lost what they could do before there were roles.
    pub fn warn_of_missing_roles(&self) {
        let names = self.without_role().join(", ");
        if !names.is_empty() {
            tracing::warn!(
                names,
                "these tokens have no role and are readers now, which list and query; to let them \
                 do more, add role:operator locations:s3://bucket/prefix/ or role:admin to their \
                 lines; role:reader silences this"
            );
        }
    }

    /// Who presents a token, if it is one of these. How long it takes does not depend on which,
    /// nor on how much of a hash agrees.
    pub fn allows(&self, presented: &str) -> Option<Caller> {
        if presented.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let hash = hash_of(presented);
        let mut found = None;
        for known in &self.known {
            if is_same(&known.hash, &hash) {
                found = Some(known);
            }
        }
        let found = found?;
        Some(Caller::holder(&found.name, found.role.unwrap_or_default(), &found.locations))
    }
}

/// A new random token, and its line for the token file, with what it may.
///
/// # Errors
/// When `name` or one of `locations` cannot stand in a token file.
pub fn new_token(name: &str, role: Role, locations: &[String]) -> Result<(String, String)> {
    check_name(name).map_err(Error::bad_job)?;
    for location in locations {
        check_location(location).map_err(Error::bad_job)?;
    }
    if !locations.is_empty() && role != Role::Operator {
        return Err(Error::bad_job(format!(
            "--location is for the role operator; a {role} has none"
        )));
    }
    let secret: [u8; 32] = rand::random();
    let token = format!("{PREFIX}{}", hex(&secret));
    let mut line = format!("{name} {HASH_PREFIX}{} {ROLE_PREFIX}{role}", hex(&hash_of(&token)));
    if !locations.is_empty() {
        line = format!("{line} {LOCATIONS_PREFIX}{}", locations.join(","));
    }
    Ok((token, line))
}

fn token_line(line: &str) -> std::result::Result<Known, String> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(hash)) = (words.next(), words.next()) else {
        return Err(format!("this is no token; {RIGHT}"));
    };
    check_name(name)?;
    // What stands here may be a token in the clear, so it is not repeated.
    let digits = hash.strip_prefix(HASH_PREFIX).ok_or_else(|| {
        format!("the token {name} is not given by its {HASH_PREFIX} hash; {RIGHT}")
    })?;
    let hash = unhex(digits)
        .ok_or_else(|| format!("the hash of {name} has not 64 hexadecimal digits; {RIGHT}"))?;
    let mut known = Known { name: name.to_owned(), hash, role: None, locations: Vec::new().into() };
    for word in words {
        if let Some(role) = word.strip_prefix(ROLE_PREFIX) {
            if known.role.replace(Role::parse(role)?).is_some() {
                return Err(format!("{name} has two roles; keep one"));
            }
        } else if let Some(list) = word.strip_prefix(LOCATIONS_PREFIX) {
            let locations = list.split(',').filter(|one| !one.is_empty()).map(check_location);
            known.locations = locations.collect::<std::result::Result<Vec<_>, _>>()?.into();
        } else {
            return Err(format!(
                "a word after the hash of {name} is neither role: nor locations:; write \
                 role:operator locations:s3://bucket/a/,s3://bucket/b/"
            ));
        }
    }
    if !known.locations.is_empty() && known.role != Some(Role::Operator) {
        return Err(format!("{name} has locations, which are for role:operator; add it"));
    }
    Ok(known)
}

fn check_location(text: impl AsRef<str>) -> std::result::Result<Prefix, String> {
    let text = text.as_ref();
    if text.contains(|c: char| c == ',' || c.is_whitespace()) {
        return Err(format!("{text:?} cannot stand in a token file; write a folder above it"));
    }
    let is_whole =
        text.starts_with("s3://") || text.starts_with("file:///") || text.starts_with('/');
    match is_whole {
        true => Prefix::parse(&super::resolved::resolved(text)),
        false => Err(format!("{text:?} is no location of its own; write s3://bucket/prefix/")),
    }
}

fn check_name(name: &str) -> std::result::Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@');
    match !name.is_empty() && name.len() <= 100 && name.chars().all(allowed) {
        true => Ok(()),
        false => Err(format!(
            "{name:?} is not a name for a token; write letters, digits and any of _ - . @"
        )),
    }
}

fn hash_of(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Looks at every byte, whichever is the first to differ.
fn is_same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let differing = one.iter().zip(other).fold(0, |bits, (a, b)| bits | (a ^ b));
    std::hint::black_box(differing) == 0
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        if write!(text, "{byte:02x}").is_err() {
            break;
        }
    }
    text
}

fn unhex(digits: &str) -> Option<[u8; 32]> {
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_allowed_by_its_line_and_no_other_is() {
        let (token, line) = new_token("ana", Role::Reader, &[]).unwrap();
        let (other, other_line) = new_token("ben", Role::Admin, &[]).unwrap();
        assert_ne!(token, other);
        assert!(!line.contains(&token), "the line does not tell the token");
        let tokens = Tokens::parse(&format!("# two\n\n{line}\n  {other_line}\n"), "t").unwrap();
        let name = |token: &str| tokens.allows(token)?.name().map(str::to_owned);
        assert_eq!(name(&token).as_deref(), Some("ana"));
        assert_eq!(name(&other).as_deref(), Some("ben"));
        assert!(!tokens.allows(&token).unwrap().is_admin());
        assert!(tokens.allows(&other).unwrap().is_admin());
        let changed = format!("{}0", &token[..token.len() - 1]);
        let longer = format!("{token}0");
        for wrong in ["", "tg_", &longer, &line, &"x".repeat(10_000)] {
            assert!(tokens.allows(wrong).is_none(), "{wrong}");
        }
        assert_eq!(tokens.allows(&changed).is_some(), changed == token);
    }

    #[test]
    fn a_known_hash_is_that_of_sha256() {
        let line = "x sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let tokens = Tokens::parse(line, "t").unwrap();
        let caller = tokens.allows("abc").unwrap();
        assert_eq!(caller.name(), Some("x"));
        assert!(caller.check_role(Role::Operator, "do it").is_err(), "it has no role");
        assert_eq!(tokens.without_role(), ["x"]);
    }

    #[test]
    fn a_line_says_what_its_token_may() {
        let own = ["s3://acme/a/".to_owned(), "s3://acme/b".to_owned()];
        let (token, line) = new_token("ana", Role::Operator, &own).unwrap();
        assert!(line.ends_with(" role:operator locations:s3://acme/a/,s3://acme/b"), "{line}");
        let tokens = Tokens::parse(&line, "t").unwrap();
        tokens.allows(&token).unwrap().check_role(Role::Operator, "do it").unwrap();
        assert!(tokens.without_role().is_empty());
        for wrong in ["s3://a b/", "s3://a,b/", "in/", "s3://a/../", "s3://a/*/"] {
            assert!(new_token("ana", Role::Operator, &[wrong.to_owned()]).is_err(), "{wrong}");
        }
        assert!(new_token("ana", Role::Reader, &own).is_err());
        for (words, said) in [
            ("role:boss", "\"boss\" is no role; write one of reader, operator, admin"),
            ("role:reader role:admin", "ana has two roles"),
            ("roles:admin", "is neither role: nor locations:"),
            ("locations:s3://a/", "which are for role:operator"),
            ("role:operator locations:in/", "is no location of its own"),
        ] {
            let bare = line.split(" role:").next().unwrap();
            let error = Tokens::parse(&format!("{bare} {words}"), "t").unwrap_err().to_string();
            assert!(error.starts_with("t:1: ") && error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_bad_line_is_named_and_never_repeated() {
        let (token, line) = new_token("ana", Role::Reader, &[]).unwrap();
        for (text, said) in [
            (format!("{line}\nben {token}"), "t:2: the token ben is not given by its sha256: hash"),
            (token.clone(), "t:1: this is no token"),
            ("ben sha256:abc".to_owned(), "t:1: the hash of ben has not 64 hexadecimal digits"),
            ("b/n sha256:abc".to_owned(), "t:1: \"b/n\" is not a name for a token"),
            (format!("{line}\n{line}"), "t:2: the name ana is given twice"),
            ("# none".to_owned(), "t: there is no token in it"),
        ] {
            let error = Tokens::parse(&text, "t").unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
            assert!(!error.contains(&token), "{error}");
        }
        for name in ["a b", ""] {
            assert!(new_token(name, Role::Reader, &[]).is_err(), "{name}");
        }
    }
}
