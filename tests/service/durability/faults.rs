//! Disks that are full, that refuse writes and that do not sync: requests are refused with the true reason, the process
//! stays, and when the disk works again nothing acknowledged is missing and nothing is incomplete.

use amoiq_testkit::{FaultyDisk, SECRET_KEY, TestApp, eventually};

use self::{
    disk::{LimitedFile, Mount},
    patient::Client,
};
use crate::durability::history;

mod disk;
mod erasing;
mod overload;
mod patient;
mod reading;

const SESSION: &str = "session-on-a-bad-disk";

/// A disk that can be made to refuse what is written.
trait Disk {
    /// How the program is started on it.
    fn start(&self) -> TestApp;
    fn fail(&self, app: &TestApp);
    fn mend(&self, app: &TestApp);
}

#[test]
fn a_full_disk_is_reported_and_survived() {
    match Mount::new() {
        Some(mount) => a_failing_disk_is_said_and_survived(&mount, "full"),
        None => {
            eprintln!("no file system can be mounted here: a limit on a file's size stands for it");
            a_failing_disk_is_said_and_survived(&LimitedFile::new(), "");
        }
    }
}

#[test]
fn a_file_that_may_not_grow_is_reported_and_survived() {
    a_failing_disk_is_said_and_survived(&LimitedFile::new(), "");
}

#[test]
fn a_read_only_disk_is_reported_and_survived() {
    a_failing_disk_is_said_and_survived(&FaultyDisk::new("write 30 /log.db"), "I/O error");
}

#[test]
fn a_disk_that_does_not_sync_is_reported_and_survived() {
    a_failing_disk_is_said_and_survived(&FaultyDisk::new("sync 5 /log.db"), "I/O error");
}

/// What must hold on every disk that fails and recovers.
fn a_failing_disk_is_said_and_survived(disk: &dyn Disk, reason: &str) {
    let mut app = disk.start();
    let client = Client::new(SESSION);
    client.take(&app, 20);
    for _ in 0..2 {
        disk.fail(&app);
        eventually("the disk's failure is seen", || client.send(&app).status == 503);
        for _ in 0..5 {
            let refused = client.send(&app);
            if refused.status != 200 {
                assert_eq!(refused.error(), (503, "STORE_UNAVAILABLE"));
                assert_eq!(refused.header("retry-after"), "1");
            }
        }
        eventually("what is left of it is used up", || {
            client.send(&app);
            is_unready(&app, reason)
        });
        assert_eq!(app.get(SECRET_KEY, "/healthz").status, 200);
        client.check(&app);
        disk.mend(&app);
        eventually("it is ready again", || app.get(SECRET_KEY, "/readyz").status == 200);
        client.take(&app, 20);
        client.check(&app);
    }
    let users = |app: &TestApp| app.messages(SECRET_KEY, "userId=ann&limit=500").len();
    eventually("the read model follows", || {
        app.get(SECRET_KEY, "/api/chat/messages?userId=ann").status == 200
    });
    assert_eq!(users(&app), history(&app, SESSION).len());

    // Killed while it fails: refused messages may be there, accepted ones must be.
    disk.fail(&app);
    eventually("the disk's failure is seen", || client.send(&app).status == 503);
    app.kill();
    disk.mend(&app);
    drop(app);
    let app = disk.start();
    client.check(&app);
    client.take(&app, 20);
    client.check(&app);
    assert!(!app.printed(&["the log lost its end"]));
}

fn is_unready(app: &TestApp, reason: &str) -> bool {
    let answer = app.get(SECRET_KEY, "/readyz");
    let reasons = answer.body["reasons"].to_string();
    answer.status == 503 && reasons.contains("the store does not take writes") && reasons.contains(reason)
}
