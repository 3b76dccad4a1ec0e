//! The `amoiq` program: see [`amoiq::cli`].

use std::process::ExitCode;

/// Messages are allocated on one thread and freed on another, for which the system's allocator is slow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match amoiq::cli::run() {
        Ok(code) => code,
        Err(error) => {
            use std::io::Write;
            // If standard error is closed, nobody reads the message.
            drop(writeln!(std::io::stderr(), "amoiq: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
