//! The binary: the command line of the library, nothing more.

use std::process::ExitCode;

/// An epoch over few rows is mostly small allocations (docs/decisions/0027-allocator.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegauge::cli::main()
}
