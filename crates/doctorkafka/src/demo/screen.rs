//! The live view on a terminal: what happens scrolls by, the picture of the cluster stays below it.

use std::io::{self, Stdout};

use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line as Row, Span};
use ratatui::widgets::{Paragraph, Widget};
use ratatui::{Terminal, TerminalOptions, Viewport};
use sim::Moment;
use sim::world::{BrokerPanel, ProcessState};

use super::lines::{Line, Voice, clock};
use crate::api::status::ClusterStatus;

/// Lines of the picture: four brokers of each rack, and what is wrong, done and held.
const HEIGHT: u16 = 16;
/// Lines for what is wrong.
const PROBLEMS: usize = 5;
/// Width of a broker's bars.
const BAR: usize = 8;
/// Width of all that is shown of a broker.
const CELL: usize = 38;

/// A terminal with the picture on it.
pub(super) struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Takes the lower part of this terminal.
    pub(super) fn open() -> io::Result<Self> {
        let options = TerminalOptions { viewport: Viewport::Inline(HEIGHT) };
        Terminal::with_options(CrosstermBackend::new(io::stdout()), options).map(Self)
    }

    /// Gives the terminal back.
    pub(super) fn close(mut self) -> io::Result<()> {
        self.0.clear()?;
        self.0.show_cursor()
    }

    /// Puts a line above the picture, broken where it does not fit.
    pub(super) fn say(&mut self, line: &Line) -> io::Result<()> {
        let rows = spoken(line, usize::from(self.0.size()?.width));
        let height = u16::try_from(rows.len()).unwrap_or(u16::MAX);
        self.0.insert_before(height, |buffer| Paragraph::new(rows).render(buffer.area, buffer))
    }

    /// Draws the picture anew.
    pub(super) fn draw(
        &mut self,
        now: Moment,
        end: Option<Moment>,
        panels: &[BrokerPanel],
        status: &ClusterStatus,
    ) -> io::Result<()> {
        self.0.draw(|frame| picture(now, end, panels, status, frame.area(), frame.buffer_mut()))?;
        Ok(())
    }
}

fn spoken(line: &Line, width: usize) -> Vec<Row<'static>> {
    let head = match line.voice {
        Voice::Narrator if line.at.is_none() => String::new(),
        Voice::Narrator => format!("{} * ", line.time()),
        _ => format!("{} {:<7} ", line.time(), line.who()),
    };
    let style = match line.voice {
        Voice::Narrator if line.at.is_none() => Style::new().bold(),
        Voice::Narrator => Style::new().bold().fg(Color::Cyan),
        Voice::Alarm => Style::new().fg(Color::Yellow),
        Voice::Doctor => Style::new().fg(Color::Green),
        Voice::Kafka => Style::new().fg(Color::DarkGray),
    };
    let indent = " ".repeat(head.chars().count());
    let room = width.saturating_sub(indent.len()).max(20);
    let pieces = textwrap::wrap(&line.text, room);
    let first = |at: usize| if at == 0 { head.clone() } else { indent.clone() };
    let row = |(at, piece): (usize, &std::borrow::Cow<'_, str>)| {
        Row::from(vec![Span::from(first(at)), Span::styled(piece.to_string(), style)])
    };
    pieces.iter().enumerate().map(row).collect()
}

/// The picture, as text in `area`.
pub(super) fn picture(
    now: Moment,
    end: Option<Moment>,
    panels: &[BrokerPanel],
    status: &ClusterStatus,
    area: Rect,
    buffer: &mut Buffer,
) {
    let mut rows = vec![title(now, end, status, usize::from(area.width))];
    rows.extend(brokers(panels));
    rows.push(Row::default());
    rows.extend(problems(status));
    rows.extend(work(status));
    rows.extend(held(status));
    Paragraph::new(rows).render(area, buffer);
}

fn title(now: Moment, end: Option<Moment>, status: &ClusterStatus, width: usize) -> Row<'static> {
    let parts = status.partitions.unwrap_or_default();
    let time = end.map_or_else(|| clock(now), |end| format!("{} of {}", clock(now), clock(end)));
    let text = format!(
        "── DoctorKafka ── {time} ── {} partitions, {} under-replicated, {} without leader ",
        parts.of, parts.under_replicated, parts.leaderless
    );
    let rest = width.saturating_sub(text.chars().count());
    Row::from(format!("{text}{}", "─".repeat(rest)).bold())
}

/// The brokers, a column for each rack.
fn brokers(panels: &[BrokerPanel]) -> Vec<Row<'static>> {
    let mut racks: Vec<Option<String>> = panels.iter().map(|panel| panel.rack.clone()).collect();
    racks.sort();
    racks.dedup();
    let columns: Vec<Vec<&BrokerPanel>> =
        racks.iter().map(|rack| panels.iter().filter(|panel| panel.rack == *rack).collect()).collect();
    let most = columns.iter().map(Vec::len).max().unwrap_or(0);
    let head = |rack: &Option<String>| {
        let rack = rack.clone().unwrap_or_default();
        Span::from(format!("{rack:<12}{:<9}{:<9}{:<WIDE$}", "network", "disk", "copies", WIDE = CELL - 30))
            .dim()
    };
    let mut rows = vec![Row::from(racks.iter().map(head).collect::<Vec<_>>())];
    for at in 0..most {
        let cells = columns.iter().flat_map(|column| column.get(at).map_or_else(empty, |panel| cell(panel)));
        rows.push(Row::from(cells.collect::<Vec<_>>()));
    }
    rows
}

fn empty() -> Vec<Span<'static>> {
    vec![Span::from(" ".repeat(CELL))]
}

fn cell(panel: &BrokerPanel) -> Vec<Span<'static>> {
    let (mark, color) = match (panel.process, panel.live) {
        (ProcessState::Runs, true) if panel.behind == 0 => ("up     ", Color::Green),
        (ProcessState::Runs, true) => ("catchup", Color::Cyan),
        (ProcessState::Runs | ProcessState::Starts, false) | (ProcessState::Starts, true) => {
            ("starts ", Color::Cyan)
        }
        (ProcessState::Stopped, _) => ("stopped", Color::Yellow),
        (ProcessState::Down, true) => ("gone   ", Color::Yellow),
        (ProcessState::Down, false) => ("DOWN   ", Color::Red),
    };
    let load = bar(panel.bytes_in.max(panel.bytes_out), panel.network);
    let disk = bar(panel.disk_used, panel.disk_total);
    let name = format!("b{}", panel.id);
    vec![
        Span::from(format!("{name:<4}")).bold(),
        Span::styled(mark, Style::new().fg(color)),
        Span::from(format!(" {load} {disk} {:>3}     ", panel.replicas)),
    ]
}

/// A bar of [`BAR`] characters.
fn bar(part: u64, whole: u64) -> String {
    let eighths = part.saturating_mul(BAR as u64 * 8) / whole.max(1);
    let eighths = usize::try_from(eighths).unwrap_or(BAR * 8).min(BAR * 8);
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    let mut bar = format!("{}{rest}", "█".repeat(eighths / 8));
    let missing = BAR - bar.chars().count().min(BAR);
    bar.push_str(&"·".repeat(missing));
    bar
}

fn problems(status: &ClusterStatus) -> Vec<Row<'static>> {
    if status.incidents.is_empty() {
        return vec![Row::from("nothing is wrong".green())];
    }
    let since = |from: i64| status.now.saturating_sub(from).max(0) / 1_000;
    let line = |problem: &crate::api::status::Problem| {
        let waits = problem.waits_for.as_ref().map(|what| format!("; waits for {what}")).unwrap_or_default();
        Row::from(format!("! {} (for {} s){waits}", problem.message, since(problem.since)).yellow())
    };
    let mut rows: Vec<Row<'static>> = status.incidents.iter().take(PROBLEMS).map(line).collect();
    if status.incidents.len() > PROBLEMS {
        rows.push(Row::from(format!("! and {} more", status.incidents.len() - PROBLEMS).yellow()));
    }
    rows
}

fn work(status: &ClusterStatus) -> Vec<Row<'static>> {
    let moving = status.work.iter().filter_map(|doing| Some((doing, doing.moves?)));
    moving
        .take(2)
        .map(|(doing, moves)| {
            let all = moves.waiting + moves.copying + moves.cancelling + moves.done + moves.dropped;
            let left = moves.left.map_or_else(
                || "time left not known yet".to_owned(),
                |ms| format!("about {} s left", ms.div_ceil(1_000)),
            );
            let bar = bar(moves.bytes_done, moves.bytes);
            Row::from(
                format!(
                    "> {}: {bar} {} of {all} partitions, {left}",
                    doing.event.replace('_', " "),
                    moves.done
                )
                .cyan(),
            )
        })
        .collect()
}

fn held(status: &ClusterStatus) -> Vec<Row<'static>> {
    let line = |held: &crate::api::status::HeldEvent| {
        Row::from(format!("= held: {}: {}", held.event.replace('_', " "), held.reason).magenta())
    };
    status.held.iter().take(2).map(line).collect()
}
