//! Every window holds exactly its rows, each once, however rows come and epochs are cut; and what
//! that takes.

mod model;

use model::Stage;
use proptest::prelude::*;

use super::Role;
use crate::sql::WindowShape;

fn hop(panes: i64, slide: i64, offset: i64) -> WindowShape {
    WindowShape::new(panes * 1_000, slide * 1_000, offset * 1_000).unwrap()
}

fn cumulate(panes: i64, offset: i64) -> WindowShape {
    WindowShape::cumulate(panes * 1_000, 1_000, offset * 1_000).unwrap()
}

/// What happens in an epoch: rows this far from the watermark, in panes, and how far it goes on.
#[derive(Debug, Clone)]
struct Happening {
    rows: Vec<i64>,
    pieces: usize,
    advance: i64,
    put_together: u8,
}

fn shapes() -> impl Strategy<Value = WindowShape> {
    let hops = (1_i64..60, 1_i64..12).prop_flat_map(|(panes, slide)| {
        let slide = slide.min(panes);
        (1 - slide..slide).prop_map(move |offset| hop(panes, slide, offset))
    });
    let cumulates = (1_i64..40)
        .prop_flat_map(|panes| (1 - panes..panes).prop_map(move |offset| cumulate(panes, offset)));
    prop_oneof![3 => hops, 1 => cumulates]
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let distance = prop_oneof![6 => -40_i64..40, 1 => -3_i64..3, 1 => 200_i64..2_000];
    let rows = prop::collection::vec(distance, 0..12);
    let advance = prop_oneof![
        2 => Just(0_i64), 4 => 1_i64..5, 4 => 1_i64..60, 1 => 100_i64..400, 1 => 5_000_i64..20_000
    ];
    let happening = (rows, 1_usize..4, advance, any::<u8>()).prop_map(
        |(rows, pieces, advance, put_together)| Happening { rows, pieces, advance, put_together },
    );
    prop::collection::vec(happening, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_window_holds_each_of_its_rows_once(
        shape in shapes(),
        begin in -300_i64..100,
        is_begun in any::<bool>(),
        happenings in happenings(),
    ) {
        let mut stage = Stage::new(shape);
        let mut now = begin;
        if is_begun {
            stage.epoch(&[], 1, Some(now * 1_000));
        }
        for Happening { rows, pieces, advance, put_together } in happenings {
            let times: Vec<i64> = rows.iter().map(|panes| (now + panes) * 1_000 + 500).collect();
            now += advance;
            stage.epoch(&times, pieces, Some(now * 1_000 + 300));
            stage.check_closed();
            stage.compact(|role| put_together & (1 << role as u8) != 0);
            stage.check_open();
        }
        stage.drain_and_check();
        prop_assert!(stage.parts_max <= 3);
    }
}

/// Every pane has a row; the watermark goes on by `advance` panes an epoch.
fn run_dense(shape: WindowShape, panes: i64, advance: i64) -> Stage {
    let mut stage = Stage::new(shape);
    for first in (-panes / 2..panes / 2).step_by(advance as usize) {
        let times: Vec<i64> = (first..first + advance).map(|pane| pane * 1_000 + 1).collect();
        stage.epoch(&times, 1, Some((first + advance) * 1_000));
    }
    stage
}

#[test]
fn a_window_reads_three_merges_whatever_its_ratio() {
    for (panes, slide) in [(9, 1), (100, 1), (101, 10), (720, 1)] {
        let stage = run_dense(hop(panes, slide, 0), 3 * panes, slide);
        stage.check_closed();
        assert_eq!(stage.parts_max, 3);
    }
    assert_eq!(run_dense(cumulate(720, 0), 3 * 720, 1).parts_max, 1);
}

#[test]
fn each_pane_is_read_three_times_and_not_once_a_window() {
    let stage = run_dense(hop(400, 1, 0), 4 * 400, 1);
    let a_window = stage.counting.slices as f64 / stage.windows as f64;
    assert!(a_window < 4.2, "{a_window} slices were merged for a window");
    let stage = run_dense(cumulate(400, 0), 4 * 400, 1);
    let a_window = stage.counting.slices as f64 / stage.windows as f64;
    assert!(a_window <= 2.0, "{a_window} slices were merged for a window");
}

#[test]
fn no_close_makes_more_merges_than_the_root_of_a_window() {
    let mut stage = Stage::new(hop(400, 1, 0));
    let mut most = 0;
    for pane in 0..3 * 400 {
        let before = (stage.counting.slices, stage.counting.steps);
        stage.epoch(&[pane * 1_000], 1, Some((pane + 1) * 1_000));
        most = most.max(stage.counting.slices - before.0).max(stage.counting.steps - before.1);
    }
    assert!(most <= 3 * 21, "{most} slices or merges in one close");
}

#[test]
fn windows_that_close_together_are_merged_together() {
    let stage = run_dense(hop(720, 1, 0), 3 * 720, 3 * 720);
    stage.check_closed();
    let a_merge = stage.windows as f64 / stage.counting.merges as f64;
    assert!(a_merge > 8.0, "{a_merge} windows for a merge");
}

#[test]
fn what_is_kept_is_bounded_by_two_windows() {
    let mut stage = Stage::new(hop(100, 1, 0));
    for pane in 0..1_000 {
        stage.epoch(&[pane * 1_000], 1, Some((pane + 1) * 1_000));
        assert!(stage.kept(Role::Panes) <= 100 + 11);
        let of = [Role::Prefix, Role::Inner, Role::Outer].map(|role| stage.kept(role));
        assert!(of.iter().all(|&pieces| pieces <= 1), "{of:?}");
        assert!(stage.kept(Role::Total) <= 11);
    }
    let mut stage = Stage::new(cumulate(100, 0));
    for pane in 0..250 {
        stage.epoch(&[pane * 1_000], 1, Some((pane + 1) * 1_000));
        assert_eq!(
            (stage.kept(Role::Panes), stage.kept(Role::Prefix)),
            (0, usize::from(pane % 100 != 99))
        );
    }
}

#[test]
fn years_without_rows_cost_no_step() {
    let year = 365 * 86_400;
    for shape in [hop(1_440, 1, 0), cumulate(1_440, 0)] {
        let mut stage = Stage::new(shape);
        let times: Vec<i64> = [-20, 0, 30].map(|years| years * year * 1_000).to_vec();
        stage.epoch(&times, 1, Some(40 * year * 1_000));
        stage.drain_and_check();
        assert!(stage.windows <= 3 * 1_440);
        assert_eq!(stage.counting.asked, 1, "the piece is asked once which panes it holds");
        stage.epoch(&[41 * year * 1_000], 1, Some(60 * year * 1_000));
        stage.drain_and_check();
    }
}

#[test]
fn a_row_for_a_closed_pane_counts_in_the_windows_that_are_open() {
    let mut stage = Stage::new(hop(100, 1, 0));
    stage.epoch(&[0, 55_000, 130_000], 1, Some(160_000));
    assert_eq!(stage.kept(Role::Stray), 0);
    // 70 lies in the old block, 120 in the prefix and 155 beside it; 30 is late.
    stage.epoch(&[70_000, 120_000, 155_000, 30_000], 1, Some(160_000));
    assert_eq!((stage.kept(Role::Stray), stage.kept(Role::Prefix)), (1, 2));
    stage.epoch(&[], 1, Some(161_000));
    assert_eq!((stage.kept(Role::Stray), stage.kept(Role::Prefix)), (1, 1));
    stage.compact(|_| false);
    stage.epoch(&[], 1, Some(171_000));
    assert_eq!(stage.kept(Role::Stray), 0);
    stage.drain_and_check();
    assert_eq!(stage.closed.get(&69_000), Some(&vec![2, 3, 4, 5]));
}

#[test]
fn a_prefix_of_another_watermark_is_refused() {
    let mut stage = Stage::new(hop(100, 1, 0));
    stage.epoch(&[0], 1, Some(20_000));
    let watermarks = super::Watermarks { after_us: Some(21_000), through_us: Some(22_000) };
    let mut counting = model::Counting::default();
    let state = stage.state.clone();
    let walk = super::Walk::start(&stage.shape, watermarks, state, vec![], &mut counting);
    assert!(futures::executor::block_on(walk).is_err());
}
