//! How many sockets come from one address.
//!
//! Owns [`Addresses`]. Invariant: an address is kept only while it has sockets, so that there are never more of them than
//! sockets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use super::body::Budget;

/// The sockets of each address.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    most: usize,
    bodies_bytes: usize,
    strangers_bytes: usize,
    open: Open,
}

type Open = Arc<Mutex<BTreeMap<IpAddr, OfAddress>>>;

/// What one address has.
#[derive(Debug)]
struct OfAddress {
    sockets: usize,
    rooms: AddressRooms,
}

/// The room that the bodies of one address share.
#[derive(Clone, Debug)]
pub(super) struct AddressRooms {
    /// For bodies of callers who are known.
    pub(super) bodies: Arc<Budget>,
    /// For those of all others.
    pub(super) strangers: Arc<Budget>,
}

/// The place of a socket among those of its address.
#[derive(Debug)]
pub(super) struct AddressPlace {
    address: IpAddr,
    rooms: Option<AddressRooms>,
    open: Open,
}

impl AddressPlace {
    /// The room for its bodies; `None` if that of all is its own.
    pub(super) fn rooms(&self) -> Option<AddressRooms> {
        self.rooms.clone()
    }
}

impl Addresses {
    /// So many sockets for each address, and so much room for its bodies and those of strangers in it.
    pub(super) fn new(most: usize, bodies_bytes: usize, strangers_bytes: usize) -> Self {
        Self {
            most,
            bodies_bytes,
            strangers_bytes,
            open: Arc::default(),
        }
    }

    /// Takes a place; `None` if the address has all that it may have. A proxy on this machine has the sockets of all its
    /// clients, so there is no bound for it.
    pub(super) fn take(&self, address: IpAddr) -> Option<AddressPlace> {
        let address = host_of(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = open.entry(address).or_insert_with(|| OfAddress {
            sockets: 0,
            rooms: AddressRooms {
                bodies: Arc::new(Budget::new(self.bodies_bytes)),
                strangers: Arc::new(Budget::new(self.strangers_bytes)),
            },
        });
        if of_address.sockets >= self.most && !address.is_loopback() {
            if of_address.sockets == 0 {
                open.remove(&address);
            }
            return None;
        }
        of_address.sockets += 1;
        Some(AddressPlace {
            address,
            rooms: (!address.is_loopback()).then(|| of_address.rooms.clone()),
            open: Arc::clone(&self.open),
        })
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_address) = open.get_mut(&self.address) {
            of_address.sockets -= 1;
            if of_address.sockets == 0 {
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
        let addresses = Addresses::new(2, 10, 5);
        let take = |text: &str| addresses.take(text.parse().unwrap());
        let (one, two) = (take("203.0.113.7").unwrap(), take("::ffff:203.0.113.7").unwrap());
        assert!(take("203.0.113.7").is_none());
        let other = take("203.0.113.8").expect("others have their own");
        let bodies = |place: &AddressPlace| place.rooms().unwrap().bodies;
        assert!(
            Arc::ptr_eq(&bodies(&one), &bodies(&two)),
            "one room for all of its sockets"
        );
        assert!(!Arc::ptr_eq(&bodies(&one), &bodies(&other)));
        assert!(
            take("127.0.0.1").unwrap().rooms().is_none(),
            "a proxy brings the bodies of all"
        );
        drop(other);
        drop(one);
        assert!(take("203.0.113.7").is_some());
        let (_a, _b) = (take("2001:db8::1").unwrap(), take("2001:db8::ffff").unwrap());
        assert!(take("2001:db8::2").is_none(), "a host has a whole network");
        let local: Vec<_> = (0..10).map(|_| take("127.0.0.1").unwrap()).collect();
        drop(local);
        assert_eq!(addresses.open.lock().unwrap().len(), 2);
    }
}
