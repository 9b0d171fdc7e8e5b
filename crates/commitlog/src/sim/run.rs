//! One seed from beginning to end: chaos, then calm and one coordinator that finishes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, join_all};
use rand::Rng;

use super::actors::{
    End, INPUTS, check_committed, check_retained, coordinate, list_sinks, read_log, settings,
    sleep_ms, take_files,
};
use super::store::SimStore;
use super::truth::{SOURCE, STATE, Truth, decode_rows};
use super::world::World;
use crate::names::PREPARED;
use crate::reader::LogReader;
use crate::sabotage::Sabotage;
use crate::settings::LogSettings;
use crate::storage::Storage;

/// What one seed did.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) violation: Option<String>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    pub(super) digest: u64,
}

const CHAOS_MS: u64 = 25_000;

/// Runs one seed.
pub(super) fn run_seed(seed: u64, sabotage: Option<Sabotage>, is_traced: bool) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let mut settings = settings(seed);
    settings.sabotage = sabotage;
    runtime.block_on(async {
        let world = World::new(seed, Truth::new(settings.retain_epochs), is_traced);
        chaos(&world, &settings).await;
        if !world.is_broken() {
            calm(&world, &settings).await;
        }
        let mut inner = world.inner.lock();
        Report {
            violation: inner.truth.violation.take(),
            counts: std::mem::take(&mut inner.counts),
            digest: inner.digest,
        }
    })
}

async fn chaos(world: &Arc<World>, settings: &LogSettings) {
    let mut actors: Vec<LocalBoxFuture<'_, ()>> = vec![
        list_sinks(SimStore::new(world, "lister", -1)).boxed_local(),
        read_log(SimStore::new(world, "log reader", -1), settings.clone()).boxed_local(),
    ];
    // In half of the worlds what is published stays where it is.
    if world.roll(2) == 0 {
        actors.push(take_files(Arc::clone(world)).boxed_local());
    }
    for n in 0..2 + world.roll(2) {
        actors.push(supervise(world, settings, n).boxed_local());
    }
    tokio::select! {
        biased;
        () = sleep_ms(CHAOS_MS) => {}
        _ = join_all(actors) => {}
    }
}

/// Starts a coordinator again whenever it ends or crashes.
async fn supervise(world: &Arc<World>, settings: &LogSettings, n: u64) {
    for start in 0_u32.. {
        if world.is_broken() {
            return;
        }
        let (calls, seed) = world.with(|inner, _| {
            let mean = inner.weather.calls_to_crash as i64;
            (inner.rng.random_range(1..2 * mean), inner.rng.random())
        });
        let store = SimStore::new(world, format!("c{n}.{start}"), calls);
        let crashed = Arc::clone(&store.crashed);
        let who = store.who.clone();
        tokio::select! {
            biased;
            () = crashed.notified() => world.note(&who, "crash"),
            end = coordinate(store, settings.clone(), seed) => world.note(&who, match end {
                End::Done => "done",
                End::Failed => "failed",
                End::Stopped => "stopped",
            }),
        }
        world.sleep_up_to(1_500).await;
    }
}

/// Faults end; what was sent still lands; one coordinator finishes, and everything must be right.
async fn calm(world: &Arc<World>, settings: &LogSettings) {
    let (quiet_at, now_ms) = world.with(|inner, now_ms| {
        inner.is_calm = true;
        inner.note(now_ms, "world", "calm", "");
        (inner.quiet_at().unwrap_or(now_ms), now_ms)
    });
    // Half of the seeds finish while calls sent long ago are still landing.
    let is_waiting = world.roll(2) == 0;
    if is_waiting {
        sleep_ms((quiet_at - now_ms).max(0) as u64 + 1).await;
    }
    for start in 0..20 {
        let seed = world.with(|inner, _| inner.rng.random());
        let store = SimStore::new(world, format!("last.{start}"), -1);
        let end = coordinate(store, settings.clone(), seed).await;
        if end == End::Done || world.is_broken() {
            break;
        }
        // A call that was sent long ago has landed and won an epoch.
    }
    sleep_ms((quiet_at - now_ms).max(0) as u64 + 1).await;
    check_end(world, settings).await;
}

async fn check_end(world: &Arc<World>, settings: &LogSettings) {
    let store = SimStore::new(world, "auditor", -1);
    let state = Storage::from_parts(Arc::new(store), STATE.into());
    let reader = LogReader::new(state);
    check_committed(world, &reader, settings).await;
    for _ in 0..6 {
        check_retained(world, &reader).await;
    }
    world.with(|inner, _| {
        // A file that was taken and came again is one file: a loader knows it by its name.
        let listed = inner
            .objects
            .iter()
            .filter(|(path, _)| path.starts_with("out/") && !path.contains(PREPARED))
            .map(|(path, object)| (path, &object.bytes));
        let taken = inner.truth.taken.iter();
        let files: BTreeMap<&String, &Bytes> = taken.chain(listed).collect();
        let mut listed: Vec<u64> =
            files.into_values().flat_map(|bytes| decode_rows(bytes)).collect();
        listed.sort_unstable();
        if !listed.iter().copied().eq(0..INPUTS) {
            inner.truth.violate(format!("at the end the sinks hold {listed:?}"));
        }
        let parked = inner.truth.fold.sources.get(SOURCE).map(|source| source.parked.clone());
        if parked.is_none_or(|parked| !parked.is_empty()) {
            inner.truth.violate("at the end a file that is whole is still left out".to_owned());
        }
    });
}
