//! How many packets to leave out between two samples: geometrically distributed, so that no rhythm of the traffic
//! can hide from the sampling, and precomputed, since a program has no logarithm.

/// SKIPS of `bpf/xdp_tracer.bpf.c`.
pub(crate) const SKIPS: usize = 1024;

/// Distances whose mean is exactly `sampling - 1`: on average one packet in `sampling` is taken.
pub(crate) fn skips(sampling: u32) -> Vec<u32> {
    if sampling <= 1 {
        return vec![0; SKIPS];
    }
    let mut skips: Vec<u32> = (0..SKIPS).map(|at| quantile(at, sampling)).collect();
    // cutting off at the quantiles' middle makes the mean a little smaller; the longest distances make up for it
    let wanted = u64::from(sampling - 1) * SKIPS as u64;
    let sum: u64 = skips.iter().copied().map(u64::from).sum();
    let last = &mut skips[SKIPS - 1];
    *last = last.saturating_add(u32::try_from(wanted.saturating_sub(sum)).unwrap_or(0));
    skips
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a small positive number"
)]
fn quantile(at: usize, sampling: u32) -> u32 {
    let share = (at as f64 + 0.5) / SKIPS as f64;
    let stays = 1.0 - 1.0 / f64::from(sampling);
    ((1.0 - share).ln() / stays.ln()).floor() as u32
}

#[cfg(test)]
mod tests {
    use super::{SKIPS, skips};

    #[test]
    fn the_mean_is_exact() {
        for sampling in [1, 2, 3, 10, 100, 1_000, 1_000_000] {
            let sum: u64 = skips(sampling).into_iter().map(u64::from).sum();
            assert_eq!(
                sum,
                u64::from(sampling - 1) * SKIPS as u64,
                "1 in {sampling}"
            );
        }
    }

    #[test]
    fn distances_differ() {
        let mut distinct = skips(100);
        distinct.dedup();
        assert!(distinct.len() > 200);
    }
}
