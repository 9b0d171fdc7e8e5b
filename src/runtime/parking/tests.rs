//! When a parked file is tried again, and what of it goes into records.

use object_store::path::Path;
use tidegauge_commitlog::SourceState;

use super::*;
use crate::source::Mark;

fn file(key: &str, etag: &str) -> Discovered {
    Discovered {
        path: Path::from(key),
        key: key.to_owned(),
        size: 1,
        etag: Some(etag.to_owned()),
        etag_old: None,
        modified: Default::default(),
        display: format!("in/{key}"),
        time_min_us: None,
        part: None,
        tail: None,
        mark: Mark::default(),
        is_doubtful: false,
    }
}

fn fault(may_pass: bool) -> Fault {
    Fault { error: "in/a: bad".to_owned(), kind: "bad record".to_owned(), may_pass }
}

fn record_of(parking: &Parking) -> CommitRecord {
    let mut change = SourceChange::default();
    parking.write("s", &mut change);
    CommitRecord { sources: [("s".to_owned(), change)].into(), ..CommitRecord::default() }
}

#[test]
fn a_parked_file_is_tried_again_when_it_changes_or_its_error_may_pass() {
    let mut lot = Lot::default();
    assert_eq!(lot.place(&file("a", "1"), 0), Place::Free);
    lot.park(&file("a", "1"), fault(false), 0).unwrap();
    assert_eq!(lot.place(&file("a", "1"), i64::MAX), Place::Parked);
    assert_eq!(lot.place(&file("a", "2"), 0), Place::Due);
    lot.park(&file("b", "1"), fault(true), 0).unwrap();
    assert_eq!(lot.place(&file("b", "1"), RETRY_FIRST_MS - 1), Place::Parked);
    assert_eq!(lot.place(&file("b", "1"), RETRY_FIRST_MS), Place::Due);
    lot.park(&file("b", "1"), fault(true), RETRY_FIRST_MS).unwrap();
    assert_eq!(lot.place(&file("b", "1"), 3 * RETRY_FIRST_MS - 1), Place::Parked);
    assert_eq!(lot.place(&file("b", "1"), 3 * RETRY_FIRST_MS), Place::Due);
    for _ in 0..100 {
        lot.park(&file("b", "1"), fault(true), 0).unwrap();
    }
    assert_eq!(lot.place(&file("b", "1"), RETRY_LAST_MS), Place::Due);
}

#[test]
fn what_is_parked_goes_into_one_record_and_is_tried_again_in_a_new_run() {
    let mut parking = Parking::default();
    assert!(parking.lot("s").park(&file("a", "1"), fault(false), 5).unwrap());
    assert!(parking.has_news());
    let record = record_of(&parking);
    assert_eq!(record.sources["s"].parked[0].tries, 1);
    let mut state = JobState::default();
    state.apply(&record);
    parking.committed(&record);
    assert!(!parking.has_news() && record_of(&parking).sources["s"].parked.is_empty());
    // Tried again to no avail: written with the next record, and not worth one.
    assert!(!parking.lot("s").park(&file("a", "1"), fault(false), 9).unwrap());
    assert!(!parking.has_news() && record_of(&parking).sources["s"].parked[0].tries == 2);
    let mut again = Parking::new(&state);
    assert_eq!(again.lot("s").place(&file("a", "1"), 9), Place::Due);
    assert_eq!(again.all().count(), 1);
    again.lot("s").keep(&BTreeSet::new());
    state.apply(&record_of(&again));
    assert_eq!(state.sources["s"], SourceState::default());
}

#[test]
fn a_change_is_warned_of_once_and_counted_each_time() {
    let mut parking = Parking::default();
    assert!(parking.lot("s").changed(&file("a", "2")));
    assert!(!parking.lot("s").changed(&file("a", "2")));
    assert!(!parking.lot("s").changed(&file("a", "3")));
    let record = record_of(&parking);
    assert_eq!(record.sources["s"].files_changed, 2);
    parking.committed(&record);
    assert!(!parking.lot("s").changed(&file("a", "4")) && !parking.has_news());
}

#[test]
fn files_without_end_are_not_parked() {
    let mut lot = Lot::default();
    for n in 0..PARKED_MAX {
        lot.park(&file(&n.to_string(), "1"), fault(false), 0).unwrap();
    }
    let error = lot.park(&file("more", "1"), fault(false), 0).unwrap_err();
    assert!(error.message().contains("1000 files of its source"), "{error}");
    assert!(lot.park(&file("7", "2"), fault(false), 0).is_ok());
}
