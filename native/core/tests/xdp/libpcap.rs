//! libpcap's own judgement of a frame.

use std::ffi::c_uint;
use std::sync::LazyLock;

use universal_tracer_core::xdp::filter::classic::Instruction;

type Run = unsafe extern "C" fn(*const Instruction, *const u8, c_uint, c_uint) -> c_uint;

static RUN: LazyLock<Run> = LazyLock::new(|| {
    // SAFETY: `bpf_filter` has this type in every libpcap.
    unsafe {
        let library = libc::dlopen(c"libpcap.so.0.8".as_ptr(), libc::RTLD_NOW);
        assert!(!library.is_null(), "libpcap0.8 is not installed");
        let symbol = libc::dlsym(library, c"bpf_filter".as_ptr());
        assert!(!symbol.is_null(), "libpcap has no bpf_filter");
        std::mem::transmute::<*mut libc::c_void, Run>(symbol)
    }
});

pub(crate) fn matches(program: &[Instruction], frame: &[u8]) -> bool {
    let length = frame.len() as c_uint;
    // SAFETY: the program came from libpcap, and the frame has this length.
    unsafe { RUN(program.as_ptr(), frame.as_ptr(), length, length) != 0 }
}
