//! The binary: the command line of the library, nothing more.

use std::process::ExitCode;

/// Batches come and go by the megabyte: with the allocator of glibc a JSON back-fill took nearly
/// twice as long (docs/decisions/0010-allocator.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegauge::cli::main()
}
