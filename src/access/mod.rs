//! Who may come in: bearer tokens, TLS, and the rule that a door which others can reach has one
//! of them. It opens no door itself.

mod bearer;
mod bounds;
mod caller;
mod door;
mod places;
mod resolved;
mod tls;
mod tokens;

pub use bearer::{RoleCheck, TokenCheck};
pub(crate) use bounds::{Bounded, bounded};
pub use caller::{Caller, Role};
pub use door::{Door, TlsFiles};
pub(crate) use places::Seat;
pub use resolved::resolved;
pub use tls::{certificate_authority, install_crypto, tls_client, tls_for_axum, tls_for_tonic};
pub use tokens::{TOKENS_VARIABLE, Tokens, new_token};
