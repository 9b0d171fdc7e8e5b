//! Listings of real folders and of a bucket.

use object_store::PutPayload;
use object_store::memory::InMemory;

use super::super::local_files::LocalFiles;
use super::super::split_location;
use super::*;

/// In the year 2200: all that is there is old.
const NOW_MS: i64 = 7_258_118_400_000;

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

/// What a first listing gives.
async fn listed(
    store: &dyn ObjectStore,
    location: &str,
    order: &DiscoveryOrder,
) -> SourceResult<Listing> {
    let mut memory = ListingMemory::new(false);
    discover(store, &split_location(location)?, order, &mut memory, NOW_MS).await
}

async fn names(location: &str, order: &DiscoveryOrder) -> SourceResult<Vec<String>> {
    let listing = listed(&LocalFiles::default(), location, order).await?;
    Ok(listing.files.into_iter().map(|file| file.display).collect())
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
    let location = format!("{root}/a/_x.json");
    let listing = listed(&LocalFiles::default(), &location, &DiscoveryOrder::Name).await.unwrap();
    let found = &listing.files[0];
    assert_eq!((listing.files.len(), found.size, &found.display), (1, 2, &location));
    assert_eq!((found.key.as_str(), found.etag.is_some()), ("_x.json", true));
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
        let listing = listed(&store, location, &DiscoveryOrder::Name).await.unwrap();
        assert_eq!(
            listing.files.iter().map(|file| file.display.as_str()).collect::<Vec<_>>(),
            expected,
            "{location}"
        );
    }
}

#[tokio::test]
async fn a_prefix_that_ends_within_a_name_is_refused_with_what_is_meant() {
    let store = InMemory::new();
    store.put(&Path::from("mid/2026-01.json"), PutPayload::from("{}")).await.unwrap();
    let error = listed(&store, "s3://bkt/mid/2026-", &DiscoveryOrder::Name).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "s3://bkt/mid/2026-: nothing is below it as a folder, but keys begin with it, such as \
         mid/2026-01.json; write s3://bkt/mid/2026-* for those, or s3://bkt/mid/2026-/ for the \
         folder"
    );
    for empty in ["s3://bkt/mid/2026-/", "s3://bkt/mid/2025", "s3://bkt/mid"] {
        assert!(listed(&store, empty, &DiscoveryOrder::Name).await.is_ok(), "{empty}");
    }
}

/// What `files` of a bucket are in the order of their path time, with those times.
async fn by_path_time(files: &[&str], times: PathTime) -> SourceResult<Vec<(String, i64)>> {
    let store = InMemory::new();
    for file in files {
        store.put(&Path::from(*file), PutPayload::from("{}")).await.unwrap();
    }
    let order = DiscoveryOrder::PathTime(times);
    let mut listing = listed(&store, "s3://bkt/20250101/logs/", &order).await?;
    if let Some(unusable) = listing.unusable.pop() {
        return Err(unusable.error);
    }
    let found = listing.files;
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
    let listing = listed(&LocalFiles::default(), &file, &order).await.unwrap();
    assert_eq!(listing.files[0].time_min_us, Some(1_767_312_000_000_000));
}

#[tokio::test]
async fn a_listing_gives_what_is_not_remembered() {
    let (_guard, root) = folder("data");
    let location = split_location(&root).unwrap();
    let store = LocalFiles::default();
    let mut memory = ListingMemory::new(false);
    let mut list = async || {
        let listing =
            discover(&store, &location, &DiscoveryOrder::Name, &mut memory, NOW_MS).await.unwrap();
        for file in &listing.files {
            memory.remember(file.mark);
        }
        listing.files.into_iter().map(|file| file.key).collect::<Vec<_>>()
    };
    assert_eq!(list().await.len(), 5);
    assert!(list().await.is_empty());
    std::fs::write(format!("{root}/a/1.json"), "{\"longer\": 1}").unwrap();
    std::fs::write(format!("{root}/new.json"), "{}").unwrap();
    assert_eq!(list().await, ["a/1.json", "new.json"]);
}

#[test]
fn a_folder_that_has_not_changed_is_not_listed_and_what_comes_is_found_at_once() {
    let (guard, _) = folder("data");
    let root = std::fs::canonicalize(guard.path()).unwrap();
    let mut memory = ListingMemory::new(false);
    for n in 0..20_000_u64 {
        memory.remember(memory.mark(memory.key(&n.to_le_bytes()), n));
    }
    let list = |memory: &mut ListingMemory| {
        // More than the resolution of the times of folders.
        std::thread::sleep(std::time::Duration::from_millis(30));
        memory.begin(NOW_MS);
        let (takes, enters) = (|_: &[u8]| true, |_: &[u8]| true);
        let walked = walk(root.clone(), &takes, &enters, memory).unwrap();
        let mut names: Vec<String> = Vec::new();
        for found in walked.found {
            memory.remember(found.mark);
            names.push(text_of(&found.below));
        }
        names
    };
    assert_eq!(list(&mut memory).len(), FILES.len());
    for turn in 0..12 {
        assert!(list(&mut memory).is_empty());
        std::fs::write(root.join(format!("data/a/deep/new-{turn}.json")), "{}").unwrap();
        assert_eq!(list(&mut memory), [format!("data/a/deep/new-{turn}.json")]);
        let inner = root.join(format!("data/a/{turn}"));
        std::fs::create_dir(&inner).unwrap();
        assert!(list(&mut memory).is_empty());
        std::fs::write(inner.join("x.json"), "{}").unwrap();
        assert_eq!(list(&mut memory), [format!("data/a/{turn}/x.json")]);
        std::fs::rename(&inner, root.join(format!("data/{turn}"))).unwrap();
        assert_eq!(list(&mut memory), [format!("data/{turn}/x.json")]);
    }
    // What is in a folder that was moved has moved.
    std::fs::create_dir_all(root.join("data/from/inner/most")).unwrap();
    std::fs::write(root.join("data/from/inner/most/x.json"), "{}").unwrap();
    for _ in 0..3 {
        list(&mut memory);
    }
    std::fs::rename(root.join("data/from"), root.join("data/to")).unwrap();
    assert_eq!(list(&mut memory), ["data/to/inner/most/x.json"]);
    let metadata = std::fs::metadata(root.join("data/.hidden")).unwrap();
    let id = std::os::unix::fs::MetadataExt::dev(&metadata);
    let id = (id, std::os::unix::fs::MetadataExt::ino(&metadata));
    let listed = |memory: &ListingMemory| memory.folder(id).unwrap().listed;
    let before = listed(&memory);
    for _ in 0..20 {
        assert!(list(&mut memory).is_empty());
    }
    let keeps_times = mounts::Mounts::of_system().keep_times(id.0);
    assert_eq!(listed(&memory) - before, if keeps_times { 4 } else { 20 });
}

/// The time of a listing of many files that are known; for whoever changes it.
#[tokio::test]
#[ignore = "makes 200,000 files: run it by hand in a release build"]
async fn a_listing_of_many_known_files_is_fast() {
    let guard = tempfile::tempdir().unwrap();
    for n in 0..200_000 {
        let folder = guard.path().join(format!("{:03}", n % 200));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{n:06}.json")), "{}").unwrap();
    }
    let location = split_location(guard.path().to_str().unwrap()).unwrap();
    let store = LocalFiles::default();
    let mut memory = ListingMemory::new(false);
    for round in 0..6 {
        let started = std::time::Instant::now();
        let listing =
            discover(&store, &location, &DiscoveryOrder::Name, &mut memory, NOW_MS).await.unwrap();
        println!("listing {round}: {} new in {:?}", listing.files.len(), started.elapsed());
        for file in &listing.files {
            memory.remember(file.mark);
        }
    }
}
