//! `POST /api/webhooks/{id}/rotate-secret`: a new secret, told once.

use actix_web::{HttpResponse, web};
use amoiq_events::webhook::WebhookCommand;

use super::{Manager, Registrar, registrar::check_changeable, view::SecretView};
use crate::{problem::Problem, tenants::previous_until};

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
    let hours = if is_leaked { 0 } else { registrar.previous_secret_hours };
    let previous_until = previous_until(hours, &registrar.ambient);
    let command = WebhookCommand::RotateSecret { secret: registrar.secret(), previous_until };
    let rotated = registrar.command(&manager, &endpoint.id, command).await?;
    Ok(HttpResponse::Ok().json(SecretView::of_rotated(&rotated)))
}
