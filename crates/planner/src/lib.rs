//! Placement of replicas on brokers, over dense ordinals.
//!
//! The planner answers one question: where should replicas go? It knows no names, no time and no Kafka, only
//! integers: [`Problem`] is the cluster, [`Limits`] what a plan may do, [`solve`] makes the [`Plan`], and [`audit()`]
//! checks it without trusting `solve`. Equal input gives an equal plan, on any machine.
//!
//! # Model
//!
//! * A partition is an ordered list of replicas; position 0 is the preferred leader. A move puts another broker at
//!   one position, so the order, the length and the place of the preferred leader stay.
//! * A broker has log dirs (bytes), network in and out (bytes per second), and a rack, each possibly unknown. What
//!   is unknown limits nothing: healing needs no load figures.
//! * A new replica takes of its target: the partition's size of disk; what producers write of network in. At
//!   position 0 it will lead, and takes of network out what consumers read plus what producers write once for every
//!   other replica. It takes of the present leader what producers write of network out, as it follows it. (Kafka
//!   counts consumer reads as `BytesOutPerSec` and followers' reads as `ReplicationBytesOutPerSec`; both leave
//!   through the same network card.)
//! * Kafka chooses a new replica's log dir by the number of replicas in each, not by bytes. So all that a plan sends to a
//!   broker must fit below the watermark in its tightest dir, the one with the fewest bytes left.
//! * Kafka before 4.3 ends a reassignment when every replica of the new list is in sync, 4.3 when the added ones are. So,
//!   unless [`Limits::allow_down_in_target_list`], a list that names a broker that is down is never made.
//!
//! # Policy
//!
//! Hard, never broken: no broker holds a partition twice; targets are alive; disk watermark and network limits hold
//! for the sum of a plan; frozen partitions and those without a live in-sync replica are not touched; the budget holds.
//!
//! Soft, in the order of the fields of [`Score`]: racks, then spread of the plan over targets, then load, then
//! spread of the topic, then replica counts.
//!
//! Who chooses first: the partition with the fewest live in-sync replicas, then the one with the fewest candidates.
//! Placing comes before racks: a replica is put into a worse rack if another partition could not be placed otherwise.
//! What cannot be placed is listed with its reason ([`WhyNot`]) and never keeps others from being placed.
//!
//! # Bounds
//!
//! Work is about (replicas to be replaced) × (brokers), plus one pass over all partitions for the topic counts. The
//! search for room by shifting earlier placements stops after a fixed number of looks.
//!
//! ```
//! use planner::{Broker, BrokerState, Limits, Partition, Problem, Replica, audit, solve};
//!
//! let mut builder = Problem::builder(1);
//! let dead = builder.add_broker(&Broker { state: BrokerState::Dead, ..Broker::default() })?;
//! let leader = builder.add_broker(&Broker::default())?;
//! let spare = builder.add_broker(&Broker::default())?;
//! builder.add_partition(&Partition {
//!     replicas: vec![
//!         Replica { broker: dead, in_sync: false, replace: true },
//!         Replica { broker: leader, in_sync: true, replace: false },
//!     ],
//!     leader: Some(leader),
//!     ..Partition::default()
//! })?;
//! let problem = builder.build();
//! let plan = solve(&problem, &Limits::default());
//! assert_eq!(audit(&problem, &Limits::default(), &plan), Ok(()));
//! assert_eq!(plan.assignments(&problem)[0].replicas, [spare, leader]);
//! # Ok::<(), planner::ProblemError>(())
//! ```

pub mod balance;

// In the order of the story.
mod problem;

mod limits;

mod plan;

mod heal;
mod ledger;
mod report;

mod audit;

pub use audit::{Violation, audit};
pub use heal::solve;
pub use limits::Limits;
pub use plan::{Assignment, Move, Plan, RackOutcome, Score, TargetFigures, Unplaced, WhyNot};
pub use problem::{
    Broker, BrokerOrdinal, BrokerState, Builder, LogDir, MAX_FIGURE, MAX_REPLICAS, Network, Partition,
    PartitionOrdinal, Problem, ProblemError, RackOrdinal, Replica, TopicOrdinal,
};
