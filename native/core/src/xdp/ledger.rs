//! What became of every program run, summed over CPUs, and what of it is new.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::Ordering;

use libbpf_rs::MapHandle;

use super::records::{CLASSES, LedgerRecord, MALFORMED_REASONS, Traffic};
use super::table;
use crate::error::Result;
use crate::mapped_array::MappedArray;

/// Names of `enum malformed`.
pub(crate) const MALFORMED: [&str; MALFORMED_REASONS] = [
    "ethernet",
    "vlan",
    "vlan_depth",
    "mpls",
    "arp",
    "ipv4",
    "ipv4_length",
    "ipv6",
    "ipv6_options",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "tunnel",
];

/// Names of `enum protocol_class`, as metrics have them.
pub(crate) const PROTOCOLS: [&str; CLASSES] =
    ["tcp", "udp", "icmp", "ipv6-icmp", "sctp", "other", "non-ip"];

/// IP protocol numbers of the classes; 255 is nobody's, `None` is not IP.
pub(crate) const PROTOCOL_NUMBERS: [Option<u16>; CLASSES] = [
    Some(6),
    Some(17),
    Some(1),
    Some(58),
    Some(132),
    Some(255),
    None,
];

/// The ledgers of all interfaces.
#[derive(Debug)]
pub(crate) struct Ledgers {
    records: MappedArray,
    cpus: usize,
}

impl Ledgers {
    pub(crate) fn map(map: &MapHandle, cpus: usize) -> Result<Self> {
        Ok(Self {
            records: table::map(map)?,
            cpus,
        })
    }

    /// Lets sampling begin at a random distance on every CPU.
    pub(crate) fn begin(&self, interface: u16, skips: &[u32]) {
        let mut random = RandomState::new().build_hasher().finish();
        let first = usize::from(interface) * 2 * self.cpus;
        for index in first..first + 2 * self.cpus {
            random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
            let skip = skips[usize::try_from(random % skips.len() as u64).unwrap_or(0)];
            let word = self
                .records
                .word(index, std::mem::offset_of!(LedgerRecord, skip));
            word.store(skip.into(), Ordering::Relaxed);
        }
    }

    /// Sums since the start.
    pub(crate) fn sum(&self, interface: u16, direction: usize) -> LedgerRecord {
        let first = (usize::from(interface) * 2 + direction) * self.cpus;
        (first..first + self.cpus)
            .map(|index| self.records.read::<LedgerRecord>(index))
            .fold(LedgerRecord::default(), |sum, cpu| sum.plus(&cpu))
    }
}

impl LedgerRecord {
    fn combine(&self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        let traffic = |a: Traffic, b: Traffic| Traffic {
            packets: with(a.packets, b.packets),
            bytes: with(a.bytes, b.bytes),
        };
        Self {
            runs: with(self.runs, other.runs),
            flows: with(self.flows, other.flows),
            filtered: with(self.filtered, other.filtered),
            sampled_out: with(self.sampled_out, other.sampled_out),
            not_ip: with(self.not_ip, other.not_ip),
            other: with(self.other, other.other),
            malformed: std::array::from_fn(|at| with(self.malformed[at], other.malformed[at])),
            traffic: std::array::from_fn(|at| traffic(self.traffic[at], other.traffic[at])),
            unflowed: traffic(self.unflowed, other.unflowed),
            skip: 0,
            events_lost: with(self.events_lost, other.events_lost),
            events_capped: with(self.events_capped, other.events_capped),
            reserved: 0,
        }
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        self.combine(other, u64::wrapping_add)
    }

    /// What is new since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        self.combine(before, u64::wrapping_sub)
    }

    /// All packets that were looked at.
    pub(crate) fn total(&self) -> Traffic {
        self.traffic
            .iter()
            .fold(Traffic::default(), |sum, class| Traffic {
                packets: sum.packets + class.packets,
                bytes: sum.bytes + class.bytes,
            })
    }

    pub(crate) fn malformed_total(&self) -> u64 {
        self.malformed.iter().sum()
    }
}
