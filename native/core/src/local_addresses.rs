//! The addresses of the chosen interfaces, as the kernel's half has them.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::error::{Error, ErrorKind, Result};

/// `struct local_address` of `bpf/include/interfaces.h`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LocalAddress {
    /// The index of the interface of a link-local address, otherwise 0.
    pub interface: u32,
    /// As in IPv6; those of IPv4 are mapped.
    pub address: [u8; 16],
    /// Bits of the address that count.
    pub prefix_length: u8,
}

/// Bits of the interface's index, which always count.
const INTERFACE_BITS: u32 = 32;

impl LocalAddress {
    fn key(self) -> [u8; 24] {
        let mut key = [0; 24];
        key[..4].copy_from_slice(
            &(INTERFACE_BITS + u32::from(self.prefix_length.min(128))).to_ne_bytes(),
        );
        key[4..8].copy_from_slice(&self.interface.to_ne_bytes());
        key[8..].copy_from_slice(&self.address);
        key
    }
}

/// The kernel's map `local_addresses`, and what is in it.
#[derive(Debug)]
pub(crate) struct LocalAddresses {
    map: MapHandle,
    known: Mutex<HashSet<LocalAddress>>,
}

impl LocalAddresses {
    pub(crate) fn new(map: MapHandle) -> Self {
        Self {
            map,
            known: Mutex::default(),
        }
    }

    /// Makes these the addresses that count; what stays is never missing in between.
    pub(crate) fn set(&self, addresses: &[LocalAddress]) -> Result<()> {
        let wanted: HashSet<_> = addresses.iter().copied().collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for address in wanted.difference(&known) {
            self.map
                .update(&address.key(), &[1], MapFlags::ANY)
                .map_err(|error| cannot(&error))?;
        }
        for address in known.difference(&wanted) {
            self.map
                .delete(&address.key())
                .map_err(|error| cannot(&error))?;
        }
        *known = wanted;
        Ok(())
    }
}

fn cannot(error: &libbpf_rs::Error) -> Error {
    Error::new(
        ErrorKind::Failed,
        "cannot follow the addresses of the interfaces",
        error,
        "name fewer interfaces",
    )
}

#[cfg(test)]
mod tests {
    use super::LocalAddress;

    #[test]
    fn a_key_has_the_layout_of_the_kernels_half() {
        let mut address = [0; 16];
        address[15] = 1;
        let key = LocalAddress {
            interface: 7,
            address,
            prefix_length: 104,
        }
        .key();
        assert_eq!(key[..4], 136_u32.to_ne_bytes());
        assert_eq!(key[4..8], 7_u32.to_ne_bytes());
        assert_eq!(key[8..], address);
    }
}
