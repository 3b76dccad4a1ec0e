//! The standard variables (`OTEL_…`), checked before the library reads them. The library ignores what it does not know, and
//! would send spans in another way than configured, or not at all. Whatever this program does not support is refused.

use anyhow::{bail, ensure};
use opentelemetry_sdk::trace::{OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BSP_MAX_QUEUE_SIZE_DEFAULT};
use url::Url;

/// The only protocol that is supported.
const PROTOCOL: &str = "http/protobuf";

const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// Variables with whole numbers: milliseconds, or numbers of spans.
const NUMBERS: [&str; 6] = [
    OTEL_BSP_MAX_QUEUE_SIZE,
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
];

/// Certificate files, which the exporter does not read: it trusts the certificate authorities of the machine.
const CERTIFICATES: [&str; 3] = ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"];

/// The settings of the export that the library does not read itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExporterVariables {
    /// The most spans that wait.
    pub(super) queue_spans: u64,
}

impl ExporterVariables {
    /// Reads the variables; `None` if no spans are to be sent.
    ///
    /// # Errors
    /// When a variable asks for something that this program does not support. The text names the variable, never a secret.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<Self>> {
        // An empty variable counts as absent, as the standard says.
        let given =
            |name: &str| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        if let Some(text) = given("OTEL_SDK_DISABLED")
            && is_true("OTEL_SDK_DISABLED", &text)?
        {
            return Ok(None);
        }
        let endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        let endpoints: Vec<_> = endpoints.into_iter().filter_map(|name| Some((name, given(name)?))).collect();
        if endpoints.is_empty() {
            return Ok(None);
        }
        match given("OTEL_TRACES_EXPORTER").as_deref() {
            Some("none") => return Ok(None),
            None | Some("otlp") => {}
            Some(other) => bail!("OTEL_TRACES_EXPORTER is `{other}`, and must be otlp or none"),
        }
        endpoints.iter().try_for_each(|(name, text)| check_endpoint(name, text))?;
        // The variable for traces takes precedence.
        let of_traces = |part: &str| {
            let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{part}"), format!("OTEL_EXPORTER_OTLP_{part}")];
            names.into_iter().find_map(|name| Some((given(&name)?, name)))
        };
        if let Some((text, name)) = of_traces("PROTOCOL") {
            ensure!(
                text == PROTOCOL,
                "{name} is `{text}`, and must be {PROTOCOL}: collectors take it on port 4318"
            );
        }
        if let Some((text, name)) = of_traces("COMPRESSION") {
            ensure!(text == "none", "{name} is `{text}`, and must be none: spans are not compressed");
        }
        for part in CERTIFICATES {
            if let Some((_, name)) = of_traces(part) {
                bail!("{name} is not read: the machine's authorities are trusted, or those of SSL_CERT_FILE");
            }
        }
        if let Some((text, name)) = of_traces("HEADERS") {
            let is_pair = |pair: &str| pair.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty());
            ensure!(
                text.split(',').all(is_pair),
                "{name} is not `name=value`, or several with commas between"
            );
        }
        if let Some(text) = given("OTEL_TRACES_SAMPLER") {
            ensure!(
                SAMPLERS.contains(&text.as_str()),
                "OTEL_TRACES_SAMPLER is `{text}`, and must be one of {}",
                SAMPLERS.join(", ")
            );
        }
        for name in NUMBERS {
            if let Some(text) = given(name) {
                ensure!(text.parse::<u32>().is_ok(), "{name} is `{text}`, and must be a whole number");
            }
        }
        let queue_spans = given(OTEL_BSP_MAX_QUEUE_SIZE).and_then(|text| text.parse().ok());
        Ok(Some(Self { queue_spans: queue_spans.unwrap_or(OTEL_BSP_MAX_QUEUE_SIZE_DEFAULT as u64) }))
    }
}

fn is_true(name: &str, text: &str) -> anyhow::Result<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => bail!("{name} is `{text}`, and must be true or false"),
    }
}

/// The address is not shown: it may contain a password.
fn check_endpoint(name: &str, text: &str) -> anyhow::Result<()> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url else { bail!("{name} must be an address such as http://localhost:4318") };
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "{name} holds a name or a password, which is not sent: give a header in OTEL_EXPORTER_OTLP_HEADERS"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");

    fn read(variables: &[(&str, &str)]) -> anyhow::Result<Option<ExporterVariables>> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        ExporterVariables::read(|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn without_an_address_or_when_it_is_switched_off_nothing_is_sent() {
        for variables in [
            vec![],
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            vec![("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
            vec![ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
            vec![ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert_eq!(read(&variables).unwrap(), None, "{variables:?}");
        }
    }

    #[test]
    fn what_can_be_done_is_taken() {
        for more in [
            ("OTEL_SDK_DISABLED", "false"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20YTpi,x-tenant=1"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", ""),
        ] {
            assert_eq!(
                read(&[ENDPOINT, more]).unwrap(),
                Some(ExporterVariables { queue_spans: 2_048 }),
                "{more:?}"
            );
        }
        let queue = read(&[ENDPOINT, ("OTEL_BSP_MAX_QUEUE_SIZE", "7")]).unwrap();
        assert_eq!(queue, Some(ExporterVariables { queue_spans: 7 }));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_its_name_without_secrets() {
        for (name, value) in [
            ("OTEL_SDK_DISABLED", "yes"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/etc/key.pem"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hidden"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:hidden@localhost:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "hidden:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://"),
            ("OTEL_TRACES_SAMPLER", "xray"),
            ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
        ] {
            let error = read(&[ENDPOINT, (name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(name) && !error.contains("hidden"), "{name}={value}: {error}");
        }
    }
}
