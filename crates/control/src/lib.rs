//! The functional core: monitors, operators, incidents, guard, executions.
