//! `tidegauge token NAME --role ROLE --location LOCATION`.

use std::io::Write as _;

use clap::Args;

use super::failure::Failure;
use crate::access::{Role, new_token};

/// Arguments of `token`.
#[derive(Debug, Args)]
pub(super) struct TokenArguments {
    /// Whose token it is, for the log and to take it back one day.
    name: String,
    /// What it may: reader lists and queries, operator also submits and stops jobs within its
    /// locations, admin does everything.
    #[arg(long, value_name = "ROLE", default_value = "reader", value_parser = Role::parse)]
    role: Role,
    /// Where jobs of an operator may read and write, such as s3://bucket/prefix/; may be repeated.
    #[arg(long = "location", value_name = "LOCATION")]
    locations: Vec<String>,
}

pub(super) fn token(arguments: &TokenArguments) -> Result<(), Failure> {
    let (token, line) = new_token(&arguments.name, arguments.role, &arguments.locations)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "token {token}")?;
    writeln!(out, "line {line}")?;
    Ok(())
}
