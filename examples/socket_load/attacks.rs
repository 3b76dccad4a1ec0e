//! The attacks in full size.

use std::path::PathBuf;

use clap::Args;

use crate::attack::{Attack, AttackScale};

/// Which attacks, and against which program.
#[derive(Args)]
pub struct AttackCommand {
    /// The program, which is started for each attack.
    #[arg(long, default_value = "target/release/amoiq")]
    program: PathBuf,
    /// Only these.
    #[arg(value_enum)]
    only: Vec<Attack>,
    /// As small as in the tests.
    #[arg(long)]
    small: bool,
}

impl AttackCommand {
    /// Prints a line for each attack, and continues after one that the service does not withstand.
    pub fn run(self) -> anyhow::Result<()> {
        let scale = if self.small { AttackScale::Test } else { AttackScale::Full };
        let all = <Attack as clap::ValueEnum>::value_variants();
        let chosen = if self.only.is_empty() { all } else { &self.only };
        let mut failed = 0;
        for attack in chosen {
            match attack.attempt(&self.program, scale) {
                Ok(report) => println!("{:<20} {report}", format!("{attack:?}")),
                Err(error) => {
                    println!("{:<20} NOT WITHSTOOD: {error:#}", format!("{attack:?}"));
                    failed += 1;
                }
            }
        }
        anyhow::ensure!(failed == 0, "the service does not withstand {failed} attacks");
        Ok(())
    }
}
