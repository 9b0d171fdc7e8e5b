//! Keys when a location moves: they stay those of the root that the state began with, as far as the
//! new root is above or below it.

/// The key from `base` of what is `below` the root `root`, and `None` where the two roots have
/// nothing to do with each other: then the folder has moved.
///
/// ```text
///  base /data/2026   root /data/2026/01   below a.json   ->  01/a.json
///  base /data/2026   root /data           below x.json   ->  ../x.json
///  base /data/2026   root /copy           below a.json   ->  none: it moved, its key is a.json
/// ```
pub fn key_from(base: &str, root: &str, below: &str) -> Option<String> {
    if base == root {
        return Some(below.to_owned());
    }
    let parts = |path: &str| -> Vec<String> {
        path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let (from, to) = (parts(base), parts(root));
    if !from.starts_with(&to) && !to.starts_with(&from) {
        return None;
    }
    let whole: Vec<String> = to.into_iter().chain(parts(below)).collect();
    let common = from.iter().zip(&whole).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..".to_owned(), from.len() - common);
    Some(up.chain(whole.into_iter().skip(common)).collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_when_the_root_goes_up_or_down() {
        let base = "/data/2026/01";
        for (root, below, key) in [
            ("/data/2026/01", "a//b", "a//b"),
            ("/data/2026/01/02", "a", "02/a"),
            ("/data/2026", "01/a", "a"),
            ("/data/2026", "02/a", "../02/a"),
            ("/data", "x", "../../x"),
            ("/", "data/2026/x", "../x"),
        ] {
            assert_eq!(key_from(base, root, below).as_deref(), Some(key), "{root} {below}");
        }
        assert_eq!(key_from(base, "/data/2026/010", "a"), None);
        assert_eq!(key_from(base, "/copy", "a"), None);
    }
}
