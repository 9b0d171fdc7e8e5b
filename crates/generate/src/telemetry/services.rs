//! The services that hosts talk to: ports, protocols, sizes, and how common each is.

/// A service and the flows to it.
pub(crate) struct Service {
    pub(crate) port: i32,
    pub(crate) proto: &'static str,
    /// Whether its servers are outside the tenant's network.
    pub(crate) is_external: bool,
    /// Median bytes that the client sends in a flow.
    pub(crate) bytes_out: f64,
    /// Median bytes that the server sends.
    pub(crate) bytes_in: f64,
    /// Log-normal spread of both.
    pub(crate) sigma: f64,
    /// How common it is with workstations, and with servers.
    pub(crate) weights: [f64; 2],
}

const fn service(
    (port, proto, is_external): (i32, &'static str, bool),
    (bytes_out, bytes_in, sigma): (f64, f64, f64),
    weights: [f64; 2],
) -> Service {
    Service { port, proto, is_external, bytes_out, bytes_in, sigma, weights }
}

/// Every service, commonest with workstations first.
pub(crate) const SERVICES: [Service; 17] = [
    service((443, "tcp", true), (2_400.0, 14_000.0, 1.1), [46.0, 24.0]),
    service((53, "udp", false), (70.0, 160.0, 0.3), [20.0, 22.0]),
    service((443, "udp", true), (3_000.0, 22_000.0, 1.2), [10.0, 0.5]),
    service((80, "tcp", true), (800.0, 5_000.0, 1.0), [5.0, 3.0]),
    service((445, "tcp", false), (6_000.0, 18_000.0, 1.2), [4.0, 3.0]),
    service((88, "tcp", false), (1_500.0, 1_600.0, 0.2), [3.0, 4.0]),
    service((389, "tcp", false), (900.0, 2_400.0, 0.5), [3.0, 5.0]),
    service((123, "udp", false), (90.0, 90.0, 0.05), [2.0, 4.0]),
    service((8443, "tcp", false), (3_000.0, 9_000.0, 0.9), [2.0, 6.0]),
    service((8080, "tcp", false), (1_800.0, 12_000.0, 1.0), [1.5, 6.0]),
    service((993, "tcp", true), (1_600.0, 8_000.0, 1.0), [1.2, 0.1]),
    service((22, "tcp", false), (4_000.0, 6_000.0, 1.0), [0.6, 3.0]),
    service((587, "tcp", true), (9_000.0, 1_200.0, 1.2), [0.5, 1.0]),
    service((3389, "tcp", false), (20_000.0, 90_000.0, 0.9), [0.4, 0.4]),
    service((5432, "tcp", false), (2_200.0, 16_000.0, 1.1), [0.2, 12.0]),
    service((6379, "tcp", false), (300.0, 700.0, 0.8), [0.1, 5.0]),
    service((514, "udp", false), (900.0, 0.0, 0.6), [0.1, 6.0]),
];
