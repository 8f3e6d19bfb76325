//! The perf events that take samples: one per CPU, by the CPU's clock.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use libbpf_rs::{Link, Object};

use crate::error::{Error, ErrorKind, Result};

const ONLINE_CPUS: &str = "/sys/devices/system/cpu/online";
const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_COUNT_SW_CPU_CLOCK: u64 = 0;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
pub(super) const ANY_PROCESS: libc::pid_t = -1;
const OWN_THREAD: libc::pid_t = 0;
const ANY_CPU: libc::c_int = -1;
const NO_GROUP: libc::c_int = -1;
/// Of the attribute's flags: `sample_freq` is a frequency.
const FLAG_FREQUENCY: u64 = 1 << 10;
/// Bytes of `struct perf_event_attr` that all kernels with BPF know (`PERF_ATTR_SIZE_VER5`).
const ATTRIBUTE_BYTES: u32 = 112;

/// The beginning of `struct perf_event_attr`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Attribute {
    pub(super) kind: u32,
    pub(super) size: u32,
    pub(super) config: u64,
    pub(super) sample_frequency: u64,
    pub(super) sample_type: u64,
    pub(super) read_format: u64,
    pub(super) flags: u64,
    /// `wakeup_events`, or bytes of the ring.
    pub(super) wakeup: u32,
    pub(super) rest: [u32; 10],
    pub(super) clock: i32,
    pub(super) last: [u32; 4],
}

const _: () = assert!(size_of::<Attribute>() == ATTRIBUTE_BYTES as usize);

/// Attaches `program` to the clock of every CPU that is online.
pub(crate) fn attach(object: &Object, program: &str, frequency_hz: u32) -> Result<Vec<Link>> {
    let mut links = Vec::new();
    for cpu in online_cpus()? {
        let event = open(ANY_PROCESS, cpu.cast_signed(), frequency_hz)
            .map_err(|error| not_opened(&format!("CPU {cpu}"), &error))?;
        links.push(link(object, program, event)?);
    }
    Ok(links)
}

/// Attaches `program` to the clock of the calling thread alone.
pub(crate) fn attach_to_own_thread(
    object: &Object,
    program: &str,
    frequency_hz: u32,
) -> Result<Link> {
    let event = open(OWN_THREAD, ANY_CPU, frequency_hz)
        .map_err(|error| not_opened("the own thread", &error))?;
    link(object, program, event)
}

fn link(object: &Object, program: &str, event: OwnedFd) -> Result<Link> {
    let what = "cannot attach the sampler";
    let missing = || Error::new(ErrorKind::Failed, what, "no such program in the object", "");
    let link = object
        .progs_mut()
        .find(|candidate| candidate.name() == program)
        .ok_or_else(missing)?
        .attach_perf_event(event.as_raw_fd())
        .map_err(|error| Error::from_bpf(what, &error, &crate::verifier_log::take()))?;
    // from now on the link owns the event, and closes it
    let _ = event.into_raw_fd();
    Ok(link)
}

fn open(process: libc::pid_t, cpu: libc::c_int, frequency_hz: u32) -> io::Result<OwnedFd> {
    let attribute = Attribute {
        config: PERF_COUNT_SW_CPU_CLOCK,
        sample_frequency: frequency_hz.into(),
        flags: FLAG_FREQUENCY,
        ..Attribute::default()
    };
    open_event(&attribute, process, cpu)
}

/// The event of a tracepoint, by the number that tracefs tells; programs on it see what happens on every CPU.
pub(crate) fn open_tracepoint(id: u64) -> io::Result<OwnedFd> {
    let attribute = Attribute {
        kind: PERF_TYPE_TRACEPOINT,
        config: id,
        sample_frequency: 1,
        ..Attribute::default()
    };
    open_any(attribute, ANY_PROCESS, 0)
}

/// Opens a software event.
pub(super) fn open_event(
    attribute: &Attribute,
    process: libc::pid_t,
    cpu: libc::c_int,
) -> io::Result<OwnedFd> {
    let attribute = Attribute {
        kind: PERF_TYPE_SOFTWARE,
        ..*attribute
    };
    open_any(attribute, process, cpu)
}

fn open_any(
    mut attribute: Attribute,
    process: libc::pid_t,
    cpu: libc::c_int,
) -> io::Result<OwnedFd> {
    attribute.size = ATTRIBUTE_BYTES;
    // SAFETY: the attribute is as long as its `size` says and outlives the call.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attribute,
            process,
            cpu,
            NO_GROUP,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    match libc::c_int::try_from(descriptor) {
        // SAFETY: the call has just made this descriptor, nobody else owns it.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn not_opened(what: &str, error: &io::Error) -> Error {
    let what = format!("cannot sample {what}");
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => Error::new(
            ErrorKind::Privilege,
            what,
            error,
            "run as root, or with CAP_BPF and CAP_PERFMON",
        ),
        Some(libc::EINVAL) => Error::new(
            ErrorKind::Kernel,
            what,
            "more samples a second than kernel.perf_event_max_sample_rate allows",
            "sysctl kernel.perf_event_max_sample_rate shows the limit; a lower --stack-sampling-frequency keeps it",
        ),
        _ => Error::new(
            ErrorKind::Kernel,
            what,
            error,
            "boot a kernel built with CONFIG_PERF_EVENTS=y",
        ),
    }
}

pub(super) fn online_cpus() -> Result<Vec<u32>> {
    let text = fs::read_to_string(ONLINE_CPUS).map_err(|error| {
        Error::new(
            ErrorKind::Failed,
            "cannot tell which CPUs there are",
            format!("{ONLINE_CPUS}: {error}"),
            "mount -t sysfs sysfs /sys",
        )
    })?;
    Ok(parse_cpu_list(&text))
}

/// `0-3,5` → 0, 1, 2, 3, 5.
fn parse_cpu_list(text: &str) -> Vec<u32> {
    text.trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse_cpu_list;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(parse_cpu_list("0-3,5\n"), [0, 1, 2, 3, 5]);
        assert_eq!(parse_cpu_list("7"), [7]);
        assert_eq!(parse_cpu_list("what"), [0; 0]);
    }
}
