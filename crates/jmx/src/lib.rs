#![doc = include_str!("../README.md")]

mod address;
mod client;
mod convert;
mod error;
mod exception;
mod jrmp;
mod lease;
pub mod local;
mod object_name;
mod reference;
pub mod serial;
mod tls;
mod transport;
mod value;

pub use address::Address;
pub use client::{AttributeInfo, Client, Connector};
pub use convert::to_value;
pub use error::Error;
pub use exception::{JavaException, Throwable};
pub use object_name::{ObjectName, quote};
pub use tls::Tls;
pub use transport::Timeouts;
pub use value::{Composite, Object, Tabular, Value};
