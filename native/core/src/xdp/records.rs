//! What the packets' program and this core have in common: mirror of `bpf/include/xdp_records.h`.

use crate::records::{Layout, c_struct};

c_struct! {
    /// A conversation's key at one interface; addresses and ports in network order.
    FlowKey as "flow_key" {
        remote: [u8; 16],
        local: [u8; 16],
        remote_port: [u8; 2],
        local_port: [u8; 2],
        protocol: u8,
        family: u8,
        interface: u16,
        vlan: u16,
        inner_vlan: u16,
        tunnel_id: u32,
        inner: u64,
    }
}

c_struct! {
    /// The flow within a tunnel; `tunnel` is 0 where there is none.
    InnerFlow as "inner_flow" {
        remote: [u8; 16],
        local: [u8; 16],
        remote_port: [u8; 2],
        local_port: [u8; 2],
        protocol: u8,
        family: u8,
        tunnel: u8,
        reserved: u8,
    }
}

c_struct! {
    /// Whose flow it is, as far as is known.
    #[derive(Default, Eq, PartialEq)]
    FlowOwner as "flow_owner" {
        pid: u32,
        state: u8,
        wanted: u8,
        reserved: u16,
    }
}

c_struct! {
    /// Who owns a socket.
    SocketOwner as "socket_owner" {
        pid: u32,
        wanted: u32,
    }
}

c_struct! {
    /// One direction of a conversation.
    FlowHalf as "flow_half" {
        buffers: u64,
        bytes: u64,
        merged: u64,
        last_jiffies: u64,
        next_sequence: u32,
        awaited: u32,
        rtt_us: u32,
        watch: u32,
        http_requests: u32,
        http_responses: u32,
        retransmits: u32,
        tcp_flags: u8,
        icmp_type: u8,
        icmp_code: u8,
        reserved: u8,
    }
}

c_struct! {
    /// Bytes that are missing.
    FlowGap as "flow_gap" {
        start: u32,
        end: u32,
        time_us: u32,
    }
}

c_struct! {
    /// An entry of the flow table; what is there twice is there by direction.
    FlowEntry as "flow_entry" {
        key: FlowKey,
        owner: FlowOwner,
        half: [FlowHalf; 2],
        first_jiffies: [u64; 2],
        sent_ns: [u64; 2],
        gap: [FlowGap; 2],
        sampled_jiffies: [u32; 2],
        out_of_order: [u32; 2],
        zero_window: [u32; 2],
        inner: InnerFlow,
        socket: u64,
    }
}

c_struct! {
    /// The places of eight entries.
    FlowSet as "flow_set" {
        places: u64,
        overflowed: u32,
        reserved: u32,
    }
}

c_struct! {
    /// Packets and bytes on the wire.
    #[derive(Default, Eq, PartialEq)]
    Traffic as "traffic" {
        packets: u64,
        bytes: u64,
    }
}

c_struct! {
    /// What became of every program run, of one interface, direction and CPU.
    #[derive(Default)]
    LedgerRecord as "ledger" {
        runs: u64,
        flows: u64,
        filtered: u64,
        sampled_out: u64,
        not_ip: u64,
        other: u64,
        malformed: [u64; MALFORMED_REASONS],
        traffic: [Traffic; CLASSES],
        unflowed: Traffic,
        skip: u64,
        events_lost: u64,
        events_capped: u64,
        reserved: u64,
    }
}

c_struct! {
    /// A packet in the ring; `captured` bytes of the frame follow.
    PacketRecord as "packet_record" {
        time_ns: u64,
        key: FlowKey,
        inner: InnerFlow,
        wire_length: u32,
        captured: u32,
        payload_offset: u32,
        payload_length: u32,
        sequence: u32,
        pid: u32,
        segments: u16,
        ethertype: [u8; 2],
        tag_protocol: [u8; 2],
        tag: u16,
        direction: u8,
        kind: u8,
        flags: u8,
        tcp_flags: u8,
        icmp_type: u8,
        icmp_code: u8,
        reserved: [u8; 10],
    }
}

c_struct! {
    /// `struct xdp_settings` of `bpf/xdp_tracer.bpf.c`.
    #[derive(Default)]
    KernelSettings as "xdp_settings" {
        hash_seed: u64,
        sets: u32,
        capacity: u32,
        sampling: u32,
        capture_bytes: u32,
        second_jiffies: u32,
        cpus: u32,
        self_pid: u32,
        interface: u16,
        has_link_header: u8,
        is_generic: u8,
        has_fragments: u8,
        has_filter: u8,
        detect_payload: u8,
        packet_events: u8,
        track_flows: u8,
        filter: u8,
        has_names: u8,
        reserved: u8,
    }
}

/// Reasons of `enum malformed`.
pub const MALFORMED_REASONS: usize = 14;
/// Classes of `enum protocol_class`.
pub const CLASSES: usize = 7;

/// `enum xdp_direction`.
pub const INGRESS: usize = 0;
pub const EGRESS: usize = 1;

/// `enum owner_state`: nothing more will be known.
pub const OWNER_KNOWN: u8 = 3;

/// A tag in a key: this bit and the identifier.
pub const VLAN_TAGGED: u16 = 0x1000;

/// `enum flow_watch`, as far as userspace looks at it.
pub const FIN_ANSWERED: u32 = 1 << 4;

/// Bits of TCP's flags.
pub mod tcp_flag {
    pub const RST: u8 = 0x04;
}

/// `enum packet_kind`.
pub mod packet_kind {
    pub const PLAIN: u8 = 0;
    pub const HTTP_REQUEST: u8 = 1;
    pub const HTTP_RESPONSE: u8 = 2;
    pub const HTTP2: u8 = 3;
    pub const TLS: u8 = 4;
    pub const DNS: u8 = 5;
}

/// `enum packet_flag`.
pub mod packet_flag {
    pub const TAG_ASIDE: u8 = 1 << 0;
    pub const FRAGMENT: u8 = 1 << 1;
    pub const FOR_EVENT: u8 = 1 << 2;
    pub const UNPARSED: u8 = 1 << 3;
}

/// All structs, for the comparison with the object.
pub(crate) fn layouts() -> Vec<Layout> {
    macro_rules! layouts {
        ($($name:ident),*) => { vec![$($name::layout()),*] };
    }
    layouts!(
        FlowKey,
        InnerFlow,
        FlowOwner,
        SocketOwner,
        FlowHalf,
        FlowGap,
        FlowEntry,
        FlowSet,
        Traffic,
        LedgerRecord,
        PacketRecord,
        KernelSettings
    )
}
