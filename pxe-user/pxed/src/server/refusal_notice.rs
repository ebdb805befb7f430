//! A line now and then about who was refused: counters alone are seen by nobody who does not look.

use pxe_common::{Drop, Pass, Verdict};

use super::served_interface::ServedInterface;
use pxe_engine::counters::Counter;
use pxe_proto::dhcp::Ignored;

/// Requests that were refused so far, over all interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RefusalCounts {
    dhcp: u64,
    tftp: u64,
    not_allowed: u64,
}

impl RefusalCounts {
    /// As it is now.
    pub(super) fn of(served: &[ServedInterface]) -> Self {
        let mut all = Self::default();
        for (label, count) in
            served.iter().flat_map(|served| served.counters().into_iter().chain(served.kernel_counters()))
        {
            all.add(label, count);
        }
        all
    }

    fn add(&mut self, label: &str, count: u64) {
        let is_kernels = |verdict: Verdict| verdict.label() == label;
        if [Ignored::NotAllowed.as_str(), Counter::NotAllowed.as_str()].contains(&label) {
            self.not_allowed += count;
        } else if is_kernels(Verdict::Drop(Drop::TftpRate)) || label == Counter::TftpRate.as_str() {
            self.tftp += count;
        } else if is_kernels(Verdict::Pass(Pass::DhcpRate))
            || is_kernels(Verdict::Drop(Drop::BootServerRate))
            || label == Ignored::Rate.as_str()
        {
            self.dhcp += count;
        }
    }

    /// Says what has come since `before`, if anything has.
    pub(super) fn tell_since(&self, before: &Self) {
        if self == before {
            return;
        }
        tracing::info!(
            event = "refused_requests",
            dhcp = self.dhcp.saturating_sub(before.dhcp),
            tftp = self.tftp.saturating_sub(before.tftp),
            not_allowed = self.not_allowed.saturating_sub(before.not_allowed),
            "rejected requests in the last minute: above the rate limit ([limits]), or from machines that [access] does not allow"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_found_by_its_labels() {
        let mut refused = RefusalCounts::default();
        for label in ["pass_dhcp_rate", "drop_boot_server_rate", "over_rate"] {
            refused.add(label, 1);
        }
        for label in ["drop_tftp_rate", "tftp_over_rate"] {
            refused.add(label, 10);
        }
        for label in ["not_allowed", "tftp_not_allowed", "pass_other_port", "rule"] {
            refused.add(label, 100);
        }
        assert_eq!(refused, RefusalCounts { dhcp: 3, tftp: 20, not_allowed: 200 });
    }
}
