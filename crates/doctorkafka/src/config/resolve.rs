//! From the tree to the resolved configuration.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use cluster::BrokerAddress;
use control::event::names;

use super::defaults;
use super::entries::{self, Kind, Plugin, Types, flag, text, wrong_kind};
use super::events::{self, Emitter};
use super::legacy;
use super::node::{Entry, Node, Span, Value};
use super::problem::{Problem, did_you_mean};
use super::resolved::{ActionEntry, ClusterConfig, Config, PluginConfig, Service, SettingsFile};
use super::section;
use super::settings;
use crate::client_settings::Holds;
use crate::plugin::{Endpoint, PluginRegistry, Prepare};
use crate::store::StoreConfig;

const TOP_KEYS: [&str; 5] = ["doctorkafka", "monitors", "operators", "actions", "kafkaclusters"];

const CLUSTER_KEYS: [&str; 10] = [
    "name",
    "bootstrap_servers",
    "command_config",
    "enabled",
    "evaluation_interval",
    "guard",
    "execution",
    "monitors",
    "operators",
    "actions",
];

/// The parts of the file that hold for all clusters.
struct Globals {
    plugins: [Vec<Plugin>; 3],
    /// Whether all of their entries could be read.
    complete: bool,
    care: Node,
}

/// Resolves the tree. Without errors among the problems there is a configuration.
pub(super) fn resolve(root: &Node, registry: &PluginRegistry, problems: &mut Vec<Problem>) -> Option<Config> {
    let Some(entries) = root.entries() else {
        let message = format!("a configuration is a mapping, but here is {}", root.kind());
        problems.push(Problem::error(root.span.clone(), message));
        return None;
    };
    unknown_keys(entries, &TOP_KEYS, &["doctork"], problems);
    let types = types(registry);
    // The section has the name of the product; that of 0.3 is read, too.
    let section = root.get("doctorkafka").or_else(|| root.get("doctork"));
    let section = section.map(|entry| entry.node.clone()).unwrap_or_default();
    let (care, rest) = settings::split_care(&section);
    if section.entries().is_none() {
        let message = format!("`doctorkafka` is a mapping, but here is {}", section.kind());
        problems.push(Problem::error(section.span.clone(), message));
    }
    let service = settings::service(&rest, problems);
    // Read by itself, too, so that a mistake is found although every cluster says otherwise.
    settings::care(&care, problems);
    let before = problems.len();
    let plugins = Kind::ALL.map(|kind| of_all_clusters(root, kind, &types, problems));
    let complete = problems.len() == before;
    let globals = Globals { plugins, complete, care };
    let (clusters, disabled) = clusters(root, &globals, &types, registry, problems);
    let service = service?;
    if service.state_store == StoreConfig::File {
        let alone = clusters.iter().filter(|cluster| finds_no_other(cluster));
        problems.extend(alone.map(|cluster| Problem::warning(None, nobody_else(&cluster.name))));
    }
    Some(Config::new(
        Service { state_dir: service.state_dir, listen: service.listen, state_store: service.state_store },
        clusters,
        disabled,
    ))
}

/// Reports keys that are neither in `known` nor in `silent`.
fn unknown_keys(entries: &[Entry], known: &[&str], silent: &[&str], problems: &mut Vec<Problem>) {
    for entry in entries {
        let key = entry.key.as_str();
        if known.contains(&key) || silent.contains(&key) {
            continue;
        }
        let help = legacy::key_help(key)
            .map(str::to_owned)
            .or_else(|| did_you_mean(key, known.iter().copied()))
            .or_else(|| section::list("the keys are", known.iter().copied()));
        let problem = Problem::error(entry.key_span.clone(), format!("unknown key `{key}`"));
        problems.push(problem.maybe_help(help));
    }
}

/// Reads the clusters: the enabled ones, and the names of the others.
fn clusters(
    root: &Node,
    globals: &Globals,
    types: &Types<'_>,
    registry: &PluginRegistry,
    problems: &mut Vec<Problem>,
) -> (Vec<ClusterConfig>, Vec<Arc<str>>) {
    let (mut enabled, mut disabled): (Vec<ClusterConfig>, Vec<Arc<str>>) = (Vec::new(), Vec::new());
    let mut seen: Vec<(String, Span)> = Vec::new();
    let list = root.get("kafkaclusters");
    let items = list.and_then(|entry| entry.node.items()).unwrap_or_default();
    if let Some(entry) = list
        && entry.node.items().is_none()
    {
        problems.push(wrong_kind(entry, "a list of clusters"));
    } else if items.is_empty() {
        let span = list.and_then(|entry| entry.key_span.clone());
        let help = "write `kafkaclusters: [{name: NAME, bootstrap_servers: HOST:PORT}]`";
        problems.push(Problem::error(span, "there is no cluster under `kafkaclusters`").help(help));
    }
    for item in items {
        let Value::Mapping(entries) = &item.value else {
            let message = format!("an entry of `kafkaclusters` is a mapping, but here is {}", item.kind());
            problems.push(Problem::error(item.span.clone(), message));
            continue;
        };
        unknown_keys(entries, &CLUSTER_KEYS, &["zkurl", "evaluation_interval_seconds"], problems);
        let first = entries.first().and_then(|entry| entry.key_span.clone()).or_else(|| item.span.clone());
        let name = cluster_name(item, &first, &mut seen, problems);
        let is_enabled = item.get("enabled").and_then(|entry| flag(entry, problems)).unwrap_or(true);
        let cluster =
            cluster(item, &first, name.as_deref().unwrap_or_default(), globals, types, registry, problems);
        match (name, cluster) {
            (Some(name), _) if !is_enabled => disabled.push(name),
            (Some(_), Some(cluster)) => {
                if let Some(other) = enabled.iter().find(|other| has_same_servers(other, &cluster)) {
                    let span = item.get("bootstrap_servers").and_then(|entry| entry.key_span.clone());
                    let message = format!(
                        "`{}` and `{}` have the same bootstrap servers: one cluster would be looked after twice",
                        other.name, cluster.name
                    );
                    problems.push(Problem::warning(span, message));
                }
                enabled.push(cluster);
            }
            _ => {}
        }
    }
    if !items.is_empty() && enabled.is_empty() && disabled.len() == items.len() {
        let span = list.and_then(|entry| entry.key_span.clone());
        problems.push(Problem::error(span, "no cluster is enabled: there is nothing to do"));
    }
    (enabled, disabled)
}

/// Whether hosts are replaced, and another service that does so would not be found.
fn finds_no_other(cluster: &ClusterConfig) -> bool {
    let live = || cluster.actions.iter().filter(|action| !action.dry_run);
    let replaces =
        |action: &ActionEntry| action.subscribed_events.iter().any(|it| it == names::REPLACE_INSTANCE);
    live().any(replaces) && !live().any(|action| action.plugin.type_name == "report_operation")
}

fn nobody_else(cluster: &str) -> String {
    format!(
        "cluster `{cluster}`: hosts are replaced, and another service that replaces them, too, would not be found: add the action \
         `report_operation`, or share a `state_store`"
    )
}

fn has_same_servers(one: &ClusterConfig, other: &ClusterConfig) -> bool {
    let servers =
        |cluster: &ClusterConfig| cluster.endpoint.bootstrap.iter().cloned().collect::<BTreeSet<_>>();
    servers(one) == servers(other)
}

fn cluster_name(
    item: &Node,
    first: &Span,
    seen: &mut Vec<(String, Span)>,
    problems: &mut Vec<Problem>,
) -> Option<Arc<str>> {
    let Some(entry) = item.get("name") else {
        problems.push(Problem::error(first.clone(), "this cluster has no `name`"));
        return None;
    };
    let (name, span) = text(entry, problems)?;
    if !entries::is_name(&name) {
        let help = "a name has letters, digits, `.`, `_` and `-`, and does not start with a dot";
        problems.push(Problem::error(span, format!("`{name}` cannot be the name of a cluster")).help(help));
        return None;
    }
    if let Some((_, first)) = seen.iter().find(|(known, _)| *known == name) {
        let problem = Problem::error(span, format!("there are two clusters with the name `{name}`"));
        problems.push(problem.and_at(first.clone(), "the first"));
        return None;
    }
    seen.push((name.clone(), span));
    Some(Arc::from(name))
}

/// Reads one cluster.
fn cluster(
    item: &Node,
    first: &Span,
    name: &str,
    globals: &Globals,
    types: &Types<'_>,
    registry: &PluginRegistry,
    problems: &mut Vec<Problem>,
) -> Option<ClusterConfig> {
    let endpoint = endpoint(item, first, problems);
    let (care, _) = settings::split_care(item);
    let care = settings::care(&globals.care.merged(&care), problems);
    let before = problems.len();
    let [monitors, operators, actions] =
        Kind::ALL.map(|kind| of_cluster(item, kind, &globals.plugins[kind as usize], types, problems));
    let monitors = prepared(&monitors, registry.monitors(), problems);
    let mut emitters = Vec::new();
    let prepared_operators = prepared(&operators, registry.operators(), problems);
    for (plugin, span) in &prepared_operators {
        emitters.push(Emitter::new(Kind::Operator, &plugin.name, plugin.prepared.emits(), span));
    }
    let mut ready = Vec::new();
    let mut subscriptions = Vec::new();
    let mut own_problems = Vec::new();
    let mut replaces = None;
    for action in actions.iter().filter(|action| action.enabled) {
        let (own, section) = events::split_action(action, &mut own_problems);
        let action = Plugin { section, ..action.clone() };
        let Some((plugin, span)) = prepared(&[action], registry.actions(), problems).pop() else { continue };
        emitters.push(Emitter::new(Kind::Action, &plugin.name, plugin.prepared.emits(), &span));
        let dry_run = own.dry_run.unwrap_or_else(|| plugin.prepared.changes_things());
        let subscribed_events = own.subscribed.iter().map(|(event, _)| event.clone()).collect();
        let entry = ActionEntry { plugin, subscribed_events, dry_run };
        events::one_replacer_alone(&entry, &own.subscribed, &mut replaces, problems);
        subscriptions.extend(own.subscribed);
        ready.push(entry);
    }
    // Only with all plugins at hand is it known who emits what.
    if globals.complete && problems.len() == before {
        let off = disabled_emitters(&operators, registry);
        events::check(&emitters, &off, &subscriptions, problems);
    }
    problems.append(&mut own_problems);
    let strip = |(plugin, _): (_, Span)| plugin;
    Some(ClusterConfig {
        name: Arc::from(name),
        endpoint: endpoint?,
        care: care?,
        monitors: monitors.into_iter().map(|(plugin, _)| plugin).collect(),
        operators: prepared_operators.into_iter().map(strip).collect(),
        actions: ready,
    })
}

fn types(registry: &PluginRegistry) -> Types<'_> {
    Types {
        monitors: registry.monitors().keys().map(String::as_str).collect(),
        operators: registry.operators().keys().map(String::as_str).collect(),
        actions: registry.actions().keys().map(String::as_str).collect(),
    }
}

/// The plugins that hold for all clusters.
fn of_all_clusters(root: &Node, kind: Kind, types: &Types<'_>, problems: &mut Vec<Problem>) -> Vec<Plugin> {
    match root.get(kind.key()) {
        Some(entry) => entries::global(&entry.node, kind, types, problems),
        None => defaults::plugins(kind, types),
    }
}

/// The plugins of a cluster.
fn of_cluster(
    item: &Node,
    kind: Kind,
    global: &[Plugin],
    types: &Types<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<Plugin> {
    match item.get(kind.key()) {
        Some(entry) => entries::merged(global, &entry.node, kind, types, problems),
        None => global.to_vec(),
    }
}

/// The files of client settings and of secrets that the enabled clusters and their plugins name, whatever else is wrong.
pub(super) fn settings_files(root: &Node, registry: &PluginRegistry) -> Vec<SettingsFile> {
    let types = types(registry);
    // What cannot be read here is told when the configuration is resolved.
    let mut told = Vec::new();
    let mut files = Vec::new();
    let section = root.get("doctorkafka").or_else(|| root.get("doctork"));
    let store = section.and_then(|section| section.node.get("state_store"));
    files.extend(store.and_then(|store| store.node.get("command_config")).and_then(settings_file));
    let login = store.and_then(|store| store.node.get("auth"));
    let password = login.and_then(|login| login.node.get("password_file"));
    files.extend(password.and_then(|entry| named_file(entry, Holds::Secret)));
    for item in root.get("kafkaclusters").and_then(|entry| entry.node.items()).unwrap_or_default() {
        if item.get("enabled").and_then(|entry| flag(entry, &mut told)) == Some(false) {
            continue;
        }
        files.extend(item.get("command_config").and_then(settings_file));
        for kind in [Kind::Monitor, Kind::Action] {
            let global = of_all_clusters(root, kind, &types, &mut told);
            let plugins = of_cluster(item, kind, &global, &types, &mut told);
            files.extend(settings_of_plugins(&plugins));
            files.extend(secrets_of_messengers(&plugins));
            files.extend(programs_of_replacers(&plugins));
        }
    }
    files
}

fn settings_file(entry: &Entry) -> Option<SettingsFile> {
    named_file(entry, Holds::ClientSettings)
}

fn named_file(entry: &Entry, holds: Holds) -> Option<SettingsFile> {
    let span = entry.node.span.clone().or_else(|| entry.key_span.clone());
    entry.node.text().map(|path| SettingsFile { path: PathBuf::from(path), holds, span })
}

/// The keys of actions that send messages under which a file with a secret or with certificates is named.
const SECRET_FILES: [&str; 4] = ["password_file", "ca_file", "url_file", "routing_key_file"];

/// The files that actions read which send messages. They are read when a message is sent, so that one that is missing is no
/// reason to heal nothing.
fn secrets_of_messengers(plugins: &[Plugin]) -> impl Iterator<Item = SettingsFile> {
    let enabled = plugins.iter().filter(|plugin| plugin.enabled);
    let messengers = enabled.filter(|plugin| ["send_email", "webhook"].contains(&plugin.type_name.as_str()));
    messengers.flat_map(|plugin| {
        let named = SECRET_FILES.iter().filter_map(|key| plugin.section.get(key));
        named.filter_map(|entry| named_file(entry, Holds::Secret))
    })
}

/// The programs that replace hosts, or restart brokers: that one is missing is not to be found out when it is needed.
fn programs_of_replacers(plugins: &[Plugin]) -> impl Iterator<Item = SettingsFile> {
    let enabled = plugins.iter().filter(|plugin| plugin.enabled);
    let replacers = enabled.filter(|plugin| plugin.type_name == "script_instance_replacement");
    replacers.flat_map(|plugin| {
        let named = ["command", "restart"].iter().filter_map(|key| plugin.section.get(key));
        named.filter_map(|entry| {
            let program = entry.node.items()?.first()?;
            let path = PathBuf::from(program.text().filter(|text| !text.is_empty())?);
            Some(SettingsFile { path, holds: Holds::Program, span: program.span.clone() })
        })
    })
}

/// The files that plugins name for another cluster than the managed one.
fn settings_of_plugins(plugins: &[Plugin]) -> impl Iterator<Item = SettingsFile> {
    let enabled = plugins.iter().filter(|plugin| plugin.enabled);
    let elsewhere = enabled.filter(|plugin| plugin.section.get("bootstrap_servers").is_some());
    elsewhere.filter_map(|plugin| settings_file(plugin.section.get("command_config")?))
}

/// What operators could emit that are switched off.
fn disabled_emitters(operators: &[Plugin], registry: &PluginRegistry) -> Vec<Emitter> {
    let off: Vec<Plugin> = operators
        .iter()
        .filter(|plugin| !plugin.enabled)
        .map(|plugin| Plugin { enabled: true, ..plugin.clone() })
        .collect();
    let mut ignored = Vec::new();
    prepared(&off, registry.operators(), &mut ignored)
        .iter()
        .map(|(plugin, span)| Emitter::new(Kind::Operator, &plugin.name, plugin.prepared.emits(), span))
        .collect()
}

/// Hands the sections of the enabled plugins to their types.
fn prepared<T>(
    plugins: &[Plugin],
    types: &std::collections::BTreeMap<String, Prepare<T>>,
    problems: &mut Vec<Problem>,
) -> Vec<(PluginConfig<T>, Span)> {
    let mut ready = Vec::new();
    for plugin in plugins.iter().filter(|plugin| plugin.enabled) {
        let Some(prepare) = types.get(&plugin.type_name) else { continue };
        match prepare(&plugin.section.to_json()) {
            Ok(prepared) => ready.push((
                PluginConfig { name: plugin.name.clone(), type_name: plugin.type_name.clone(), prepared },
                plugin.span.clone(),
            )),
            Err(found) => problems.extend(found.iter().map(|found| {
                let also = "name type enabled subscribed_events dry_run";
                let problem = section::place(&plugin.section, found, also);
                // What concerns the section as a whole is shown where the plugin is named.
                if found.path.is_empty() && problem.span == plugin.section.span {
                    Problem { span: plugin.span.clone(), ..problem }
                } else {
                    problem
                }
            })),
        }
    }
    ready
}

/// How to reach the cluster.
fn endpoint(item: &Node, first: &Span, problems: &mut Vec<Problem>) -> Option<Endpoint> {
    let zookeeper = item.get("zkurl");
    if let Some(entry) = zookeeper {
        let problem = Problem::error(entry.key_span.clone(), "`zkurl` is not read");
        problems.push(problem.maybe_help(legacy::key_help("zkurl").map(str::to_owned)));
    }
    let command_config =
        item.get("command_config").map(|entry| text(entry, problems).map(|(path, _)| PathBuf::from(path)));
    let Some(entry) = item.get("bootstrap_servers") else {
        if zookeeper.is_none() {
            problems.push(Problem::error(first.clone(), "this cluster has no `bootstrap_servers`"));
        }
        return None;
    };
    let bootstrap = bootstrap(entry, problems)?;
    let command_config = match command_config {
        Some(path) => Some(path?),
        None => None,
    };
    Some(Endpoint { bootstrap, command_config })
}

/// The addresses: a text with commas, or a list.
fn bootstrap(entry: &Entry, problems: &mut Vec<Problem>) -> Option<Vec<BrokerAddress>> {
    let one = |node: &Node| -> Vec<Result<Vec<BrokerAddress>, Problem>> {
        let Some(text) = node.text() else {
            let message = format!("an address is a text HOST:PORT, but here is {}", node.kind());
            return vec![Err(Problem::error(node.span.clone().or_else(|| entry.key_span.clone()), message))];
        };
        let read = |part: &str| {
            kafka::parse_bootstrap(part).map_err(|error| Problem::error(node.span.clone(), error.to_string()))
        };
        let parts: Vec<&str> = text.split(',').filter(|part| !part.trim().is_empty()).collect();
        // Where there is nothing, that is what is wrong.
        if parts.is_empty() { vec![read(text)] } else { parts.into_iter().map(read).collect() }
    };
    let found: Vec<Result<Vec<BrokerAddress>, Problem>> = match &entry.node.value {
        Value::Sequence(items) if !items.is_empty() => items.iter().flat_map(one).collect(),
        Value::Sequence(_) => {
            let span = entry.node.span.clone();
            vec![Err(Problem::error(span, "`bootstrap_servers` is empty"))]
        }
        Value::Mapping(_) => vec![Err(wrong_kind(entry, "one or more addresses HOST:PORT"))],
        _ => one(&entry.node),
    };
    let mut addresses = Vec::new();
    let mut fine = true;
    for result in found {
        match result {
            // One that is named twice is asked once.
            Ok(more) => {
                for address in more {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
            }
            Err(problem) => {
                fine = false;
                problems.push(problem);
            }
        }
    }
    fine.then_some(addresses)
}
