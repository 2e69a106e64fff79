//! Laws of the readers of what exporters and Jolokia send: whatever it is, it does no harm, and what is well-formed is
//! understood.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic, in its helpers too")]

use kafkastats::jvm::exposition::{Sample, parse};
use kafkastats::jvm::{Attribute, Metric, Readings, Scope, jolokia, prometheus};
use proptest::prelude::*;

const CAPTURE: &str = include_str!("fixtures/default101.prom");
const JOLOKIA: &str = include_str!("fixtures/jolokia-bulk.json");

fn config() -> ProptestConfig {
    ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() }
}

/// Text with some characters changed, kept valid.
fn damaged(text: &'static str) -> impl Strategy<Value = String> {
    let change = (0..text.len(), "[{}\",=\\\\ #a1.\n\\[\\]:*é]{0,3}", 0..4_usize);
    prop::collection::vec(change, 1..12).prop_map(move |changes| {
        let mut text = text.to_owned();
        for (at, new, gone) in changes {
            let from = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let to = (from + gone).min(text.len());
            let to = (to..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
            text.replace_range(from..to, &new);
        }
        text
    })
}

/// A line as exporters write it.
fn written(name: &str, labels: &[(String, String)], value: f64) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: String =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\",", escaped(value))).collect();
    format!("{name}{{{labels}}} {value}\n")
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_written_is_read(
        name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,20}",
        labels in prop::collection::vec(("[a-zA-Z_][a-zA-Z0-9_]{0,8}", any::<String>()), 0..4),
        value in any::<f64>().prop_filter("a number", |value| !value.is_nan()),
    ) {
        // Other line ends inside of a value would end the line for any reader.
        prop_assume!(labels.iter().all(|(_, value)| !value.contains('\r')));
        let text = written(&name, &labels, value);
        let mut samples: Vec<Sample<'_>> = Vec::new();
        let outcome = parse(&text, |sample| samples.push(sample));
        prop_assert_eq!((outcome.samples, outcome.bad_lines), (1, 0), "{:?}", text);
        prop_assert_eq!(samples[0].name, name);
        prop_assert_eq!(samples[0].value, value);
        let read: Vec<_> = samples[0].labels.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect();
        prop_assert_eq!(read, labels);
    }

    #[test]
    fn any_text_is_parsed_without_harm(text in any::<String>()) {
        let mut labels = 0;
        let outcome = parse(&text, |sample| labels += sample.labels.len());
        prop_assert!(outcome.samples + outcome.bad_lines <= text.lines().count());
        prop_assert!(labels <= text.len());
        let _ = prometheus::read(&text, &[]);
        let _ = jolokia::read(&text);
    }

    #[test]
    fn damaged_metrics_cost_what_is_damaged(text in damaged(CAPTURE)) {
        let whole = prometheus::read(CAPTURE, &[]).unwrap().readings;
        // A changed number can contradict another, and then all of it is refused.
        if let Ok(page) = prometheus::read(&text, &[]) {
            let readings = page.readings;
            prop_assert!(readings.len() + 12 * 2 >= whole.len(), "{} of {}", readings.len(), whole.len());
        }
    }

    #[test]
    fn damaged_answers_of_jolokia_do_no_harm(text in damaged(JOLOKIA)) {
        if let Ok(answers) = jolokia::read(&text) {
            prop_assert!(!answers.readings.is_empty());
        }
    }

    #[test]
    fn readings_are_found_by_what_they_are_of(counts in prop::collection::btree_map("[a-z]{1,5}", 0_u32..100, 0..20)) {
        let mut readings = Readings::default();
        for (topic, count) in &counts {
            let scope = Scope::Topic(topic.clone());
            readings.put(Metric::BytesOut, Attribute::Count, scope.clone(), f64::from(*count)).unwrap();
            readings.put(Metric::BytesIn, Attribute::Count, scope, 7.0).unwrap();
        }
        readings.put(Metric::BytesOut, Attribute::Count, Scope::Broker, 1.0).unwrap();
        let found: Vec<_> = readings.of_topics(Metric::BytesOut, Attribute::Count).collect();
        let expected: Vec<_> = counts.iter().map(|(topic, count)| (topic.as_str(), f64::from(*count))).collect();
        prop_assert_eq!(found, expected);
    }
}
