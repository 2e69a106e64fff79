//! What a program has printed so far, line by line, for those who look on: the last lines, and now and then some for the record. However
//! much it prints, a bounded part of it is kept and told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use control::Output;
use tokio::time::Instant;

/// So many lines are kept to be shown.
const SHOWN: usize = 10;
/// So many of them go into one record.
const IN_A_RECORD: usize = 5;
/// A line is cut off here.
const LONGEST: usize = 300;
/// A record is made at most this often, so that half an hour of output makes 180 records.
const EVERY: Duration = Duration::from_secs(10);
/// No more records than these are made of one run, but for the last one.
const MOST_RECORDS: u32 = 200;

/// A stream of a program.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stream {
    Out,
    Err,
}

/// What was heard, shared by those who read it and those who show it.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Mutex<Said>>);

impl Heard {
    pub(super) fn take(&self, from: Stream, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(from, bytes, Instant::now());
    }

    /// What is to be shown and told at this moment. What is told is not told again.
    pub(super) fn output(&self, now: Instant, ended: bool) -> Output {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).output(now, ended)
    }
}

#[derive(Debug, Default)]
struct Said {
    last: VecDeque<String>,
    last_at: Option<Instant>,
    /// How many lines there were since the last record.
    untold: u64,
    told_at: Option<Instant>,
    records: u32,
    /// The beginnings of lines that have not ended.
    begun: [Vec<u8>; 2],
}

impl Said {
    fn take(&mut self, from: Stream, bytes: &[u8], now: Instant) {
        let mut begun = std::mem::take(&mut self.begun[from as usize]);
        if !bytes.contains(&b'\n') {
            begun.extend(bytes.iter().take(LONGEST.saturating_sub(begun.len())));
            self.begun[from as usize] = begun;
            return;
        }
        let ends = bytes.iter().filter(|byte| **byte == b'\n').count();
        for (number, piece) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let room = LONGEST.saturating_sub(begun.len());
            begun.extend(piece.iter().take(room));
            if number == ends {
                break;
            }
            // Only the last lines are looked at: a program that prints a gigabyte must not take our time.
            if ends - number <= SHOWN {
                self.line(&begun, now);
            } else {
                self.untold = self.untold.saturating_add(1);
            }
            begun.clear();
        }
        self.begun[from as usize] = begun;
    }

    fn line(&mut self, bytes: &[u8], now: Instant) {
        let text = String::from_utf8_lossy(bytes);
        let clean: String = text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if clean.trim().is_empty() {
            return;
        }
        self.untold = self.untold.saturating_add(1);
        self.last_at = Some(now);
        self.last.push_back(clean);
        if self.last.len() > SHOWN {
            self.last.pop_front();
        }
    }

    fn output(&mut self, now: Instant, ended: bool) -> Output {
        if ended {
            for from in [Stream::Out, Stream::Err] {
                let rest = std::mem::take(&mut self.begun[from as usize]);
                self.line(&rest, now);
            }
        }
        let due = self.told_at.is_none_or(|at| now.duration_since(at) >= EVERY);
        let mut output = Output {
            last: self.last.iter().cloned().collect(),
            quiet: self.last_at.map(|at| now.duration_since(at)),
            ..Output::default()
        };
        if self.untold > 0 && (ended || (due && self.records < MOST_RECORDS)) {
            let untold = usize::try_from(self.untold).unwrap_or(usize::MAX);
            let told = untold.min(IN_A_RECORD).min(self.last.len());
            output.news = self.last.iter().skip(self.last.len() - told).cloned().collect();
            output.left_out = self.untold.saturating_sub(told as u64);
            (self.untold, self.told_at, self.records) = (0, Some(now), self.records + 1);
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(output: &Output) -> (Vec<&str>, Vec<&str>, u64) {
        let of = |lines: &'_ [String]| lines.len();
        assert!(of(&output.last) <= SHOWN && of(&output.news) <= IN_A_RECORD);
        let words = |lines| -> Vec<&str> {
            Vec::<&String>::from_iter(lines).into_iter().map(String::as_str).collect()
        };
        (words(&output.last), words(&output.news), output.left_out)
    }

    #[tokio::test(start_paused = true)]
    async fn lines_of_both_streams_are_shown_and_told_now_and_then() {
        let said = Heard::default();
        said.take(Stream::Out, b"a new ho");
        said.take(Stream::Err, b"warning: \x1b[31mold image\n");
        said.take(Stream::Out, b"st\n\n  \nwaits");
        let output = said.output(Instant::now(), false);
        let both = vec!["warning:  [31mold image", "a new host"];
        assert_eq!(words(&output), (both.clone(), both.clone(), 0));
        said.take(Stream::Out, b"...\n");
        let output = said.output(Instant::now(), false);
        assert_eq!(words(&output), (vec![both[0], both[1], "waits..."], vec![], 0), "too soon for a record");
        tokio::time::advance(EVERY).await;
        let output = said.output(Instant::now(), false);
        assert_eq!((words(&output).1, output.quiet), (vec!["waits..."], Some(EVERY)));
        assert_eq!(said.output(Instant::now(), false).news, [""; 0]);
        // What has no end is told at the end.
        said.take(Stream::Out, b"done");
        assert_eq!(said.output(Instant::now(), true).news, ["done"]);
    }

    #[tokio::test(start_paused = true)]
    async fn much_is_left_out_and_counted() {
        let said = Heard::default();
        let many: String = (0..1_000).map(|n| format!("line {n}\n")).collect();
        said.take(Stream::Out, many.as_bytes());
        said.take(Stream::Out, &[0_u8; 100_000]);
        let output = said.output(Instant::now(), true);
        assert_eq!(output.news.len(), IN_A_RECORD);
        assert_eq!((output.news[4].as_str(), output.left_out), ("line 999", 995));
        // A line without an end is cut off.
        said.take(Stream::Out, "é".repeat(100_000).as_bytes());
        let output = said.output(Instant::now(), true);
        assert!(output.news[0].len() <= LONGEST + 3, "{}", output.news[0].len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_speaks_for_hours_makes_a_bounded_number_of_records() {
        let said = Heard::default();
        let mut records = 0;
        for _ in 0..10_000 {
            said.take(Stream::Out, b"still here\n");
            records += u32::from(!said.output(Instant::now(), false).news.is_empty());
            tokio::time::advance(EVERY).await;
        }
        assert_eq!(records, MOST_RECORDS);
        assert_eq!(said.output(Instant::now(), true).left_out, 9_800 - 5);
    }
}
