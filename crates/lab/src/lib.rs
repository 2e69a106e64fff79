//! Real Apache Kafka for tests and development.
