//! `/operator/rebuild`: read models made again from the whole log while the service runs. The old ones
//! serve until the new ones have caught up; nothing is sent to anybody.

use std::collections::BTreeSet;

use actix_web::{HttpRequest, HttpResponse, web};
use amoiq_actors::projections::{RebuildHandle, RebuildOutcome, RebuildReport};
use serde_json::{Value, json};

use super::{OperatorError, OperatorIdentity, OperatorServices};
use crate::{api::problem::Problem, http::body};

/// The most names in a request.
const MAX_PROJECTIONS: usize = 16;

/// The projection that is not kept.
pub(crate) const IN_MEMORY: &str = "online";

/// Why that one cannot be made again.
pub(crate) const NOTHING_TO_REBUILD: &str =
    "online lives in memory and begins empty with each start: there is nothing to rebuild";

/// `GET /operator/rebuild`: how far the last rebuild of each projection has come.
pub async fn show(services: web::Data<OperatorServices>) -> HttpResponse {
    HttpResponse::Ok().json(view(&services))
}

/// `POST /operator/rebuild`: `projections`, all of them when absent, and `skip` to pass events by that
/// cannot be read. It is answered when they have begun.
///
/// # Errors
/// When one is under way, or a name is none.
pub async fn start(
    request: HttpRequest,
    payload: web::Payload,
    services: web::Data<OperatorServices>,
    operator: OperatorIdentity,
) -> Result<HttpResponse, OperatorError> {
    let mut fields = body::read_optional(&request, payload).await?;
    let names = fields.texts("projections", MAX_PROJECTIONS);
    let skip = fields.flag("skip");
    fields.finish()?;
    let wanted: Vec<_> = match names {
        None => services.rebuilds.iter().collect(),
        // One that is named twice is made once: the second would find the first under way.
        Some(names) => {
            let names: BTreeSet<_> = names.iter().collect();
            names.into_iter().map(|name| find(&services, name)).collect::<Result<_, _>>()?
        }
    };
    let skip = skip.then(|| services.tenants.ambient.now());
    for rebuilds in wanted {
        let projection = rebuilds.projection();
        rebuilds.start(skip).await.map_err(|_underway| OperatorError::Underway(projection))?;
        tracing::info!(projection, by = &*operator.0.actor, "an operator has a projection rebuilt");
    }
    Ok(HttpResponse::Accepted().json(view(&services)))
}

/// `DELETE /operator/rebuild`: ends what is under way. The old read models serve on.
pub async fn cancel(services: web::Data<OperatorServices>, operator: OperatorIdentity) -> HttpResponse {
    for rebuilds in &services.rebuilds {
        if rebuilds.cancel().await {
            let by = &*operator.0.actor;
            tracing::info!(projection = rebuilds.projection(), by, "an operator cancelled a rebuild");
        }
    }
    HttpResponse::Ok().json(view(&services))
}

fn find<'a>(services: &'a OperatorServices, name: &str) -> Result<&'a RebuildHandle, Problem> {
    if name == IN_MEMORY {
        return Err(Problem::field("projections", NOTHING_TO_REBUILD));
    }
    let known = services.rebuilds.iter().find(|known| known.projection() == name);
    known.ok_or_else(|| Problem::field("projections", format!("`{name}` is no projection")))
}

fn view(services: &OperatorServices) -> Value {
    let one = |rebuilds: &RebuildHandle| report(rebuilds.projection(), &rebuilds.report());
    json!({ "rebuilds": services.rebuilds.iter().map(one).collect::<Vec<_>>() })
}

/// How far a rebuild has come, in the form that every client gets.
pub(crate) fn report(projection: &str, report: &RebuildReport) -> Value {
    let (state, failure) = match &report.outcome {
        None => ("running", Value::Null),
        Some(RebuildOutcome::None) => ("none", Value::Null),
        Some(RebuildOutcome::Done) => ("done", Value::Null),
        Some(RebuildOutcome::Cancelled) => ("cancelled", Value::Null),
        Some(RebuildOutcome::Stopped { position, kind, reason }) => {
            ("stopped", json!({ "position": position, "type": kind, "reason": reason }))
        }
        Some(RebuildOutcome::Failed(reason)) => ("failed", json!({ "reason": reason })),
    };
    json!({
        "projection": projection,
        "state": state,
        "position": report.position,
        "head": report.head,
        "skipped": report.skipped,
        "failure": failure,
    })
}
