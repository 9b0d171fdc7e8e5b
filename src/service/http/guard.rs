//! What every request meets first: a time limit, and the question who is there.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::problem::Refused;
use crate::access::{Caller, Role, Seat, TokenCheck};

const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Probes carry no token, and learn no more than whether and for which job to wait.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// Who may ask.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    check: TokenCheck,
}

impl Guard {
    pub(super) fn new(check: TokenCheck) -> Self {
        Self { check }
    }
}

/// Lets a request on to its answer, with who asks, or says why not.
pub(super) async fn guarded(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    match admit(&guard.check, &request) {
        Ok(caller) => drop(request.extensions_mut().insert(caller)),
        Err(refused) => return refused.into_response(),
    }
    let is_probe = OPEN_PATHS.contains(&request.uri().path());
    if let Some(seat) = request.extensions().get::<Seat>().filter(|_| !is_probe)
        && let Err(why) = seat.admit()
    {
        return Refused::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    }
    tokio::time::timeout(ANSWER_MAX, next.run(request)).await.unwrap_or_else(|_| {
        let why = format!("no answer within {} s; ask again", ANSWER_MAX.as_secs());
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response()
    })
}

fn admit(check: &TokenCheck, request: &Request) -> Result<Caller, Refused> {
    if OPEN_PATHS.contains(&request.uri().path()) {
        // They say nothing that a caller could be told apart by.
        return Ok(Caller::owner());
    }
    if !check.is_needed() {
        refuse_browsers(request.headers())?;
        return Ok(Caller::owner());
    }
    let header = request.headers().get(header::AUTHORIZATION);
    let caller = check.caller(header.and_then(|value| value.to_str().ok()));
    let caller = caller.map_err(|why| Refused::new(StatusCode::UNAUTHORIZED, why))?;
    let asked = caller.check_role(Role::Reader, "ask");
    asked.map_err(|why| Refused::new(StatusCode::FORBIDDEN, why))?;
    let name = caller.name().unwrap_or_default();
    tracing::debug!(name, method = %request.method(), path = request.uri().path(), "asked");
    Ok(caller)
}

/// Where no token is asked for, anything on the machine may ask, but a page from elsewhere in a
/// browser of the machine may not: neither by a form, which names its origin, nor by a name of its
/// own that leads to loopback.
fn refuse_browsers(headers: &HeaderMap) -> Result<(), Refused> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let is_near = host.is_none_or(is_loopback_name);
    match is_near && !headers.contains_key(header::ORIGIN) {
        true => Ok(()),
        false => Err(Refused::new(
            StatusCode::FORBIDDEN,
            "without a token file, only programs of this machine may ask, by the address \
             127.0.0.1 or localhost; start the service with --token-file to let others in",
        )),
    }
}

fn is_loopback_name(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    is_loopback || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_loopback_are_told_from_others() {
        for near in ["127.0.0.1:80", "localhost", "LOCALHOST:1", "[::1]:80", "127.0.0.2"] {
            assert!(is_loopback_name(near), "{near}");
        }
        for far in ["evil.example:80", "10.0.0.1", "127.0.0.1.evil.example", "", "localhost.x"] {
            assert!(!is_loopback_name(far), "{far}");
        }
    }
}
