//! Events as Arrow columns: what leaves the core.
//!
//! [`HttpColumns`] and [`ConnectionColumns`] take one row at a time, borrowed, and give an
//! Arrow record batch per tick. Names and types are the contract's; the Python side adds the
//! columns that only it can know (`type`, `host`, `service`, `container`, `tls`, `breakdown`).

mod builders;
mod calls;
mod connection;
mod flow;
mod function;
mod http;
mod interface;
mod live;
mod network;
mod packet;
mod profile;
mod table;
mod time;
mod traffic;

pub(crate) use builders::ascii_text;
pub use builders::{EndpointRow, HeaderFields, TcpRow};
pub use calls::{CallsRow, calls_table};
pub use connection::{ConnectionColumns, ConnectionRow};
pub use flow::{FlowColumns, FlowRow, FlowTcpRow};
pub use function::{ArgumentRow, FunctionColumns, FunctionRow};
pub use http::{HttpColumns, HttpRow};
pub use interface::{InterfaceColumns, InterfaceRow, LedgerRow, ProtocolRow};
pub use live::{FlowRates, Rates, Talkers};
pub use network::{FlowKeyRow, IcmpRow, InnerRow};
pub use packet::{PacketColumns, PacketRow};
pub use profile::{ProfileColumns, ProfileRow};
pub use traffic::{TrafficRow, traffic_table};
