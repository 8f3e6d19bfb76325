//! What a run of the packet tracer is asked to do.

use std::path::PathBuf;
use std::time::Duration;

use super::records::KernelSettings;
use crate::decode::PrivacySettings;
use crate::object::Filter;

/// How XDP attaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// On socket buffers, with any driver.
    Generic,
}

impl Mode {
    /// As events and settings call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// Settings of a session.
#[derive(Clone, Debug)]
pub struct XdpSettings {
    /// The object file made from `bpf/xdp_tracer.bpf.c`.
    pub object_path: PathBuf,
    /// Empty: those of the default routes.
    pub interfaces: Vec<String>,
    /// Interfaces are looked for in the network namespaces of these; empty: in the tracer's own.
    pub processes: Vec<u32>,
    /// Interfaces that are not there are waited for.
    pub waits: bool,
    /// `None`: native, but generic on veth.
    pub mode: Option<Mode>,
    pub egress: bool,
    /// Flows in all, both directions of a conversation counting as one each.
    pub flow_table_size: u32,
    pub flow_timeout: Duration,
    /// One in this many packets is looked at.
    pub sampling: u32,
    /// Flows of these processes' sockets.
    pub filter: Filter,
    /// A pcap expression; `None`: every packet.
    pub expression: Option<String>,
    /// Look for HTTP, TLS and DNS.
    pub detect_payload: bool,
    pub track_flows: bool,
    /// `packet` events are wanted.
    pub packet_events: bool,
    /// Bytes of each packet for a capture; 0: none is wanted.
    pub capture_bytes: u32,
    /// What is masked in paths.
    pub privacy: PrivacySettings,
    /// Somebody looks at a terminal: rates of the last second are wanted.
    pub is_watched: bool,
    /// Between two `interface` events.
    pub interval: Duration,
    /// Size of the ring in bytes, a power of two.
    pub ring_bytes: u32,
}

/// Interfaces of one session at most: what the ledger has room for.
pub const MAX_INTERFACES: u16 = 64;
/// VERDICTS of `bpf/include/xdp_verdict.h`.
const VERDICTS: u32 = 65536;
/// MAX_TARGETS of `bpf/include/shared_maps.h`.
const MAX_TARGETS: u32 = 32768;
/// Entries of a set.
pub const SET_PLACES: u32 = 8;

impl XdpSettings {
    /// Sets of the flow table: half as many places again as flows, so that a flow finds one in its sets until
    /// the table is full.
    pub fn sets(&self) -> u32 {
        let places = u64::from(self.flow_table_size) * 3 / 2;
        u32::try_from(places.div_ceil(u64::from(SET_PLACES)) + 1).unwrap_or(u32::MAX)
    }

    /// Whether anything is sent through the ring.
    pub fn wants_packets(&self) -> bool {
        self.packet_events || self.capture_bytes > 0
    }

    /// Entries (for a ring: bytes) of the kernel's maps.
    pub(crate) fn map_sizes(&self, cpus: u32) -> Vec<(&'static str, u32)> {
        let if_filtered = |entries| if self.filter.enabled { entries } else { 1 };
        vec![
            ("flow_sets", self.sets()),
            ("flows", self.sets() * SET_PLACES),
            ("verdicts", if_filtered(VERDICTS)),
            ("targets", if_filtered(MAX_TARGETS)),
            ("ledgers", u32::from(MAX_INTERFACES) * 2 * cpus),
            ("packets", self.ring_bytes),
            (
                "packet_scratches",
                if self.wants_packets() { cpus } else { 1 },
            ),
        ]
    }

    /// What is the same for all interfaces.
    pub(crate) fn kernel(&self, hash_seed: u64, second_jiffies: u32, cpus: u32) -> KernelSettings {
        KernelSettings {
            hash_seed,
            sets: self.sets(),
            capacity: self.flow_table_size,
            sampling: self.sampling,
            capture_bytes: self.capture_bytes,
            has_filter: self.expression.is_some().into(),
            self_pid: self.filter.self_pid,
            filter: self.filter.enabled.into(),
            has_names: (!self.filter.names.is_empty()).into(),
            second_jiffies,
            cpus,
            detect_payload: self.detect_payload.into(),
            packet_events: self.packet_events.into(),
            track_flows: self.track_flows.into(),
            ..KernelSettings::default()
        }
    }
}
