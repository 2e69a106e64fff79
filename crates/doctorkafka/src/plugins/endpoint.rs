//! Which cluster a plugin talks to when it is not the managed one.

use std::path::Path;

use crate::plugin::{BuildContext, ConfigProblem, Connection, Endpoint};

/// What is wrong with `bootstrap_servers` and `command_config`.
pub(super) fn check(bootstrap_servers: Option<&str>, command_config: Option<&Path>) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    if let Some(Err(e)) = bootstrap_servers.map(kafka::parse_bootstrap) {
        problems.push(ConfigProblem { path: "bootstrap_servers".to_owned(), message: e.to_string() });
    }
    if bootstrap_servers.is_none() && command_config.is_some() {
        let message = "goes with `bootstrap_servers`; the managed cluster has settings of its own".to_owned();
        problems.push(ConfigProblem { path: "command_config".to_owned(), message });
    }
    problems
}

/// The connection to the named cluster, or to the managed one when none is named.
pub(super) fn connection(
    context: &BuildContext,
    bootstrap_servers: Option<&str>,
    command_config: Option<&Path>,
) -> Result<Connection, String> {
    let Some(servers) = bootstrap_servers else { return Ok(context.connection.clone()) };
    let bootstrap = kafka::parse_bootstrap(servers).map_err(|e| e.to_string())?;
    context.connect.connect(&Endpoint { bootstrap, command_config: command_config.map(Path::to_owned) })
}
