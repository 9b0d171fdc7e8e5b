//! The integration tests: one binary, because each binary links all of DataFusion again.

/// That of the command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// Helpers too are tests to clippy, which allows them to unwrap, panic and print.
#[cfg(test)]
#[allow(unreachable_pub, reason = "nothing of a test binary can be reached from outside")]
mod suite;
