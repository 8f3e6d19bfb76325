//! Translated expressions in the kernel: it accepts them all, and its judgement is libpcap's.

use std::collections::HashMap;
use std::ffi::{CStr, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libbpf_rs::libbpf_sys;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use universal_tracer_core::xdp::filter::{Filter, Hook, Instruction};

use crate::expressions::{PRIMITIVES, expression};
use crate::filter::views;
use crate::frames::frame;
use crate::libpcap;

const LOG_BYTES: usize = 1 << 20;

/// A program that is in the kernel as long as this lives.
struct Loaded(OwnedFd);

fn load(hook: Hook, body: &[Instruction]) -> Result<Loaded, String> {
    // the log is dear: it is asked for when there is something to read
    try_load(hook, body, 0).or_else(|_| try_load(hook, body, 1))
}

fn try_load(hook: Hook, body: &[Instruction], log_level: u32) -> Result<Loaded, String> {
    let bytes: Vec<u8> = body.iter().flat_map(|one| one.to_bytes()).collect();
    let mut log = vec![0_u8; LOG_BYTES * log_level as usize + 1];
    let mut options = libbpf_sys::bpf_prog_load_opts {
        sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as _,
        log_level,
        log_size: if log_level > 0 { LOG_BYTES as u32 } else { 0 },
        log_buf: if log_level > 0 {
            log.as_mut_ptr().cast()
        } else {
            std::ptr::null_mut()
        },
        ..Default::default()
    };
    let kind = match hook {
        Hook::Xdp => {
            options.prog_flags = libbpf_sys::BPF_F_XDP_HAS_FRAGS;
            options.expected_attach_type = libbpf_sys::BPF_XDP;
            libbpf_sys::BPF_PROG_TYPE_XDP
        }
        Hook::Tc => libbpf_sys::BPF_PROG_TYPE_SCHED_CLS,
    };
    // SAFETY: the instructions and the log are as long as is said.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            kind,
            c"filter".as_ptr(),
            c"GPL".as_ptr(),
            bytes.as_ptr().cast(),
            body.len() as _,
            &raw mut options,
        )
    };
    if fd < 0 {
        let said = CStr::from_bytes_until_nul(&log).unwrap().to_string_lossy();
        let lines: Vec<_> = said.lines().rev().take(12).collect();
        return Err(format!(
            "{fd}: {}",
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        ));
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(Loaded(unsafe { OwnedFd::from_raw_fd(fd) }))
}

impl Loaded {
    /// The program's result on a frame; `None` where the kernel does not take such a frame.
    fn run(&self, frame: &[u8]) -> Option<u32> {
        let mut options = libbpf_sys::bpf_test_run_opts {
            sz: size_of::<libbpf_sys::bpf_test_run_opts>() as _,
            data_in: frame.as_ptr().cast::<c_void>(),
            data_size_in: frame.len() as u32,
            repeat: 1,
            ..Default::default()
        };
        // SAFETY: the frame is as long as is said, and nothing is written back.
        let failed = unsafe {
            libbpf_sys::bpf_prog_test_run_opts(self.0.as_raw_fd(), &raw mut options) != 0
        };
        (!failed).then_some(options.retval)
    }
}

/// The body behind instructions that put a tag beside the bytes, as the kernel's own VLAN code does.
fn with_tag(body: &[Instruction], (protocol, control): (u16, u16)) -> Vec<Instruction> {
    let one = |code, destination, source, immediate| Instruction {
        code,
        destination,
        source,
        offset: 0,
        immediate,
    };
    let push = [
        one(0xbf, 6, 1, 0),
        one(0xb4, 2, 0, protocol.to_be().into()),
        one(0xb4, 3, 0, control.into()),
        one(0x85, 0, 0, 18),
        one(0xbf, 1, 6, 0),
    ];
    [push.as_slice(), body].concat()
}

fn may_load() -> bool {
    let nothing = Filter::compile("").unwrap();
    let loaded = load(Hook::Xdp, &nothing.translated(Hook::Xdp).unwrap());
    if let Err(said) = &loaded {
        assert!(said.starts_with("-1:"), "{said}");
        eprintln!("skipped: loading programs needs CAP_BPF and CAP_NET_ADMIN");
    }
    loaded.is_ok()
}

fn frames(runner: &mut TestRunner, count: usize) -> Vec<Vec<u8>> {
    let long = [vec![2; 12], vec![8, 0], vec![1; 9000]].concat();
    let made = (0..count).map(|_| frame().new_tree(runner).unwrap().current());
    made.filter(|frame| frame.len() > 14)
        .chain([long])
        .collect()
}

fn check(text: &str, frames: &[Vec<u8>]) -> usize {
    let Ok(filter) = Filter::compile(text) else {
        return 0;
    };
    let bodies = [Hook::Xdp, Hook::Tc].map(|hook| (hook, filter.translated(hook).unwrap()));
    let programs = bodies
        .each_ref()
        .map(|(hook, body)| load(*hook, body).unwrap_or_else(|said| panic!("{text:?}: {said}")));
    let mut tagged: HashMap<(u16, u16), Loaded> = HashMap::new();
    let mut judged = 0;
    for frame in frames {
        let expected = u32::from(libpcap::matches(filter.classic(), frame));
        for (hook, view) in views(frame, usize::MAX) {
            let result = match view.tag {
                Some(tag) => tagged
                    .entry(tag)
                    .or_insert_with(|| load(Hook::Tc, &with_tag(&bodies[1].1, tag)).unwrap())
                    .run(&view.bytes),
                None => programs[usize::from(hook == Hook::Tc)].run(&view.bytes),
            };
            assert!(
                result.is_none_or(|result| result == expected),
                "{text:?} at {hook:?} gives {result:?} on {view:02x?}"
            );
            judged += usize::from(result.is_some());
        }
    }
    judged
}

#[test]
fn the_kernel_takes_every_expression_and_judges_as_libpcap_does() {
    if !may_load() {
        return;
    }
    let mut runner = TestRunner::deterministic();
    let frames = frames(&mut runner, 60);
    let combined = (0..60).map(|_| expression().new_tree(&mut runner).unwrap().current());
    let texts: Vec<_> = PRIMITIVES
        .iter()
        .map(|&text| text.to_owned())
        .chain(combined)
        .collect();
    let judged: usize = texts.iter().map(|text| check(text, &frames)).sum();
    assert!(judged > texts.len() * frames.len(), "{judged}");
}

#[test]
fn the_kernel_takes_a_long_expression() {
    if !may_load() {
        return;
    }
    let hosts: Vec<_> = (0..600)
        .map(|last| format!("host 10.0.{}.{}", last / 200, last % 200))
        .collect();
    let mut runner = TestRunner::deterministic();
    assert!(check(&hosts.join(" or "), &frames(&mut runner, 10)) > 0);
}
