//! The simulated store's content: objects, effects that have not landed yet, and the dice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::truth::Truth;

/// How hard a seed's world is.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    pub(super) fail: f64,
    pub(super) late: f64,
    pub(super) pause: f64,
    /// Mean number of store calls between crashes of a coordinator.
    pub(super) calls_to_crash: u64,
    pub(super) pause_ms_max: u64,
    pub(super) late_ms_max: u64,
}

impl Weather {
    /// Every fourth world is one of long pauses and long delays without many crashes: sleepers
    /// that wake in a world that has moved on are rare otherwise.
    fn of(seed: u64, rng: &mut SmallRng) -> Weather {
        let pick = |rng: &mut SmallRng, of: &[f64]| of[rng.random_range(0..of.len())];
        if seed % 4 == 3 {
            Weather {
                fail: 0.02,
                late: 0.05,
                pause: 0.02,
                calls_to_crash: 2000,
                pause_ms_max: 12_000,
                late_ms_max: 20_000,
            }
        } else {
            Weather {
                fail: pick(rng, &[0.0, 0.01, 0.04, 0.1]),
                late: pick(rng, &[0.0, 0.01, 0.03, 0.08]),
                pause: pick(rng, &[0.0, 0.002, 0.01, 0.02]),
                calls_to_crash: [40, 150, 600][rng.random_range(0..3)],
                pause_ms_max: [3_000, 12_000, 30_000][rng.random_range(0..3)],
                late_ms_max: [500, 5_000, 20_000][rng.random_range(0..3)],
            }
        }
    }
}

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Works,
    FailsBefore,
    FailsAfter,
    /// The store's client repeated a create that had worked.
    AnswersExists,
    LandsLater(u64),
}

#[derive(Debug, Clone)]
pub(super) enum Effect {
    Put { path: String, bytes: Bytes },
    Create { path: String, bytes: Bytes },
    Copy { from: String, to: String },
    Delete { path: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Exists,
    Absent,
}

#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) bytes: Bytes,
    pub(super) modified_ms: i64,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) origin: tokio::time::Instant,
    pub(super) inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) rng: SmallRng,
    pub(super) weather: Weather,
    pub(super) is_calm: bool,
    pub(super) objects: BTreeMap<String, Object>,
    late: BTreeMap<(i64, u64), (String, Effect)>,
    late_count: u64,
    pub(super) truth: Truth,
    pub(super) counts: BTreeMap<&'static str, u64>,
    pub(super) is_traced: bool,
    /// A digest of everything that happened: the same seed must give the same.
    pub(super) digest: u64,
}

/// The wall clock at the beginning, milliseconds since 1970.
pub(super) const START_MS: i64 = 1_700_000_000_000;

impl World {
    pub(super) fn new(seed: u64, truth: Truth, is_traced: bool) -> Arc<World> {
        let mut rng = SmallRng::seed_from_u64(seed);
        let weather = Weather::of(seed, &mut rng);
        Arc::new(World {
            origin: tokio::time::Instant::now(),
            inner: Mutex::new(Inner {
                rng,
                weather,
                is_calm: false,
                objects: BTreeMap::new(),
                late: BTreeMap::new(),
                late_count: 0,
                truth,
                counts: BTreeMap::new(),
                is_traced,
                digest: 0,
            }),
        })
    }

    pub(super) fn now_ms(&self) -> i64 {
        START_MS + self.origin.elapsed().as_millis() as i64
    }

    /// Runs `act` on the present state of the world: what was due to land has landed.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Inner, i64) -> T) -> T {
        let now_ms = self.now_ms();
        let mut inner = self.inner.lock();
        inner.land(now_ms);
        act(&mut inner, now_ms)
    }

    pub(super) fn note(&self, who: &str, what: &'static str) {
        self.with(|inner, now_ms| inner.note(now_ms, who, what, ""));
    }

    pub(super) fn is_broken(&self) -> bool {
        self.inner.lock().truth.violation.is_some()
    }

    pub(super) fn violate(&self, message: String) {
        self.with(|inner, _| inner.truth.violate(message));
    }

    /// A number below `n`.
    pub(super) fn roll(&self, n: u64) -> u64 {
        self.inner.lock().rng.random_range(0..n)
    }

    pub(super) async fn sleep_up_to(&self, ms: u64) {
        let ms = self.roll(ms) + 1;
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

impl Inner {
    pub(super) fn note(&mut self, now_ms: i64, who: &str, what: &'static str, path: &str) {
        *self.counts.entry(what).or_default() += 1;
        let at = now_ms - START_MS;
        for byte in what.bytes().chain(path.bytes()).chain(at.to_le_bytes()) {
            self.digest = self.digest.wrapping_mul(1_099_511_628_211) ^ u64::from(byte);
        }
        if self.is_traced {
            println!("{at:>7} {who:<12} {what:<16} {path}");
        }
    }

    /// What becomes of the next call that changes something.
    pub(super) fn fate(&mut self, effect: &Effect) -> Fate {
        if self.is_calm {
            return Fate::Works;
        }
        if self.rng.random_bool(self.weather.late) {
            return Fate::LandsLater(self.rng.random_range(1..self.weather.late_ms_max));
        }
        if !self.rng.random_bool(self.weather.fail) {
            return Fate::Works;
        }
        match (self.rng.random_range(0..4), effect) {
            (0, _) => Fate::FailsBefore,
            (1, Effect::Create { .. }) => Fate::AnswersExists,
            _ => Fate::FailsAfter,
        }
    }

    pub(super) fn fails_to_read(&mut self) -> bool {
        !self.is_calm && self.rng.random_bool(self.weather.fail)
    }

    pub(super) fn postpone(&mut self, due_ms: i64, who: &str, effect: Effect) {
        self.late_count += 1;
        self.late.insert((due_ms, self.late_count), (who.to_owned(), effect));
    }

    fn land(&mut self, now_ms: i64) {
        while let Some(entry) = self.late.first_entry() {
            let due_ms = entry.key().0;
            if due_ms > now_ms {
                break;
            }
            let (who, effect) = entry.remove();
            self.note(due_ms, &who, "landed late", "");
            // Nobody is there to hear the answer.
            self.apply(due_ms, &who, effect).ok();
        }
    }

    /// When the last postponed effect lands, if any.
    pub(super) fn quiet_at(&self) -> Option<i64> {
        self.late.last_key_value().map(|((due_ms, _), _)| *due_ms)
    }

    pub(super) fn apply(&mut self, now_ms: i64, who: &str, effect: Effect) -> Result<(), Refusal> {
        match effect {
            Effect::Put { path, bytes } => {
                self.note(now_ms, who, "put", &path);
                self.write(now_ms, who, path, bytes);
            }
            Effect::Create { path, bytes } => {
                if self.objects.contains_key(&path) {
                    self.note(now_ms, who, "create: exists", &path);
                    return Err(Refusal::Exists);
                }
                self.note(now_ms, who, "create", &path);
                self.write(now_ms, who, path, bytes);
            }
            Effect::Copy { from, to } => {
                let Some(object) = self.objects.get(&from) else {
                    self.note(now_ms, who, "copy: absent", &from);
                    return Err(Refusal::Absent);
                };
                let bytes = object.bytes.clone();
                self.note(now_ms, who, "copy to", &to);
                self.write(now_ms, who, to, bytes);
            }
            Effect::Delete { path } => {
                if !self.objects.contains_key(&path) {
                    return Err(Refusal::Absent);
                }
                self.note(now_ms, who, "delete", &path);
                self.truth.before_delete(&path, &self.objects);
                self.objects.remove(&path);
            }
        }
        Ok(())
    }

    fn write(&mut self, now_ms: i64, who: &str, path: String, bytes: Bytes) {
        if let Some(what) = self.truth.before_write(&path, &bytes, &self.objects) {
            self.note(now_ms, who, what, &path);
        }
        let object = Object { bytes, modified_ms: now_ms };
        self.objects.insert(path, object);
    }
}
