//! Balance plans: what they do, and the laws they keep.

mod clusters;
mod laws;
