//! Where a Go function begins for good, and where it returns: found in its instructions.
//!
//! The first instructions may find the stack too small. Then it is moved, and the function begins again: a probe on the
//! first instruction would see two calls. Behind that test the arguments still lie where they did.

/// Code is looked at up to this size; the largest generated functions have some MiB.
const MAX_CODE: usize = 16 << 20;
/// The test for the stack's size is over by then.
const MAX_PROLOGUE: usize = 12;

/// Offsets from a function's first instruction.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Places {
    /// The first instruction that runs once per call.
    pub(crate) begin: u64,
    pub(crate) returns: Vec<u64>,
}

/// What an instruction does to the flow of control; targets count from the function's begin.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flow {
    On,
    Call,
    Return,
    Jump(u64),
    Branch(u64),
}

/// `None` where the bytes are not code throughout.
pub(crate) fn places(code: &[u8]) -> Option<Places> {
    if code.len() > MAX_CODE {
        return None;
    }
    let flow = flow(code)?;
    Some(Places {
        begin: begin(&flow),
        returns: flow
            .iter()
            .filter(|(_, flow)| *flow == Flow::Return)
            .map(|(at, _)| *at)
            .collect(),
    })
}

/// Where a function ends, from its first instruction on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Exits {
    pub(crate) returns: Vec<u64>,
    /// Jumps to elsewhere, and where to; before the function's begin wraps around.
    pub(crate) jumps: Vec<(u64, u64)>,
    pub(crate) has_calls: bool,
}

/// `None` where the bytes are not code throughout.
pub(crate) fn exits(code: &[u8]) -> Option<Exits> {
    if code.is_empty() || code.len() > MAX_CODE {
        return None;
    }
    let mut found = Exits::default();
    for (at, flow) in flow(code)? {
        match flow {
            Flow::Return => found.returns.push(at),
            Flow::Call => found.has_calls = true,
            Flow::Jump(target) if target >= code.len() as u64 => found.jumps.push((at, target)),
            Flow::On | Flow::Jump(_) | Flow::Branch(_) => {}
        }
    }
    Some(found)
}

/// Behind the last of the branches to where the function is started again.
fn begin(flow: &[(u64, Flow)]) -> u64 {
    let starts_again = |target: u64| {
        let from = flow.partition_point(|(at, _)| *at < target);
        let block = &flow[from..];
        let end = block.iter().position(|(_, flow)| *flow == Flow::Jump(0));
        end.is_some_and(|end| {
            let straight = &block[..end];
            straight
                .iter()
                .filter(|(_, flow)| *flow == Flow::Call)
                .count()
                == 1
                && straight
                    .iter()
                    .all(|(_, flow)| matches!(flow, Flow::On | Flow::Call))
        })
    };
    let mut begin = 0;
    for (index, (_, flow_here)) in flow.iter().enumerate().take(MAX_PROLOGUE) {
        match flow_here {
            Flow::Branch(target) if starts_again(*target) => {
                begin = flow.get(index + 1).map_or(0, |(at, _)| *at);
            }
            Flow::On => {}
            _ => break,
        }
    }
    begin
}

/// Every instruction that does not simply go on, and the first ones all.
#[cfg(target_arch = "x86_64")]
fn flow(code: &[u8]) -> Option<Vec<(u64, Flow)>> {
    use iced_x86::{Decoder, DecoderOptions, FlowControl};

    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    let mut found = Vec::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        let target = instruction.near_branch_target();
        let flow = match instruction.flow_control() {
            _ if instruction.is_invalid() => return None,
            FlowControl::Return => Flow::Return,
            FlowControl::Call | FlowControl::IndirectCall => Flow::Call,
            FlowControl::UnconditionalBranch => Flow::Jump(target),
            FlowControl::ConditionalBranch => Flow::Branch(target),
            _ => Flow::On,
        };
        if flow != Flow::On || found.len() <= MAX_PROLOGUE {
            found.push((instruction.ip(), flow));
        }
    }
    Some(found)
}

#[cfg(target_arch = "aarch64")]
fn flow(code: &[u8]) -> Option<Vec<(u64, Flow)>> {
    Some(arm64_flow(code))
}

/// Instructions have four bytes each, and these few suffice.
#[cfg(any(target_arch = "aarch64", test))]
fn arm64_flow(code: &[u8]) -> Vec<(u64, Flow)> {
    let target = |at: u64, words: u32, bits: u32| {
        let distance = i64::from((words << (32 - bits)).cast_signed() >> (32 - bits)) * 4;
        at.wrapping_add_signed(distance)
    };
    code.as_chunks::<4>()
        .0
        .iter()
        .enumerate()
        .map(|(index, bytes)| {
            let at = 4 * index as u64;
            let instruction = u32::from_le_bytes(*bytes);
            let flow = match instruction {
                0xd65f_03c0 => Flow::Return,
                _ if instruction >> 26 == 0b10_0101 => Flow::Call,
                _ if instruction >> 26 == 0b00_0101 => Flow::Jump(target(at, instruction, 26)),
                _ if instruction >> 24 == 0x54 => Flow::Branch(target(at, instruction >> 5, 19)),
                _ => Flow::On,
            };
            (index, at, flow)
        })
        .filter(|(index, _, flow)| *index <= MAX_PROLOGUE || *flow != Flow::On)
        .map(|(_, at, flow)| (at, flow))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Flow, Places, arm64_flow, begin, places};
    use proptest::prelude::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_function_that_may_start_again() {
        // cmp rsp, [r14+16]; jbe 8; ret 0xc3 in an immediate: mov eax, 0xc3c3c3c3; ret; 8: call; jmp 0
        let code = [
            0x49, 0x3b, 0x66, 0x10, 0x76, 0x06, 0xb8, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xe8, 0, 0, 0,
            0, 0xeb, 0xed,
        ];
        assert_eq!(
            places(&code),
            Some(Places {
                begin: 6,
                returns: vec![11]
            })
        );
        // a loop to the begin that calls nothing is the function's own
        let code = [0xff, 0xc8, 0x75, 0xfc, 0xc3];
        assert_eq!(
            places(&code),
            Some(Places {
                begin: 0,
                returns: vec![4]
            })
        );
        // no instruction of 64 bits begins with 06
        assert_eq!(places(&[0x06, 0xc3]), None);
    }

    #[test]
    fn arm64() {
        // ldr x16, [x28,#16]; cmp sp, x16; b.ls 0x14; nop; ret; 0x14: bl; b 0
        let code: Vec<u8> = [
            0xf940_0b90u32,
            0xeb30_63ff,
            0x5400_0069,
            0xd503_201f,
            0xd65f_03c0,
            0x9400_0000,
            0x17ff_fffa,
        ]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
        let flow = arm64_flow(&code);
        assert_eq!(flow[2].1, Flow::Branch(0x14));
        assert_eq!(flow[6].1, Flow::Jump(0));
        assert_eq!(begin(&flow), 12);
        assert_eq!(flow[4], (16, Flow::Return));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded(code in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Some(places) = places(&code) {
                let length = code.len() as u64;
                prop_assert!(places.begin <= length);
                prop_assert!(places.returns.iter().all(|&at| at < length));
            }
            let _ = begin(&arm64_flow(&code));
        }
    }
}
