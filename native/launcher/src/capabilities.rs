//! The capabilities that the launcher's file gave to this process, and how they are handed on.

use std::io;

use crate::problem::Problem;

/// Version 3 of the kernel's interface: two words of 32 capabilities each.
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Whether this process has capabilities, because of its file, that its caller had not.
/// Security modules mark programs as secure, too: that alone means nothing. Root has all anyway.
/// A file with the set-user-id bit is refused: it would give much more than capabilities.
pub(crate) fn gained_from_file() -> Result<bool, Problem> {
    // SAFETY: these calls have no pointers.
    let (secure, real, effective) = unsafe {
        (
            libc::getauxval(libc::AT_SECURE),
            libc::getuid(),
            libc::geteuid(),
        )
    };
    if secure != 0 && real != effective {
        return Err(Problem::refused(
            "the file has the set-user-id bit",
            "chmod u-s on it, then setcap, see universal-tracer doctor",
        ));
    }
    Ok(secure != 0 && real != 0 && !permitted()?.is_empty())
}

fn permitted() -> Result<Vec<libc::c_ulong>, Problem> {
    let words = read().map_err(refused_by_kernel)?;
    Ok(numbers(words.map(|word| word.permitted)).collect())
}

fn refused_by_kernel(error: io::Error) -> Problem {
    Problem::refused(format!("the kernel says: {error}"), "sudo universal-tracer")
}

/// Makes all permitted capabilities ambient, so that they survive the `execve` of the interpreter.
pub(crate) fn raise_ambient() -> Result<(), Problem> {
    let mut words = read().map_err(refused_by_kernel)?;
    for word in &mut words {
        word.effective = word.permitted;
        word.inheritable = word.permitted;
    }
    write(&words).map_err(refused_by_kernel)?;
    for capability in numbers(words.map(|word| word.permitted)) {
        // SAFETY: the call takes numbers only.
        let result = unsafe {
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_RAISE,
                capability,
                0,
                0,
            )
        };
        if result != 0 {
            return Err(refused_by_kernel(io::Error::last_os_error()));
        }
    }
    Ok(())
}

fn read() -> io::Result<[Word; 2]> {
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut words = [Word::default(); 2];
    // SAFETY: version 3 takes one header and two words, which live here.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
    if result == 0 {
        Ok(words)
    } else {
        Err(io::Error::last_os_error())
    }
}

fn write(words: &[Word; 2]) -> io::Result<()> {
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    // SAFETY: as in `read`; the kernel only reads the words.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The numbers of the bits that are set.
fn numbers(words: [u32; 2]) -> impl Iterator<Item = libc::c_ulong> {
    let [low, high] = words.map(libc::c_ulong::from);
    let all = low | high << 32;
    (0..64).filter(move |bit| all >> bit & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_numbered_over_both_words() {
        assert_eq!(numbers([0b101, 0b11]).collect::<Vec<_>>(), [0, 2, 32, 33]);
        assert_eq!(numbers([0, 1 << 31]).collect::<Vec<_>>(), [63]);
        assert_eq!(numbers([0, 0]).count(), 0);
    }

    #[test]
    fn a_test_run_has_gained_nothing_from_its_file() {
        assert_eq!(gained_from_file(), Ok(false));
    }
}
