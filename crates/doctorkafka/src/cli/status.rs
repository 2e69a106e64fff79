//! `doctorkafka status`.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use control::{Severity, Wish};
use jiff::tz::TimeZone;

use super::client::{ClientError, Whom};
use super::words::{length, moment};
use super::{fail, print};
use crate::api::status::{ClusterStatus, Doing, Moves, Status};
use crate::plugin::PluginRegistry;
use crate::shell::audit;
use crate::shell::cluster_manager::SHELL_SOURCE;

/// A figure that is older is told with its age, in ms.
const OLD_MS: u64 = 90_000;

/// A program that has printed nothing for so long, in ms, is worth a word.
const SILENT_MS: u64 = 10_000;

/// Say what is wrong, since when, what is being done, what it waits for, and how to stop it.
#[derive(Args, Debug)]
pub(super) struct StatusCommand {
    #[command(flatten)]
    whom: Whom,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl StatusCommand {
    pub(super) fn run(self, registry: &PluginRegistry) -> ExitCode {
        super::block_on(async {
            let client = match super::client_of(&self.whom, registry) {
                Ok(client) => client,
                Err(why) => return fail(&why),
            };
            match client.status().await.and_then(|status| only(status, self.whom.cluster.as_deref())) {
                Ok(status) if self.json => match serde_json::to_string_pretty(&status) {
                    Ok(text) => print(&format!("{text}\n")),
                    Err(error) => fail(&error.to_string()),
                },
                Ok(status) => print(&text(&status, &TimeZone::system())),
                Err(error) => super::refused(&error),
            }
        })
    }
}

fn only(mut status: Status, cluster: Option<&str>) -> Result<Status, ClientError> {
    if let Some(name) = cluster {
        let names = status.clusters.iter().map(|c| c.name.clone()).collect();
        status.clusters.retain(|c| c.name == name);
        if status.clusters.is_empty() {
            return Err(ClientError::NoSuchCluster { name: name.to_owned(), names });
        }
    }
    Ok(status)
}

/// The status in words.
fn text(status: &Status, zone: &TimeZone) -> String {
    let several = status.clusters.len() > 1;
    let texts: Vec<String> =
        status.clusters.iter().map(|cluster| of_cluster(cluster, several, zone)).collect();
    texts.join("\n")
}

fn of_cluster(cluster: &ClusterStatus, several: bool, zone: &TimeZone) -> String {
    // Writing to a string does not fail.
    let mut out = String::new();
    let id = cluster.cluster_id.as_deref().unwrap_or("not known yet");
    let looked = match cluster.last_cycle_age {
        Some(age) => format!("looked {} ago", length(age)),
        None => "has not looked yet".to_owned(),
    };
    let _ = writeln!(out, "{}  (cluster id {id})  {looked}", cluster.name);
    if let Some(trouble) = &cluster.trouble {
        let _ = writeln!(out, "  NOTHING CAN BE DONE: {trouble}");
    }
    if let Some(who) = &cluster.looks_on {
        let _ = writeln!(out, "  THIS SERVICE LOOKS ON: {who}");
    }
    if !cluster.dry_run.is_empty() {
        let _ =
            writeln!(out, "  dry run     these only say what they would do: {}", cluster.dry_run.join(", "));
    }
    numbers(&mut out, cluster);
    let with_name = if several { format!(" --cluster {}", cluster.name) } else { String::new() };
    wrong(&mut out, cluster);
    work(&mut out, cluster, &with_name);
    held(&mut out, cluster);
    messages(&mut out, cluster);
    wishes(&mut out, cluster, &with_name, zone);
    if !cluster.recent.is_empty() {
        let _ = writeln!(out, "last records");
        for record in &cluster.recent {
            let _ = writeln!(out, "  {}  {}", moment(record.timestamp.0, zone), audit::sentence(record));
        }
    }
    out
}

fn numbers(out: &mut String, cluster: &ClusterStatus) {
    match &cluster.brokers {
        None => {
            let _ = writeln!(out, "  brokers     not known yet");
        }
        Some(brokers) => {
            let mut parts = vec![format!("{} live", brokers.live.len())];
            let groups = [
                ("dead", &brokers.dead),
                ("absent", &brokers.suspects),
                ("unreachable from here", &brokers.unreachable),
            ];
            for (what, ids) in groups.iter().filter(|(_, ids)| !ids.is_empty()) {
                let list: Vec<String> = ids.iter().take(20).map(ToString::to_string).collect();
                let more = if ids.len() > 20 { ", …" } else { "" };
                parts.push(format!("{} {what} ({}{more})", ids.len(), list.join(", ")));
            }
            let unjudged = if brokers.judged { "" } else { "; who is dead is not known" };
            let _ = writeln!(out, "  brokers     {}{unjudged}{}", parts.join(", "), as_of(brokers.age));
        }
    }
    if let Some(partitions) = &cluster.partitions {
        let _ = writeln!(
            out,
            "  partitions  {}, {} under-replicated, {} without leader{}",
            partitions.of,
            partitions.under_replicated,
            partitions.leaderless,
            as_of(partitions.age)
        );
    }
    if cluster.foreign_reassignments > 0 {
        let _ = writeln!(
            out,
            "  {} partitions are being reassigned by somebody else and are left alone",
            cluster.foreign_reassignments
        );
    }
}

/// Says how old a figure is where it is older than any that is read in time: topics are read every 30 s.
fn as_of(age_ms: u64) -> String {
    if age_ms <= OLD_MS {
        return String::new();
    }
    format!(" (as of {} ago)", length(age_ms))
}

fn wrong(out: &mut String, cluster: &ClusterStatus) {
    if cluster.incidents.is_empty() {
        let judged = cluster.brokers.as_ref().is_some_and(|brokers| brokers.judged);
        let seen = cluster.last_cycle_age.is_some() && judged;
        let _ = writeln!(out, "{}", if seen { "nothing is wrong" } else { "nothing is known yet" });
        return;
    }
    let _ = writeln!(out, "wrong");
    for problem in &cluster.incidents {
        let severity = match problem.severity {
            Severity::Critical => "CRITICAL",
            Severity::Warning => "warning ",
            Severity::Info => "info    ",
        };
        let since = length(u64::try_from(cluster.now.saturating_sub(problem.since)).unwrap_or(0));
        let message = audit::about(&problem.subject, &problem.message);
        let _ = writeln!(out, "  {severity}  {message}  [for {since}]");
        if let Some(waits_for) = &problem.waits_for {
            let _ = writeln!(out, "            waits for: {waits_for}");
        }
    }
}

fn work(out: &mut String, cluster: &ClusterStatus, with_name: &str) {
    if cluster.work.is_empty() {
        return;
    }
    let _ = writeln!(out, "being done");
    for doing in &cluster.work {
        let dry = if doing.dry_run { " [dry run]" } else { "" };
        let since = length(u64::try_from(cluster.now.saturating_sub(doing.since)).unwrap_or(0));
        let _ = writeln!(
            out,
            "  #{} {} for {}{dry}: {}  [for {since}]",
            doing.execution,
            doing.event.replace('_', " "),
            doing.target,
            doing.reason
        );
        if let Some(moves) = &doing.moves {
            let _ = writeln!(out, "     {}", how_far(moves));
        }
        for line in &doing.says {
            let _ = writeln!(out, "     says: {line}");
        }
        if let Some(ago) = doing.said_ago.filter(|ago| *ago >= SILENT_MS) {
            let _ = writeln!(out, "     has said nothing for {}", length(ago));
        }
        let _ = writeln!(out, "     {}", how_to_stop(doing, with_name));
    }
}

fn how_far(moves: &Moves) -> String {
    let of = moves.waiting + moves.copying + moves.cancelling + moves.done + moves.dropped;
    let mut text = format!("{} of {of} partitions done, {} being copied", moves.done, moves.copying);
    for (count, what) in
        [(moves.waiting, "waiting"), (moves.cancelling, "being cancelled"), (moves.dropped, "given up")]
    {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    if moves.bytes > 0 {
        let mib = |bytes: u64| bytes >> 20;
        let _ = write!(text, "; {} of {} MiB", mib(moves.bytes_done), mib(moves.bytes));
    }
    let left = moves
        .left
        .map_or_else(|| "time left not known yet".to_owned(), |ms| format!("about {} left", length(ms)));
    format!("{text}; {left}")
}

fn how_to_stop(doing: &Doing, with_name: &str) -> String {
    match &doing.cancelled_by {
        Some(by) => format!("is being cancelled by {by}"),
        None if !doing.can_stop => "cannot be stopped: it is out, and ends by itself".to_owned(),
        None => format!("stop it with: doctorkafka cancel {}{with_name}", doing.execution),
    }
}

fn held(out: &mut String, cluster: &ClusterStatus) {
    if cluster.held.is_empty() {
        return;
    }
    let _ = writeln!(out, "held");
    for held in &cluster.held {
        let event = held.event.replace('_', " ");
        let _ = writeln!(out, "  {event} for {}: {}", held.target, held.reason);
    }
}

/// Messages, where some have not got out.
fn messages(out: &mut String, cluster: &ClusterStatus) {
    let in_trouble = cluster.messages.iter().filter(|(_, m)| m.waiting > 0 || m.undeliverable > 0);
    for (n, (action, counts)) in in_trouble.enumerate() {
        if n == 0 {
            let _ = writeln!(out, "messages");
        }
        let _ = writeln!(
            out,
            "  {action}: {} sent, {} waiting, {} given up",
            counts.sent, counts.waiting, counts.undeliverable
        );
    }
}

fn wishes(out: &mut String, cluster: &ClusterStatus, with_name: &str, zone: &TimeZone) {
    let wishes = &cluster.wishes;
    let mut lines = Vec::new();
    let mut add = |wish: &Wish, what: &str, end: &str| {
        let until = wish.until.map(|until| format!(" until {}", moment(until.0, zone))).unwrap_or_default();
        let why = if wish.reason.is_empty() { String::new() } else { format!(" ({})", wish.reason) };
        let since = moment(wish.since.0, zone);
        lines.push(format!("  {what} by {} since {since}{until}{why}; {end}{with_name}", wish.by));
    };
    if let Some(wish) = &wishes.paused {
        // Its own pause is for a store that cannot be read.
        let end = if wish.by == SHELL_SOURCE {
            "ends once the state store can be read"
        } else {
            "end it with: doctorkafka resume"
        };
        add(wish, "paused", end);
    }
    if let Some(wish) = &wishes.maintenance {
        add(wish, "maintenance of the cluster", "end it with: doctorkafka maintenance off");
    }
    for (broker, wish) in &wishes.broker_maintenance {
        let end = format!("end it with: doctorkafka maintenance off --broker {broker}");
        add(wish, &format!("maintenance of broker {broker}"), &end);
    }
    for (broker, wish) in &wishes.decommissioned {
        let end = format!("take it back with: doctorkafka decommission off --broker {broker}");
        add(wish, &format!("decommission of broker {broker}"), &end);
    }
    if let Some(wish) = &wishes.approved {
        let end = "ends with the mass failure; hold it with: doctorkafka pause";
        add(wish, "healing of many dead brokers approved", end);
    }
    if !lines.is_empty() {
        let _ = writeln!(out, "asked for\n{}", lines.join("\n"));
    }
}

#[cfg(test)]
mod tests;
