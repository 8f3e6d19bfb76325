//! The kernel's records: mirror of `bpf/include/records.h`.
//!
//! [`layout`] lists every member's offset, so that the session can compare them
//! with the BTF of the object that it loads.

/// A member's name, offset and size in bytes, as BTF would tell it.
pub struct Member {
    pub name: &'static str,
    pub offset: usize,
    pub size: usize,
}

/// A struct as both sides must have it.
pub struct Layout {
    /// Name of the struct in the object's BTF.
    pub name: &'static str,
    pub size: usize,
    pub members: Vec<Member>,
}

macro_rules! c_struct {
    ($(#[$meta:meta])* $name:ident as $c_name:literal { $($(#[$doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub struct $name { $($(#[$doc])* pub $field: $type,)* }

        const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$type>())*, "hidden padding");

        impl $name {
            /// Offsets and sizes, in bytes, of all members.
            pub fn layout() -> $crate::records::Layout {
                let members = vec![$($crate::records::Member {
                    name: stringify!($field),
                    offset: std::mem::offset_of!($name, $field),
                    size: size_of::<$type>(),
                },)*];
                $crate::records::Layout { name: $c_name, size: size_of::<$name>(), members }
            }

            /// Reads the struct from the start of `bytes`; the rest is returned as well.
            /// `None` when there are too few bytes.
            pub fn split_from(bytes: &[u8]) -> Option<($name, &[u8])> {
                if bytes.len() < size_of::<$name>() {
                    return None;
                }
                // SAFETY: the length was checked; every bit pattern is a valid value of
                // these structs of integers and byte arrays; the read may be unaligned.
                let value = unsafe { bytes.as_ptr().cast::<$name>().read_unaligned() };
                Some((value, &bytes[size_of::<$name>()..]))
            }

            /// The struct's own bytes (for tests and recordings).
            pub fn to_bytes(&self) -> Vec<u8> {
                // SAFETY: repr(C) without padding (asserted above), so all bytes are initialised.
                unsafe { std::slice::from_raw_parts((self as *const $name).cast::<u8>(), size_of::<$name>()) }.to_vec()
            }
        }
    };
}

pub(crate) use c_struct;

c_struct! {
    /// One socket operation or life-cycle step.
    Record as "record" {
        time_ns: u64,
        connection: u64,
        pid: u32,
        tid: u32,
        sequence: u32,
        length: u32,
        captured: u32,
        rtt_us: u32,
        retransmits: u32,
        kind: u16,
        flags: u16,
        comm: [u8; 16],
    }
}

c_struct! {
    /// Payload of [`kind::OPEN`]; `path` overlays `local` and `peer` for Unix sockets.
    Endpoints as "endpoints" {
        opened_ns: u64,
        cgroup: u64,
        netns: u32,
        family: u16,
        local_port: u16,
        peer_port: u16,
        path_length: u16,
        reserved: u32,
        path: [u8; 112],
    }
}

const _: () = assert!(size_of::<Record>() == 64 && size_of::<Endpoints>() == 144);

/// `enum record_kind`.
pub mod kind {
    pub const OPEN: u16 = 1;
    pub const DATA: u16 = 2;
    pub const END: u16 = 3;
    pub const CLOSE: u16 = 4;
}

/// `enum record_flag`.
pub mod flag {
    pub const SENT: u16 = 1 << 0;
    pub const START: u16 = 1 << 1;
    pub const LATE: u16 = 1 << 2;
    pub const RESET: u16 = 1 << 3;
    pub const LOST: u16 = 1 << 4;
    pub const SKIPPED: u16 = 1 << 5;
    pub const CLIENT: u16 = 1 << 6;
    pub const SERVER: u16 = 1 << 7;
    pub const WAKE: u16 = 1 << 8;
}

/// `AF_UNIX`, `AF_INET`, `AF_INET6`.
pub mod family {
    pub const UNIX: u16 = 1;
    pub const INET: u16 = 2;
    pub const INET6: u16 = 10;
}

impl Endpoints {
    /// Local address, 16 bytes in network order; IPv4 in the first four.
    pub fn local(&self) -> &[u8] {
        &self.path[..16]
    }

    /// Peer's address, as [`Endpoints::local`].
    pub fn peer(&self) -> &[u8] {
        &self.path[16..32]
    }

    /// A Unix socket's path as bound (empty for an unnamed socket).
    pub fn unix_path(&self) -> &[u8] {
        &self.path[..usize::from(self.path_length).min(108)]
    }
}
