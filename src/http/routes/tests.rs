//! The document and the routes say the same.

use std::path::Path;

use actix_web::body::MessageBody as _;

use super::*;
use crate::http::endpoint::checks::{check_committed, check_methods, registering_files};

#[test]
fn the_committed_document_is_what_the_program_serves() {
    check_committed("docs/openapi.json", &openapi());
}

#[actix_web::test]
async fn every_path_has_the_methods_that_the_document_gives_it() {
    check_methods(configure, &openapi()).await;
}

/// Routes are registered by endpoints alone, which are in the documents.
#[test]
fn no_route_is_registered_beside_the_tables() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let found = registering_files(&source);
    assert_eq!(found, [source.join("http/endpoint.rs").display().to_string()]);
}

#[actix_web::test]
async fn the_document_is_made_once() {
    let (first, second) = (describe().await, describe().await);
    let [first, second] = [first, second].map(|answer| answer.into_body().try_into_bytes().unwrap());
    assert_eq!(first.as_ptr(), second.as_ptr());
    assert_eq!(serde_json::from_slice::<Value>(&first).unwrap(), openapi());
}
