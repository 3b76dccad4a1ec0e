//! `GET /metrics`: for Prometheus.

use actix_web::{HttpResponse, http::header, web};

use crate::{
    metrics::{CONTENT_TYPE, Metrics},
    problem::Problem,
};

/// The numbers now.
///
/// # Errors
/// [`Problem::Internal`]: a defect.
pub async fn scrape(metrics: web::Data<Metrics>) -> Result<HttpResponse, Problem> {
    match metrics.scrape().await {
        Ok(text) => Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, CONTENT_TYPE)).body(text)),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            Err(Problem::Internal)
        }
    }
}
