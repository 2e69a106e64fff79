//! The shell: everything around the pure core that has to do with time, tasks and the outside.
//!
//! Reading order: [`clock`]; [`journal`] (the core's memory in the store); [`acts`] (events on their way through
//! actions); [`panics`] (plugins that panic); [`audit`] (what happens to records); [`snapshot`] (what others may see of a loop);
//! [`cluster_manager`] (the loop of one cluster).

pub mod clock;

pub mod journal;

pub mod acts;

pub mod audit;

pub mod snapshot;

pub mod panics;

pub mod cluster_manager;

pub mod connect;

pub(crate) mod gate;

mod known_store;

mod moving;

pub mod log;

pub mod neighbours;

mod siblings;

pub mod service;
