//! Rules that the simulation's own test breaks on purpose, to show that it would notice.
//!
//! Outside tests nothing here does anything.

use crate::settings::LogSettings;

/// One rule, broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// An answer other than success is believed without reading the record back.
    NoReadBack,
    /// Nobody looks for later epochs after a create that succeeded.
    NoFenceCheck,
    /// Collection takes what epochs that are not decided yet may name.
    CollectUndecided,
    /// Collection keeps what the last epoch names, not what the retained ones do.
    CollectRetained,
    /// Files get their final names before the record is written.
    PublishFirst,
    /// The next epoch commits although the last one's files are not published.
    CommitUnpublished,
    /// Prepared files are deleted when the outcome is unknown.
    DeleteOnUnknown,
    /// A record of this coordinator's earlier attempt is taken for what it tried last.
    TrustOwnEarlier,
    /// A second attempt at an epoch uses the names of the first.
    ReuseNames,
    /// An attempt whose record was sent is cleared away as one that never was.
    AbandonSent,
    /// Collection takes whatever is in the log's slots for the records that were committed.
    CollectByImpostor,
    /// An impostor's record in a collected slot is taken for the winner of the epoch.
    LoseToImpostor,
}

impl Sabotage {
    /// Those that dice find; the others are played step by step in `log::impostor_tests`.
    #[cfg(test)]
    pub(crate) const ALL: [Sabotage; 10] = [
        Sabotage::NoReadBack,
        Sabotage::NoFenceCheck,
        Sabotage::CollectUndecided,
        Sabotage::CollectRetained,
        Sabotage::PublishFirst,
        Sabotage::CommitUnpublished,
        Sabotage::DeleteOnUnknown,
        Sabotage::TrustOwnEarlier,
        Sabotage::ReuseNames,
        Sabotage::AbandonSent,
    ];
}

impl LogSettings {
    /// Whether a test has broken this rule.
    #[cfg(test)]
    pub(crate) fn broken(&self, rule: Sabotage) -> bool {
        self.sabotage == Some(rule)
    }

    /// Whether a test has broken this rule: never.
    #[cfg(not(test))]
    pub(crate) const fn broken(&self, _rule: Sabotage) -> bool {
        false
    }
}
