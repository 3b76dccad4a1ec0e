//! The tests' server that speaks KurrentDB's protocol, for tests that are no Rust: prints its address, and ends with its
//! standard input.

use std::io::{Read, Write, stdin, stdout};

use amoiq_testkit::KurrentServer;

fn main() -> std::io::Result<()> {
    let server = KurrentServer::start();
    writeln!(stdout(), "{}", server.address())?;
    stdout().flush()?;
    stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
