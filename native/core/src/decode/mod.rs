//! HTTP/1 from socket records to columns.
//!
//! ```text
//! record bytes ─ order ─ feed ─ request / response ─ events ─ columns
//!                (gaps,  (heads, (exchanges, masks)   (rows)
//!                 holds)  bodies)
//! ```
//!
//! [`HttpDecoder`] is driven by the owner of the ring:
//!
//! ```
//! # use universal_tracer_core::decode::{DecodeSettings, HttpDecoder};
//! # let (records, now_monotonic_ns, unix_minus_monotonic_ns): (Vec<Vec<u8>>, u64, i64) = (vec![], 0, 0);
//! let mut decoder = HttpDecoder::new(DecodeSettings::default());
//! decoder.set_clock_offset(unix_minus_monotonic_ns); // before each drain
//! for record in &records {
//!     decoder.record(record); // `Record` and its payload, as they came from the ring
//! }
//! decoder.advance(now_monotonic_ns); // the drain is over
//! for advice in decoder.policies() {
//!     // what the kernel need not send any more
//! }
//! let decoded = decoder.take(); // batches of events, and what was lost
//! let still_running = decoder.finish(); // at the end, followed by a last `take`
//! ```
//!
//! Nothing a peer sends can make it panic or grow beyond [`limits`]; text is masked before it
//! gets into a column ([`PrivacySettings`]).

mod assembly;
mod chunks;
mod connection;
mod ending;
mod engine;
mod events;
mod exchange;
mod feed;
mod fields;
mod head;
mod head_reader;
mod header_names;

pub mod limits;
mod order;
mod privacy;
mod repeats;
mod request;
mod response;
mod route;
mod start_line;
mod trace_context;

use ahash::RandomState;
use arrow_array::RecordBatch;
use hashbrown::HashMap;

use crate::records::{Endpoints, Record, kind};

use connection::{Connection, Phase, RECEIVED, SENT};
use engine::Engine;
use limits::{Budgets, IGNORED_IDLE_NS};
pub use privacy::{PrivacySettings, TextMask};
pub(crate) use start_line::{StartLine, StartLines};

/// Threads whose names are remembered for records that come without.
const REMEMBERED_THREADS: usize = 1024;

/// What the decoder is asked to do.
#[derive(Clone, Debug)]
pub struct DecodeSettings {
    /// A request without progress for so long ends with `timeout`.
    pub correlation_timeout_ns: u64,
    /// Open requests in all.
    pub correlation_table_size: usize,
    /// Connections remembered; of more, those that were idle longest are forgotten.
    pub max_connections: usize,
    pub budgets: Budgets,
    pub privacy: PrivacySettings,
    /// A header field with a trace id, besides those that are always understood.
    pub trace_header: Option<String>,
    /// The field with the parent's span id that goes with it.
    pub span_header: Option<String>,
}

impl Default for DecodeSettings {
    fn default() -> Self {
        Self {
            correlation_timeout_ns: 30_000_000_000,
            correlation_table_size: 8192,
            max_connections: 65_536,
            budgets: Budgets::default(),
            privacy: PrivacySettings::default(),
            trace_header: None,
            span_header: None,
        }
    }
}

/// Advice to the kernel about one connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PolicyUpdate {
    /// The socket's cookie.
    pub connection: u64,
    pub policy: Policy,
}

/// What the kernel need not send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    /// Nothing any more but END and CLOSE.
    Off,
    /// The peers pipeline: no operation may be cut short.
    SendAll,
    /// Operations in one direction that end below `sequence`.
    SkipUntil { sent: bool, sequence: u32 },
}

/// What was decoded since the last [`HttpDecoder::take`].
#[derive(Debug, Default)]
pub struct Decoded {
    /// `http` events; columns as in [`crate::columns::HttpColumns::schema`].
    pub http: Option<RecordBatch>,
    /// `connection` events; columns as in [`crate::columns::ConnectionColumns::schema`].
    pub connection: Option<RecordBatch>,
    /// Where something was lost, and how often.
    pub losses: Vec<(&'static str, u64)>,
}

/// Turns socket records into events.
#[derive(Debug)]
pub struct HttpDecoder {
    engine: Engine,
    connections: HashMap<u64, Box<Connection>, RandomState>,
    max_connections: usize,
    next_time_out_ns: u64,
    latest_ns: u64,
    threads: Vec<(u32, [u8; 16])>,
}

impl HttpDecoder {
    /// A decoder that has seen nothing yet.
    pub fn new(settings: DecodeSettings) -> Self {
        Self {
            engine: Engine::new(&settings),
            connections: HashMap::default(),
            max_connections: settings.max_connections.max(16),
            next_time_out_ns: 0,
            latest_ns: 0,
            threads: vec![(0, [0; 16]); REMEMBERED_THREADS],
        }
    }

    /// Unix time minus CLOCK_MONOTONIC, in ns; holds for the events written from now on.
    pub fn set_clock_offset(&mut self, unix_minus_monotonic_ns: i64) {
        self.engine.unix_minus_monotonic_ns = unix_minus_monotonic_ns;
    }

    /// Takes one record of the ring: [`Record`] and its payload. What is too short is ignored.
    pub fn record(&mut self, bytes: &[u8]) {
        let Some((mut record, rest)) = Record::split_from(bytes) else {
            return;
        };
        let payload = rest.get(..record.captured as usize).unwrap_or(rest);
        self.latest_ns = self.latest_ns.max(record.time_ns);
        self.name_thread(&mut record);
        let Some(conn) = self.connections.get_mut(&record.connection) else {
            if self.admit(&record) {
                self.record(bytes);
            }
            return;
        };
        conn.last_ns = conn.last_ns.max(record.time_ns);
        match record.kind {
            kind::OPEN => {
                if let Some((endpoints, _)) = Endpoints::split_from(payload) {
                    conn.open(&record, &endpoints);
                }
            }
            kind::DATA | kind::END => {
                self.engine.note_tcp(conn, &record);
                self.engine.deliver(conn, &record, payload);
                if is_closed_unix(conn) {
                    self.close(&record);
                }
            }
            kind::CLOSE if self.engine.awaits_records(conn, &record) => {
                conn.pending_close = Some(record);
                conn.close_drain = self.engine.drain;
                self.engine.list(conn);
            }
            kind::CLOSE => self.close(&record),
            _ => {}
        }
    }

    /// The time of the latest record, in ns of CLOCK_MONOTONIC.
    pub fn latest_ns(&self) -> u64 {
        self.latest_ns
    }

    /// Ends a drain: what was held back for longer than one drain is a gap, requests without
    /// progress time out, idle state goes. Records up to `now_monotonic_ns` have been seen.
    pub fn advance(&mut self, now_monotonic_ns: u64) {
        self.release_waiting();
        self.engine.drain += 1;
        if now_monotonic_ns >= self.next_time_out_ns {
            self.time_out(now_monotonic_ns);
        }
    }

    /// Ends the run. Requests that still wait for an answer are told with what was seen of them:
    /// `truncated`, but for streams, which had no end yet. Returns how many there were.
    pub fn finish(&mut self) -> usize {
        self.engine.drain += 2;
        self.release_waiting();
        let open = self.engine.exchanges.open();
        for conn in self.connections.values_mut() {
            self.engine.end_run(conn);
            self.engine.forget(conn);
        }
        self.connections.clear();
        open
    }

    /// Events and losses since the last call.
    pub fn take(&mut self) -> Decoded {
        let mut losses = self.engine.losses.take();
        let events = self.engine.http.rows() + self.engine.connections.rows();
        // columns that do not fit their own schema are a bug: it is told, not hidden
        let (http, connection) = match (self.engine.http.finish(), self.engine.connections.finish())
        {
            (Ok(http), Ok(connection)) => (http, connection),
            _ => {
                losses.push(("schema", events as u64));
                (None, None)
            }
        };
        Decoded {
            http,
            connection,
            losses,
        }
    }

    /// Advice for the kernel since the last call; what is out of date by now is left out.
    pub fn policies(&mut self) -> impl Iterator<Item = PolicyUpdate> + '_ {
        let connections = &self.connections;
        self.engine.policies.retain(|update| match update.policy {
            Policy::Off | Policy::SendAll => true,
            Policy::SkipUntil { sent, .. } => connections
                .get(&update.connection)
                .is_some_and(|conn| conn.streams[if sent { SENT } else { RECEIVED }].is_skipping()),
        });
        self.engine.policies.drain(..)
    }

    /// Events that [`HttpDecoder::take`] would return now.
    pub fn pending_events(&self) -> usize {
        self.engine.http.rows() + self.engine.connections.rows()
    }

    /// Connections remembered and requests open at the moment.
    pub fn open(&self) -> (usize, usize) {
        (self.connections.len(), self.engine.exchanges.open())
    }

    /// Bytes of memory that depend on what peers send: connections, heads, open requests, columns.
    pub fn memory_bytes(&self) -> usize {
        self.connections.len() * size_of::<Connection>()
            + self.engine.buffered
            + self.engine.exchanges.bytes()
            + self.engine.http.bytes()
    }

    /// Makes room for the connection of `record`; `false`: the record tells nothing.
    fn admit(&mut self, record: &Record) -> bool {
        if matches!(record.kind, kind::END | kind::CLOSE) {
            return false;
        }
        if self.connections.len() >= self.max_connections {
            self.evict();
        }
        self.connections.insert(
            record.connection,
            Box::new(Connection::new(record.connection, record.time_ns)),
        );
        true
    }

    /// Forgets the sixteenth of the connections that was idle longest.
    fn evict(&mut self) {
        let mut idle: Vec<(u64, u64)> = self
            .connections
            .iter()
            .map(|(&id, conn)| (conn.last_ns, id))
            .collect();
        let count = (idle.len() / 16).max(1);
        idle.select_nth_unstable(count - 1);
        for (_, id) in &idle[..count] {
            if let Some(mut conn) = self.connections.remove(id) {
                self.engine.losses.connections += u64::from(!conn.ignored);
                self.engine.drop_open(&mut conn);
                self.engine.forget(&mut conn);
            }
        }
    }

    /// The kernel names a thread only where it differs from the one of the record before.
    fn name_thread(&mut self, record: &mut Record) {
        if record.tid == 0 {
            return;
        }
        let known = &mut self.threads[record.tid as usize % REMEMBERED_THREADS];
        if record.comm[0] != 0 {
            *known = (record.tid, record.comm);
        } else if known.0 == record.tid {
            record.comm = known.1;
        }
    }

    fn close(&mut self, record: &Record) {
        if let Some(mut conn) = self.connections.remove(&record.connection) {
            self.engine.close(&mut conn, record);
        }
    }

    fn release_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.engine.waiting);
        for id in waiting {
            let Some(conn) = self.connections.get_mut(&id) else {
                continue;
            };
            conn.listed = false;
            self.engine.release(conn, self.engine.drain);
            match conn
                .pending_close
                .filter(|_| conn.close_drain < self.engine.drain)
            {
                Some(record) => self.close(&record),
                None if conn.has_held() || conn.pending_close.is_some() => self.engine.list(conn),
                None => {}
            }
        }
    }

    fn time_out(&mut self, now_ns: u64) {
        let engine = &mut self.engine;
        let mut next = now_ns
            .saturating_add(engine.correlation_timeout_ns / 4)
            .saturating_add(1);
        self.connections.retain(|_, conn| {
            if conn.ignored && conn.last_ns.saturating_add(IGNORED_IDLE_NS) < now_ns {
                return false;
            }
            next = next.min(engine.time_out(conn, now_ns).unwrap_or(u64::MAX));
            true
        });
        self.next_time_out_ns = next;
    }
}

/// A Unix socket's close is not told; the peer's end of stream with nothing open is as good.
fn is_closed_unix(conn: &Connection) -> bool {
    let received = &conn.streams[RECEIVED];
    conn.is_unix()
        && received.ended
        && !conn.has_held()
        && (conn.open.is_empty() || received.phase == Phase::Tunnel)
}
