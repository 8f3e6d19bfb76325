//! Walks a stack that was copied: the same steps as the kernel's part (`bpf/include/unwind_step.h`).

use super::rules::{Cfa, ReturnAddress, Rule, SavedFramePointer, Step};
use crate::stack::record::{End, TakenRest};

/// `struct rt_sigframe` of x86-64: rbp, rbx, rdx, rax, rcx, rsp, rip from here on.
#[cfg(target_arch = "x86_64")]
const SIGNAL_REGISTERS: u64 = 40 + 10 * 8;
/// Of arm64: x29, x30, sp, pc.
#[cfg(not(target_arch = "x86_64"))]
const SIGNAL_REGISTERS: u64 = 128 + 176 + 8 + 29 * 8;
/// Without the signature of pointer authentication.
#[cfg(target_arch = "x86_64")]
const PLAIN_ADDRESS: u64 = u64::MAX;
#[cfg(not(target_arch = "x86_64"))]
const PLAIN_ADDRESS: u64 = 0x0000_ffff_ffff_ffff;

/// What is known of the code at an address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found {
    /// No mapped program has it.
    NoMapping,
    /// Its table is not there (yet).
    NoTable,
    /// There is none; functions are chained by frame pointers.
    FramePointers,
    Step(Step),
}

/// Where a walk is.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    rest: &'a TakenRest,
    pc: u64,
    sp: u64,
    fp: u64,
    lr: u64,
    is_call: bool,
}

impl<'a> Walk<'a> {
    /// Goes on where the kernel had to stop.
    pub fn new(rest: &'a TakenRest) -> Self {
        Self {
            rest,
            pc: rest.at.pc,
            sp: rest.at.sp,
            fp: rest.at.fp,
            lr: rest.at.lr,
            is_call: rest.at.is_call != 0,
        }
    }

    /// Appends up to `most` callers to `frames`; says how it ended.
    pub fn follow(
        mut self,
        find: impl Fn(u64) -> Found,
        most: usize,
        frames: &mut Vec<u64>,
    ) -> (End, u64) {
        for _ in 0..most {
            if let Some(end) = self.step_out(&find) {
                return (end, self.pc);
            }
            frames.push(self.pc);
        }
        (End::Depth, 0)
    }

    /// `None`: there is a caller.
    fn step_out(&mut self, find: &impl Fn(u64) -> Found) -> Option<End> {
        let end = match find(self.pc.wrapping_sub(self.is_call.into())) {
            Found::NoMapping => Some(End::NoMapping),
            Found::NoTable => Some(End::NoTable),
            Found::FramePointers => self.follow_frame_pointer(),
            Found::Step(step) => self.follow_step(step),
        };
        if end.is_none() && self.pc == 0 {
            return Some(End::Complete);
        }
        end
    }

    fn follow_frame_pointer(&mut self) -> Option<End> {
        self.is_call = true;
        if self.fp == 0 {
            return Some(End::Complete);
        }
        let is_sound = self.fp >= self.sp && self.fp.is_multiple_of(8);
        let saved = |at: u64| self.word(at).filter(|_| is_sound);
        let (Some(fp), Some(pc)) = (saved(self.fp), saved(self.fp.wrapping_add(8))) else {
            return Some(End::FramePointers);
        };
        self.sp = self.fp.wrapping_add(16);
        self.fp = fp;
        self.pc = pc & PLAIN_ADDRESS;
        None
    }

    fn follow_step(&mut self, step: Step) -> Option<End> {
        match step {
            Step::Stop => Some(End::Complete),
            Step::None => Some(End::NoRow),
            Step::Unknown => Some(End::Rule),
            Step::Signal => self.leave_signal_frame(),
            Step::Rule(rule) => self.follow_rule(rule),
        }
    }

    fn follow_rule(&mut self, rule: Rule) -> Option<End> {
        let Some(cfa) = self.cfa(rule) else {
            return Some(End::Rule);
        };
        // a stack grows downwards: anything else would go round in circles
        if cfa < self.sp {
            return Some(End::Unreadable);
        }
        let at = |base: u64, offset: i32| base.wrapping_add_signed(offset.into());
        let pc = match rule.ra {
            ReturnAddress::InLinkRegister => Some(self.lr),
            ReturnAddress::AtCfa => self.word(at(cfa, rule.ra_offset)),
        };
        let fp = match rule.fp {
            SavedFramePointer::Same => Some(self.fp),
            SavedFramePointer::AtCfa => self.word(at(cfa, rule.fp_offset)),
            SavedFramePointer::AtFramePointer => self.word(at(self.fp, rule.fp_offset)),
        };
        let (Some(pc), Some(fp)) = (pc, fp) else {
            return Some(End::Unreadable);
        };
        self.pc = pc & PLAIN_ADDRESS;
        self.fp = fp;
        self.sp = cfa;
        self.is_call = true;
        None
    }

    fn cfa(&self, rule: Rule) -> Option<u64> {
        let at = |base: u64| base.wrapping_add_signed(rule.cfa_offset.into());
        let deref = |address: u64| Some(self.word(address)?.wrapping_add_signed(rule.post.into()));
        match rule.cfa {
            Cfa::StackPointer => Some(at(self.sp)),
            Cfa::FramePointer => Some(at(self.fp)),
            Cfa::StackPointerDeref => deref(at(self.sp)),
            Cfa::FramePointerDeref => deref(at(self.fp)),
            Cfa::Plt => {
                let has_pushed = (self.pc & 15) >= u64::try_from(rule.post).unwrap_or(u64::MAX);
                Some(at(self.sp).wrapping_add(u64::from(has_pushed) * 8))
            }
            // a register of the innermost function alone, which was not copied
            Cfa::Register => None,
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn leave_signal_frame(&mut self) -> Option<End> {
        let saved = |index: u64| self.word(self.sp.wrapping_add(SIGNAL_REGISTERS + 8 * index));
        let (Some(fp), Some(sp), Some(pc)) = (saved(0), saved(5), saved(6)) else {
            return Some(End::Unreadable);
        };
        (self.fp, self.sp, self.pc) = (fp, sp, pc);
        self.is_call = false;
        None
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn leave_signal_frame(&mut self) -> Option<End> {
        let saved = |index: u64| self.word(self.sp.wrapping_add(SIGNAL_REGISTERS + 8 * index));
        let (Some(fp), Some(lr), Some(sp), Some(pc)) = (saved(0), saved(1), saved(2), saved(3))
        else {
            return Some(End::Unreadable);
        };
        (self.fp, self.lr, self.sp, self.pc) = (fp, lr, sp, pc);
        self.is_call = false;
        None
    }

    /// Eight bytes of the copied stack.
    fn word(&self, address: u64) -> Option<u64> {
        let from = usize::try_from(address.checked_sub(self.rest.at.sp)?).ok()?;
        let bytes = self.rest.stack.get(from..from.checked_add(8)?)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::{Found, SIGNAL_REGISTERS, Walk};
    use crate::stack::record::{End, Rest, TakenRest};
    use crate::unwind::rules::{Cfa, ReturnAddress, Rule, SavedFramePointer, Step};

    const SP: u64 = 0x7000;
    const PLAIN: Rule = Rule {
        cfa: Cfa::StackPointer,
        fp: SavedFramePointer::Same,
        ra: ReturnAddress::AtCfa,
        cfa_offset: 16,
        fp_offset: 0,
        ra_offset: -8,
        post: 0,
    };

    fn rest(pc: u64, fp: u64, words: &[u64]) -> TakenRest {
        let stack: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        TakenRest {
            tid: 1,
            time_ns: 1,
            at: Rest {
                sample: [0; 64],
                pc,
                sp: SP,
                fp,
                lr: 0,
                bytes: stack.len() as u32,
                is_call: 0,
                reserved: [0; 3],
            },
            stack,
        }
    }

    fn walk(rest: &TakenRest, find: impl Fn(u64) -> Found) -> (End, Vec<u64>) {
        let mut frames = Vec::new();
        let (end, _) = Walk::new(rest).follow(find, 10, &mut frames);
        (end, frames)
    }

    #[test]
    fn rules_lead_to_the_first_function() {
        let saves_fp = Rule {
            fp: SavedFramePointer::AtCfa,
            cfa_offset: 24,
            fp_offset: -16,
            ..PLAIN
        };
        let by_fp = Rule {
            cfa: Cfa::FramePointer,
            ..PLAIN
        };
        // 0x100 called by 0x200 (saves rbp), by 0x300 (uses it), by 0x400
        let stack = rest(0x100, 0, &[0, 0x200, 0, SP + 48, 0x300, 0, 0, 0x400]);
        let (end, frames) = walk(&stack, |pc| {
            Found::Step(match pc {
                0x100 => Step::Rule(PLAIN),
                0x1ff => Step::Rule(saves_fp),
                0x2ff => Step::Rule(by_fp),
                _ => Step::Stop,
            })
        });
        assert_eq!((end, frames), (End::Complete, vec![0x200, 0x300, 0x400]));
    }

    #[test]
    fn frame_pointers_are_a_chain() {
        let stack = rest(0x100, SP + 8, &[0, SP + 24, 0x200, 0, 0x300]);
        let (end, frames) = walk(&stack, |_| Found::FramePointers);
        assert_eq!((end, frames), (End::Complete, vec![0x200, 0x300]));
        for fp in [SP - 8, SP + 9, SP + 800, u64::MAX - 7] {
            let (end, frames) = walk(&rest(0x100, fp, &[0; 8]), |_| Found::FramePointers);
            assert_eq!((end, frames), (End::FramePointers, vec![]));
        }
    }

    #[test]
    fn a_signal_frame_has_the_interrupted_registers() {
        let mut words = vec![0; 40];
        let saved = SIGNAL_REGISTERS as usize / 8;
        words[saved] = SP + 300; // rbp
        words[saved + 5] = SP + 256; // rsp
        words[saved + 6] = 0x500; // rip
        words[33] = 0x600;
        let (end, frames) = walk(&rest(0x100, 0, &words), |pc| {
            Found::Step(match pc {
                0x100 => Step::Signal,
                0x500 => Step::Rule(PLAIN), // the address itself: nothing was called there
                _ => Step::Stop,
            })
        });
        assert_eq!((end, frames), (End::Complete, vec![0x500, 0x600]));
    }

    #[test]
    fn every_end_is_said() {
        let plain = rest(0x100, 0, &[0, 0x200]);
        for (found, expected) in [
            (Found::NoMapping, End::NoMapping),
            (Found::NoTable, End::NoTable),
            (Found::Step(Step::None), End::NoRow),
            (Found::Step(Step::Unknown), End::Rule),
        ] {
            assert_eq!(walk(&plain, |_| found), (expected, vec![]));
        }
        let rule = Found::Step(Step::Rule(PLAIN));
        assert_eq!(walk(&rest(0x100, 0, &[0]), |_| rule).0, End::Unreadable);
        let backwards = Rule {
            cfa_offset: -8,
            ..PLAIN
        };
        let found = Found::Step(Step::Rule(backwards));
        assert_eq!(walk(&plain, |_| found).0, End::Unreadable);
        let endless = rest(0x100, 0, &[0x200; 100]);
        assert_eq!(walk(&endless, |_| rule), (End::Depth, vec![0x200; 10]));
    }
}
