//! `tidegauge token NAME`.

use std::io::Write as _;

use clap::Args;

use super::failure::Failure;
use crate::access::new_token;

/// Arguments of `token`.
#[derive(Debug, Args)]
pub(super) struct TokenArguments {
    /// Whose token it is, for the log and to take it back one day.
    name: String,
}

pub(super) fn token(arguments: &TokenArguments) -> Result<(), Failure> {
    let (token, line) = new_token(&arguments.name)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "token {token}")?;
    writeln!(out, "line {line}")?;
    Ok(())
}
