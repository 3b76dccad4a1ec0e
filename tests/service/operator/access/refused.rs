//! A configuration with which the service does not start: it reports what is wrong, and opens nothing.

use amoiq_testkit::AppLauncher;

/// What is printed on standard error.
fn refusal(start: AppLauncher) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let output = start.data(directory.path()).output();
    assert!(!output.status.success());
    let mut left = std::fs::read_dir(directory.path()).expect("a directory");
    assert!(left.next().is_none(), "nothing is opened");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_mistake_is_reported_in_one_line() {
    for (key, value, says) in [
        (
            "LOG__LEVEL",
            "warning",
            "amoiq: log.level is `warning`, and must be one of off, error, warn, info, debug, trace",
        ),
        ("SERVER__WORKERS", "513", "amoiq: server.workers is 513, and must be 0 to 512"),
        (
            "RATE_LIMIT__HTTP_PER_MINUTE",
            "off",
            "rate_limit.http_per_minute must be a whole number, 0 or more",
        ),
        (
            "SERVER__WIDGET_ORIGINS",
            "https://w.example/",
            "server.widget_origins: `https://w.example/` is not",
        ),
    ] {
        let said = refusal(AppLauncher::new().environment(&format!("AMOIQ__{key}"), value));
        assert!(said.contains(says) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn a_secret_that_is_not_utf_8_is_named_and_not_shown() {
    let given = "export AMOIQ__AUTH__JWT_SECRET=$(printf 'hidden\\377'); exec \"$0\" \"$@\"";
    let said = refusal(AppLauncher::new().wrapped_in(&["sh", "-c", given]));
    assert!(said.contains("AMOIQ__AUTH__JWT_SECRET in the environment is not UTF-8"), "{said}");
    assert!(!said.contains("hidden"), "{said}");
}
