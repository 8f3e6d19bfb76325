//! The kernel's functions and tracepoints, against `bpftool btf`.

use std::path::Path;

use universal_tracer_core::error::ErrorKind;
use universal_tracer_core::functions::{Location, Scope, Site, ValueType, list};

use super::support::{found, output, refused};

const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Names of a function's parameters, from `bpftool btf dump`, format raw.
fn parameters(dump: &str, function: &str) -> Vec<String> {
    let lines: Vec<&str> = dump.lines().collect();
    let head = format!("] FUNC '{function}' type_id=");
    let line = lines
        .iter()
        .find(|line| line.contains(&head))
        .expect("a function of the kernel");
    let prototype = line
        .split("type_id=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let begin = format!("[{}] FUNC_PROTO", prototype.expect("a number"));
    let at = lines
        .iter()
        .position(|line| line.starts_with(&begin))
        .expect("its prototype");
    let members = lines[at + 1..]
        .iter()
        .take_while(|line| line.starts_with('\t'));
    members
        .map(|line| line.split('\'').nth(1).expect("a name").to_owned())
        .collect()
}

#[test]
fn arguments_of_kernel_functions() {
    if !Path::new(BTF).exists() {
        println!("skipped: no {BTF}");
        return;
    }
    let Some(dump) = output("bpftool", &["btf", "dump", "file", BTF, "format", "raw"]) else {
        return;
    };
    for name in [
        "tcp_sendmsg",
        "vfs_read",
        "do_sys_openat2",
        "__alloc_skb",
        "ip_rcv",
    ] {
        let functions = found(&format!("k:{name}"));
        let [function] = functions.as_slice() else {
            panic!("{functions:?}")
        };
        let ours: Vec<_> = function
            .arguments
            .iter()
            .map(|argument| argument.name.clone().expect("a name"))
            .collect();
        assert_eq!(ours, parameters(&dump, name), "{name}");
        for (index, argument) in function.arguments.iter().enumerate() {
            assert_eq!(
                argument.location,
                Location::Parameter(index as u8),
                "{name}"
            );
        }
        assert!(function.result.is_some(), "{name}");
    }
}

#[test]
fn near_misses() {
    let error =
        list(&["k:tcp_sendmsgg".to_owned()], &Scope::default()).expect_err("one g too many");
    assert!(
        error.cause.contains("did you mean tcp_sendmsg?"),
        "{error:?}"
    );
    let error = refused("t:sched:sched_swicth");
    assert!(error.cause.contains("sched_switch?"), "{error:?}");
}

#[test]
fn a_kernel_without_kprobes_offers_tracepoints() {
    if Path::new("/sys/bus/event_source/devices/kprobe").exists() {
        let error = refused("k:*");
        assert_eq!(error.kind, ErrorKind::Usage);
        assert!(error.what.contains("1000 can be traced"), "{error:?}");
        return;
    }
    let error = refused("k:tcp_*");
    assert_eq!(error.kind, ErrorKind::Kernel);
    assert!(error.hint.contains("t:tcp:tcp_"), "{error:?}");
}

#[test]
fn tracepoints_have_fields_where_the_kernel_shows_them() {
    let functions = found("t:sched_switch");
    let [function] = functions.as_slice() else {
        panic!("{functions:?}")
    };
    let Site::Tracepoint { id, .. } = function.site else {
        panic!("{function:?}")
    };
    let names: Vec<_> = function
        .arguments
        .iter()
        .filter_map(|one| one.name.as_deref())
        .collect();
    if id.is_none() {
        // not root: as the kernel's types have it
        assert!(
            names.contains(&"prev") && names.contains(&"next"),
            "{names:?}"
        );
        return;
    }
    assert_eq!(function.name, "sched:sched_switch");
    for name in [
        "prev_comm",
        "prev_pid",
        "prev_state",
        "next_comm",
        "next_pid",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    let comm = &function.arguments[0];
    assert_eq!(comm.kind, ValueType::Characters { bytes: 16 });
    assert_eq!(comm.location, Location::Field { offset: 8 });
}

#[test]
fn nobody_mounts_anything() {
    let mounts = || std::fs::read_to_string("/proc/self/mounts").expect("procfs");
    let before = mounts();
    found("t:sched:*");
    assert_eq!(mounts(), before);
}
