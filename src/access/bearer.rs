//! `authorization: Bearer <token>`, on gRPC calls and HTTP requests alike.

use std::sync::Arc;

use tonic::service::Interceptor;
use tonic::{Request, Status};

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

    /// The name of the token in an `authorization` header; none where none is asked for.
    ///
    /// # Errors
    /// What is missing, in a sentence that tells nothing about the tokens that there are.
    pub fn name(&self, authorization: Option<&str>) -> Result<Option<&str>, &'static str> {
        let Some(tokens) = &self.tokens else { return Ok(None) };
        let Some(header) = authorization else {
            return Err("a token is needed; send the header authorization: Bearer TOKEN");
        };
        let bearer =
            header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = bearer else {
            return Err("the authorization is no token; send authorization: Bearer TOKEN");
        };
        match tokens.allows(token.trim()) {
            Some(name) => Ok(Some(name)),
            None => Err("the token is not known here; ask for one, or check that it is whole"),
        }
    }
}

impl Interceptor for TokenCheck {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let header = request.metadata().get("authorization");
        match self.name(header.and_then(|value| value.to_str().ok())) {
            Ok(_) => Ok(request),
            Err(why) => Err(Status::unauthenticated(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::new_token;

    #[test]
    fn a_call_needs_a_known_token_where_there_are_tokens() {
        let (token, line) = new_token("ana").unwrap();
        let tokens = Arc::new(Tokens::parse(&line, "t").unwrap());
        let mut check = TokenCheck::new(Some(tokens));
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
        assert!(TokenCheck::default().call(Request::new(())).is_ok());
    }
}
