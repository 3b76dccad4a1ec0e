//! The `amoiq` program: see [`amoiq::cli`].

use std::process::ExitCode;

/// Messages are made on one thread and freed on another, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match amoiq::cli::run() {
        Ok(code) => code,
        Err(error) => {
            use std::io::Write;
            // Nowhere is left to say that standard error is closed.
            drop(writeln!(std::io::stderr(), "amoiq: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
