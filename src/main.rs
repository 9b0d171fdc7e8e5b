//! The binary: the command line of the library, nothing more.

use std::process::ExitCode;

/// Planning an epoch is mostly small allocations (docs/decisions/0010-allocator.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegauge::cli::main()
}
