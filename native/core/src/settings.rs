//! What a run of the HTTP tracer is asked to do, and its kernel half.

use crate::decode::DecodeSettings;
use crate::local_addresses::LocalAddress;
pub use crate::object::{CgroupId, Filter};
use crate::records::c_struct;

/// Largest `max_payload_size`: CAPTURE_LIMIT of `bpf/http_tracer.bpf.c`.
pub const CAPTURE_LIMIT: u32 = 4096;
/// Bytes of a message's head that are copied at most, per direction.
pub const HEAD_LIMIT: u32 = 64 * 1024;

/// Settings of an HTTP session.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The object file made from `bpf/http_tracer.bpf.c`.
    pub object_path: std::path::PathBuf,
    pub filter: Filter,
    /// Trace only connections with one of these; `None`: whatever their address.
    pub local_addresses: Option<Vec<LocalAddress>>,
    /// The network namespace (its inode) whose interfaces have these addresses.
    pub net_namespace: u32,
    /// Bytes per record, at most [`CAPTURE_LIMIT`].
    pub max_payload_size: u32,
    /// Share of requests to record, 0..=1.
    pub sampling_rate: f64,
    /// Size of the ring in bytes, a power of two.
    pub ring_bytes: u32,
    /// Processor time that the tracer may take, in percent of one processor; `None`: what it needs.
    pub cpu_percent: Option<f64>,
    pub decode: DecodeSettings,
}

c_struct! {
    /// `struct http_settings` of `bpf/http_tracer.bpf.c`.
    KernelSettings as "http_settings" {
        self_pid: u32,
        filter: u8,
        has_names: u8,
        by_interface: u8,
        reserved: u8,
        capture_bytes: u32,
        head_bytes: u32,
        sample_below: u64,
        ring_bytes: u64,
        net_namespace: u32,
        reserved_too: u32,
    }
}

impl KernelSettings {
    pub(crate) fn new(settings: &HttpSettings) -> Self {
        Self {
            self_pid: settings.filter.self_pid,
            filter: settings.filter.enabled.into(),
            has_names: (!settings.filter.names.is_empty()).into(),
            by_interface: settings.local_addresses.is_some().into(),
            reserved: 0,
            capture_bytes: settings.max_payload_size.min(CAPTURE_LIMIT),
            head_bytes: HEAD_LIMIT,
            sample_below: sample_below(settings.sampling_rate),
            ring_bytes: settings.ring_bytes.into(),
            net_namespace: settings.net_namespace,
            reserved_too: 0,
        }
    }
}

/// The bound below which 32 random bits must be for a request to be recorded.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the product lies in 0..=2^32"
)]
fn sample_below(rate: f64) -> u64 {
    (rate.clamp(0.0, 1.0) * 4_294_967_296.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::sample_below;

    #[test]
    fn a_rate_of_one_records_everything() {
        assert_eq!(sample_below(1.0), 1 << 32);
        assert_eq!(sample_below(0.0), 0);
        assert_eq!(sample_below(0.5), 1 << 31);
    }
}
