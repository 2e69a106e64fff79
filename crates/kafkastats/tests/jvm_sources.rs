//! What is made of the answers of real exporters and of Jolokia: Kafka 4.2.1 with jmx_exporter 0.20.0 and 1.0.1 under
//! rules of all kinds.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic, in its helpers too")]

use expect_test::{Expect, expect};
use kafkastats::jvm::jolokia::{self, Answers};
use kafkastats::jvm::prometheus::{Override, Page, PrometheusError, read};
use kafkastats::jvm::{Attribute, Metric, Readings, Scope};

/// The figures that the agent uses, one a line.
fn show(readings: &Readings) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: Option<f64>| {
        let value = value.map_or("-".to_owned(), |value| value.to_string());
        text.push_str(&format!("{what} {value}\n"));
    };
    let orders = Scope::Topic("orders".to_owned());
    for (what, metric) in [("in", Metric::BytesIn), ("out", Metric::BytesOut)] {
        line(&format!("bytes {what} of orders"), readings.get(metric, Attribute::Count, &orders));
        line(&format!("bytes {what}"), readings.of_broker(metric, Attribute::Count));
    }
    line(
        "topics with bytes out",
        Some(readings.of_topics(Metric::BytesOut, Attribute::Count).count() as f64),
    );
    let size = Scope::Partition("orders".to_owned(), 3);
    line("size of orders-3", readings.get(Metric::LogSize, Attribute::Value, &size));
    for (what, attribute) in [
        ("idle (count)", Attribute::Count),
        ("idle (1 min)", Attribute::OneMinuteRate),
        ("idle (mean)", Attribute::MeanRate),
    ] {
        line(what, readings.of_broker(Metric::RequestHandlerIdle, attribute));
    }
    line("broker idle (count)", readings.of_broker(Metric::BrokerRequestHandlerIdle, Attribute::Count));
    for (what, metric) in [
        ("network idle", Metric::NetworkProcessorIdle),
        ("under-replicated", Metric::UnderReplicated),
        ("leaders", Metric::LeaderCount),
        ("state", Metric::BrokerState),
        ("cpu load", Metric::ProcessCpuLoad),
        ("cpu seconds", Metric::ProcessCpuSeconds),
        ("processors", Metric::Processors),
    ] {
        line(what, readings.of_broker(metric, Attribute::Value));
    }
    text
}

fn check(capture: &str, expected: Expect) {
    let Page { readings, outcome, .. } = read(capture, &[]).unwrap();
    assert_eq!(outcome.bad_lines, 0, "{:?}", outcome.first_bad);
    expected.assert_eq(&show(&readings));
}

macro_rules! capture {
    ($name:literal) => {
        include_str!(concat!("fixtures/", $name))
    };
}

#[test]
fn strimzi() {
    check(
        capture!("strimzi020.prom"),
        expect![[r#"
            bytes in of orders 190858
            bytes in 228761
            bytes out of orders 192480
            bytes out 192480
            topics with bytes out 1
            size of orders-3 1233680
            idle (count) 11223044914
            idle (1 min) -
            idle (mean) 0.9504486601325135
            broker idle (count) 11939796977
            network idle 0.30199323178331927
            under-replicated 0
            leaders 5
            state 3
            cpu load -
            cpu seconds 4.98
            processors -
        "#]],
    );
    check(
        capture!("strimzi101.prom"),
        expect![[r#"
            bytes in of orders 192401
            bytes in 234667
            bytes out of orders 194053
            bytes out 194053
            topics with bytes out 1
            size of orders-3 1330268
            idle (count) 11794007153
            idle (1 min) -
            idle (mean) 0.9534614490259984
            broker idle (count) 12167175175
            network idle 0.31298688312256717
            under-replicated 0
            leaders 5
            state 3
            cpu load -
            cpu seconds 5.17
            processors -
        "#]],
    );
}

#[test]
fn examples_of_the_exporter() {
    check(
        capture!("ex2_020.prom"),
        expect![[r#"
            bytes in of orders 198980
            bytes in 238745
            bytes out of orders 200632
            bytes out 200632
            topics with bytes out 1
            size of orders-3 1430194
            idle (count) 12964808325
            idle (1 min) -
            idle (mean) 0.9516032802781575
            broker idle (count) 13668211486
            network idle 0.325071918490991
            under-replicated 0
            leaders 5
            state 3
            cpu load -
            cpu seconds 6.81
            processors -
        "#]],
    );
    check(
        capture!("exkraft101.prom"),
        expect![[r#"
            bytes in of orders 195860
            bytes in 238598
            bytes out of orders 197534
            bytes out 197534
            topics with bytes out 1
            size of orders-3 1528551
            idle (count) 13005675823
            idle (1 min) -
            idle (mean) 0.9576898218246287
            broker idle (count) 13451622958
            network idle 0.32515682721840117
            under-replicated 0
            leaders 5
            state 3
            cpu load -
            cpu seconds 5.5
            processors -
        "#]],
    );
}

#[test]
fn confluent() {
    check(
        capture!("confluent020.prom"),
        expect![[r#"
            bytes in of orders 192486
            bytes in 237348
            bytes out of orders 194160
            bytes out 194160
            topics with bytes out 1
            size of orders-3 1625193
            idle (count) 13072315421
            idle (1 min) 0.961862444341632
            idle (mean) -
            broker idle (count) 14481531359
            network idle 0.3462658239585912
            under-replicated 0
            leaders 5
            state 3
            cpu load -
            cpu seconds 4.98
            processors -
        "#]],
    );
    check(
        capture!("confluent101.prom"),
        expect![[r#"
            bytes in of orders 182721
            bytes in 225057
            bytes out of orders 184361
            bytes out 184361
            topics with bytes out 1
            size of orders-3 1717683
            idle (count) 13008671593
            idle (1 min) 0.9613847719930597
            idle (mean) -
            broker idle (count) 14252456132
            network idle 0.34357194265051766
            under-replicated 0
            leaders 5
            state 3
            cpu load -
            cpu seconds 5.4
            processors -
        "#]],
    );
}

#[test]
fn bitnami() {
    check(
        capture!("bitnami020.prom"),
        expect![[r#"
            bytes in of orders 182609
            bytes in 222028
            bytes out of orders 184261
            bytes out 184261
            topics with bytes out 1
            size of orders-3 1905926
            idle (count) 13465304000
            idle (1 min) 0.9639735863610446
            idle (mean) -
            broker idle (count) 13607584201
            network idle 0.33166857701847996
            under-replicated 0
            leaders 5
            state 3
            cpu load 0
            cpu seconds 5.84
            processors 2
        "#]],
    );
    check(
        capture!("bitnami101.prom"),
        expect![[r#"
            bytes in of orders 190857
            bytes in 233223
            bytes out of orders 192530
            bytes out 192530
            topics with bytes out 1
            size of orders-3 1814270
            idle (count) 13191612394
            idle (1 min) 0.9619279148209283
            idle (mean) -
            broker idle (count) 12772754665
            network idle 0.3269225112055296
            under-replicated 0
            leaders 5
            state 3
            cpu load 0
            cpu seconds 5.43
            processors 2
        "#]],
    );
}

#[test]
fn without_rules() {
    check(
        capture!("default020.prom"),
        expect![[r#"
            bytes in of orders 182697
            bytes in 220871
            bytes out of orders 184337
            bytes out 184337
            topics with bytes out 1
            size of orders-3 1998421
            idle (count) 12108751573
            idle (1 min) 0.9365468837995677
            idle (mean) 0.9443228690653436
            broker idle (count) 11292671753
            network idle 0.30312576153721627
            under-replicated 0
            leaders 5
            state 3
            cpu load 0
            cpu seconds 5.68
            processors 2
        "#]],
    );
    check(
        capture!("default101.prom"),
        expect![[r#"
            bytes in of orders 190910
            bytes in 231128
            bytes out of orders 192583
            bytes out 192583
            topics with bytes out 1
            size of orders-3 2094277
            idle (count) 11067795312
            idle (1 min) 0.931107203746641
            idle (mean) 0.9222233877390882
            broker idle (count) 10422500671
            network idle 0.2870590135147102
            under-replicated 0
            leaders 5
            state 3
            cpu load 0
            cpu seconds 5.78
            processors 2
        "#]],
    );
}

#[test]
fn without_rules_in_lower_case() {
    check(
        capture!("defaultlc101.prom"),
        expect![[r#"
            bytes in of orders 194118
            bytes in 234117
            bytes out of orders 195758
            bytes out 195758
            topics with bytes out 1
            size of orders-3 2191761
            idle (count) 13072343847
            idle (1 min) 0.9617564590867802
            idle (mean) 0.9519699422732972
            broker idle (count) 12638581157
            network idle 0.3175052290798469
            under-replicated 0
            leaders 5
            state 3
            cpu load 0
            cpu seconds 4.84
            processors 2
        "#]],
    );
}

#[test]
fn koperator() {
    check(
        capture!("koperator101.prom"),
        expect![[r#"
            bytes in of orders -
            bytes in 242508
            bytes out of orders -
            bytes out 200596
            topics with bytes out 0
            size of orders-3 -
            idle (count) -
            idle (1 min) -
            idle (mean) -
            broker idle (count) -
            network idle -
            under-replicated -
            leaders -
            state -
            cpu load -
            cpu seconds 4.78
            processors -
        "#]],
    );
}

#[test]
fn names_of_the_user_s_own_come_first() {
    let text = "# TYPE my_out counter\nmy_out_total{topic=\"orders\",env=\"a\"} 5\nmy_out_total{topic=\"orders\",env=\"b\"} 7\n\
        kafka_server_brokertopicmetrics_bytesout_total{topic=\"orders\"} 9\n";
    let rule: Override = r#"bytes_out=my_out_total{env="b"}"#.parse().unwrap();
    let readings = read(text, &[rule]).unwrap().readings;
    let topics: Vec<_> = readings.of_topics(Metric::BytesOut, Attribute::Count).collect();
    assert_eq!(topics, [("orders", 7.0)]);
    for (text, why) in [
        ("bytes_out", "metric=name"),
        ("bytes=x", "is none of bytes_out, request_handler_idle"),
        ("bytes_out=", "no name of a metric"),
        ("bytes_out=a b", "no name of a metric"),
        (r#"bytes_out=a{b="#, "cannot be read"),
        (r#"bytes_out=a{b="c"}d"#, "cannot be read"),
    ] {
        let error = text.parse::<Override>().unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn what_is_no_broker_s_endpoint_is_told() {
    let html = "<html><head><title>JMX Exporter</title></head>\n<body>ok</body></html>\n";
    let error = read(html, &[]).unwrap_err();
    assert!(matches!(&error, PrometheusError::NotMetrics { .. }), "{error}");
    assert!(error.to_string().contains("JMX Exporter"), "{error}");
    for text in ["", "process_cpu_seconds_total 1\n", "kafka_consumergroup_lag{topic=\"t\"} 1\n"] {
        let error = read(text, &[]).unwrap_err();
        assert!(matches!(error, PrometheusError::NotOfABroker { .. }), "{error}");
    }
    // A Prometheus server that federates several brokers.
    let text = "kafka_server_replicamanager_leadercount{instance=\"a\"} 1\nkafka_server_replicamanager_leadercount{instance=\"b\"} 2\n";
    let error = read(text, &[]).unwrap_err();
    assert!(matches!(error, PrometheusError::Conflict(_)), "{error}");
}

#[test]
fn jolokia_s_answer_is_read() {
    let Answers { readings, problems, .. } = jolokia::read(capture!("jolokia-bulk.json")).unwrap();
    assert_eq!(problems, [] as [String; 0], "an MBean that is not there is no problem");
    expect![[r#"
        bytes in of orders 142043
        bytes in 172164
        bytes out of orders 225007
        bytes out 225007
        topics with bytes out 1
        size of orders-3 3003520
        idle (count) 13137807058
        idle (1 min) 0.9557934916799454
        idle (mean) -
        broker idle (count) 10419387519
        network idle -
        under-replicated 0
        leaders 336
        state -
        cpu load 0
        cpu seconds 10.46
        processors 2
    "#]]
    .assert_eq(&show(&readings));
}

#[test]
fn jolokia_is_asked_for_all_that_is_wanted() {
    let request: serde_json::Value = serde_json::from_str(&jolokia::request()).unwrap();
    let lines = request.as_array().unwrap().iter().map(|question| {
        assert_eq!(question["type"], "read");
        format!("{} {}\n", question["mbean"].as_str().unwrap(), question["attribute"])
    });
    expect![[r#"
        kafka.server:type=BrokerTopicMetrics,name=BytesOutPerSec,* ["Count"]
        kafka.server:type=KafkaRequestHandlerPool,name=RequestHandlerAvgIdlePercent ["Count","OneMinuteRate"]
        kafka.server:type=KafkaRequestHandlerPool,name=BrokerRequestHandlerAvgIdlePercent ["Count","OneMinuteRate"]
        kafka.network:type=SocketServer,name=NetworkProcessorAvgIdlePercent ["Value"]
        kafka.network:type=RequestChannel,name=RequestQueueSize ["Value"]
        kafka.server:type=ReplicaManager,name=UnderReplicatedPartitions ["Value"]
        kafka.server:type=KafkaServer,name=BrokerState ["Value"]
        kafka.log:type=LogManager,name=remainingLogsToRecover,* ["Value"]
        java.lang:type=OperatingSystem ["ProcessCpuLoad","ProcessCpuTime","AvailableProcessors"]
        kafka.server:type=KafkaServer,name=ClusterId ["Value"]
        kafka.server:type=app-info,id=* ["Version"]
    "#]].assert_eq(&lines.collect::<String>());
}

#[test]
fn jolokia_s_refusals_are_told() {
    for (body, why) in [
        ("<html>", "no JSON"),
        (r#"{"error":"Invalid JSON request","status":400}"#, "Invalid JSON request"),
        ("[]", "no MBean of a Kafka broker"),
        (r#"[{"request":{"mbean":"a:b=c"},"status":403,"error":"forbidden"}]"#, "a:b=c: forbidden"),
    ] {
        let error = jolokia::read(body).unwrap_err().to_string();
        assert!(error.contains(why), "{body}: {error}");
    }
    // One that is refused costs that one.
    let body = r#"[{"request":{"mbean":"kafka.server:type=KafkaServer,name=BrokerState","attribute":"Value"},"status":200,"value":3},
        {"request":{"mbean":"a:b=c"},"status":500,"error":"oops"}]"#;
    let Answers { readings, problems, .. } = jolokia::read(body).unwrap();
    assert_eq!(readings.of_broker(Metric::BrokerState, Attribute::Value), Some(3.0));
    assert_eq!(problems, ["a:b=c: oops"]);
}
