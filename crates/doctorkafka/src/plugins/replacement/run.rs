//! Runs a program that replaces a host: for minutes, whatever it prints, and leaves nothing of it behind.

use std::collections::VecDeque;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::Instant;

use super::said::{Heard, Stream};
use crate::plugins::script::run::Group;

/// What of each stream is kept: its end, where a program says why it ended.
const KEPT: usize = 4 * 1024;
/// How long a program has to end after it was asked to.
const AFTER_TERM: Duration = Duration::from_secs(10);
/// How long is read on after a program has ended, while something that it has started holds its pipes.
const AFTER_THE_END: Duration = Duration::from_millis(200);

/// How a program and we hear of each other.
pub(super) struct Talk {
    /// What it prints.
    pub(super) said: Heard,
    /// Becomes true when it is to end.
    pub(super) stop: watch::Receiver<bool>,
}

/// What came of a program.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ran {
    /// It ended by itself, and well.
    Well { said: String },
    /// It ended by itself with another code than 0.
    Badly { status: String, said: String },
    /// Somebody else, or the system, has ended it: what it has done is not known.
    Killed { status: String, said: String },
    /// It took too long and was killed: what it has done is not known.
    TooLong { said: String },
    /// It was asked to end, and killed if it did not: what it has done is not known.
    Stopped { said: String },
    /// It could not be started: nothing was done.
    NotStarted { why: String },
}

/// Runs `command` (program and arguments, no shell between) with `env` besides what we have ourselves, and `input` as JSON
/// on its standard input, and lets those who look on hear what it prints. Whoever stops waiting takes the program with it.
pub(super) async fn run(
    command: &[String],
    env: &[(&'static str, String)],
    input: &serde_json::Value,
    limit: Duration,
    of: &Talk,
) -> Ran {
    if *of.stop.borrow() {
        return Ran::NotStarted { why: "anything, as it was stopped before".to_owned() };
    }
    let heard = &of.said;
    let mut child = match start(command, env) {
        Ok(child) => child,
        Err(why) => return Ran::NotStarted { why },
    };
    let group = Group(child.id());
    let (mut out, mut err) = (Tail::of(Stream::Out, heard), Tail::of(Stream::Err, heard));
    let end = End { limit, stop: of.stop.clone() };
    let status = talk(&mut child, &group, input, end, &mut out, &mut err).await;
    drop(group);
    let _ = child.kill().await;
    let said = last_words(&out, &err);
    match status {
        Some(Ok(status)) if status.success() => Ran::Well { said },
        Some(Ok(status)) if status.code().is_some() => Ran::Badly { status: status.to_string(), said },
        Some(Ok(status)) => Ran::Killed { status: status.to_string(), said },
        None if *of.stop.borrow() => Ran::Stopped { said },
        // Nobody knows how it ended.
        Some(Err(_)) | None => Ran::TooLong { said },
    }
}

fn start(command: &[String], env: &[(&'static str, String)]) -> Result<Child, String> {
    let (program, arguments) = command.split_first().ok_or("no command is given")?;
    // A zero byte ends a string for the kernel: a name with one is nobody's host.
    let env = env.iter().map(|(key, value)| (*key, value.replace('\0', "")));
    Command::new(program)
        .args(arguments)
        .envs(env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|why| format!("{program}: {why}"))
}

/// Waits until it is to end. Whoever could say so may have gone: then that is for ever.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

/// When a program is to end.
struct End {
    limit: Duration,
    stop: watch::Receiver<bool>,
}

/// Feeds and listens until it ends, or has had its time. `None`: it was killed.
async fn talk(
    child: &mut Child,
    group: &Group,
    input: &serde_json::Value,
    mut end: End,
    out: &mut Tail,
    err: &mut Tail,
) -> Option<std::io::Result<std::process::ExitStatus>> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let text = input.to_string();
    let feed = async move {
        if let Some(mut stdin) = stdin {
            // A program that does not care for its input closes the pipe: that is its right.
            let _ = stdin.write_all(text.as_bytes()).await;
            let _ = stdin.shutdown().await;
        }
    };
    let listen = async { tokio::join!(feed, out.read(stdout), err.read(stderr)) };
    tokio::pin!(listen);
    let mut deadline = Instant::now() + end.limit;
    let mut asked_to_end = false;
    let mut heard_all = false;
    loop {
        tokio::select! {
            status = child.wait() => {
                if !heard_all {
                    // What it has started may hold the pipes for ever: only what is in them by now counts.
                    let _ = tokio::time::timeout(AFTER_THE_END, &mut listen).await;
                }
                return if asked_to_end { None } else { Some(status) };
            }
            _ = &mut listen, if !heard_all => heard_all = true,
            () = stopped(&mut end.stop), if !asked_to_end => {
                asked_to_end = true;
                group.terminate();
                deadline = Instant::now() + AFTER_TERM;
            }
            () = tokio::time::sleep_until(deadline) => {
                if asked_to_end {
                    return None;
                }
                asked_to_end = true;
                group.terminate();
                deadline = Instant::now() + AFTER_TERM;
            }
        }
    }
}

/// The end of a stream.
struct Tail {
    from: Stream,
    heard: Heard,
    kept: VecDeque<u8>,
    dropped: bool,
}

impl Tail {
    fn of(from: Stream, heard: &Heard) -> Self {
        Self { from, heard: heard.clone(), kept: VecDeque::new(), dropped: false }
    }

    /// Reads to the end, however much it is.
    async fn read(&mut self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut piece = vec![0; 16 * 1024];
        while let Ok(n @ 1..) = from.read(&mut piece).await {
            self.heard.take(self.from, &piece[..n]);
            self.dropped |= n > KEPT;
            self.kept.extend(&piece[n.saturating_sub(KEPT)..n]);
            let over = self.kept.len().saturating_sub(KEPT);
            self.dropped |= over > 0;
            self.kept.drain(..over);
        }
    }

    /// In words: no control characters, which could play tricks on a terminal.
    fn text(&self) -> String {
        let bytes: Vec<u8> = self.kept.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let clean = text.trim().chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c });
        let dots = if self.dropped { "…" } else { "" };
        format!("{dots}{}", clean.collect::<String>())
    }
}

fn last_words(out: &Tail, err: &Tail) -> String {
    let parts = [out.text(), err.text()];
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(text: &str, limit: Duration) -> Ran {
        let command = ["sh", "-c", text].map(str::to_owned);
        let env = [("DOCTORKAFKA_HOST", "\"; rm -rf / #".to_owned())];
        run(&command, &env, &serde_json::json!({"broker": 3}), limit, &nobody_stops()).await
    }

    fn nobody_stops() -> Talk {
        Talk { said: Heard::default(), stop: watch::channel(false).1 }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn drk_39_hands_over_names_that_no_shell_reads() {
        let ran = shell("printf '%s ' \"$DOCTORKAFKA_HOST\"; cat", LONG).await;
        assert_eq!(ran, Ran::Well { said: "\"; rm -rf / # {\"broker\":3}".to_owned() });
    }

    #[tokio::test]
    async fn drk_33_exit_codes_decide_and_the_last_words_are_kept() {
        let ran = shell("echo begun; echo no such instance >&2; exit 1", LONG).await;
        let said = "begun\nno such instance".to_owned();
        assert_eq!(ran, Ran::Badly { status: "exit status: 1".to_owned(), said });
    }

    #[tokio::test]
    async fn drk_33_much_output_costs_nothing_and_hangs_nothing() {
        let text = "head -c 1000000000 /dev/zero; yes | head -n 10000000 >&2; echo; echo done";
        let ran = shell(text, LONG).await;
        let is_short = |said: &str| said.len() < 4 * KEPT && said.contains("done");
        assert!(matches!(&ran, Ran::Well { said } if is_short(said)), "{ran:?}");
    }

    #[tokio::test]
    async fn what_cannot_be_started_has_done_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("not-executable");
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        for program in ["/no/such/program", file.to_str().unwrap()] {
            let talk = nobody_stops();
            let ran = run(&[program.to_owned()], &[], &serde_json::Value::Null, LONG, &talk).await;
            assert!(matches!(&ran, Ran::NotStarted { why } if why.contains(program)), "{ran:?}");
        }
    }

    #[tokio::test]
    async fn what_it_leaves_running_neither_holds_us_nor_stays() {
        let folder = tempfile::tempdir().unwrap();
        let children = folder.path().join("children");
        let text =
            format!("for n in 1 2 3; do sleep 1000 & echo $! >> {}; done; echo forked", children.display());
        let began = Instant::now();
        let ran = shell(&text, LONG).await;
        assert_eq!(ran, Ran::Well { said: "forked".to_owned() });
        assert!(began.elapsed() < Duration::from_secs(30));
        for child in std::fs::read_to_string(children).unwrap().lines() {
            is_gone(child).await;
        }
    }

    /// Waits until there is no such process, but for one that nobody has taken note of yet.
    async fn is_gone(process: &str) {
        let gone = || match std::fs::read_to_string(format!("/proc/{}/stat", process.trim())) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        for _ in 0..1_000 {
            if gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("process {process} is still alive");
    }

    #[tokio::test]
    async fn drk_33_what_hangs_is_asked_to_end_and_then_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let (asked, child) = (folder.path().join("asked"), folder.path().join("child"));
        let text = format!(
            "trap 'touch {}; exit 0' TERM; sleep 1000 & echo $! > {}; wait",
            asked.display(),
            child.display()
        );
        let ran = shell(&text, Duration::from_millis(500)).await;
        assert!(matches!(ran, Ran::TooLong { .. }), "{ran:?}");
        assert!(asked.exists(), "it was not asked first");
        let child = std::fs::read_to_string(child).unwrap();
        is_gone(&child).await;
    }

    #[tokio::test]
    async fn what_somebody_else_has_killed_has_no_outcome() {
        let ran = shell("kill -9 $$", LONG).await;
        assert!(matches!(&ran, Ran::Killed { status, .. } if status.contains("signal: 9")), "{ran:?}");
    }

    #[tokio::test]
    async fn what_is_stopped_is_asked_to_end_first_and_killed_if_it_does_not() {
        let folder = tempfile::tempdir().unwrap();
        for (trap, limit) in [("exit 0", 5), ("", 30)] {
            let (begun, asked) = (folder.path().join("begun"), folder.path().join("asked"));
            let text = format!(
                "trap 'touch {}; {trap}' TERM; touch {}; while :; do sleep 0.05; done",
                asked.display(),
                begun.display()
            );
            let (stop, told) = watch::channel(false);
            let running = tokio::spawn(async move {
                let command = ["sh", "-c", &text].map(str::to_owned);
                let talk = Talk { said: Heard::default(), stop: told };
                run(&command, &[], &serde_json::Value::Null, LONG, &talk).await
            });
            while !begun.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let since = Instant::now();
            stop.send_replace(true);
            let ran = running.await.unwrap();
            assert!(matches!(ran, Ran::Stopped { .. }), "{ran:?}");
            assert!(since.elapsed() < Duration::from_secs(limit) && asked.exists());
            std::fs::remove_file(begun).unwrap();
            std::fs::remove_file(asked).unwrap();
        }
    }
}
