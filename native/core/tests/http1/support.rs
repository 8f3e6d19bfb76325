//! Builds records as the kernel sends them, and reads events back from the columns.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use universal_tracer_core::decode::{DecodeSettings, Decoded, HttpDecoder, PolicyUpdate};
use universal_tracer_core::records::{Endpoints, Record, family, flag, kind};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const UNIX_OFFSET_NS: i64 = 1_795_437_296_000_000_000;
pub(crate) const FIRST_SENT: u32 = 0xffff_ff00;
pub(crate) const FIRST_RECEIVED: u32 = 1000;

/// Whose bytes: a record's direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    In,
    Out,
}

/// A connection as the kernel would tell it: sequences and time go on by themselves.
pub(crate) struct Socket {
    pub(crate) decoder: HttpDecoder,
    pub(crate) id: u64,
    pub(crate) now_ns: u64,
    pub(crate) next: [u32; 2],
    pub(crate) tid: u32,
    flags: u16,
}

impl Socket {
    pub(crate) fn new(settings: DecodeSettings) -> Self {
        let mut decoder = HttpDecoder::new(settings);
        decoder.set_clock_offset(UNIX_OFFSET_NS);
        Self {
            decoder,
            id: 7,
            now_ns: 1000 * MS,
            next: [FIRST_RECEIVED, FIRST_SENT],
            tid: 43,
            flags: 0,
        }
    }

    /// A server's end, opened at 1000 ms.
    pub(crate) fn server() -> Self {
        Self::opened(flag::SERVER)
    }

    /// A client's end.
    pub(crate) fn client() -> Self {
        Self::opened(flag::CLIENT)
    }

    /// Older than the tracer.
    pub(crate) fn late() -> Self {
        Self::opened(flag::LATE)
    }

    pub(crate) fn opened(flags: u16) -> Self {
        let mut socket = Self::new(DecodeSettings::default());
        socket.open(flags);
        socket
    }

    pub(crate) fn open(&mut self, flags: u16) {
        let opened_ns = if flags & flag::LATE != 0 {
            0
        } else {
            self.now_ns
        };
        self.open_with(flags, &tcp_endpoints(opened_ns));
    }

    pub(crate) fn open_with(&mut self, flags: u16, endpoints: &Endpoints) {
        let record = self.make(kind::OPEN, flags, 0, 0);
        self.push(record, &endpoints.to_bytes());
    }

    /// Flags that the next record carries.
    pub(crate) fn flag(&mut self, flags: u16) -> &mut Self {
        self.flags = flags;
        self
    }

    pub(crate) fn wait(&mut self, milliseconds: u64) -> &mut Self {
        self.now_ns += milliseconds * MS;
        self
    }

    /// An operation, captured whole; one millisecond after the one before.
    pub(crate) fn op(&mut self, way: Way, bytes: impl AsRef<[u8]>) -> &mut Self {
        let length = bytes.as_ref().len();
        self.op_captured(way, bytes, length)
    }

    /// An operation of which only the first `captured` bytes were copied.
    pub(crate) fn op_captured(
        &mut self,
        way: Way,
        bytes: impl AsRef<[u8]>,
        captured: usize,
    ) -> &mut Self {
        let record = self.make_op(way, bytes.as_ref().len());
        self.push(record, &bytes.as_ref()[..captured]);
        self
    }

    /// An operation of `length` bytes of which none was copied.
    pub(crate) fn op_unseen(&mut self, way: Way, length: usize) -> &mut Self {
        let record = self.make_op(way, length);
        self.push(record, &[]);
        self
    }

    /// An operation whose record is lost.
    pub(crate) fn op_lost(&mut self, way: Way, length: usize) -> &mut Self {
        self.make_op(way, length);
        self
    }

    /// The record of an operation, to be pushed later.
    pub(crate) fn make_op(&mut self, way: Way, length: usize) -> Record {
        self.now_ns += MS;
        let dir = usize::from(way == Way::Out);
        let flags = std::mem::take(&mut self.flags) | if way == Way::Out { flag::SENT } else { 0 };
        let record = self.make(kind::DATA, flags, self.next[dir], length as u32);
        self.next[dir] = self.next[dir].wrapping_add(length as u32);
        record
    }

    pub(crate) fn end(&mut self, way: Way) -> &mut Self {
        self.now_ns += MS;
        let dir = usize::from(way == Way::Out);
        let flags = std::mem::take(&mut self.flags) | if way == Way::Out { flag::SENT } else { 0 };
        let record = self.make(kind::END, flags, self.next[dir], 0);
        self.push(record, &[]);
        self
    }

    pub(crate) fn close(&mut self, flags: u16) -> &mut Self {
        self.now_ns += MS;
        let record = self.make(kind::CLOSE, flags, self.next[1], self.next[0]);
        self.push(record, &[]);
        self
    }

    pub(crate) fn make(&self, kind: u16, flags: u16, sequence: u32, length: u32) -> Record {
        let mut comm = [0; 16];
        comm[..6].copy_from_slice(b"worker");
        Record {
            time_ns: self.now_ns,
            connection: self.id,
            pid: 42,
            tid: self.tid,
            sequence,
            length,
            captured: 0,
            rtt_us: 150,
            retransmits: 2,
            kind,
            flags,
            comm,
        }
    }

    pub(crate) fn push(&mut self, mut record: Record, payload: &[u8]) {
        record.captured = payload.len() as u32;
        let mut bytes = record.to_bytes();
        bytes.extend_from_slice(payload);
        self.decoder.record(&bytes);
    }

    /// Ends a drain.
    pub(crate) fn advance(&mut self) -> &mut Self {
        self.decoder.advance(self.now_ns);
        self
    }

    pub(crate) fn policies(&mut self) -> Vec<PolicyUpdate> {
        self.decoder.policies().collect()
    }

    pub(crate) fn http(&mut self) -> Vec<Row> {
        self.take().http
    }

    pub(crate) fn take(&mut self) -> Taken {
        let Decoded {
            http,
            connection,
            losses,
        } = self.decoder.take();
        Taken {
            http: rows(http),
            connection: rows(connection),
            losses,
        }
    }
}

pub(crate) struct Taken {
    pub(crate) http: Vec<Row>,
    pub(crate) connection: Vec<Row>,
    pub(crate) losses: Vec<(&'static str, u64)>,
}

pub(crate) fn tcp_endpoints(opened_ns: u64) -> Endpoints {
    let mut path = [0; 112];
    path[..4].copy_from_slice(&[127, 0, 0, 1]);
    path[16..20].copy_from_slice(&[10, 1, 2, 3]);
    Endpoints {
        opened_ns,
        cgroup: 0,
        netns: 1,
        family: family::INET,
        local_port: 8080,
        peer_port: 50_000,
        path_length: 0,
        reserved: 0,
        path,
    }
}

/// An event: column → value as text; nulls are left out, lists and structs are written out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Row(pub(crate) BTreeMap<String, String>);

impl Row {
    /// `-` for null.
    pub(crate) fn get(&self, column: &str) -> &str {
        self.0.get(column).map_or("-", String::as_str)
    }

    pub(crate) fn number(&self, column: &str) -> f64 {
        self.get(column).parse().expect("a number")
    }

    /// The columns named, blank-separated, as one text.
    pub(crate) fn some(&self, columns: &str) -> String {
        columns
            .split(' ')
            .map(|column| self.get(column))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

pub(crate) fn rows(batch: Option<RecordBatch>) -> Vec<Row> {
    let Some(batch) = batch else {
        return Vec::new();
    };
    let schema = batch.schema();
    (0..batch.num_rows())
        .map(|row| {
            let columns = schema.fields().iter().zip(batch.columns());
            Row(columns
                .filter(|(_, column)| !column.is_null(row))
                .map(|(field, column)| (field.name().clone(), text(column.as_ref(), row)))
                .collect())
        })
        .collect()
}

pub(crate) fn text(column: &dyn Array, row: usize) -> String {
    if column.is_null(row) {
        return "-".to_owned();
    }
    match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(row).to_string(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(row).to_string(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).to_string(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).to_string(),
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Struct(_) => {
            let members: Vec<String> = column
                .as_struct()
                .columns()
                .iter()
                .map(|member| text(member.as_ref(), row))
                .collect();
            members.join("|")
        }
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            (0..items.len())
                .map(|item| text(items.as_ref(), item))
                .collect::<Vec<_>>()
                .join("; ")
        }
        other => panic!("no text for {other}"),
    }
}

/// Method, path, status and error of each event, for tables.
pub(crate) fn brief(rows: &[Row]) -> Vec<String> {
    rows.iter()
        .map(|row| row.some("method path status error"))
        .collect()
}

/// A request without body.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// An answer with a body of known length.
pub(crate) fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
