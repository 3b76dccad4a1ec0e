//! Checks that a document and the routes say the same.

use std::{collections::BTreeSet, fs, path::Path};

use actix_web::{
    App,
    http::Method,
    test::{TestRequest, call_service, init_service},
    web::ServiceConfig,
};
use serde_json::Value;

/// Writes the documents anew instead of comparing them.
const UPDATE: &str = "AMOIQ_UPDATE_OPENAPI";

/// The committed document is what the program serves.
pub(crate) fn check_committed(file: &str, document: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let document = format!("{}\n", serde_json::to_string_pretty(document).unwrap());
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, &document).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    assert!(committed == document, "{file} is out of date: run this test with {UPDATE}=1");
}

/// Every path has the methods that the document gives it, and no other.
pub(crate) async fn check_methods(configure: fn(&mut ServiceConfig), document: &Value) {
    let app = init_service(App::new().configure(configure)).await;
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 10, "{paths:?}");
    for (path, item) in paths {
        let request = TestRequest::with_uri(&path.replace(['{', '}'], "")).method(Method::TRACE);
        let response = call_service(&app, request.to_request()).await;
        assert_eq!(response.status(), 405, "{path}");
        let allow = response.headers().get("allow").unwrap().to_str().unwrap();
        let allowed: BTreeSet<_> = allow.split(", ").map(str::to_owned).collect();
        let methods = item.as_object().unwrap().keys().filter(|name| *name != "parameters");
        let documented: BTreeSet<_> = methods.map(|name| name.to_ascii_uppercase()).collect();
        assert_eq!(allowed, documented, "{path}");
    }
}

/// The files of a folder that register routes by themselves.
pub(crate) fn registering_files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(registering_files(&path));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        let is_test = path.ends_with("tests.rs") || path.ends_with("checks.rs");
        if !is_test && (product.contains("web::resource(") || product.contains(".route(\"")) {
            found.push(path.display().to_string());
        }
    }
    found
}
