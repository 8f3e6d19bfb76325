//! A Python dict of settings as the core's struct; keys are documented in `_native.pyi`.

use std::time::Duration;

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use universal_tracer_core::decode::limits::Budgets;
use universal_tracer_core::decode::{DecodeSettings, PrivacySettings};
use universal_tracer_core::functions::Scope;
use universal_tracer_core::local_addresses::LocalAddress;
use universal_tracer_core::settings::{CgroupId, Filter, HttpSettings};
use universal_tracer_core::stack::StackSettings;
use universal_tracer_core::xdp::settings::{Mode, XdpSettings};

pub(crate) fn get<T>(dict: &Bound<'_, PyDict>, key: &str) -> PyResult<T>
where
    T: for<'a, 'py> FromPyObject<'a, 'py, Error = PyErr>,
{
    item(dict, key)?.extract()
}

pub(crate) fn item<'py>(dict: &Bound<'py, PyDict>, key: &str) -> PyResult<Bound<'py, PyAny>> {
    dict.get_item(key)?
        .ok_or_else(|| PyKeyError::new_err(key.to_owned()))
}

pub(crate) fn http_settings(dict: &Bound<'_, PyDict>) -> PyResult<HttpSettings> {
    Ok(HttpSettings {
        object_path: get(dict, "object_path")?,
        filter: filter(dict)?,
        local_addresses: get::<Option<Vec<AddressTuple>>>(dict, "local_addresses")?
            .map(local_addresses),
        net_namespace: get(dict, "net_namespace")?,
        max_payload_size: get(dict, "max_payload_size")?,
        sampling_rate: get(dict, "sampling_rate")?,
        ring_bytes: get(dict, "ring_bytes")?,
        cpu_percent: get(dict, "cpu_percent")?,
        decode: decode_settings(dict)?,
    })
}

/// (index of the interface, address, prefix length).
pub(crate) type AddressTuple = (u32, [u8; 16], u8);

pub(crate) fn local_addresses(tuples: Vec<AddressTuple>) -> Vec<LocalAddress> {
    tuples
        .into_iter()
        .map(|(interface, address, prefix_length)| LocalAddress {
            interface,
            address,
            prefix_length,
        })
        .collect()
}

pub(crate) fn stack_settings(dict: &Bound<'_, PyDict>) -> PyResult<StackSettings> {
    Ok(StackSettings {
        object_path: get(dict, "object_path")?,
        filter: filter(dict)?,
        samples: get(dict, "samples")?,
        frequency_hz: get(dict, "frequency_hz")?,
        functions: get(dict, "functions")?,
        scope: Scope {
            pids: get(dict, "scope_pids")?,
            program: get(dict, "program")?,
        },
        call_events: get(dict, "call_events")?,
        kernel_stacks: get(dict, "kernel_stacks")?,
        user_stacks: get(dict, "user_stacks")?,
        mixed_stacks: get(dict, "mixed_stacks")?,
        by_tables: get(dict, "by_tables")?,
        off_cpu: get(dict, "off_cpu")?,
        max_depth: get(dict, "max_depth")?,
        stacks_held: get(dict, "stacks_held")?,
        interval: Duration::from_nanos(get(dict, "interval_ns")?),
        keep: get::<Option<u64>>(dict, "keep_ns")?.map(Duration::from_nanos),
        ring_bytes: get(dict, "ring_bytes")?,
        call_ring_bytes: get(dict, "call_ring_bytes")?,
        privacy: privacy_settings(item(dict, "privacy")?.cast::<PyDict>()?)?,
    })
}

pub(crate) fn xdp_settings(dict: &Bound<'_, PyDict>) -> PyResult<XdpSettings> {
    let mode: Option<String> = get(dict, "mode")?;
    let nanoseconds = |key| get::<u64>(dict, key).map(Duration::from_nanos);
    Ok(XdpSettings {
        object_path: get(dict, "object_path")?,
        interfaces: get(dict, "interfaces")?,
        processes: get(dict, "processes")?,
        waits: get(dict, "waits")?,
        mode: mode.map(|name| {
            if name == "native" {
                Mode::Native
            } else {
                Mode::Generic
            }
        }),
        egress: get(dict, "egress")?,
        flow_table_size: get(dict, "flow_table_size")?,
        flow_timeout: nanoseconds("flow_timeout_ns")?,
        sampling: get(dict, "sampling")?,
        filter: filter(dict)?,
        expression: get(dict, "expression")?,
        detect_payload: get(dict, "detect_payload")?,
        track_flows: get(dict, "track_flows")?,
        packet_events: get(dict, "packet_events")?,
        capture_bytes: get(dict, "capture_bytes")?,
        privacy: privacy_settings(item(dict, "privacy")?.cast::<PyDict>()?)?,
        is_watched: get(dict, "is_watched")?,
        interval: nanoseconds("interval_ns")?,
        ring_bytes: get(dict, "ring_bytes")?,
    })
}

/// Whom to trace: the same keys for every tracer.
pub(crate) fn filter(dict: &Bound<'_, PyDict>) -> PyResult<Filter> {
    Ok(Filter {
        self_pid: get(dict, "self_pid")?,
        enabled: get(dict, "filter")?,
        pids: get(dict, "pids")?,
        cgroups: get::<Vec<(u32, u64)>>(dict, "cgroups")?
            .into_iter()
            .map(|(hierarchy, id)| CgroupId { hierarchy, id })
            .collect(),
        names: get(dict, "names")?,
    })
}

fn decode_settings(dict: &Bound<'_, PyDict>) -> PyResult<DecodeSettings> {
    Ok(DecodeSettings {
        correlation_timeout_ns: get(dict, "correlation_timeout_ns")?,
        correlation_table_size: get(dict, "correlation_table_size")?,
        privacy: privacy_settings(item(dict, "privacy")?.cast::<PyDict>()?)?,
        budgets: Budgets::within(get(dict, "memory_bytes")?),
        ..DecodeSettings::default()
    })
}

pub(crate) fn privacy_settings(dict: &Bound<'_, PyDict>) -> PyResult<PrivacySettings> {
    Ok(PrivacySettings {
        enable_pii_filtering: get(dict, "enable_pii_filtering")?,
        mask_sensitive_headers: get(dict, "mask_sensitive_headers")?,
        exclude_patterns: get(dict, "exclude_patterns")?,
        max_payload_capture: get(dict, "max_payload_capture")?,
    })
}
