//! The built-in plugin types, by the `type` under which a configuration names them.

pub mod core;

use crate::plugin::PluginRegistry;

/// A registry with all built-in plugin types. Add your own to it.
pub fn builtin() -> PluginRegistry {
    let mut registry = PluginRegistry::empty();
    core::register(&mut registry);
    registry
}
