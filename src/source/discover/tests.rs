//! Listings of real folders and of a bucket.

use object_store::PutPayload;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

use super::super::split_location;
use super::*;

const FILES: [&str; 8] = [
    "b.json",
    "a/1.json",
    "a/2.json.gz",
    "a/deep/3.json",
    "_tmp/x.json",
    "a/_x.json",
    ".hidden/y.json",
    "empty.json",
];

async fn names(location: &str, order: &DiscoveryOrder) -> SourceResult<Vec<String>> {
    let found = discover(&LocalFileSystem::new(), &split_location(location)?, order).await?;
    Ok(found.into_iter().map(|file| file.display).collect())
}

fn folder(name: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join(name);
    for file in FILES {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, if file == "empty.json" { "" } else { "{}" }).unwrap();
    }
    let root = root.to_str().unwrap().to_owned();
    (folder, root)
}

#[tokio::test]
async fn a_folder_is_listed_with_all_below_it_in_order_of_names() {
    // The rule of `_` and `.` is for what is below the location, not for the location.
    let (_guard, root) = folder("_my data");
    for location in
        [root.clone(), format!("{root}/"), format!("file://{}", root.replace(' ', "%20"))]
    {
        let names = names(&location, &DiscoveryOrder::Name).await.unwrap();
        let expected = ["a/1.json", "a/2.json.gz", "a/deep/3.json", "b.json", "empty.json"];
        assert_eq!(names, expected.map(|name| format!("{}/{name}", root)), "{location}");
    }
}

#[tokio::test]
async fn globs_match_within_a_name_unless_doubled() {
    let (_guard, root) = folder("data");
    for (pattern, expected) in [
        ("*.json", &["b.json", "empty.json"][..]),
        ("a/?.json", &["a/1.json"]),
        ("**/*.json", &["a/1.json", "a/deep/3.json", "b.json", "empty.json"]),
        ("a/[1-2].*", &["a/1.json", "a/2.json.gz"]),
        ("*/*.xml", &[]),
    ] {
        let found = names(&format!("{root}/{pattern}"), &DiscoveryOrder::Name).await.unwrap();
        // What is displayed begins with the root, and the root reaches to the pattern.
        let found: Vec<_> =
            found.iter().map(|name| name.strip_prefix(&format!("{root}/")).unwrap()).collect();
        assert_eq!(found, expected, "{pattern}");
    }
}

#[tokio::test]
async fn one_file_is_itself_and_has_its_size_and_version() {
    let (_guard, root) = folder("data");
    let location = split_location(&format!("{root}/a/_x.json")).unwrap();
    let found = discover(&LocalFileSystem::new(), &location, &DiscoveryOrder::Name).await.unwrap();
    assert_eq!((found.len(), found[0].size, &found[0].display), (1, 2, &location.text));
    assert!(found[0].etag.is_some());
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let (_guard, root) = folder("data");
    for location in [format!("{root}/nope/"), format!("{root}/nope/*.json")] {
        let error = names(&location, &DiscoveryOrder::Name).await.unwrap_err();
        assert!(matches!(error, SourceError::Unavailable { .. }));
        let message = error.to_string().replace("nope/ ", "nope ");
        assert_eq!(message, format!("{location}: {root}/nope does not exist"));
    }
    assert!(
        names(&format!("{root}/b.json/*"), &DiscoveryOrder::Name)
            .await
            .unwrap_err()
            .to_string()
            .contains("not a folder")
    );
}

#[tokio::test]
async fn files_can_be_ordered_by_their_last_change() {
    let (_guard, root) = folder("data");
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let file = std::fs::File::options().write(true).open(format!("{root}/empty.json")).unwrap();
    file.set_modified(old).unwrap();
    let found = names(&root, &DiscoveryOrder::Modified).await.unwrap();
    assert_eq!((found.len(), &found[0]), (5, &format!("{root}/empty.json")));
}

#[tokio::test]
async fn buckets_are_listed_by_prefix_glob_or_key() {
    let store = InMemory::new();
    for file in ["logs/a.json", "logs/b/c.json", "logs/_x.json", "logs2/d.json"] {
        store.put(&Path::from(file), PutPayload::from("{}")).await.unwrap();
    }
    for (location, expected) in [
        (
            "s3://bkt",
            &["s3://bkt/logs/a.json", "s3://bkt/logs/b/c.json", "s3://bkt/logs2/d.json"][..],
        ),
        ("s3://bkt/logs", &["s3://bkt/logs/a.json", "s3://bkt/logs/b/c.json"]),
        ("s3://bkt/logs/", &["s3://bkt/logs/a.json", "s3://bkt/logs/b/c.json"]),
        ("s3://bkt/*/*.json", &["s3://bkt/logs/a.json", "s3://bkt/logs2/d.json"]),
        ("s3://bkt/logs/a.json", &["s3://bkt/logs/a.json"]),
        ("s3://bkt/none/", &[]),
    ] {
        let found = discover(&store, &split_location(location).unwrap(), &DiscoveryOrder::Name)
            .await
            .unwrap();
        assert_eq!(
            found.iter().map(|file| file.display.as_str()).collect::<Vec<_>>(),
            expected,
            "{location}"
        );
    }
}

/// What `files` of a bucket are in the order of their path time, with those times.
async fn by_path_time(files: &[&str], times: PathTime) -> SourceResult<Vec<(String, i64)>> {
    let store = InMemory::new();
    for file in files {
        store.put(&Path::from(*file), PutPayload::from("{}")).await.unwrap();
    }
    let location = split_location("s3://bkt/20250101/logs/").unwrap();
    let found = discover(&store, &location, &DiscoveryOrder::PathTime(times)).await?;
    let seconds = |us: i64| us / 1_000_000;
    Ok(found
        .into_iter()
        .map(|file| (file.display, file.time_min_us.map(seconds).unwrap()))
        .map(|(display, time)| (display.replace("s3://bkt/20250101/logs/", ""), time))
        .collect())
}

#[tokio::test]
async fn files_can_be_ordered_by_the_time_in_their_path_below_the_location() {
    let files = [
        "20250101/logs/tenant=a/dt=2026-01-02/hour=0/x.json",
        "20250101/logs/tenant=b/dt=2026-01-01/hour=9/y.json",
        "20250101/logs/tenant=b/dt=2026-01-01/hour=10/y.json",
        "20250101/logs/tenant=a/dt=2026-01-01/hour=9/z.json",
    ];
    let day_s = 1_767_225_600;
    let expected = [
        ("tenant=a/dt=2026-01-01/hour=9/z.json", day_s + 9 * 3600),
        ("tenant=b/dt=2026-01-01/hour=9/y.json", day_s + 9 * 3600),
        ("tenant=b/dt=2026-01-01/hour=10/y.json", day_s + 10 * 3600),
        ("tenant=a/dt=2026-01-02/hour=0/x.json", day_s + 24 * 3600),
    ]
    .map(|(name, time)| (name.to_owned(), time));
    assert_eq!(by_path_time(&files, PathTime::default()).await.unwrap(), expected);
    let pattern = PathTime::new("dt=%Y-%m-%d/").unwrap();
    let coarse = by_path_time(&files, pattern).await.unwrap();
    assert_eq!(coarse.last(), Some(&(expected[3].0.clone(), day_s + 24 * 3600)));
    assert_eq!(coarse[0], (expected[0].0.clone(), day_s), "ties are broken by key");
}

#[tokio::test]
async fn a_file_without_a_time_in_its_path_is_named_with_what_to_do() {
    let files = ["20250101/logs/2026/01/02/a.json", "20250101/logs/readme.json"];
    let error = by_path_time(&files, PathTime::default()).await.unwrap_err();
    assert!(matches!(error, SourceError::BadJob { .. }));
    assert_eq!(
        error.to_string(),
        "s3://bkt/20250101/logs/readme.json: has no time in its path in any common form; write \
         discovery.path_time for where it stands, such as dt=%Y-%m-%d/hour=%H/, move the file \
         away, or write order: name"
    );
    let pattern = PathTime::new("%Y/%m/%d/%H/").unwrap();
    assert_eq!(
        by_path_time(&files[..1], pattern).await.unwrap_err().to_string(),
        "s3://bkt/20250101/logs/2026/01/02/a.json: has no time in its path as \
         discovery.path_time says it, %Y/%m/%d/%H/; correct the pattern, move the file away, or \
         write order: name"
    );
}

#[tokio::test]
async fn the_time_of_a_single_file_is_in_its_name() {
    let (_guard, root) = folder("2025-01-01");
    let file = format!("{root}/app-2026-01-02.json");
    std::fs::write(&file, "{}").unwrap();
    let order = DiscoveryOrder::PathTime(PathTime::default());
    let location = split_location(&file).unwrap();
    let found = discover(&LocalFileSystem::new(), &location, &order).await.unwrap();
    assert_eq!(found[0].time_min_us, Some(1_767_312_000_000_000));
}
