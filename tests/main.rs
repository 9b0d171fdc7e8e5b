//! The integration tests: one binary, because each binary links all of DataFusion again.

mod suite;
