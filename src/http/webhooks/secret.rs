//! `POST /api/webhooks/{id}/rotate-secret`: a new secret, told once.

use actix_web::{HttpResponse, web};

use super::{Manager, Registrar, registrar::check_changeable, view::SecretView};
use crate::api::problem::Problem;

/// Replaces an endpoint's secret. The one before signs beside it for a while, unless it leaked
/// (`expirePrevious`); one before that signs nothing any more.
///
/// # Errors
/// See the catalogue.
pub async fn rotate(
    mut manager: Manager,
    id: web::Path<String>,
    registrar: web::Data<Registrar>,
) -> Result<HttpResponse, Problem> {
    let endpoint = manager.endpoint(&id)?;
    check_changeable(&endpoint)?;
    let is_leaked = manager.body.flag("expirePrevious");
    manager.body.check()?;
    let rotated = registrar.command(&manager, &endpoint.id, registrar.rotation(is_leaked)).await?;
    Ok(HttpResponse::Ok().json(SecretView::of_rotated(&rotated)))
}
