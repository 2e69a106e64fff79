//! The vocabulary of a Kafka cluster, and the narrow traits to read and change one.
