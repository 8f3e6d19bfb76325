//! Functions that an exception may leave: whoever unwinds the stack does not get past what a return probe puts there.
//!
//! They are probed on their return instructions, and on the jumps by which they end in another function. C++ exceptions,
//! Rust panics and the cancellation of threads unwind; a function that calls nothing is never on a stack then.

use std::collections::BTreeMap;
use std::path::Path;

use memchr::memmem;
use object::ReadRef;

use super::elf::Elf;
use super::golang::{Exits, exits};
use super::symbols::Symbol;
use super::{Function, Returns, Site};

/// Who needs one of these, or says how exceptions pass through its functions, may throw.
const UNWINDERS: [&str; 4] = ["libgcc_s.so", "libstdc++.so", "libc++", "libunwind"];
const EXCEPT_TABLE: &str = ".gcc_except_table";
const LINKAGE: [&str; 3] = [".plt", ".plt.sec", ".plt.got"];

/// The C library throws nothing itself; these of its functions call back, or wait where a thread may be cancelled.
const PASSED_THROUGH: &str = " accept accept4 aio_suspend argp_parse bsearch clock_nanosleep close connect creat \
    dl_iterate_phdr epoll_pwait epoll_wait exit fcntl fdatasync ftw ftw64 fsync futimens glob glob64 lfind lsearch \
    lockf mq_receive mq_send msgrcv msgsnd msync nanosleep nftw nftw64 on_exit open open64 openat openat64 pause poll \
    ppoll pread pread64 preadv pselect pthread_cond_clockwait pthread_cond_timedwait pthread_cond_wait \
    pthread_create pthread_exit pthread_join pthread_once pthread_testcancel pwrite pwrite64 pwritev qsort qsort_r \
    quick_exit read readv recv recvfrom recvmmsg recvmsg scandir scandir64 select sem_clockwait sem_timedwait \
    sem_wait send sendmmsg sendmsg sendto sigpause sigsuspend sigtimedwait sigwait sigwaitinfo sleep start_thread \
    system tcdrain tdelete tfind thrd_join thrd_sleep tsearch twalk twalk_r usleep wait wait3 wait4 waitid waitpid \
    write writev ";

/// Gives functions that an exception may leave their own way of being followed.
pub(super) fn keep_returns<'a, R: ReadRef<'a>>(
    functions: &mut [Function],
    symbols: &[Symbol],
    elf: &Elf<'a, R>,
) {
    if !may_throw(elf) {
        return;
    }
    let code = Code::new(symbols, elf);
    for function in functions {
        let is_passed = may_pass(function);
        let Site::User { entry, returns, .. } = &mut function.site else {
            continue;
        };
        let Some(symbol) = code.at_offset.get(entry) else {
            continue;
        };
        if *returns != Returns::Probe || symbol.is_go || !is_passed {
            continue;
        }
        if let Some(kept) = code.returns_of(symbol, *entry) {
            if kept == Returns::None {
                function.note = Some("its end is not seen: its code cannot be decoded".to_owned());
            }
            *returns = kept;
        }
    }
}

fn may_throw<'a, R: ReadRef<'a>>(elf: &Elf<'a, R>) -> bool {
    let needs_unwinder = || {
        let names = elf.section(".dynstr");
        names.is_some_and(|names| {
            UNWINDERS
                .iter()
                .any(|name| memmem::find(names.bytes, name.as_bytes()).is_some())
        })
    };
    elf.section(EXCEPT_TABLE).is_some() || needs_unwinder()
}

/// Of the C library's functions, which are traced often, only few are on a stack that is unwound.
fn may_pass(function: &Function) -> bool {
    let file = Path::new(&function.module).file_name();
    let is_libc = file.is_some_and(|name| {
        let name = name.to_string_lossy();
        name.starts_with("libc.so") || name.starts_with("libc-2") || name.starts_with("libpthread")
    });
    let is_named = |name: &str| {
        let plain = name.trim_start_matches("__GI_").trim_start_matches('_');
        let plain = plain.trim_start_matches("libc_");
        PASSED_THROUGH.contains(&format!(" {plain} "))
    };
    !is_libc || is_named(&function.symbol) || function.aliases.iter().any(|name| is_named(name))
}

/// A file's functions, and the instructions in them.
struct Code<'a, 's, R: ReadRef<'a>> {
    elf: &'s Elf<'a, R>,
    at_offset: BTreeMap<u64, &'s Symbol>,
    at_address: BTreeMap<u64, &'s Symbol>,
}

impl<'a, 's, R: ReadRef<'a>> Code<'a, 's, R> {
    fn new(symbols: &'s [Symbol], elf: &'s Elf<'a, R>) -> Self {
        let place = |symbol: &'s Symbol| Some((elf.offset(symbol.address, true)?, symbol));
        Self {
            elf,
            at_offset: symbols.iter().filter_map(place).collect(),
            at_address: symbols
                .iter()
                .map(|symbol| (symbol.address, symbol))
                .collect(),
        }
    }

    /// `None`: a return probe harms nobody, because the function calls nothing.
    fn returns_of(&self, symbol: &Symbol, entry: u64) -> Option<Returns> {
        let Some(found) = self.exits(symbol) else {
            return Some(Returns::None);
        };
        let mut returns: Vec<u64> = found.returns.iter().map(|at| entry + at).collect();
        let mut jumps = Vec::new();
        for (at, target) in &found.jumps {
            let address = symbol.address.wrapping_add(*target);
            match self.at_address.get(&address) {
                Some(part) if is_cold_part(part, symbol) => {
                    let first = self.elf.offset(part.address, true)?;
                    let more = self.exits(part).unwrap_or_default().returns;
                    returns.extend(more.iter().map(|at| first + at));
                }
                Some(_) => jumps.push(entry + at),
                None if self.is_linkage(address) => jumps.push(entry + at),
                // into the middle of something: not an end of this function
                None => {}
            }
        }
        if !found.has_calls && jumps.is_empty() {
            return None;
        }
        returns.sort_unstable();
        returns.dedup();
        Some(Returns::Around { returns, jumps })
    }

    fn exits(&self, symbol: &Symbol) -> Option<Exits> {
        exits(self.elf.loaded(symbol.address, symbol.size)?)
    }

    fn is_linkage(&self, address: u64) -> bool {
        LINKAGE.iter().any(|name| {
            self.elf.section(name).is_some_and(|section| {
                (section.address..section.address + section.bytes.len() as u64).contains(&address)
            })
        })
    }
}

/// Compilers put what is rarely needed of a function elsewhere.
fn is_cold_part(part: &Symbol, whole: &Symbol) -> bool {
    part.name
        .strip_prefix(whole.name.as_str())
        .is_some_and(|rest| rest.starts_with(".cold") || rest.starts_with(".part"))
}
