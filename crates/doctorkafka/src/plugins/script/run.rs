//! Runs one script: JSON in, JSON out, within a time limit and an output limit.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// What of a script's standard error is kept for messages, in bytes.
const STDERR_KEPT: u64 = 4 * 1024;

/// How long is read on after a script has ended, while something that it has started holds its pipes.
const AFTER_THE_END: Duration = Duration::from_millis(200);

/// How a script is run.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// After this time it is killed, with everything that it has started.
    pub(super) time: Duration,
    /// More output than this many bytes is an error.
    pub(super) output: u64,
}

/// Why a script brought nothing.
#[derive(Debug, Error)]
pub(super) enum ScriptError {
    #[error("cannot start {command}: {why}")]
    Start { command: String, why: String },
    #[error("{command} did not end within {limit:?} and was killed")]
    TimeLimit { command: String, limit: Duration },
    #[error("{command} printed more than {limit} bytes and was killed")]
    OutputLimit { command: String, limit: u64 },
    #[error("{command} ended with {status}{}", last_words(.stderr))]
    Failed { command: String, status: String, stderr: String },
    #[error("{command} did not print what is expected: {why}")]
    BadOutput { command: String, why: String },
    #[error("lost {command}: {why}")]
    Lost { command: String, why: String },
}

fn last_words(stderr: &str) -> String {
    match stderr.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => format!(", saying: {}", line.trim()),
        None => String::new(),
    }
}

/// Runs `command` (program and arguments, no shell between) with `input` as JSON on its standard input, and reads
/// JSON from its standard output. Nothing on standard output is read as `null`.
pub(super) async fn run(
    command: &[String],
    input: &serde_json::Value,
    limits: &Limits,
) -> Result<serde_json::Value, ScriptError> {
    let shown = command.first().cloned().unwrap_or_default();
    let mut child = start(command, &shown)?;
    // Whatever the script has started goes with it, also after a good end, and when nobody waits for it any more.
    let group = Group(child.id());
    let talked = tokio::time::timeout(limits.time, talk(&mut child, &shown, input, limits.output)).await;
    let result = talked.unwrap_or(Err(ScriptError::TimeLimit { command: shown.clone(), limit: limits.time }));
    drop(group);
    let _ = child.kill().await;
    let output = result?;
    if output.iter().all(u8::is_ascii_whitespace) {
        return Ok(serde_json::Value::Null);
    }
    serde_json::from_slice(&output).map_err(|e| ScriptError::BadOutput { command: shown, why: e.to_string() })
}

fn start(command: &[String], shown: &str) -> Result<Child, ScriptError> {
    let failed = |why: String| ScriptError::Start { command: shown.to_owned(), why };
    let (program, arguments) =
        command.split_first().ok_or_else(|| failed("no command is given".to_owned()))?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed(e.to_string()))
}

/// Feeds the script and listens to it until it ends.
async fn talk(
    child: &mut Child,
    shown: &str,
    input: &serde_json::Value,
    output_limit: u64,
) -> Result<Vec<u8>, ScriptError> {
    let lost = |why: std::io::Error| ScriptError::Lost { command: shown.to_owned(), why: why.to_string() };
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let text = input.to_string();
    let feed = async move {
        if let Some(mut stdin) = stdin {
            // A script that does not care for its input closes the pipe: that is its right.
            let _ = stdin.write_all(text.as_bytes()).await;
            let _ = stdin.shutdown().await;
        }
    };
    let (mut output, mut said) = (Vec::new(), Vec::new());
    let (status, read) = {
        let listen = async {
            let (_, read, ()) = tokio::join!(
                feed,
                read_bounded(stdout, output_limit + 1, &mut output),
                read_keeping(stderr, STDERR_KEPT, &mut said)
            );
            read
        };
        tokio::pin!(listen);
        tokio::select! {
            biased;
            read = &mut listen => (None, read),
            status = child.wait() => {
                // What it has started may hold the pipes for ever: only what is in them by now counts.
                let read = tokio::time::timeout(AFTER_THE_END, &mut listen).await;
                (Some(status.map_err(lost)?), read.unwrap_or(Ok(())))
            }
        }
    };
    read.map_err(lost)?;
    if output.len() as u64 > output_limit {
        return Err(ScriptError::OutputLimit { command: shown.to_owned(), limit: output_limit });
    }
    let status = match status {
        Some(status) => status,
        None => child.wait().await.map_err(lost)?,
    };
    if status.success() {
        return Ok(output);
    }
    let stderr = String::from_utf8_lossy(&said).into_owned();
    Err(ScriptError::Failed { command: shown.to_owned(), status: status.to_string(), stderr })
}

async fn read_bounded(
    from: Option<impl AsyncRead + Unpin>,
    limit: u64,
    into: &mut Vec<u8>,
) -> std::io::Result<()> {
    if let Some(from) = from {
        from.take(limit).read_to_end(into).await?;
    }
    Ok(())
}

/// Reads to the end, but keeps only the first `kept` bytes: a full pipe would block the script.
async fn read_keeping(from: Option<impl AsyncRead + Unpin>, kept: u64, into: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let _ = (&mut from).take(kept).read_to_end(into).await;
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
}

/// The processes of a script, which are killed when this is dropped. Those that have left the group (`setsid`) are not
/// reached.
pub(in crate::plugins) struct Group(pub(in crate::plugins) Option<u32>);

impl Group {
    /// Asks all of them to end.
    pub(in crate::plugins) fn terminate(&self) {
        signal_group(self.0, Signal::TERM);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        signal_group(self.0, Signal::KILL);
    }
}

fn signal_group(leader: Option<u32>, signal: Signal) {
    let id = leader.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(id) = id {
        // An error only means that nobody of the group is left.
        let _ = rustix::process::kill_process_group(id, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> Vec<String> {
        ["sh", "-c", text].map(str::to_owned).to_vec()
    }

    fn limits() -> Limits {
        Limits { time: Duration::from_secs(20), output: 1_000 }
    }

    async fn run_shell(text: &str, limits: &Limits) -> Result<serde_json::Value, String> {
        run(&shell(text), &serde_json::json!({"broker": 3}), limits).await.map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn hands_json_through() {
        assert_eq!(run_shell("cat", &limits()).await, Ok(serde_json::json!({"broker": 3})));
        assert_eq!(run_shell("cat >/dev/null", &limits()).await, Ok(serde_json::Value::Null));
        assert_eq!(run_shell("echo 1", &limits()).await, Ok(serde_json::json!(1)));
    }

    #[tokio::test]
    async fn says_what_a_failing_script_said_last() {
        let failed = run_shell("echo first >&2; echo no such host >&2; exit 3", &limits()).await;
        assert_eq!(failed, Err("sh ended with exit status: 3, saying: no such host".to_owned()));
    }

    #[tokio::test]
    async fn kills_a_script_and_its_children_at_the_time_limit() {
        let limits = Limits { time: Duration::from_millis(300), ..limits() };
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let text = format!("sleep 1000 & echo $! > {}; wait", pid_file.display());
        let failed = run_shell(&text, &limits).await;
        assert_eq!(failed, Err("sh did not end within 300ms and was killed".to_owned()));
        until_gone(&pid_file).await;
    }

    #[tokio::test]
    async fn a_script_that_nobody_waits_for_takes_its_children_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let text = format!("sleep 1000 & echo $! > {}; wait", pid_file.display());
        let limits = limits();
        let running = tokio::spawn(async move { run_shell(&text, &limits).await });
        while std::fs::read_to_string(&pid_file).map_or(true, |pid| pid.trim().is_empty()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        running.abort();
        until_gone(&pid_file).await;
    }

    #[tokio::test]
    async fn a_child_that_holds_the_output_does_not_keep_a_script_from_ending() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let text = format!("sleep 1000 & echo $! > {}; echo 1", pid_file.display());
        assert_eq!(run_shell(&text, &limits()).await, Ok(serde_json::json!(1)));
        until_gone(&pid_file).await;
    }

    async fn until_gone(pid_file: &std::path::Path) {
        let pid = std::fs::read_to_string(pid_file).unwrap().trim().to_owned();
        let gone = || match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        for _ in 0..1_000 {
            if gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the script's child {pid} is still alive");
    }

    #[tokio::test]
    async fn stops_reading_at_the_output_limit() {
        let failed = run_shell("while :; do echo 0123456789; done", &limits()).await;
        assert_eq!(failed, Err("sh printed more than 1000 bytes and was killed".to_owned()));
    }

    #[tokio::test]
    async fn refuses_output_that_is_not_json() {
        let failed = run_shell("echo hello", &limits()).await;
        assert!(
            failed.clone().is_err_and(|e| e.starts_with("sh did not print what is expected")),
            "{failed:?}"
        );
    }

    #[tokio::test]
    async fn a_program_that_does_not_exist_is_an_error() {
        let failed = run(&["/no/such/program".to_owned()], &serde_json::Value::Null, &limits()).await;
        assert!(failed.is_err_and(|e| e.to_string().starts_with("cannot start /no/such/program")));
    }

    #[tokio::test]
    async fn drk_33_and_61_full_pipes_in_all_directions_hang_nothing() {
        // More than any pipe holds: the script leaves its input unread and says much on the wrong stream.
        let much = 1 << 20;
        let input = serde_json::json!("x".repeat(much));
        let command = shell(&format!("head -c {much} /dev/zero >&2; echo 1"));
        let answer = run(&command, &input, &limits()).await.map_err(|e| e.to_string());
        assert_eq!(answer, Ok(serde_json::json!(1)));
    }
}
