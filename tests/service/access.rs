//! Who may do what: keys, tokens, origins, proxies, limits.

mod cors;
mod limits;
mod matrix;
mod proxies;
mod rate_limits;
mod tokens;
