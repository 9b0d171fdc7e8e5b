//! The crash simulation: several coordinators on one simulated store, everything drawn from one
//! seed, in virtual time.
//!
//! ```text
//!  coordinator --+                                    +--> objects
//!  coordinator --+--> SimStore --> fate of each call --+--> Truth: what has been decided,
//!  lister -------+    (fails before or after taking    |    checked at every effect
//!  log reader ---+    effect, takes effect later,      +--> effects that land later
//!                     client pauses or crashes)
//! ```
//!
//! `SIM_SEEDS=n` sets how many seeds are run; `SIM_SEED=n` runs one, with a trace.

mod actors;
mod run;
mod store;
mod truth;
mod world;

mod tests;
