//! Balance: a placement that meets all goals, with few and small moves.

// In the order of the story.
mod cluster;
mod policy;

mod bands;
mod chosen;
mod dirs;
mod harm;
mod racks;
mod score;

mod homeless;
mod steps;
mod stuck;
mod unmet;
mod why;

mod mode;
mod part;
mod solve;
mod state;

mod arrive;
mod bearers;
mod bound;
mod cross;
mod depart;
mod lead;
mod polish;
mod prefer;
mod search;
mod thrift;
mod topics;

mod foremost;
mod heirs;
mod last;
mod refine;
mod scarce;
mod settle;

mod order;
mod reason;
mod room;

mod watch;

mod audit;

pub use audit::{Violation, audit};
pub use cluster::{
    Broker, Builder, CPU, Cluster, ClusterError, DISK, Loads, Lock, MAX_LOAD, Mark, NETWORK_IN, NETWORK_OUT,
    Partition, RESOURCES, Replica,
};
pub use dirs::Seats;
pub use mode::{Mode, with_replication_factor};
pub use policy::{Counted, DEFAULT_GOALS, Goal, Leaders, MILLION, Moves, Policy, Preference};
pub use reason::{Purpose, Reason};
pub use room::Room;
pub use score::{Distance, Score};
pub use solve::{Budget, Change, Plan, judge, solve, solve_watched};
pub use steps::{Barred, barred, outside};
pub use stuck::{Hindrance, Limited, Stuck};
pub use unmet::{Obstacle, Unmet};
pub use watch::{Progress, Stage};
pub use why::{Step, Why};
