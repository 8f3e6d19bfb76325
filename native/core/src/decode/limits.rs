//! Every bound of the decoder in one place: what a peer sends cannot make it grow beyond these.
//!
//! Memory in the worst case is about `max_connections` × 0.6 KB and the three [`Budgets`].

/// Longest head, start line included; a longer one is cut there and its event marked `truncated`.
pub const HEAD_BYTES: usize = 64 * 1024;

/// Header fields kept of one head; those beyond are dropped and the event is marked `truncated`.
pub const HEADER_FIELDS: usize = 1024;

/// Longest method token; what has a longer first word is not HTTP.
pub const METHOD_BYTES: usize = 32;

/// Longest line with a chunk's size, extensions included.
pub const CHUNK_LINE_BYTES: u32 = 16 * 1024;

/// Requests without a complete answer on one connection, each with its text.
pub const PIPELINE_DEPTH: usize = 1024;

/// Requests without an answer on one connection that are only counted, so that answers keep
/// finding theirs; a connection with more of them is given up.
pub const PIPELINE_COUNTED: usize = 16 * 1024;

/// Operations of one connection that may wait for earlier ones, and their payload in bytes.
pub const HELD_RECORDS: usize = 64;
/// See [`HELD_RECORDS`].
pub const HELD_BYTES: usize = 64 * 1024;

/// Bytes that all connections together may take: what `limits.memory` leaves is shared out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Budgets {
    /// Partial heads, and operations held back.
    pub buffered: usize,
    /// Open requests: their line, headers and captured bodies.
    pub open_requests: usize,
    /// Columns of one tick; events beyond are counted as lost at `batch`.
    pub columns: usize,
}

/// Resident memory of a tracer that has nothing to do: interpreter, libraries, rings.
const IDLE_BYTES: usize = 96 << 20;
/// Shared out in any case.
const LEAST_SPARE_BYTES: usize = 16 << 20;
/// `limits.memory` by default.
const MEMORY_BYTES: usize = 150_000_000;

impl Budgets {
    /// For a tracer that may take so many bytes in all. The rest of what is left is for Python: text, files.
    pub fn within(memory: usize) -> Self {
        let spare = memory.saturating_sub(IDLE_BYTES).max(LEAST_SPARE_BYTES);
        Self {
            buffered: spare / 8,
            open_requests: spare / 4,
            columns: spare / 4,
        }
    }
}

impl Default for Budgets {
    fn default() -> Self {
        Self::within(MEMORY_BYTES)
    }
}

/// An open request with more text than this is cut where their budget is used up, its method, path, query, route
/// and authority to [`CUT_PART_BYTES`] each.
pub const CUT_BYTES: usize = 1280;
/// See [`CUT_BYTES`].
pub const CUT_PART_BYTES: usize = 256;

/// A partial head that is shorter may grow up to twice the budget for all of them: those of others used it up.
pub const SHORT_HEAD_BYTES: usize = 2048;

/// A body is worth telling the kernel about when more than this is still to come.
pub const SKIP_BYTES: u64 = 4096;

/// Furthest sequence that is told to the kernel: 32-bit sequences compare within half their range.
pub const SKIP_AHEAD_BYTES: u64 = 1 << 30;

/// Operations of a connection older than the tracer that may pass before it is given up as not HTTP.
pub const LATE_OPERATIONS: u32 = 1024;

/// Time after which a connection that is not HTTP is forgotten (a later operation meets it anew).
pub const IGNORED_IDLE_NS: u64 = 60_000_000_000;

/// Bytes of a body looked at beyond those that leave, so that a secret cut at the end is recognised.
pub const BODY_LOOKAHEAD_BYTES: usize = 256;

/// Memory that an idle buffer may keep for its next use.
pub const IDLE_BUFFER_BYTES: usize = 4096;

/// Header names whose meaning is remembered; others are looked up each time.
pub const REMEMBERED_NAMES: usize = 1024;
/// Longest value that is remembered with its name because it holds no secret.
pub const REMEMBERED_VALUE_BYTES: usize = 256;

/// Heads kept per side because they come again and again, and the longest of them.
pub const REPEATED_HEADS: usize = 8;
/// See [`REPEATED_HEADS`].
pub const REPEATED_HEAD_BYTES: usize = 2048;

/// Route templates: segments and bytes.
pub const ROUTE_SEGMENTS: usize = 8;
/// See [`ROUTE_SEGMENTS`].
pub const ROUTE_BYTES: usize = 128;
