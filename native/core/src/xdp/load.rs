//! Loading the packets' programs: once per interface, with its constants; all of them share the maps.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle, Object, OpenObject, libbpf_sys};

use super::filter::Filter;
use super::records::KernelSettings;
use super::settings::XdpSettings;
use super::skips::skips;
use crate::error::{Error, ErrorKind, Result};
use crate::object;
use crate::verifier_log;

pub(crate) const WHAT: &str = "cannot load the packet tracer into the kernel";

/// Programs of the object.
pub(crate) const INGRESS_XDP: &str = "handle_ingress";
pub(crate) const INGRESS_TC: &str = "handle_tc_ingress";
pub(crate) const EGRESS_TC: &str = "handle_tc_egress";
pub(crate) const READ_CLOCK: &str = "read_clock";

/// The object file, and the maps that all loads of it have in common.
pub(crate) struct Loader {
    bytes: Vec<u8>,
    sizes: Vec<(&'static str, u32)>,
    maps: HashMap<String, MapHandle>,
}

impl Loader {
    pub(crate) fn new(settings: &XdpSettings, cpus: u32) -> Result<Self> {
        Ok(Self {
            bytes: bytes(settings)?,
            sizes: settings.map_sizes(cpus),
            maps: HashMap::new(),
        })
    }

    /// Loads these programs with these constants.
    pub(crate) fn load(&mut self, settings: &KernelSettings, programs: &[&str]) -> Result<Object> {
        let mut open = object::open_bytes(&self.bytes, WHAT)?;
        object::set_settings(&mut open, &settings.to_bytes())?;
        for &(name, entries) in &self.sizes {
            object::set_map_size(&mut open, name, entries)?;
        }
        self.share_maps(&mut open)?;
        for mut program in open.progs_mut() {
            let wanted = programs.iter().any(|name| program.name() == *name);
            program.set_autoload(wanted);
        }
        let loaded = open
            .load()
            .map_err(|error| Error::from_bpf(WHAT, &error, &verifier_log::take()))?;
        if self.maps.is_empty() {
            self.keep_maps(&loaded, settings.sampling)?;
        }
        Ok(loaded)
    }

    /// A map of the session; there once something was loaded.
    pub(crate) fn map(&self, name: &str) -> Result<&MapHandle> {
        self.maps
            .get(name)
            .ok_or_else(|| failed(name, "not in the object"))
    }

    fn share_maps(&self, open: &mut OpenObject) -> Result<()> {
        for mut map in open.maps_mut() {
            let name = map.name().to_string_lossy().into_owned();
            if let Some(shared) = self.maps.get(&name) {
                map.reuse_fd(shared.as_fd())
                    .map_err(|error| failed(&name, error))?;
            }
        }
        Ok(())
    }

    fn keep_maps(&mut self, loaded: &Object, sampling: u32) -> Result<()> {
        for map in loaded.maps() {
            let name = map.name().to_string_lossy().into_owned();
            // constants differ from load to load
            if !name.contains('.') {
                let handle = MapHandle::try_from(&map).map_err(|error| failed(&name, error))?;
                self.maps.insert(name, handle);
            }
        }
        let table = self.map("skips")?;
        for (index, skip) in (0u32..).zip(skips(sampling)) {
            table
                .update(&index.to_ne_bytes(), &skip.to_ne_bytes(), MapFlags::ANY)
                .map_err(|error| failed("skips", error))?;
        }
        Ok(())
    }
}

/// The object file, with the filter in it where there is one.
pub(crate) fn bytes(settings: &XdpSettings) -> Result<Vec<u8>> {
    let path = &settings.object_path;
    let mut bytes = std::fs::read(path).map_err(|error| {
        Error::new(
            ErrorKind::Failed,
            format!("cannot read {}", path.display()),
            error,
            "install the package again",
        )
    })?;
    if let Some(expression) = &settings.expression {
        Filter::compile(expression)?.install(&mut bytes)?;
    }
    Ok(bytes)
}

fn failed(map: &str, cause: impl ToString) -> Error {
    Error::new(
        ErrorKind::Failed,
        format!("cannot use map {map}"),
        cause,
        "install the package again",
    )
}

/// The program of a loaded object.
pub(crate) fn program<'obj>(object: &'obj Object, name: &str) -> Result<libbpf_rs::Program<'obj>> {
    object
        .progs()
        .find(|program| program.name() == name)
        .ok_or_else(|| failed(name, "no such program in the object"))
}

/// Runs a program once, on a frame that goes nowhere.
pub(crate) fn run_once(program: &impl AsRawFd) -> Result<()> {
    const FRAME: [u8; 60] = [0xff; 60];
    let mut options = libbpf_sys::bpf_test_run_opts {
        data_in: FRAME.as_ptr().cast(),
        data_size_in: FRAME.len() as u32,
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    // SAFETY: `options` lives as long as the call and says its size.
    let result =
        unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
    if result == 0 {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Kernel,
        "cannot run a program in the kernel",
        std::io::Error::from_raw_os_error(-result),
        "run Linux 6.3 or newer",
    ))
}
