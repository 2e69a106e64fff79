//! Conformance: the same scripts on the simulator and on real Kafka, and whether the same can be seen to happen.
//!
//! `scripts/*.txt` are scenarios in the notation of [`sim::scenario`]: partitions on the brokers 1 to 4, and the steps that
//! follow, one a line: faults, and what a client can ask for. [`play`] takes the steps through
//! the traits of crate `cluster`, looks at the cluster all the while, and makes an [`account`] of what could be seen.
//! The file of the same name with `.out` is the account of Kafka 4.3; where another version behaves otherwise, it has
//! a file of its own (`.3.9.out`, `.zookeeper.out`).
//!
//! The accounts are written by the simulator (`UPDATE_EXPECT=1`). It has to reproduce them to the letter, whatever the
//! seed; what real Kafka shows has to agree with them, as far as one can see (see [`account::Account::agrees`]).

#![allow(dead_code, reason = "each test crate uses a part of it")]

pub(crate) mod account;
pub(crate) mod look;
pub(crate) mod play;
pub(crate) mod script;
pub(crate) mod simulated;
