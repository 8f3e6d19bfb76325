//! Translated expressions against libpcap's own judgement, on the same frames.

use proptest::prelude::*;
use universal_tracer_core::error::ErrorKind;
use universal_tracer_core::xdp::filter::{Filter, Hook};

use crate::expressions::{PRIMITIVES, expression};
use crate::frames::frame;
use crate::libpcap;
use crate::machine::{Frame, Machine};

/// The frame as each hook may see it; `linear` bytes of it lie in one piece.
pub(crate) fn views(frame: &[u8], linear: usize) -> Vec<(Hook, Frame)> {
    let in_one_piece = |bytes: &[u8], tag| Frame {
        bytes: bytes.to_vec(),
        linear: linear.min(bytes.len()),
        tag,
    };
    let mut views = vec![
        (Hook::Xdp, in_one_piece(frame, None)),
        (Hook::Tc, in_one_piece(frame, None)),
    ];
    if let [addresses @ .., _, _, _, _] = frame.get(..16).unwrap_or_default() {
        let number = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        if [0x8100, 0x88a8].contains(&number(12)) && frame.len() >= 18 {
            let rest = [addresses, &frame[16..]].concat();
            let tag = Some((number(12), number(14)));
            views.push((Hook::Tc, in_one_piece(&rest, tag)));
        }
    }
    views
}

/// `None` for what libpcap refuses, such as an expression that no frame can match.
fn compile(expression: &str) -> Option<Filter> {
    Filter::compile(expression).ok()
}

fn check(filter: &Filter, frame: &[u8], linear: usize) -> Result<(), TestCaseError> {
    let expected = libpcap::matches(filter.classic(), frame);
    for (hook, view) in views(frame, linear) {
        let body = filter.translated(hook).unwrap();
        let result = Machine::new(hook, &view).run(&body);
        prop_assert_eq!(
            result,
            u64::from(expected),
            "{:?} at {:?} on {:02x?}",
            filter.expression(),
            hook,
            view
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn every_primitive_judges_as_libpcap_does(frame in frame(), linear in 14_usize..200) {
        for text in PRIMITIVES {
            if let Some(filter) = compile(text) {
                check(&filter, &frame, linear)?;
            }
        }
    }

    #[test]
    fn combinations_judge_as_libpcap_does(
        text in expression(),
        frames in prop::collection::vec((frame(), 14_usize..200), 20),
    ) {
        if let Some(filter) = compile(&text) {
            for (frame, linear) in frames {
                check(&filter, &frame, linear)?;
            }
        }
    }

    #[test]
    fn any_text_is_compiled_or_refused(text in "[ -~]{0,40}") {
        if let Err(error) = Filter::compile(&text.replace(char::is_alphabetic, "x")) {
            prop_assert_eq!(error.kind, ErrorKind::Usage);
        }
    }
}

#[test]
fn only_what_cannot_be_is_refused() {
    let refused: Vec<_> = PRIMITIVES
        .iter()
        .filter_map(|text| Some((*text, Filter::compile(text).err()?.cause)))
        .collect();
    // no netmask is known, a gateway needs names of hosts, and the kernel has no loops
    let expected = [
        "ip6 protochain 6",
        "ip broadcast or ip multicast",
        "gateway 10.0.0.1",
    ];
    assert_eq!(
        refused.iter().map(|(text, _)| *text).collect::<Vec<_>>(),
        expected,
        "{refused:?}"
    );
    assert_eq!(
        refused[0].1,
        "protochain follows a chain of headers of any length"
    );
}

#[test]
fn faults_are_told_with_their_place() {
    for (expression, cause) in [
        ("tcp prot 80", "syntax error at \"prot\", character 5"),
        (
            "tcp port 80 andd host 1.2.3.4",
            "syntax error at \"andd\", character 13",
        ),
        ("tcp port 80 and", "syntax error at the end of it"),
        ("host 1.2.3.4 and (port 80", "syntax error at the end of it"),
        ("tcp port 80)", "syntax error at \")\", character 12"),
        (
            "port 99999",
            "illegal port number 99999 > 65535 at \"99999\", character 6",
        ),
        ("ip and ip6", "expression rejects all packets"),
    ] {
        let error = Filter::compile(expression).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage);
        assert_eq!(error.cause, cause, "{expression}");
    }
}

#[test]
fn an_expression_that_does_not_fit_is_refused() {
    for parts in [700, 40_000] {
        let loads: Vec<_> = (0..parts).map(|at| format!("ether[{at}]=1")).collect();
        let error = Filter::compile(&loads.join(" or ")).unwrap_err();
        assert_eq!(error.what, "the filter expression is too long");
        assert_eq!(error.kind, ErrorKind::Usage);
    }
}
