//! The cluster traits over a real Apache Kafka cluster.
