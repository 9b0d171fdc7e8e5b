//! Workers: an epoch's plans run on other machines through `datafusion-distributed`.
