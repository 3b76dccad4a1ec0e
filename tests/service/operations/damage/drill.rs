//! The corruption drill: for every table and file, bytes flip, files are cut and deleted, and the service is
//! started on what is left. It repairs what follows from the log, or refuses and says what to do. It never gives a wrong
//! answer.

use std::{fs, path::Path};

use amoiq_testkit::{AppLauncher, SECRET_KEY};

use crate::operations::{
    stores::store_damage::{columns, cut, flip_byte, flip_value},
    stores::written_stores::{SESSIONS, killed, say_as_ann, stopped, texts_of},
};

/// A refusal has to contain at least one of these.
const ADVICE: [&str; 5] = ["restore", "amoiq verify", "delete it", "run the release", "move"];

/// What the service may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    /// Only serve everything.
    Serve,
    /// Serve, or refuse the start or the damaged sessions.
    Refuse,
    /// The same, or serve what is left of a log whose end was lost.
    Lose,
}

fn drill(what: &str, data: &Path, may: May) {
    let service = match AppLauncher::new().data(data).unchecked().try_start() {
        Ok(service) => service,
        Err(said) => {
            assert_ne!(may, May::Serve, "{what}: {said}");
            assert!(!said.contains("panicked"), "{what}: {said}");
            assert!(ADVICE.iter().any(|advice| said.contains(advice)), "{what} says not what to do: {said}");
            return;
        }
    };
    for (session, _) in SESSIONS {
        let expected = texts_of(session);
        match service.texts(SECRET_KEY, session) {
            Ok(texts) if texts == expected => {}
            Ok(texts) => {
                assert!(may == May::Lose && expected.starts_with(&texts), "{what}: {session}: {texts:?}")
            }
            Err(404) if may == May::Lose => {}
            Err(status) => assert!(may != May::Serve && status >= 500, "{what}: {session}: {status}"),
        }
        let said = say_as_ann(&service, session, "after the damage");
        let (status, answer) = (said.status, said.body);
        assert!(
            status == 200 || (may != May::Serve && status >= 500),
            "{what}: {session}: {status} {answer}"
        );
        let is_told = service
            .texts(SECRET_KEY, session)
            .map(|texts| texts.last().is_some_and(|text| text == "after the damage"));
        assert!(status != 200 || is_told != Ok(false), "{what}: {session}: acknowledged and not there");
    }
}

#[test]
fn a_flipped_bit_in_any_column_of_the_log() {
    for (table, column, row) in columns().filter(|(table, ..)| *table == "log") {
        let data = stopped();
        flip_value(data.path(), table, column, row);
        drill(&format!("{table}.{column}"), data.path(), May::Refuse);
    }
}

#[test]
fn a_flipped_bit_in_any_column_beside_the_log() {
    for (table, column, row) in columns().filter(|(table, ..)| *table != "log") {
        let data = stopped();
        flip_value(data.path(), table, column, row);
        drill(&format!("{table}.{column} where {row}"), data.path(), May::Refuse);
    }
}

#[test]
fn a_flipped_byte_anywhere_in_the_file_of_the_log() {
    for thousandths in [0, 3, 20, 100, 250, 400, 550, 700, 850, 950, 1_000] {
        let data = stopped();
        flip_byte(&data.path().join("log.db"), thousandths);
        drill(&format!("log.db at {thousandths}"), data.path(), May::Refuse);
    }
}

#[test]
fn a_log_that_is_cut_or_gone() {
    for thousandths in [0, 1, 300, 700, 990] {
        let data = stopped();
        cut(&data.path().join("log.db"), thousandths);
        drill(&format!("log.db cut to {thousandths}"), data.path(), May::Refuse);
    }
    let data = stopped();
    fs::remove_file(data.path().join("log.db")).expect("removed");
    drill("log.db gone", data.path(), May::Refuse);
}

#[test]
fn a_write_ahead_log_that_is_not_what_was_written() {
    for file in ["log.db-wal", "log.db-shm"] {
        let may = if file == "log.db-shm" { May::Serve } else { May::Lose };
        for thousandths in [0, 10, 300, 700, 1_000] {
            let data = killed();
            flip_byte(&data.path().join(file), thousandths);
            drill(&format!("{file} at {thousandths}"), data.path(), may);
        }
        for thousandths in [0, 300, 700] {
            let data = killed();
            cut(&data.path().join(file), thousandths);
            drill(&format!("{file} cut to {thousandths}"), data.path(), may);
        }
        let data = killed();
        fs::remove_file(data.path().join(file)).expect("removed");
        drill(&format!("{file} gone"), data.path(), may);
    }
}

#[test]
fn files_beside_the_log() {
    for (file, may) in [
        ("log.witness", May::Serve),
        ("views.db", May::Serve),
        ("outbox.db", May::Refuse),
        ("jwt_secret", May::Refuse),
        ("lock", May::Serve),
    ] {
        let path = |data: &Path| data.join(file);
        for thousandths in [0, 100, 300, 600, 1_000] {
            let data = stopped();
            if fs::metadata(path(data.path())).expect("a file").len() > 0 {
                flip_byte(&path(data.path()), thousandths);
            }
            drill(&format!("{file} at {thousandths}"), data.path(), may);
            let data = stopped();
            cut(&path(data.path()), thousandths);
            drill(&format!("{file} cut to {thousandths}"), data.path(), may);
        }
        let data = stopped();
        fs::remove_file(path(data.path())).expect("removed");
        drill(&format!("{file} gone"), data.path(), May::Serve);
    }
}
