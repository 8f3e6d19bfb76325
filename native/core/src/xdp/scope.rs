//! Which interfaces are traced at the moment: named ones, or those of the default routes, in one network
//! namespace or several, as they come and go.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use super::interface::InterfaceTarget;
use super::namespace::{Namespace, of_process, within};
use super::watch::LinkWatch;
use crate::error::Result;

/// Flags of a route that is in use (`RTF_UP`) and of one that lets nothing through (`RTF_REJECT`).
const ROUTE_UP: u32 = 0x1;
const ROUTE_REJECT: u32 = 0x200;

/// A network namespace in which interfaces are looked for.
#[derive(Debug)]
struct Scope {
    namespace: Namespace,
    /// Device and inode.
    identity: (u64, u64),
    watch: LinkWatch,
}

/// Where interfaces are looked for, and which.
#[derive(Debug)]
pub(crate) struct Scopes {
    /// Empty: those of the default routes.
    names: Vec<String>,
    scopes: Vec<Scope>,
}

impl Scopes {
    /// The tracer's own namespace, or, where there are `processes`, theirs.
    ///
    /// # Errors
    /// Where a namespace cannot be entered or watched.
    pub(crate) fn new(names: Vec<String>, processes: &[u32]) -> Result<Self> {
        let mut scopes = Self {
            names,
            scopes: Vec::new(),
        };
        for &pid in processes {
            scopes.add_process(pid)?;
        }
        if scopes.scopes.is_empty() || scopes.names_are_elsewhere() {
            scopes.add(None)?;
        }
        Ok(scopes)
    }

    /// Looks in the process's namespace as well; a process that is gone has none. Tells whether that is new.
    pub(crate) fn add_process(&mut self, pid: u32) -> Result<bool> {
        let Ok(namespace) = of_process(pid) else {
            return Ok(false);
        };
        let is_own = namespace.as_ref().and_then(|one| identity(one)) == own_identity();
        self.add(if is_own { None } else { namespace })
    }

    fn add(&mut self, namespace: Namespace) -> Result<bool> {
        let identity = match &namespace {
            Some(descriptor) => identity(descriptor),
            None => own_identity(),
        }
        .unwrap_or_default();
        if self.scopes.iter().any(|scope| scope.identity == identity) {
            return Ok(false);
        }
        self.scopes.push(Scope {
            watch: LinkWatch::new(&namespace)?,
            namespace,
            identity,
        });
        Ok(true)
    }

    /// Whether anything may have changed since the last time.
    pub(crate) fn have_changed(&self) -> bool {
        // each socket has to be emptied
        self.scopes
            .iter()
            .fold(false, |changed, scope| scope.watch.has_changed() | changed)
    }

    /// The interfaces that are there.
    pub(crate) fn present(&self) -> Vec<InterfaceTarget> {
        self.scopes
            .iter()
            .flat_map(|scope| self.present_in(scope))
            .collect()
    }

    fn present_in(&self, scope: &Scope) -> Vec<InterfaceTarget> {
        let names = if self.names.is_empty() {
            within(&scope.namespace, || Ok(default_interfaces())).unwrap_or_default()
        } else {
            self.names.clone()
        };
        names
            .iter()
            .filter_map(|name| InterfaceTarget::find(name, &scope.namespace).ok())
            .collect()
    }

    /// None of the names is an interface of the processes' namespaces.
    fn names_are_elsewhere(&self) -> bool {
        !self.names.is_empty() && self.present().is_empty()
    }

    /// Names that no interface has at the moment.
    pub(crate) fn absent(&self, present: &[InterfaceTarget]) -> Vec<String> {
        let is_absent = |name: &&String| present.iter().all(|target| target.name != **name);
        self.names.iter().filter(is_absent).cloned().collect()
    }
}

/// Whether two targets are the same interface.
pub(crate) fn is_same(one: &InterfaceTarget, other: &InterfaceTarget) -> bool {
    let same_namespace = match (&one.namespace, &other.namespace) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    };
    same_namespace && one.index == other.index && one.name == other.name
}

fn identity(namespace: &OwnedFd) -> Option<(u64, u64)> {
    // SAFETY: a struct of integers, for which zeros are valid.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `status` is the struct that is filled.
    let result = unsafe { libc::fstat(namespace.as_raw_fd(), &raw mut status) };
    (result == 0).then_some((status.st_dev, status.st_ino))
}

fn own_identity() -> Option<(u64, u64)> {
    let file = fs::File::open("/proc/thread-self/ns/net").ok()?;
    identity(&OwnedFd::from(file))
}

/// The interfaces of this thread's namespace through which a default route leads.
fn default_interfaces() -> Vec<String> {
    let read =
        |name| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    let mut found: Vec<_> = [
        ipv4_defaults(&read("route")),
        ipv6_defaults(&read("ipv6_route")),
    ]
    .concat()
    .into_iter()
    .filter(|name| name != "lo")
    .collect();
    found.sort();
    found.dedup();
    found
}

/// Columns: interface, destination, gateway, flags, …, mask (the eighth), all in hexadecimal.
fn ipv4_defaults(table: &str) -> Vec<String> {
    let interface = |line: &str| {
        let columns: Vec<_> = line.split_ascii_whitespace().collect();
        let is_default = *columns.get(1)? == "00000000" && *columns.get(7)? == "00000000";
        (is_default && is_used(columns.get(3)?)).then(|| columns[0].to_owned())
    };
    table.lines().skip(1).filter_map(interface).collect()
}

/// Columns: destination, prefix length, …, flags (the ninth), interface.
fn ipv6_defaults(table: &str) -> Vec<String> {
    let interface = |line: &str| {
        let columns: Vec<_> = line.split_ascii_whitespace().collect();
        let is_default =
            columns.first()?.bytes().all(|digit| digit == b'0') && *columns.get(1)? == "00";
        (is_default && is_used(columns.get(8)?))
            .then(|| columns.get(9).map(|&name| name.to_owned()))?
    };
    table.lines().filter_map(interface).collect()
}

fn is_used(flags: &str) -> bool {
    u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & (ROUTE_UP | ROUTE_REJECT) == ROUTE_UP)
}

#[cfg(test)]
mod tests {
    use super::{ipv4_defaults, ipv6_defaults};

    #[test]
    fn default_routes_name_their_interfaces() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            eth1\t00000000\t0200000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth2\t00000000\t00000000\t0203\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert_eq!(ipv4_defaults(table), ["eth0", "eth1"]);
        assert_eq!(ipv4_defaults(""), Vec::<String>::new());
    }

    #[test]
    fn default_routes_of_ipv6_do_so_too() {
        let zero = "00000000000000000000000000000000";
        let line = |prefix: &str, flags: &str, name: &str| {
            format!("{zero} {prefix} {zero} 00 {zero} 00000400 00000001 00000000 {flags} {name}\n")
        };
        let table = [
            line("00", "00450003", "eth0"),
            line("40", "00000001", "eth1"),
            line("00", "00200200", "lo"),
        ]
        .concat();
        assert_eq!(ipv6_defaults(&table), ["eth0"]);
    }
}
