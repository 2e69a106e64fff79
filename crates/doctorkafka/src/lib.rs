//! The service that keeps Apache Kafka clusters healthy.
//!
//! The shell around the pure core of crate `control`: configuration, plugins that talk to the outside, the state
//! store, the loop of each cluster, the command line. A binary of your own can add plugins: register them in a
//! [`plugin::PluginRegistry`] and hand it to the service.

pub mod api;

pub mod cli;

mod client_settings;

pub mod config;

mod demo;

pub mod plugin;

pub mod plugin_manager;

pub mod plugins;

mod programs;

pub mod shell;

pub mod store;
