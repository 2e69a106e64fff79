//! The live view on a terminal: what happens scrolls by, the picture of the cluster stays below it.

use std::io::{self, IsTerminal, Stdout};

use ratatui::backend::CrosstermBackend;
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line as Row, Span};
use ratatui::widgets::{Paragraph, Widget};
use ratatui::{Terminal, TerminalOptions, Viewport};

use super::lines::{Line, Voice};
use super::picture::Picture;

/// Rows of the picture on a terminal of 24 rows: ten are left for what happens. A higher one gives half of its rows.
const LEAST: u16 = 14;
/// Rows above the picture for what happens; a terminal that is too low for both has no picture.
const SPOKEN: u16 = 4;
/// The narrowest terminal on which the picture can be read.
const NARROWEST: u16 = 40;

/// A terminal with the picture on it.
pub(super) struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Takes the lower part of this terminal. `None` where there is none on which a picture can be drawn: standard output
    /// goes elsewhere, or the terminal is too small, does not understand escape codes or does not answer.
    pub(super) fn open() -> Option<Self> {
        let is_dumb = std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
        if is_dumb || !io::stdout().is_terminal() {
            return None;
        }
        let (width, height) = ratatui::crossterm::terminal::size().ok()?;
        let rows = (height / 2).max(LEAST).min(height.saturating_sub(SPOKEN));
        if width < NARROWEST || rows < LEAST - SPOKEN {
            return None;
        }
        let options = TerminalOptions { viewport: Viewport::Inline(rows) };
        Terminal::with_options(CrosstermBackend::new(io::stdout()), options).ok().map(Self)
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
    pub(super) fn draw(&mut self, picture: &Picture<'_>) -> io::Result<()> {
        self.0.draw(|frame| picture.render(frame.area(), frame.buffer_mut()))?;
        Ok(())
    }
}

/// A line as it is written without a picture: broken into rows on a terminal, whole where it goes elsewhere.
pub(super) fn wrapped(line: &Line) -> String {
    let text = line.to_string();
    let width = io::stdout().is_terminal().then(|| ratatui::crossterm::terminal::size().ok()).flatten();
    width.map_or(text.clone(), |(width, _)| textwrap::fill(&text, usize::from(width.max(NARROWEST))))
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
