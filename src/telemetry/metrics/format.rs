//! The two formats of a scrape. Prometheus asks for `OpenMetrics`. Older tools, and requests that do not ask for a format, get
//! the text format 0.0.4, which every tool reads. It is made from the other one: they differ in the names of counter
//! families and in the last line.

use actix_web::http::header::HeaderMap;

/// The format of a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScrapeFormat {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
}

impl ScrapeFormat {
    /// The format that the `Accept` header of a request prefers.
    #[must_use]
    pub fn accepted_by(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all("accept").filter_map(|value| value.to_str().ok());
        let (mut open_metrics, mut text) = (0.0_f32, 0.0_f32);
        for range in accepted.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
            match kind.as_str() {
                "application/openmetrics-text" => open_metrics = open_metrics.max(quality),
                "text/plain" | "text/*" | "*/*" => text = text.max(quality),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// The content type of a scrape.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Converts a scrape from `OpenMetrics` to this format.
    #[must_use]
    pub fn write(self, scrape: String) -> String {
        match self {
            Self::OpenMetrics => scrape,
            Self::Text => text(&scrape),
        }
    }
}

fn text(scrape: &str) -> String {
    let mut written = String::with_capacity(scrape.len() + scrape.len() / 64);
    // The type of a family follows its help, whose name depends on the type.
    let mut help = None;
    for line in scrape.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
            continue;
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let total = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                written.push_str(&format!("# HELP {name}{total} {help}\n"));
            }
            let kind = if kind == "unknown" { "untyped" } else { kind };
            written.push_str(&format!("# TYPE {name}{total} {kind}\n"));
            continue;
        }
        // The end mark and units exist only in the other format.
        if !line.starts_with('#') {
            written.push_str(line);
            written.push('\n');
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{ACCEPT, HeaderValue};

    use super::*;

    #[test]
    fn what_a_request_prefers_is_written() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;\
                          version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            (prometheus, ScrapeFormat::OpenMetrics),
            ("application/openmetrics-text", ScrapeFormat::OpenMetrics),
            ("text/plain;version=0.0.4", ScrapeFormat::Text),
            ("text/plain, application/openmetrics-text;q=0.5", ScrapeFormat::Text),
            ("application/openmetrics-text;q=0", ScrapeFormat::Text),
            ("*/*", ScrapeFormat::Text),
            ("application/json", ScrapeFormat::Text),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(ScrapeFormat::accepted_by(&headers), format, "{accept}");
        }
        assert_eq!(ScrapeFormat::accepted_by(&HeaderMap::new()), ScrapeFormat::Text);
    }

    #[test]
    fn a_counter_has_its_whole_name_in_the_older_format() {
        let scrape = "# HELP a_b Things.\n# TYPE a_b counter\na_b_total{x=\"1\"} 2\n# HELP c C.\n# TYPE c gauge\n\
                      # UNIT c bytes\nc 1\n# EOF\n";
        let written = "# HELP a_b_total Things.\n# TYPE a_b_total counter\na_b_total{x=\"1\"} 2\n# HELP c C.\n\
                       # TYPE c gauge\nc 1\n";
        assert_eq!(ScrapeFormat::Text.write(scrape.to_owned()), written);
        assert_eq!(ScrapeFormat::OpenMetrics.write(scrape.to_owned()), scrape);
    }
}
