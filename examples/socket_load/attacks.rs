//! The attacks in full size.

use std::path::PathBuf;

use clap::Args;

use crate::attack::{Attack, Scale};

/// Which, and against what.
#[derive(Args)]
pub struct Attacks {
    /// The program; it is started for each attack.
    #[arg(long, default_value = "target/release/amoiq")]
    program: PathBuf,
    /// Only these.
    #[arg(value_enum)]
    only: Vec<Attack>,
    /// As small as in the tests.
    #[arg(long)]
    small: bool,
}

impl Attacks {
    /// Prints a line for each; one that is not fended off is named and the rest are still tried.
    pub fn run(self) -> anyhow::Result<()> {
        let scale = if self.small { Scale::Test } else { Scale::Full };
        let all = <Attack as clap::ValueEnum>::value_variants();
        let chosen = if self.only.is_empty() { all } else { &self.only };
        let mut failed = 0;
        for attack in chosen {
            match attack.attempt(&self.program, scale) {
                Ok(report) => println!("{:<20} {report}", format!("{attack:?}")),
                Err(error) => {
                    println!("{:<20} NOT FENDED OFF: {error:#}", format!("{attack:?}"));
                    failed += 1;
                }
            }
        }
        anyhow::ensure!(failed == 0, "{failed} attacks were not fended off");
        Ok(())
    }
}
