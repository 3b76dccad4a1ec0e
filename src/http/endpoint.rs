//! The route table: a path with its methods, each with its handler and its description in the OpenAPI document.

use actix_web::{FromRequest, Handler, HttpResponse, Responder, Route, guard, web};

use crate::api::{openapi::Operation, problem::Problem};

/// A path with its methods.
pub struct Endpoint {
    path: &'static str,
    methods: Vec<EndpointMethod>,
}

struct EndpointMethod {
    name: &'static str,
    route: Route,
    operation: Operation,
}

impl Endpoint {
    /// A path without methods.
    #[must_use]
    pub fn at(path: &'static str) -> Self {
        Self { path, methods: Vec::new() }
    }

    /// Adds `GET`, and `HEAD`, which is `GET` whose body the server leaves out.
    #[must_use]
    pub fn get<F, Args>(self, handler: F, operation: Operation) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let route = web::route().guard(guard::Any(guard::Get()).or(guard::Head()));
        self.with("get", route.to(handler), operation)
    }

    /// Adds `POST`.
    #[must_use]
    pub fn post<F, Args>(self, handler: F, operation: Operation) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.with("post", web::post().to(handler), operation)
    }

    /// Adds `PATCH`.
    #[must_use]
    pub fn patch<F, Args>(self, handler: F, operation: Operation) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.with("patch", web::patch().to(handler), operation)
    }

    /// Adds `DELETE`.
    #[must_use]
    pub fn delete<F, Args>(self, handler: F, operation: Operation) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.with("delete", web::delete().to(handler), operation)
    }

    fn with(mut self, name: &'static str, route: Route, operation: Operation) -> Self {
        self.methods.push(EndpointMethod { name, route, operation });
        self
    }

    /// Its methods with their descriptions: path, name of the method in lower case, description.
    pub fn operations(&self) -> impl Iterator<Item = (&'static str, &'static str, &Operation)> {
        self.methods.iter().map(|method| (self.path, method.name, &method.operation))
    }

    /// Registers it. Any other method is answered with those that there are.
    pub fn register(self, routes: &mut web::ServiceConfig) {
        let allow = self.allow();
        let other = move || {
            let allow = allow.clone().into();
            async move { Err::<HttpResponse, _>(Problem::MethodNotAllowed { allow }) }
        };
        let resource = web::resource(self.path).default_service(web::to(other));
        let registered = self.methods.into_iter().map(|method| method.route);
        routes.service(registered.fold(resource, actix_web::Resource::route));
    }

    /// For the `Allow` header.
    fn allow(&self) -> String {
        let names = self.methods.iter().map(|method| match method.name {
            "get" => "GET, HEAD".to_owned(),
            name => name.to_ascii_uppercase(),
        });
        names.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
pub(crate) mod checks;
