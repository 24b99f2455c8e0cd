//! How many sockets come from one address.
//!
//! Owns [`Addresses`]. Invariant: an address is kept only while it has sockets, so that there are never more of them than
//! sockets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The sockets of each address.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    most: usize,
    open: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// The place of a socket among those of its address.
#[derive(Debug)]
pub(super) struct AddressPlace {
    address: IpAddr,
    open: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Addresses {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            open: Arc::default(),
        }
    }

    /// Takes a place; `None` if the address has all that it may have. A proxy on this machine has the sockets of all its
    /// clients, so there is no bound for it.
    pub(super) fn take(&self, address: IpAddr) -> Option<AddressPlace> {
        let address = host_of(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let sockets = open.entry(address).or_default();
        if *sockets >= self.most && !address.is_loopback() {
            if *sockets == 0 {
                open.remove(&address);
            }
            return None;
        }
        *sockets += 1;
        Some(AddressPlace {
            address,
            open: Arc::clone(&self.open),
        })
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sockets) = open.get_mut(&self.address) {
            *sockets -= 1;
            if *sockets == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// What stands for one host: of IPv6 the network, since a host may take any address in it.
fn host_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_sockets_and_gives_them_back() {
        let addresses = Addresses::new(2);
        let take = |text: &str| addresses.take(text.parse().unwrap());
        let (one, _two) = (take("203.0.113.7").unwrap(), take("::ffff:203.0.113.7").unwrap());
        assert!(take("203.0.113.7").is_none());
        assert!(take("203.0.113.8").is_some(), "others have their own");
        drop(one);
        assert!(take("203.0.113.7").is_some());
        let (_a, _b) = (take("2001:db8::1").unwrap(), take("2001:db8::ffff").unwrap());
        assert!(take("2001:db8::2").is_none(), "a host has a whole network");
        let local: Vec<_> = (0..10).map(|_| take("127.0.0.1").unwrap()).collect();
        drop(local);
        assert_eq!(addresses.open.lock().unwrap().len(), 2);
    }
}
