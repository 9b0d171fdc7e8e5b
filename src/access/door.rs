//! The rule of every address that is listened on: one that other machines can reach asks who is
//! there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;

use super::bearer::TokenCheck;
use super::tokens::Tokens;
use crate::error::{Error, Result};

/// What a door asks of those who come.
#[derive(Debug, Clone, Default)]
pub struct Door {
    /// A token is asked for on every address, loopback too, where there are tokens.
    pub tokens: Option<Arc<Tokens>>,
    /// The certificate that the door shows; without one it is not encrypted.
    pub tls: Option<TlsFiles>,
    /// Whose certificates are let in. Only with `tls`; a token is still asked for where there are
    /// tokens.
    pub client_ca: Option<PathBuf>,
}

/// A certificate with its key, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, with those between it and its root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Both or neither.
    ///
    /// # Errors
    /// When only one is there.
    pub fn from_flags(cert: Option<&Path>, key: Option<&Path>) -> Result<Option<Self>> {
        match (cert, key) {
            (Some(cert), Some(key)) => Ok(Some(Self { cert: cert.into(), key: key.into() })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(Error::bad_job("--tls-cert needs its key; add --tls-key")),
            (None, Some(_)) => {
                Err(Error::bad_job("--tls-key needs its certificate; add --tls-cert"))
            }
        }
    }
}

impl Door {
    /// Whether `address` may be listened on: loopback, or with tokens.
    ///
    /// # Errors
    /// What to add.
    pub fn check(&self, address: SocketAddr) -> Result<()> {
        if is_loopback(address) {
            return Ok(());
        }
        if self.tokens.is_none() {
            return Err(Error::bad_job(format!(
                "{address} can be reached from other machines, so it needs tokens: add \
                 --token-file, or listen on 127.0.0.1 (`tidegauge token NAME` makes a token)"
            )));
        }
        self.warn_of_clear_tokens(address);
        Ok(())
    }

    /// As [`Door::check`], for a worker: certificates of clients do as well as tokens.
    ///
    /// # Errors
    /// What to add.
    pub fn check_worker(&self, address: SocketAddr) -> Result<()> {
        let is_mutual = self.tls.is_some() && self.client_ca.is_some();
        if is_loopback(address) || is_mutual {
            return Ok(());
        }
        if self.tokens.is_none() {
            return Err(Error::bad_job(format!(
                "{address} can be reached from other machines, and a worker runs what it is sent: \
                 add --token-file, or --tls-cert, --tls-key and --tls-client-ca, or listen on \
                 127.0.0.1"
            )));
        }
        self.warn_of_clear_tokens(address);
        Ok(())
    }

    /// Listens on `text`, such as `127.0.0.1:8080`; port 0 takes a free one.
    ///
    /// # Errors
    /// When it is no address, when `check` (one of the two above) is against it, or when it is
    /// taken.
    pub async fn listen(
        &self,
        text: &str,
        check: impl Fn(&Self, SocketAddr) -> Result<()>,
    ) -> Result<TcpListener> {
        let no_address = |why: String| {
            Error::bad_job(format!("{text:?} is no address: {why}; write 127.0.0.1:8080"))
        };
        let found = tokio::net::lookup_host(text).await.map_err(|e| no_address(e.to_string()))?;
        let addresses: Vec<SocketAddr> = found.collect();
        let Some(address) = addresses.first() else {
            return Err(no_address("nothing has this name".to_owned()));
        };
        check(self, *address)?;
        TcpListener::bind(address).await.map_err(|error| {
            let message = format!("{text} cannot be listened on: {error}; write another port");
            Error::unavailable(message).with_source(error)
        })
    }

    /// The check of each call.
    pub fn token_check(&self) -> TokenCheck {
        TokenCheck::new(self.tokens.clone())
    }

    /// A mesh or a load balancer may end TLS in front, so it is not refused.
    fn warn_of_clear_tokens(&self, address: SocketAddr) {
        if self.tls.is_none() {
            tracing::warn!(
                %address,
                "tokens come in the clear here; add --tls-cert and --tls-key unless something in \
                 front ends TLS"
            );
        }
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Role, new_token};

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_of_others_needs_tokens() {
        let bare = Door::default();
        for near in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            bare.check(address(near)).unwrap();
            bare.check_worker(address(near)).unwrap();
        }
        for far in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "[::ffff:10.0.0.1]:1"] {
            let refused = bare.check(address(far)).unwrap_err().to_string();
            assert!(refused.contains("add --token-file"), "{refused}");
            let refused = bare.check_worker(address(far)).unwrap_err().to_string();
            assert!(refused.contains("--tls-client-ca"), "{refused}");
        }
    }

    #[test]
    fn tokens_open_any_address_and_client_certificates_a_worker() {
        let (_, line) = new_token("ana", Role::Reader, &[]).unwrap();
        let tokens = Some(Arc::new(Tokens::parse(&line, "t").unwrap()));
        let far = address("0.0.0.0:1");
        let door = Door { tokens, ..Door::default() };
        door.check(far).unwrap();
        door.check_worker(far).unwrap();
        let tls = Some(TlsFiles { cert: "c".into(), key: "k".into() });
        let one_sided = Door { tls, ..Door::default() };
        assert!(one_sided.check_worker(far).is_err());
        let mutual = Door { client_ca: Some("ca".into()), ..one_sided };
        mutual.check_worker(far).unwrap();
        assert!(mutual.check(far).is_err());
    }

    #[tokio::test]
    async fn what_is_no_address_is_said() {
        let door = Door::default();
        let refused = door.listen("127.0.0.1", Door::check).await.unwrap_err().to_string();
        assert!(refused.starts_with("\"127.0.0.1\" is no address"), "{refused}");
        let first = door.listen("127.0.0.1:0", Door::check).await.unwrap();
        let taken = first.local_addr().unwrap().to_string();
        let refused = door.listen(&taken, Door::check).await.unwrap_err().to_string();
        assert!(refused.contains("cannot be listened on"), "{refused}");
    }
}
