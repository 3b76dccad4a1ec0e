//! Schemas of types of the domain, which know nothing of HTTP: for `#[schemars(with = …)]`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A type that takes the place of a domain type in a schema.
macro_rules! stand_in {
    ($(#[$doc:meta])* $name:ident: $schema:tt) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

stand_in! {
    /// An id.
    IdSchema: { "type": "string", "minLength": 1 }
}
stand_in! {
    /// A time in UTC with milliseconds.
    TimestampSchema: { "type": "string", "format": "date-time" }
}
stand_in! {
    /// `widget`, `secret` or `bot`.
    KeyKindSchema: { "type": "string", "enum": ["widget", "secret", "bot"] }
}
stand_in! {
    /// Who manages a tenant, a key or a webhook.
    ManagedBySchema: { "type": "string", "enum": ["configuration", "builtin", "api", "operator"] }
}
stand_in! {
    /// Who sent a message.
    SenderSchema: { "type": "string", "enum": ["user", "bot", "agent"] }
}
