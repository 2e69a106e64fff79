//! A bar while something is waited for.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};

use planner::balance::{self, Stage};

use super::render;

/// What is done one after the other, and the percent of all time at which it begins: of 2.8 million replicas in a file.
const STEPS: [(Step, u8); 7] = [
    (Step::Reading, 0),
    (Step::Planning(Stage::Departing), 30),
    (Step::Planning(Stage::Arriving), 48),
    (Step::Planning(Stage::Mending), 58),
    (Step::Planning(Stage::Polishing), 64),
    (Step::Planning(Stage::Ordering), 68),
    (Step::Auditing, 72),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Reading,
    Planning(Stage),
    Auditing,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Reading => "reading",
            Step::Planning(Stage::Departing) => "planning: what leaves its broker",
            Step::Planning(Stage::Arriving) => "planning: where it goes",
            Step::Planning(Stage::Mending) => "planning: what is left outside its limits",
            Step::Planning(Stage::Polishing) => "planning: fewer and smaller moves",
            Step::Planning(Stage::Ordering) => "planning: in which order, and why",
            Step::Auditing => "auditing",
        }
    }
}

/// A bar on standard error; nothing where nobody watches.
pub(super) struct Bar {
    shown: RefCell<Shown>,
}

struct Shown {
    out: Option<Box<dyn Write>>,
    /// It is not written again.
    last: Option<(u8, Step)>,
}

impl Bar {
    pub(super) fn on_terminal() -> Bar {
        let out = io::stderr().is_terminal().then(|| Box::new(io::stderr()) as Box<dyn Write>);
        Bar::to(out)
    }

    fn to(out: Option<Box<dyn Write>>) -> Bar {
        Bar { shown: RefCell::new(Shown { out, last: None }) }
    }

    /// A step begins.
    pub(super) fn begins(&self, step: Step) {
        self.tell(step, 0, 1);
    }

    /// So much is done of a part of planning.
    pub(super) fn planning(&self, progress: balance::Progress) {
        self.tell(Step::Planning(progress.stage), progress.done, progress.of);
    }

    fn tell(&self, step: Step, done: usize, of: usize) {
        let Shown { out, last } = &mut *self.shown.borrow_mut();
        let Some(out) = out else { return };
        let at = STEPS.iter().position(|(other, _)| *other == step).unwrap_or(0);
        let (start, end) = (STEPS[at].1, STEPS.get(at + 1).map_or(100, |(_, next)| *next));
        let share = done.min(of) as f64 / of.max(1) as f64;
        let percent = start + (f64::from(end - start) * share) as u8;
        if *last != Some((percent, step)) {
            *last = Some((percent, step));
            let bar = render::bar(f64::from(percent) / 100.0, 20);
            // Where standard error is closed nobody watches.
            let _ = write!(out, "\r\x1b[K{bar} {percent:>3} % {}", step.name());
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(out) = &mut self.out {
            let _ = write!(out, "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    struct Screen(Rc<RefCell<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_bar_grows_says_what_is_done_and_goes_away() {
        let screen = Rc::new(RefCell::new(Vec::new()));
        let bar = Bar::to(Some(Box::new(Screen(Rc::clone(&screen)))));
        bar.begins(Step::Reading);
        for done in [0, 1, 500, 1000] {
            bar.planning(balance::Progress { stage: Stage::Departing, done, of: 1000 });
        }
        bar.planning(balance::Progress { stage: Stage::Mending, done: 0, of: 0 });
        bar.begins(Step::Auditing);
        drop(bar);
        let text = String::from_utf8(screen.borrow().clone()).unwrap();
        let lines: Vec<&str> = text.split("\r\x1b[K").collect();
        assert_eq!(
            lines,
            [
                "",
                "░░░░░░░░░░░░░░░░░░░░   0 % reading",
                "██████░░░░░░░░░░░░░░  30 % planning: what leaves its broker",
                "████████░░░░░░░░░░░░  39 % planning: what leaves its broker",
                "██████████░░░░░░░░░░  48 % planning: what leaves its broker",
                "████████████░░░░░░░░  58 % planning: what is left outside its limits",
                "██████████████░░░░░░  72 % auditing",
                ""
            ]
        );
    }

    #[test]
    fn nothing_is_written_where_nobody_watches() {
        let bar = Bar::to(None);
        bar.begins(Step::Auditing);
        assert_eq!(bar.shown.borrow().last, None);
    }
}
