//! The configuration: from YAML text to what the service runs.

pub mod resolved;
