//! Where a location on this machine really leads, its links followed, so that no other name of a
//! folder opens what the folder does not.

use std::path::{Component, Path, PathBuf};

/// More links in a row are a loop.
const LINKS_MAX: u32 = 40;

/// `location` with all links of its folders followed, as far as they are there; what is not there
/// yet, and what follows a wildcard, is kept as it is. Locations elsewhere are not touched.
pub fn resolved(location: &str) -> String {
    let path = match location.split_once("://") {
        Some(("file", path)) => path,
        Some(_) => return location.to_owned(),
        None => location,
    };
    let absolute = std::path::absolute(Path::new(path)).unwrap_or_else(|_| path.into());
    real_path(&absolute, LINKS_MAX).to_string_lossy().into_owned()
}

fn real_path(absolute: &Path, links: u32) -> PathBuf {
    let mut real = PathBuf::new();
    let mut is_plain = true;
    for part in absolute.components() {
        match part {
            Component::CurDir => {}
            // After a link, what is above is above where it leads.
            Component::ParentDir => drop(real.pop()),
            part => real.push(part),
        }
        is_plain = is_plain && !is_wild(part.as_os_str().to_string_lossy().as_ref());
        if !is_plain {
            continue;
        }
        if let Ok(followed) = real.canonicalize() {
            real = followed;
        } else if links > 0
            && let Ok(target) = real.read_link()
        {
            // What a link leads to may not be there yet, and is what it means all the same.
            real = real_path(&real.parent().unwrap_or(absolute).join(target), links - 1);
        }
    }
    real
}

fn is_wild(part: &str) -> bool {
    part.contains(['*', '?', '[', '{'])
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_as_far_as_there_is_something() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("real/deep")).unwrap();
        std::os::unix::fs::symlink(root.join("real"), root.join("link")).unwrap();
        let at = |path: &str| format!("{}/{path}", root.display());
        std::os::unix::fs::symlink(root.join("later"), root.join("early")).unwrap();
        std::os::unix::fs::symlink(root.join("itself"), root.join("itself")).unwrap();
        for (asked, real) in [
            ("early/x", "later/x"),
            ("link", "real"),
            ("link/deep/new", "real/deep/new"),
            ("link/../x", "x"),
            ("link/deep/../..", ""),
            ("new/link", "new/link"),
            ("link/*/x", "real/*/x"),
        ] {
            let found = resolved(&at(asked));
            assert_eq!(found.trim_end_matches('/'), at(real).trim_end_matches('/'), "{asked}");
            assert_eq!(resolved(&format!("file://{}", at(asked))), found, "{asked}");
        }
        assert_eq!(resolved("s3://b/../x"), "s3://b/../x");
    }
}
