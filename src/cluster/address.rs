//! Where workers are: a list of addresses, or a name whose addresses are looked up each time.

use std::str::FromStr;
use std::time::Duration;

use url::Url;

use crate::error::{Error, Result};

const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Workers as `--workers` names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerList {
    /// `host:port,host:port`
    Fixed(Vec<(String, u16)>),
    /// `dns:name:port`: every address that the name has now.
    Dns {
        /// The name.
        name: String,
        /// The port of each.
        port: u16,
    },
}

impl FromStr for WorkerList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("dns:") {
            let (name, port) = host_and_port(rest)?;
            return Ok(Self::Dns { name, port });
        }
        let workers = text.split(',').map(|one| host_and_port(one.trim()));
        Ok(Self::Fixed(workers.collect::<Result<_, String>>()?))
    }
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("\"{text}\" is not an address; write host:port, or dns:name:port");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
    if host.is_empty() || is_bare_ipv6 || host.contains('/') {
        return Err(wrong());
    }
    Ok((host.to_owned(), port.parse().map_err(|_| wrong())?))
}

impl WorkerList {
    /// The workers' addresses now, each once; `scheme` is http or https.
    ///
    /// # Errors
    /// `Unavailable` when the name cannot be looked up.
    pub(super) async fn urls(&self, scheme: &str) -> Result<Vec<Url>> {
        let hosts: Vec<String> = match self {
            Self::Fixed(workers) => {
                workers.iter().map(|(host, port)| format!("{host}:{port}")).collect()
            }
            Self::Dns { name, port } => {
                let found = tokio::net::lookup_host((name.as_str(), *port));
                let found = tokio::time::timeout(LOOKUP_TIMEOUT, found).await;
                let failed = |error| {
                    Error::unavailable(format!("the workers' name {name} cannot be looked up"))
                        .with_source(error)
                };
                let late = |error| failed(std::io::Error::other(error));
                let found = found.map_err(late)?.map_err(failed)?;
                found.map(|address| address.to_string()).collect()
            }
        };
        let mut urls = Vec::with_capacity(hosts.len());
        for host in hosts {
            let url = Url::parse(&format!("{scheme}://{host}")).map_err(|error| {
                Error::bad_job(format!("\"{host}\" is not a worker's address")).with_source(error)
            })?;
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        Ok(urls)
    }

    /// The name that a worker's certificate bears, where its address does not say it.
    pub(super) fn server_name(&self) -> Option<&str> {
        match self {
            Self::Fixed(_) => None,
            Self::Dns { name, .. } => Some(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_with_ports_or_a_name_to_look_up() {
        let list: WorkerList = "127.0.0.1:1, w2.local:50052".parse().unwrap();
        let expected = [("127.0.0.1".to_owned(), 1), ("w2.local".to_owned(), 50052)];
        assert_eq!(list, WorkerList::Fixed(expected.into()));
        let dns: WorkerList = "dns:workers.tidegauge.local:50052".parse().unwrap();
        let name = "workers.tidegauge.local".to_owned();
        assert_eq!(dns, WorkerList::Dns { name, port: 50052 });
        assert_eq!("[::1]:7".parse(), Ok(WorkerList::Fixed(vec![("[::1]".to_owned(), 7)])));
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_right_form() {
        for text in
            ["", "worker", "worker:", ":1", "::1:7", "http://worker:1", "a:1,,b:2", "a:99999"]
        {
            let refused = text.parse::<WorkerList>().unwrap_err();
            assert!(refused.ends_with("write host:port, or dns:name:port"), "{text}: {refused}");
        }
    }

    #[tokio::test]
    async fn an_address_is_there_once() {
        let list: WorkerList = "127.0.0.1:1,127.0.0.1:1".parse().unwrap();
        assert_eq!(list.urls("http").await.unwrap().len(), 1);
        let dns: WorkerList = "dns:localhost:9".parse().unwrap();
        assert!(!dns.urls("http").await.unwrap().is_empty());
    }
}
