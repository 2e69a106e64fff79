//! The development tasks of this workspace.

fn main() {}
