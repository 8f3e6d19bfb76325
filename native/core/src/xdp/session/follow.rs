//! Following the interfaces while a session runs: those that come are taken up, those that go are let go.

use super::{InterfaceTarget, Result, XdpSession};
use crate::xdp::scope::is_same;

impl XdpSession {
    /// Looks for interfaces in the network namespace of a process, too.
    ///
    /// # Errors
    /// Where the namespace cannot be entered.
    pub(super) fn add_process(&mut self, pid: u32) -> Result<()> {
        if self.scopes.add_process(pid)? {
            self.follow_interfaces();
        }
        Ok(())
    }

    /// Takes up interfaces that have come, lets go of those that have gone.
    pub(super) fn follow_interfaces(&mut self) {
        let present = self.scopes.present();
        let Some(running) = &self.running else {
            return;
        };
        let is_among = |target: &InterfaceTarget, some: &[InterfaceTarget]| {
            some.iter().any(|other| is_same(target, other))
        };
        let attached: Vec<_> = running
            .attached
            .iter()
            .map(|one| one.target.clone())
            .collect();
        let named_only = !self.settings.interfaces.is_empty();
        for target in attached.iter().filter(|target| !is_among(target, &present)) {
            // an interface that is no way out any more is traced on as long as it is there
            if named_only || !target.is_there() {
                self.remove_interface(target);
            }
        }
        for target in present.iter().filter(|target| !is_among(target, &attached)) {
            match self.add_interface(target) {
                Ok(()) => self.note(format!("{} is there: tracing it from now on", target.name)),
                Err(error) => self.note(format!("{}: {}", error.what, error.cause)),
            }
        }
    }

    pub(super) fn note(&self, line: String) {
        if let Some(shared) = &self.shared {
            shared.lock().note(line);
        }
    }

    fn remove_interface(&mut self, target: &InterfaceTarget) {
        let (Some(running), Some(shared)) = (&mut self.running, &self.shared) else {
            return;
        };
        let place = running
            .attached
            .iter()
            .position(|one| is_same(&one.target, target));
        if let Some(place) = place {
            let gone = running.attached.remove(place);
            let number = gone.number;
            drop(gone);
            let mut collector = shared.lock();
            collector.remove(number);
            collector.note(format!(
                "{} is gone: waiting for it to come back",
                target.name
            ));
        }
    }
}
