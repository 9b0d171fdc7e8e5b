//! The binary: the command line of the library, nothing more.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegauge::cli::main()
}
