//! Drawn windows: how a job spells them, and which windows a time lies in, found by counting.
//!
//! Nothing here is shared with the engine: aligned windows are listed one by one, sessions are the
//! islands between gaps of sorted times.

use std::collections::HashMap;

use proptest::prelude::*;

const MS_US: i64 = 1_000;

/// A family of windows; lengths are milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// TUMBLE where the slide is the size, else HOP.
    Hop { size_ms: i64, slide_ms: i64, offset_ms: i64 },
    /// CUMULATE.
    Cumulate { size_ms: i64, step_ms: i64, offset_ms: i64 },
    /// SESSION.
    Session { gap_ms: i64 },
}

/// How the job spells its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    Flink,
    FlinkBare,
    FlinkNamed,
    RisingWave,
    Arroyo,
    DateTrunc,
    DateBin,
}

/// A window of a query.
#[derive(Debug, Clone)]
pub struct DrawnWindow {
    pub family: Family,
    pub spelling: Spelling,
    /// The columns of PARTITION BY, of a session in FROM.
    pub partition: Vec<&'static str>,
    /// Which of its columns the query groups by and gives on.
    columns: usize,
}

/// The name of a window's column in FROM, and under which a view gives it on.
pub type WindowColumn = (&'static str, &'static str);

const START: WindowColumn = ("window_start", "ws");
const END: WindowColumn = ("window_end", "we");
const TIME: WindowColumn = ("window_time", "wt");

fn drawn_family() -> impl Strategy<Value = Family> {
    let hops = prop_oneof![
        3 => prop_oneof![Just(600_000), Just(60_000), Just(10_000), Just(7_000), Just(2_500)]
            .prop_map(|size| (size, size)),
        2 => prop_oneof![
            Just((600_000_i64, 120_000_i64)),
            Just((60_000, 20_000)),
            Just((30_000, 10_000)),
            Just((25_000, 10_000)),
            Just((10_000, 25_000)),
            Just((60_000, 7_000)),
        ],
        1 => prop_oneof![
            Just((100_000_i64, 1_000_i64)),
            Just((300_000, 7_000)),
            Just((50_000, 500)),
            Just((7_000, 40_000)),
        ],
    ];
    let grown = prop_oneof![
        Just((60_000_i64, 10_000_i64)),
        Just((60_000, 20_000)),
        Just((10_000, 2_000)),
        Just((10_000, 10_000)),
        Just((600_000, 60_000)),
        Just((50_000, 1_000)),
    ];
    let gaps = prop_oneof![
        Just(1_000_i64),
        Just(10_000),
        Just(500),
        Just(5_000),
        Just(20_000),
        Just(100_000),
        Just(1),
    ];
    prop_oneof![
        3 => (hops, -6_i64..7).prop_map(|((size_ms, slide_ms), offset_s)| Family::Hop {
            size_ms,
            slide_ms,
            offset_ms: (offset_s * 1_000) % slide_ms,
        }),
        1 => (grown, -6_i64..7).prop_map(|((size_ms, step_ms), offset_s)| Family::Cumulate {
            size_ms,
            step_ms,
            offset_ms: (offset_s * 1_000) % size_ms,
        }),
        2 => gaps.prop_map(|gap_ms| Family::Session { gap_ms }),
    ]
}

pub fn drawn_window() -> impl Strategy<Value = DrawnWindow> {
    let spelling = prop_oneof![
        1 => Just(Spelling::Flink),
        1 => Just(Spelling::FlinkBare),
        1 => Just(Spelling::FlinkNamed),
        1 => Just(Spelling::RisingWave),
        2 => Just(Spelling::Arroyo),
        1 => Just(Spelling::DateTrunc),
        1 => Just(Spelling::DateBin),
    ];
    let partition =
        prop_oneof![Just(vec![]), Just(vec!["k"]), Just(vec!["d"]), Just(vec!["k", "d"])];
    (drawn_family(), spelling, partition, 0_usize..6).prop_map(
        |(family, spelling, partition, columns)| {
            DrawnWindow { family, spelling, partition, columns }.consistent()
        },
    )
}

impl DrawnWindow {
    /// Takes back what the drawn spelling cannot say.
    fn consistent(mut self) -> Self {
        use Spelling::{Arroyo, DateBin, DateTrunc, FlinkBare};
        match (&mut self.family, self.spelling) {
            (Family::Hop { size_ms, slide_ms, offset_ms }, DateTrunc) => {
                (*size_ms, *slide_ms, *offset_ms) = (60_000, 60_000, 0);
            }
            (Family::Hop { size_ms, slide_ms, offset_ms }, DateBin) => {
                *slide_ms = *size_ms;
                *offset_ms %= *slide_ms;
            }
            (Family::Hop { offset_ms, .. }, Arroyo) => *offset_ms = 0,
            (Family::Cumulate { .. }, Arroyo | DateTrunc | DateBin) => self.spelling = FlinkBare,
            (Family::Session { .. }, DateTrunc | DateBin) => self.spelling = Arroyo,
            _ => {}
        }
        if !matches!(self.family, Family::Session { .. }) || !self.is_table_function() {
            self.partition.clear();
        }
        self
    }

    pub fn is_table_function(&self) -> bool {
        !matches!(self.spelling, Spelling::Arroyo | Spelling::DateTrunc | Spelling::DateBin)
    }

    pub fn is_session(&self) -> bool {
        matches!(self.family, Family::Session { .. })
    }

    /// The window's columns that are grouped by; they tell which window it is.
    pub fn columns(&self) -> Vec<WindowColumn> {
        let is_told_by_start = matches!(self.family, Family::Hop { .. });
        match self.spelling {
            Spelling::Arroyo if self.columns == 0 && is_told_by_start => return vec![START],
            Spelling::Arroyo => return vec![START, END],
            Spelling::DateTrunc | Spelling::DateBin => return vec![START],
            _ => {}
        }
        match self.columns {
            0 if is_told_by_start => vec![START],
            1 => vec![END],
            2 => vec![TIME],
            3 | 0 => vec![START, END],
            _ => vec![START, END, TIME],
        }
    }

    /// The window of FROM as the job spells it, over the time column of `input`.
    pub fn relation(&self, input: &str, time: &str) -> String {
        let by = match self.partition.is_empty() {
            true => String::new(),
            false => format!(" PARTITION BY {}", self.partition.join(", ")),
        };
        let (name, lengths) = self.lengths();
        let plain: Vec<&str> = lengths.iter().map(|(_, length)| length.as_str()).collect();
        let plain = plain.join(", ");
        match self.spelling {
            Spelling::Flink => {
                format!("TABLE({name}(TABLE {input}{by}, DESCRIPTOR({time}), {plain}))")
            }
            Spelling::FlinkNamed => {
                let named: Vec<String> = lengths
                    .iter()
                    .rev()
                    .map(|(parameter, length)| format!("{parameter} => {length}"))
                    .collect();
                format!(
                    "TABLE({name}(DATA => TABLE {input}{by}, TIMECOL => DESCRIPTOR({time}), {}))",
                    named.join(", ")
                )
            }
            Spelling::RisingWave => format!("{name}({input}{by}, {time}, {plain})"),
            _ => format!("{name}(TABLE {input}{by}, DESCRIPTOR({time}), {plain})"),
        }
    }

    /// The window as a grouping expression over the time column.
    pub fn expression(&self, time: &str) -> String {
        match (self.spelling, self.family) {
            (Spelling::DateTrunc, _) => format!("date_trunc('minute', {time})"),
            (Spelling::DateBin, Family::Hop { size_ms, offset_ms, .. }) => {
                let origin = chrono::DateTime::from_timestamp_millis(offset_ms).unwrap();
                let origin = origin.format("%Y-%m-%d %H:%M:%S%.3f");
                format!("date_bin({}, {time}, TIMESTAMP '{origin}')", self.interval(size_ms))
            }
            (_, Family::Hop { size_ms, slide_ms, .. }) if size_ms != slide_ms => {
                format!("hop({}, {})", self.interval(slide_ms), self.interval(size_ms))
            }
            (_, Family::Hop { size_ms, .. }) => format!("tumble({})", self.interval(size_ms)),
            (_, Family::Session { gap_ms }) => format!("session({})", self.interval(gap_ms)),
            (_, Family::Cumulate { .. }) => unreachable!("CUMULATE stands in FROM"),
        }
    }

    fn lengths(&self) -> (&'static str, Vec<(&'static str, String)>) {
        let (name, mut lengths, offset_ms) = match self.family {
            Family::Hop { size_ms, slide_ms, offset_ms } if size_ms == slide_ms => {
                ("TUMBLE", vec![("SIZE", size_ms)], offset_ms)
            }
            Family::Hop { size_ms, slide_ms, offset_ms } => {
                ("HOP", vec![("SLIDE", slide_ms), ("SIZE", size_ms)], offset_ms)
            }
            Family::Cumulate { size_ms, step_ms, offset_ms } => {
                ("CUMULATE", vec![("STEP", step_ms), ("SIZE", size_ms)], offset_ms)
            }
            Family::Session { gap_ms } => ("SESSION", vec![("GAP", gap_ms)], 0),
        };
        if offset_ms != 0 {
            lengths.push(("`OFFSET`", offset_ms));
        }
        let spelled = lengths.into_iter().map(|(name, ms)| (name, self.interval(ms)));
        (name, spelled.collect())
    }

    fn interval(&self, ms: i64) -> String {
        match (self.spelling, ms % 1_000) {
            (Spelling::RisingWave, 0) => format!("INTERVAL '{} seconds'", ms / 1_000),
            (_, 0) => format!("INTERVAL '{}' SECOND", ms / 1_000),
            _ => format!("INTERVAL '{ms} milliseconds'"),
        }
    }
}

impl Family {
    /// The windows that hold each of `times_us`, as positions and bounds; rows of one of `groups`
    /// have sessions of their own. A window that ends at or before the row's entry in `closed_us`
    /// was closed when the row came, and so was every session that it could be in.
    pub fn assign(
        &self,
        times_us: &[i64],
        groups: &[Vec<Option<String>>],
        closed_us: &[i64],
    ) -> Vec<(usize, i64, i64)> {
        if let Self::Session { gap_ms } = self {
            return sessions(times_us, groups, closed_us, gap_ms * MS_US);
        }
        let mut assigned = Vec::new();
        for (row, &time_us) in times_us.iter().enumerate() {
            for (start_us, end_us) in self.aligned(time_us) {
                if end_us > closed_us[row] {
                    assigned.push((row, start_us, end_us));
                }
            }
        }
        assigned
    }

    fn aligned(&self, time_us: i64) -> Vec<(i64, i64)> {
        let mut windows = Vec::new();
        match self {
            Self::Hop { size_ms, slide_ms, offset_ms } => {
                let (size, slide, offset) = (size_ms * MS_US, slide_ms * MS_US, offset_ms * MS_US);
                let mut start = (time_us - offset).div_euclid(slide) * slide + offset;
                while start + size > time_us {
                    windows.push((start, start + size));
                    start -= slide;
                }
            }
            Self::Cumulate { size_ms, step_ms, offset_ms } => {
                let (size, step, offset) = (size_ms * MS_US, step_ms * MS_US, offset_ms * MS_US);
                let start = (time_us - offset).div_euclid(size) * size + offset;
                let ends = (1..=size / step).map(|n| start + n * step);
                windows.extend(ends.filter(|end| *end > time_us).map(|end| (start, end)));
            }
            Self::Session { .. } => {}
        }
        windows
    }
}

fn sessions(
    times_us: &[i64],
    groups: &[Vec<Option<String>>],
    closed_us: &[i64],
    gap_us: i64,
) -> Vec<(usize, i64, i64)> {
    let mut by_group: HashMap<&Vec<Option<String>>, Vec<usize>> = HashMap::new();
    for row in 0..times_us.len() {
        if times_us[row] >= closed_us[row] {
            by_group.entry(&groups[row]).or_default().push(row);
        }
    }
    let mut assigned = Vec::new();
    for mut rows in by_group.into_values() {
        rows.sort_by_key(|&row| times_us[row]);
        for island in rows.chunk_by(|&a, &b| times_us[b] - times_us[a] <= gap_us) {
            let (first, last) = (times_us[island[0]], times_us[island[island.len() - 1]]);
            assigned.extend(island.iter().map(|&row| (row, first, last + gap_us)));
        }
    }
    assigned
}
