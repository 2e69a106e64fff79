//! What is in the state store.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::{Api, refusal};
use crate::shell::snapshot::ClusterHandle;
use crate::store::{Versioned, in_words};

/// One value, without itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredKey {
    /// Its key, within the cluster's part of the store.
    pub key: String,
    /// Its version: the greater, the later it was written.
    pub version: u64,
    /// Its length in bytes.
    pub bytes: usize,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredValue {
    /// Its key, within the cluster's part of the store.
    pub key: String,
    /// Its version: the greater, the later it was written.
    pub version: u64,
    /// What is stored; text where it is no JSON.
    pub value: serde_json::Value,
}

impl StoredKey {
    /// What is stored under `key`.
    pub(crate) fn of(key: &str, stored: &Versioned) -> Self {
        Self { key: key.to_owned(), version: stored.version.0, bytes: stored.value.len() }
    }
}

impl StoredValue {
    /// What is stored under `key`.
    pub(crate) fn of(key: &str, stored: &Versioned) -> Self {
        let text = || String::from_utf8_lossy(&stored.value).into_owned().into();
        let value = serde_json::from_slice(&stored.value).unwrap_or_else(|_| text());
        Self { key: key.to_owned(), version: stored.version.0, value }
    }
}

/// `GET /v1/clusters/{cluster}/state`: with `key` that [`StoredValue`], else the [`StoredKey`]s, those that begin with `prefix`.
pub(super) async fn show(
    State(api): State<Api>,
    Path(cluster): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let handle = match api.cluster(&cluster) {
        Ok(handle) => handle,
        Err(refused) => return *refused,
    };
    let result = match query.get("key") {
        Some(key) => value(handle, key).await,
        None => keys(handle, query.get("prefix").map_or("", String::as_str)).await,
    };
    result.unwrap_or_else(|why| refusal(StatusCode::SERVICE_UNAVAILABLE, &why))
}

async fn value(handle: &ClusterHandle, key: &str) -> Result<Response, String> {
    let Some(found) = handle.journal.get(key).await.map_err(|error| in_words(&error))? else {
        return Ok(refusal(StatusCode::NOT_FOUND, &format!("there is no {key:?} in the state store")));
    };
    Ok(Json(StoredValue::of(key, &found)).into_response())
}

async fn keys(handle: &ClusterHandle, prefix: &str) -> Result<Response, String> {
    let mut keys = Vec::new();
    for key in handle.journal.list(prefix).await.map_err(|error| in_words(&error))? {
        // Removed since it was listed, where it is gone.
        let Some(found) = handle.journal.get(&key).await.map_err(|error| in_words(&error))? else { continue };
        keys.push(StoredKey::of(&key, &found));
    }
    Ok(Json(keys).into_response())
}
