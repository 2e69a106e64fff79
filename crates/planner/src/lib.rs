//! Placement of replicas on brokers, over dense ordinals.
