//! How the bytes of a source are to be read, as its job says it.

pub(super) use tidegauge_spec::{
    Compression, CsvOptions, DiscoveryOrder, EpochUnit, Format, PathTime,
};
