//! Functions that can be traced, against what `readelf`, `nm`, Go's own tools and `bpftool` say of the same files.

mod golang;
mod hostile;
mod kernel;
mod support;
mod symbols;
mod usdt;
