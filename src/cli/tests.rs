//! The help of every command, as users read it.

use clap::CommandFactory;

use super::CommandLine;

#[test]
fn the_help_of_every_command_is_reviewed() {
    let mut program = CommandLine::command();
    program.build();
    let mut pages = Vec::new();
    collect(&mut program, &mut pages);
    insta::assert_snapshot!("help", pages.join("\n"));
}

fn collect(command: &mut clap::Command, pages: &mut Vec<String>) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    pages.push(format!("$ {name} --help\n{}", command.render_long_help()));
    for subcommand in command.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        collect(subcommand, pages);
    }
}
