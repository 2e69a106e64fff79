//! What agent and service exchange: BrokerStats and OperatorAction in Avro.
