//! The decoder's state apart from the connections: settings, masks, open exchanges, columns.

use crate::columns::{ConnectionColumns, HttpColumns};
use crate::records::Record;

use super::connection::{Connection, Entry};
use super::exchange::{Exchange, Exchanges, Moment};
use super::head_reader::HeadReader;
use super::header_names::HeaderNames;
use super::limits::Budgets;
use super::privacy::Privacy;

use super::request::TargetText;

use super::{DecodeSettings, Policy, PolicyUpdate};

/// Advice kept for a session that does not ask for it.
const KEPT_POLICIES: usize = 64 * 1024;

/// Counts of what could not be told, since the last time they were taken.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Requests whose later records found the kernel's ring full.
    pub(super) ring_full: u64,
    /// Connections forgotten because there were too many.
    pub(super) connections: u64,
    /// Requests that found no room among the open ones.
    pub(super) open_requests: u64,
    /// Heads that found no room to be put together.
    pub(super) buffers: u64,
    /// Places in a stream where a head was not seen and the kernel had not counted it.
    pub(super) gaps: u64,
    /// Events that found no room in the tick's columns.
    pub(super) batch: u64,
}

impl Losses {
    pub(super) fn take(&mut self) -> Vec<(&'static str, u64)> {
        let taken = std::mem::take(self);
        [
            ("ring_full", taken.ring_full),
            ("connections", taken.connections),
            ("open_requests", taken.open_requests),
            ("buffers", taken.buffers),
            ("gaps", taken.gaps),
            ("batch", taken.batch),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect()
    }
}

#[derive(Debug)]
pub(super) struct Engine {
    pub(super) correlation_timeout_ns: u64,
    pub(super) correlation_table_size: usize,
    pub(super) budgets: Budgets,
    pub(super) max_payload_capture: usize,
    pub(super) unix_minus_monotonic_ns: i64,

    pub(super) exchanges: Exchanges,
    pub(super) http: HttpColumns,
    pub(super) connections: ConnectionColumns,
    pub(super) losses: Losses,
    pub(super) policies: Vec<PolicyUpdate>,
    /// A record is consumed although something is missing before it.
    pub(super) forcing: bool,
    /// Number of calls of `advance`.
    pub(super) drain: u64,
    /// Bytes in partial heads and records held back.
    pub(super) buffered: usize,
    /// Connections that wait for something: a record, or the end of a drain.
    pub(super) waiting: Vec<u64>,
    pub(super) reader: HeadReader,
    pub(super) target: TargetText,
    /// Takes what is read of heads that belong to no exchange.
    pub(super) spare: Exchange,

    pub(super) bodies: [String; 2],
    pub(super) span_ids: SpanIds,
}

impl Engine {
    pub(super) fn new(settings: &DecodeSettings) -> Self {
        Self {
            correlation_timeout_ns: settings.correlation_timeout_ns,
            correlation_table_size: settings.correlation_table_size,
            budgets: settings.budgets,
            max_payload_capture: settings.privacy.max_payload_capture,
            unix_minus_monotonic_ns: 0,
            exchanges: Exchanges::default(),
            http: HttpColumns::new(),
            connections: ConnectionColumns::new(),
            losses: Losses::default(),
            policies: Vec::new(),
            forcing: false,
            drain: 0,
            buffered: 0,
            waiting: Vec::new(),
            reader: HeadReader::new(
                Privacy::new(&settings.privacy),
                HeaderNames::new(
                    settings.trace_header.as_deref(),
                    settings.span_header.as_deref(),
                ),
            ),
            target: TargetText::default(),
            spare: Exchange::default(),

            bodies: [String::new(), String::new()],
            span_ids: SpanIds::new(),
        }
    }

    /// A valid head: this is HTTP, and requests come from `requests_from`.
    pub(super) fn recognise(
        &mut self,
        conn: &mut Connection,
        requests_from: usize,
        first: &Moment,
    ) {
        conn.requests_from = Some(requests_from);
        if !conn.spoke {
            conn.spoke = true;
            conn.owner = *first;
            if conn.is_opening_known() {
                self.emit_connection(conn, None);
            }
        }
    }

    /// Not HTTP, or no longer worth following.
    pub(super) fn ignore(&mut self, conn: &mut Connection) {
        conn.ignored = true;
        self.forget(conn);
        self.advise_off(conn);
    }

    pub(super) fn advise_off(&mut self, conn: &Connection) {
        self.advise(PolicyUpdate {
            connection: conn.id,
            policy: Policy::Off,
        });
    }

    pub(super) fn advise(&mut self, update: PolicyUpdate) {
        if self.policies.len() < KEPT_POLICIES {
            self.policies.push(update);
        }
    }

    /// Gives back everything that a connection holds; its open requests get no event.
    pub(super) fn forget(&mut self, conn: &mut Connection) {
        for entry in conn.open.drain(..) {
            if let Entry::Request {
                exchange: Some(id), ..
            } = entry
            {
                self.exchanges.end(id);
            }
        }
        for stream in &mut conn.streams {
            self.buffered -= stream.head.len() + stream.held_bytes;
            stream.head = Vec::new();
            stream.held = Vec::new();
            stream.held_bytes = 0;
        }
        conn.pending_close = None;
    }

    /// Open requests of a connection that is given up are lost.
    pub(super) fn drop_open(&mut self, conn: &mut Connection) {
        let told = |entry: &&Entry| {
            matches!(
                entry,
                Entry::Request {
                    exchange: Some(_),
                    ..
                }
            )
        };
        self.losses.open_requests += conn.open.iter().filter(told).count() as u64;
    }
}

impl Moment {
    pub(super) fn of(record: &Record) -> Self {
        Self {
            time_ns: record.time_ns,
            pid: record.pid,
            tid: record.tid,
            comm: record.comm,
            retransmits: record.retransmits,
            starts: record.flags & crate::records::flag::START != 0,
        }
    }
}

/// Span ids: distinct within a run, and in all likelihood between runs and machines.
#[derive(Debug)]
pub(super) struct SpanIds {
    state: u64,
}

impl SpanIds {
    fn new() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self {
            state: RandomState::new().hash_one(std::process::id()),
        }
    }

    /// The next id, never 0; a permutation of a counter, so that none repeats.
    pub(super) fn next(&mut self) -> u64 {
        loop {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut id = self.state;
            id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            id ^= id >> 31;
            if id != 0 {
                return id;
            }
        }
    }
}
