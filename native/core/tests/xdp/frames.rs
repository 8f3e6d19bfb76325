//! Frames of all kinds, made of a few addresses and ports, so that expressions find some.

use proptest::prelude::*;

pub(crate) const HOSTS: [[u8; 4]; 4] = [
    [10, 0, 0, 1],
    [10, 0, 0, 2],
    [192, 168, 1, 77],
    [224, 0, 0, 251],
];
pub(crate) const PORTS: [u16; 5] = [53, 80, 443, 8080, 40_000];
pub(crate) const VLANS: [u16; 3] = [1, 5, 100];

fn ports() -> impl Strategy<Value = u16> {
    prop::sample::select(PORTS.to_vec())
}

fn tcp() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (ports(), ports(), any::<u8>(), 5_u8..=15).prop_map(|(source, destination, flags, words)| {
        let mut header = vec![0; usize::from(words) * 4];
        header[..2].copy_from_slice(&source.to_be_bytes());
        header[2..4].copy_from_slice(&destination.to_be_bytes());
        header[12] = words << 4;
        header[13] = flags;
        (6, header)
    })
}

fn udp() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (ports(), ports()).prop_map(|(source, destination)| {
        let ports = [source.to_be_bytes(), destination.to_be_bytes()].concat();
        (17, [ports, vec![0, 8, 0, 0]].concat())
    })
}

fn other() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let numbers = prop::sample::select(vec![1_u8, 47, 50, 58, 132]);
    (numbers, prop::collection::vec(any::<u8>(), 8..24))
}

fn transport() -> impl Strategy<Value = (u8, Vec<u8>)> {
    prop_oneof![3 => tcp(), 2 => udp(), 1 => other()]
}

fn host() -> impl Strategy<Value = [u8; 4]> {
    prop::sample::select(HOSTS.to_vec())
}

fn ipv4() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let fragment = prop_oneof![5 => Just(0_u16), 1 => Just(0x2000), 1 => Just(185)];
    (host(), host(), transport(), 5_u8..=8, fragment).prop_map(
        |(source, destination, (protocol, body), words, fragment)| {
            let mut header = vec![0; usize::from(words) * 4];
            header[0] = 0x40 | words;
            let length = (header.len() + body.len()) as u16;
            header[2..4].copy_from_slice(&length.to_be_bytes());
            header[6..8].copy_from_slice(&fragment.to_be_bytes());
            (header[8], header[9]) = (64, protocol);
            header[12..16].copy_from_slice(&source);
            header[16..20].copy_from_slice(&destination);
            (0x0800, [header, body].concat())
        },
    )
}

fn ipv6() -> impl Strategy<Value = (u16, Vec<u8>)> {
    (0_u8..3, 0_u8..3, transport()).prop_map(|(source, destination, (protocol, body))| {
        let mut header = vec![0; 40];
        header[0] = 0x60;
        header[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
        (header[6], header[7]) = (protocol, 64);
        header[8..11].copy_from_slice(&[0x20, 0x01, 0x0d]);
        header[23] = source;
        header[24..27].copy_from_slice(&[0x20, 0x01, 0x0d]);
        header[39] = destination;
        (0x86dd, [header, body].concat())
    })
}

fn arp() -> impl Strategy<Value = (u16, Vec<u8>)> {
    (host(), host()).prop_map(|(source, destination)| {
        let mut body = vec![0, 1, 8, 0, 6, 4, 0, 1];
        body.extend([2; 6]);
        body.extend(source);
        body.extend([0; 6]);
        body.extend(destination);
        (0x0806, body)
    })
}

fn anything() -> impl Strategy<Value = (u16, Vec<u8>)> {
    (any::<u16>(), prop::collection::vec(any::<u8>(), 0..80))
}

fn mpls() -> impl Strategy<Value = (u16, Vec<u8>)> {
    (0_u32..3, ipv4()).prop_map(|(label, (_, body))| {
        let label = ((label + 16) << 12) | 0x100 | 64;
        (0x8847, [label.to_be_bytes().to_vec(), body].concat())
    })
}

fn tags() -> impl Strategy<Value = Vec<(u16, u16)>> {
    let tag = (
        prop::sample::select(vec![0x8100_u16, 0x88a8, 0x9100]),
        prop::sample::select(VLANS.to_vec()),
    );
    prop::collection::vec(tag, 0..3)
}

/// A whole frame as it is on the wire, sometimes cut short.
pub(crate) fn frame() -> impl Strategy<Value = Vec<u8>> {
    let network = prop_oneof![5 => ipv4(), 3 => ipv6(), 1 => arp(), 1 => mpls(), 1 => anything()];
    let payload = prop::collection::vec(any::<u8>(), 0..64);
    let cut = prop_oneof![4 => Just(usize::MAX), 1 => 14_usize..70];
    (tags(), network, payload, any::<[u8; 12]>(), 0_u8..4, cut).prop_map(
        |(tags, (kind, body), payload, mut addresses, cast, cut)| {
            match cast {
                0 => addresses[..6].fill(0xff),
                1 => addresses[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]),
                _ => {}
            }
            let mut frame = addresses.to_vec();
            for (protocol, identifier) in tags {
                frame.extend(protocol.to_be_bytes());
                frame.extend(identifier.to_be_bytes());
            }
            frame.extend(kind.to_be_bytes());
            frame.extend(body);
            frame.extend(payload);
            frame.truncate(cut);
            frame
        },
    )
}
