//! The plugin types whose logic lies in the functional core: deriving monitors and operators.

use crate::plugin::PluginRegistry;

/// Adds them.
pub fn register(registry: &mut PluginRegistry) {
    let _ = registry;
}
