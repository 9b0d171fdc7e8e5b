//! Sources: which files there are, and the rows that are in them.
//!
//! ```text
//! location --discover--> files --read_file--> bytes --compression--> blocks --Decoder--> batch, rejects
//!                                    \------------- parquet ----------------------------> batch, rejects
//! ```
//!
//! Every text format decodes to text first and to the declared types second, in one
//! place ([`value`]), so that a value means the same in JSON and in CSV. Strings are
//! `Utf8View` everywhere. This folder knows nothing of event time, lateness or
//! quarantine: a row whose value does not fit its column is handed back as a [`Reject`].

mod address;
mod appended;
mod compression;
mod convert;
mod csv;
mod decoded;
mod discover;
mod error;
mod fetch;
mod folders;
mod format;
mod json;
mod local_files;
mod location;
mod missing;
mod number;
mod parquet;
mod reader;
mod s3_files;
mod schema;
mod store;
mod timestamp;
mod value;

pub use appended::{Growth, growth};
pub use csv::CsvDecoder;
pub use decoded::{Decoded, Reject};
pub use discover::{
    Discovered, Listing, ListingMemory, Looked, Mark, Unusable, discover, key_from, look_again,
};
pub use error::{SourceError, SourceResult};
pub use json::JsonDecoder;
pub use location::{Scheme, SourceLocation, split_location};
pub use parquet::{ObjectReader, parquet_row_groups, parquet_time_min};
pub use reader::{FilePart, InputFile, OpenSettings, read_file};
pub use schema::arrow_schema;
pub use store::open_store;
pub use timestamp::{parse_timestamp, timestamp_from_number};
pub(crate) use value::sql_name;

/// Bytes in; a batch and the rejects out. One decoder reads one file from its start.
///
/// `block` begins where the last call stopped consuming. With `end` it reaches to the end
/// of the file, and a last record without a line break is a record; without it, only
/// complete records are consumed. A call may consume less than it could (a batch holds at
/// most the number of rows the decoder was made for); one that consumes nothing needs a
/// longer block. An error is for what makes the rest of the file unreadable; a bad record
/// is a [`Reject`].
pub trait Decoder: Send {
    /// Decodes the complete records at the start of `block`, up to one batch of them.
    fn decode(&mut self, block: &[u8], end: bool) -> SourceResult<Decoded>;

    /// What is wrong with the end of the file, once all of it is decoded.
    fn end(&mut self) -> Option<Reject> {
        None
    }

    /// Goes on in the middle of a file, whose first bytes are `first`: the next block begins with a
    /// record.
    fn go_on(&mut self, first: &[u8]) -> SourceResult<()>;
}
