//! How an interface's packets are taken, and why so.

use super::coexist::ForeignProgram;
use super::interface::{InterfaceFacts, InterfaceTarget};

use super::settings::Mode;
use crate::error::Result;
use crate::tracer::HookRow;

const COST: &str = "below 0.1 µs per packet";

/// By what ingress is seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ingress {
    Xdp(Mode),
    /// Behind another XDP program.
    Tc,
}

impl Ingress {
    /// As events and plans call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Xdp(mode) => mode.name(),
            Self::Tc => "tc",
        }
    }
}

/// How ingress is taken, and why.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) ingress: Ingress,
    why: String,
    /// What the user has to know of it.
    pub(crate) note: Option<String>,
}

/// # Errors
/// Where a mode was asked for and another program is in the way.
pub(crate) fn ingress(
    wanted: Option<Mode>,
    target: &InterfaceTarget,
    facts: &InterfaceFacts,
) -> Result<Choice> {
    let foreign = ForeignProgram::on(target);
    let choice = |ingress, why: &str, note| {
        Ok(Choice {
            ingress,
            why: why.to_owned(),
            note,
        })
    };
    match (foreign, wanted) {
        (Some(foreign), Some(_)) => Err(foreign.error(&target.name)),
        (Some(foreign), None) => Ok(Choice {
            ingress: Ingress::Tc,
            why: format!("{} is there already", foreign.description()),
            note: Some(foreign.note(&target.name)),
        }),
        (None, Some(mode)) => choice(Ingress::Xdp(mode), "as asked for", None),
        (None, None) if facts.is_veth() => choice(
            Ingress::Xdp(Mode::Generic),
            "native XDP on veth switches off the peer's segmentation offload",
            None,
        ),
        (None, None) => choice(
            Ingress::Xdp(Mode::Native),
            "the cheapest way to see what is received",
            None,
        ),
    }
}

/// How the plan calls an interface's ingress.
pub(crate) fn ingress_hook(target: &InterfaceTarget) -> String {
    format!("{} ingress", target.name)
}

/// The hooks of an interface, for the plan.
pub(crate) fn hooks(target: &InterfaceTarget, choice: &Choice, with_egress: bool) -> Vec<HookRow> {
    let ingress = HookRow {
        tracer: "xdp",
        hook: ingress_hook(target),
        adapter: choice.ingress.name(),
        why: choice.why.clone(),
        cost: COST,
    };
    let egress = HookRow {
        tracer: "xdp",
        hook: format!("{} egress", target.name),
        adapter: "tc",
        why: "what the interface sends".to_owned(),
        cost: COST,
    };
    let mut hooks = vec![ingress];
    hooks.extend(with_egress.then_some(egress));
    hooks
}
