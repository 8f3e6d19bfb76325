//! What is known of a network interface before something is attached to it.

use std::ffi::{CStr, CString};
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::namespace::{Namespace, within};
use crate::error::{Error, ErrorKind, Result};

/// Frames up to this size surely fit into one buffer of any driver.
const ONE_BUFFER_MTU: u32 = 1500;

/// An interface to trace, in the tracer's network namespace or another one.
#[derive(Clone, Debug)]
pub struct InterfaceTarget {
    pub name: String,
    pub index: u32,
    pub namespace: Namespace,
}

/// What decides how to attach.
#[derive(Clone, Debug)]
pub(crate) struct InterfaceFacts {
    pub(crate) driver: String,
    pub(crate) mtu: u32,
    /// Frames begin with an Ethernet header.
    pub(crate) has_link_header: bool,
    pub(crate) mac: Option<[u8; 6]>,
}

/// The kernel's own counts of an interface.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InterfaceCounters {
    /// By direction.
    pub(crate) dropped: [u64; 2],
}

impl InterfaceTarget {
    /// Looks an interface up by name.
    ///
    /// # Errors
    /// [`ErrorKind::Target`] where there is none of that name.
    pub fn find(name: &str, namespace: &Namespace) -> Result<Self> {
        let c_name = CString::new(name).map_err(|error| missing(name, error))?;
        // SAFETY: a string that ends with 0.
        let find = || match unsafe { libc::if_nametoindex(c_name.as_ptr()) } {
            0 => Err(missing(name, "there is no interface of that name")),
            index => Ok(index),
        };
        Ok(Self {
            name: name.to_owned(),
            index: within(namespace, find)?,
            namespace: namespace.clone(),
        })
    }

    /// Whether it still has this name.
    pub(crate) fn is_there(&self) -> bool {
        Self::find(&self.name, &self.namespace).is_ok_and(|found| found.index == self.index)
    }

    pub(crate) fn facts(&self) -> Result<InterfaceFacts> {
        within(&self.namespace, || {
            let socket = datagram_socket()?;
            Ok(InterfaceFacts {
                driver: driver(&socket, &self.name),
                mtu: mtu(&socket, &self.name).unwrap_or(ONE_BUFFER_MTU),
                has_link_header: has_link_header(&socket, &self.name),
                mac: mac(&socket, &self.name),
            })
        })
    }

    /// The kernel's counts; `None` where the interface is gone.
    pub(crate) fn counters(&self) -> Option<InterfaceCounters> {
        let read = || Ok(fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default());
        let table = within(&self.namespace, read).ok()?;
        counters_in(&table, &self.name)
    }
}

impl InterfaceFacts {
    pub(crate) fn is_veth(&self) -> bool {
        self.driver == "veth"
    }

    pub(crate) fn may_have_fragments(&self) -> bool {
        self.mtu > ONE_BUFFER_MTU
    }
}

/// The line of an interface in /proc/net/dev: eight numbers for each direction.
fn counters_in(table: &str, name: &str) -> Option<InterfaceCounters> {
    let line = table.lines().find_map(|line| {
        let (found, numbers) = line.trim_start().split_once(':')?;
        (found == name).then_some(numbers)
    })?;
    let numbers: Vec<u64> = line
        .split_ascii_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect();
    Some(InterfaceCounters {
        dropped: [*numbers.get(3)?, *numbers.get(11)?],
    })
}

fn missing(name: &str, cause: impl ToString) -> Error {
    Error::new(
        ErrorKind::Target,
        format!("no interface {name:?} to trace"),
        cause,
        "ip -brief link lists the interfaces",
    )
}

fn datagram_socket() -> Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let descriptor =
        unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if descriptor >= 0 {
        // SAFETY: a new descriptor that nobody else has.
        return Ok(unsafe { OwnedFd::from_raw_fd(descriptor) });
    }
    Err(Error::new(
        ErrorKind::Failed,
        "cannot open a socket",
        std::io::Error::last_os_error(),
        "raise the limit of open files: ulimit -n 4096",
    ))
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: a struct of integers and pointers, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(15)) {
        // signed or not, by architecture
        *to = from as libc::c_char;
    }
    request
}

fn ask(socket: &OwnedFd, number: libc::Ioctl, request: &mut libc::ifreq) -> bool {
    // SAFETY: `request` is the struct that these requests read and fill.
    unsafe { libc::ioctl(socket.as_raw_fd(), number, std::ptr::from_mut(request)) == 0 }
}

fn mtu(socket: &OwnedFd, name: &str) -> Option<u32> {
    const SIOCGIFMTU: libc::Ioctl = 0x8921;
    let mut request = request(name);
    if !ask(socket, SIOCGIFMTU, &mut request) {
        return None;
    }
    // SAFETY: the kernel has filled this member.
    u32::try_from(unsafe { request.ifr_ifru.ifru_mtu }).ok()
}

fn has_link_header(socket: &OwnedFd, name: &str) -> bool {
    const SIOCGIFHWADDR: libc::Ioctl = 0x8927;
    const KINDS_WITH_ETHERNET: [u16; 2] = [libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK];
    let mut request = request(name);
    if !ask(socket, SIOCGIFHWADDR, &mut request) {
        return true;
    }
    // SAFETY: the kernel has filled this member.
    KINDS_WITH_ETHERNET.contains(unsafe { &request.ifr_ifru.ifru_hwaddr.sa_family })
}

fn mac(socket: &OwnedFd, name: &str) -> Option<[u8; 6]> {
    const SIOCGIFHWADDR: libc::Ioctl = 0x8927;
    let mut request = request(name);
    if !ask(socket, SIOCGIFHWADDR, &mut request) {
        return None;
    }
    // SAFETY: the kernel has filled this member.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
    Some(std::array::from_fn(|at| address[at] as u8))
}

/// The driver's name, empty where it tells none.
fn driver(socket: &OwnedFd, name: &str) -> String {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    const ETHTOOL_GDRVINFO: u32 = 3;
    #[repr(C)]
    struct DriverInfo {
        command: u32,
        driver: [u8; 32],
        rest: [u8; 160],
    }
    let mut info = DriverInfo {
        command: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        rest: [0; 160],
    };
    let mut request = request(name);
    request.ifr_ifru.ifru_data = std::ptr::from_mut(&mut info).cast();
    if !ask(socket, SIOCETHTOOL, &mut request) {
        return String::new();
    }
    CStr::from_bytes_until_nul(&info.driver)
        .map(|text| text.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{InterfaceTarget, counters_in};
    use crate::error::ErrorKind;

    #[test]
    fn counters_are_found_by_name() {
        let table =
            "Inter-|   Receive\n face |bytes\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        let counters = counters_in(table, "lo").expect("the line is there");
        assert_eq!(counters.dropped, [4, 12]);
        assert!(counters_in(table, "l").is_none());
    }

    #[test]
    fn an_unknown_interface_is_a_missing_target() {
        let error = InterfaceTarget::find("no-such-if", &None).expect_err("there is none");
        assert_eq!(error.kind, ErrorKind::Target);
    }

    #[test]
    fn the_loopback_interface_has_a_link_header() {
        let lo = InterfaceTarget::find("lo", &None).expect("every namespace has it");
        let facts = lo.facts().expect("it can be asked");
        assert!(facts.has_link_header && facts.mtu > 1500 && !facts.is_veth());
        assert!(lo.counters().is_some());
    }
}
