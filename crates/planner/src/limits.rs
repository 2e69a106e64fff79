//! What a plan may do.

/// The bounds of a plan. Hard: a plan that breaks one is a violation, not a bad score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How full, in percent, a target's tightest log dir may become. Default 85. More than 100 counts as 100.
    ///
    /// Kafka chooses the log dir of a new replica itself, by the number of replicas in it and not by
    /// bytes. So everything that a plan sends to a broker must fit into any one of its dirs.
    pub disk_watermark_percent: u8,
    /// How much of a broker's network capacity, in percent, is kept free of what plans reserve.
    /// Default 10. More than 100 counts as 100.
    pub network_headroom_percent: u8,
    /// At most so many moves. Default: no bound.
    pub max_moves: Option<u32>,
    /// At most so many bytes to copy. Replicas of unknown size count as nothing. Default: no bound.
    pub max_bytes: Option<u64>,
    /// Whether a partition's new replica list may still name a broker that is down.
    ///
    /// Kafka up to 3.9 ends a reassignment only when *every* replica of the list is in sync, so such a
    /// list never completes there; 4.3 waits for the added ones only. Default false, which is right for both.
    pub allow_down_in_target_list: bool,
    /// Whether only replicas on brokers that are [dead](crate::BrokerState::Dead) may be replaced.
    /// Default true: healing. False lets replicas be drained from brokers that live.
    pub only_dead: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            disk_watermark_percent: 85,
            network_headroom_percent: 10,
            max_moves: None,
            max_bytes: None,
            allow_down_in_target_list: false,
            only_dead: true,
        }
    }
}
