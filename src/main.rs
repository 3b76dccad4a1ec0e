//! The `amoiq` program: see [`amoiq::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    match amoiq::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            // Nowhere is left to say that standard error is closed.
            drop(writeln!(std::io::stderr(), "amoiq: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
