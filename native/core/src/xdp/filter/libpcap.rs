//! libpcap's compiler of expressions, loaded when it is needed.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};

use super::classic::Instruction;
use super::place;
use crate::error::{Error, ErrorKind, Result};

const NAMES: [&CStr; 3] = [c"libpcap.so.0.8", c"libpcap.so.1", c"libpcap.so"];
/// `DLT_EN10MB`
const ETHERNET: c_int = 1;
const SNAPSHOT: c_int = 262_144;
/// `PCAP_NETMASK_UNKNOWN`: `ip broadcast` is then refused.
const NO_NETMASK: c_uint = 0xffff_ffff;

/// `struct bpf_program`
#[repr(C)]
struct Program {
    length: c_uint,
    instructions: *mut Instruction,
}

type OpenDead = unsafe extern "C" fn(c_int, c_int) -> *mut c_void;
type Close = unsafe extern "C" fn(*mut c_void);
type Compile =
    unsafe extern "C" fn(*mut c_void, *mut Program, *const c_char, c_int, c_uint) -> c_int;
type FreeCode = unsafe extern "C" fn(*mut Program);
type GetError = unsafe extern "C" fn(*mut c_void) -> *const c_char;

/// The functions in use; the library stays loaded.
struct Library {
    open_dead: OpenDead,
    close: Close,
    compile: Compile,
    free_code: FreeCode,
    get_error: GetError,
}

/// Longest expression; libpcap goes deeper with each part of it.
const EXPRESSION_BYTES: usize = 16 * 1024;
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// The expression as classic BPF for Ethernet frames.
pub(super) fn compile(expression: &str) -> Result<Vec<Instruction>> {
    if expression.len() > EXPRESSION_BYTES {
        return Err(super::too_long(&format!(
            "it has {} bytes; {EXPRESSION_BYTES} is the most",
            expression.len()
        )));
    }
    let library = Library::load()?;
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || compile_with(&library, expression))
            .map_err(|error| failed(&error))?
            .join()
            .map_err(|_| failed(&"libpcap stopped"))?
    })
}

fn compile_with(library: &Library, expression: &str) -> Result<Vec<Instruction>> {
    library.compile(expression).map_err(|said| {
        let cause = place::cause(expression, &said, |text| library.compile(text).err());
        Error::new(
            ErrorKind::Usage,
            format!("wrong filter expression: {expression:?}"),
            cause,
            "man pcap-filter shows the language; for example: --filter 'tcp port 80 and host 10.0.0.1'",
        )
    })
}

impl Library {
    fn load() -> Result<Self> {
        let handle = NAMES
            .into_iter()
            // SAFETY: the names are C strings; libpcap has no constructors that do anything.
            .map(|name| unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) })
            .find(|handle| !handle.is_null())
            .ok_or_else(|| missing("libpcap.so.0.8 is not installed"))?;
        let symbol = |name: &CStr| {
            // SAFETY: `handle` is that of a library that is never closed.
            let address = unsafe { libc::dlsym(handle, name.as_ptr()) };
            (!address.is_null())
                .then_some(address)
                .ok_or_else(|| missing(&format!("libpcap has no {}", name.to_string_lossy())))
        };
        // SAFETY: the types are those that pcap/pcap.h declares for these names.
        unsafe {
            Ok(Self {
                open_dead: std::mem::transmute::<*mut c_void, OpenDead>(symbol(c"pcap_open_dead")?),
                close: std::mem::transmute::<*mut c_void, Close>(symbol(c"pcap_close")?),
                compile: std::mem::transmute::<*mut c_void, Compile>(symbol(c"pcap_compile")?),
                free_code: std::mem::transmute::<*mut c_void, FreeCode>(symbol(c"pcap_freecode")?),
                get_error: std::mem::transmute::<*mut c_void, GetError>(symbol(c"pcap_geterr")?),
            })
        }
    }

    /// The program, or what libpcap says against the expression.
    fn compile(&self, expression: &str) -> std::result::Result<Vec<Instruction>, String> {
        let text = CString::new(expression).map_err(|_| "it contains a null byte".to_owned())?;
        let mut program = Program {
            length: 0,
            instructions: std::ptr::null_mut(),
        };
        // SAFETY: the functions are called as pcap(3) says: the handle is closed after its error was read, and
        // the program is freed once, after its instructions were copied.
        unsafe {
            let handle = (self.open_dead)(ETHERNET, SNAPSHOT);
            if handle.is_null() {
                return Err("libpcap has no memory".to_owned());
            }
            let failed =
                (self.compile)(handle, &raw mut program, text.as_ptr(), 1, NO_NETMASK) != 0;
            let result = if failed {
                let said = CStr::from_ptr((self.get_error)(handle));
                Err(said.to_string_lossy().into_owned())
            } else {
                let length = program.length as usize;
                let code = std::slice::from_raw_parts(program.instructions, length).to_vec();
                (self.free_code)(&raw mut program);
                Ok(code)
            };
            (self.close)(handle);
            result
        }
    }
}

fn failed(cause: &dyn ToString) -> Error {
    Error::new(
        ErrorKind::Failed,
        "cannot compile the filter expression",
        cause.to_string(),
        "try again; `ulimit -a` shows the limits of memory and threads",
    )
}

fn missing(cause: &str) -> Error {
    Error::new(
        ErrorKind::Failed,
        "filter expressions need libpcap",
        cause,
        "sudo apt install libpcap0.8 (Fedora: dnf install libpcap)",
    )
}
