//! Checks the records' layout in Rust against the BTF of the object about to be loaded.

use std::path::Path;

use libbpf_rs::btf::types::{MemberAttr, Struct};
use libbpf_rs::btf::{Btf, HasSize};

use crate::error::{Error, ErrorKind, Result};
use crate::records::Layout;

/// Compares every struct that crosses the ring.
pub(crate) fn check(object: &Path, layouts: &[Layout]) -> Result<()> {
    let btf = Btf::from_path(object)
        .map_err(|error| mismatch(object, format!("cannot read its BTF: {error}")))?;
    layouts
        .iter()
        .try_for_each(|layout| check_struct(&btf, layout).map_err(|cause| mismatch(object, cause)))
}

fn mismatch(object: &Path, cause: String) -> Error {
    Error::new(
        ErrorKind::Failed,
        format!(
            "{} does not belong to this version of the tracer",
            object.display()
        ),
        cause,
        "install the package again",
    )
}

fn check_struct(btf: &Btf<'_>, layout: &Layout) -> std::result::Result<(), String> {
    let Layout {
        name,
        size,
        members,
    } = layout;
    let found: Struct<'_> = btf
        .type_by_name(name)
        .ok_or_else(|| format!("struct {name} is missing"))?;
    let in_object: Vec<(String, usize)> = found
        .iter()
        .map(|member| {
            let offset = match member.attr {
                MemberAttr::Normal { offset } => offset,
                MemberAttr::BitField { offset, .. } => offset,
            };
            (
                member
                    .name
                    .map(|text| text.to_string_lossy().into_owned())
                    .unwrap_or_default(),
                offset as usize / 8,
            )
        })
        .collect();
    // anonymous unions overlay the last member on our side
    for (member, (c_name, offset)) in members.iter().zip(&in_object) {
        if *offset != member.offset || !(c_name.is_empty() || c_name == member.name) {
            return Err(format!(
                "{name}.{} is at {}, the object has {c_name} at {offset}",
                member.name, member.offset
            ));
        }
    }
    if members.len() != in_object.len() || found.size() != *size {
        return Err(format!(
            "{name} has {} bytes, the object's has {}",
            size,
            found.size()
        ));
    }
    Ok(())
}
