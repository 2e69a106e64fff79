//! The picture of the cluster, as rows of text: who is well, what is wrong, what is done about it, what is held and why.
//!
//! It fits into any terminal of 80 columns: where there is no room for every broker, those that are well are counted;
//! what is wrong, done and held always has room, and is broken where it does not fit into a row.

use std::collections::BTreeSet;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line as Row, Span};
use ratatui::widgets::{Paragraph, Widget};
use sim::Moment;
use sim::world::{BrokerPanel, ProcessState};

use crate::api::status::{ClusterStatus, Doing, HeldEvent, Moves, Problem};

/// At least so many rows are kept for what is wrong, done and held: with a row for the title and one for the columns' names
/// a picture of fourteen rows shows a rack in each of the other six.
const REPORT: usize = 6;
/// Width of the name of a broker, of what it does and of the number of its replicas.
const NAME: usize = 4;
const STATE: usize = 7;
const COPIES: usize = 3;
/// No more of a rack's name is shown.
const LABEL: usize = 12;
/// How brokers can be shown, the widest first. Four of the last stand in a row of 80, with three letters for the rack.
const CELLS: [Cell; 6] = [
    Cell { bar: 8, both: true, gap: 4 },
    Cell { bar: 5, both: true, gap: 3 },
    Cell { bar: 3, both: true, gap: 3 },
    Cell { bar: 8, both: false, gap: 3 },
    Cell { bar: 5, both: false, gap: 3 },
    Cell { bar: 3, both: false, gap: 1 },
];
/// So many brokers of a rack stand in one row where there is room for it.
const ABREAST: usize = 4;

/// What a picture shows.
pub(super) struct Picture<'a> {
    /// The moment.
    pub(super) now: Moment,
    /// When it ends at the latest, if it ends.
    pub(super) end: Option<Moment>,
    /// The brokers.
    pub(super) panels: &'a [BrokerPanel],
    /// What the service knows and does.
    pub(super) status: &'a ClusterStatus,
}

impl Picture<'_> {
    /// Draws it into `area`.
    pub(super) fn render(&self, area: Rect, buffer: &mut Buffer) {
        let (width, height) = (usize::from(area.width), usize::from(area.height));
        let mut rows = vec![self.title(width)];
        rows.extend(self.brokers(width, height.saturating_sub(REPORT + 1)));
        let room = height.saturating_sub(rows.len());
        rows.extend(self.report(width, room));
        Paragraph::new(rows).render(area, buffer);
    }

    fn title(&self, width: usize) -> Row<'static> {
        let parts = self.status.partitions.unwrap_or_default();
        let time = match self.end {
            Some(end) => format!("{}, ends by {}", minutes(self.now), minutes(end)),
            None => minutes(self.now),
        };
        let text = format!(
            "── {time} ── {} partitions, {} under-replicated, {} leaderless ",
            parts.of, parts.under_replicated, parts.leaderless
        );
        let rest = width.saturating_sub(text.chars().count());
        Row::from(format!("{text}{}", "─".repeat(rest)).bold())
    }

    /// The brokers, rack by rack, in at most `room` rows.
    fn brokers(&self, width: usize, room: usize) -> Vec<Row<'static>> {
        let racks: BTreeSet<Option<&str>> = self.panels.iter().map(|panel| panel.rack.as_deref()).collect();
        let racks: Vec<(&str, Vec<&BrokerPanel>)> = racks
            .into_iter()
            .map(|rack| {
                let brokers = self.panels.iter().filter(|panel| panel.rack.as_deref() == rack).collect();
                (rack.unwrap_or("all"), brokers)
            })
            .collect();
        let label = racks.iter().map(|(rack, _)| rack.chars().count()).max().unwrap_or(0).min(LABEL) + 1;
        let largest = racks.iter().map(|(_, brokers)| brokers.len()).max().unwrap_or(0);
        let cell = Cell::that_fits(width.saturating_sub(label), largest.clamp(1, ABREAST));
        let abreast = (width.saturating_sub(label) / cell.width()).max(1);
        let needed: usize = racks.iter().map(|(_, brokers)| brokers.len().div_ceil(abreast)).sum();
        if needed < room {
            let mut rows = vec![cell.head(label, largest.min(abreast))];
            for (rack, brokers) in &racks {
                for (at, some) in brokers.chunks(abreast).enumerate() {
                    let name = if at == 0 { rack } else { "" };
                    let mut spans = vec![Span::from(fixed(name, label)).dim()];
                    spans.extend(some.iter().flat_map(|panel| cell.of(panel)));
                    rows.push(Row::from(spans));
                }
            }
            return rows;
        }
        let mut rows: Vec<Row<'static>> =
            racks.iter().flat_map(|(rack, brokers)| condensed(&fixed(rack, label), brokers, width)).collect();
        if rows.len() > room {
            rows = condensed("all ", &self.panels.iter().collect::<Vec<_>>(), width);
        }
        if rows.len() > room {
            rows.truncate(room.saturating_sub(1).max(1));
            rows.push(Row::from("    ... and more that are not well"));
        }
        rows
    }

    /// What is wrong, done and held, in at most `room` rows.
    fn report(&self, width: usize, room: usize) -> Vec<Row<'static>> {
        let wrapped = |mark: &str, text: &str, style: Style| wrap(mark, text, style, width);
        let held = self.status.held.iter().take(2);
        let held = held.flat_map(|held| wrapped("= ", &of_held(held), Style::new().fg(Color::Magenta)));
        let moving = self.status.work.iter().filter_map(|doing| Some((doing, doing.moves?))).take(2);
        let work = moving
            .flat_map(|(doing, moves)| wrapped("> ", &of_work(doing, moves), Style::new().fg(Color::Cyan)));
        let mut decisions: Vec<Row<'static>> = work.chain(held).collect();
        let problems: Vec<Vec<Row<'static>>> = worth_saying(&self.status.incidents)
            .map(|problem| wrapped("! ", &self.of_problem(problem), Style::new().fg(Color::Yellow)))
            .collect();
        // What is wrong has at least half of the room, as far as it needs it.
        let needed: usize = problems.iter().map(Vec::len).sum();
        decisions.truncate(room.saturating_sub(needed.min(room.div_ceil(2))));
        let mut rows = some_of(problems, room.saturating_sub(decisions.len()));
        if rows.is_empty() && decisions.is_empty() {
            rows.push(Row::from("nothing is wrong".green()));
        }
        rows.extend(decisions);
        rows
    }

    fn of_problem(&self, problem: &Problem) -> String {
        let seconds = self.status.now.saturating_sub(problem.since).max(0) / 1_000;
        let waits = problem.waits_for.as_ref().map(|what| format!("; waits for {what}"));
        format!("{} (for {seconds} s){}", problem.message, waits.unwrap_or_default())
    }
}

/// The incidents, without those that another one of the same broker says better.
pub(super) fn worth_saying(all: &[Problem]) -> impl Iterator<Item = &Problem> {
    let is_dead = |problem: &Problem| {
        all.iter().any(|other| other.kind == "broker_dead" && other.subject == problem.subject)
    };
    all.iter().filter(move |problem| problem.kind != "broker_absent" || !is_dead(problem))
}

/// A moment in whole seconds.
fn minutes(at: Moment) -> String {
    let seconds = at.0 / 1_000;
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

/// As many whole entries as there is room for; how many more there are is said in a row of its own.
fn some_of(entries: Vec<Vec<Row<'static>>>, room: usize) -> Vec<Row<'static>> {
    let count = entries.len();
    let mut rows = Vec::new();
    for (at, entry) in entries.into_iter().enumerate() {
        let for_the_rest = usize::from(at + 1 < count);
        if rows.len() + entry.len() + for_the_rest > room {
            if at == 0 {
                // The worst is shown, as far as it goes.
                rows.extend(entry.into_iter().take(room.saturating_sub(for_the_rest)));
            }
            let left = count - at.max(1);
            if left > 0 && rows.len() < room {
                rows.push(Row::from(format!("! and {left} more").yellow()));
            }
            return rows;
        }
        rows.extend(entry);
    }
    rows
}

fn of_work(doing: &Doing, moves: Moves) -> String {
    let all = moves.waiting + moves.copying + moves.cancelling + moves.done + moves.dropped;
    let left = moves.left.map_or_else(
        || "time left not known yet".to_owned(),
        |ms| format!("about {} s left", ms.div_ceil(1_000)),
    );
    let bar = bar(moves.bytes_done, moves.bytes, 8);
    format!("{}: {bar} {} of {all} partitions, {left}", doing.event.replace('_', " "), moves.done)
}

fn of_held(held: &HeldEvent) -> String {
    format!("held: {}: {}", held.event.replace('_', " "), held.reason)
}

/// Text behind a mark, broken into rows.
fn wrap(mark: &str, text: &str, style: Style, width: usize) -> Vec<Row<'static>> {
    let indent = " ".repeat(mark.chars().count());
    let options = textwrap::Options::new(width.max(20)).initial_indent(mark).subsequent_indent(&indent);
    let pieces = textwrap::wrap(text, options);
    pieces.iter().map(|piece| Row::styled(piece.to_string(), style)).collect()
}

/// A rack in which those that are well are counted, and the others named, the worst first.
fn condensed(label: &str, brokers: &[&BrokerPanel], width: usize) -> Vec<Row<'static>> {
    let named = |wanted: &str| {
        let those = brokers.iter().filter(|panel| state(panel).0 == wanted);
        those.map(|panel| format!("b{}", panel.id)).collect::<Vec<_>>()
    };
    let up = named(UP).len();
    let mut text = format!("{up} of {} up", brokers.len());
    for word in NOT_WELL {
        let names = named(word);
        if !names.is_empty() {
            text.push_str(&format!("; {word}: {}", names.join(" ")));
        }
    }
    let color = if up == brokers.len() { Color::Green } else { Color::Red };
    wrap(label, &text, Style::new().fg(color), width)
}

/// How a broker is shown: with two bars of this width, or with that of its disk alone.
#[derive(Clone, Copy)]
struct Cell {
    bar: usize,
    both: bool,
    gap: usize,
}

impl Cell {
    /// The largest of which `abreast` fit into `width`, or the smallest there is.
    fn that_fits(width: usize, abreast: usize) -> Self {
        let [.., smallest] = CELLS;
        CELLS.into_iter().find(|cell| cell.width() * abreast <= width).unwrap_or(smallest)
    }

    fn width(self) -> usize {
        NAME + STATE + (self.bar + 1) * if self.both { 2 } else { 1 } + COPIES + self.gap
    }

    /// The names of the columns, as often as there are brokers in a row.
    fn head(self, label: usize, abreast: usize) -> Row<'static> {
        let network = if self.both {
            fixed(if self.bar > 7 { "network" } else { "net" }, self.bar + 1)
        } else {
            String::new()
        };
        let disk = fixed(if self.bar > 3 { "disk" } else { "dsk" }, self.bar + 1);
        let copies = fixed(if self.gap > 3 { "copies" } else { "rep" }, COPIES + self.gap);
        let head = format!("{}{network}{disk}{copies}", " ".repeat(NAME + STATE));
        Row::from(format!("{}{}", " ".repeat(label), head.repeat(abreast))).dim()
    }

    fn of(self, panel: &BrokerPanel) -> Vec<Span<'static>> {
        let (word, color) = state(panel);
        let mut bars = bar(panel.disk_used, panel.disk_total, self.bar);
        if self.both {
            let network = bar(panel.bytes_in.max(panel.bytes_out), panel.network, self.bar);
            bars = format!("{network} {bars}");
        }
        vec![
            Span::from(fixed(&format!("b{}", panel.id), NAME)).bold(),
            Span::styled(fixed(word, STATE), Style::new().fg(color)),
            Span::from(format!("{bars} {:>COPIES$}{}", panel.replicas, " ".repeat(self.gap))),
        ]
    }
}

/// The word for a broker that is well.
const UP: &str = "up";
/// The words for the others, the worst first.
const NOT_WELL: [&str; 6] = ["DOWN", "gone", "paused", "fenced", "starts", "behind"];

fn state(panel: &BrokerPanel) -> (&'static str, Color) {
    match (panel.process, panel.live) {
        (ProcessState::Runs, true) if panel.behind == 0 => (UP, Color::Green),
        (ProcessState::Runs, true) => ("behind", Color::Cyan),
        (ProcessState::Runs, false) => ("fenced", Color::Yellow),
        (ProcessState::Starts, _) => ("starts", Color::Cyan),
        (ProcessState::Stopped, _) => ("paused", Color::Yellow),
        (ProcessState::Down, true) => ("gone", Color::Yellow),
        (ProcessState::Down, false) => ("DOWN", Color::Red),
    }
}

/// A text of this width: filled up with spaces, or cut so that one is left.
fn fixed(text: &str, width: usize) -> String {
    let text: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{text:<width$}")
}

/// A bar of this width.
fn bar(part: u64, whole: u64, width: usize) -> String {
    let eighths = part.saturating_mul(width as u64 * 8) / whole.max(1);
    let eighths = usize::try_from(eighths).unwrap_or(width * 8).min(width * 8);
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    let bar = format!("{}{rest}", "█".repeat(eighths / 8));
    let missing = width - bar.chars().count().min(width);
    format!("{bar}{}", "·".repeat(missing))
}
