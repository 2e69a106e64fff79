//! How a running service is reached: HTTP over the control socket in its state dir, and `/metrics` and `/health` over
//! TCP where that is wanted.

pub mod status;

mod health;
mod metrics;
mod orders;
mod serve;
mod state;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, body::Body};
use control::Now;

use crate::plugin::Clock;
use crate::shell::snapshot::ClusterHandle;

pub use health::{ClusterHealth, Health};
pub use orders::{Answer, OrderBody};
pub use serve::{CONTROL_SOCKET, ListenError, Listening, bind_control_socket, bind_tcp};
pub use state::{StoredKey, StoredValue};

/// The largest body that is read, in bytes. An order is some hundreds.
const BODY_LIMIT: usize = 64 * 1024;

/// What the API tells of and gives orders to. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    clusters: Arc<Vec<ClusterHandle>>,
    clock: Arc<dyn Clock>,
    started: Now,
}

impl Api {
    /// The API of these clusters, of a service that has just started.
    pub fn new(clusters: Vec<ClusterHandle>, clock: Arc<dyn Clock>) -> Self {
        let started = clock.now();
        Self { clusters: Arc::new(clusters), clock, started }
    }

    /// The cluster with this name, or the answer that there is none.
    fn cluster(&self, name: &str) -> Result<&ClusterHandle, Box<Response>> {
        self.clusters.iter().find(|handle| *handle.name == *name).ok_or_else(|| {
            let known: Vec<&str> = self.clusters.iter().map(|handle| &*handle.name).collect();
            let why = format!("there is no cluster {name:?} here, only: {}", known.join(", "));
            Box::new(refusal(StatusCode::NOT_FOUND, &why))
        })
    }

    /// What the control socket offers: everything. Who can open the socket may give orders.
    pub fn control_router(&self) -> Router {
        Router::new()
            .route("/v1/status", get(status))
            .route("/v1/clusters/{cluster}/state", get(state::show))
            .route("/v1/clusters/{cluster}/{order}", post(orders::take))
            .merge(self.routes_for_all())
            .fallback(nothing_here)
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .with_state(self.clone())
    }

    /// What anybody may see.
    pub fn public_router(&self) -> Router {
        self.routes_for_all().fallback(nothing_here).layer(DefaultBodyLimit::max(0)).with_state(self.clone())
    }

    fn routes_for_all(&self) -> Router<Self> {
        Router::new().route("/metrics", get(metrics)).route("/health", get(health))
    }
}

async fn status(State(api): State<Api>) -> Json<status::Status> {
    let now = api.clock.now();
    Json(status::Status::of(&api.clusters, now))
}

async fn metrics(State(api): State<Api>) -> Response {
    let text = metrics::text(&api.clusters, api.clock.now());
    let kind = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    ([kind], Body::from(text)).into_response()
}

async fn health(State(api): State<Api>) -> Response {
    let health = Health::of(&api.clusters, api.started, api.clock.now());
    let code = if health.is_late() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(health)).into_response()
}

async fn nothing_here() -> Response {
    refusal(StatusCode::NOT_FOUND, "there is nothing here")
}

/// An answer that says what is wrong.
fn refusal(code: StatusCode, why: &str) -> Response {
    (code, Json(serde_json::json!({ "error": why }))).into_response()
}

#[cfg(test)]
mod tests;
