//! Builders of what packets and flows have: endpoints with a tunnel, lists of flags.

use std::sync::Arc;

use arrow_array::types::{UInt16Type, UInt32Type};
use arrow_array::{ArrayRef, StructArray};
use arrow_buffer::NullBufferBuilder;
use arrow_schema::{DataType, Field, Fields};

use super::builders::{NumberColumn, TextColumn, struct_array};
use super::table::{Column, ListColumn, struct_column};

/// A type and a code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs)]
pub struct IcmpRow {
    pub kind: u8,
    pub code: u8,
}

/// The flow within a tunnel.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct InnerRow<'a> {
    pub tunnel: &'a str,
    pub id: Option<u32>,
    pub addresses: Option<(&'a str, &'a str)>,
    pub ports: Option<(u16, u16)>,
    pub protocol: Option<u8>,
}

/// Who talks to whom: the contract's `flow`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct FlowKeyRow<'a> {
    pub source: &'a str,
    pub destination: &'a str,
    pub ports: Option<(u16, u16)>,
    pub protocol: u8,
    pub vlan: Option<u16>,
    pub inner_vlan: Option<u16>,
    pub icmp: Option<IcmpRow>,
    pub inner: Option<InnerRow<'a>>,
}

/// `Struct{source, destination, source_port, destination_port, protocol, vlan, inner_vlan, icmp, inner}`.
#[derive(Debug)]
pub(super) struct FlowKeyColumn {
    ends: AddressColumns,
    protocol: NumberColumn<UInt16Type>,
    vlan: NumberColumn<UInt16Type>,
    inner_vlan: NumberColumn<UInt16Type>,
    icmp: IcmpColumn,
    inner: InnerColumn,
    validity: NullBufferBuilder,
}

impl FlowKeyColumn {
    pub(super) fn new() -> Self {
        Self {
            ends: AddressColumns::new(),
            protocol: NumberColumn::new(),
            vlan: NumberColumn::new(),
            inner_vlan: NumberColumn::new(),
            icmp: IcmpColumn::empty(),
            inner: InnerColumn::new(),
            validity: NullBufferBuilder::new(0),
        }
    }

    pub(super) fn fields() -> Fields {
        let mut fields = AddressColumns::fields();
        fields.extend([
            Field::new("protocol", DataType::UInt16, true),
            Field::new("vlan", DataType::UInt16, true),
            Field::new("inner_vlan", DataType::UInt16, true),
            Field::new("icmp", IcmpColumn::data_type(), true),
            Field::new("inner", DataType::Struct(InnerColumn::fields()), true),
        ]);
        Fields::from(fields)
    }

    pub(super) fn push(&mut self, key: Option<&FlowKeyRow<'_>>) {
        self.ends.push(
            key.map(|key| (key.source, key.destination)),
            key.and_then(|key| key.ports),
        );
        self.protocol
            .push_option(key.map(|key| key.protocol.into()));
        self.vlan.push_option(key.and_then(|key| key.vlan));
        self.inner_vlan
            .push_option(key.and_then(|key| key.inner_vlan));
        self.icmp.push(key.and_then(|key| key.icmp));
        self.inner.push(key.and_then(|key| key.inner.as_ref()));
        self.validity.append(key.is_some());
    }

    pub(super) fn finish(&mut self) -> StructArray {
        let mut members = self.ends.finish();
        members.extend([
            Arc::new(self.protocol.finish()) as ArrayRef,
            Arc::new(self.vlan.finish()),
            Arc::new(self.inner_vlan.finish()),
            self.icmp.take(),
            Arc::new(self.inner.finish()),
        ]);
        let rows = members[0].len();
        struct_array(Self::fields(), members, &mut self.validity, rows)
    }
}

/// Source and destination, with ports.
#[derive(Debug)]
struct AddressColumns {
    source: TextColumn,
    destination: TextColumn,
    source_port: NumberColumn<UInt16Type>,
    destination_port: NumberColumn<UInt16Type>,
}

impl AddressColumns {
    fn new() -> Self {
        Self {
            source: TextColumn::new(),
            destination: TextColumn::new(),
            source_port: NumberColumn::new(),
            destination_port: NumberColumn::new(),
        }
    }

    fn fields() -> Vec<Field> {
        vec![
            Field::new("source", DataType::Utf8, true),
            Field::new("destination", DataType::Utf8, true),
            Field::new("source_port", DataType::UInt16, true),
            Field::new("destination_port", DataType::UInt16, true),
        ]
    }

    fn push(&mut self, addresses: Option<(&str, &str)>, ports: Option<(u16, u16)>) {
        self.source.push_option(addresses.map(|both| both.0));
        self.destination.push_option(addresses.map(|both| both.1));
        self.source_port.push_option(ports.map(|both| both.0));
        self.destination_port.push_option(ports.map(|both| both.1));
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.source.finish()),
            Arc::new(self.destination.finish()),
            Arc::new(self.source_port.finish()),
            Arc::new(self.destination_port.finish()),
        ]
    }
}

struct_column! {
    /// `Struct{type, code}`.
    IcmpColumn {
        kind as "type": NumberColumn<UInt16Type>,
        code: NumberColumn<UInt16Type>,
    }
}

impl IcmpColumn {
    fn push(&mut self, icmp: Option<IcmpRow>) {
        self.kind.push_option(icmp.map(|icmp| icmp.kind.into()));
        self.code.push_option(icmp.map(|icmp| icmp.code.into()));
        self.validity.append(icmp.is_some());
    }
}

#[derive(Debug)]
struct InnerColumn {
    tunnel: TextColumn,
    id: NumberColumn<UInt32Type>,
    ends: AddressColumns,
    protocol: NumberColumn<UInt16Type>,
    validity: NullBufferBuilder,
}

impl InnerColumn {
    fn new() -> Self {
        Self {
            tunnel: TextColumn::new(),
            id: NumberColumn::new(),
            ends: AddressColumns::new(),
            protocol: NumberColumn::new(),
            validity: NullBufferBuilder::new(0),
        }
    }

    fn fields() -> Fields {
        let mut fields = vec![
            Field::new("tunnel", DataType::Utf8, true),
            Field::new("id", DataType::UInt32, true),
        ];
        fields.extend(AddressColumns::fields());
        fields.push(Field::new("protocol", DataType::UInt16, true));
        Fields::from(fields)
    }

    fn push(&mut self, inner: Option<&InnerRow<'_>>) {
        self.tunnel.push_option(inner.map(|inner| inner.tunnel));
        self.id.push_option(inner.and_then(|inner| inner.id));
        self.ends.push(
            inner.and_then(|inner| inner.addresses),
            inner.and_then(|inner| inner.ports),
        );
        self.protocol
            .push_option(inner.and_then(|inner| inner.protocol.map(u16::from)));
        self.validity.append(inner.is_some());
    }

    fn finish(&mut self) -> StructArray {
        let mut members: Vec<ArrayRef> =
            vec![Arc::new(self.tunnel.finish()), Arc::new(self.id.finish())];
        members.extend(self.ends.finish());
        members.push(Arc::new(self.protocol.finish()));
        let rows = members[0].len();
        struct_array(Self::fields(), members, &mut self.validity, rows)
    }
}

/// `List<Utf8>`.
pub(super) type TextListColumn = ListColumn<TextColumn>;

impl TextListColumn {
    pub(super) fn push_texts<'a>(&mut self, texts: Option<impl IntoIterator<Item = &'a str>>) {
        self.push(texts, TextColumn::push);
    }
}

/// The names of TCP's flags, by bit.
const TCP_FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

/// Names in the order in which the contract lists them.
const TCP_FLAG_ORDER: [usize; 8] = [1, 4, 0, 2, 3, 5, 6, 7];

/// The flags that are set.
pub(super) fn tcp_flag_names(flags: u8) -> impl Iterator<Item = &'static str> {
    TCP_FLAG_ORDER
        .into_iter()
        .filter(move |bit| flags & (1 << bit) != 0)
        .map(|bit| TCP_FLAGS[bit])
}

#[cfg(test)]
mod tests {
    use super::tcp_flag_names;

    #[test]
    fn flags_have_names() {
        assert_eq!(tcp_flag_names(0x12).collect::<Vec<_>>(), ["syn", "ack"]);
        assert_eq!(tcp_flag_names(0xff).count(), 8);
    }
}
