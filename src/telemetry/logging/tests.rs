//! Which filters are taken, and that a panic is told under every one.

use tracing_subscriber::{Registry, layer::SubscriberExt};

use super::*;

#[test]
fn a_level_is_one_of_six_words() {
    let levels = ["off", "error", "warn", "INFO", "debug", "trace", "info,", ",info"];
    for good in levels.into_iter().chain(["info,amoiq::http=debug", "amoiq=debug", "amoiq=debug,amoiq::http"])
    {
        assert!(filter(good).is_ok(), "{good}");
    }
    let words = ["warning", "bogus", "", " ", ",", "amoiq=debug,bogus", "amoiq=bogus"];
    let without_effect = ["info,amoiq::http =debug", "amoiq[request]=debug", "[request]=debug", "=debug"];
    for bad in words.into_iter().chain(without_effect) {
        let error = format!("{:#}", filter(bad).unwrap_err());
        assert!(error.starts_with("log.level"), "{bad}: {error}");
    }
}

#[test]
fn a_panic_that_the_filter_hides_is_told_on_standard_error() {
    for (level, is_told) in [("off", true), ("amoiq::http=debug", true), ("error", false)] {
        let mut told = Vec::new();
        let lines = Registry::default().with(filter(level).unwrap());
        tracing::subscriber::with_default(lines, || report_panic("src/a.rs:1:2", "it broke", &mut told));
        let told = String::from_utf8(told).unwrap();
        assert_eq!(told.contains("src/a.rs:1:2") && told.contains("it broke"), is_told, "{level}: {told}");
    }
}
