//! What a program takes of the processors.

use std::fs;
use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// Runs a command without input to its end. Gives what it printed, and what it and all that it started and waited for
/// took of the processors.
pub(crate) fn output(command: &mut Command) -> Result<(Output, Duration)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("it cannot be started")?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = thread::scope(|scope| {
        let err = scope.spawn(|| all(err));
        let out = all(out);
        err.join().map_err(|_| anyhow!("reading panicked")).and_then(|err| Ok((out?, err?)))
    })?;
    let pid = Pid::from_child(&child);
    // It stays to be looked at until it is waited for.
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).context("waiting for it")?;
    let took = processor(&fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default());
    let status = child.wait().context("waiting for it")?;
    Ok((Output { status, stdout, stderr }, took))
}

fn all(pipe: Option<impl Read>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.context("it has no output")?.read_to_end(&mut bytes).context("reading what it prints")?;
    Ok(bytes)
}

/// The sum of `utime`, `stime`, `cutime` and `cstime` in a line of `/proc/PID/stat`, see proc(5); nothing if there is none.
fn processor(stat: &str) -> Duration {
    // The name of the program is in parentheses, and may hold some itself.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split_whitespace().skip(11).take(4).flat_map(str::parse::<u64>).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_a_program_and_its_children_took_and_printed() {
        let work = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        let script = format!("sh -c '{work}'; echo out; echo err >&2; exit 3");
        let (out, took) = output(Command::new("sh").args(["-c", &script])).unwrap();
        assert_eq!((&*out.stdout, &*out.stderr), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!(out.status.code(), Some(3));
        assert!(took > Duration::ZERO);
    }

    #[test]
    fn reads_the_line_of_a_program_with_an_odd_name() {
        let ticks = rustix::param::clock_ticks_per_second();
        let line = format!("7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 {ticks} {ticks} {ticks} {ticks} 20 0");
        assert_eq!(processor(&line), Duration::from_secs(4));
        assert_eq!(processor(""), Duration::ZERO);
    }
}
