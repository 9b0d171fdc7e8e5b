//! `authorization: Bearer <token>`, on gRPC calls and HTTP requests alike.

use std::sync::Arc;

use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::bounds::seat_of;
use super::caller::{Caller, Role};
use super::tokens::Tokens;

/// Lets a call in by its token; without tokens, every call.
#[derive(Debug, Clone, Default)]
pub struct TokenCheck {
    tokens: Option<Arc<Tokens>>,
}

impl TokenCheck {
    /// A check against `tokens`.
    pub fn new(tokens: Option<Arc<Tokens>>) -> Self {
        Self { tokens }
    }

    /// Whether a token is asked for at all.
    pub fn is_needed(&self) -> bool {
        self.tokens.is_some()
    }

    /// Who sends an `authorization` header.
    ///
    /// # Errors
    /// What is missing, in a sentence that tells nothing about the tokens that there are.
    pub fn caller(&self, authorization: Option<&str>) -> Result<Caller, &'static str> {
        let Some(tokens) = &self.tokens else { return Ok(Caller::owner()) };
        let Some(header) = authorization else {
            return Err("a token is needed; send the header authorization: Bearer TOKEN");
        };
        let bearer =
            header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = bearer else {
            return Err("the authorization is no token; send authorization: Bearer TOKEN");
        };
        tokens
            .allows(token.trim())
            .ok_or("the token is not known here; ask for one, or check that it is whole")
    }

    /// The same for calls that need `role`; `what` is what they do.
    #[must_use]
    pub fn for_role(self, role: Role, what: &'static str) -> RoleCheck {
        RoleCheck { check: self, role, what }
    }
}

/// Lets a call in by its token and the token's role.
#[derive(Debug, Clone)]
pub struct RoleCheck {
    check: TokenCheck,
    role: Role,
    what: &'static str,
}

impl Interceptor for RoleCheck {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let header = request.metadata().get("authorization");
        let caller = self.check.caller(header.and_then(|value| value.to_str().ok()));
        let caller = caller.map_err(Status::unauthenticated)?;
        caller.check_role(self.role, self.what).map_err(Status::permission_denied)?;
        if let Some(seat) = seat_of(request.extensions()) {
            seat.admit().map_err(Status::resource_exhausted)?;
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::new_token;

    #[test]
    fn a_call_needs_a_known_token_where_there_are_tokens() {
        let (token, line) = new_token("ana", Role::Reader, &[]).unwrap();
        let tokens = Arc::new(Tokens::parse(&line, "t").unwrap());
        let mut check = TokenCheck::new(Some(tokens)).for_role(Role::Reader, "query");
        let mut call = |header: Option<String>| {
            let mut request = Request::new(());
            if let Some(header) = header {
                request.metadata_mut().insert("authorization", header.parse().unwrap());
            }
            check.call(request).map(drop).map_err(|status| status.code())
        };
        assert_eq!(call(Some(format!("Bearer {token}"))), Ok(()));
        assert_eq!(call(Some(format!("bearer  {token} "))), Ok(()));
        for wrong in [None, Some(token.clone()), Some(format!("Basic {token}"))] {
            assert_eq!(call(wrong), Err(tonic::Code::Unauthenticated));
        }
        assert_eq!(call(Some(format!("Bearer {token}x"))), Err(tonic::Code::Unauthenticated));
        let mut open = TokenCheck::default().for_role(Role::Admin, "do it");
        assert!(open.call(Request::new(())).is_ok());
    }

    #[test]
    fn a_call_needs_the_role() {
        let (token, line) = new_token("ana", Role::Operator, &[]).unwrap();
        let tokens = Arc::new(Tokens::parse(&line, "t").unwrap());
        let code = |role| {
            let mut check = TokenCheck::new(Some(Arc::clone(&tokens))).for_role(role, "do it");
            let mut request = Request::new(());
            let header = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", header);
            check.call(request).map(drop).map_err(|status| status.code())
        };
        assert_eq!(code(Role::Reader), Ok(()));
        assert_eq!(code(Role::Admin), Err(tonic::Code::PermissionDenied));
    }
}
