//! Addresses: private ones inside, reserved ones outside, and their text.

use crate::random::mix;

/// 198.51.100.0/24, 203.0.113.0/24 and 192.0.2.0/24 (RFC 5737).
const DOCUMENTATION: [u32; 3] = [0xc633_6400, 0xcb00_7100, 0xc000_0200];
/// 198.18.0.0/15 (RFC 2544).
const BENCHMARK: u32 = 0xc612_0000;

/// Address `index` of the outside world: the first 762 in the networks for documentation, the
/// others scattered in the one for benchmarks.
pub(crate) fn external(index: u64) -> u32 {
    let network = (index / 254) as usize;
    match DOCUMENTATION.get(network) {
        Some(base) => base + 1 + (index % 254) as u32,
        None => BENCHMARK + (mix(index) % 0x2_0000) as u32,
    }
}

/// Address of server `number` of a tenant, apart from its hosts': 10.<tenant + 1>.250.1 and on.
pub(crate) fn internal_server(tenant: u32, number: u64) -> u32 {
    (10 << 24) | ((tenant + 1) << 16) | (250 << 8) | (1 + (number % 254) as u32)
}

/// Appends `address` in dotted decimal.
pub(crate) fn write_address(out: &mut Vec<u8>, address: u32) {
    let mut digits = itoa::Buffer::new();
    for (index, octet) in address.to_be_bytes().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(digits.format(octet).as_bytes());
    }
}

/// `address` in dotted decimal.
pub(crate) fn dotted(address: u32) -> String {
    std::net::Ipv4Addr::from(address).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_reserved_ones() {
        assert_eq!(dotted(external(0)), "198.51.100.1");
        assert_eq!(dotted(external(761)), "192.0.2.254");
        assert_eq!(dotted(internal_server(1, 0)), "10.2.250.1");
        for index in 762..5000 {
            let [first, second, ..] = external(index).to_be_bytes();
            assert!(first == 198 && (second == 18 || second == 19));
        }
    }

    #[test]
    fn text_is_that_of_the_standard_library() {
        for address in [0, 0x0a01_02ff, u32::MAX, external(900)] {
            let mut text = Vec::new();
            write_address(&mut text, address);
            assert_eq!(text, dotted(address).as_bytes());
        }
    }
}
