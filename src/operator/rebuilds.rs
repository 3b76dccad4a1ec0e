//! `/operator/rebuild`: rebuilds read models from the whole log while the service runs. The old ones are served until the
//! new ones have caught up. Nothing is sent to anybody.

use std::collections::BTreeSet;

use actix_web::{HttpResponse, web};
use amoiq_actors::projections::RebuildHandle;

use super::{ChangeRequest, OperatorError, OperatorIdentity, OperatorServices};
use crate::api::{
    field::{StringList, Validation},
    operator::rebuilds::{RebuildResponse, RebuildsResponse, StartRebuildRequest},
    problem::Problem,
};

/// The projection that is not stored.
pub(crate) const IN_MEMORY: &str = "online";

/// Why that projection cannot be rebuilt.
pub(crate) const NOTHING_TO_REBUILD: &str =
    "online lives in memory and is empty after each start: there is nothing to rebuild";

/// `GET /operator/rebuild`: the last rebuild of each projection.
pub async fn show(services: web::Data<OperatorServices>) -> web::Json<RebuildsResponse> {
    web::Json(response(&services))
}

/// `POST /operator/rebuild`: starts rebuilds, and answers once they have started.
///
/// # Errors
/// When a rebuild is under way, or a name is not a projection.
pub async fn start(
    ChangeRequest { operator, body }: ChangeRequest<StartRebuildRequest>,
    services: web::Data<OperatorServices>,
) -> Result<HttpResponse, OperatorError> {
    let mut validation = Validation::new();
    let names = validation.optional("projections", body.projections);
    let skip = validation.optional("skip", body.skip).unwrap_or_default();
    validation.finish()?;
    let wanted: Vec<_> = match names {
        None => services.rebuilds.iter().collect(),
        // A name that is given twice is rebuilt once: the second rebuild would find the first one under way.
        Some(StringList(names)) => {
            let names: BTreeSet<_> = names.iter().collect();
            names.into_iter().map(|name| find(&services, name)).collect::<Result<_, _>>()?
        }
    };
    let skip = skip.then(|| services.tenants.ambient.now());
    for rebuilds in wanted {
        let projection = rebuilds.projection();
        rebuilds.start(skip).await.map_err(|_underway| OperatorError::RebuildUnderway(projection))?;
        tracing::info!(projection, by = &*operator.0.actor, "an operator started a rebuild");
    }
    Ok(HttpResponse::Accepted().json(response(&services)))
}

/// `DELETE /operator/rebuild`: cancels the rebuilds under way. The old read models stay.
pub async fn cancel(
    services: web::Data<OperatorServices>,
    operator: OperatorIdentity,
) -> web::Json<RebuildsResponse> {
    for rebuilds in &services.rebuilds {
        if rebuilds.cancel().await {
            let by = &*operator.0.actor;
            tracing::info!(projection = rebuilds.projection(), by, "an operator cancelled a rebuild");
        }
    }
    web::Json(response(&services))
}

fn find<'a>(services: &'a OperatorServices, name: &str) -> Result<&'a RebuildHandle, Problem> {
    if name == IN_MEMORY {
        return Err(Problem::field("projections", NOTHING_TO_REBUILD));
    }
    let known = services.rebuilds.iter().find(|known| known.projection() == name);
    known.ok_or_else(|| Problem::field("projections", format!("`{name}` is not a projection")))
}

fn response(services: &OperatorServices) -> RebuildsResponse {
    let one = |rebuilds: &RebuildHandle| RebuildResponse::new(rebuilds.projection(), &rebuilds.report());
    RebuildsResponse { rebuilds: services.rebuilds.iter().map(one).collect() }
}
