//! What several tests need.
#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod jvm;
pub(crate) mod seeds;
