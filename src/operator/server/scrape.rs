//! `GET /metrics`: for Prometheus.

use actix_web::{HttpRequest, HttpResponse, http::header, web};

use crate::{
    api::problem::Problem,
    telemetry::metrics::{ServiceMetrics, format::ScrapeFormat},
};

/// The current numbers, in the format that the request prefers.
///
/// # Errors
/// [`Problem::Internal`], which is a defect.
pub(super) async fn scrape(
    request: HttpRequest,
    metrics: web::Data<ServiceMetrics>,
) -> Result<HttpResponse, Problem> {
    let format = ScrapeFormat::accepted_by(request.headers());
    match metrics.scrape().await {
        Ok(scrape) => {
            let mut answer = HttpResponse::Ok();
            answer.insert_header((header::CONTENT_TYPE, format.content_type()));
            answer.insert_header((header::VARY, "Accept"));
            Ok(answer.body(format.write(scrape)))
        }
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            Err(Problem::Internal)
        }
    }
}
