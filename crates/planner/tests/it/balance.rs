//! Balance plans: what they do, the laws they keep, and that the audit sees what is wrong with one.

mod brute;
mod built;
mod clusters;
mod conditions;
mod damage;
mod few;
mod heirs;
mod homeless;
mod hosts;
mod laws;
mod log_dirs;
mod modes;
mod obstacles;
mod offenders;
mod preferences;
mod reached;
mod room;
mod unequal_racks;
