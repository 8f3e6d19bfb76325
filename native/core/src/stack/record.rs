//! The kernel's samples: mirror of `bpf/include/stack_records.h`.

use crate::records::c_struct;

c_struct! {
    /// One sample; its frames follow.
    Sample as "sample" {
        time_ns: u64,
        weight_ns: u64,
        pid: u32,
        tid: u32,
        waker: u32,
        kernel_frames: u16,
        user_frames: u16,
        kind: u8,
        flags: u8,
        end: u8,
        reserved: [u8; 5],
        end_pc: u64,
        comm: [u8; 16],
    }
}

const _: () = assert!(size_of::<Sample>() == 64);

c_struct! {
    /// What a walk lacked: where it ended. The bytes of the stack from `sp` on follow.
    Rest as "stack_rest" {
        sample: [u8; 64],
        pc: u64,
        sp: u64,
        fp: u64,
        lr: u64,
        bytes: u32,
        is_call: u8,
        reserved: [u8; 3],
    }
}

/// `enum sample_kind`: what the thread did.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    Cpu,
    OffCpu,
}

impl Kind {
    fn from_record(kind: u8) -> Self {
        match kind {
            1 => Self::OffCpu,
            _ => Self::Cpu,
        }
    }

    /// The event's `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::OffCpu => "off-cpu",
        }
    }
}

/// `enum sample_flag`.
pub(crate) mod flag {
    pub(crate) const NEW_PROCESS: u8 = 1 << 0;
    pub(crate) const RUN_QUEUE: u8 = 1 << 1;
    pub(crate) const HAS_REST: u8 = 1 << 2;
}

/// `enum stack_end`: how the user part of a stack ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum End {
    Complete,
    NoUser,
    Depth,
    FramePointers,
    NoMapping,
    NoTable,
    NoRow,
    Unreadable,
    Rule,
    Innermost,
}

impl End {
    fn from_record(end: u8) -> Self {
        match end {
            0 => Self::Complete,
            1 => Self::NoUser,
            2 => Self::Depth,
            3 => Self::FramePointers,
            4 => Self::NoMapping,
            5 => Self::NoTable,
            6 => Self::NoRow,
            7 => Self::Unreadable,
            9 => Self::Innermost,
            _ => Self::Rule,
        }
    }

    /// The event's `end`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete | Self::NoUser => "complete",
            Self::Depth | Self::FramePointers | Self::Innermost => "truncated",
            _ => "error",
        }
    }

    /// The event's `reason`: why it is not complete.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Complete | Self::NoUser => None,
            Self::Depth => Some("deeper than max_stack_depth"),
            Self::FramePointers => Some("the chain of frame pointers ended"),
            Self::NoMapping => Some("an address outside of every mapped program"),
            Self::NoTable => Some("no unwind table"),
            Self::NoRow => Some("the unwind table does not cover the address"),
            Self::Unreadable => Some("the stack's memory could not be read"),
            Self::Innermost => {
                Some("only the innermost function is known of a thread that waits for a CPU")
            }
            Self::Rule => Some("a rule that cannot be followed here"),
        }
    }
}

/// `SAMPLE_REST` of `enum sample_kind`.
const REST: u8 = 3;

/// What comes over the ring of samples.
#[derive(Clone, Debug)]
pub enum SampleRecord {
    Sample(Taken),
    Rest(TakenRest),
}

impl SampleRecord {
    /// Reads a record; `None` when it is shorter than it says.
    pub fn parse(record: &[u8]) -> Option<Self> {
        let (head, _) = Sample::split_from(record)?;
        if head.kind == REST {
            return TakenRest::parse(&head, record).map(Self::Rest);
        }
        Taken::parse(record).map(Self::Sample)
    }
}

/// The rest of a stack whose walk ended too early, for the sample of the same thread and time.
#[derive(Clone, Debug)]
pub struct TakenRest {
    pub tid: u32,
    pub time_ns: u64,
    pub at: Rest,
    pub stack: Vec<u8>,
}

impl TakenRest {
    fn parse(head: &Sample, record: &[u8]) -> Option<Self> {
        let (at, stack) = Rest::split_from(record)?;
        Some(Self {
            tid: head.tid,
            time_ns: head.time_ns,
            at,
            stack: stack.get(..at.bytes as usize)?.to_vec(),
        })
    }
}

/// A sample with its frames, innermost first.
#[derive(Clone, Debug)]
pub struct Taken {
    pub head: Sample,
    pub kind: Kind,
    pub end: End,
    pub frames: Vec<u64>,
}

impl Taken {
    /// Reads a record; `None` when it is shorter than it says.
    pub fn parse(record: &[u8]) -> Option<Self> {
        let (head, rest) = Sample::split_from(record)?;
        let count = usize::from(head.kernel_frames) + usize::from(head.user_frames);
        let frames = rest.get(..count * size_of::<u64>())?;
        Some(Self {
            head,
            kind: Kind::from_record(head.kind),
            end: End::from_record(head.end),
            frames: frames
                .chunks_exact(size_of::<u64>())
                .filter_map(|bytes| bytes.first_chunk())
                .map(|eight| u64::from_ne_bytes(*eight))
                .collect(),
        })
    }

    /// The frames of the process's own code.
    pub(crate) fn user(&self) -> &[u64] {
        &self.frames[usize::from(self.head.kernel_frames)..]
    }

    /// Adds callers that were found later.
    pub(crate) fn append(&mut self, callers: &[u64], end: End, end_pc: u64) {
        let callers = &callers[..callers.len().min((u16::MAX - self.head.user_frames).into())];
        self.frames.extend_from_slice(callers);
        self.head.user_frames += callers.len() as u16;
        self.head.end_pc = end_pc;
        self.end = end;
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.head.flags & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use super::{End, Kind, Sample, Taken};

    fn record(kernel_frames: u16, user_frames: u16, frames: &[u64]) -> Vec<u8> {
        let head = Sample {
            time_ns: 1,
            weight_ns: 0,
            pid: 2,
            tid: 3,
            waker: 0,
            kernel_frames,
            user_frames,
            kind: 0,
            flags: 0,
            end: 0,
            reserved: [0; 5],
            end_pc: 0,
            comm: *b"name\0\0\0\0\0\0\0\0\0\0\0\0",
        };
        let mut bytes = head.to_bytes();
        bytes.extend(frames.iter().flat_map(|frame| frame.to_ne_bytes()));
        bytes
    }

    #[test]
    fn frames_follow_the_head() {
        let taken = Taken::parse(&record(1, 2, &[10, 20, 30])).expect("a whole record");
        assert_eq!(taken.frames, [10, 20, 30]);
        assert_eq!((taken.kind, taken.end), (Kind::Cpu, End::Complete));
    }

    #[test]
    fn a_record_that_lacks_frames_is_none() {
        assert!(Taken::parse(&record(1, 2, &[10, 20])).is_none());
        assert!(Taken::parse(&record(0, 0, &[])[..60]).is_none());
        assert!(Taken::parse(&[]).is_none());
    }

    #[test]
    fn an_end_that_is_not_complete_has_a_reason() {
        for end in (0..=u8::MAX).map(End::from_record) {
            assert_eq!(end.name() == "complete", end.reason().is_none());
        }
    }
}
