//! Functions that can be traced, against what `readelf`, `nm`, Go's own tools and `bpftool` say of the same files.

#[cfg(target_arch = "x86_64")]
mod arguments;
mod golang;
#[cfg(target_arch = "x86_64")]
mod hostile;
mod kernel;
mod support;
mod symbols;
mod usdt;
