//! What a request of the engine asks for: version, transport and session.

/// What the protocol says in the query. The application's own values come before; of two with a name
/// the last counts, since the client adds its own at the end.
#[derive(Default)]
pub(super) struct Query {
    pub(super) version: Option<String>,
    pub(super) transport: Option<String>,
    pub(super) sid: Option<String>,
}

impl Query {
    pub(super) fn of(query: &str) -> Self {
        let mut found = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "EIO" => &mut found.version,
                "transport" => &mut found.transport,
                "sid" => &mut found.sid,
                _ => continue,
            };
            *place = Some(value.into_owned());
        }
        found
    }
}
