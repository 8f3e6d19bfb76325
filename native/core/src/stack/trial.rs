//! Tries the stack tracer for `doctor`: it samples this process alone, on one CPU.

use std::time::{Duration, Instant};

use libbpf_rs::{Link, Object, OpenObject};

use super::plan::{SAMPLER, survey_stack};
use super::record::{Rest, Sample};
use super::settings::StackSettings;
use super::{CANNOT_LOAD, open, perf};
use crate::calls::adapter::UserAdapter;
use crate::calls::attach::configure;
use crate::calls::trial;
use crate::error::{Error, ErrorKind, Result};
use crate::layout;
use crate::losses::{HIT_PLACES, read_counters};
use crate::object::{self, Filter, map_handle};
use crate::plan::PlannedHook;
use crate::targets::Targets;
use crate::trial::{Candidate, Trial, try_hooks};

/// Long enough for a sample at the lowest frequency that is tried.
const PATIENCE: Duration = Duration::from_secs(1);
const FREQUENCY_HZ: u32 = 999;

struct StackCandidate(StackSettings);

/// Loads and attaches every program of the stack tracer for a moment.
///
/// # Errors
/// Where nothing can be tried at all: no BTF, or an object of another version.
pub fn try_stack(settings: StackSettings) -> Result<Trial> {
    layout::check(&settings.object_path, &[Sample::layout(), Rest::layout()])?;
    let filter = Filter {
        enabled: true,
        ..Filter::default()
    };
    let settings = StackSettings { filter, ..settings };
    let mut surveyed = survey_stack()?;
    surveyed.extend(trial::hooks().into_iter().map(|hook| (hook, None)));
    try_hooks(&StackCandidate(settings), surveyed)
}

impl Candidate for StackCandidate {
    type Held = Link;
    const CANNOT_LOAD: &'static str = CANNOT_LOAD;

    fn open(&self) -> Result<OpenObject> {
        let mut open = open(&self.0)?;
        configure(&mut open, UserAdapter::choose());
        Ok(open)
    }

    fn attach(&self, object: &Object, hook: &PlannedHook) -> Result<Link> {
        if let Some(attached) = trial::attach(object, hook) {
            attached
        } else if hook.program == SAMPLER {
            perf::attach_to_own_thread(object, SAMPLER, FREQUENCY_HZ)
        } else {
            object::attach(object, hook)
        }
    }

    /// Keeps the CPU busy until a sample was taken.
    fn exercise(&self, object: &Object) -> Result<()> {
        Targets::new(map_handle(object, "targets")?).add(std::process::id())?;
        let hits = map_handle(object, "hits")?;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let [samples, ..] = read_counters(&hits, &HIT_PLACES)?;
            if samples > 0 {
                return Ok(());
            }
        }
        Err(Error::new(
            ErrorKind::Kernel,
            "the stack tracer does not see its own process",
            "its programs are attached and took no sample",
            "universal-tracer doctor -v",
        ))
    }
}
