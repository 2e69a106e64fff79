//! Orders of people.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cluster::BrokerId;
use control::order::{OrderKind, REFUSED};
use control::{Order, Scope, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Api, refusal};

/// The body of `POST /v1/clusters/{cluster}/{order}`, where `order` is `pause`, `resume`, `approve`, `cancel`,
/// `maintenance-on`, `maintenance-off`, `decommission-on`, `decommission-off`, `replace` or `accept-identity`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderBody {
    /// Who gives the order: not empty.
    pub by: String,
    /// Why; may be empty.
    #[serde(default)]
    pub reason: String,
    /// For `cancel`: the execution; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<u64>,
    /// For maintenance: the broker; the whole cluster when absent. For decommission and replace: the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<i32>,
    /// For `maintenance-on` and `decommission-on`: for how many seconds; until it is switched off when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
    /// For `replace`: whether the last copy of a partition may go with it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub accept_data_loss: bool,
    /// For `replace`: whether it is only asked what holds it back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub only_ask: bool,
}

// The attribute of serde asks for a reference.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
fn is_false(it: &bool) -> bool {
    !*it
}

/// The answer to an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What came of it.
    pub result: String,
}

/// Longer names and reasons than this, in bytes, are refused.
const LONGEST_TEXT: usize = 1_000;
/// Ten years: a longer maintenance is a slip of the pen.
const LONGEST_MAINTENANCE: u64 = 10 * 366 * 24 * 3_600;

pub(super) async fn take(
    State(api): State<Api>,
    Path((cluster, order)): Path<(String, String)>,
    body: Result<Json<OrderBody>, JsonRejection>,
) -> Response {
    let handle = match api.cluster(&cluster) {
        Ok(handle) => handle,
        Err(refused) => return *refused,
    };
    let body = match body {
        Ok(Json(body)) => body,
        Err(rejection) => return refusal(rejection.status(), &rejection.body_text()),
    };
    let what = match kind(&order, &body, api.clock.now().wall) {
        Ok(what) => what,
        Err((code, why)) => return refusal(code, &why),
    };
    // They come out again in terminals, logs and messages.
    let plain = |text: &str| text.replace(char::is_control, " ");
    let order = Order { by: plain(&body.by), reason: plain(&body.reason), what };
    match handle.order(order).await {
        Ok(result) => match result.strip_prefix(REFUSED) {
            Some(why) => refusal(StatusCode::CONFLICT, why),
            None => Json(Answer { result }).into_response(),
        },
        Err(why) => refusal(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

fn kind(order: &str, body: &OrderBody, now: Timestamp) -> Result<OrderKind, (StatusCode, String)> {
    let bad = |why: &str| (StatusCode::UNPROCESSABLE_ENTITY, why.to_owned());
    if body.by.trim().is_empty() {
        return Err(bad("`by` must say who gives the order"));
    }
    if body.by.len() > LONGEST_TEXT || body.reason.len() > LONGEST_TEXT {
        return Err(bad("`by` and `reason` may have 1000 bytes at most"));
    }
    if body.broker.is_some_and(|broker| broker < 0) {
        return Err(bad("`broker` must not be negative"));
    }
    let scope = body.broker.map_or(Scope::Cluster, |broker| Scope::Broker(BrokerId(broker)));
    let maintenance = order.starts_with("maintenance-");
    let only = |fits: bool, field: &str| {
        if fits { Ok(()) } else { Err(bad(&format!("`{field}` does not go with {order}"))) }
    };
    let decommission = order.starts_with("decommission-");
    only(maintenance || decommission || order == "replace" || body.broker.is_none(), "broker")?;
    only(order == "replace" || !body.accept_data_loss, "accept_data_loss")?;
    only(order == "replace" || !body.only_ask, "only_ask")?;
    only(order.ends_with("-on") || body.for_seconds.is_none(), "for_seconds")?;
    only(order == "cancel" || body.execution.is_none(), "execution")?;
    if body.for_seconds.is_some_and(|seconds| seconds == 0 || seconds > LONGEST_MAINTENANCE) {
        return Err(bad("`for_seconds` must be more than nothing and at most ten years"));
    }
    let until = body.for_seconds.map(|seconds| Timestamp(now.0.saturating_add_unsigned(seconds * 1_000)));
    let broker = || body.broker.map(BrokerId).ok_or_else(|| bad("`broker` must say which broker is meant"));
    Ok(match order {
        "pause" => OrderKind::Pause,
        "resume" => OrderKind::Resume,
        "approve" => OrderKind::Approve,
        "cancel" => OrderKind::Cancel { execution: body.execution },
        "maintenance-on" => OrderKind::MaintenanceOn { scope, until },
        "maintenance-off" => OrderKind::MaintenanceOff { scope },
        "decommission-on" => OrderKind::DecommissionOn { broker: broker()?, until },
        "decommission-off" => OrderKind::DecommissionOff { broker: broker()? },
        "replace" => OrderKind::Replace {
            broker: broker()?,
            accept_data_loss: body.accept_data_loss,
            only_ask: body.only_ask,
        },
        "accept-identity" => OrderKind::AcceptIdentity,
        _ => return Err((StatusCode::NOT_FOUND, format!("there is no order {order:?}"))),
    })
}
