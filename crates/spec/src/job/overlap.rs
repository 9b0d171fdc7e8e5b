//! Checks that a job does not read what it writes, nor writes two things to one place.
//!
//! It works on the file rather than on the finished sources and sinks, so that it is also
//! told when something else is wrong with them.

use crate::item::{Fields, Item};
use crate::location::{Place, Purpose, nested, place, reads_back};
use crate::report::quoted;

struct Located<'a> {
    name: &'a str,
    text: &'a str,
    item: Item<'a>,
    place: Place,
}

pub(super) fn check(fields: &Fields<'_>) {
    let sources = located(fields.children("sources"), Purpose::Read);
    let sinks = located(fields.children("sinks"), Purpose::Write);
    let late = fields.get("late").map(|late| ("late", late));
    // After the sinks, so that it is compared with each and never the other way round.
    let tables: Vec<_> =
        sinks.into_iter().chain(located(late.into_iter().collect(), Purpose::Write)).collect();
    let state = fields.get("state").map(|state| ("state", state));
    let state = located(state.into_iter().collect(), Purpose::Write);
    for (index, table) in tables.iter().enumerate() {
        for state in state.iter().filter(|state| nested(&state.place, &table.place)) {
            table.conflict(&format!("overlaps with the state, {}", quoted(state.text)));
        }
        for other in tables[..index].iter().filter(|other| nested(&other.place, &table.place)) {
            let (name, text) = (other.name, quoted(other.text));
            table.conflict(&format!("overlaps with the sink {name}, {text}"));
        }
    }
    for written in tables.iter().chain(&state) {
        for source in sources.iter().filter(|source| reads_back(&source.place, &written.place)) {
            let (name, text) = (source.name, quoted(source.text));
            written.conflict(&format!("would be read back by the source {name}, {text}"));
        }
    }
}

impl Located<'_> {
    fn conflict(&self, why: &str) {
        self.item.problem(format!("{} {why}; write a location beside it", quoted(self.text)));
    }
}

/// The locations that are understood; the others are reported where they are read.
fn located<'a>(items: Vec<(&'a str, Item<'a>)>, purpose: Purpose) -> Vec<Located<'a>> {
    let locate = |(name, item): (&'a str, Item<'a>)| {
        let item = item.child("location")?;
        let text = item.scalar()?;
        let place = place(text, purpose).ok()?;
        Some(Located { name, text, item, place })
    };
    items.into_iter().filter_map(locate).collect()
}
