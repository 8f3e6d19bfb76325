//! Names, files and lines of addresses: resolved in bulk, kept, the kernel's and inlined ones included.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use blazesym::symbolize::source::{Elf, Kernel, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};

use super::objects::ObjectFile;
use super::process::{Backing, Image};

/// Named addresses that are kept.
const MAX_KEPT: usize = 100_000;
/// Objects whose symbols are kept open.
const MAX_OBJECTS: usize = 256;
const KERNEL: u32 = 0;
const KERNEL_MODULE: &str = "[kernel]";

/// What a frame belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameKind {
    Kernel,
    User,
    Python,
    Jit,
}

impl FrameKind {
    /// The event's `kind` of a frame.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::User => "user",
            Self::Python => "python",
            Self::Jit => "jit",
        }
    }
}

/// One function of a stack.
#[derive(Clone, Debug)]
pub struct Frame {
    pub name: String,
    pub module: Option<Arc<str>>,
    pub file: Option<String>,
    pub line: Option<u32>,
    pub inlined: bool,
    pub kind: FrameKind,
}

impl Frame {
    fn unnamed(name: String, module: Option<Arc<str>>, kind: FrameKind) -> Self {
        Self {
            name,
            module,
            file: None,
            line: None,
            inlined: false,
            kind,
        }
    }
}

/// The functions at one address, the outermost first: the last is the innermost inlined one.
pub type Functions = Arc<[Frame]>;

/// An address that does not change from run to run: object and offset in its file (kernel: the address).
type Place = (u32, u64);

/// Resolves and remembers names.
#[derive(Debug)]
pub struct Names {
    symbols: Symbolizer,
    objects_used: hashbrown::HashSet<u32>,
    kept: HashMap<Place, Functions>,
}

/// What has to be named in one object.
struct Wanted {
    path: PathBuf,
    module: Arc<str>,
    offsets: Vec<u64>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            symbols: new_symbolizer(),
            objects_used: hashbrown::HashSet::new(),
            kept: HashMap::new(),
        }
    }
}

fn new_symbolizer() -> Symbolizer {
    Symbolizer::builder()
        .enable_auto_reload(false)
        .enable_code_info(true)
        .enable_inlined_fns(true)
        .enable_demangling(true)
        .build()
}

impl Names {
    /// Resolves everything in `stacks` that is not known yet: pairs of (process, addresses of its own code).
    pub fn prepare<'a>(
        &mut self,
        user: impl Iterator<Item = (&'a Image, u64)>,
        kernel: impl Iterator<Item = u64>,
    ) {
        self.make_room();
        let mut wanted: HashMap<u32, Wanted> = HashMap::new();
        for (image, address) in user {
            let Some((object, offset)) = Self::locate(image, address) else {
                continue;
            };
            if self.kept.contains_key(&(object.id, offset)) {
                continue;
            }
            let Some(path) = object.open_path() else {
                continue;
            };
            wanted
                .entry(object.id)
                .or_insert_with(|| Wanted {
                    path,
                    module: object.path.as_str().into(),
                    offsets: Vec::new(),
                })
                .offsets
                .push(offset);
        }
        for (id, mut wanted) in wanted {
            wanted.offsets.sort_unstable();
            wanted.offsets.dedup();
            self.objects_used.insert(id);
            self.resolve_object(id, &wanted);
        }
        self.resolve_kernel(kernel);
    }

    /// The functions at an address of a process.
    pub fn user(&self, image: Option<&Image>, address: u64) -> Functions {
        let Some(mapping) = image.and_then(|image| image.find(address)) else {
            return one(Frame::unnamed(
                "[unknown]".to_owned(),
                None,
                FrameKind::User,
            ));
        };
        if let (Backing::Anonymous, Some(image)) = (&mapping.backing, image) {
            return one(made_at_run_time(image, address));
        }
        let located = image.and_then(|image| Self::locate(image, address));
        located
            .and_then(|(object, offset)| self.kept.get(&(object.id, offset)).cloned())
            .unwrap_or_else(|| one(unresolved(&mapping.backing)))
    }

    /// The function at an address of the kernel.
    pub fn kernel(&self, address: u64) -> Functions {
        self.kept
            .get(&(KERNEL, address))
            .cloned()
            .unwrap_or_else(|| {
                one(Frame::unnamed(
                    format!("{address:#x}"),
                    Some(KERNEL_MODULE.into()),
                    FrameKind::Kernel,
                ))
            })
    }

    fn locate(image: &Image, address: u64) -> Option<(&ObjectFile, u64)> {
        let mapping = image.find(address)?;
        let offset = address - mapping.start + mapping.offset;
        match &mapping.backing {
            Backing::File(object) | Backing::Vdso(object) => Some((object, offset)),
            Backing::Anonymous => None,
        }
    }

    /// Names are a cache: what is dropped is resolved again.
    fn make_room(&mut self) {
        if self.kept.len() > MAX_KEPT {
            self.kept.clear();
        }
        if self.objects_used.len() > MAX_OBJECTS {
            self.objects_used.clear();
            self.symbols = new_symbolizer();
        }
    }

    fn resolve_object(&mut self, id: u32, wanted: &Wanted) {
        let source = Source::from(Elf::new(&wanted.path));
        let found = self
            .symbols
            .symbolize(&source, Input::FileOffset(&wanted.offsets))
            .unwrap_or_default();
        for (offset, symbolized) in wanted.offsets.iter().zip(found) {
            if let Symbolized::Sym(symbol) = symbolized {
                let functions = functions(&symbol, Some(&wanted.module), FrameKind::User);
                self.kept.insert((id, *offset), functions);
            }
        }
    }

    fn resolve_kernel(&mut self, addresses: impl Iterator<Item = u64>) {
        let mut addresses: Vec<u64> = addresses
            .filter(|address| !self.kept.contains_key(&(KERNEL, *address)))
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            return;
        }
        let source = Source::from(Kernel {
            vmlinux: blazesym::MaybeDefault::None,
            debug_syms: false,
            ..Kernel::default()
        });
        let found = self
            .symbols
            .symbolize(&source, Input::AbsAddr(&addresses))
            .unwrap_or_default();
        for (address, symbolized) in addresses.iter().zip(found) {
            if let Symbolized::Sym(symbol) = symbolized {
                let functions = functions(&symbol, None, FrameKind::Kernel);
                self.kept.insert((KERNEL, *address), functions);
            }
        }
    }
}

fn one(frame: Frame) -> Functions {
    Arc::from([frame])
}

fn made_at_run_time(image: &Image, address: u64) -> Frame {
    let mut map = image
        .perf_map
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    match map.find(address) {
        // CPython writes `py::FUNCTION:FILE`
        Some(name) if name.starts_with("py::") => python_frame(&name["py::".len()..]),
        Some(name) => Frame::unnamed(name.to_owned(), None, FrameKind::Jit),
        None => Frame::unnamed("[anonymous code]".to_owned(), None, FrameKind::Jit),
    }
}

fn python_frame(text: &str) -> Frame {
    let (name, file) = text.split_once(':').unwrap_or((text, ""));
    Frame {
        file: (!file.is_empty()).then(|| file.to_owned()),
        ..Frame::unnamed(name.to_owned(), None, FrameKind::Python)
    }
}

/// Without a symbol the object's name stands for all of its functions: graphs then still add up.
fn unresolved(backing: &Backing) -> Frame {
    let (name, module) = match backing {
        Backing::File(object) => (object.base_name(), object.path.as_str()),
        Backing::Vdso(_) | Backing::Anonymous => ("vdso", "[vdso]"),
    };
    Frame::unnamed(format!("[{name}]"), Some(module.into()), FrameKind::User)
}

fn functions(symbol: &Sym<'_>, module: Option<&Arc<str>>, kind: FrameKind) -> Functions {
    let module = module.cloned().unwrap_or_else(|| kernel_module(symbol));
    let outer = frame(&symbol.name, symbol.code_info.as_deref(), &module, kind);
    let inner = symbol.inlined.iter().map(|inlined| Frame {
        inlined: true,
        ..frame(&inlined.name, inlined.code_info.as_ref(), &module, kind)
    });
    std::iter::once(outer).chain(inner).collect()
}

fn kernel_module(symbol: &Sym<'_>) -> Arc<str> {
    symbol.module.as_ref().map_or_else(
        || KERNEL_MODULE.into(),
        |module| {
            let name = Path::new(module).file_name().unwrap_or(module);
            format!("[{}]", name.to_string_lossy().trim_matches(['[', ']'])).into()
        },
    )
}

fn frame(name: &str, code: Option<&CodeInfo<'_>>, module: &Arc<str>, kind: FrameKind) -> Frame {
    Frame {
        name: name.to_owned(),
        module: Some(Arc::clone(module)),
        file: code.map(|code| code.to_path().to_string_lossy().into_owned()),
        line: code.and_then(|code| code.line),
        inlined: false,
        kind,
    }
}
