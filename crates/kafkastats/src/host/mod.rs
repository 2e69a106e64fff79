//! What the broker's host knows: processor time, memory, network and disks, from `/proc` and `/sys`.
//!
//! Reading order: [`source`] tells the story; [`addresses`] says whether the broker is on this host at all, [`process`]
//! which process it is, [`sample`] reads the counters, and [`figures`] makes rates of two samples. What is left are readers
//! of text, which do no I/O and panic on none: [`text`], [`command`], [`properties`], [`cgroup`], [`mounts`].

pub mod addresses;
pub mod cgroup;
pub mod command;
pub mod figures;
pub mod mounts;
pub mod process;
pub mod properties;
pub mod sample;
pub mod source;
pub mod text;

pub use process::{Search, Wanted};
pub use source::{Choice, HostSource};
