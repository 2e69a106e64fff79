//! Whether a command line starts a Kafka broker, and with which settings.

/// What stands on the command line of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrokerCommand {
    /// The file of properties, as it is written there.
    pub properties: Option<String>,
    /// Settings that count more than those of the file, in their order.
    pub overrides: Vec<(String, String)>,
}

/// Options of `java` that have their value in the next word.
const WITH_VALUE: [&str; 13] = [
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--add-opens",
    "--add-exports",
    "--add-reads",
    "--limit-modules",
    "--source",
    "--enable-native-access",
];

/// Reads the content of `/proc/PID/cmdline`: words that end with a zero byte. `None` if it is no broker's.
///
/// A broker is what runs the class `kafka.Kafka`, or one of another package that is called `Kafka` or `SupportedKafka`, or a
/// jar with `kafka` in its name that is given a file of properties, or Kafka as a native image (`kafka.Kafka`). Tools of
/// Kafka, Connect and MirrorMaker have other main classes.
pub fn broker_command(cmdline: &[u8]) -> Option<BrokerCommand> {
    let text = String::from_utf8_lossy(cmdline);
    let words: Vec<&str> = text.split('\0').filter(|word| !word.is_empty()).collect();
    let (program, words) = words.split_first()?;
    if file_name(program) == "kafka.Kafka" {
        return Some(settings(words));
    }
    let mut words = words.iter();
    while let Some(word) = words.next().copied() {
        if word == "-jar" {
            let jar = words.next().copied()?;
            let found = settings(words.as_slice());
            let is_kafka = file_name(jar).to_ascii_lowercase().contains("kafka");
            return (is_kafka && found.properties.is_some()).then_some(found);
        }
        if WITH_VALUE.contains(&word) {
            words.next();
        } else if !word.starts_with(['-', '@']) {
            return is_main_class(word).then(|| settings(words.as_slice()));
        }
    }
    None
}

fn is_main_class(word: &str) -> bool {
    // A class of a module is written module/class.
    let class = word.rsplit('/').next().unwrap_or(word);
    matches!(class.rsplit_once('.'), Some((_, "Kafka" | "SupportedKafka")))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `FILE --override KEY=VALUE …`
fn settings(words: &[&str]) -> BrokerCommand {
    let mut command = BrokerCommand::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let pair = match word.strip_prefix("--override") {
            Some("") => words.next().copied(),
            Some(rest) => rest.strip_prefix('='),
            None => {
                if command.properties.is_none() && !word.starts_with('-') {
                    command.properties = Some((*word).to_owned());
                }
                None
            }
        };
        if let Some((key, value)) = pair.and_then(|pair| pair.split_once('=')) {
            command.overrides.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The file of properties and the overrides, or "no broker".
    fn read(command: &str) -> String {
        match broker_command(command.replace(' ', "\0").as_bytes()) {
            None => "no broker".to_owned(),
            Some(BrokerCommand { properties, overrides }) => {
                let overrides = overrides.iter().map(|(key, value)| format!(" {key}={value}"));
                properties.unwrap_or_default() + &overrides.collect::<String>()
            }
        }
    }

    #[test]
    fn brokers_are_told_from_what_only_looks_like_them() {
        for (command, expected) in [
            ("java -Xmx1G -cp /k/libs/* -Dx=y kafka.Kafka /etc/server.properties", "/etc/server.properties"),
            (
                "/opt/jdk/bin/java -server kafka.Kafka config/s.properties --override node.id=3 --override=a=b",
                "config/s.properties node.id=3 a=b",
            ),
            ("java --add-opens java.base/java.lang=ALL-UNNAMED kafka.Kafka s", "s"),
            ("java -m kafka.core/kafka.Kafka s.properties", "s.properties"),
            (
                "java -cp x io.confluent.support.metrics.SupportedKafka /etc/kafka/server.properties",
                "/etc/kafka/server.properties",
            ),
            ("java -jar /opt/my-kafka-broker.jar server.properties", "server.properties"),
            ("/opt/kafka/kafka.Kafka --override broker.id=1 s.properties", "s.properties broker.id=1"),
            ("java kafka.Kafka", ""),
            ("java -cp kafka.Kafka org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg", "no broker"),
            ("java -cp x kafka.tools.ConsoleConsumer --topic kafka.Kafka", "no broker"),
            ("java -cp x org.apache.kafka.connect.cli.ConnectDistributed c.properties", "no broker"),
            ("java -jar kafka-ui.jar", "no broker"),
            ("java -jar app.jar server.properties", "no broker"),
            ("java -jar", "no broker"),
            ("java -cp", "no broker"),
            ("bash -c kafka.Kafka.sh", "no broker"),
            ("vi kafka.Kafkaesque", "no broker"),
            ("", "no broker"),
        ] {
            assert_eq!(read(command), expected, "{command}");
        }
    }

    proptest! {
        #[test]
        fn no_command_line_makes_it_panic(words in prop::collection::vec("(-jar|-cp|java|kafka.Kafka|--override=?|a=b|[a-z/.]{0,9})", 0..12), junk in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = broker_command(words.join("\0").as_bytes());
            let _ = broker_command(&junk);
        }
    }
}
