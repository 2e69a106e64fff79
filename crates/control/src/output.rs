//! What programs print that actions run, as records: bounded by whoever reads their output.

use std::sync::Arc;

use crate::event::names;
use crate::execution::Execution;
use crate::record::{Line, RecordKind};
use crate::state::State;

/// The lines of what was printed since it was last asked, by the execution that it belongs to.
pub(crate) fn lines(state: &State, executions: &[Arc<Execution>]) -> Vec<Line> {
    let mut lines = Vec::new();
    for finding in state.findings() {
        let Some(output) = finding.output.as_ref().filter(|output| !output.news.is_empty()) else { continue };
        // It may have ended in this very step.
        let is_it = |execution: &&Arc<Execution>| {
            execution.event.target == finding.subject && execution.event.name == names::REPLACE_INSTANCE
        };
        let Some(execution) = executions.iter().rev().find(is_it) else { continue };
        let before = match output.left_out {
            0 => String::new(),
            left_out => format!("({left_out} more lines) "),
        };
        let detail = serde_json::json!({"lines": output.news, "left_out": output.left_out});
        let said = format!("says: {before}{}", output.news.join(" | "));
        lines.push(Line::of(RecordKind::Output, execution).result(said).detail(detail));
    }
    lines
}

#[cfg(test)]
mod tests {
    use cluster::BrokerId;

    use super::*;
    use crate::event::Event;
    use crate::execution::{ExecutionId, Once, Work};
    use crate::finding::{Finding, Output, Severity, Target};
    use crate::time::{Now, Timestamp};

    #[test]
    fn what_a_script_prints_is_a_record_of_the_execution_that_runs_it() {
        let execution = |id, broker| {
            let event =
                Event::new(names::REPLACE_INSTANCE, Target::Broker(BrokerId(broker)), "it is dead", &());
            Arc::new(Execution::new(
                ExecutionId(id),
                event,
                "host",
                Timestamp(0),
                Work::Once(Once::default()),
            ))
        };
        let executions = [execution(1, 3), execution(2, 3), execution(3, 4)];
        let said = |broker, lines: &[&str], left_out| {
            let mut state =
                State::new("c".into(), Now::default(), Arc::default(), Arc::default(), Arc::default());
            let news = lines.iter().map(|line| (*line).to_owned()).collect();
            let output = Output { news, left_out, ..Output::default() };
            let finding = Finding::new("runs", Target::Broker(BrokerId(broker)), Severity::Info, "it runs");
            state.report(Finding { output: Some(Box::new(output)), ..finding });
            let lines = super::lines(&state, &executions).into_iter();
            let record = |line: Line| line.into_record(1, Timestamp(0), "c", None);
            lines.map(record).map(|it| (it.kind, it.principal, it.execution, it.result)).collect::<Vec<_>>()
        };
        let told = |result: &str| vec![(RecordKind::Output, "host".to_owned(), Some(2), result.to_owned())];
        assert_eq!(said(3, &["a disk", "a host"], 0), told("says: a disk | a host"));
        assert_eq!(said(3, &["done"], 7), told("says: (7 more lines) done"));
        assert_eq!(said(3, &[], 7), []);
        assert_eq!(said(5, &["nobody knows whose"], 0), []);
    }
}
