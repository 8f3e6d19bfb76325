//! The packet tracer: flows, interfaces and packets of network interfaces.
//!
//! [`session`] owns the programs of all interfaces; a thread of its own reads the flow table in place ([`table`],
//! [`flows`]) and the [`ledger`], and fills Arrow columns. [`filter`] translates pcap expressions, [`payload`] reads
//! what packets carry, [`capture`] writes them as pcapng.

mod attach;
pub mod capture;
mod choose;
mod clock;
mod clsact;
mod coexist;
mod collect;
pub mod filter;
mod flows;
mod guard;
pub mod interface;
mod ledger;
mod live;
mod load;
pub mod namespace;
mod owners;
mod packets;
pub mod payload;
pub mod records;
mod scope;
pub mod session;
pub mod settings;
mod skips;
mod sockets;
mod table;
pub mod trial;
mod watch;
