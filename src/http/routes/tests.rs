//! The document and the routes say the same.

use std::{collections::BTreeSet, fs, path::Path};

use actix_web::{
    App,
    http::Method,
    test::{TestRequest, call_service, init_service},
};

use super::*;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");

/// Writes the document anew instead of comparing it.
const UPDATE: &str = "AMOIQ_UPDATE_OPENAPI";

#[test]
fn the_committed_document_is_what_the_program_serves() {
    let document = format!("{}\n", serde_json::to_string_pretty(&openapi()).unwrap());
    if std::env::var_os(UPDATE).is_some() {
        fs::write(COMMITTED, &document).unwrap();
    }
    let committed = fs::read_to_string(COMMITTED).unwrap();
    assert!(committed == document, "docs/openapi.json is out of date: run this test with {UPDATE}=1");
}

/// The methods of a path in the document, as `Allow` names them.
fn documented(item: &Value) -> BTreeSet<String> {
    let methods = item.as_object().unwrap().keys().filter(|name| *name != "parameters");
    methods.map(|name| name.to_ascii_uppercase()).collect()
}

#[actix_web::test]
async fn every_path_has_the_methods_that_the_document_gives_it() {
    let app = init_service(App::new().configure(configure)).await;
    let document = openapi();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 20, "{paths:?}");
    for (path, item) in paths {
        let request = TestRequest::with_uri(&path.replace(['{', '}'], "")).method(Method::TRACE);
        let response = call_service(&app, request.to_request()).await;
        assert_eq!(response.status(), 405, "{path}");
        let allow = response.headers().get("allow").unwrap().to_str().unwrap();
        let allowed: BTreeSet<_> = allow.split(", ").map(str::to_owned).collect();
        assert_eq!(allowed, documented(item), "{path}");
    }
}

/// Routes are registered by endpoints alone, which are in the document.
#[test]
fn no_route_is_registered_beside_the_table() {
    fn visit(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let product = text.split("#[cfg(test)]").next().unwrap_or_default();
            if !path.ends_with("tests.rs")
                && (product.contains("web::resource(") || product.contains(".route(\""))
            {
                found.push(path.display().to_string());
            }
        }
    }
    let (mut found, source) = (Vec::new(), Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http"));
    visit(&source, &mut found);
    assert_eq!(found, [source.join("endpoint.rs").display().to_string()]);
}
