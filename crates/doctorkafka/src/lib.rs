//! The service that keeps Apache Kafka clusters healthy.
