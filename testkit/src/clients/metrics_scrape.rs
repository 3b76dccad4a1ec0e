//! The metrics of a running service, as Prometheus reads them.

use reqwest::Method;

use crate::{OperatorClient, TestApp};

/// All metrics, as text.
#[must_use]
pub fn scrape(app: &TestApp) -> String {
    let request = OperatorClient::of(app).request_without_token(Method::GET, "/metrics");
    let response = request.send().expect("an answer");
    assert_eq!(response.status(), 200);
    response.text().expect("a text")
}

/// The value of a series, which is named as in the text: `name{label="value"}`.
#[must_use]
pub fn metric_value(scrape: &str, series: &str) -> Option<f64> {
    let line = scrape.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok())
}
