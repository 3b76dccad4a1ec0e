//! The protocol's part of a query: version, transport and session.

/// The protocol's part of a query. The application's values come first; of two values with one name the last counts,
/// since the client adds its own at the end.
#[derive(Default)]
pub(super) struct EngineQuery {
    pub(super) version: Option<String>,
    pub(super) transport: Option<String>,
    pub(super) sid: Option<String>,
}

impl EngineQuery {
    pub(super) fn parse(query: &str) -> Self {
        let mut parsed = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let field = match &*name {
                "EIO" => &mut parsed.version,
                "transport" => &mut parsed.transport,
                "sid" => &mut parsed.sid,
                _ => continue,
            };
            *field = Some(value.into_owned());
        }
        parsed
    }
}
