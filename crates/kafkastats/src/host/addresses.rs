//! Which addresses are this host's.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// `/proc/net/fib_trie`: the IPv4 addresses of the host. They stand as
/// ```text
///            |-- 10.0.0.7
///               /32 host LOCAL
/// ```
pub fn ipv4(fib_trie: &str) -> BTreeSet<Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(last);
        }
    }
    found
}

/// `/proc/net/if_inet6`: the IPv6 addresses of the host, 32 digits at the beginning of a line each.
pub fn ipv6(if_inet6: &str) -> BTreeSet<Ipv6Addr> {
    let words = if_inet6.lines().filter_map(|line| line.split_whitespace().next());
    let digits = words.filter(|word| word.len() == 32);
    digits.filter_map(|word| u128::from_str_radix(word, 16).ok()).map(Ipv6Addr::from).collect()
}

/// The addresses in the network of a process, or with `net` of `/proc` itself, of ours; `None` if the kernel does not say.
/// Loopback addresses are among them.
pub fn of(net: &Path) -> Option<BTreeSet<IpAddr>> {
    let four = fs::read_to_string(net.join("fib_trie")).ok().map(|text| ipv4(&text));
    let six = fs::read_to_string(net.join("if_inet6")).ok().map(|text| ipv6(&text));
    if four.is_none() && six.is_none() {
        return None;
    }
    let four = four.into_iter().flatten().map(IpAddr::from);
    Some(four.chain(six.into_iter().flatten().map(IpAddr::from)).collect())
}

/// Whether one of `addresses` is among `ours`. All of 127.0.0.0/8 is the host itself.
pub fn is_ours(addresses: &[IpAddr], ours: &BTreeSet<IpAddr>) -> bool {
    addresses.iter().map(IpAddr::to_canonical).any(|address| address.is_loopback() || ours.contains(&address))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIB_TRIE: &str = "Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.0.0.0/24 2 0 2
        |-- 10.0.0.0
           /24 link UNICAST
        |-- 10.0.0.7
           /32 host LOCAL
        |-- 10.0.0.255
           /32 link BROADCAST
Local:
     |-- 127.0.0.1
        /32 host LOCAL
";

    #[test]
    fn only_the_hosts_own_addresses_are_taken() {
        let found: Vec<String> = ipv4(FIB_TRIE).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.7", "127.0.0.1"]);
        let text = "fe800000000000000000000000000001 02 40 20 80     eth0\nodd 1\n";
        assert_eq!(ipv6(text), BTreeSet::from(["fe80::1".parse().unwrap()]));
    }

    #[test]
    fn an_address_is_ours_in_whatever_form_it_comes() {
        let ours = ipv4(FIB_TRIE).into_iter().map(IpAddr::from).collect();
        for (address, expected) in [
            ("10.0.0.7", true),
            ("::ffff:10.0.0.7", true),
            ("127.0.1.1", true),
            ("::1", true),
            ("10.0.0.8", false),
            ("10.0.0.255", false),
        ] {
            assert_eq!(is_ours(&[address.parse().unwrap()], &ours), expected, "{address}");
        }
        assert!(!is_ours(&[], &ours));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "((\\|-- |/32 host LOCAL|[0-9a-f]{32}|[0-9.]{1,9}|.|\n){0,4}){0,20}") {
            let _ = (ipv4(&text), ipv6(&text));
        }
    }
}
